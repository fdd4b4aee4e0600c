//! What is an attempt to call, and what its result: the inputs of RFC 6076, each counted once.

use crate::world::{
    INNER, LISTENER, Outcome, Request, World, backends, response, routes_of_caller, settings,
};
use sipring::pool::BackendId;
use sipring::proxy::{
    CallResult, Forwarded, Method, Now, RegistrationResult, Replaced, Settings, Settled, Verdict,
};

const CLIENT: &str = "192.0.2.9:5062";

fn invite() -> Request<'static> {
    Request::default()
}

fn kind(outcome: &Outcome) -> Forwarded {
    match outcome.verdict {
        Verdict::Forward { kind, .. } => kind,
        other => panic!("not forwarded: {other:?}"),
    }
}

fn is_attempt(outcome: &Outcome) -> bool {
    match kind(outcome) {
        Forwarded::RequestToBackend { attempt, .. } => attempt,
        other => panic!("not to a backend: {other:?}"),
    }
}

/// A request from the client to its backend.
fn send(world: &mut World, request: &Request<'_>) -> Outcome {
    world.push(CLIENT, LISTENER, request.to_string())
}

/// The backend's response to a request that we forwarded to it, on our way back.
fn respond(world: &mut World, sent: &Outcome, status: &str) -> Outcome {
    let text = response(&sent.text(), status, "bob-1", "");
    world.push(&sent.forwarded_to().to_string(), sent.egress().socket, text)
}

fn settled(outcome: &Outcome) -> Option<Settled> {
    match kind(outcome) {
        Forwarded::Response { settles, .. } => settles,
        other => panic!("no response: {other:?}"),
    }
}

fn call(result: CallResult) -> Option<Settled> {
    Some(Settled::Call(result))
}

#[test]
fn the_first_invite_is_an_attempt_and_its_retransmission_is_none() {
    let mut world = World::new();
    assert!(is_attempt(&send(&mut world, &invite())));
    assert!(!is_attempt(&send(&mut world, &invite())));
    assert!(is_attempt(&send(&mut world, &Request { call_id: "another", ..invite() })));
}

#[test]
fn only_an_invite_without_a_to_tag_is_an_attempt() {
    let mut world = World::new();
    for (n, method) in ["OPTIONS", "MESSAGE", "REGISTER", "SUBSCRIBE", "FOO"].iter().enumerate() {
        let call_id = format!("other-{n}");
        assert!(!is_attempt(&send(&mut world, &Request { method, call_id: &call_id, ..invite() })));
    }
    let reinvite = Request { to_tag: "bob-1", call_id: "from-before", ..invite() };
    assert!(!is_attempt(&send(&mut world, &reinvite)), "a dialog from before a restart");
}

#[test]
fn an_invite_repeated_with_credentials_is_the_same_attempt_with_two_results() {
    let mut world = World::new();
    let first = send(&mut world, &invite());
    let challenged = respond(&mut world, &first, "407 Proxy Authentication Required");
    assert_eq!(settled(&challenged), call(CallResult::Challenged));
    let again = send(&mut world, &Request { cseq: 2, ..invite() });
    assert!(!is_attempt(&again));
    assert_eq!(settled(&respond(&mut world, &again, "200 OK")), call(CallResult::Ok));
}

#[test]
fn an_invite_that_is_repeated_in_another_form_is_the_same_attempt() {
    // RFC 4028 7.3, RFC 3261 8.1.3.5: with the same Call-ID
    for status in ["422 Session Interval Too Small", "420 Bad Extension", "415 Media Type"] {
        let mut world = World::new();
        let first = send(&mut world, &invite());
        assert_eq!(settled(&respond(&mut world, &first, status)), call(CallResult::OtherClient));
        let via = "SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bKclient2;rport";
        let again = send(&mut world, &Request { cseq: 2, via, ..invite() });
        assert!(!is_attempt(&again), "{status}");
        assert_eq!(settled(&respond(&mut world, &again, "200 OK")), call(CallResult::Ok));
    }
}

#[test]
fn a_repeated_final_response_is_no_result() {
    for (status, result) in [
        ("200 OK", CallResult::Ok),
        ("486 Busy Here", CallResult::Busy),
        ("401 Unauthorized", CallResult::Challenged),
        ("503 Service Unavailable", CallResult::ServiceUnavailable),
    ] {
        let mut world = World::new();
        let sent = send(&mut world, &invite());
        assert_eq!(settled(&respond(&mut world, &sent, "180 Ringing")), None);
        assert_eq!(settled(&respond(&mut world, &sent, status)), call(result));
        assert_eq!(settled(&respond(&mut world, &sent, status)), None, "{status} again");
    }
}

