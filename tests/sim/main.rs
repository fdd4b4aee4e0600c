//! The whole core under a virtual clock and a seeded network: balancers restart, flows move from one
//! to another, backends drain and are reordered, and no call notices.
//!
//! What must hold in every run: a dialog meets one backend; nobody gets a message of another call; a
//! retransmission comes out with the same bytes to the same place; every call completes within its
//! own timers. `SIPRING_SEED=n cargo test --test sim` replays one run.

mod agent;
mod caller;
mod cluster;
mod failing;
mod failover;
mod network;
#[allow(dead_code)] // shared with the core's tests, which use all of it
#[path = "../core/world.rs"]
mod world;

use agent::{Agent, Plan, REINVITE_MS, Side};
use cluster::{ADDRESS, ADDRESS_6, Cluster};
use network::{Datagram, Faults, Network, Random};
use sipring::pool::{BackendSpec, Policy, State};
use sipring::proxy::Now;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

/// What happens in a run.
#[derive(Clone, Copy)]
struct Scenario {
    nodes: usize,
    policy: Policy,
    calls: usize,
    faults: Faults,
    /// What may happen to the balancers, one at a time, `DISRUPTION_MS` apart.
    disruptions: &'static [Disruption],
}

#[derive(Clone, Copy, Debug)]
enum Disruption {
    /// A node forgets its pins.
    Restart,
    /// The network sends every flow to another node.
    Move,
    /// A backend takes no new calls any more, or takes them again.
    Drain,
    /// The config lists the backends in another order.
    Reorder,
}

/// Outside of a dialog nothing but the pin or the hash says where a transaction went: after one of
/// them has changed, the other must last for as long as a transaction does (RFC 3261 16.11).
const DISRUPTION_MS: u64 = 45_000;

/// New calls come in for this long.
const ARRIVALS_MS: u64 = 200_000;

/// By then the last call is over: its ringing, holding, and a transaction after each.
const END_MS: u64 = ARRIVALS_MS + 250_000;

const EVERYTHING: &[Disruption] =
    &[Disruption::Restart, Disruption::Move, Disruption::Drain, Disruption::Reorder];

const HOSTILE: Faults = Faults { loss_percent: 15, repeat_percent: 5, delay_ms_max: 300 };

/// Prints how to see a failed run again, however it failed.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to replay: SIPRING_SEED={} cargo test --test sim", self.0);
        }
    }
}

struct Simulation {
    seed: u64,
    now_ms: u64,
    random: Random,
    network: Network,
    cluster: Cluster,
    backends: Vec<BackendSpec>,
    agents: Vec<Agent>,
    callers: HashMap<SocketAddr, usize>,
    /// By Call-ID: whoever gets its first INVITE has the call.
    callees: HashMap<String, usize>,
    plans: BTreeMap<String, Plan>,
}

impl Simulation {
    fn new(seed: u64, scenario: &Scenario) -> Self {
        let mut random = Random::new(seed);
        let mut backends = world::backends();
        backends.push(BackendSpec {
            name: "b4".to_owned(),
            address: world::address("10.1.0.4:5060"),
            ..backends[0].clone()
        });
        let mut simulation = Self {
            seed,
            now_ms: 0,
            network: Network::new(scenario.faults),
            cluster: Cluster::new(scenario.nodes, scenario.policy, backends.clone()),
            backends,
            agents: Vec::new(),
            callers: HashMap::new(),
            callees: HashMap::new(),
            plans: BTreeMap::new(),
            random: Random::new(random.next()),
        };
        (0..scenario.calls).for_each(|number| simulation.add_call(number));
        simulation
    }

    fn add_call(&mut self, number: usize) {
        let random = &mut self.random;
        let side = |random: &mut Random| match random.percent(50) {
            true => Side::Caller,
            false => Side::Callee,
        };
        let plan = Plan {
            start_ms: random.between(0, ARRIVALS_MS),
            ring_ms: random.between(0, 4000),
            answered: random.percent(80),
            cancel_ms: random.percent(25).then(|| random.between(0, 4000)),
            reinvite: random.percent(60).then(|| side(random)),
            bye: side(random),
            hold_ms: random.between(REINVITE_MS + 40_000, 90_000),
            private: random.percent(50),
        };
        let (address, proxy) = match random.percent(30) {
            true => (format!("[2001:db8::c:{number:x}]:5060"), ADDRESS_6),
            false => (format!("192.0.2.9:{}", 20_000 + number), ADDRESS),
        };
        let address = world::address(&address);
        let call_id = format!("{:016x}-{number}@sim", random.next());
        self.callers.insert(address, self.agents.len());
        let proxy = world::address(proxy);
        self.agents.push(Agent::new(Side::Caller, address, proxy, &call_id, plan));
        self.plans.insert(call_id, plan);
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        panic!("seed {} at {} ms: {what}", self.seed, self.now_ms);
    }

