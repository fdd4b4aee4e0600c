//! A chart of bars as SVG: one row for each, from the top.

use crate::svg::{escaped, sheet};
use std::fmt::Write;

const WIDTH: f64 = 760.0;
/// Where bars begin: titles stand before.
const LEFT: f64 = 270.0;
const RIGHT: f64 = 80.0;
const ROW: f64 = 34.0;
const BAR: f64 = 20.0;
const TOP: f64 = 56.0;

/// What is drawn.
pub(crate) struct Bars {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) bars: Vec<Bar>,
}

/// A row.
#[derive(Debug, Default)]
pub(crate) struct Bar {
    pub(crate) title: String,
    pub(crate) value: f64,
    /// Where its quartiles are.
    pub(crate) quartiles: Option<(f64, f64)>,
    /// A larger value, whose bar can be seen behind it.
    pub(crate) behind: Option<f64>,
    pub(crate) stands_out: bool,
}

impl Bar {
    /// Where it ends.
    fn most(&self) -> f64 {
        let others = [self.behind, self.quartiles.map(|(_, high)| high)];
        others.into_iter().flatten().fold(self.value, f64::max)
    }
}

impl Bars {
    pub(crate) fn svg(&self) -> String {
        let height = TOP + ROW * self.bars.len() as f64 + 12.0;
        let most = self.bars.iter().map(Bar::most).fold(f64::MIN_POSITIVE, f64::max);
        let mut svg = sheet(WIDTH, height, 13);
        let _ = write!(
            svg,
            "<text x=\"12\" y=\"22\" font-size=\"16\" font-weight=\"bold\">{}</text>\n\
             <text x=\"12\" y=\"41\" fill=\"#555\" font-size=\"12\">{}</text>\n",
            escaped(&self.title),
            escaped(&self.note)
        );
        for (place, bar) in self.bars.iter().enumerate() {
            bar.draw(&mut svg, TOP + ROW * (place as f64 + 0.5), (WIDTH - LEFT - RIGHT) / most);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

impl Bar {
    /// At this height, so long for each unit.
    fn draw(&self, svg: &mut String, middle: f64, unit: f64) {
        let (colour, weight) = match self.stands_out {
            true => ("#d1495b", "bold"),
            false => ("#8da9c4", "normal"),
        };
        let x = |value: f64| LEFT + value * unit;
        text(
            svg,
            (LEFT - 10.0, middle),
            &format!("text-anchor=\"end\" font-weight=\"{weight}\""),
            &self.title,
        );
        for (value, colour) in
            self.behind.map(|behind| (behind, "#dce6f0")).into_iter().chain([(self.value, colour)])
        {
            let (top, width) = (middle - BAR / 2.0, value * unit);
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>"
            );
        }
        if let Some((low, high)) = self.quartiles {
            let (low, high) = (x(low), x(high));
            let _ = writeln!(
                svg,
                "<path d=\"M{low:.1} {middle:.1}H{high:.1}\" stroke=\"#222\" stroke-width=\"1.5\"/>"
            );
        }
        if self.behind.is_some() {
            let within = (x(self.value) - 6.0, middle);
            text(svg, within, "text-anchor=\"end\"", &format!("{:.2}", self.value));
        }
        let beyond = (x(self.most()) + 8.0, middle);
        let last = self.behind.unwrap_or(self.value);
        text(svg, beyond, &format!("font-weight=\"{weight}\""), &format!("{last:.2}"));
    }
}

/// With its middle at this height.
fn text(svg: &mut String, (x, middle): (f64, f64), style: &str, what: &str) {
    let (base, what) = (middle + 4.5, escaped(what));
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{base:.1}\" {style}>{what}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_figure_says() {
        let bar = |title: &str, value| Bar { title: title.to_owned(), value, ..Bar::default() };
        let behind = Bar { behind: Some(8.0), ..bar("c", 4.0) };
        let bars = vec![bar("a <b>", 2.0), behind];
        let svg = Bars { title: "t & u".to_owned(), note: String::new(), bars }.svg();
        assert!(svg.contains("a &lt;b&gt;") && svg.contains("t &amp; u"));
        for width in ["102.5", "205.0", "410.0"] {
            assert!(svg.contains(&format!("width=\"{width}\"")), "{width} in {svg}");
        }
        assert!(svg.contains(">4.00<") && svg.contains(">8.00<"));
        let none = Bars { title: String::new(), note: String::new(), bars: Vec::new() }.svg();
        assert!(!none.contains("NaN") && none.ends_with("</svg>\n"));
    }
}
