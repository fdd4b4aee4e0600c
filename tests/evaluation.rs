//! The evaluation of the policies still knows how to drive the balancer: its shortest form, against the real binary.

use std::path::Path;
use std::process::Command;

#[test]
fn the_evaluation_runs_and_no_call_is_lost_but_those_of_the_dead() {
    let balancer = Path::new(env!("CARGO_BIN_EXE_sipring"));
    let runner = balancer.with_file_name("sipring-loadtest");
    if !runner.exists() {
        eprintln!("SKIPPED: {} is not built: cargo build --workspace", runner.display());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(runner)
        .args(["evaluate", "--short", "--rounds", "1", "--only", "round-robin", "--balancer"])
        .arg(balancer)
        .arg("--out")
        .arg(directory.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");

    let file = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let results: serde_json::Value = serde_json::from_str(&file("results.json")).unwrap();
    let runs = results["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 4, "{told}");
    for run in runs {
        let measures = &run["measures"];
        assert!(measures["completed_per_s"].as_f64().unwrap() > 0.0, "{run}");
        assert_eq!(measures["split"], 0, "{run}");
        if run["scenario"] == "equal" {
            assert_eq!(
                (&measures["failed"], &measures["bye_failed"]),
                (&0.into(), &0.into()),
                "{run}"
            );
        }
    }
    assert!(file("tables.md").contains("| round-robin |"));
    assert!(file("death-response.svg").ends_with("</svg>\n"));
}
