//! Callers and backends without sockets or clock: messages are handed over here, or lost on purpose.

use super::answerer::Answerer;
use super::caller::Callers;
use super::options::{Kind, Mix, Options, Pace};
use super::outbox::Outbox;
use std::net::SocketAddrV4;
use std::time::Duration;

const T1_NS: u64 = 500_000_000;

struct World {
    callers: Callers,
    backends: Vec<Answerer>,
    address: SocketAddrV4,
    /// First lines of all messages, in order.
    seen: Vec<String>,
}

impl World {
    fn new() -> Self {
        let address: SocketAddrV4 = "127.0.0.1:5060".parse().unwrap();
        let options = Options {
            to: Some(address),
            backends: vec![address; 2],
            sources: 1,
            pace: Pace::Closed { in_flight: 1 },
            mix: Mix::CALLS,
            body: None,
            hold: Duration::ZERO,
            warm_up: Duration::ZERO,
            length: Duration::from_secs(1),
            t1: Duration::from_nanos(T1_NS),
            seed: 1,
            trains: false,
            watch: None,
            plot: None,
            command: String::new(),
        };
        let mut callers = Callers::new(&options, address, &[address]);
        callers.is_measuring = true;
        let backend = |place| Answerer::new(place, address, options.t1, 1);
        Self { callers, backends: (0..2).map(backend).collect(), address, seen: Vec::new() }
    }

    /// Hands everything over until nobody says anything more. `to` gives the backend of a request,
    /// or loses a message.
    fn settle(&mut self, now: u64, to: impl Fn(&str) -> Option<usize>) {
        loop {
            let requests = take(&mut self.callers.outboxes[0]);
            if requests.is_empty() {
                return;
            }
            let mut answers = Outbox::default();
            for request in requests {
                if let Some(place) = to(&self.note(&request)) {
                    self.backends[place].receive(now, self.address, &request, &mut answers);
                }
            }
            self.hand_back(now, &mut answers, &to);
        }
    }

    fn wake(&mut self, now: u64, to: impl Fn(&str) -> Option<usize>) {
        let mut answers = Outbox::default();
        self.backends.iter_mut().for_each(|backend| backend.wake(now, &mut answers));
        self.hand_back(now, &mut answers, &to);
        self.callers.wake(now);
        self.settle(now, to);
    }

    fn hand_back(&mut self, now: u64, answers: &mut Outbox, to: &impl Fn(&str) -> Option<usize>) {
        for answer in take(answers) {
            if to(&self.note(&answer)).is_some() {
                self.callers.receive(now, 0, &answer);
            }
        }
    }

    fn note(&mut self, message: &[u8]) -> String {
        let text = String::from_utf8(message.to_vec()).unwrap();
        let line = text.lines().next().unwrap();
        let cseq = text.lines().find(|line| line.starts_with("CSeq")).unwrap();
        let word = line.split(' ').find(|word| *word != "SIP/2.0").unwrap();
        let noted = format!("{word} {}", cseq.rsplit(' ').next().unwrap());
        self.seen.push(noted.clone());
        noted
    }

    fn seen(&self, what: &str) -> usize {
        self.seen.iter().filter(|seen| *seen == what).count()
    }
}

fn take(outbox: &mut Outbox) -> Vec<Vec<u8>> {
    let messages = outbox.messages().map(|(bytes, _)| bytes.to_vec()).collect();
    outbox.clear();
    messages
}

#[test]
fn a_call_is_seven_messages_and_ends_well() {
    let mut world = World::new();
    assert!(world.callers.start(1000, 0, Kind::Call));
    world.settle(3000, |_| Some(1));
    let messages = [
        "INVITE INVITE",
        "100 INVITE",
        "180 INVITE",
        "200 INVITE",
        "ACK ACK",
        "BYE BYE",
        "200 BYE",
    ];
    assert_eq!(world.seen, messages);
    let counts = &world.callers.counts;
    assert_eq!((counts.started, counts.completed, counts.lost.sum()), (1, 1, 0));
    assert_eq!((counts.sent, counts.received, world.callers.open()), (3, 4, 0));
    // From when it was due, not from when it was sent.
    assert_eq!(world.callers.latencies.answer.quantiles().unwrap().max, 3);
    world.wake(100 * T1_NS, |_| Some(1));
    assert_eq!(world.seen.len(), 7, "nothing is sent again");
}

#[test]
fn other_requests_are_two_messages() {
    for kind in [Kind::Options, Kind::Message, Kind::Register] {
        let mut world = World::new();
        world.callers.start(0, 0, kind);
        world.settle(5000, |_| Some(0));
        let method = kind.method();
        assert_eq!(world.seen, [format!("{method} {method}"), format!("200 {method}")]);
        assert_eq!(world.callers.counts.completed, 1);
    }
}

// RFC 3261 17.1.1.2, 13.3.1.4, 13.2.2.4, 17.1.2.2.
#[test]
fn whatever_is_lost_once_is_sent_again_after_t1() {
    for (lost, again) in [
        ("INVITE INVITE", "INVITE INVITE"),
        ("200 INVITE", "200 INVITE"),
        ("ACK ACK", "200 INVITE"),
        ("BYE BYE", "BYE BYE"),
        ("200 BYE", "BYE BYE"),
    ] {
        let mut world = World::new();
        world.callers.start(0, 0, Kind::Call);
        // With the ACK the BYE is lost too: it would say as much.
        let goes_with = if lost == "ACK ACK" { "BYE BYE" } else { lost };
        world.settle(0, |what| (what != lost && what != goes_with).then_some(0));
        assert_eq!(world.callers.counts.completed, 0, "{lost}");
        let before = world.seen(again);
        world.wake(T1_NS - 1, |_| Some(0));
        assert_eq!(world.seen(again), before, "{lost}: too early");
        world.wake(T1_NS, |_| Some(0));
        assert_eq!(world.seen(again), before + 1, "{lost}");
        assert_eq!(world.callers.counts.completed, 1, "{lost}");
        assert_eq!(world.backends[0].unacknowledged(), 0, "{lost}");
    }
}

#[test]
fn a_request_at_another_backend_is_told() {
    let mut world = World::new();
    world.callers.start(0, 0, Kind::Call);
    world.settle(0, |what| Some(usize::from(what == "BYE BYE")));
    assert_eq!(world.backends[0].counts.wrong_backend, 0);
    assert_eq!(world.backends[1].counts.wrong_backend, 1);
}

#[test]
fn what_never_ends_is_lost_by_what_it_waits_for() {
    for (lost, cause) in [("INVITE INVITE", 0), ("BYE BYE", 1), ("OPTIONS OPTIONS", 2)] {
        let mut world = World::new();
        world.callers.start(0, 0, if cause == 2 { Kind::Options } else { Kind::Call });
        (0..200).for_each(|n| world.wake(n * T1_NS, |what| (what != lost).then_some(0)));
        world.callers.close();
        let causes = &world.callers.counts.lost;
        let found = [causes.no_answer, causes.no_answer_bye, causes.no_answer_other];
        assert_eq!((found[cause], causes.sum()), (1, 1), "{lost}");
        // Until timer B or F, 64*T1.
        assert_eq!(world.seen(lost), if cause == 0 { 7 } else { 11 }, "{lost}");
    }
}
