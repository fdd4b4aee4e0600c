//! Fake workers' cells in, exposition text out.

use super::*;
use crate::pool::{BackendId, BackendSlot, BackendSpec, GroupSpec, Policy, Pool};
use std::process::{Command, Stdio};
use std::time::Duration;

fn spec(name: &str, port: u16, state: State) -> BackendSpec {
    let address = ([127, 0, 0, 1], port).into();
    BackendSpec { weight: 3, state, ..BackendSpec::new(name, address) }
}

fn source() -> Source {
    let specs = vec![spec("one", 5061, State::Ready), spec("two", 5062, State::Drained)];
    let pool = Pool::build(specs, Policy::CALL_ID_HASH, 0).expect("two good backends");
    Source {
        cells: (0..2).map(|_| Arc::default()).collect(),
        roster: Arc::new(ArcSwap::from_pointee(Roster::new(pool, 2))),
        reloads: Arc::new(Reloads::new(UNIX_EPOCH + Duration::from_secs(1_700_000_000))),
        probes: Arc::default(),
        socket_drops: Arc::new(drops()),
        lookups: Arc::default(),
        steering: Arc::default(),
        pins_max: 1000,
        started: UNIX_EPOCH + Duration::from_millis(1_700_000_000_500),
    }
}

fn drops() -> SocketDrops {
    let drops = SocketDrops::default();
    drops.keep([&"udp:192.0.2.1:5060".to_owned()].into_iter());
    drops
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
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert_line(&text, &format!("# TYPE {} {kind}", metric.name));
    }
    let families = text.lines().filter(|line| line.starts_with("# TYPE")).count();
    assert_eq!(families, declared::ALL.len());
}

#[test]
fn times_are_scraped_by_backend_and_summed_over_the_workers() {
    let source = source();
    for (worker, cells) in source.cells.iter().enumerate() {
        let roster = source.roster.load();
        let of = roster.cells(worker, BackendSlot(0)).expect("its cells");
        of.first_response.observe(400);
        cells.setup_seconds.observe(40_000_000);
    }
    let (text, workers) = (text(&source), source.cells.len());
    let first = "sipring_backend_first_response_seconds";
    assert_line(&text, &format!("{first}_bucket{{backend=\"one\",le=\"0.000375\"}} 0"));
    assert_line(&text, &format!("{first}_bucket{{backend=\"one\",le=\"0.0005\"}} {workers}"));
    assert_line(&text, &format!("{first}_count{{backend=\"one\"}} {workers}"));
    assert_line(&text, &format!("{first}_count{{backend=\"two\"}} 0"));
    assert_line(&text, "sipring_setup_seconds_bucket{le=\"32.768\"} 0");
    assert_line(&text, &format!("sipring_setup_seconds_sum {}", 40 * workers));
}

#[test]
fn every_series_exists_from_the_start() {
    let text = text(&source());
    assert_line(&text, "sipring_backend_requests_total{backend=\"one\"} 0");
    assert_line(&text, "sipring_backend_requests_total{backend=\"two\"} 0");
    assert_line(&text, "sipring_responses_total{class=\"6xx\"} 0");
    assert_line(&text, "sipring_backend_responses_total{backend=\"two\",class=\"6xx\"} 0");
    assert_line(&text, "sipring_call_attempts_total 0");
    for method in Method::ALL {
        for dir in ["to_backend", "to_client"] {
            let labels = format!("method=\"{}\",dir=\"{dir}\"", method.label());
            assert_line(&text, &format!("sipring_requests_total{{{labels}}} 0"));
        }
    }
    for result in CallResult::ALL {
        let line = format!("sipring_call_results_total{{result=\"{}\"}} 0", result.label());
        assert_line(&text, &line);
    }
    for result in RegistrationResult::ALL {
        let line = format!("sipring_registrations_total{{result=\"{}\"}} 0", result.label());
        assert_line(&text, &line);
    }
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
    source.cells[1].handoffs_spared.add(3);
    source.steering.set(1);
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
    assert_line(&text, "sipring_handoffs_spared_total{worker=\"1\"} 3");
    assert_line(&text, "sipring_steering_enabled 1");
    assert_line(&text, "sipring_pins 8");
    assert_line(&text, "sipring_pins_max 1000");
    assert_line(&text, "process_start_time_seconds 1700000000.5");
    assert_line(&text, "sipring_workers 2");
}

#[test]
fn the_histogram_is_cumulative_and_in_seconds() {
    let source = source();
    source.cells[0].forward_seconds.observe(4_000, 2);
    source.cells[1].forward_seconds.observe(60_000, 1);
    source.cells[1].forward_seconds.observe(1_000_000_000, 1);
    let text = text(&source);
    for (bound, count) in [("0.000005", 2), ("0.00005", 2), ("0.0001", 3), ("0.1", 3), ("+Inf", 4)]
    {
        assert_line(&text, &format!("sipring_forward_seconds_bucket{{le=\"{bound}\"}} {count}"));
    }
    assert_line(&text, "sipring_forward_seconds_count 4");
    assert_line(&text, "sipring_forward_seconds_sum 1.000068");
}

