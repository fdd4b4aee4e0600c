//! A configuration that changes while calls go on: nothing is lost, nothing moves, nothing is
//! forgotten; and one that is refused changes nothing.

mod listeners;
mod stage;

use sipring::config::Config;
use sipring::control::Admin;
use sipring::pool::State;
use stage::{PATIENCE, Stage, load, loopback};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn calls_go_on_through_reloads_in_quick_succession() {
    let stage = Stage::start(4, "");
    let drained = &stage.backends[1];
    stage.balancer.set_admin("b2", Admin::Drain, "a test").unwrap();
    let caller = stage.caller(100.0);
    // What was on its way when b2 was drained has arrived then.
    std::thread::sleep(Duration::from_millis(700));
    let before = drained.report().new_calls.value();
    let texts = [
        stage.text(&["b1", "b2", "b3", "b4"], ""),
        stage.text(&["b4", "b3", "b2", "b1"], ""), // in another order
        stage.text(&["b1", "b2", "b3", "other-4"], ""), // renamed
        stage.text(&["b1", "b2", "b3"], "record_route = false\n"),
        stage.text(&["b1", "b2", "b3", "b4"], "hash_seed = 7\n"),
        stage.text(&["b1", "b2", "b3", "b4"], "").replace("weight = 1", "weight = 9"),
        stage
            .text(&["b1", "b2", "b3", "b4"], "")
            .replace("[[pool]]", "[[pool]]\npolicy = \"round-robin\""),
    ];
    const RELOADS: usize = 60;
    // Where the machine is not very slow that takes some five seconds.
    for text in texts.iter().cycle().take(RELOADS) {
        stage.balancer.reload(&load(text).unwrap()).unwrap();
        let own =
            text.replacen(&stage.backends[0].address().to_string(), &stage.listener.to_string(), 1);
        assert!(load(&own).is_err(), "a backend that is the balancer itself");
        stage.balancer.refuse_reload("a bad file");
        let state = stage.balancer.pool();
        let b2 = state.backends().iter().find(|one| one.spec.name == "b2").unwrap();
        assert_eq!(b2.spec.state, State::Drained, "never enabled for an instant");
        std::thread::sleep(Duration::from_millis(50));
    }
    stage.finish(&caller);
    assert_eq!(drained.report().new_calls.value(), before, "b2 stayed drained");
    let text = stage.balancer.metrics().text().unwrap();
    for line in [
        format!("sipring_config_reloads_total{{result=\"success\"}} {RELOADS}"),
        format!("sipring_config_reloads_total{{result=\"failure\"}} {RELOADS}"),
        "sipring_config_last_reload_successful 0".to_owned(),
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
}

#[test]
fn calls_go_on_when_the_key_is_rotated() {
    let stage = Stage::start_ringing(2, Duration::from_millis(500));
    let caller = stage.caller(50.0);
    let names = ["b1", "b2"];
    let keys = ["key = \"", "previous_key = \""]
        .map(|name| move |digit| format!("{name}{digit:032x}\"\n"));
    for digit in 2..8 {
        // Twice in a row: what is under way has begun two keys ago.
        std::thread::sleep(Duration::from_millis(1000 * (digit % 2)));
        let text = stage.text(&names, "");
        let (key, previous) = (keys[0](digit), keys[1](digit - 1));
        let text = text.replace(&keys[0](1), &(key + &previous));
        let reloaded = stage.balancer.reload(&load(&text).unwrap()).unwrap();
        assert_eq!(reloaded.warnings, [""; 0], "the key until now is previous_key");
    }
    stage.finish(&caller);
}

#[test]
fn a_key_that_cuts_off_the_dialogs_of_before_is_warned_of() {
    let stage = Stage::start(1, "");
    let text = stage.text(&["b1"], "");
    let other = text.replace(&format!("{:032x}", 1), &format!("{:032x}", 2));
    let reloaded = stage.balancer.reload(&load(&other).unwrap()).unwrap();
    assert!(reloaded.warnings[0].contains("previous_key"), "{:?}", reloaded.warnings);
    let none: String =
        other.lines().filter(|line| !line.starts_with("key")).map(|l| format!("{l}\n")).collect();
    let reloaded = stage.balancer.reload(&load(&none).unwrap()).unwrap();
    assert!(reloaded.warnings[0].contains("stays until a restart"), "{:?}", reloaded.warnings);
    let again = stage.balancer.reload(&load(&other).unwrap()).unwrap();
    assert_eq!(again.warnings, [""; 0], "it is the key in use");
}

#[test]
fn a_removed_backend_keeps_its_calls_and_gets_no_new_ones() {
    let stage = Stage::start(2, "");
    let caller = stage.caller(50.0);
    std::thread::sleep(Duration::from_secs(1));
    let left = &stage.backends[1];
    stage.balancer.reload(&load(&stage.text(&["b1"], "")).unwrap()).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    let (calls, dialogs) = (left.report().new_calls.value(), left.report().dialogs.value());
    assert!(dialogs > 0, "some of its calls are held for longer than that");
    assert_eq!(stage.balancer.pool().backends().len(), 2, "it is still there");
    stage.finish(&caller);
    assert_eq!(left.report().new_calls.value(), calls);
    // With no time left to leave it goes at once.
    let text = stage.text(&["b1", "b2"], "[limits]\nremove_timeout = \"0s\"\n");
    stage.balancer.reload(&load(&text).unwrap()).unwrap();
    let text = stage.text(&["b1"], "[limits]\nremove_timeout = \"0s\"\n");
    stage.balancer.reload(&load(&text).unwrap()).unwrap();
    stage.balancer.look();
    assert_eq!(stage.balancer.pool().backends().len(), 1);
    let whats: Vec<_> =
        stage.balancer.with_fleet(|fleet| fleet.events().map(|e| e.what.clone()).collect());
    assert_eq!(whats, ["leaving", "back", "leaving", "gone"]);
}

#[test]
fn a_new_backend_is_called_and_counted() {
    let stage = Stage::start(2, "");
    stage.balancer.reload(&load(&stage.text(&["b1"], "")).unwrap()).unwrap();
    let both = load(&stage.text(&["b1", "new"], "")).unwrap();
    let reloaded = stage.balancer.reload(&both).unwrap();
    assert_eq!(reloaded.generation, 3);
    assert_eq!(reloaded.diff.live.len(), 1, "{:?}", reloaded.diff);
    let caller = stage.caller(50.0);
    stage.wait_until("calls came", || stage.backends[1].report().new_calls.value() > 5);
    stage.finish(&caller);
    let text = stage.balancer.metrics().text().unwrap();
    let prefix = "sipring_backend_requests_total{backend=\"new\"} ";
    let count: u64 = text.lines().find_map(|l| l.strip_prefix(prefix)).unwrap().parse().unwrap();
    assert!(count > 5, "{count}");
}

#[test]
fn dialogs_of_a_backend_are_a_gauge() {
    let stage = Stage::start(1, "");
    let caller = stage.caller(50.0);
    let gauge = || {
        let text = stage.balancer.metrics().text().unwrap();
        let value =
            text.lines().find_map(|l| l.strip_prefix("sipring_backend_dialogs{backend=\"b1\"} "));
        value.unwrap().parse::<u64>().unwrap()
    };
    stage.wait_until("it goes up", || gauge() > 5);
    stage.finish(&caller);
    stage.wait_until("it goes down", || gauge() == 0);
}

#[test]
fn what_needs_a_restart_is_named_and_left_and_the_rest_is_done() {
    let stage = Stage::start(2, "");
    let mut config = load(&stage.text(&["b1"], "")).unwrap();
    config.workers = Some(7);
    config.limits.pins += 1;
    config.listeners[0].bind.set_port(1);
    let reloaded = stage.balancer.reload(&config).unwrap();
    assert_eq!(
        reloaded.diff.restart,
        [
            "workers 2 -> 7".to_owned(),
            "pins 10000 -> 10001".to_owned(),
            format!(
                "listener udp:{} removed: requests to backends leave from listeners",
                stage.listener
            ),
        ]
    );
    assert!(reloaded.diff.live[0].starts_with("backend \"b2\" removed"), "{:?}", reloaded.diff);
    let again = stage.balancer.reload(&config).unwrap();
    assert_eq!((again.diff.live.len(), again.generation), (0, reloaded.generation));
    assert_eq!(again.diff.restart.len(), 3, "it still waits");
}

/// Each refused for a reason that only this machine shows.
#[test]
fn a_refused_reload_changes_nothing() {
    let stage = Stage::start(2, "");
    stage.balancer.set_admin("b1", Admin::Maint, "a test").unwrap();
    let good = load(&stage.text(&["b2", "b1"], "record_route = false\n")).unwrap();
    let refused = |change: &dyn Fn(&mut Config), words: &str| {
        let before = stage.balancer.pool();
        let mut config = good.clone();
        change(&mut config);
        let failure = stage.balancer.reload(&config).unwrap_err();
        assert!(failure.text.contains(words), "{failure}");
        assert!(Arc::ptr_eq(&before, &stage.balancer.pool()));
        let events = stage.balancer.with_fleet(|fleet| fleet.events().count());
        assert_eq!(events, 1, "but the one of the start of the test");
        let text = stage.balancer.metrics().text().unwrap();
        assert!(text.contains("\nsipring_config_last_reload_successful 0\n"), "{text}");
        assert!(text.contains("\nsipring_config_generation 1\n"), "{text}");
    };
    let own = stage.listener;
    refused(&|config| config.pools[0].backends[0].address = own, "own socket");
    refused(&|config| config.pools[0].backends[0].address = loopback("[::1]:5060"), "restart");
    refused(
        &|config| config.pools[0].backends[0].address = config.pools[0].backends[1].address,
        "same address",
    );
    assert_eq!(stage.balancer.reload(&good).unwrap().generation, 2);
    let caller = stage.caller(50.0);
    std::thread::sleep(PATIENCE.min(Duration::from_millis(500)));
    stage.finish(&caller);
}

#[test]
fn calls_go_on_while_a_latency_budget_comes_and_goes() {
    let stage = Stage::start(2, "");
    let gathers = || {
        let text = stage.balancer.metrics().text().unwrap();
        let of_worker = |line: &str| {
            let (_, count) = line.strip_prefix("sipring_uring_gathers_total{")?.split_once(' ')?;
            count.parse::<u64>().ok()
        };
        text.lines().filter_map(of_worker).sum::<u64>()
    };
    let reload = |budget| {
        let text = stage.text(&["b1", "b2"], &format!("[limits]\nlatency_budget_us = {budget}\n"));
        stage.balancer.reload(&load(&text).unwrap()).unwrap()
    };
    let caller = stage.caller(500.0);
    let reloaded = reload(10_000);
    assert_eq!(reloaded.diff.live, ["latency_budget_us 0 -> 10000"]);
    assert_eq!((&reloaded.diff.restart[..], &reloaded.warnings[..]), (&[][..], &[][..]));
    stage.wait_until("the workers wait for more", || gathers() > 100);
    assert_eq!(reload(0).diff.live, ["latency_budget_us 10000 -> 0"]);
    stage.wait_until("they wait no more", || {
        let before = gathers();
        std::thread::sleep(Duration::from_millis(300));
        gathers() == before
    });
    reload(10_000);
    stage.finish(&caller);
}
