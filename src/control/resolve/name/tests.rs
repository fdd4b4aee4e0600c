//! What one name keeps, for how long, and when it asks again.

use super::super::record::Kind;
use super::*;
use crate::config::Transport;

const TTL: Ttl = Ttl { min_s: 5, max_s: 3600 };

fn name() -> Name {
    let transport = Some(Transport::Udp);
    Name::new(Host { name: "example.com".to_owned(), port: None, transport })
}

fn records(ips: &[&str], ttl_s: u32) -> Answer {
    let address = |ip: &&str| Record::Address(ip.parse().expect("an address"));
    Answer::Records(ips.iter().map(address).collect(), ttl_s)
}

fn nothing() -> Answer {
    Answer::Nothing(Some(60))
}

fn failed() -> Answer {
    Answer::Failed("timeout".to_owned())
}

/// One walk at this second with these answers to SRV, A and AAAA: what was asked, and what came of it.
fn walk(name: &mut Name, at_s: u64, answers: [Answer; 3]) -> (Vec<Kind>, Settled) {
    let (now_ms, mut asked) = (at_s * 1000, Vec::new());
    loop {
        let questions = name.ask(now_ms);
        if questions.is_empty() {
            return (asked, name.settle(now_ms, now_ms));
        }
        for question in questions {
            let answer = match question.kind {
                Kind::Srv => &answers[0],
                Kind::A => &answers[1],
                _ => &answers[2],
            };
            asked.push(question.kind);
            name.answer(question, answer.clone(), TTL, now_ms);
        }
    }
}

fn addresses(name: &Name) -> Vec<String> {
    name.targets().iter().map(|target| target.address.to_string()).collect()
}

const CHANGED: Settled = Settled { changed: true, news: false };

const QUIET: Settled = Settled { changed: false, news: false };

const NEWS: Settled = Settled { changed: false, news: true };

#[test]
fn only_what_has_run_out_is_asked_again() {
    let mut name = name();
    assert_eq!(name.due_ms(), 0);
    let (asked, settled) = walk(&mut name, 0, [nothing(), records(&["10.0.0.1"], 20), nothing()]);
    assert_eq!((asked, settled), (vec![Kind::Srv, Kind::A, Kind::Aaaa], CHANGED));
    assert_eq!(name.due_ms(), 20_000);
    let more = records(&["10.0.0.2", "10.0.0.1"], 20);
    let (asked, settled) = walk(&mut name, 20, [nothing(), more, nothing()]);
    assert_eq!((asked, settled), (vec![Kind::A], CHANGED));
    assert_eq!(addresses(&name), ["10.0.0.1:5060", "10.0.0.2:5060"]);
    let same = records(&["10.0.0.1", "10.0.0.2"], 20);
    assert_eq!(walk(&mut name, 40, [nothing(), same, nothing()]), (vec![Kind::A], QUIET));
    assert_eq!(name.due_ms(), 60_000, "all of it is due");
}

#[test]
fn a_ttl_is_held_between_its_edges() {
    for (ttl_s, due_ms) in [(0, 5_000), (5, 5_000), (6, 6_000), (60, 60_000), (61, 60_000)] {
        let mut name = name();
        walk(&mut name, 0, [nothing(), records(&["10.0.0.1"], ttl_s), nothing()]);
        assert_eq!(name.due_ms(), due_ms, "the negative answers hold for 60 s");
    }
    let capped = Ttl { min_s: 5, max_s: 50 };
    assert_eq!([49, 50, 51].map(|ttl_s| capped.ms(ttl_s)), [49_000, 50_000, 50_000]);
    assert_eq!(Ttl { min_s: 9, max_s: 3 }.ms(1), 9_000);
}

