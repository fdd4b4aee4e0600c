//! The program itself: exit codes, and what goes to standard output and what to standard error.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const GOOD: &str = r#"
[[listener]]
bind = "udp:127.0.0.1:5060"
[[pool]]
[[pool.backend]]
address = "127.0.0.1:5070"
"#;

fn sipring(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sipring"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = sipring(arguments).output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("no signal ended it"), text(stdout), text(stderr))
}

/// A file of this content; it goes with the directory.
fn file(content: &str) -> (TempDir, String) {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("sipring.toml");
    fs::write(&path, content).expect("a file");
    (directory, path.to_str().expect("UTF-8").to_owned())
}

#[test]
fn version_and_help_are_results() {
    let (code, out, err) = run(&["--version"]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, concat!("sipring ", env!("CARGO_PKG_VERSION"), "\n"), "")
    );
    let (code, out, err) = run(&["--help"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("Exit codes:"), "{out}");
    let (code, out, _) = run(&["run", "--help"]);
    assert_eq!(code, 0);
    for flag in ["--listen", "--backend", "--policy", "--workers", "--admin", "--no-record-route"] {
        assert!(out.contains(flag), "{flag}\n{out}");
    }
    let (_, _, err) = run(&["run", "--policy", "none"]);
    let names = err.split('"').skip(1).step_by(2).filter(|name| *name != "header-hash");
    let names: Vec<_> = names.collect();
    assert!(names.contains(&"least-work"), "{err}");
    names.iter().for_each(|name| assert!(out.contains(name), "{name}\n{out}"));
}

/// How much memory rings lock is the kernel's affair; that both say the same is ours.
#[test]
fn doctor_finds_what_run_would_find_about_the_limit_of_locked_memory() {
    let mut decided = Vec::new();
    for limit in ["4096", "65536", "393216", "67108864"] {
        let limit = format!("--memlock={limit}:{limit}");
        let with_limit = |arguments: &[&str]| {
            // root may lock what it wants by CAP_IPC_LOCK.
            let mut command = Command::new("setpriv");
            command.args(["--bounding-set=-ipc_lock", "prlimit", &limit]);
            command.args([env!("CARGO_BIN_EXE_sipring"), arguments[0]]).args(&arguments[1..]);
            command.args(["--listen", "udp:127.0.0.1:0", "--backend", "127.0.0.1:9"]);
            command.args(["--admin", "127.0.0.1:0", "--backend-ports", "listener"]);
            command.args(["--workers", "6"]).stdin(Stdio::null());
            command
        };
        let Ok(doctor) = with_limit(&["doctor"]).output() else { break };
        let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
        let Some(ring) = said.lines().find(|line| line.contains(" io_uring ")) else { break };
        let mut running = with_limit(&["run"]).stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(running.stderr.take().expect("piped")).lines();
        let starts = lines.map_while(Result::ok).any(|line| line.contains(" listens on "));
        let _ = running.kill();
        running.wait().expect("it ends");
        assert_eq!(ring.starts_with("ok "), starts, "{limit}: {said}");
        assert_eq!(doctor.status.code(), Some(if starts { 0 } else { 69 }), "{limit}: {said}");
        assert!(starts || said.contains("LimitMEMLOCK"), "{said}");
        decided.push(starts);
    }
    if decided.is_empty() {
        println!("SKIPPED: limits of locked memory: not root, or no setpriv");
    }
}

