//! Fake workers' cells in, exposition text out.

use super::*;
use crate::pool::{BackendId, BackendSpec, Policy};
use std::process::{Command, Stdio};
use std::time::Duration;

fn spec(name: &str, port: u16, state: State) -> BackendSpec {
    let address = ([127, 0, 0, 1], port).into();
    BackendSpec { name: name.into(), address, weight: 3, state, sources: vec![], side: 0 }
}

fn source() -> Source {
    let specs = vec![spec("one", 5061, State::Ready), spec("two", 5062, State::Drained)];
    let pool = Pool::build(specs, Policy::CallIdHash, 0).expect("two good backends");
    let ids: Vec<_> = pool.backends().iter().map(|backend| backend.id).collect();
    Source {
        cells: (0..2).map(|_| Arc::new(Cells::new(ids.clone()))).collect(),
        pool: Arc::new(ArcSwap::from_pointee(pool)),
        probes: Arc::default(),
        pins_max: 1000,
        started: UNIX_EPOCH + Duration::from_millis(1_700_000_000_500),
    }
}

fn text(source: &Source) -> String {
    Metrics::new(source.clone()).text().expect("the encoder takes what is declared")
}

fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "no line {line:?} in:\n{text}");
}

#[test]
fn every_declared_metric_is_scraped_and_nothing_else() {
    let text = text(&source());
    for metric in declared::ALL {
        assert_line(&text, &format!("# HELP {} {}", metric.name, metric.help));
        let kind = if metric.kind == Kind::Counter { "counter" } else { "gauge" };
        assert_line(&text, &format!("# TYPE {} {kind}", metric.name));
    }
    let families = text.lines().filter(|line| line.starts_with("# TYPE")).count();
    assert_eq!(families, declared::ALL.len());
}

#[test]
fn every_series_exists_from_the_start() {
    let text = text(&source());
    assert_line(&text, "sipring_backend_requests_total{backend=\"one\"} 0");
    assert_line(&text, "sipring_backend_requests_total{backend=\"two\"} 0");
    assert_line(&text, "sipring_responses_total{class=\"6xx\"} 0");
    for reason in Drop::ALL.iter().map(|r| r.label()).chain(["truncated", "send_error"]) {
        assert_line(&text, &format!("sipring_dropped_messages_total{{reason=\"{reason}\"}} 0"));
    }
    for reason in Answer::ALL {
        assert_line(&text, &format!("sipring_answers_total{{reason=\"{}\"}} 0", reason.label()));
    }
}

#[test]
fn workers_are_summed_for_callers_and_kept_apart_for_saturation() {
    let source = source();
    source.cells[0].datagrams_received.add(3);
    source.cells[1].datagrams_received.add(4);
    source.cells[0].responses[1].add(5);
    source.cells[1].dropped[Drop::NoCallId as usize].add(6);
    source.cells[1].cpu_ns.set(1_500_000_000);
    source.cells[1].handoffs.increment();
    source.cells[0].pins.set(7);
    source.cells[1].pins.set(1);
    let text = text(&source);
    assert_line(&text, "sipring_datagrams_received_total 7");
    assert_line(&text, "sipring_responses_total{class=\"1xx\"} 0");
    assert_line(&text, "sipring_responses_total{class=\"2xx\"} 5");
    assert_line(&text, "sipring_dropped_messages_total{reason=\"no_call_id\"} 6");
    assert_line(&text, "sipring_worker_cpu_seconds_total{worker=\"0\"} 0");
    assert_line(&text, "sipring_worker_cpu_seconds_total{worker=\"1\"} 1.5");
    assert_line(&text, "sipring_handoffs_total{worker=\"1\"} 1");
    assert_line(&text, "sipring_pins 8");
    assert_line(&text, "sipring_pins_max 1000");
    assert_line(&text, "process_start_time_seconds 1700000000.5");
    assert_line(&text, "sipring_workers 2");
}

#[test]
fn each_backend_has_its_requests_weight_and_state() {
    let source = source();
    source.cells[0].backend_requests[0].add(1);
    source.cells[1].backend_requests[1].add(2);
    source.cells[0].backend_requests[1].add(3);
    let text = text(&source);
    assert_line(&text, "sipring_backend_requests_total{backend=\"one\"} 1");
    assert_line(&text, "sipring_backend_requests_total{backend=\"two\"} 5");
    assert_line(&text, "sipring_backend_weight{backend=\"two\"} 3");
    assert_line(&text, "sipring_backend_state{backend=\"one\",state=\"ready\"} 1");
    assert_line(&text, "sipring_backend_state{backend=\"one\",state=\"drained\"} 0");
    assert_line(&text, "sipring_backend_state{backend=\"two\",state=\"drained\"} 1");
    assert_line(&text, "sipring_backend_state{backend=\"two\",state=\"down\"} 0");
}

#[test]
fn each_backend_has_its_health_from_the_start_and_as_it_is() {
    let source = source();
    let first = text(&source);
    for line in [
        "sipring_backend_up{backend=\"two\"} 1",
        "sipring_probe_success{backend=\"two\"} 0",
        "sipring_probe_duration_seconds{backend=\"two\"} 0",
        "sipring_probe_transitions_total{backend=\"two\",to=\"up\"} 0",
        "sipring_probe_transitions_total{backend=\"two\",to=\"down\"} 0",
        "sipring_backend_outcomes_total{backend=\"two\",outcome=\"answered\"} 0",
        "sipring_backend_outcomes_total{backend=\"two\",outcome=\"unreachable\"} 0",
        "sipring_pool_panic 0",
    ] {
        assert_line(&first, line);
    }
    let figures = ProbeFigures { up: false, good: true, seconds: 0.25, ups: 2, downs: 3 };
    source.probes.set([(BackendId::of_name("two"), figures)].into_iter(), true);
    source.cells[0].backend_outcomes[1][BackendOutcome::Refused as usize].add(4);
    source.cells[1].backend_outcomes[1][BackendOutcome::Refused as usize].add(5);
    let later = text(&source);
    for line in [
        "sipring_backend_up{backend=\"one\"} 1",
        "sipring_backend_up{backend=\"two\"} 0",
        "sipring_probe_success{backend=\"two\"} 1",
        "sipring_probe_duration_seconds{backend=\"two\"} 0.25",
        "sipring_probe_transitions_total{backend=\"two\",to=\"up\"} 2",
        "sipring_probe_transitions_total{backend=\"two\",to=\"down\"} 3",
        "sipring_backend_outcomes_total{backend=\"two\",outcome=\"refused\"} 9",
        "sipring_pool_panic 1",
    ] {
        assert_line(&later, line);
    }
}

#[test]
fn a_name_with_quotes_stays_one_label() {
    let source = source();
    let pool = Pool::build(vec![spec("a\"b\\", 1, State::Ready)], Policy::CallIdHash, 0);
    source.pool.store(Arc::new(pool.expect("one good backend")));
    let line = r#"sipring_backend_weight{backend="a\"b\\"} 3"#;
    assert_line(&text(&source), line);
}

#[test]
fn promtool_is_content() {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(child) => child,
        Err(error) => {
            println!("SKIPPED: promtool cannot be started ({error}); it is in package prometheus");
            return;
        }
    };
    let mut stdin = promtool.stdin.take().expect("stdin is piped");
    std::io::Write::write_all(&mut stdin, text(&source()).as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
