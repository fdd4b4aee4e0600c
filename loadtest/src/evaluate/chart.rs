//! A line chart as SVG, with as little code as it takes: axes, lines, points, a legend.

use crate::svg::{escaped, sheet};
use std::fmt::Write;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// Told apart by those who do not see colours by their marks and dashes.
const COLOURS: [&str; 8] =
    ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#e08214", "#17a2b8", "#8c564b", "#555555"];
const DASHES: [&str; 3] = ["none", "7 3", "2 3"];

/// What is drawn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x_label: String,
    pub(crate) y_label: String,
    /// 1, 2, 5, 10, 20 and so on up the side; values of 0 or less are left out.
    pub(crate) logarithmic: bool,
    pub(crate) lines: Vec<Line>,
    /// Verticals, with what happened there.
    pub(crate) events: Vec<(f64, String)>,
}

/// One line: its name and its points from left to right.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Chart {
    /// The whole file.
    pub(crate) fn svg(&self) -> String {
        let frame = Frame::of(self);
        let mut svg = sheet(WIDTH, HEIGHT, 12);
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        text(&mut svg, middle, 22.0, "middle", &self.title);
        text(&mut svg, middle, HEIGHT - 12.0, "middle", &self.x_label);
        let up = HEIGHT / 2.0;
        let _ = write!(svg, "<g transform=\"translate(18 {up}) rotate(-90)\">");
        text(&mut svg, 0.0, 0.0, "middle", &self.y_label);
        svg.push_str("</g>\n");
        frame.axes(&mut svg);
        for (at, what) in &self.events {
            let x = frame.x(*at);
            line(&mut svg, (x, TOP), (x, HEIGHT - BOTTOM), "#888888", "4 3");
            text(&mut svg, x + 4.0, TOP + 12.0, "start", what);
        }
        for (number, drawn) in self.lines.iter().enumerate() {
            frame.line(&mut svg, number, drawn);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let all = self.lines.iter().flat_map(|line| line.points.iter().copied());
        all.filter(|point| self.shows(*point))
    }

    fn shows(&self, (x, y): (f64, f64)) -> bool {
        x.is_finite() && y.is_finite() && (!self.logarithmic || y > 0.0)
    }
}

/// From values to places.
struct Frame<'a> {
    chart: &'a Chart,
    x_range: (f64, f64),
    /// Of the logarithms, where the chart is logarithmic.
    y_range: (f64, f64),
}

impl<'a> Frame<'a> {
    fn of(chart: &'a Chart) -> Self {
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)))
        };
        let x_range = range(&mut chart.points().map(|(x, _)| x));
        let (low, high) = range(&mut chart.points().map(|(_, y)| y));
        let y_range = match chart.logarithmic {
            true => {
                let below = round_values(low).into_iter().rfind(|value| *value <= low);
                let above = round_values(high).into_iter().find(|value| *value >= high);
                (below.unwrap_or(low).log10(), above.unwrap_or(high).log10())
            }
            false => (low.min(0.0), high * 1.05),
        };
        Self { chart, x_range: whole(x_range), y_range: whole(y_range) }
    }

    fn x(&self, x: f64) -> f64 {
        let (low, high) = self.x_range;
        LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, y: f64) -> f64 {
        let (low, high) = self.y_range;
        let y = if self.chart.logarithmic { y.log10() } else { y };
        HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
    }

    fn axes(&self, svg: &mut String) {
        let (right, floor) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for value in steps(self.x_range) {
            let x = self.x(value);
            line(svg, (x, floor), (x, floor + 5.0), "#333333", "none");
            text(svg, x, floor + 18.0, "middle", &number(value));
        }
        let values = match self.chart.logarithmic {
            true => {
                let (low, high) = self.y_range;
                let mut values: Vec<f64> =
                    (low.floor() as i32..=high.ceil() as i32).flat_map(one_two_five).collect();
                values.retain(|value| (low - 1e-9..=high + 1e-9).contains(&value.log10()));
                values
            }
            false => steps(self.y_range),
        };
        for value in values {
            let y = self.y(value);
            line(svg, (LEFT, y), (right, y), "#dddddd", "none");
            text(svg, LEFT - 6.0, y + 4.0, "end", &number(value));
        }
        line(svg, (LEFT, floor), (right, floor), "#333333", "none");
        line(svg, (LEFT, TOP), (LEFT, floor), "#333333", "none");
    }

    fn line(&self, svg: &mut String, number: usize, drawn: &Line) {
        let colour = COLOURS[number % COLOURS.len()];
        let dash = DASHES[number / COLOURS.len() % DASHES.len()];
        let shown = drawn.points.iter().filter(|point| self.chart.shows(**point));
        let places: Vec<(f64, f64)> = shown.map(|(x, y)| (self.x(*x), self.y(*y))).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" \
             stroke-dasharray=\"{dash}\"/>",
            path.join(" ")
        );
        places.iter().for_each(|place| mark(svg, number, *place, colour));
        let (x, y) = (WIDTH - RIGHT + 16.0, TOP + 8.0 + number as f64 * 20.0);
        line(svg, (x, y), (x + 28.0, y), colour, dash);
        mark(svg, number, (x + 14.0, y), colour);
        text(svg, x + 34.0, y + 4.0, "start", &drawn.name);
    }
}

