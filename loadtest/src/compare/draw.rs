//! What is drawn of a comparison: what a message costs each of them, with the quartiles of the rounds.

use super::results::{Results, Runs, Spread, cpu};
use crate::bars::{Bar, Bars};

/// sipring's own bar stands out.
pub(super) fn chart(results: &Results) -> Bars {
    let bar = |runs: &Runs| {
        let cost = Spread::of(runs.saturated.iter().map(cpu))?;
        Some(Bar {
            title: runs.title.clone(),
            value: cost.median,
            quartiles: Some((cost.quarter, cost.three_quarters)),
            behind: None,
            stands_out: runs.name == "sipring",
        })
    };
    Bars {
        title: "CPU per forwarded SIP message, microseconds".to_owned(),
        note: format!(
            "whole calls, 128 open at any time; less is better; with quartiles. {}, Linux {}",
            results.machine.cpu, results.machine.kernel
        ),
        bars: results.rivals.iter().filter_map(bar).collect(),
    }
}