#[test]
fn a_retransmitted_invite_does_not_make_its_final_response_count_twice() {
    let mut world = World::new();
    let sent = send(&mut world, &invite());
    assert_eq!(settled(&respond(&mut world, &sent, "486 Busy Here")), call(CallResult::Busy));
    let again = send(&mut world, &invite());
    assert_eq!(settled(&respond(&mut world, &again, "486 Busy Here")), None);
}

#[test]
fn a_reinvite_has_no_result() {
    let mut world = World::new();
    let sent = send(&mut world, &invite());
    let answered = respond(&mut world, &sent, "200 OK");
    let extra = routes_of_caller(&answered.text());
    let reinvite = Request { to_tag: "bob-1", cseq: 2, extra: &extra, ..invite() };
    let again = send(&mut world, &reinvite);
    assert!(!is_attempt(&again));
    assert_eq!(settled(&respond(&mut world, &again, "488 Not Acceptable Here")), None);
}

#[test]
fn a_call_that_passes_twice_has_the_result_of_its_caller() {
    // The backend is a proxy: it sends the call on to a registered phone, through us.
    let mut world = World::new();
    let sent = send(&mut world, &invite());
    let backend = sent.forwarded_to().to_string();
    let onwards = sent.text().replacen("sip:bob@example.com", "sip:192.0.2.20:5070", 1);
    let top = "Via: SIP/2.0/UDP 10.1.0.1;branch=z9hG4bKproxy\r\nVia: ";
    let onwards = onwards.replacen("Via: ", top, 1);
    let second = world.push(&backend, LISTENER, onwards);
    assert_eq!(kind(&second), Forwarded::RequestToClient { method: Method::Invite });
    let busy = response(&second.text(), "486 Busy Here", "bob-1", "");
    let back = world.push("192.0.2.20:5070", second.egress().socket, busy);
    assert!(
        matches!(kind(&back), Forwarded::Response { status: 486, from: None, settles: None, .. }),
        "the phone's answer, on its way to the proxy, which may try another phone"
    );
    assert_eq!(settled(&respond(&mut world, &sent, "200 OK")), call(CallResult::Ok));
}

#[test]
fn a_response_tells_its_backend() {
    let mut world = World::new();
    let sent = send(&mut world, &invite());
    let to = sent.forwarded_to();
    let backend = world.pool.backends().iter().find(|one| one.spec.address == to);
    let id: Option<BackendId> = backend.map(|one| one.id);
    for (status, code) in [("100 Trying", 100), ("200 OK", 200)] {
        let Forwarded::Response { status, from, .. } = kind(&respond(&mut world, &sent, status))
        else {
            panic!("no response")
        };
        assert_eq!((status, from), (code, id));
    }
}

/// Requests leave from the listener too: the port does not tell who answers.
fn one_port() -> World {
    let mut settings = settings();
    settings.sides[0].egress = LISTENER;
    World::with(settings, backends())
}

#[test]
fn on_one_port_for_both_sides_the_source_tells_who_answers() {
    let mut world = one_port();
    let sent = send(&mut world, &invite());
    assert_eq!(sent.egress().socket, LISTENER);
    assert_eq!(settled(&respond(&mut world, &sent, "603 Decline")), call(CallResult::Declined));

    let mut world = one_port();
    let sent = send(&mut world, &invite());
    let text = response(&sent.text(), "603 Decline", "bob-1", "");
    let stranger = world.push("198.51.100.1:5060", LISTENER, text);
    assert_eq!(settled(&stranger), None);
}

/// A shard that has room for no pin.
fn without_pins() -> World {
    let mut settings = settings();
    settings.pins_max = 0;
    World::with(settings, backends())
}

#[test]
fn a_call_beyond_a_full_pin_table_is_an_attempt_with_its_result_all_the_same() {
    let mut world = without_pins();
    let sent = send(&mut world, &invite());
    assert!(is_attempt(&sent));
    assert!(!is_attempt(&send(&mut world, &invite())), "a retransmission");
    assert_eq!(settled(&respond(&mut world, &sent, "180 Ringing")), None);
    assert_eq!(settled(&respond(&mut world, &sent, "486 Busy Here")), call(CallResult::Busy));
    assert_eq!(settled(&respond(&mut world, &sent, "486 Busy Here")), None, "again");
    assert!(!is_attempt(&send(&mut world, &invite())), "a retransmission");
}