    /// The clock of the cores, which began before.
    fn now(&self) -> Now {
        Now::from_ms(1_000_000 + self.now_ms)
    }

    fn run(&mut self, scenario: &Scenario) {
        let mut next_disruption = DISRUPTION_MS;
        while self.now_ms < END_MS {
            if self.now_ms >= next_disruption && !scenario.disruptions.is_empty() {
                next_disruption = self.now_ms + DISRUPTION_MS;
                let choice = self.random.between(0, scenario.disruptions.len() as u64);
                self.disrupt(scenario.disruptions[choice as usize]);
            }
            self.cluster.handle_timeout(self.now());
            while let Some(datagram) = self.network.receive(self.now_ms) {
                self.deliver(datagram);
            }
            for at in 0..self.agents.len() {
                if self.agents[at].next_ms().is_some_and(|due| due <= self.now_ms) {
                    self.agents[at].handle_timeout(self.now_ms);
                    self.collect(at);
                }
            }
            let agents = self.agents.iter().filter_map(Agent::next_ms);
            let next = agents.chain(self.network.next_ms()).min();
            // At the least once a second: the cores sweep their pins.
            self.now_ms = next.unwrap_or(u64::MAX).clamp(self.now_ms + 1, self.now_ms + 1000);
        }
    }

    fn disrupt(&mut self, disruption: Disruption) {
        self.cluster.check_invariants();
        match disruption {
            Disruption::Restart => {
                let node = self.random.between(0, self.cluster.nodes() as u64);
                self.cluster.restart(node as usize);
            }
            Disruption::Move => self.cluster.route = self.random.next(),
            Disruption::Drain => {
                let at = self.random.between(0, self.backends.len() as u64) as usize;
                let backend = &mut self.backends[at];
                backend.state = match backend.state {
                    // Somebody must take new calls.
                    State::Ready if backend.name != "b1" => State::Drained,
                    _ => State::Ready,
                };
                self.cluster.publish(self.backends.clone());
            }
            Disruption::Reorder => {
                let by = self.random.between(1, self.backends.len() as u64) as usize;
                self.backends.rotate_left(by);
                self.cluster.publish(self.backends.clone());
            }
        }
    }

    fn deliver(&mut self, datagram: Datagram) {
        let to = datagram.to;
        if to == world::address(ADDRESS_6) || to.ip() == world::address(ADDRESS).ip() {
            match self.cluster.handle(self.now(), &datagram) {
                Ok(sent) => self.network.send(&mut self.random, self.now_ms, sent),
                Err(what) => self.fail(&format!("{what}, for {datagram:#?}")),
            }
            return;
        }
        let at = match self.callers.get(&to) {
            Some(at) => *at,
            None => self.callee(&datagram),
        };
        self.agents[at].handle(self.now_ms, &datagram.text);
        self.collect(at);
    }

    /// The party at a backend that this datagram is for.
    fn callee(&mut self, datagram: &Datagram) -> usize {
        let Some(backend) = self.backends.iter().find(|backend| backend.address == datagram.to)
        else {
            self.fail(&format!("nobody is there: {datagram:#?}"));
        };
        let call_id = world::rows(&datagram.text, "Call-ID").remove(0);
        if let Some(at) = self.callees.get(&call_id) {
            let first = self.agents[*at].address;
            if first != datagram.to {
                self.fail(&format!("the call is at {first}, and not here: {datagram:#?}"));
            }
            return *at;
        }
        let Some(plan) = self.plans.get(&call_id) else { self.fail("a call that nobody made") };
        let proxy = world::address(ADDRESS);
        self.agents.push(Agent::new(Side::Callee, backend.address, proxy, &call_id, *plan));
        self.callees.insert(call_id, self.agents.len() - 1);
        self.agents.len() - 1
    }

