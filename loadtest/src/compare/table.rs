//! The results in words: what was measured where, one row for each.

use super::aims;
use super::bystander::{INTRUDERS_MAX, OTHERS_MAX, STOP_MAX_MS, figure};
use super::measure::{THROWN_AWAY_MAX, TRIES};
use super::results::{FLOOR, Results, Runs, Spread, cpu, low_of, saturated_of};
use crate::load::{Cost, Report};
use std::fmt::Write;

pub(super) fn all(results: &Results) -> String {
    let mut text = String::from("# What a message costs\n\n");
    write_head(&mut text, results);
    write_costs(&mut text, results);
    write_rates(&mut text, results);
    aims::write(&mut text, results);
    write_faults(&mut text, results);
    write_beside(&mut text, results);
    write_versions(&mut text, results);
    text
}

fn write_head(text: &mut String, results: &Results) {
    let machine = &results.machine;
    let rounds = results.rivals.first().map_or(0, |runs| runs.low.len());
    let others = Spread::of(results.rivals.iter().flat_map(every).map(|report| report.others_busy));
    let _ = write!(
        text,
        "Whole calls over loopback (INVITE 100 180 200 ACK BYE 200: seven forwarded messages of 300 to \
         1200 bytes), four backends, four ports of callers; each balancer alone on one core, load and \
         backends on another. {rounds} rounds, everybody in turn in each; medians, with quartiles in \
         brackets.\n\n\
         * {}, {}, {} cores; Linux {}; load average at the start {}\n\
         * net.core.rmem_max and rmem_default: {}\n\
         * `{}`, {:.0} s\n",
        machine.date,
        machine.cpu,
        machine.cores,
        machine.kernel,
        machine.load,
        machine.receive_buffers,
        results.command,
        results.took_s,
    );
    for load in &results.loads {
        let _ = writeln!(text, "* {load}");
    }
    if let Some(others) = others {
        let _ = writeln!(
            text,
            "* How noisy it was: everybody else kept {:.2} cores busy in the median run, {:.2} in the \
             quietest quarter and {:.2} in the loudest",
            others.median, others.quarter, others.three_quarters
        );
    }
    if !had_the_core(results) {
        text.push_str(
            "* **Nobody was ever alone: with so much asked of them, balancers got less than nine tenths of \
             their core. Rates and latencies then tell of the neighbours, and CPU per message is that of \
             the full batches that pile up meanwhile. Repeat this on a quiet machine before you rely on it.**\n",
        );
    }
    let generator = |figure: fn(&Report) -> f64| Spread::of(results.generator.iter().map(figure));
    if let (Some(rate), Some(cost)) = (
        generator(|r| r.forwarded_per_s / r.generator.cores),
        generator(|r| r.generator.us_per_message),
    ) {
        let _ = writeln!(
            text,
            "* The generator with its backends takes {:.2} us a message when nobody stands between \
             them: a full core makes {:.0} thousand messages a second",
            cost.median,
            rate.median / 1000.0
        );
    }
    for absent in &results.absent {
        let _ = writeln!(text, "* Not there: {absent}");
    }
}

/// Whether the busiest of them had its core to itself in most rounds, or the load was the limit.
fn had_the_core(results: &Results) -> bool {
    results.rivals.iter().any(|runs| {
        let busiest = |r: &Report| r.generator.cores.max(r.balancer.map_or(0.0, |b| b.cores));
        Spread::of(runs.saturated.iter().map(busiest)).is_some_and(|cores| cores.median >= 0.9)
    })
}

fn write_costs(text: &mut String, results: &Results) {
    text.push_str(
        "\n## CPU per forwarded message\n\n\
         us of all threads and processes of the balancer. `x bare` is the ratio to the bare io_uring \
         forwarder in the same pass.\n\n\
         | | saturated, us | user | x bare | a full core forwards | at 1500 calls/s, us | x bare | RSS, MiB |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for runs in &results.rivals {
        let ratio = |load| results.ratio(&runs.name, FLOOR, load).map_or("-".to_owned(), figures);
        let saturated = Spread::of(runs.saturated.iter().map(cpu));
        let per_core =
            saturated.map_or("-".to_owned(), |s| format!("{:.0} k/s", 1000.0 / s.median));
        let cost = |figure: fn(&Report) -> f64| Spread::of(runs.saturated.iter().map(figure));
        let user = cost(|r| r.balancer.map_or(f64::NAN, |cost| cost.user_share * 100.0));
        let rss = cost(|r| r.balancer.map_or(f64::NAN, |cost| cost.rss_mib));
        let _ = writeln!(
            text,
            "| {} | {} | {} % | {} | {per_core} | {} | {} | {} |",
            runs.title,
            saturated.map_or("-".to_owned(), figures),
            user.map_or("-".to_owned(), |s| format!("{:.0}", s.median)),
            ratio(saturated_of),
            Spread::of(runs.low.iter().map(cpu)).map_or("-".to_owned(), figures),
            ratio(low_of),
            rss.map_or("-".to_owned(), |s| format!("{:.0}", s.median)),
        );
    }
}