#[test]
fn credentials_begin_no_call_there_but_their_result_counts() {
    let mut world = without_pins();
    let first = send(&mut world, &invite());
    let challenged = respond(&mut world, &first, "407 Proxy Authentication Required");
    assert_eq!(settled(&challenged), call(CallResult::Challenged));
    let extra = "Proxy-Authorization: Digest username=\"alice\"\r\n";
    let via = "SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bKclient2;rport";
    let again = send(&mut world, &Request { cseq: 2, via, extra, ..invite() });
    assert!(!is_attempt(&again));
    assert_eq!(settled(&respond(&mut world, &again, "200 OK")), call(CallResult::Ok));
}

#[test]
fn the_result_is_awaited_as_long_as_the_pin_lives_and_no_longer() {
    for (s, expected) in [(200, call(CallResult::Ok)), (202, None)] {
        let mut world = World::new();
        let sent = send(&mut world, &invite());
        world.now = world.now.after_ms(s * 1000);
        assert_eq!(settled(&respond(&mut world, &sent, "200 OK")), expected, "after {s} s");
    }
}

#[test]
fn a_replacing_call_is_an_attempt_once() {
    let mut world = World::new();
    let extra = "Replaces: other@host;to-tag=a;from-tag=b\r\n";
    let request = Request { extra, ..invite() }.to_string();
    let mut push = || {
        let answered = Replaced::Answered(None);
        world.push_replaced(CLIENT, LISTENER, request.clone(), answered)
    };
    assert!(is_attempt(&push()));
    assert!(!is_attempt(&push()));
}

#[test]
fn a_call_between_backends_is_no_attempt() {
    let mut world = World::two_sided();
    let text = Request { uri: "sip:bob@10.1.0.2", ..invite() }.to_string();
    assert!(!is_attempt(&world.push("10.1.0.1:5060", INNER, text)));
}

#[test]
fn registrations_are_told_by_result() {
    let expected = [
        ("100 Trying", None),
        ("200 OK", Some(RegistrationResult::Ok)),
        ("401 Unauthorized", Some(RegistrationResult::Challenged)),
        ("403 Forbidden", Some(RegistrationResult::Client)),
        ("503 Service Unavailable", Some(RegistrationResult::Server)),
    ];
    for (status, result) in expected {
        let mut world = without_failover();
        let sent = send(&mut world, &Request { method: "REGISTER", ..invite() });
        let back = respond(&mut world, &sent, status);
        assert_eq!(settled(&back), result.map(Settled::Registration), "{status}");
    }
}

#[test]
fn methods_are_told_apart() {
    for method in Method::ALL {
        let mut world = World::new();
        let name = if *method == Method::Other { "NOVEL" } else { method.label() };
        let sent = send(&mut world, &Request { method: name, to_tag: "bob-1", ..invite() });
        match kind(&sent) {
            Forwarded::RequestToBackend { method: told, attempt: false } => {
                assert_eq!(told, *method);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// A world whose backends' 503s go upstream.
fn without_failover() -> World {
    let mut settings = crate::world::settings();
    settings.failover.tries = 1;
    World::with(settings, crate::world::backends())
}

#[test]
fn what_runs_out_is_counted_for_ten_seconds_more_at_most_however_large_the_table_and_without_traffic()
 {
    let large = Settings { pins_max: 1_000_000, ..settings() };
    let idle_s = large.dialog_idle_s;
    let mut world = World::with(large, backends());
    let sent = send(&mut world, &invite());
    respond(&mut world, &sent, "200 OK");
    assert_eq!((world.proxy.dialogs(), world.proxy.calls()), (1, 1));
    let ends = world.now.ms() + u64::from(idle_s) * 1000;
    let mut at = ends - 60_000;
    while world.proxy.pins() > 0 {
        assert!(at < ends + 12_000, "still counted");
        at += if world.proxy.is_behind() { 0 } else { 1000 };
        world.proxy.handle_timeout(Now::from_ms(at));
    }
    assert!(at > ends, "it was not over yet");
    assert_eq!((world.proxy.dialogs(), world.proxy.calls()), (0, 0));
}
