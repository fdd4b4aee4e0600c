//! Our own answers: RFC 3261 8.2.6, 11, 16.3, 17.1.1.3, 18.3, 21; RFC 5389; RFC 5626 4.4.1.

use crate::world::{INNER, LISTENER, LISTENER_6, Request, World, address, backends, settings};
use sipring::proxy::{Absorb, Answer, Drop, Verdict};

const CLIENT: &str = "192.0.2.9:40000";

#[test]
fn options_to_us_is_answered_200_on_every_listener_by_every_name() {
    // 11.2; sipsak and most monitoring ask so
    let mut world = World::new();
    for uri in ["sip:10.0.0.1", "sip:10.0.0.1:5060", "sip:lb.example.com", "sip:[2001:db8::1]"] {
        for socket in [LISTENER, INNER, LISTENER_6] {
            let request = Request { method: "OPTIONS", uri, ..Default::default() };
            let answer = world.push(CLIENT, socket, request.to_string());
            assert_eq!(answer.answer(), "SIP/2.0 200 OK", "{uri}");
            assert_eq!((answer.egress().to, answer.egress().socket), (address(CLIENT), socket));
        }
    }
}

#[test]
fn options_to_somebody_else_goes_to_the_pool() {
    let mut world = World::new();
    for uri in ["sip:bob@10.0.0.1", "sip:example.com", "sip:10.0.0.1:5999"] {
        let request = Request { method: "OPTIONS", uri, ..Default::default() };
        let sent = world.push(CLIENT, LISTENER, request.to_string());
        assert!(matches!(sent.verdict, Verdict::Forward { .. }), "{uri}");
    }
}

#[test]
fn an_answer_copies_what_8_2_6_2_wants() {
    let mut world = World::new();
    let extra = "Via: SIP/2.0/UDP upstream.example;branch=z9hG4bKu\r\n";
    let request = Request { method: "OPTIONS", uri: "sip:10.0.0.1", extra, ..Default::default() };
    let answer = world.push(CLIENT, LISTENER, request.to_string());
    assert_eq!(
        answer.rows("Via"),
        [
            "SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bKclient1;rport=40000;received=192.0.2.9",
            "SIP/2.0/UDP upstream.example;branch=z9hG4bKu",
        ]
    );
    assert_eq!(answer.row("From"), "<sip:alice@example.com>;tag=alice-1");
    assert_eq!(answer.row("Call-ID"), "call-1@192.0.2.9");
    assert_eq!(answer.row("CSeq"), "1 OPTIONS");
    assert_eq!(answer.row("Content-Length"), "0");
    assert!(answer.row("To").starts_with("<sip:10.0.0.1>;tag=lb"));
    assert!(answer.text().ends_with("\r\n\r\n"));
}

#[test]
fn an_answer_has_each_via_row_once_where_the_first_is_empty() {
    let mut world = World::new();
    let extra = "Via: SIP/2.0/UDP upstream.example;branch=z9hG4bKu\r\n";
    let text = Request { extra, ..Default::default() }.to_string();
    let text = text.replace("Forwards: 70", "Forwards: 0").replacen("Via: ", "Via:\r\nVia: ", 1);
    let answer = world.push(CLIENT, LISTENER, text);
    assert_eq!(answer.answer(), "SIP/2.0 483 Too Many Hops");
    assert_eq!(
        answer.rows("Via"),
        [
            "",
            "SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bKclient1;rport=40000;received=192.0.2.9",
            "SIP/2.0/UDP upstream.example;branch=z9hG4bKu",
        ]
    );
}

#[test]
fn max_forwards_counts_down_to_483() {
    // 16.3 item 3, 16.6 item 3: both sides of the edge
    let mut world = World::new();
    let text = Request::default().to_string();
    for (found, expected) in [("70", "69"), ("1", "0"), ("255", "254"), ("007", "6")] {
        let sent = world.push(
            CLIENT,
            LISTENER,
            text.replace("Forwards: 70", &format!("Forwards: {found}")),
        );
        assert_eq!(sent.row("Max-Forwards"), expected);
    }
    let none = text.replace("Max-Forwards: 70\r\n", "");
    assert_eq!(world.push(CLIENT, LISTENER, none).row("Max-Forwards"), "70");
    let zero = world.push(CLIENT, LISTENER, text.replace("Forwards: 70", "Forwards: 0"));
    assert_eq!(zero.answer(), "SIP/2.0 483 Too Many Hops");
    let over = world.push(CLIENT, LISTENER, text.replace("Forwards: 70", "Forwards: 256"));
    assert_eq!(over.answer(), "SIP/2.0 400 Bad Max-Forwards");
}

