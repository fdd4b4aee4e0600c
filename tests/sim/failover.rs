//! Failover under a seeded network: backends die, go silent, are slow or refuse, callers cancel in
//! between, and datagrams are lost, repeated and late.
//!
//! What must hold in every run: nobody gets two different answers, but for a second 2xx, which he
//! ends; no dialog moves; no attempt follows a CANCEL; no attempt is made twice, nor more than are
//! allowed; what is kept is let go, and the counts return to 0. Where no datagram is lost, a failure
//! that a caller gets was one of every backend it was tried at.

use crate::caller::{Caller, Plan, TRANSACTION_MS};
use crate::failing::{Backend, Mode};
use crate::network::{Datagram, Faults, Network, Random};
use crate::world::{self, LISTENER, Outcome, PORT, World, address, rows};
use crate::{HOSTILE, Replay, seeds};
use sipring::pool::BackendSpec;
use sipring::proxy::{Forwarded, Method, Now, Verdict};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

/// A way of a backend to be, and for how many of 100 changes it is chosen.
type Modes = &'static [(Mode, u64)];

const ALL_MODES: Modes = &[
    (Mode::Good, 40),
    (Mode::Busy, 12),
    (Mode::BusyLate, 12),
    (Mode::Slow, 12),
    (Mode::Silent, 12),
    (Mode::Dead, 12),
];

/// Those that forget nothing.
const LIVING: Modes = &[(Mode::Good, 40), (Mode::Busy, 20), (Mode::BusyLate, 20), (Mode::Slow, 20)];

const CALLS: usize = 120;
/// Calls begin, and backends change, for this long.
const ARRIVALS_MS: u64 = 120_000;
/// By then every call is over: it has rung for a minute, and a transaction follows each step.
const END_MS: u64 = ARRIVALS_MS + 60_000 + 5 * TRANSACTION_MS;
/// From one change of a backend to the next.
const CHANGE_MS: (u64, u64) = (500, 12_000);

struct Run {
    seed: u64,
    now_ms: u64,
    random: Random,
    network: Network,
    world: World,
    modes: Modes,
    loses: bool,
    backends: Vec<Backend>,
    callers: Vec<Caller>,
    /// By Call-ID: where it was tried and when, in order.
    attempts: HashMap<String, Vec<(SocketAddr, u64)>>,
    /// Calls whose CANCEL has reached the balancer.
    cancelled: HashSet<String>,
    /// When a closed port is heard of.
    errors: Vec<(u64, SocketAddr)>,
    /// By Call-ID: when a 2xx was first forwarded, and whose it was.
    accepted: HashMap<String, (u64, String)>,
}

/// What became of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    answered: usize,
    answered_elsewhere: usize,
    twice: usize,
    failed: usize,
    cancelled_on_the_way: usize,
    failovers: [u64; 3],
}

impl Run {
    fn new(seed: u64, modes: Modes, faults: Faults) -> Self {
        let mut random = Random::new(seed);
        let mut specs = world::backends();
        let last = BackendSpec {
            name: "b4".to_owned(),
            address: address("10.1.0.4:5060"),
            ..specs[0].clone()
        };
        specs.push(last);
        let backends = specs.iter().map(|spec| Backend::new(&spec.name, spec.address)).collect();
        let mut settings = world::settings();
        settings.failover.kept_max = 2 * CALLS;
        Self {
            seed,
            now_ms: 0,
            network: Network::new(faults),
            world: World::with(settings, specs),
            modes,
            loses: faults.loss_percent > 0,
            backends,
            callers: (0..CALLS).map(|number| caller(&mut random, number)).collect(),
            attempts: HashMap::new(),
            cancelled: HashSet::new(),
            errors: Vec::new(),
            accepted: HashMap::new(),
            random,
        }
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        panic!("seed {} at {} ms: {what}", self.seed, self.now_ms);
    }

    fn play(&mut self) {
        let mut changes_ms: Vec<u64> = vec![0; self.backends.len()];
        while self.now_ms < END_MS {
            for (at, change_ms) in changes_ms.iter_mut().enumerate() {
                if self.now_ms >= *change_ms {
                    *change_ms += self.random.between(CHANGE_MS.0, CHANGE_MS.1);
                    self.change(at);
                }
            }
            self.step();
            self.now_ms += STEP_MS;
        }
    }

    fn change(&mut self, at: usize) {
        let mut drawn = self.random.between(0, 100);
        let mode = self.modes.iter().find(|(_, share)| match drawn.checked_sub(*share) {
            Some(rest) => {
                drawn = rest;
                false
            }
            None => true,
        });
        let mode = match self.now_ms < ARRIVALS_MS {
            true => mode.expect("the shares are 100 together").0,
            false => Mode::Good,
        };
        self.backends[at].turn(self.now_ms, mode);
    }

