//! Pools, rules, and where a request goes, as people read them.

use super::table::{latency, rows, table, text};
use serde_json::Value;
use std::fmt::Write;

pub(super) fn pools(value: &Value) -> String {
    let head = ["POOL", "POLICY", "READY", "CALLS", "PANIC", "TIERS", "RULES"];
    let row = |one: &Value| {
        let bound = one["bound"].as_f64().map(|bound| format!(", bound {bound}"));
        let tiers = rows(&one["tiers"], |tier| vec![texts(&tier["backends"], ", ")]).concat();
        let routes = texts(&one["routes"], ", ");
        vec![
            text(&one["name"]),
            format!("{}{}", text(&one["policy"]), bound.unwrap_or_default()),
            format!("{} of {}", text(&one["weight_ready"]), text(&one["weight"])),
            text(&one["calls"]),
            if one["panic"] == true { "yes" } else { "no" }.to_owned(),
            tiers.join(", then "),
            if routes.is_empty() { "-".to_owned() } else { routes },
        ]
    };
    table(&head, rows(value, row))
}

pub(super) fn routes(value: &Value) -> String {
    let row =
        |one: &Value| [&one["number"], &one["name"], &one["words"]].map(text).into_iter().collect();
    table(&["RULE", "NAME", "WHAT"], rows(value, row))
}

pub(super) fn whither(value: &Value) -> String {
    let backend = value["backend"].as_str().map_or("-".to_owned(), |_| text(&value["backend"]));
    let mut shown = format!("{backend}   {}: {}\n", text(&value["by"]), text(&value["why"]));
    if value["pool"].is_null() {
        return shown; // pinned: no rule was asked
    }
    let rule = [&value["route"], &value["rule"]].map(text);
    let rule = if value["route"].is_null() { rule[1].clone() } else { rule.join(": ") };
    let _ = writeln!(shown, "rule     {rule}");
    let _ = writeln!(shown, "pool     {}, by {}", text(&value["pool"]), text(&value["policy"]));
    let row = |one: &Value| {
        let full = if one["full"] == true { "full" } else { "" }.to_owned();
        let counts =
            ["backend", "weight", "calls", "transactions", "work"].map(|key| text(&one[key]));
        counts.into_iter().chain([latency(&one["latency_ms"]), full]).collect()
    };
    let candidates = rows(&value["candidates"], row);
    if !candidates.is_empty() {
        shown += &table(
            &["CANDIDATE", "WEIGHT", "CALLS NOW", "OPEN", "WORK", "LATENCY", ""],
            candidates,
        );
    }
    shown
}

fn texts(value: &Value, between: &str) -> String {
    rows(value, |one| vec![text(one)]).concat().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pool_shows_its_tiers_in_their_order() {
        let shown = pools(&json!([{
            "name": "calls", "policy": "aor-hash (maglev)", "bound": 1.25, "weight": 4,
            "weight_ready": 3, "calls": 7, "panic": true, "routes": ["route 1", "route 2"],
            "tiers": [{"backends": ["a", "b"]}, {"backends": ["c"]}],
        }]));
        for part in
            ["aor-hash (maglev), bound 1.25", "3 of 4", "yes", "a, b, then c", "route 1, route 2"]
        {
            assert!(shown.contains(part), "{part:?} in {shown}");
        }
    }

    #[test]
    fn where_says_rule_pool_policy_and_candidates() {
        let shown = whither(&json!({
            "call_id": "x", "backend": null, "by": "policy", "why": "drawn", "route": null,
            "rule": "everything -> pool calls", "pool": "calls", "policy": "random",
            "candidates": [{"backend": "a", "weight": 1, "calls": 3, "full": true}],
        }));
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(
            lines[..3],
            ["-   policy: drawn", "rule     everything -> pool calls", "pool     calls, by random"]
        );
        assert!(lines[4].starts_with("a ") && lines[4].ends_with("full"), "{shown}");
        let pinned = json!({"backend": "a", "by": "pin", "why": "known", "call_id": "x"});
        assert_eq!(whither(&pinned), "a   pin: known\n");
    }

    #[test]
    fn what_is_missing_is_no_panic() {
        for value in [json!(null), json!({}), json!([{}]), json!([1])] {
            for show in [pools, routes, whither] {
                let _ = show(&value);
            }
        }
    }
}
