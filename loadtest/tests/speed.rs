//! The binary: bare forwarders carry whole calls in both directions, and `load` tells what it saw.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_sipring-loadtest");

/// A process that is ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Addresses that nobody has just now.
fn free_addresses<const N: usize>() -> [String; N] {
    let sockets: [UdpSocket; N] = std::array::from_fn(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().to_string())
}

fn load(options: &str) -> serde_json::Value {
    let output = Command::new(BINARY).arg("load").args(options.split(' ')).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert!(output.status.success(), "{said}\n{report}");
    report
}

fn check_whole(report: &serde_json::Value) {
    assert!(report["completed"].as_u64().unwrap() > 10, "{report}");
    assert_eq!(report["completed"], report["started"], "{report}");
    for fault in ["wrong_backend", "strays", "garbage", "unsent"] {
        assert_eq!(report[fault], 0, "{fault}: {report}");
    }
}

#[test]
fn every_forwarder_carries_whole_calls() {
    for engine in ["mmsg", "mmsg-trains", "uring"] {
        let [listen, one, two] = free_addresses();
        let backends = format!("{one},{two}");
        let forwarder = Command::new(BINARY)
            .args(["forward", "--listen", &listen, "--backends", &backends, "--engine", engine])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut forwarder = Process(forwarder);
        wait_for_line(&mut forwarder.0, engine);
        let watched = forwarder.0.id();
        let report = load(&format!(
            "--to {listen} --backends {backends} --in-flight 20 --seconds 0.4 --warm-up 0.1 \
             --mix call=3,options=1,message=1,register=1 --watch {watched}"
        ));
        check_whole(&report);
        assert!(report["balancer"]["us_per_message"].as_f64().unwrap() > 0.0, "{engine}: {report}");
        assert!(report["messages_a_turn"].as_f64().unwrap() > 0.0, "{engine}: {report}");
        assert!(!report["processors_busy"].as_object().unwrap().is_empty(), "{engine}: {report}");
        assert!(report["latency_us"]["other"]["count"].as_u64().unwrap() > 0, "{engine}: {report}");
    }
}

#[test]
fn a_rate_is_kept_straight_to_the_backends_and_drawn() {
    let [one, two] = free_addresses();
    let plot = std::env::temp_dir().join(format!("sipring-load-{}.svg", std::process::id()));
    let report = load(&format!(
        "--backends {one},{two} --rate 500 --seconds 1 --warm-up 0.1 --hold-ms 5 --trains --plot {}",
        plot.display()
    ));
    check_whole(&report);
    let drawn = std::fs::read_to_string(&plot).unwrap();
    std::fs::remove_file(&plot).unwrap();
    assert!(drawn.contains("INVITE to 200"));
    assert_eq!(report["counts_from_due_time"], true);
    // A Poisson process: the root of 500 is 22.
    let started = report["started"].as_u64().unwrap();
    assert!((350..650).contains(&started), "{started}");
}

#[test]
fn calls_that_are_held_longer_than_the_run_are_no_lost_ones() {
    let [one] = free_addresses();
    let report =
        load(&format!("--backends {one} --rate 200 --seconds 0.2 --warm-up 0.1 --hold-ms 2500"));
    check_whole(&report);
}

#[test]
fn what_could_not_be_told_is_refused_before_the_run() {
    let [one] = free_addresses();
    let run = format!("load --backends {one} --rate 1 --seconds 600");
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    for (option, value) in [("--watch", gone.id().to_string()), ("--plot", "/none/x.svg".into())] {
        let output =
            Command::new(BINARY).args(run.split(' ')).args([option, &value]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&value), "{said}");
    }
}

#[test]
fn a_balancer_that_has_ended_cost_no_less_than_one_that_lives() {
    let [one] = free_addresses();
    let mut balancer = Command::new("sleep").arg("0.3").spawn().unwrap();
    let watched = balancer.id();
    let report =
        load(&format!("--backends {one} --rate 100 --seconds 1 --warm-up 0 --watch {watched}"));
    balancer.wait().unwrap();
    assert_eq!(report["balancer"], serde_json::Value::Null, "{report}");
}

/// The first words of a process say that it has begun.
fn wait_for_line(child: &mut Child, engine: &str) {
    use std::io::{BufRead, BufReader};
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("forwarding"), "{engine}: {line}");
}
