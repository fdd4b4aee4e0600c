//! The message log of a running balancer: switched on by HUP, its file renamed and opened again by USR1.

use crate::stage::Stage;
use serde_json::Value;
use std::collections::HashSet;
use std::fs;

#[test]
fn usr1_begins_a_new_file_and_no_line_is_lost() {
    let stage = Stage::start(2);
    let file = stage.socket().with_file_name("messages.json");
    let renamed = file.with_extension("1");
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    stage.signal("USR1"); // there is none yet
    let caller = stage.caller();
    stage.wait_until("calls", || caller.report().through.started.value() > 10);
    stage.write(&format!(
        "{}[log]\nmessages = \"all\"\nfile = \"{}\"\n",
        stage.file(),
        file.display()
    ));
    assert_eq!(stage.ctl(&["reload"]).0, 0);
    stage.wait_until("lines", || text(&file).lines().count() > 20);
    let counted = stage.caller();
    stage.wait_until("calls", || counted.report().through.started.value() > 20);
    fs::rename(&file, &renamed).unwrap();
    let before = counted.report().through.started.value();
    stage.wait_until("more", || counted.report().through.started.value() > before + 20);
    assert!(!file.exists(), "it goes on where it was");
    stage.signal("USR1");
    stage.wait_until("lines", || text(&file).lines().count() > 20);
    stage.finish(&counted);
    stage.finish(&caller);
    let completed = counted.report().through.completed.value();
    let end = stage.end_by("TERM");
    assert_eq!(end, Some(0));
    let values = text(&renamed) + &text(&file);
    let values: Vec<Value> =
        values.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let answered: HashSet<_> = values
        .iter()
        .filter(|line| line["method"] == "INVITE" && line["code"] == 200)
        .map(|line| line["call_id"].as_str().expect("a Call-ID"))
        .collect();
    assert!(answered.len() as u64 >= completed, "{} of {completed} calls", answered.len());
    let names = ["b1", "b2"].map(Value::from);
    let of_calls =
        values.iter().filter(|line| line["method"] == "INVITE" && line["by"] == "backend");
    assert!(of_calls.clone().count() > 20);
    of_calls.clone().for_each(|line| assert!(names.contains(&line["backend"]), "{line}"));
    // Whose response was repeated has no times; most were not.
    let timed = of_calls.filter(|line| {
        let times = (line["t_first_ms"].as_f64(), line["t_final_ms"].as_f64());
        matches!(times, (Some(first), Some(last)) if 0.0 <= first && first <= last)
            && line["retrans"].as_u64().is_some()
    });
    assert!(timed.count() > 20);
}