#[test]
fn options_that_a_proxy_would_have_to_support_are_420() {
    // 16.3 item 5
    let mut world = World::new();
    let extra = "Proxy-Require: foo, bar\r\nproxy-require : baz\r\nRequire: 100rel\r\n";
    let answer = world.push(CLIENT, LISTENER, Request { extra, ..Default::default() }.to_string());
    assert_eq!(answer.answer(), "SIP/2.0 420 Bad Extension");
    assert_eq!(answer.rows("Unsupported"), ["foo, bar", "baz"]);
    for method in ["ACK", "CANCEL"] {
        let sent = world.push(
            CLIENT,
            LISTENER,
            Request { method, extra, ..Default::default() }.to_string(),
        );
        assert!(matches!(sent.verdict, Verdict::Forward { .. }), "{method}: 8.2.2.3");
    }
}

#[test]
fn the_ack_of_an_own_answer_is_absorbed_and_no_other() {
    // 17.1.1.3
    let mut world = World::new();
    let zero = Request::default().to_string().replace("Forwards: 70", "Forwards: 0");
    let answer = world.push(CLIENT, LISTENER, zero);
    let tag = answer.row("To").split("tag=").nth(1).expect("a tag").to_owned();
    let ack = Request { method: "ACK", to_tag: &tag, ..Default::default() };
    world.restart();
    assert_eq!(
        world.push(CLIENT, LISTENER, ack.to_string()).verdict,
        Verdict::Absorb(Absorb::OwnAck)
    );
    for other in [
        Request { method: "ACK", to_tag: "bob", ..Default::default() },
        Request { method: "ACK", to_tag: &tag, call_id: "other", ..Default::default() },
        Request { method: "ACK", to_tag: &tag, cseq: 2, ..Default::default() },
        Request { method: "BYE", to_tag: &tag, ..Default::default() },
    ] {
        let sent = world.push(CLIENT, LISTENER, other.to_string());
        assert!(matches!(sent.verdict, Verdict::Forward { .. }), "{}", other.to_string());
    }
}

#[test]
fn a_repeated_request_gets_the_same_answer() {
    // 16.3 with 8.2.7: a stateless answer must have the same tag each time
    let mut world = World::new();
    let zero = Request::default().to_string().replace("Forwards: 70", "Forwards: 0");
    let first = world.push(CLIENT, LISTENER, &zero).bytes;
    world.restart();
    assert_eq!(world.push(CLIENT, LISTENER, &zero).bytes, first);
}

#[test]
fn an_ack_is_never_answered() {
    // 17: nothing waits for it
    let mut world = World::new();
    let ack = Request { method: "ACK", ..Default::default() }.to_string();
    let zero = world.push(CLIENT, LISTENER, ack.replace("Forwards: 70", "Forwards: 0"));
    assert_eq!(zero.verdict, Verdict::Drop(Drop::AckNowhere));
    let broken = world.push(CLIENT, LISTENER, ack.replace("1 ACK", "x ACK"));
    assert_eq!(broken.verdict, Verdict::Drop(Drop::BadAck));
}

#[test]
fn broken_requests_are_told_what_is_broken() {
    // 16.3 item 1, 18.3
    let mut world = World::new();
    let good = Request { body: "v=0", ..Default::default() }.to_string();
    for (found, broken, phrase) in [
        ("1 INVITE\r\n", "INVITE\r\n", "400 Bad CSeq"),
        ("1 INVITE\r\n", "1 BYE\r\n", "400 CSeq Method Mismatch"),
        ("Content-Length: 3", "Content-Length: 4", "400 Bad Content-Length"),
        ("Content-Length: 3", "Content-Length: 3\r\nl: 3", "400 Bad Content-Length"),
        ("To: <sip:bob@example.com>", "To: \"Bob <sip:bob@example.com>", "400 Bad To"),
        ("From: <sip:alice@example.com>", "From: <sip:alice@example.com", "400 Bad From"),
        ("INVITE sip:bob@example.com", "INVITE <sip:bob@example.com>", "400 Bad Request Line"),
        ("SIP/2.0\r\nVia", "SIP/3.0\r\nVia", "505 Version Not Supported"),
        ("Call-ID: ", "Call-ID: x\r\nCall-ID: ", "400 Bad Call-ID"),
        ("\r\n\r\nv=0", "\r\n", "400 Missing Empty Line"),
    ] {
        assert!(good.contains(found), "{found}");
        let answer = world.push(CLIENT, LISTENER, good.replacen(found, broken, 1));
        assert_eq!(answer.answer(), format!("SIP/2.0 {phrase}"));
    }
}

