//! Reports as JSON, one object each, by hand: a handful of numbers needs no serialiser.

use crate::histogram::Histogram;
use crate::report::{BackendReport, CallerReport, Tally};
use std::fmt::Write;

impl Tally {
    /// One JSON object. Latencies are microseconds.
    pub fn json(&self) -> String {
        let failed: Vec<_> = self.failures().map(|(code, n)| format!("\"{code}\":{n}")).collect();
        format!(
            "{{\"started\":{},\"completed\":{},\"failed\":{{{}}},\"timed_out\":{{\"answer\":{},\
             \"bye\":{},\"callees_bye\":{}}},\"split\":{},\"open\":{},\"repeated\":{{\"invite\":{},\
             \"bye\":{},\"answer\":{}}},\"latency_us\":{{\"first_response\":{},\"answer\":{},\
             \"bye\":{}}}}}",
            self.started.value(),
            self.completed.value(),
            failed.join(","),
            self.timed_out_answer.value(),
            self.timed_out_bye.value(),
            self.timed_out_callee.value(),
            self.split.value(),
            self.open(),
            self.invites_repeated.value(),
            self.byes_repeated.value(),
            self.answers_repeated.value(),
            latency_json(&self.first_response),
            latency_json(&self.answer),
            latency_json(&self.bye),
        )
    }
}

impl CallerReport {
    /// One JSON object.
    pub fn json(&self) -> String {
        let servers: Vec<_> =
            self.servers().iter().map(|(name, n)| format!("{}:{n}", quoted(name))).collect();
        let added = |share| self.added_ns(share).map_or("null".to_owned(), microseconds);
        format!(
            "{{\"through\":{},\"direct\":{},\"added_latency_us\":{{\"p50\":{},\"p99\":{}}},\
             \"servers\":{{{}}},\"late_starts\":{},\"strays\":{},\"extra_dialogs\":{{\
             \"begun\":{},\"ended\":{}}},\"garbage\":{},\"socket_errors\":{}}}",
            self.through.json(),
            self.direct.json(),
            added(0.5),
            added(0.99),
            servers.join(","),
            self.late_starts.value(),
            self.strays.value(),
            self.extra_dialogs.value(),
            self.extra_dialogs_ended.value(),
            self.garbage.value(),
            self.socket_errors.value(),
        )
    }
}

impl BackendReport {
    /// One JSON object. Latencies are microseconds.
    pub fn json(&self, name: &str) -> String {
        format!(
            "{{\"name\":{},\"new_calls\":{},\"dialogs\":{},\"completed\":{},\"unacknowledged\":{},\
             \"byes_failed\":{},\"refused\":{},\"strangers\":{},\"merged\":{},\"repeated\":\
             {{\"requests\":{},\"sends\":{}}},\"options\":{},\"dropped\":{},\"garbage\":{},\
             \"socket_errors\":{},\"latency_us\":{{\"ack\":{}}}}}",
            quoted(name),
            self.new_calls.value(),
            self.dialogs.value(),
            self.completed.value(),
            self.unacknowledged.value(),
            self.byes_failed.value(),
            self.refused.value(),
            self.strangers.value(),
            self.merged.value(),
            self.requests_repeated.value(),
            self.sends_repeated.value(),
            self.options.value(),
            self.dropped.value(),
            self.garbage.value(),
            self.socket_errors.value(),
            latency_json(&self.acknowledged),
        )
    }
}

fn latency_json(histogram: &Histogram) -> String {
    let us = |latency: Option<std::time::Duration>| {
        latency.map_or("null".to_owned(), |d| microseconds(d.as_nanos() as i64))
    };
    format!(
        "{{\"count\":{},\"p50\":{},\"p99\":{},\"max\":{}}}",
        histogram.count(),
        us(histogram.quantile(0.5)),
        us(histogram.quantile(0.99)),
        us(histogram.max()),
    )
}

fn microseconds(ns: i64) -> String {
    format!("{:.1}", ns as f64 / 1000.0)
}

/// A JSON string: names come from the wire.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_the_wire_cannot_break_the_json() {
        let report = CallerReport::default();
        report.answered_by("a\"b\\c\nd");
        assert!(report.json().contains("\"servers\":{\"a\\\"b\\\\c\\u000ad\":1}"));
        assert!(report.json().contains("\"added_latency_us\":{\"p50\":null,\"p99\":null}"));
    }
}
