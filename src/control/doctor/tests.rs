//! Both sides of each judgement.

use super::super::plan::tests::config;
use super::*;

fn fit() -> Facts {
    Facts {
        release: "6.18.0".into(),
        rings: Ok(()),
        locked_memory: Some(8 << 20),
        gathering: Ok(()),
        steering: Ok(()),
        cores: 8,
        cores_allowed: 4,
        cpu_quota: None,
        open_files: 1 << 20,
        receive_buffer: Some(4 << 20),
        unprivileged_port: 1024,
        ephemeral_ports: Some((32_768, 60_999)),
        reserved_ports: Vec::new(),
        clock_source: Some("tsc".into()),
        seccomp: Some(0),
        capabilities: 0,
        interfaces: vec![Interface { name: "eth0".into(), queues: 4, steered: false }],
        addresses: 2,
        sip_helper: false,
        conntrack: Some((10, 262_144)),
    }
}

fn plain() -> Config {
    let range = BackendPorts::Range(15_060, 15_091);
    config(&["0.0.0.0:5060"], range, &["10.0.0.1:5060"])
}

/// Level and text of what is said of one thing; `None`: nothing is.
fn said(what: &str, facts: &Facts, config: &Config) -> Option<(Level, String)> {
    let of =
        |one: Finding| (one.level, format!("{} {}", one.found, one.advice.unwrap_or_default()));
    findings(facts, config).into_iter().find(|one| one.what == what).map(of)
}

fn level(what: &str, change: impl FnOnce(&mut Facts)) -> Option<Level> {
    let mut facts = fit();
    change(&mut facts);
    said(what, &facts, &plain()).map(|(level, _)| level)
}

use Level::{Failure, Ok as Fine, Warning};

#[test]
fn a_fit_machine_has_nothing_to_be_done() {
    let findings = findings(&fit(), &plain());
    assert!(findings.iter().all(|one| one.level == Fine && one.advice.is_none()), "{findings:#?}");
}

#[test]
fn whatever_is_not_ok_says_what_to_do() {
    let facts = Facts {
        rings: Err("the sysctl kernel.io_uring_disabled is 2".into()),
        steering: Err("CAP_BPF is missing".into()),
        cores_allowed: 1,
        cpu_quota: Some(1.5),
        open_files: 64,
        receive_buffer: Some(1000),
        unprivileged_port: 6000,
        ephemeral_ports: Some((1024, 65_535)),
        clock_source: Some("hpet".into()),
        interfaces: vec![Interface { name: "eth0".into(), queues: 1, steered: false }],
        sip_helper: true,
        conntrack: Some((99, 100)),
        ..fit()
    };
    let config = Config { workers: Some(4), ..plain() };
    let findings = findings(&facts, &config);
    let bad: Vec<_> = findings.iter().filter(|one| one.level != Fine).collect();
    assert_eq!(bad.len(), 12, "{findings:#?}");
    assert!(bad.iter().all(|one| one.advice.as_ref().is_some_and(|text| text.len() > 20)));
}

#[test]
fn a_latency_budget_wants_its_kernel() {
    let too_old = || Facts { gathering: Err("this is 6.6".into()), ..fit() };
    let mut config = plain();
    let text = |facts: &Facts, config: &Config| said("latency budget", facts, config).unwrap();
    assert_eq!(text(&too_old(), &config).0, Fine, "nobody wants it");
    config.limits.latency_budget_us = 200;
    assert!(text(&fit(), &config).1.starts_with("200 us: under load"));
    let (level, said) = text(&too_old(), &config);
    assert!(level == Warning && said.contains("200 us, without effect: this is 6.6"), "{said}");
}

#[test]
fn each_judgement_has_its_edge() {
    assert_eq!(level("io_uring", |facts| facts.rings = Err("no".into())), Some(Failure));
    assert_eq!(level("CPU quota", |facts| facts.cpu_quota = Some(2.0)), Some(Warning));
    assert_eq!(level("CPU quota", |_| {}), None);
    let needed = 4 * (2 + 64 + 8) + 32 * 2 + 200;
    assert_eq!(level("open files", |facts| facts.open_files = needed), Some(Fine));
    assert_eq!(level("open files", |facts| facts.open_files = needed - 1), Some(Failure));
    let buffer = |bytes| level("receive buffer", |facts| facts.receive_buffer = bytes);
    assert_eq!(buffer(Some(1 << 20)), Some(Fine));
    assert_eq!(buffer(Some((1 << 20) - 1)), Some(Warning));
    assert_eq!(buffer(None), Some(Warning));
    assert_eq!(level("clock", |facts| facts.clock_source = Some("hpet".into())), Some(Warning));
    assert_eq!(level("clock", |facts| facts.clock_source = None), None);
    assert_eq!(level("seccomp", |facts| facts.seccomp = Some(2)), Some(Fine));
    assert_eq!(level("conntrack", |facts| facts.conntrack = Some((80, 100))), Some(Fine));
    assert_eq!(level("conntrack", |facts| facts.conntrack = Some((81, 100))), Some(Warning));
    assert_eq!(level("nf_conntrack_sip", |facts| facts.sip_helper = true), Some(Warning));
}