#[test]
fn what_cannot_be_answered_is_dropped() {
    let mut world = World::new();
    let good = Request::default().to_string();
    for (line, reason) in [
        ("Via: ", Drop::Unanswerable),
        ("From: ", Drop::Unanswerable),
        ("To: ", Drop::Unanswerable),
        ("CSeq: ", Drop::Unanswerable),
        ("Call-ID: ", Drop::Unanswerable),
    ] {
        let without: String =
            good.split_inclusive("\r\n").filter(|row| !row.starts_with(line)).collect();
        assert_eq!(world.push(CLIENT, LISTENER, without).verdict, Verdict::Drop(reason), "{line}");
    }
    for text in ["GET / HTTP/1.1\r\n\r\n", "hello", "INVITE\r\n\r\n"] {
        assert_eq!(
            world.push(CLIENT, LISTENER, text).verdict,
            Verdict::Drop(Drop::NotSip),
            "{text}"
        );
    }
}

#[test]
fn the_excess_of_a_datagram_is_not_forwarded() {
    // 18.3
    let mut world = World::new();
    let good = Request { body: "v=0", ..Default::default() }.to_string();
    let exact = world.push(CLIENT, LISTENER, &good);
    let padded = world.push(CLIENT, LISTENER, format!("{good}\r\n\r\n trailing"));
    assert_eq!(exact.bytes, padded.bytes);
    assert!(exact.text().ends_with("\r\n\r\nv=0"));
}

#[test]
fn messages_up_to_the_largest_datagram_pass_and_larger_ones_are_513() {
    // 18.1.1, 21.5.7
    let mut world = World::new();
    let empty = world.push(CLIENT, LISTENER, Request::default().to_string());
    let grown = empty.bytes.len() - Request::default().to_string().len();
    let of_size = |size: usize| {
        let with_body =
            |length| Request { body: &"x".repeat(length), ..Default::default() }.to_string();
        // Content-Length has up to 5 digits: one of these bodies fits.
        (size - 600..size).map(with_body).find(|text| text.len() == size).expect("one of the sizes")
    };
    let largest = of_size(65_507 - grown);
    let sent = world.push(CLIENT, LISTENER, &largest);
    assert!((65_507 - 4..=65_507).contains(&sent.bytes.len()), "{}", sent.bytes.len());
    let over = world.push(CLIENT, LISTENER, of_size(65_507 - grown + 8));
    assert_eq!(over.answer(), "SIP/2.0 513 Message Too Large");

    let mut settings = settings();
    settings.max_message = 2000;
    let mut world = World::with(settings, backends());
    assert!(matches!(world.push(CLIENT, LISTENER, of_size(2000)).verdict, Verdict::Forward { .. }));
    let over = world.push(CLIENT, LISTENER, of_size(2001));
    assert_eq!(over.answer(), "SIP/2.0 513 Message Too Large");
}

#[test]
fn keep_alives_are_answered_or_absorbed() {
    // RFC 5626 4.4.1, 4.4.2
    let mut world = World::new();
    let pong = world.push(CLIENT, LISTENER, "\r\n\r\n");
    assert!(matches!(pong.verdict, Verdict::Reply { answer: Answer::Pong, .. }));
    assert_eq!((pong.text(), pong.egress().to), ("\r\n".to_owned(), address(CLIENT)));
    for bytes in ["\r\n", "\0", "", "\0\0\0\0"] {
        assert_eq!(world.push(CLIENT, LISTENER, bytes).verdict, Verdict::Absorb(Absorb::KeepAlive));
    }
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    stun.extend_from_slice(b"transaction!");
    let answer = world.push(CLIENT, LISTENER, &stun);
    assert!(matches!(answer.verdict, Verdict::Reply { answer: Answer::StunBinding, len: 32, .. }));
    stun[1] = 3;
    assert_eq!(world.push(CLIENT, LISTENER, &stun).verdict, Verdict::Absorb(Absorb::Stun));
}

#[test]
fn our_maddr_is_taken_off_the_request_uri() {
    // 16.4
    let mut world = World::new();
    for (uri, expected) in [
        ("sip:bob@example.com;maddr=10.0.0.1", "sip:bob@example.com"),
        ("sip:bob@example.com:5070;x=1;maddr=lb.example.com;y=2", "sip:bob@example.com;x=1;y=2"),
        ("sip:bob@example.com;maddr=203.0.113.1", "sip:bob@example.com;maddr=203.0.113.1"),
    ] {
        let sent = world.push(CLIENT, LISTENER, Request { uri, ..Default::default() }.to_string());
        assert!(
            sent.text().starts_with(&format!("INVITE {expected} SIP/2.0\r\n")),
            "{}",
            sent.text()
        );
    }
}

#[test]
fn no_provisional_is_ever_made_and_cancel_is_a_request_like_others() {
    // 16.11
    let mut world = World::new();
    for method in ["INVITE", "CANCEL"] {
        let sent =
            world.push(CLIENT, LISTENER, Request { method, ..Default::default() }.to_string());
        assert!(matches!(sent.verdict, Verdict::Forward { .. }), "{method}");
    }
    assert!(Answer::ALL.iter().all(|answer| !(100..200).contains(&answer.status())));
}
