//! The results as Markdown tables: policies down, offered loads across.

use super::measures::Measures;
use super::results::{Cluster, Figure, Results};
use std::fmt::Write;

/// Which figure of a run.
type Pick = fn(&Measures) -> f64;
/// How it stands in a cell.
type Show = fn(Figure) -> String;

/// All tables.
pub(super) fn all(results: &Results) -> String {
    let mut text = format!(
        "Medians of {} rounds, by `{}`: {} runs in {:.0} s, {} at a time. {}; {} cores, Linux {}; \
         {}.\n",
        results.rounds,
        results.command,
        results.runs.len(),
        results.seconds,
        results.lanes,
        results.machine.processor,
        results.machine.cores,
        results.machine.kernel,
        results.balancer,
    );
    if !results.refused.is_empty() {
        let _ = write!(
            text,
            "\nNot measured, refused by the balancer: {}.\n",
            results.refused.join(", ")
        );
    }
    for cluster in &results.clusters {
        let speeds: Vec<String> = cluster.speeds.iter().map(f64::to_string).collect();
        let _ = write!(
            text,
            "\n## {}: {}\n\nSpeeds {}; {:.0} calls/s in all.\n",
            cluster.name,
            cluster.title,
            speeds.join(", "),
            cluster.capacity
        );
        match cluster.death {
            Some(_) => death(&mut text, results, cluster),
            None => by_load(&mut text, results, cluster),
        }
    }
    text
}

fn by_load(text: &mut String, results: &Results, cluster: &Cluster) {
    let ms: Show = |f| milliseconds(f.median);
    let ranged: Show = |f| {
        format!("{} ({}-{})", milliseconds(f.median), milliseconds(f.low), milliseconds(f.high))
    };
    let grids: [(&str, Pick, Show); 8] = [
        (
            "Response time of INVITE, mean, ms (lowest and highest round)",
            |m| m.response_mean_ms,
            ranged,
        ),
        ("Response time of INVITE, 95th percentile, ms", |m| m.response_p95_ms, ms),
        ("Response time of INVITE, 99th percentile, ms", |m| m.response_p99_ms, ms),
        ("Response time of BYE, mean, ms", |m| m.bye_mean_ms, ms),
        ("Calls completed per second", |m| m.completed_per_s, |f| format!("{:.0}", f.median)),
        (
            "Calls not answered within 500 ms, %",
            |m| m.late_share * 100.0,
            |f| format!("{:.1}", f.median),
        ),
        ("Retransmissions per call", |m| m.repeats_per_call, |f| format!("{:.2}", f.median)),
        (
            "Work of the busiest backend over that of the average one",
            |m| m.imbalance,
            |f| format!("{:.2}", f.median),
        ),
    ];
    for (title, figure, show) in grids {
        let columns: Vec<String> =
            cluster.loads.iter().map(|load| format!("{:.0} %", load * 100.0)).collect();
        head(text, title, &columns);
        for policy in &results.policies {
            let cell = |&load: &f64| results.figure(cluster, policy, load, figure).map(show);
            row(text, policy, cluster.loads.iter().map(cell));
        }
    }
}

fn death(text: &mut String, results: &Results, cluster: &Cluster) {
    let count: Show = |f| format!("{:.0} ({:.0}-{:.0})", f.median, f.low, f.high);
    let columns: [(&str, Pick, Show); 6] = [
        ("refused", |m| m.failed as f64, count),
        ("unanswered", |m| m.unanswered as f64, count),
        ("cut off", |m| (m.bye_failed + m.bye_open) as f64, count),
        ("not within 500 ms, %", |m| m.late_share * 100.0, |f| format!("{:.2}", f.median)),
        ("p99 of response, ms", |m| m.response_p99_ms, |f| milliseconds(f.median)),
        ("calls/s completed", |m| m.completed_per_s, |f| format!("{:.0}", f.median)),
    ];
    head(text, "Calls that began around it", &columns.map(|(name, ..)| name.to_owned()));
    for policy in &results.policies {
        let load = cluster.loads[0];
        let cells = columns
            .iter()
            .map(|(_, figure, show)| results.figure(cluster, policy, load, *figure).map(*show));
        row(text, policy, cells);
    }
}