#[test]
fn wrong_command_lines_exit_2() {
    for arguments in [
        &[][..],
        &["walk"],
        &["run", "--liste", "udp:0.0.0.0:5060"],
        &["run", "--workers"],
        &["run"],
        &["check"],
        &["run", "--listen", "tcp:127.0.0.1:5060", "--backend", "127.0.0.1:5070"],
        &["run", "--listen", "udp:127.0.0.1:5060", "--backend", "127.0.0.1:5070,priority=65536"],
        &["run", "--listen", "udp:127.0.0.1:5060", "--backend", "127.0.0.1:5060"],
        &["check", "--listen", "udp:127.0.0.1:5060", "--backend", "proxy_1:5070"],
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}\n{err}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn bad_files_exit_78_for_run_and_check() {
    let (_directory, path) = file("[log]\nlevel = \"loud\"\n");
    for command in ["run", "check"] {
        let (code, out, err) = run(&[command, "--config", &path]);
        assert_eq!((code, out.as_str()), (78, ""), "{err}");
        assert!(err.contains(&format!(" --> {path}:2:10\n")), "{err}");
    }
}

#[test]
fn files_that_cannot_be_read_exit_78() {
    let (directory, path) = file("");
    let missing = format!("{path}.missing");
    let folder = directory.path().to_str().expect("UTF-8");
    for path in [missing.as_str(), folder, "/dev/zero"] {
        let (code, out, err) = run(&["check", "--config", path]);
        assert_eq!((code, out.as_str()), (78, ""), "{err}");
        assert!(err.starts_with(&format!("error: cannot read the config file {path}: ")), "{err}");
    }
}

#[test]
fn a_file_and_a_wrong_flag_exit_2() {
    let (_directory, path) = file(GOOD);
    let (code, _, err) = run(&["run", "--config", &path, "--workers", "0"]);
    assert_eq!(code, 2, "{err}");
}

#[test]
fn check_prints_a_file_that_checks_to_the_same() {
    let (_directory, path) = file(GOOD);
    let (code, first, err) =
        run(&["check", "--config", &path, "--backend", "127.0.0.1:5071,name=b"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.starts_with("warning: there is no cluster key\n"), "{err}");
    assert!(first.contains("name = \"b\"\naddress = \"127.0.0.1:5071\"\n"), "{first}");
    let (_directory, path) = file(&first);
    let (code, second, _) = run(&["check", "--config", &path]);
    assert_eq!((code, second), (0, first));
}

#[test]
fn colours_never_go_into_a_pipe() {
    let (_directory, path) = file("workers = 0\n");
    let (_, _, err) = run(&["check", "--config", &path]);
    assert!(!err.contains('\u{1b}'), "{err}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let (_directory, path) = file(GOOD);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = sipring(&["check", "--config", &path]);
    let output = command.stdout(writer).stderr(Stdio::piped()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_result_that_cannot_be_written_exits_1() {
    let (_directory, path) = file(GOOD);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let mut command = sipring(&["check", "--config", &path]);
    let output = command.stdout(full).stderr(Stdio::piped()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(err.contains("error: cannot write to standard output: "), "{err}");
}

#[test]
fn the_demo_plays_every_scene_and_loses_no_call() {
    let directory = TempDir::new().expect("a directory");
    let mut command = sipring(&["demo", "--seconds", "5"]);
    let output = command.env("TMPDIR", directory.path()).output().expect("it starts");
    let out = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "DRAIN: backend-2 ",
        "backend-2: drained (no call is left",
        "DEATH: backend-3 ",
        "backend-3: down (",
        "backend-3: up (",
        "RELOAD: backend-5 ",
        "reload    backend \"backend-5\" added (127.0.0.1:",
        "REFUSED: ",
        "^^^^^^ not a key of [[pool.backend]]",
        " 0 lost, ",
        " failed over, 1 reload, 1 refused\n",
    ] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    assert!(!out.contains('\u{1b}'), "no terminal, no escapes: {out}");
    let left = fs::read_dir(directory.path()).expect("a directory").count();
    assert_eq!(left, 0, "the config file goes at the end");
}

#[test]
fn the_demo_says_that_it_needs_a_directory() {
    let output = sipring(&["demo"]).env("TMPDIR", "/nowhere/at/all").output().expect("it starts");
    assert_eq!(output.status.code(), Some(69));
    let err = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(err.contains("a directory under /nowhere/at/all"), "{err}");
}
