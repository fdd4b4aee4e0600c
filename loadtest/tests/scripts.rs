//! The scripts of this directory say what they are for when they are asked, instead of taking that for an argument.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn scripts() -> Vec<PathBuf> {
    let entries = fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_script = |path: &Path| path.extension().is_some_and(|ending| ending == "sh");
    let is_run = |path: &PathBuf| is_script(path) && !path.ends_with("usage.sh");
    paths.filter(is_run).collect()
}

fn run(script: &Path, argument: &str) -> Output {
    // From elsewhere: they find their place by themselves.
    Command::new(script).arg(argument).current_dir("/").output().unwrap()
}

#[test]
fn help_prints_the_head_of_the_script_and_does_nothing_else() {
    let scripts = scripts();
    assert!(scripts.iter().any(|script| script.ends_with("compare.sh")));
    for script in &scripts {
        let text = fs::read_to_string(script).unwrap();
        let head = text.lines().skip(1).take_while(|line| line.starts_with('#'));
        let head: String = head
            .map(|line| line.strip_prefix("# ").unwrap_or(&line[1..]).to_owned() + "\n")
            .collect();
        for argument in ["--help", "-h"] {
            let Output { status, stdout, .. } = run(script, argument);
            let said = String::from_utf8(stdout).unwrap();
            assert!(status.success(), "{script:?} {argument}");
            assert_eq!(said, head, "{script:?} {argument}");
            assert!(said.contains(".sh "), "{script:?} says how it is called");
        }
    }
}

#[test]
fn an_option_is_not_taken_for_a_name() {
    for script in scripts() {
        let Output { status, stderr, .. } = run(&script, "--short");
        assert_eq!(status.code(), Some(2), "{script:?}");
        assert!(String::from_utf8(stderr).unwrap().contains("--short"), "{script:?}");
    }
}
