//! SIPp callers and callees through the balancer: three backends, two workers, both families.

use crate::balancer::{Balancer, Setup};
use crate::sipp::{FEW, Part, Sipp, Statistics, assert_whole};
use crate::stage::{Family, Stage, have};
use std::net::SocketAddr;

/// INVITE 100 180 200 ACK BYE 200, with the caller's Route from our Record-Route (RFC 3261 12.1).
#[test]
fn a_call_is_set_up_and_ended_by_the_caller() {
    exchange("call", &Part::new("caller/call"), &Part::new("callee/answer"));
}

/// The BYE of the callee comes along its route set, with our Route first (RFC 3261 16.4).
#[test]
fn a_call_is_ended_by_the_callee() {
    exchange("callee-ends", &Part::new("caller/callee-ends"), &Part::new("callee/ends"));
}

/// A re-INVITE goes where its dialog is.
#[test]
fn a_reinvite_stays_in_its_dialog() {
    exchange("reinvite", &Part::new("caller/reinvite"), &Part::new("callee/reinvite"));
}

/// A reliable 180 and its PRACK, sent in the early dialog (RFC 3262).
#[test]
fn a_prack_follows_the_early_dialog() {
    exchange("prack", &Part::new("caller/prack"), &Part::new("callee/prack"));
}

/// CANCEL, 487 and the ACK to it find the INVITE's backend (RFC 3261 16.11).
#[test]
fn a_cancel_and_the_ack_of_its_487_follow_the_invite() {
    exchange("cancel", &Part::new("caller/cancel"), &Part::new("callee/cancelled"));
}

/// A 3xx goes to the caller, and its ACK to the backend (RFC 3261 17.1.1.3).
#[test]
fn a_redirection_is_passed_on_and_acknowledged() {
    refusal("302 Moved Temporarily");
}

/// A 4xx likewise.
#[test]
fn a_client_error_is_passed_on_and_acknowledged() {
    refusal("404 Not Found");
}

/// A 6xx likewise.
#[test]
fn a_global_failure_is_passed_on_and_acknowledged() {
    refusal("603 Decline");
}

/// Two early dialogs of one INVITE: all their responses pass, the ACK and BYE bear the right tag.
#[test]
fn a_forked_call_keeps_its_to_tags() {
    exchange("forked", &Part::new("caller/forked"), &Part::new("callee/forked"));
}

/// REGISTER and its refresh (same Call-ID, next CSeq) meet one backend, with our Path (RFC 3327).
#[test]
fn a_registration_is_refreshed_at_its_backend() {
    exchange("register", &Part::new("caller/register"), &Part::new("callee/registrar"));
}

/// NOTIFYs come back through us to the subscriber; the SUBSCRIBE that ends it stays in the dialog.
#[test]
fn a_subscription_is_notified_and_ended() {
    exchange("subscribe", &Part::new("caller/subscribe"), &Part::new("callee/notify"));
}

/// A MESSAGE arrives with its body (RFC 3428).
#[test]
fn a_message_arrives_with_its_body() {
    exchange("message", &Part::new("caller/message"), &Part::new("callee/message"));
}

/// A caller on IPv4, backends on IPv6: two Record-Routes, one for each side (RFC 5658 6.2).
#[test]
fn a_caller_on_ipv4_reaches_backends_on_ipv6() {
    if !have(&["sipp"]) || !Family::all().contains(&Family::V6) {
        return;
    }
    let listeners = [Family::V4.free_address(), Family::V6.free_address()];
    for (caller, callee) in [("call", "answer"), ("callee-ends", "ends")] {
        let stage = Stage::new(&format!("ipv4-to-ipv6-{caller}"));
        let caller = format!("caller/{caller}");
        let callee = format!("callee/{callee}");
        play(&stage, &listeners, Family::V6, &Part::new(&caller), &Part::new(&callee));
    }
}

fn refusal(status: &str) {
    let code = &status[..3];
    let caller = Part::new("caller/rejected").with("code", code);
    let callee = Part::new("callee/reject").with("status", status);
    exchange(&format!("refusal-{code}"), &caller, &callee);
}

fn exchange(name: &str, caller: &Part<'_>, callee: &Part<'_>) {
    if !have(&["sipp"]) {
        return;
    }
    for family in Family::all() {
        let stage = Stage::new(&format!("{name}-{family:?}"));
        play(&stage, &[family.free_address()], family, caller, callee);
    }
}

/// A few calls from a caller beside the first listener to three callees of `family`.
fn play(
    stage: &Stage,
    listeners: &[SocketAddr],
    family: Family,
    caller: &Part<'_>,
    callee: &Part<'_>,
) {
    let backends: Vec<SocketAddr> = (0..3).map(|_| family.free_address()).collect();
    let callees: Vec<Sipp> = (1..)
        .zip(&backends)
        .map(|(number, address)| Sipp::callee(stage, &format!("b{number}"), callee, *address))
        .collect();
    let mut balancer = Balancer::start(stage, &Setup::new(listeners, &backends), 2);

    let from = if listeners[0].is_ipv4() { Family::V4 } else { Family::V6 };
    let to = listeners[0];
    let called = Sipp::caller(stage, "caller", caller, from.free_address(), to, FEW).finish();
    let callees: Vec<Statistics> = callees.into_iter().map(Sipp::stop).collect();

    assert_whole(FEW, &called, &callees);
    let used = callees.iter().filter(|callee| callee.successful > 0).count();
    assert!(used >= 2, "{} calls, and all to one of three backends", FEW.calls);
    balancer.assert_alive();
}