#[test]
fn a_failure_keeps_the_records_and_is_tried_again_ever_later() {
    let mut name = name();
    let long = || Answer::Nothing(Some(3600));
    walk(&mut name, 0, [long(), records(&["10.0.0.1"], 20), long()]);
    let (asked, settled) = walk(&mut name, 20, [failed(), failed(), failed()]);
    assert_eq!((asked, settled), (vec![Kind::A], NEWS));
    assert_eq!(addresses(&name), ["10.0.0.1:5060"]);
    assert_eq!(name.trouble(), Some("A example.com: timeout"));
    let (mut at_s, mut waited) = (20, Vec::new());
    for _ in 0..8 {
        let next_s = name.due_ms() / 1000;
        waited.push(next_s - at_s);
        at_s = next_s;
        let (_, settled) = walk(&mut name, at_s, [failed(), failed(), failed()]);
        assert!(!settled.changed);
    }
    assert_eq!(waited, [1, 2, 4, 8, 16, 32, 60, 60]);
    let back = [nothing(), records(&["10.0.0.1"], 20), nothing()];
    let due_s = name.due_ms() / 1000;
    let (_, settled) = walk(&mut name, due_s, back);
    assert_eq!((settled, name.trouble()), (NEWS, None));
    assert_eq!(name.failures, 0);
}

#[test]
fn where_all_comes_to_nothing_the_addresses_of_before_stay() {
    let mut name = name();
    walk(&mut name, 0, [nothing(), records(&["10.0.0.1"], 20), nothing()]);
    let (_, settled) = walk(&mut name, 20, [nothing(), nothing(), nothing()]);
    assert_eq!(settled, NEWS);
    assert_eq!(addresses(&name), ["10.0.0.1:5060"]);
    assert_eq!(name.trouble(), Some("example.com has no address"));
    assert_eq!(name.due_ms(), 21_000, "not after the 60 s of the negative answer");
    let (asked, settled) = walk(&mut name, 21, [nothing(), records(&["10.0.0.9"], 20), nothing()]);
    assert_eq!(asked, [Kind::Srv, Kind::A, Kind::Aaaa], "the whole way anew");
    assert_eq!((settled.changed, addresses(&name)), (true, vec!["10.0.0.9:5060".to_owned()]));
}

#[test]
fn a_name_that_never_led_anywhere_has_no_address_and_says_why() {
    let mut name = name();
    let (_, settled) = walk(&mut name, 7, [failed(), failed(), failed()]);
    assert_eq!((settled, name.targets()), (NEWS, &[][..]));
    assert_eq!(name.trouble(), Some("SRV _sip._udp.example.com: timeout"));
    assert_eq!(name.due_ms(), 8_000);
    let good = [nothing(), records(&["10.0.0.1"], 20), nothing()];
    let (_, settled) = walk(&mut name, 8, good);
    assert_eq!(settled, Settled { changed: true, news: true });
}

#[test]
fn a_part_that_fails_does_not_stop_the_rest() {
    let mut name = name();
    let srv = |targets: &[&str]| {
        let srv = |target: &&str| {
            let target = (*target).to_owned();
            Record::Srv { priority: 1, weight: 1, port: 5060, target }
        };
        Answer::Records(targets.iter().map(srv).collect(), 10)
    };
    walk(&mut name, 0, [srv(&["a.example.com."]), records(&["10.0.0.1"], 100), nothing()]);
    let failing = [srv(&["a.example.com.", "b.example.com."]), failed(), failed()];
    let (asked, settled) = walk(&mut name, 10, failing);
    assert_eq!(asked, [Kind::Srv, Kind::A, Kind::Aaaa], "of b alone, which nobody knows");
    assert_eq!((settled, addresses(&name)), (NEWS, vec!["10.0.0.1:5060".to_owned()]));
    assert_eq!(name.due_ms(), 11_000);
    let both = [srv(&[]), records(&["10.0.0.2"], 100), nothing()];
    let (asked, settled) = walk(&mut name, 11, both);
    assert_eq!(asked, [Kind::A, Kind::Aaaa]);
    assert_eq!(settled, Settled { changed: true, news: true });
    assert_eq!(addresses(&name), ["10.0.0.1:5060", "10.0.0.2:5060"]);
    assert_eq!(name.answers.len(), 5);
    let one = [srv(&["b.example.com."]), failed(), failed()];
    walk(&mut name, 20, one);
    assert_eq!(addresses(&name), ["10.0.0.2:5060"]);
    assert_eq!(name.answers.len(), 3, "what nothing leads to any more is forgotten");
}