#[test]
fn each_backend_has_its_requests_weight_and_state() {
    let source = source();
    let (one, two) = (0, 1);
    let roster = source.roster.load();
    let of = |worker, slot| roster.cells(worker, BackendSlot(slot)).expect("its cells");
    of(0, one).requests.add(1);
    of(1, two).requests.add(2);
    of(0, two).requests.add(3);
    of(0, two).responses[4].add(6);
    of(1, two).responses[4].add(7);
    of(0, two).dialogs.set(4);
    of(1, two).dialogs.set(5);
    of(1, two).calls.set(6);
    let text = text(&source);
    assert_line(&text, "sipring_backend_responses_total{backend=\"two\",class=\"5xx\"} 13");
    assert_line(&text, "sipring_backend_responses_total{backend=\"one\",class=\"5xx\"} 0");
    assert_line(&text, "sipring_backend_requests_total{backend=\"one\"} 1");
    assert_line(&text, "sipring_backend_requests_total{backend=\"two\"} 5");
    assert_line(&text, "sipring_backend_dialogs{backend=\"one\"} 0");
    assert_line(&text, "sipring_backend_dialogs{backend=\"two\"} 9");
    assert_line(&text, "sipring_backend_calls{backend=\"two\"} 6");
    assert_line(&text, "sipring_backend_weight{backend=\"two\"} 3");
    assert_line(&text, "sipring_backend_state{backend=\"one\",state=\"ready\"} 1");
    assert_line(&text, "sipring_backend_state{backend=\"one\",state=\"drained\"} 0");
    assert_line(&text, "sipring_backend_state{backend=\"two\",state=\"drained\"} 1");
    assert_line(&text, "sipring_backend_state{backend=\"two\",state=\"down\"} 0");
}

#[test]
fn a_reload_is_counted_and_a_failure_is_the_last_word_until_a_success() {
    let source = source();
    assert_line(&text(&source), "sipring_config_last_reload_successful 1");
    assert_line(&text(&source), "sipring_config_generation 1");
    source.reloads.failure();
    let failed = text(&source);
    assert_line(&failed, "sipring_config_last_reload_successful 0");
    assert_line(&failed, "sipring_config_reloads_total{result=\"failure\"} 1");
    assert_line(&failed, "sipring_config_last_reload_timestamp_seconds 1700000000");
    for changed in [true, false] {
        source.reloads.success(changed, UNIX_EPOCH + Duration::from_secs(1_700_000_060));
    }
    let succeeded = text(&source);
    assert_line(&succeeded, "sipring_config_last_reload_successful 1");
    assert_line(&succeeded, "sipring_config_reloads_total{result=\"success\"} 2");
    assert_line(&succeeded, "sipring_config_last_reload_timestamp_seconds 1700000060");
    assert_line(&succeeded, "sipring_config_generation 2");
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
        "sipring_backend_outcomes_total{backend=\"two\",outcome=\"silent\"} 0",
        "sipring_pool_panic{pool=\"default\"} 0",
        "sipring_pool_backends{pool=\"default\",state=\"down\"} 0",
        "sipring_pool_weight{pool=\"default\",state=\"down\"} 0",
    ] {
        assert_line(&first, line);
    }
    let figures = ProbeFigures { up: false, good: true, seconds: 0.25, ups: 2, downs: 3 };
    let panics = vec!["default".to_owned()];
    source.probes.set([(BackendId::of_name("two"), figures)].into_iter(), panics);
    for (n, of) in (4..).zip(source.roster.load().of(BackendId::of_name("two"))) {
        of.outcomes[BackendOutcome::Refused as usize].add(n);
    }
    let later = text(&source);
    for line in [
        "sipring_backend_up{backend=\"one\"} 1",
        "sipring_backend_up{backend=\"two\"} 0",
        "sipring_probe_success{backend=\"two\"} 1",
        "sipring_probe_duration_seconds{backend=\"two\"} 0.25",
        "sipring_probe_transitions_total{backend=\"two\",to=\"up\"} 2",
        "sipring_probe_transitions_total{backend=\"two\",to=\"down\"} 3",
        "sipring_backend_outcomes_total{backend=\"two\",outcome=\"refused\"} 9",
        "sipring_pool_panic{pool=\"default\"} 1",
    ] {
        assert_line(&later, line);
    }
}

#[test]
fn a_name_with_quotes_stays_one_label() {
    let source = source();
    let pool = Pool::build(vec![spec("a\"b\\", 1, State::Ready)], Policy::CALL_ID_HASH, 0);
    source.roster.store(Arc::new(Roster::new(pool.expect("one good backend"), 2)));
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

#[test]
fn each_pool_has_its_backends_by_state() {
    let source = source();
    let group = |name: &str, backends| GroupSpec::new(name, Policy::RoundRobin, backends);
    let groups = [
        group("calls", vec![spec("a", 1, State::Ready), spec("b", 2, State::Drained)]),
        group("registrars", vec![spec("c", 1, State::Down), spec("d", 2, State::Down)]),
    ];
    let pool = Pool::build_groups(&groups, Vec::new(), 0).expect("two groups");
    source.roster.store(Arc::new(Roster::new(pool, 2)));
    let text = text(&source);
    for line in [
        "sipring_pool_backends{pool=\"calls\",state=\"ready\"} 1",
        "sipring_pool_backends{pool=\"calls\",state=\"drained\"} 1",
        "sipring_pool_backends{pool=\"calls\",state=\"down\"} 0",
        "sipring_pool_backends{pool=\"registrars\",state=\"down\"} 2",
        "sipring_pool_weight{pool=\"calls\",state=\"ready\"} 3",
        "sipring_pool_weight{pool=\"registrars\",state=\"ready\"} 0",
        "sipring_pool_weight{pool=\"registrars\",state=\"down\"} 6",
        "sipring_pool_panic{pool=\"registrars\"} 0",
    ] {
        assert_line(&text, line);
    }
}
