//! `curve`: the figures of `curve.sh`, a line of JSON for each point of an axis, as one drawing.

use crate::bars::{Bar, Bars};
use serde::Deserialize;
use std::io;
use std::path::PathBuf;

/// What is to be drawn.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) figures: PathBuf,
    pub(crate) out: PathBuf,
}

/// What a message costs where one thing is so large and all else as ever.
#[derive(Clone, Debug, Deserialize)]
struct Point {
    axis: String,
    point: u64,
    /// Microseconds of CPU, at a rate that is the same for all.
    rate_us: f64,
    /// And as fast as it goes.
    saturated_us: f64,
}

/// Draws them.
///
/// # Errors
/// If a file cannot be read or written, or a line is none of a point.
pub(crate) fn curve(options: &Options) -> io::Result<()> {
    let text = std::fs::read_to_string(&options.figures)?;
    std::fs::write(&options.out, drawn(&text)?)
}

fn drawn(figures: &str) -> io::Result<String> {
    let points: Result<Vec<Point>, _> = figures.lines().map(serde_json::from_str).collect();
    let points = points?;
    let bar = |(place, point): (usize, &Point)| {
        let begins = place == 0 || points[place - 1].axis != point.axis;
        let axis = if begins { format!("{}: ", point.axis) } else { String::new() };
        Bar {
            title: axis + &grouped(point.point),
            value: point.saturated_us,
            behind: Some(point.rate_us),
            ..Bar::default()
        }
    };
    let bars = Bars {
        title: "CPU per forwarded SIP message, microseconds, as one thing grows".to_owned(),
        note: "dark: as fast as it goes; light: at a fixed rate, where turns carry little; less is better"
            .to_owned(),
        bars: points.iter().enumerate().map(bar).collect(),
    };
    Ok(bars.svg())
}

/// By thousands.
fn grouped(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{} {:03}", grouped(number / 1000), number % 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_axis_is_named_once_and_numbers_can_be_read() {
        let line = |axis, point| {
            format!(r#"{{"axis":"{axis}","point":{point},"rate_us":9.5,"saturated_us":4}}"#)
        };
        let text = [line("pins", 1000), line("pins", 10_000_000), line("size", 0)].join("\n");
        let svg = drawn(&text).unwrap();
        for title in ["pins: 1 000", "10 000 000", "size: 0"] {
            assert!(svg.contains(&format!(">{title}<")), "{title}");
        }
        assert_eq!((svg.matches(">9.50<").count(), svg.matches(">4.00<").count()), (3, 3));
        assert!(drawn("{}").is_err());
    }

    #[test]
    fn the_drawing_that_is_kept_is_of_the_figures_that_are_kept() {
        let kept = |ending: &str| {
            let path = format!("../benches/results/2026-11-cost-curve.{ending}");
            std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
        };
        assert_eq!(drawn(&kept("jsonl")).unwrap(), kept("svg"), "draw it again");
    }
}