/// A circle, a square or a triangle.
fn mark(svg: &mut String, number: usize, (x, y): (f64, f64), colour: &str) {
    let _ = match number % 3 {
        0 => writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"),
        1 => {
            let (x, y) = (x - 3.0, y - 3.0);
            let size = "width=\"6\" height=\"6\"";
            writeln!(svg, "<rect x=\"{x:.1}\" y=\"{y:.1}\" {size} fill=\"{colour}\"/>")
        }
        _ => {
            let path = format!("M{x:.1},{:.1} l3.5,6.5 h-7 z", y - 4.0);
            writeln!(svg, "<path d=\"{path}\" fill=\"{colour}\"/>")
        }
    };
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, dash: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" \
         stroke-dasharray=\"{dash}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, what: &str) {
    let what = escaped(what);
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{what}</text>");
}

/// The round values of one power of ten.
fn one_two_five(power: i32) -> [f64; 3] {
    [1.0, 2.0, 5.0].map(|factor| factor * 10_f64.powi(power))
}

/// The round values around a value above 0.
fn round_values(value: f64) -> Vec<f64> {
    let power = value.log10().floor() as i32;
    (power - 1..=power + 1).flat_map(one_two_five).collect()
}

/// A range that can be divided by.
fn whole((low, high): (f64, f64)) -> (f64, f64) {
    match low < high {
        true => (low, high),
        false if low == high => (low - 0.5, high + 0.5),
        false => (0.0, 1.0),
    }
}

/// Round values within a range, four to ten of them.
fn steps((low, high): (f64, f64)) -> Vec<f64> {
    let power = 10_f64.powf(((high - low) / 4.0).log10().floor());
    let fitting = [5.0, 2.0, 1.0].map(|factor| factor * power);
    let step = fitting.into_iter().find(|step| (high - low) / step >= 4.0).unwrap_or(power);
    let first = (low / step).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|n| n as f64 * step).collect()
}

fn number(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    format!("{rounded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(logarithmic: bool, points: &[(f64, f64)]) -> Chart {
        let line = Line { name: "a & <b>".to_owned(), points: points.to_vec() };
        Chart { logarithmic, lines: vec![line], ..Chart::default() }
    }

    #[test]
    fn points_lie_where_their_values_say() {
        let chart = chart(false, &[(0.0, 0.0), (10.0, 100.0)]);
        let frame = Frame::of(&chart);
        assert_eq!((frame.x(0.0), frame.x(10.0)), (LEFT, WIDTH - RIGHT));
        assert_eq!(frame.x(5.0), (LEFT + WIDTH - RIGHT) / 2.0);
        assert_eq!((frame.y(0.0), frame.y(105.0)), (HEIGHT - BOTTOM, TOP));
    }

    #[test]
    fn a_logarithmic_chart_goes_from_round_value_to_round_value() {
        let chart = chart(true, &[(0.0, 3.0), (1.0, 700.0), (2.0, 0.0)]);
        let frame = Frame::of(&chart);
        assert!((frame.y(2.0) - (HEIGHT - BOTTOM)).abs() < 1e-9);
        assert!((frame.y(1000.0) - TOP).abs() < 1e-9);
        assert!((frame.y(2.0) - frame.y(20.0) - frame.y(50.0) + frame.y(500.0)).abs() < 1e-9);
        let svg = chart.svg();
        for value in [2, 5, 10, 20, 50, 100, 200, 500, 1000] {
            assert!(svg.contains(&format!("text-anchor=\"end\">{value}<")), "{value}");
        }
        let drawn = svg.lines().find(|line| line.starts_with("<polyline")).unwrap();
        assert_eq!(drawn.matches(',').count(), 2, "what has no logarithm is left out: {drawn}");
    }

    #[test]
    fn the_file_is_whole_and_names_cannot_break_it() {
        let mut chart = chart(false, &[(1.0, 2.0), (2.0, 4.0)]);
        chart.events.push((1.5, "dies".to_owned()));
        let svg = chart.svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &amp; &lt;b&gt;") && svg.contains(">dies<"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(svg.matches("<circle").count(), 3, "two points and the legend");
    }

    #[test]
    fn a_chart_without_points_or_with_one_is_drawn_too() {
        for points in [&[][..], &[(1.0, 0.0)], &[(1.0, 5.0)]] {
            for logarithmic in [false, true] {
                let svg = chart(logarithmic, points).svg();
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }

    #[test]
    fn steps_are_round_and_within() {
        assert_eq!(steps((0.0, 10.0)), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(steps((0.5, 1.05)).len(), 6);
        for (low, high) in [(0.0, 1.0), (0.2, 0.9), (0.0, 612.3), (3.0, 14.0), (-0.5, 0.5)] {
            let steps = steps((low, high));
            assert!((4..=11).contains(&steps.len()), "{low} to {high}: {steps:?}");
            assert!(steps.iter().all(|step| *step >= low - 1e-9 && *step <= high + 1e-6));
        }
    }
}
