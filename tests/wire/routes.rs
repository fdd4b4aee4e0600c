//! A rule leads calls to its pool, and a reload turns it round under running dialogs.

use crate::balancer::{Balancer, Setup};
use crate::sipp::{FEW, Load, Part, Sipp, Statistics, assert_whole};
use crate::stage::{Family, Stage, have, wait_until};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

/// Calls to users that begin with the prefix of the rule reach its pool, all others the first one.
/// After HUP with another prefix new calls go the other way round, and those that run stay whole.
#[test]
fn a_rule_leads_calls_to_its_pool_and_a_reload_turns_it_round() {
    if !have(&["sipp"]) {
        return;
    }
    let stage = Stage::new("routes");
    let backends: Vec<SocketAddr> = (0..4).map(|_| Family::V4.free_address()).collect();
    let callees: Vec<Sipp> = (1..)
        .zip(&backends)
        .map(|(number, address)| {
            let part = Part::new("callee/answer").traced();
            Sipp::callee(&stage, &format!("b{number}"), &part, *address)
        })
        .collect();
    let mut setup = Setup::new(&[Family::V4.free_address()], &[]);
    setup.pools = Some(pools(&backends, "+49"));
    let mut balancer = Balancer::start_from_file(&stage, "balancer", &setup, 2);
    let call = |user: &str, talk: &str| {
        let part = Part::new("caller/call").with("user", user).with("talk", talk);
        Sipp::caller(&stage, user, &part, Family::V4.free_address(), setup.listeners[0], FEW)
    };

    let running = [call("+49-before", "5000"), call("bob-before", "5000")];
    let talk = |user: &str| dialogs(&callees, user) >= FEW.calls as usize;
    wait_until("all of them talk", LONG, || talk("+49-before") && talk("bob-before"));
    setup.pools = Some(pools(&backends, "bob"));
    balancer.reload(&stage, "balancer", &setup, 2);
    let said_bye: usize =
        callees.iter().map(|one| one.messages().matches("\nBYE sip:").count()).sum();
    let after = [call("+49-after", "50"), call("bob-after", "50")];

    let called: Vec<Statistics> = running.into_iter().chain(after).map(Sipp::finish).collect();
    let ways = ["+49-before", "bob-before", "+49-after", "bob-after"].map(|user| {
        let asked = |callee: &Sipp| invites(&callee.messages(), user);
        [&callees[..2], &callees[2..]].map(|pool| pool.iter().filter(|one| asked(one)).count())
    });
    assert_eq!(ways, [[0, 2], [2, 0], [2, 0], [0, 2]], "callees of each pool that were called");
    assert_eq!(said_bye, 0, "calls had ended before the rule was turned round");
    let callees: Vec<Statistics> = callees.into_iter().map(Sipp::stop).collect();
    let mut sum = Statistics { name: "callers".to_owned(), ..called[0] };
    for one in &called[1..] {
        sum.successful += one.successful;
        sum.created += one.created;
        sum.failed += one.failed;
        sum.out_of_call += one.out_of_call;
    }
    assert_whole(Load { calls: 4 * FEW.calls, ..FEW }, &sum, &callees);
    balancer.assert_alive();
}

/// Two pools of two, and a rule for the second one.
fn pools(backends: &[SocketAddr], prefix: &str) -> String {
    let mut text = String::new();
    for (place, address) in backends.iter().enumerate() {
        if place % 2 == 0 {
            let name = ["first", "second"][place / 2];
            let _ =
                write!(text, "\n[[pool]]\nname = \"{name}\"\n\n[pool.health]\nenabled = false\n");
        }
        let number = place + 1;
        let _ = write!(text, "\n[[pool.backend]]\nname = \"b{number}\"\naddress = \"{address}\"\n");
    }
    let _ = write!(text, "\n[[route]]\npool = \"second\"\nuri_user = [\"{prefix}\"]\n");
    text
}

fn invites(messages: &str, user: &str) -> bool {
    messages.contains(&format!("\nINVITE sip:{user}@"))
}

/// Calls to this user that have been acknowledged, over all callees.
fn dialogs(callees: &[Sipp], user: &str) -> usize {
    let to = format!("<sip:{user}@");
    let acknowledged = |messages: String| {
        messages.split("\nACK sip:").skip(1).filter(|ack| head(ack).contains(&to)).count()
    };
    callees.iter().map(|callee| acknowledged(callee.messages())).sum()
}

/// What stands before the empty line.
fn head(message: &str) -> &str {
    message.split("\r\n\r\n").next().unwrap_or_default()
}

const LONG: Duration = Duration::from_secs(30);
