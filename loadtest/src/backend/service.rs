//! What a backend's work costs: a queue of requests, served first come first served by one or more
//! servers with drawn service times. No work is done: a request leaves the queue when it would.
//!
//! Ends of service follow from arrivals and drawn times alone, not from when somebody looks: a late
//! timer delays an answer and costs no capacity.

use crate::random::{Random, hash};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The service of a backend. Start from [`Service::of`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Service {
    /// Mean time that an INVITE of a new call takes one server, at `speed` 1.
    pub invite: Duration,
    /// Mean time that a BYE takes one server, at `speed` 1.
    pub bye: Duration,
    /// Standard deviation of a service time over its mean: 0.0 is a fixed time, 1.0 about as
    /// uneven as an exponential one. Times are lognormal.
    pub variation: f64,
    /// Divides every service time; above 0.
    pub speed: f64,
    /// Servers that take from the one queue, at least 1.
    pub servers: usize,
    /// Requests that wait or are served, at most; at least 1.
    pub room: usize,
    /// A request that finds no room is answered 503; otherwise it is lost.
    pub refuses: bool,
    /// Decides how much work each request is: the same request is the same work on every backend
    /// with this seed.
    pub seed: u64,
}

impl Service {
    /// One server of speed 1 with these mean times, moderate variation and a queue without end.
    pub fn of(invite: Duration, bye: Duration) -> Self {
        Self {
            invite,
            bye,
            variation: 0.5,
            speed: 1.0,
            servers: 1,
            room: usize::MAX,
            refuses: false,
            seed: 1,
        }
    }

    /// Calls, each an INVITE and a BYE, that it can serve a second.
    pub fn calls_per_second(&self) -> f64 {
        self.speed * self.servers as f64 / (self.invite + self.bye).as_secs_f64()
    }

    /// # Errors
    /// `InvalidInput`, with what was found and what would be right.
    pub(super) fn check(&self) -> io::Result<()> {
        let wrong = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if self.invite + self.bye == Duration::ZERO {
            return wrong("service times of 0: without a service answers are immediate".to_owned());
        }
        if !(self.speed > 0.0 && self.speed <= 1e6) {
            return wrong(format!("speed {}: above 0, at most 1 000 000", self.speed));
        }
        if !(0.0..=10.0).contains(&self.variation) {
            return wrong(format!("variation {}: 0.0 to 10.0 would be right", self.variation));
        }
        if self.servers == 0 || self.room == 0 {
            return wrong("a queue has at least one server and room for one request".to_owned());
        }
        Ok(())
    }

    /// How long one server has to do with this request.
    fn time_ns(&self, invite: bool, call_id: &str) -> u64 {
        let mean = if invite { self.invite } else { self.bye };
        let mut random = Random::new(hash(self.seed, call_id.as_bytes()), u64::from(invite));
        let time = random.lognormal(mean.as_nanos() as f64, self.variation);
        (time / self.speed) as u64
    }
}

/// What becomes of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It waits for its turn, or is being served.
    Queued,
    /// It is in the queue already: a retransmission.
    Repeated,
    /// There is no room.
    Full,
}

/// A request whose service has ended.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Served {
    /// When, in nanoseconds.
    end: u64,
    /// Nanoseconds that it took a server.
    pub(super) time_ns: u64,
    key: (bool, String),
    pub(super) source: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// The requests that wait or are being served.
#[derive(Debug)]
pub(super) struct Queue {
    service: Service,
    /// When each server is free again.
    free_at: BinaryHeap<Reverse<u64>>,
    /// By the end of their service.
    requests: BinaryHeap<Reverse<Served>>,
    keys: HashSet<(bool, String)>,
}

impl Queue {
    pub(super) fn new(service: Service) -> Self {
        Self {
            service,
            free_at: (0..service.servers).map(|_| Reverse(0)).collect(),
            requests: BinaryHeap::new(),
            keys: HashSet::new(),
        }
    }

