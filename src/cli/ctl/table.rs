//! The API's answers as people read them.

use serde_json::Value;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) fn backends(value: &Value) -> String {
    let head = [
        "NAME", "POOL", "ADDRESS", "STATE", "WANTED", "UP", "TIER", "WEIGHT", "DIALOGS", "CALLS",
        "OPEN", "WORK", "LATENCY", "SINCE", "WHY",
    ];
    let row = |one: &Value| {
        let up = one["up"]["value"].as_bool() == Some(true);
        let leaving = !one["leaving"].is_null();
        // Of the two things that make the state, the one that stands in the way is told.
        let told = if up { &one["admin"] } else { &one["up"] };
        let (since, why) = match leaving {
            true => (&one["leaving"]["since"], leaves(one).to_owned()),
            false if one["held"] == true => {
                (&told["since"], "held back by its Retry-After".to_owned())
            }
            false => {
                let why = format!("{}, by {}", text(&told["reason"]), text(&told["by"]));
                (&told["since"], why)
            }
        };
        let weight = match one["weight"]["now"] == one["weight"]["configured"] {
            true => text(&one["weight"]["now"]),
            false => format!("{} ({})", one["weight"]["now"], one["weight"]["configured"]),
        };
        let wanted = text(&one["admin"]["value"]);
        vec![
            if one["added"] == true {
                format!("{}*", text(&one["name"]))
            } else {
                text(&one["name"])
            },
            text(&one["pool"]),
            text(&one["address"]),
            if leaving { "leaving".to_owned() } else { text(&one["state"]) },
            if one["overridden"] == true { format!("{wanted}*") } else { wanted },
            if up { "yes" } else { "no" }.to_owned(),
            tier(one),
            weight,
            capped(&one["dialogs"], &one["dialogs_max"]),
            text(&one["calls"]),
            text(&one["transactions"]),
            text(&one["work"]),
            latency(&one["latency_ms"]),
            ago(since),
            why,
        ]
    };
    let mut shown = table(&head, rows(value, row));
    if rows(value, |one| vec![text(&one["overridden"])]).iter().any(|row| row[0] == "true") {
        shown += "* set at run time, against the config; `sipring ctl clear NAME` gives it up\n";
    }
    shown
}

/// Why one is on its way out.
fn leaves(one: &Value) -> &'static str {
    match (one["overridden"] == true, one["origin"].is_null()) {
        (true, _) => "removed at run time",
        (false, true) => "no longer in the config",
        (false, false) => "no longer in DNS",
    }
}

fn tier(one: &Value) -> String {
    let priority = text(&one["priority"]);
    match one["backup"] == true {
        true if priority == "0" => "backup".to_owned(),
        true => format!("backup {priority}"),
        false => priority,
    }
}

/// A count, and its cap if it has one.
fn capped(count: &Value, max: &Value) -> String {
    if max.is_null() { text(count) } else { format!("{} of {}", text(count), text(max)) }
}

/// Milliseconds, three digits of them behind the point.
pub(super) fn latency(value: &Value) -> String {
    value.as_f64().map_or("-".to_owned(), |ms| format!("{ms:.3} ms"))
}

pub(super) fn workers(value: &Value) -> String {
    let head = [
        "WORKER",
        "RECEIVED",
        "SENT",
        "CAME RIGHT",
        "HANDED OVER",
        "PINS",
        "DIALOGS",
        "CALLS",
        "CPU S",
    ];
    let names = [
        "worker",
        "datagrams_received",
        "datagrams_sent",
        "handoffs_spared",
        "handoffs",
        "pins",
        "dialogs",
        "calls",
    ];
    let row = |one: &Value| {
        let mut cells: Vec<_> = names.iter().map(|name| text(&one[*name])).collect();
        cells.push(format!("{:.1}", one["cpu_seconds"].as_f64().unwrap_or(0.0)));
        cells
    };
    table(&head, rows(value, row))
}

pub(super) fn events(value: &Value) -> String {
    let row = |one: &Value| {
        let subject = match one["backend"].as_str() {
            Some("*") => format!("pool {}", text(&one["pool"])),
            _ => text(&one["backend"]),
        };
        let names = ["what", "reason", "by"].map(|name| text(&one[name]));
        [ago(&one["at"]), subject].into_iter().chain(names).collect()
    };
    table(&["WHEN", "BACKEND", "WHAT", "WHY", "BY"], rows(value, row))
}

pub(super) fn status(value: &Value) -> String {
    let config = &value["config"];
    let mut shown = String::new();
    let mut line = |name: &str, text: String| shown += &format!("{name:<10} {text}\n");
    line("version", text(&value["version"]));
    line("started", ago(&value["started"]));
    let intake = if value["draining"] == true { "no new calls" } else { "takes calls" };
    line("intake", intake.to_owned());
    line("listeners", rows(&value["listeners"], |one| vec![text(one)]).concat().join(", "));
    for one in value["leaving_listeners"].as_array().into_iter().flatten() {
        line("leaving", format!("{}, which takes nothing new", text(&one["listener"])));
    }
    line("workers", text(&value["workers"]));
    line("backends", text(&value["backends"]));
    line("calls", format!("{}, {} of them confirmed", value["calls"], value["dialogs"]));
    line("pins", format!("{} of {}", value["pins"], value["pins_max"]));
    line("config", format!("{}, loaded {}", config["generation"], ago(&config["loaded"])));
    if let Some(error) = config["error"].as_str() {
        line("", format!("the last reload was refused: {}", error.trim_end()));
    }
    for name in value["names"].as_array().into_iter().flatten() {
        let [shown, state] = ["name", "state"].map(|key| text(&name[key]));
        let error =
            name["error"].as_str().map_or(String::new(), |_| format!(": {}", text(&name["error"])));
        line("name", format!("{shown}: {state}, {} addresses{error}", name["addresses"]));
    }
    for drift in value["drift"].as_array().into_iter().flatten() {
        let [backend, what, now, configured] =
            ["backend", "what", "now", "configured"].map(|name| text(&drift[name]));
        let said = match what.as_str() {
            "added" => format!("{backend}: added ({now}), the config does not have it"),
            "removed" => format!("{backend}: removed, the config has it ({configured})"),
            _ => format!("{backend}: {what} is {now}, the config says {configured}"),
        };
        line("drift", said);
    }
    shown
}