#[test]
fn workers_beyond_the_cores_are_too_many() {
    let of =
        |workers| said("cores", &fit(), &Config { workers, ..plain() }).map(|(level, _)| level);
    assert_eq!(of(None), Some(Fine));
    assert_eq!(of(Some(4)), Some(Fine));
    assert_eq!(of(Some(5)), Some(Warning));
}

#[test]
fn cores_beyond_the_ports_towards_backends_stay_without_a_worker() {
    let of = |cores_allowed, workers| {
        let facts = Facts { cores: 64, cores_allowed, ..fit() };
        said("cores", &facts, &Config { workers, ..plain() }).unwrap()
    };
    assert_eq!(of(32, None).0, Fine);
    let (level, text) = of(33, None);
    assert!(level == Warning && text.starts_with("32 workers on 33 of 64"), "{text}");
    assert!(text.contains("widen backend_ports to 33 ports"), "{text}");
    assert_eq!(of(33, Some(32)).0, Fine);
}

#[test]
fn a_low_port_needs_a_right_and_gets_it_by_capability_or_sysctl() {
    let low = config(&["0.0.0.0:506"], BackendPorts::Listener, &["10.0.0.1:5060"]);
    let of = |facts: &Facts| said("listener port", facts, &low).map(|(level, _)| level);
    assert_eq!(of(&fit()), Some(Failure));
    assert_eq!(of(&Facts { capabilities: 1 << CAP_NET_BIND_SERVICE, ..fit() }), None);
    assert_eq!(of(&Facts { unprivileged_port: 506, ..fit() }), None);
    assert_eq!(of(&Facts { unprivileged_port: 507, ..fit() }), Some(Failure));
}

#[test]
fn a_card_with_few_queues_is_told_of_unless_it_is_steered() {
    let card = |queues, steered| {
        level("network card", |facts| {
            facts.interfaces[0].queues = queues;
            facts.interfaces[0].steered = steered;
        })
    };
    assert_eq!(card(4, false), Some(Fine));
    assert_eq!(card(3, false), Some(Warning));
    assert_eq!(card(1, true), Some(Fine));
}

#[test]
fn no_core_is_named_that_there_is_not() {
    let masks = [1, 2, 8, 32, 33, 64].map(mask);
    assert_eq!(masks, ["1", "3", "ff", "ffffffff", "1,ffffffff", "ffffffff,ffffffff"]);
    let card = Interface { name: "eth0".into(), queues: 1, steered: false };
    let advice = queues(&card, 2, 2).advice.unwrap();
    assert!(advice.contains("`echo 3 > /sys/class/net/eth0/queues/rx-0/rps_cpus`"), "{advice}");
}

#[test]
fn the_limit_of_locked_memory_is_told_with_the_workers_that_it_is_enough_for() {
    let text = |facts: &Facts| said("io_uring", facts, &plain()).unwrap().1;
    assert!(text(&fit()).contains("4 workers on Linux 6.18.0, with a limit of 8192 KiB"));
    let unlimited = Facts { locked_memory: None, ..fit() };
    assert!(text(&unlimited).contains("without a limit"));
}

#[test]
fn steering_is_missed_only_where_it_is_wanted_and_needed() {
    let of = |refused, steering, workers| {
        let steers = if refused { Err("CAP_PERFMON is missing".to_owned()) } else { Ok(()) };
        let facts = Facts { steering: steers, ..fit() };
        let config = Config { steering, workers: Some(workers), ..plain() };
        said("steering", &facts, &config).expect("always said")
    };
    let (level, text) = of(true, true, 2);
    assert_eq!(level, Warning);
    assert!(
        text.contains("CAP_PERFMON is missing") && text.contains("AmbientCapabilities"),
        "{text}"
    );
    assert_eq!(of(true, false, 2).0, Fine);
    assert_eq!(of(true, true, 1).0, Fine);
    assert_eq!(of(false, true, 2).0, Fine);
}
