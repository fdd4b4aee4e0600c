//! Steering, and how it goes without: with the capabilities taken away, everything is handed over.

use crate::stage::Stage;
use std::net::UdpSocket;

/// What came in at the right worker, and what had to be handed over.
fn counts(stage: &Stage) -> (u64, u64) {
    let of = |name: &str| {
        let of_worker = |worker| stage.metric(&format!("{name}{{worker=\"{worker}\"}}"));
        of_worker(0) + of_worker(1)
    };
    (of("sipring_handoffs_spared_total"), of("sipring_handoffs_total"))
}

#[test]
fn the_kernel_gives_every_message_to_its_owner_at_listeners_of_now_and_later() {
    let stage = Stage::start(2);
    let (_, doctor, _) = stage.sipring(&["doctor"]);
    let line = doctor
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some("steering"))
        .expect("its line");
    if !line.starts_with("ok") {
        println!("SKIPPED: the kernel does not steer here: {doctor}");
        assert!(stage.log().contains("steering off"), "{}", stage.log());
        assert_eq!(stage.metric("sipring_steering_enabled"), 0);
        return;
    }
    assert!(stage.log().contains("2 workers, steering on"), "{}", stage.log());
    assert_eq!(stage.metric("sipring_steering_enabled"), 1);
    let caller = stage.caller();
    stage.wait_until("calls", || counts(&stage).0 > 100);
    let later = UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap();
    stage.write(&format!("{}[[listener]]\nbind = \"udp:{later}\"\n", stage.file()));
    assert_eq!(stage.ctl(&["reload"]).0, 0);
    let to_later = stage.caller_to(later);
    let before = counts(&stage).0;
    stage.wait_until("calls", || counts(&stage).0 > before + 200);
    stage.finish(&caller);
    stage.finish(&to_later);
    assert_eq!(counts(&stage).1, 0, "handed over");
    assert_eq!(stage.metric("sipring_steering_enabled"), 1);
}

#[test]
fn without_the_capabilities_messages_are_handed_over_and_no_call_is_lost() {
    let words = ["setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin"];
    let can = std::process::Command::new(words[0]).args([words[1], "true"]).status();
    let stage = match can.is_ok_and(|status| status.success()) {
        true => Stage::start_by(&words, 2),
        false => Stage::start(2), // not root: they are missing anyway
    };
    let why =
        "2 workers, steering off (CAP_BPF and CAP_PERFMON are missing: messages are handed over";
    assert!(stage.log().contains(why), "{}", stage.log());
    assert_eq!(stage.metric("sipring_steering_enabled"), 0);
    let caller = stage.caller();
    stage.wait_until("both kinds", || {
        let (right, handed_over) = counts(&stage);
        right > 20 && handed_over > 20
    });
    stage.finish(&caller);
}