pub(super) fn pins(value: &Value) -> String {
    let found = &value["found"];
    match found["call_id"].as_str() {
        None => format!("{} of {}\n", value["count"], value["max"]),
        Some(call_id) => match found["backend"].as_str() {
            Some(backend) => format!("{call_id} is pinned to {backend}\n"),
            None => format!("{call_id} is not pinned\n"),
        },
    }
}

pub(super) fn reloaded(value: &Value) -> String {
    let mut shown = format!("configuration {}\n", value["generation"]);
    let kinds =
        [("changes", ""), ("needs_restart", "needs a restart: "), ("warnings", "warning: ")];
    for (name, before) in kinds {
        for one in value[name].as_array().into_iter().flatten() {
            let _ = writeln!(shown, "{before}{}", text(one));
        }
    }
    shown
}

pub(super) fn rows(value: &Value, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    value.as_array().into_iter().flatten().map(row).collect()
}

/// Columns as wide as their widest cell; what the other side says may not steer the terminal.
pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head = head.iter().map(|name| (*name).to_owned()).collect();
    let rows: Vec<Vec<String>> = [vec![head], rows].concat();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<_> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let mut shown = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        shown += line.trim_end();
        shown.push('\n');
    }
    shown
}

/// A string without its quotes and control characters, or another value as JSON has it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace(|c: char| c.is_control(), " "),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// How long ago a Unix time was.
fn ago(value: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Some(at) = value.as_f64() else { return "-".to_owned() };
    let seconds = (now.as_secs_f64() - at).max(0.0) as u64;
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn backend(name: &str) -> Value {
        let said = |value: Value| json!({"value": value, "reason": "r", "since": 0.0, "by": "b"});
        json!({
            "name": name, "pool": "default", "address": "10.0.0.1:5060", "priority": 0, "backup": false,
            "dialogs_max": null, "added": false, "state": "ready", "admin": said("ready".into()),
            "up": said(true.into()), "weight": {"now": 2, "configured": 2}, "dialogs": 3, "calls": 4,
            "transactions": 6, "work": 7.5, "latency_ms": 1.25, "held": false,
            "requests": 5, "overridden": false, "drain": null, "leaving": null,
        })
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let shown = backends(&json!([backend("a"), backend("a-long-name")]));
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines.len(), 3);
        let at = lines[0].find("ADDRESS").unwrap();
        assert!(lines[1..].iter().all(|line| line[at..].starts_with("10.0.0.1:5060  ready")));
        assert!(lines[1].ends_with("d ago  r, by b"), "{shown}");
    }

    #[test]
    fn what_was_set_at_run_time_is_marked() {
        let mut one = backend("a");
        one["overridden"] = true.into();
        one["weight"]["now"] = 7.into();
        let shown = backends(&json!([one]));
        assert!(shown.contains("ready*") && shown.contains("7 (2)"), "{shown}");
        assert!(shown.ends_with("gives it up\n"), "{shown}");
    }

    #[test]
    fn where_a_name_leads_and_why_a_backend_leaves_is_told() {
        let mut one = backend("a/10.0.0.1:5060");
        one["leaving"] = json!({"since": 0.0, "until": null});
        assert!(backends(&json!([one])).contains("no longer in the config"));
        one["origin"] = "a".into();
        assert!(backends(&json!([one])).contains("no longer in DNS"));
        let name = json!({"name": "a", "state": "kept", "addresses": 2, "error": "timeout"});
        let shown = status(&json!({"names": [name]}));
        assert!(shown.contains("name       a: kept, 2 addresses: timeout\n"), "{shown}");
    }

    #[test]
    fn who_is_held_back_shows_why_it_takes_nothing() {
        let mut one = backend("a");
        (one["held"], one["state"]) = (true.into(), "drained".into());
        let shown = backends(&json!([one]));
        assert!(shown.contains("held back by its Retry-After"), "{shown}");
        assert!(shown.contains("  6     7.5   1.250 ms  "), "{shown}");
    }

    #[test]
    fn nothing_that_comes_in_steers_the_terminal() {
        let shown = backends(&json!([backend("a\u{1b}[2Jb")]));
        assert!(shown.contains("a [2Jb") && !shown.contains('\u{1b}'), "{shown}");
    }

    #[test]
    fn what_is_missing_is_no_panic() {
        for value in [json!(null), json!({}), json!([{}]), json!([1])] {
            for show in [backends, workers, events, status, pins, reloaded] {
                let _ = show(&value);
            }
        }
    }
}
