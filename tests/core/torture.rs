//! Every message of RFC 4475 and RFC 5118: forwarded unharmed, answered with the right code, or
//! dropped with the right reason. What a proxy need not look at may be as broken as it likes (RFC
//! 3261 16.3 item 1).

use crate::reference;
use crate::world::{LISTENER, LISTENER_6, Outcome, PORT, Request, World, address};
use sipring::proxy::{Drop, Verdict};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What becomes of a message.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// To the pool, with these fields between our Via and what was there.
    Forwarded(&'static [&'static str]),
    /// Our own answer with this code.
    Answered(u16),
    /// Nothing leaves.
    Dropped(Drop),
}

use Fate::{Answered, Dropped, Forwarded};

const RECORD_ROUTE: &[&str] = &["Record-Route"];
/// IPv6 clients of IPv4 backends (RFC 5658 6.2).
const RECORD_ROUTES: &[&str] = &["Record-Route", "Record-Route"];
const PATH: &[&str] = &["Path"];
const NOTHING: &[&str] = &[];

/// File, fate, and why, by section of RFC 4475.
const RFC_4475: &[(&str, Fate, &str)] = &[
    // 3.1.1: valid, must not be refused
    ("wsinv", Forwarded(NOTHING), "3.1.1.1: folds and white space everywhere; it has a To tag"),
    ("intmeth", Forwarded(RECORD_ROUTE), "3.1.1.2: every character a token may have"),
    ("esc01", Forwarded(RECORD_ROUTE), "3.1.1.3: escapes stay escaped"),
    ("escnull", Forwarded(PATH), "3.1.1.4: escaped NULs"),
    ("esc02", Forwarded(RECORD_ROUTE), "3.1.1.5: no REGISTER: % escapes nothing in a method"),
    ("lwsdisp", Forwarded(NOTHING), "3.1.1.6: no space before <"),
    ("longreq", Forwarded(RECORD_ROUTE), "3.1.1.7: long values, 34 Vias, a branch of RFC 2543"),
    ("dblreq", Forwarded(PATH), "3.1.1.8: what trails the body of a datagram is cut off (18.3)"),
    ("semiuri", Forwarded(NOTHING), "3.1.1.9: the semicolon belongs to the user"),
    ("transports", Forwarded(NOTHING), "3.1.1.10: unknown transports in Vias below ours"),
    ("unreason", Dropped(Drop::ViaNotOurs), "3.1.1.12: valid, but its topmost Via is not ours"),
    ("noreason", Dropped(Drop::ViaNotOurs), "3.1.1.13: valid, but its topmost Via is not ours"),
    // 3.1.2: invalid
    ("badinv01", Answered(400), "3.1.2.1: empty Via values, and Vias are what we route by"),
    ("clerr", Answered(400), "3.1.2.2: the datagram is shorter than its Content-Length (18.3)"),
    ("ncl", Answered(400), "3.1.2.3: Content-Length below 0"),
    ("scalar02", Answered(400), "3.1.2.4: CSeq of 2^31 and more, Max-Forwards over 255"),
    ("scalarlg", Dropped(Drop::BadResponse), "3.1.2.5: CSeq of 2^31 and more, in a response"),
    ("quotbal", Answered(400), "3.1.2.6: where the To ends, nobody knows"),
    ("ltgtruri", Answered(400), "3.1.2.7: <> around the Request-URI"),
    ("lwsruri", Answered(400), "3.1.2.8: a blank inside the Request-URI"),
    ("lwsstart", Answered(400), "3.1.2.9: two blanks between the parts of the request line"),
    ("trws", Answered(400), "3.1.2.10: blanks behind the request line"),
    (
        "escruri",
        Answered(400),
        "3.1.2.11: a Request-URI has no headers; they must not be passed on",
    ),
    ("baddate", Forwarded(RECORD_ROUTE), "3.1.2.12: Date is nothing that a proxy reads"),
    ("regbadct", Forwarded(PATH), "3.1.2.13: Contact is the registrar's"),
    ("badaspec", Forwarded(NOTHING), "3.1.2.14: blanks inside <> hide nothing from us"),
    ("baddn", Answered(400), "3.1.2.15, but the archive's copy lacks the empty line at the end"),
    ("badvers", Answered(505), "3.1.2.16: another version"),
    ("mismatch01", Answered(400), "3.1.2.17: CSeq has another method"),
    ("mismatch02", Answered(400), "3.1.2.18: CSeq has another method; 400 is as good as 501"),
    ("bigcode", Dropped(Drop::BadResponse), "3.1.2.19: a code that overflows 32 bits into 5"),
    // 3.2: transactions
    ("badbranch", Forwarded(NOTHING), "3.2.1: a cookie alone is no branch: told apart as RFC 2543"),
    // 3.3: what the application sees
    ("insuf", Dropped(Drop::Unanswerable), "3.3.1: no Call-ID, From and To to answer with"),
    ("unkscm", Forwarded(NOTHING), "3.3.2: a scheme that the backends may know"),
    ("novelsc", Forwarded(NOTHING), "3.3.3: a scheme that the backends may know"),
    ("unksm2", Forwarded(PATH), "3.3.4: schemes in To, From and Contact"),
    ("bext01", Answered(420), "3.3.5: Proxy-Require; Require is the server's"),
    ("invut", Forwarded(RECORD_ROUTE), "3.3.6: an unknown body"),
    ("regaut01", Forwarded(PATH), "3.3.7: an unknown authorization scheme"),
    ("multi01", Answered(400), "3.3.8: two of what stands once"),
    ("mcl01", Answered(400), "3.3.9: two Content-Lengths"),
    ("bcast", Dropped(Drop::ViaNotOurs), "3.3.10: never sent on to a broadcast address"),
    ("zeromf", Answered(483), "3.3.11: Max-Forwards 0 (16.3 item 3)"),
    ("cparam01", Forwarded(PATH), "3.3.12: Contact is the registrar's"),
    ("cparam02", Forwarded(PATH), "3.3.13: Contact is the registrar's"),
    ("regescrt", Forwarded(PATH), "3.3.14: Contact is the registrar's"),
    ("sdp01", Forwarded(RECORD_ROUTE), "3.3.15: Accept is the server's"),
    // 3.4: RFC 2543
    (
        "inv2543",
        Forwarded(RECORD_ROUTE),
        "3.4.1: no branch, From tag, Max-Forwards, Content-Length",
    ),
    // In the archive only
    ("test", Dropped(Drop::NotSip), "its first line has no version"),
];

