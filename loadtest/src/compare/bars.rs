//! One bar for each: what a message costs, with the quartiles of the rounds.

use super::results::{Results, Spread, cpu};
use std::fmt::Write;

const WIDTH: f64 = 760.0;
/// Where bars begin: titles stand before.
const LEFT: f64 = 270.0;
const RIGHT: f64 = 80.0;
const ROW: f64 = 34.0;
const BAR: f64 = 20.0;
const TOP: f64 = 56.0;

pub(super) struct Bars {
    title: String,
    note: String,
    rows: Vec<(String, Spread, bool)>,
}

/// The chart of a comparison; sipring's own bar stands out.
pub(super) fn chart(results: &Results) -> Bars {
    let row = |runs: &super::results::Runs| {
        let cost = Spread::of(runs.saturated.iter().map(cpu))?;
        Some((runs.title.clone(), cost, runs.name == "sipring"))
    };
    Bars {
        title: "CPU per forwarded SIP message, microseconds".to_owned(),
        note: format!(
            "whole calls, 128 open at any time; less is better; with quartiles. {}, Linux {}",
            results.machine.cpu, results.machine.kernel
        ),
        rows: results.rivals.iter().filter_map(row).collect(),
    }
}

impl Bars {
    pub(super) fn svg(&self) -> String {
        let height = TOP + ROW * self.rows.len() as f64 + 12.0;
        let most = self.rows.iter().map(|(_, cost, _)| cost.three_quarters.max(cost.median));
        let most = most.fold(f64::MIN_POSITIVE, f64::max);
        let x = |value: f64| LEFT + value / most * (WIDTH - LEFT - RIGHT);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
             <text x=\"12\" y=\"22\" font-size=\"16\" font-weight=\"bold\">{}</text>\n\
             <text x=\"12\" y=\"41\" fill=\"#555\" font-size=\"12\">{}</text>\n",
            escaped(&self.title),
            escaped(&self.note)
        );
        for (place, (title, cost, stands_out)) in self.rows.iter().enumerate() {
            let middle = TOP + ROW * (place as f64 + 0.5);
            let (top, text) = (middle - BAR / 2.0, middle + 4.5);
            let (colour, weight) =
                if *stands_out { ("#d1495b", "bold") } else { ("#8da9c4", "normal") };
            let (low, high) = (x(cost.quarter), x(cost.three_quarters));
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\" font-weight=\"{weight}\">{}</text>\n\
                 <rect x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
                 <path d=\"M{low:.1} {middle:.1}H{high:.1}\" stroke=\"#222\" stroke-width=\"1.5\"/>\n\
                 <text x=\"{:.1}\" y=\"{text:.1}\" font-weight=\"{weight}\">{:.2}</text>\n",
                LEFT - 10.0,
                escaped(title),
                x(cost.median) - LEFT,
                high.max(x(cost.median)) + 8.0,
                cost.median,
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_figure_says() {
        let spread = |median| Spread { quarter: median, median, three_quarters: median };
        let rows =
            vec![("a <b>".to_owned(), spread(2.0), true), ("c".to_owned(), spread(4.0), false)];
        let svg = Bars { title: "t & u".to_owned(), note: String::new(), rows }.svg();
        assert!(svg.contains("a &lt;b&gt;") && svg.contains("t &amp; u"));
        assert!(svg.contains("width=\"205.0\"") && svg.contains("width=\"410.0\""), "{svg}");
        let none = Bars { title: String::new(), note: String::new(), rows: Vec::new() }.svg();
        assert!(!none.contains("NaN") && none.ends_with("</svg>\n"));
    }
}