fn write_rates(text: &mut String, results: &Results) {
    text.push_str(
        "\n## Rates and latency\n\n\
         Latency is from when the INVITE was due to its 200, four messages through the balancer, at \
         half of its own rate. Who was the limit when saturated: `busy` is how busy the cores of balancer and \
         load were, whoever it was, and in brackets what these themselves were charged with; `a turn` is how \
         many messages the load took in after a wait: many where it was the limit, few where it waited for the \
         balancer.\n\n\
         | | messages/s saturated | busy: balancer's core, load's | a turn of the load \
         | calls/s with < 0.1 % lost | half load, calls/s | p50, us | p99, us |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for runs in &results.rivals {
        let of = |reports: &[Report], figure: fn(&Report) -> f64| {
            Spread::of(reports.iter().map(figure)).map_or(f64::NAN, |spread| spread.median)
        };
        let answer = |share: fn(&Report) -> f64| Spread::of(runs.half.iter().map(share));
        let p50 = answer(|r| r.latency_us.answer.map_or(f64::NAN, |q| q.p50 as f64));
        let p99 = answer(|r| r.latency_us.answer.map_or(f64::NAN, |q| q.p99 as f64));
        let whole = |spread: Option<Spread>| {
            spread.map_or("-".to_owned(), |s| {
                format!("{:.0} ({:.0} to {:.0})", s.median, s.quarter, s.three_quarters)
            })
        };
        let _ = writeln!(
            text,
            "| {} | {:.0} | {}, {} | {:.0} | {} | {:.0} | {} | {} |",
            runs.title,
            of(&runs.saturated, |r| r.forwarded_per_s),
            busy(&runs.saturated, results.cores.balancer, |r| r.balancer),
            busy(&runs.saturated, results.cores.load, |r| Some(r.generator)),
            of(&runs.saturated, |r| r.messages_a_turn),
            if runs.highest_rate > 0.0 {
                format!("{:.0}", runs.highest_rate)
            } else {
                "-".to_owned()
            },
            of(&runs.half, |r| r.completed_per_s),
            whole(p50),
            whole(p99),
        );
    }
}

/// How busy a core was, and with whom it belongs to.
fn busy(reports: &[Report], core: usize, whose: fn(&Report) -> Option<Cost>) -> String {
    let busy = reports.iter().filter_map(|report| report.processors_busy.get(&core).copied());
    let own = reports.iter().filter_map(|report| Some(whose(report)?.cores));
    let percent = |spread: Option<Spread>| {
        spread.map_or("-".to_owned(), |spread| format!("{:.0} %", spread.median * 100.0))
    };
    format!("{} ({})", percent(Spread::of(busy)), percent(Spread::of(own)))
}

fn write_faults(text: &mut String, results: &Results) {
    text.push_str(
        "\n## Faults\n\nOver all runs but those that look for the highest rate. \
         Repeated: requests, BYEs and answers that were sent again.\n\n\
         | | started | lost | repeated | at a wrong backend |\n|---|---|---|---|---|\n",
    );
    for runs in &results.rivals {
        let sum = |figure: fn(&Report) -> u64| every(runs).map(figure).sum::<u64>();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            runs.title,
            sum(|r| r.started),
            sum(|r| r.lost.sum()),
            sum(|r| r.repeated.requests + r.repeated.byes + r.repeated.answers),
            sum(|r| r.wrong_backend),
        );
    }
}

fn write_beside(text: &mut String, results: &Results) {
    let _ = write!(
        text,
        "\n## Beside it\n\nA run beside which a core stood still for more than {STOP_MAX_MS:.0} ms, or others \
         took more than {OTHERS_MAX} cores for a tenth of a second, or, where CPU is the figure, were charged \
         with more than {INTRUDERS_MAX} of the balancer's core, was made again, {TRIES} times in \
         all at most, and the last one kept whatever it was \
         (every one, once those thrown away had taken {} s): the same for everybody, \
         and for the search of the highest rate too, where besides whatever was found lossy was tried once \
         more. Where CPU is the figure, stops are seen on the load's core only: who wakes on the balancer's \
         is charged with what that does.\n\n\
         | | made again | kept though disturbed | longest stop, ms | others at their loudest, cores \
         | others on the balancer's core, cores |\n\
         |---|---|---|---|---|---|\n",
        THROWN_AWAY_MAX.as_secs(),
    );
    for runs in &results.rivals {
        let beside = &runs.beside;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            runs.title,
            beside.repeated,
            beside.disturbed,
            figure(beside.worst.stopped_ms, 1),
            figure(beside.worst.others, 2),
            figure(beside.worst.intruders, 2)
        );
    }
    let counting = results.rivals.iter().map(|runs| 100.0 * runs.beside.worst.counting);
    let (least, most) =
        (counting.clone().fold(f64::INFINITY, f64::min), counting.fold(0.0, f64::max));
    if least <= most {
        let _ = writeln!(
            text,
            "\nTo count what others took needs {least:.1} to {most:.1} % of the load's core, by how many \
             threads are measured, and nothing of the balancer's."
        );
    }
}

fn write_versions(text: &mut String, results: &Results) {
    text.push_str("\nVersions: ");
    let versions: Vec<_> = results.rivals.iter().map(|runs| runs.version.as_str()).collect();
    let mut told = versions.clone();
    told.dedup();
    let _ = writeln!(text, "{}.", told.join("; "));
}

fn every(runs: &Runs) -> impl Iterator<Item = &Report> {
    runs.saturated.iter().chain(&runs.low).chain(&runs.half)
}

/// A median with its quartiles.
pub(super) fn figures(spread: Spread) -> String {
    format!("{:.2} ({:.2} to {:.2})", spread.median, spread.quarter, spread.three_quarters)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in `results/` is what these figures come to: nobody has touched it up, and the text is
    /// of today.
    #[test]
    fn the_tables_and_aims_of_the_last_comparison_are_those_of_its_figures() {
        let figures = include_str!("../../results/2026-11-compare.json");
        let results: Results = serde_json::from_str(figures).expect("what compare has written");
        assert_eq!(all(&results), include_str!("../../results/2026-11-compare.md"));
        let chart = super::super::draw::chart(&results).svg();
        assert_eq!(chart, include_str!("../../results/2026-11-compare.svg"));
    }
}