    fn step(&mut self) {
        self.world.now = Now::from_ms(1_000_000 + self.now_ms);
        self.world.proxy.handle_timeout(self.world.now);
        let due = |(at_ms, _): &(u64, SocketAddr)| *at_ms <= self.now_ms;
        let heard: Vec<_> = self.errors.extract_if(.., |error| due(error)).collect();
        heard
            .into_iter()
            .for_each(|(_, peer)| self.world.proxy.unreachable(&self.world.pool, peer));
        self.poll();
        while let Some(datagram) = self.network.receive(self.now_ms) {
            self.deliver(&datagram);
        }
        for at in 0..self.callers.len() {
            self.callers[at].handle_timeout(self.now_ms);
            self.collect_caller(at);
        }
        for at in 0..self.backends.len() {
            self.backends[at].handle_timeout(self.now_ms);
            self.collect_backend(at);
        }
    }

    fn deliver(&mut self, datagram: &Datagram) {
        let Datagram { to, text, .. } = datagram;

        if let Some(at) = self.backends.iter().position(|backend| backend.address == *to) {
            let backend = &mut self.backends[at];
            if text.starts_with("SIP/2.0 ") {
                backend.answered(text);
            } else if !backend.handle(&mut self.random, self.now_ms, text) {
                self.errors.push((self.now_ms + self.random.between(1, 100), *to));
            }
            return self.collect_backend(at);
        }
        if let Some(at) = self.callers.iter().position(|caller| caller.address == *to) {
            self.callers[at].handle(self.now_ms, text);
            return self.collect_caller(at);
        }
        if text.starts_with("CANCEL ") {
            self.cancelled.insert(rows(text, "Call-ID").remove(0));
        }
        let socket = if to.port() == 5060 { LISTENER } else { PORT };
        let outcome = self.world.push(&datagram.from.to_string(), socket, text);
        self.send(outcome);
        self.poll();
    }

    fn poll(&mut self) {
        self.world.poll().into_iter().for_each(|outcome| self.send(outcome));
        while self.world.proxy.take_silent().is_some() {}
    }

    fn send(&mut self, outcome: Outcome) {
        match outcome.verdict {
            Verdict::Forward {
                kind: Forwarded::RequestToBackend { method: Method::Invite, .. },
                egress,
                ..
            } => self.attempted(&outcome, egress.to),
            Verdict::Forward { .. } | Verdict::Reply { .. } => {}
            _ => return,
        }
        self.judge(&outcome);
        let egress = outcome.egress();
        let from = self.world.settings.sockets[usize::from(egress.socket.0)].address;
        let datagram = Datagram { from, to: egress.to, text: outcome.text() };
        self.network.send(&mut self.random, self.now_ms, datagram);
    }

    /// No failure follows a 2xx as long as transactions last: RFC 3261 16.7 item 5.
    fn judge(&mut self, sent: &Outcome) {
        let text = sent.text();
        let Some(status) = text.strip_prefix("SIP/2.0 ") else { return };
        if status.starts_with('1') || !sent.row("CSeq").ends_with(" INVITE") {
            return;
        }
        let call_id = sent.row("Call-ID");
        let tag = crate::caller::tag(&text, "To");
        let who = tag.split('-').next().unwrap_or("").to_owned();
        if status.starts_with('2') {
            self.accepted.entry(call_id).or_insert((self.now_ms, who));
        } else if let Some((at_ms, first)) = self.accepted.get(&call_id)
            && self.now_ms < at_ms + TRANSACTION_MS
            && *first != who
        // one that has forgotten its 2xx in between
        {
            let attempts = &self.attempts[&call_id];
            self.fail(&format!("a failure after a 2xx, tried at {attempts:?}:\n{text}"));
        }
    }

    fn attempted(&mut self, outcome: &Outcome, to: SocketAddr) {
        let call_id = outcome.row("Call-ID");
        let tries = usize::from(self.world.settings.failover.tries);
        let attempts = self.attempts.entry(call_id.clone()).or_default();
        if attempts.iter().any(|(tried, _)| *tried == to) {
            return; // a retransmission
        }
        attempts.push((to, self.now_ms));
        if attempts.len() > tries {
            self.fail(&format!(
                "{call_id} is tried at {attempts:?}",
                attempts = self.attempts[&call_id]
            ));
        }
        if self.cancelled.contains(&call_id) {
            self.fail(&format!("{call_id} is tried at {to} after its CANCEL"));
        }
    }

    fn collect_caller(&mut self, at: usize) {
        let caller = &mut self.callers[at];
        let (sent, complaint) = (std::mem::take(&mut caller.outbox), caller.complaint.take());
        self.collect(sent, complaint);
    }

    fn collect_backend(&mut self, at: usize) {
        let backend = &mut self.backends[at];
        let (sent, complaint) = (std::mem::take(&mut backend.outbox), backend.complaint.take());
        self.collect(sent, complaint);
    }

    fn collect(&mut self, sent: Vec<Datagram>, complaint: Option<String>) {
        sent.into_iter().for_each(|one| self.network.send(&mut self.random, self.now_ms, one));
        if let Some(complaint) = complaint {
            self.fail(&complaint);
        }
    }