/// File, fate, and why, by section of RFC 5118. The client has an IPv6 address.
const RFC_5118: &[(&str, Fate, &str)] = &[
    ("ipv6-good", Forwarded(PATH), "4.1: a good reference"),
    ("ipv6-bad", Answered(400), "4.2: without brackets the Request-URI cannot be read"),
    ("port-ambiguous", Forwarded(PATH), "4.3: the port has become part of a good address"),
    ("port-unambiguous", Forwarded(PATH), "4.4: the port behind the bracket"),
    ("via-received-param-with-delim", Forwarded(NOTHING), "4.5: received is overwritten by ours"),
    ("via-received-param-no-delim", Forwarded(NOTHING), "4.5: received is overwritten by ours"),
    ("ipv6-in-sdp", Forwarded(RECORD_ROUTES), "4.6: bodies are nothing to us"),
    ("mult-ip-in-header", Forwarded(NOTHING), "4.7: both families in the Vias"),
    ("mult-ip-in-sdp", Forwarded(RECORD_ROUTES), "4.8: both families in the body"),
    ("ipv4-mapped-ipv6", Forwarded(RECORD_ROUTES), "4.9: mapped addresses in Vias and Contact"),
    ("ipv6-bug-abnf-3-colons", Forwarded(NOTHING), "4.10: what RFC 3261's grammar once generated"),
    ("ipv6-correct-abnf-2-colons", Forwarded(NOTHING), "4.10: what is right"),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn message(folder_name: &str, file: &str) -> Vec<u8> {
    let path = folder(folder_name).join(file).with_extension("dat");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares every row of a table with what the core does, and names all rows that differ.
fn check(
    folder_name: &str,
    table: &[(&str, Fate, &str)],
    client: &str,
    socket: sipring::proxy::SocketIndex,
) {
    let mut wrong = Vec::new();
    for (file, fate, why) in table {
        let input = message(folder_name, file);
        let outcome = World::new().push(client, socket, &input);
        let right = match (*fate, outcome.verdict) {
            (Forwarded(extra), Verdict::Forward { .. }) => {
                let expected = reference::request(&input, address(client), &[]);
                reference::assert_unharmed(&outcome.bytes, &expected, extra);
                true
            }
            (Answered(code), Verdict::Reply { answer, .. }) => {
                assert_good_answer(&input, &outcome, code);
                answer.status() == code
            }
            (Dropped(reason), Verdict::Drop(found)) => reason == found,
            _ => false,
        };
        if !right {
            wrong.push(format!("{file}: {:?} instead of {fate:?} ({why})", outcome.verdict));
        }
    }
    assert!(wrong.is_empty(), "{folder_name}:\n{}", wrong.join("\n"));
}

/// RFC 3261 8.2.6.2: Via, From, To, Call-ID and CSeq come back, and To has a tag.
fn assert_good_answer(input: &[u8], outcome: &Outcome, code: u16) {
    let text = outcome.text();
    assert!(text.starts_with(&format!("SIP/2.0 {code} ")), "{text}");
    assert!(text.ends_with("Content-Length: 0\r\n\r\n"), "{text}");
    let input = String::from_utf8_lossy(input).into_owned();
    for name in ["From", "Call-ID", "CSeq"] {
        let came = crate::world::rows(&input, name);
        assert_eq!(outcome.rows(name), came[..1], "{text}");
    }
    assert!(outcome.row("To").contains(";tag="), "{text}");
    assert!(!outcome.rows("Via").is_empty(), "{text}");
}

#[test]
fn rfc_4475() {
    check("rfc4475", RFC_4475, "192.0.2.9:40000", LISTENER);
}

#[test]
fn rfc_5118() {
    check("rfc5118", RFC_5118, "[2001:db8::9:1]:5060", LISTENER_6);
}

#[test]
fn no_message_is_left_out() {
    for (folder_name, table) in [("rfc4475", RFC_4475), ("rfc5118", RFC_5118)] {
        let files: BTreeSet<_> = std::fs::read_dir(folder(folder_name))
            .expect("the messages are here")
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let mut told: BTreeSet<_> = table.iter().map(|(file, ..)| (*file).to_owned()).collect();
        if folder_name == "rfc4475" {
            // Its strict Route has a test of its own.
            told.insert("mpart01".to_owned());
        }
        assert_eq!(files, told, "{folder_name}");
    }
}

#[test]
fn a_strict_route_of_the_multipart_message_becomes_its_request_uri_and_the_body_stays() {
    // RFC 4475 3.1.1.11, RFC 3261 16.6 item 6
    let input = message("rfc4475", "mpart01");
    let outcome = World::new().push("127.0.0.1:5070", LISTENER, &input);
    let expected = reference::request(&input, address("127.0.0.1:5070"), &[]);
    let expected = replaced(&expected, b" sip:kumiko@example.org ", b" sip:127.0.0.1:5080 ");
    let expected = replaced(&expected, b"Route: <sip:127.0.0.1:5080>\r\n", b"");
    let routed = replaced(&outcome.bytes, b"Route: <sip:kumiko@example.org>\r\n", b"");
    reference::assert_unharmed(&routed, &expected, NOTHING);
}

#[test]
fn a_reply_to_the_unknown_extensions_names_them_all() {
    // RFC 4475 3.3.5: those of Proxy-Require, not those of Require
    let outcome = World::new().push("192.0.2.9:40000", LISTENER, message("rfc4475", "bext01"));
    assert_eq!(outcome.row("Unsupported"), "noProxiesSupportThis, norDoAnyProxiesSupportThis");
}

#[test]
fn a_comma_in_a_display_name_hides_nothing_from_us() {
    // RFC 4475 3.1.2.15, with the empty line that its text has
    let input = [&message("rfc4475", "baddn"), &b"\r\n"[..]].concat();
    let outcome = World::new().push("192.0.2.9:40000", LISTENER, &input);
    let expected = reference::request(&input, address("192.0.2.9:40000"), &[]);
    reference::assert_unharmed(&outcome.bytes, &expected, NOTHING);
}

#[test]
fn the_second_of_two_requests_in_a_datagram_goes_nowhere() {
    // RFC 4475 3.1.1.8
    let outcome = World::new().push("192.0.2.9:40000", LISTENER, message("rfc4475", "dblreq"));
    assert!(outcome.text().starts_with("REGISTER ") && !outcome.text().contains("INVITE"));
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|window| window == old).expect("the old bytes");
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

/// The response in `file` as the answer to a request of ours: our Via, and under it the client's.
fn with_our_via(world: &mut World, file: &str, via: &str) -> Vec<u8> {
    let input = message("rfc4475", file);
    let text = String::from_utf8_lossy(&input).into_owned();
    let call_id = crate::world::rows(&text, "Call-ID")[0].clone();
    let cseq = crate::world::rows(&text, "CSeq")[0].clone();
    let (number, method) = cseq.split_once(' ').expect("number and method");
    let request = Request {
        method,
        via,
        call_id: &call_id,
        // What no request can carry, no response of ours does.
        cseq: number.parse().unwrap_or(1),
        ..Default::default()
    };
    let sent = world.push("192.0.2.105:40000", LISTENER, request.to_string());
    let vias: String = sent.rows("Via").iter().map(|via| format!("Via: {via}\r\n")).collect();
    let mut output = Vec::new();
    let mut put = false;
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        if !line.starts_with(b"Via:") {
            output.extend_from_slice(line);
        } else if !std::mem::replace(&mut put, true) {
            output.extend_from_slice(vias.as_bytes());
        }
    }
    output
}

#[test]
fn odd_responses_to_our_requests_are_forwarded_unharmed() {
    // RFC 4475 3.1.1.12, 3.1.1.13, and the body and Contact of 3.3.10
    for file in ["unreason", "noreason", "bcast"] {
        let mut world = World::new();
        let via = "SIP/2.0/UDP 192.0.2.105;branch=z9hG4bK2398ndaoe";
        let response = with_our_via(&mut world, file, via);
        let outcome = world.push("10.1.0.1:5060", PORT, &response);
        assert_eq!(outcome.forwarded_to(), address("192.0.2.105:5060"), "{file}");
        assert_eq!(outcome.bytes, reference::response(&response), "{file}");
    }
}

#[test]
fn broken_responses_to_our_requests_are_dropped() {
    // RFC 4475 3.1.2.5, 3.1.2.19
    for file in ["scalarlg", "bigcode"] {
        let mut world = World::new();
        let via = "SIP/2.0/UDP 192.0.2.105;branch=z9hG4bK2398ndaoe";
        let response = with_our_via(&mut world, file, via);
        let outcome = world.push("10.1.0.1:5060", PORT, &response);
        assert_eq!(outcome.verdict, Verdict::Drop(Drop::BadResponse), "{file}");
    }
}

#[test]
fn nobody_makes_us_send_to_a_broadcast_address() {
    // RFC 4475 3.3.10: the signature covers where the response goes, so no Via can be swapped in
    let mut world = World::new();
    let via = "SIP/2.0/UDP 192.0.2.105;branch=z9hG4bK1saber23";
    let response = with_our_via(&mut world, "bcast", via);
    let aimed = replaced(&response, b"UDP 192.0.2.105;branch=", b"UDP 255.255.255.255;branch=");
    let outcome = world.push("10.1.0.1:5060", PORT, aimed);
    assert_eq!(outcome.verdict, Verdict::Drop(Drop::BranchForged));
}

#[test]
fn a_lone_cookie_is_told_apart_like_a_branch_of_rfc_2543() {
    // RFC 4475 3.2.1, RFC 3261 16.11
    let mut world = World::new();
    let mut branch = |uri| {
        let via = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK";
        let request = Request { via, uri, ..Default::default() };
        let sent = world.push("192.0.2.1:5060", LISTENER, request.to_string());
        sent.rows("Via")[0].clone()
    };
    assert_ne!(branch("sip:bob@example.com"), branch("sip:carol@example.com"));
}