fn head(text: &mut String, title: &str, columns: &[String]) {
    let _ = write!(
        text,
        "\n### {title}\n\n| policy | {} |\n|---|{}\n",
        columns.join(" | "),
        "---:|".repeat(columns.len())
    );
}

fn row(text: &mut String, name: &str, cells: impl Iterator<Item = Option<String>>) {
    let cells: Vec<String> = cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned())).collect();
    let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
}

/// Three digits that mean something.
fn milliseconds(ms: f64) -> String {
    match ms {
        ..10.0 => format!("{ms:.2}"),
        ..100.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::{Machine, Round};
    use super::super::{draw, scenario};
    use super::*;
    use crate::evaluate::measures::Bin;

    /// Three rounds of one policy at the first load of each cluster; a second policy was not run.
    fn results() -> Results {
        let clusters: Vec<Cluster> = scenario::all(false).iter().map(Cluster::of).collect();
        let run = |cluster: &Cluster, round: u32, response_mean_ms| Round {
            scenario: cluster.name.clone(),
            policy: "random".to_owned(),
            load: cluster.loads[0],
            round,
            measures: Measures { response_mean_ms, failed: round.into(), ..Measures::default() },
            series: vec![Bin { lost: round.into(), ..Bin::default() }],
        };
        let rounds = [(0, 30.0), (1, 7.0), (2, 8.5)];
        let runs = clusters.iter().flat_map(|cluster| {
            rounds.iter().map(|(round, mean_ms)| run(cluster, *round, *mean_ms))
        });
        let machine = Machine { processor: "p".to_owned(), cores: 2, kernel: "6.1".to_owned() };
        Results {
            machine,
            command: "evaluate".to_owned(),
            balancer: "b 1".to_owned(),
            seconds: 1.0,
            seed: 1,
            rounds: 3,
            lanes: 1,
            policies: vec!["random".to_owned(), "latency".to_owned()],
            refused: vec!["least-work".to_owned()],
            runs: runs.collect(),
            clusters,
        }
    }

    #[test]
    fn a_cell_is_the_median_of_the_rounds_and_what_was_not_run_is_a_dash() {
        let text = all(&results());
        assert!(text.contains("| random | 8.50 (7.00-30.0) | - | - | - | - | - |"), "{text}");
        assert!(text.contains("| latency | - | - | - | - | - | - |"), "{text}");
        assert!(
            text.contains("| random | 1 (0-2) | 0 (0-0) | 0 (0-0) | 0.00 | 0.00 | 0 |"),
            "{text}"
        );
        assert!(text.contains("refused by the balancer: least-work."), "{text}");
    }

    #[test]
    fn an_earlier_run_adds_the_policies_that_this_one_has_not() {
        let (mut now, mut earlier) = (results(), results());
        for run in &mut now.runs {
            run.policy = "latency".to_owned();
        }
        now.policies = vec!["latency".to_owned()];
        now.refused = vec!["random".to_owned(), "least-work".to_owned()];
        earlier.policies.truncate(1);
        let runs = now.runs.len() + earlier.runs.len();
        now.add(earlier);
        assert_eq!(now.policies, ["random", "latency"]);
        assert_eq!(now.refused, ["least-work"]);
        assert_eq!(now.runs.len(), runs);
        let text = all(&now);
        let row = |name| text.contains(&format!("| {name} | 8.50 (7.00-30.0) |"));
        assert!(row("random") && row("latency"), "{text}");
        let before = now.runs.len();
        now.add(results());
        assert_eq!(now.runs.len(), before, "what was measured now is not taken from before");
    }

    #[test]
    fn rows_are_as_wide_as_their_heads() {
        let text = all(&results());
        let tables = text.split("\n\n").filter(|block| block.starts_with('|'));
        for table in tables {
            let widths: Vec<usize> = table.trim().lines().map(|l| l.matches('|').count()).collect();
            assert!(widths.iter().all(|width| *width == widths[0]), "{table}");
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_drawn_alike() {
        let results = results();
        let again: Results =
            serde_json::from_str(&serde_json::to_string(&results).unwrap()).unwrap();
        assert_eq!(all(&results), all(&again));
        let charts = |results| -> Vec<_> {
            draw::all(results).into_iter().map(|(name, chart)| (name, chart.svg())).collect()
        };
        assert_eq!(charts(&results), charts(&again));
        let names: Vec<String> = charts(&results).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 9, "{names:?}: three each, and none where there is one load");
    }
}