    /// Checks each call, and says what became of them.
    fn tally(&self) -> Tally {
        let mut tally = Tally { failovers: self.world.proxy.tally().failovers, ..Tally::default() };
        for caller in &self.callers {
            let call_id = &caller.call_id;
            let attempts = self.attempts.get(call_id).map_or(&[][..], Vec::as_slice);
            let has_failed = |(to, sent_ms): &(SocketAddr, u64)| {
                let backend = self.backends.iter().find(|backend| backend.address == *to);
                backend.is_some_and(|backend| backend.has_failed(*sent_ms))
            };
            let answered_by_callee = caller.failure.as_ref().is_some_and(|one| one.0 < 500);
            match caller.answers() {
                0 if answered_by_callee || caller.has_cancelled() => {}
                0 if self.loses || attempts.iter().all(has_failed) => tally.failed += 1,
                0 => self.fail(&format!(
                    "{call_id} ended as {:?}, and not all of {attempts:?} had failed it: {:?}",
                    caller.failure, caller.plan
                )),
                answers => {
                    tally.answered += 1;
                    tally.answered_elsewhere += usize::from(attempts.len() > 1);
                    tally.twice += usize::from(answers > 1);
                }
            }
            let crossed = caller.has_cancelled() && attempts.len() > 1;
            tally.cancelled_on_the_way += usize::from(crossed);
        }
        tally
    }

    fn assert_nothing_is_left(&mut self, idle_s: u64) {
        if self.world.proxy.is_waiting() {
            self.fail("a request is kept though all is over");
        }
        // The hand of the sweep goes round in ten seconds.
        self.world.now = self.world.now.after_ms(idle_s * 1000);
        for _ in 0..200 {
            self.world.now = self.world.now.after_ms(100);
            self.world.proxy.handle_timeout(self.world.now);
        }
        let proxy = &self.world.proxy;
        if (proxy.dialogs(), proxy.calls()) != (0, 0) {
            self.fail(&format!("{} dialogs and {} calls left", proxy.dialogs(), proxy.calls()));
        }
    }
}

const STEP_MS: u64 = 10;

fn caller(random: &mut Random, number: usize) -> Caller {
    let hold_ms = random.percent(50).then(|| random.between(0, 10_000));
    let who = if hold_ms.is_some() { "caller" } else { "callee" };
    let plan = Plan {
        start_ms: random.between(0, ARRIVALS_MS),
        cancel_ms: random.percent(35).then(|| random.between(0, 9000)),
        hold_ms,
    };
    let from = address(&format!("192.0.2.9:{}", 20_000 + number));
    let call_id = format!("{:08x}-{number}-{who}@sim", random.next() as u32);
    Caller::new(from, address("10.0.0.1:5060"), call_id, plan)
}

fn run(seed: u64, modes: Modes, faults: Faults, idle_s: u64) -> Tally {
    let _replay = Replay(seed);
    let mut run = Run::new(seed, modes, faults);
    run.play();
    run.assert_nothing_is_left(idle_s);
    run.tally()
}

#[test]
fn calls_find_a_backend_that_answers_while_others_die_go_silent_and_refuse() {
    let mut sum = Tally::default();
    for seed in seeds(24) {
        // What a dead backend has taken with it is forgotten with the idle time.
        let tally = run(seed, ALL_MODES, HOSTILE, 13 * 3600);
        sum.answered += tally.answered;
        sum.answered_elsewhere += tally.answered_elsewhere;
        sum.twice += tally.twice;
        sum.failed += tally.failed;
        sum.cancelled_on_the_way += tally.cancelled_on_the_way;
        (0..3).for_each(|cause| sum.failovers[cause] += tally.failovers[cause]);
    }
    if std::env::var_os("SIPRING_SEED").is_none() {
        assert!(sum.answered_elsewhere > 100 && sum.failed > 0 && sum.twice > 0, "{sum:?}");
        assert!(sum.cancelled_on_the_way > 20, "{sum:?}");
        assert!(sum.failovers.iter().all(|count| *count > 50), "{sum:?}");
    }
}

#[test]
fn while_nobody_forgets_the_counts_return_to_0_with_the_last_transaction() {
    for seed in seeds(8) {
        run(seed, LIVING, HOSTILE, 4 * 60);
    }
}

#[test]
fn only_who_has_failed_a_call_loses_it() {
    let faults = Faults { loss_percent: 0, ..HOSTILE };
    for seed in seeds(16) {
        run(seed, ALL_MODES, faults, 13 * 3600);
    }
}

#[test]
fn where_all_is_well_no_second_backend_is_asked() {
    let kind = Faults { loss_percent: 0, repeat_percent: 0, delay_ms_max: 20 };
    for seed in seeds(2) {
        let tally = run(seed, &[(Mode::Good, 100)], kind, 0);
        assert_eq!((tally.failovers, tally.failed, tally.twice), ([0; 3], 0, 0));
    }
}

#[test]
fn a_seed_of_failures_is_a_run() {
    let tally = |seed| run(seed, ALL_MODES, HOSTILE, 13 * 3600);
    assert_eq!(tally(3), tally(3));
    assert_ne!(tally(3), tally(4));
}
