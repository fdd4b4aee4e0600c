//! The binary: what it prints and how it exits.

use sipring_loadtest::{Backend, BackendOptions};
use std::process::{Command, Output};

fn run(arguments: &str) -> Output {
    let binary = env!("CARGO_BIN_EXE_sipring-loadtest");
    Command::new(binary).args(arguments.split(' ')).output().unwrap()
}

fn backend() -> Backend {
    Backend::start(BackendOptions::named("b1", "127.0.0.1:0".parse().unwrap())).unwrap()
}

#[test]
fn calls_that_complete_exit_with_0_and_are_told_as_json() {
    let backend = backend();
    let out = run(&format!("caller --to {} --calls 20 --hold-ms 1", backend.address()));
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0), "{text}");
    assert!(text.starts_with("{\"through\":{\"started\":20,\"completed\":20,"), "{text}");
    assert!(text.contains("\"servers\":{\"b1\":20}"), "{text}");
}

#[test]
fn lost_calls_exit_with_1() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = silent.local_addr().unwrap();
    let out = run(&format!("caller --to {to} --calls 2 --t1-ms 5"));
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.contains("\"timed_out\":{\"answer\":2,"), "{text}");
}

#[test]
fn wrong_arguments_exit_with_2_and_busy_ports_with_69() {
    assert_eq!(run("caller").status.code(), Some(2));
    assert_eq!(run("backend --listen 0.0.0.0:0 --name b").status.code(), Some(2));
    let busy = backend();
    let out = run(&format!("backend --listen {} --name b", busy.address()));
    assert_eq!(out.status.code(), Some(69));
    assert_eq!(run("--help").status.code(), Some(0));
}

#[test]
fn a_backend_ends_after_its_time() {
    let out = run("backend --listen 127.0.0.1:0 --name b2 --seconds 0.1");
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert!(text.starts_with("{\"name\":\"b2\",\"new_calls\":0,"), "{text}");
}