    /// Sends what an agent wants to send, and takes its complaints.
    fn collect(&mut self, at: usize) {
        let agent = &mut self.agents[at];
        for datagram in std::mem::take(&mut agent.outbox) {
            self.network.send(&mut self.random, self.now_ms, datagram);
        }
        if let Some(failure) = agent.failure.take() {
            let (side, call_id) = (agent.side, agent.call_id.clone());
            self.fail(&format!("{side:?} of {call_id}: {failure}"));
        }
    }

    fn assert_complete(&self) {
        for agent in &self.agents {
            if !agent.is_done() {
                let (side, call_id) = (agent.side, &agent.call_id);
                self.fail(&format!("{side:?} of {call_id} is not done: {:?}", self.plans[call_id]));
            }
        }
        assert_eq!(self.agents.len(), 2 * self.plans.len(), "every call has two parties");
        // The last call is over for longer than anything is awaited.
        self.cluster.check_invariants();
        assert_eq!(self.cluster.transactions(), 0, "open transactions are left");
    }
}

fn simulate(seed: u64, scenario: &Scenario) -> Simulation {
    let _replay = Replay(seed);
    let mut simulation = Simulation::new(seed, scenario);
    simulation.run(scenario);
    simulation.assert_complete();
    simulation
}

/// The seeds of a scenario; the one from the environment alone, if there is one.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SIPRING_SEED") {
        Ok(seed) => vec![seed.parse().expect("SIPRING_SEED is a number")],
        Err(_) => (1..=count).collect(),
    }
}

#[test]
fn calls_survive_loss_restarts_moves_drains_and_reordering() {
    let scenario = Scenario {
        nodes: 3,
        policy: Policy::CALL_ID_HASH,
        calls: 60,
        faults: HOSTILE,
        disruptions: EVERYTHING,
    };
    let (mut lost, mut repeated) = (0, 0);
    for seed in seeds(12) {
        let simulation = simulate(seed, &scenario);
        lost += simulation.network.counts().1;
        repeated += simulation.cluster.repeated;
    }
    assert!(lost > 0 && repeated > 0, "the network was kind: {lost} lost, {repeated} repeated");
}

#[test]
fn the_same_holds_with_the_table_of_maglev() {
    let scenario = Scenario {
        nodes: 2,
        policy: Policy::CALL_ID_HASH_MAGLEV,
        calls: 40,
        faults: HOSTILE,
        disruptions: &[Disruption::Restart, Disruption::Move, Disruption::Reorder],
    };
    seeds(3).into_iter().for_each(|seed| drop(simulate(seed, &scenario)));
}

#[test]
fn pins_alone_carry_round_robin_through_drains_and_their_dialogs_return_to_zero() {
    // No hash remembers here: one node, never restarted
    let scenario = Scenario {
        nodes: 1,
        policy: Policy::RoundRobin,
        calls: 60,
        faults: HOSTILE,
        disruptions: &[Disruption::Drain, Disruption::Reorder],
    };
    for seed in seeds(6) {
        let simulation = simulate(seed, &scenario);
        assert_eq!(simulation.cluster.dialogs(), 0, "seed {seed}: every dialog has ended");
    }
}

#[test]
fn a_kind_network_repeats_nothing_and_uses_every_backend() {
    let scenario = Scenario {
        nodes: 2,
        policy: Policy::CALL_ID_HASH,
        calls: 60,
        faults: Faults { loss_percent: 0, repeat_percent: 0, delay_ms_max: 20 },
        disruptions: &[],
    };
    for seed in seeds(2) {
        let simulation = simulate(seed, &scenario);
        assert_eq!((simulation.network.counts().1, simulation.cluster.repeated), (0, 0));
        let mut used: Vec<_> =
            simulation.callees.values().map(|at| simulation.agents[*at].address).collect();
        used.sort();
        used.dedup();
        assert_eq!(used.len(), 4);
    }
}

#[test]
fn a_seed_is_a_run() {
    let scenario = Scenario {
        nodes: 3,
        policy: Policy::CALL_ID_HASH,
        calls: 20,
        faults: HOSTILE,
        disruptions: EVERYTHING,
    };
    let counts = |seed| {
        let simulation = simulate(seed, &scenario);
        (simulation.network.counts(), simulation.cluster.forwarded, simulation.cluster.repeated)
    };
    assert_eq!(counts(5), counts(5));
    assert_ne!(counts(5), counts(6));
}
