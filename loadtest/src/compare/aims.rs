//! What is wanted of sipring beside the others, and whether it was reached.

use super::results::{FLOOR, Results, Runs, Spread, low_of, saturated_of};
use super::table::figures;
use crate::load::Report;
use std::fmt::Write;

/// The one that the aims are of.
const OURS: &str = "sipring";

/// The CPU per message of another one, times this, at most: when saturated.
const SATURATED: &[(&str, f64)] = &[
    (FLOOR, 1.3),
    ("kamailio-stateless", 0.5),
    ("kamailio-relay", 0.25),
    ("kamailio-dialog", 0.25),
];

/// The same at a low rate.
const LOW: f64 = 1.2;

/// p99 at half load beside the floor's, at most.
const LATENCY: f64 = 2.0;

pub(super) fn write(text: &mut String, results: &Results) {
    text.push_str("\n## Aims\n\n");
    for &(of, most) in SATURATED {
        cost(text, results, ("saturated", saturated_of), of, most);
    }
    cost(text, results, ("at the low rate", low_of), FLOOR, LOW);
    latency(text, results);
    for &(of, most) in SATURATED {
        rate(text, results, of, 1.0 / most);
    }
}

/// CPU per message, in the same pass.
fn cost(
    text: &mut String,
    results: &Results,
    (when, load): (&str, fn(&Runs) -> &[Report]),
    of: &str,
    most: f64,
) {
    let (Some(ratio), Some(other)) = (results.ratio(OURS, of, load), results.runs(of)) else {
        return;
    };
    let _ = writeln!(
        text,
        "* CPU per message {when}: {} of what {} takes; at most {most:.2} is wanted: {}",
        figures(ratio),
        other.title,
        verdict(ratio.median <= most)
    );
}

/// Medians: each has its own rate, so that passes are no pairs.
fn latency(text: &mut String, results: &Results) {
    let p99 = |name| {
        let of = |report: &Report| report.latency_us.answer.map_or(f64::NAN, |q| q.p99 as f64);
        Some(Spread::of(results.runs(name)?.half.iter().map(of))?.median)
    };
    let (Some(ours), Some(floor)) = (p99(OURS), p99(FLOOR)) else { return };
    let ratio = ours / floor;
    let _ = writeln!(
        text,
        "* p99 at half load: {ours:.0} us, {ratio:.2} of what the bare forwarder has at half of its own; at \
         most {LATENCY:.2} is wanted: {}",
        verdict(ratio <= LATENCY)
    );
}

/// The highest rate with less than one datagram in a thousand lost.
fn rate(text: &mut String, results: &Results, of: &str, least: f64) {
    let (Some(ours), Some(other)) = (results.runs(OURS), results.runs(of)) else { return };
    if ours.highest_rate == 0.0 || other.highest_rate == 0.0 {
        return; // not looked for
    }
    let ratio = ours.highest_rate / other.highest_rate;
    let _ = writeln!(
        text,
        "* Calls a second with < 0.1 % lost: {ratio:.2} times those of {}; at least {least:.2} is wanted: {}",
        other.title,
        verdict(ratio >= least)
    );
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "missed" }
}