    /// A request of the call comes: an INVITE, or else a BYE.
    pub(super) fn arrive(
        &mut self,
        now: u64,
        invite: bool,
        call_id: &str,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Arrival {
        let key = (invite, call_id.to_owned());
        if self.keys.contains(&key) {
            return Arrival::Repeated;
        }
        if self.requests.len() >= self.service.room {
            return Arrival::Full;
        }
        let free_at = self.free_at.pop().map_or(0, |Reverse(free_at)| free_at);
        let time_ns = self.service.time_ns(invite, call_id);
        let end = free_at.max(now) + time_ns;
        self.free_at.push(Reverse(end));
        self.keys.insert(key.clone());
        self.requests.push(Reverse(Served { end, time_ns, key, source, bytes: bytes.to_vec() }));
        Arrival::Queued
    }

    pub(super) fn refuses(&self) -> bool {
        self.service.refuses
    }

    /// When the next service ends.
    pub(super) fn next(&self) -> Option<u64> {
        self.requests.peek().map(|Reverse(served)| served.end)
    }

    /// Takes out a request whose service has ended.
    pub(super) fn take_served(&mut self, now: u64) -> Option<Served> {
        if self.next()? > now {
            return None;
        }
        let Reverse(served) = self.requests.pop()?;
        self.keys.remove(&served.key);
        Some(served)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn service() -> Service {
        let times = Service::of(Duration::from_millis(7), Duration::from_millis(4));
        Service { variation: 0.0, ..times }
    }

    fn arrive(queue: &mut Queue, now: u64, invite: bool, call_id: &str) -> Arrival {
        queue.arrive(now, invite, call_id, "127.0.0.1:1".parse().unwrap(), call_id.as_bytes())
    }

    /// Call-IDs and ends, in milliseconds, of all that is in the queue.
    fn drain(queue: &mut Queue) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        while let Some(end) = queue.next() {
            assert_eq!(queue.take_served(end - 1), None, "nothing leaves early");
            let served = queue.take_served(end).unwrap();
            all.push((served.key.1, end / MS));
        }
        all
    }

    #[test]
    fn one_server_serves_in_order_and_idles_in_between() {
        let mut queue = Queue::new(service());
        arrive(&mut queue, 0, true, "a");
        arrive(&mut queue, MS, false, "b");
        arrive(&mut queue, 2 * MS, true, "c");
        arrive(&mut queue, 30 * MS, false, "d");
        let ends = [("a", 7), ("b", 11), ("c", 18), ("d", 34)];
        assert_eq!(drain(&mut queue), ends.map(|(name, ms)| (name.to_owned(), ms)));
    }

    #[test]
    fn two_servers_take_from_one_queue() {
        let mut queue = Queue::new(Service { servers: 2, ..service() });
        for call_id in ["a", "b", "c"] {
            arrive(&mut queue, 0, true, call_id);
        }
        let ends: Vec<u64> = drain(&mut queue).into_iter().map(|(_, end)| end).collect();
        assert_eq!(ends, [7, 7, 14]);
    }

    #[test]
    fn a_faster_backend_is_done_sooner() {
        let mut queue = Queue::new(Service { speed: 2.0, ..service() });
        arrive(&mut queue, 0, false, "a");
        assert_eq!(queue.next(), Some(2 * MS));
        let service = Service { speed: 2.0, servers: 3, ..service() };
        assert!((service.calls_per_second() - 6.0 / 0.011).abs() < 1e-9);
    }

    #[test]
    fn a_retransmission_is_not_served_again() {
        let mut queue = Queue::new(service());
        assert_eq!(arrive(&mut queue, 0, true, "a"), Arrival::Queued);
        assert_eq!(arrive(&mut queue, MS, true, "a"), Arrival::Repeated);
        assert_eq!(arrive(&mut queue, MS, false, "a"), Arrival::Queued, "a BYE is another request");
        assert_eq!(drain(&mut queue).len(), 2);
        assert_eq!(
            arrive(&mut queue, 99 * MS, true, "a"),
            Arrival::Queued,
            "forgotten when served"
        );
    }

    #[test]
    fn room_is_for_those_that_wait_and_those_that_are_served() {
        let mut queue = Queue::new(Service { room: 2, ..service() });
        assert_eq!(arrive(&mut queue, 0, true, "a"), Arrival::Queued);
        assert_eq!(arrive(&mut queue, 0, true, "b"), Arrival::Queued);
        assert_eq!(arrive(&mut queue, 0, true, "c"), Arrival::Full);
        assert!(queue.take_served(7 * MS).is_some());
        assert_eq!(arrive(&mut queue, 7 * MS, true, "c"), Arrival::Queued);
    }

    #[test]
    fn the_same_request_is_the_same_work_everywhere_and_requests_differ() {
        let uneven = Service { variation: 0.5, ..service() };
        let slow = Service { speed: 0.5, ..uneven };
        let time = uneven.time_ns(true, "a");
        assert!(slow.time_ns(true, "a").abs_diff(2 * time) <= 1);
        assert_ne!(time, uneven.time_ns(true, "b"));
        assert_ne!(time, Service { seed: 2, ..uneven }.time_ns(true, "a"));
    }

    /// An M/G/1 queue at 80 %: the mean wait by Pollaczek and Khinchine is
    /// rate * E[time^2] / (2 * (1 - load)).
    #[test]
    fn the_mean_wait_is_that_of_an_mg1_queue() {
        let service = Service { variation: 0.5, ..service() };
        let mean_s = 0.007;
        let rate = 0.8 / mean_s;
        let mut queue = Queue::new(service);
        let mut random = Random::new(3, 0);
        let (mut now, mut waits, count) = (0_u64, 0.0, 400_000);
        for number in 0..count {
            now += (random.exponential() / rate * 1e9) as u64;
            while queue.take_served(now).is_some() {}
            let free_at = queue.free_at.peek().map_or(0, |Reverse(free_at)| *free_at);
            waits += free_at.saturating_sub(now) as f64 / 1e9;
            arrive(&mut queue, now, true, &number.to_string());
        }
        let second_moment = mean_s * mean_s * 1.25;
        let expected = rate * second_moment / (2.0 * 0.2);
        let found = waits / f64::from(count);
        assert!((found / expected - 1.0).abs() < 0.08, "{found} s, by the formula {expected} s");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let good = service();
        assert!(good.check().is_ok());
        let zero = Duration::ZERO;
        for bad in [
            Service { invite: zero, bye: zero, ..good },
            Service { speed: 0.0, ..good },
            Service { speed: f64::NAN, ..good },
            Service { variation: -0.1, ..good },
            Service { servers: 0, ..good },
            Service { room: 0, ..good },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
