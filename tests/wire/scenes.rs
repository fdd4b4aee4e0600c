//! A backend fails under a steady load, in one way a test, and comes back. Whatever the way: new calls
//! leave it, none is sent to it before it is ready again, and no dialog of the others is disturbed.
//!
//! With `SIPRING_FIGURES=dir` each scene writes what it measured; `loadtest/failover.sh` makes a table
//! of it.

use crate::balancer::{Balancer, Setup};
use crate::stage::{Family, Stage, wait_until};
use sipring_loadtest::{Backend, BackendOptions, Caller, CallerOptions, Manner, Pace};
use std::time::{Duration, Instant};

/// Killed: its port is closed, and ICMP says so.
#[test]
fn a_killed_backend() {
    scene("killed", Backend::kill, |backend| {
        wait_until("its port is free again", LONG, || backend.start_again().is_ok());
    });
}

/// A black hole: nothing comes back, not even an error.
#[test]
fn a_backend_in_a_black_hole() {
    let mend = |backend: &mut Backend| backend.turn(Manner::Good);
    scene("black-hole", |backend| backend.turn(Manner::Mute), mend);
}

/// Probes and calls get 503.
#[test]
fn a_backend_that_answers_503() {
    let mend = |backend: &mut Backend| backend.turn(Manner::Good);
    scene("503", |backend| backend.turn(Manner::Busy), mend);
}

/// The probes are good: only its calls tell.
#[test]
fn a_backend_that_answers_options_and_no_calls() {
    let mend = |backend: &mut Backend| backend.turn(Manner::Good);
    scene("deaf-to-calls", |backend| backend.turn(Manner::DeafToCalls), mend);
}

/// It answers, but later than anybody waits; the probes are good.
#[test]
fn a_backend_that_is_too_slow() {
    let slow = Manner::Slow(Duration::from_secs(4), Duration::from_secs(8));
    let mend = |backend: &mut Backend| backend.turn(Manner::Good);
    scene("slow", |backend| backend.turn(slow), mend);
}

/// One of three backends fails, is found out, is mended, and is used again.
fn scene(name: &str, fail: impl FnOnce(&mut Backend), mend: impl FnOnce(&mut Backend)) {
    let stage = Stage::new(&format!("scene-{name}"));
    let start = |number: usize| {
        let options = BackendOptions::named(&format!("b{number}"), Family::V4.free_address());
        Backend::start(options).expect("a backend")
    };
    let [first, mut failing, third] = [1, 2, 3].map(start);
    let addresses = [&first, &failing, &third].map(Backend::address);
    let mut setup = Setup::new(&[Family::V4.free_address()], &addresses);
    setup.health = Some(HEALTH);
    let balancer = Balancer::start_from_file(&stage, "balancer", &setup, 2);
    let hold = (Duration::from_millis(500), Duration::from_millis(3000));
    let pace = Pace::rate(RATE);
    let options = CallerOptions { pace, hold, ..CallerOptions::to(setup.listeners[0]) };
    let caller = Caller::start(options).expect("a caller");
    let calls = || failing_report(&failing);
    wait_until("the backend has calls", LONG, || calls().0 > 60);

    let up = |is: u8| balancer.has(&format!("sipring_backend_up{{backend=\"b2\"}} {is}"));
    let failed_at = Instant::now();
    fail(&mut failing);
    wait_until("the backend is down", LONG, || up(0));
    let down_after = failed_at.elapsed();
    let ups = balancer.value("sipring_probe_transitions_total{backend=\"b2\",to=\"up\"}");
    // What was under way to it when it went down is tried elsewhere within `failover_after`.
    std::thread::sleep(Duration::from_millis(4500));
    let of_others = [&first, &third].map(|one| one.report().new_calls.value());
    let asked = failing.report().ignored.value();
    let was_down = up(0);
    std::thread::sleep(Duration::from_secs(1));
    // Good probes may have brought it up since, for its calls to take it down again: then some may be
    // under way to it still.
    if was_down
        && ups == balancer.value("sipring_probe_transitions_total{backend=\"b2\",to=\"up\"}")
    {
        assert_eq!(failing.report().ignored.value(), asked, "new calls go to one that is down");
    }
    for (one, before) in [&first, &third].into_iter().zip(of_others) {
        assert!(one.report().new_calls.value() > before, "{} takes the calls", one.name());
    }

    let mended_at = Instant::now();
    mend(&mut failing);
    wait_until("the backend is up", LONG, || up(1));
    let ready_after = mended_at.elapsed();
    let before = failing_report(&failing).0;
    wait_until("it has new calls", LONG, || failing_report(&failing).0 > before);
    let used_after = mended_at.elapsed();
    std::thread::sleep(Duration::from_secs(1));
    caller.finish();
    assert!(caller.wait(Duration::from_secs(90)), "{}", caller.report().json());

    let through = &caller.report().through;
    let disturbed: u64 = [&first, &third]
        .map(|one| {
            let report = one.report();
            report.strangers.value() + report.unacknowledged.value() + report.byes_failed.value()
        })
        .iter()
        .sum();
    let failed_over = ["silence", "refused", "unreachable"]
        .map(|cause| balancer.value(&format!("sipring_failovers_total{{cause=\"{cause}\"}}")));
    write_figures(
        name,
        &format!(
            "{{\"scene\":\"{name}\",\"calls\":{},\"lost\":{},\"failed_over\":{},\"silence\":{},\
             \"refused\":{},\"unreachable\":{},\"down_after_ms\":{},\"ready_after_ms\":{},\
             \"used_after_ms\":{},\"extra_dialogs\":{},\"disturbed\":{disturbed}}}",
            through.started.value(),
            through.lost(),
            failed_over.iter().sum::<u64>(),
            failed_over[0],
            failed_over[1],
            failed_over[2],
            down_after.as_millis(),
            ready_after.as_millis(),
            used_after.as_millis(),
            caller.report().extra_dialogs_ended.value(),
        ),
    );
    assert!(failed_over.iter().sum::<u64>() > 0, "{}", caller.report().json());
    assert_eq!(disturbed, 0, "{}", caller.report().json());
    // A call that was taken by one that is killed may die with it.
    assert_eq!(through.lost(), through.timed_out(), "{}", caller.report().json());
    // One that is slow answers after another did: its 200 is forwarded (RFC 3261 16.7 item 5), and the
    // caller ends that dialog.
    let extra = (&caller.report().extra_dialogs, &caller.report().extra_dialogs_ended);
    assert_eq!(extra.0.value(), extra.1.value(), "{}", caller.report().json());
    assert_eq!(extra.0.value() > 0, name == "slow", "{}", caller.report().json());
    assert_eq!(failing.report().unacknowledged.value(), 0, "{}", failing.report().json("b2"));
}

/// New calls, and OPTIONS.
fn failing_report(backend: &Backend) -> (u64, u64) {
    (backend.report().new_calls.value(), backend.report().options.value())
}

fn write_figures(name: &str, json: &str) {
    if let Some(dir) = std::env::var_os("SIPRING_FIGURES") {
        let path = std::path::Path::new(&dir).join(format!("{name}.json"));
        std::fs::write(path, json).expect("a file for the figures");
    }
}

/// Calls a second.
const RATE: f64 = 40.0;

const HEALTH: &str = "interval = \"500ms\"\ntimeout = \"500ms\"\nrise = 2\nfall = 3\n\
                      down_interval_max = \"2s\"\n";

const LONG: Duration = Duration::from_secs(60);
