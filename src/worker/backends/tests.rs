//! Which connection and which cells a backend has, over pools that come and go.

use super::*;
use crate::pool::{BackendId, BackendSpec, GroupIndex, GroupSpec, Policy, Pool};

use std::ops::Range;

const LOCAL_SOCKETS: usize = 3;

const TWO: [&str; 2] = ["127.0.0.1:7001", "127.0.0.1:7002"];

fn pool(addresses: &[&str], policy: Policy) -> Pool {
    let spec = |address: &&str| BackendSpec::new(address, address.parse().unwrap());
    Pool::build(addresses.iter().map(spec).collect(), policy, 0).unwrap()
}

fn roster(addresses: &[&str]) -> Arc<Roster> {
    Arc::new(Roster::new(pool(addresses, Policy::CALL_ID_HASH), 2))
}

/// Of the second of two workers.
fn backends(roster: &Arc<Roster>) -> Backends {
    Backends::new(1, LOCAL_SOCKETS, Arc::clone(roster))
}

fn cells(roster: &Roster, slot: u16) -> &BackendCells {
    roster.cells(1, BackendSlot(slot)).unwrap()
}

fn egress(slot: u16, to: &str) -> Egress {
    let (to, backend) = (to.parse().unwrap(), Some(BackendSlot(slot)));
    Egress { socket: SocketIndex(2), to, backend }
}

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

#[test]
fn a_backend_is_connected_at_its_64th_request_and_used_from_then_on() {
    let roster = roster(&TWO);
    let mut backends = backends(&roster);
    let way = egress(1, TWO[1]);
    let due: Vec<_> = (0..300).filter(|_| backends.count(BackendSlot(1), way.to)).collect();
    assert_eq!(due, (CONNECT_AFTER - 1..300).collect::<Vec<_>>());
    assert_eq!(cells(&roster, 1).requests.value(), 300);
    assert_eq!(backends.way(&way), (FileIndex(2), Some(way.to)));
    let file = backends.free_file().unwrap();
    assert_eq!(file, FileIndex(3));
    backends.connected(file, &way, socket());
    assert_eq!(backends.way(&way), (file, None));
    assert!(!backends.count(BackendSlot(1), way.to));
    assert_eq!(backends.ingress(file), Some(SocketIndex(2)));
    assert_eq!(backends.ingress(FileIndex(1)), Some(SocketIndex(1)));
    // Not for another address of the slot, nor from another socket, nor without a backend.
    for other in [
        Egress { to: "127.0.0.1:9".parse().unwrap(), ..way },
        Egress { socket: SocketIndex(0), ..way },
        Egress { backend: None, ..way },
    ] {
        let expected = (FileIndex(u32::from(other.socket.0)), Some(other.to));
        assert_eq!(backends.way(&other), expected);
    }
}

#[test]
fn a_connection_follows_its_address_over_rosters_and_closes_when_that_is_gone() {
    let first = roster(&TWO);
    let mut backends = backends(&first);
    let file = backends.free_file().unwrap();
    backends.connected(file, &egress(1, TWO[1]), socket());
    assert_eq!(backends.follow(roster(&TWO[1..])), []);
    let way = egress(0, TWO[1]);
    assert!(!backends.count(BackendSlot(0), way.to));
    assert_eq!(backends.way(&way), (file, None), "from the first request on");
    assert_eq!(backends.follow(roster(&TWO[..1])), [file]);
    assert!(backends.is_closing(file));
    // Back again while it closes: it is not used, and not closed twice.
    assert_eq!(backends.follow(first), []);
    backends.count(BackendSlot(1), way.to);
    assert!(backends.way(&egress(1, TWO[1])).1.is_some());
    assert_ne!(backends.free_file(), Some(file));
    assert!(backends.turn_away(file).is_some());
    assert!(backends.turn_away(file).is_none(), "once");
    assert!(backends.is_closing(file));
    assert!(backends.close(file).is_some());
    assert_eq!(backends.free_file(), Some(file));
}

#[test]
fn backends_on_one_address_share_their_connection() {
    let (one, two) = (GroupIndex(0), GroupIndex(1));
    let spec = |name| BackendSpec::new(name, TWO[0].parse().unwrap());
    let group = |name, backend| GroupSpec::new(name, Policy::CALL_ID_HASH, vec![spec(backend)]);
    let pool = Pool::build_groups(&[group("a", "x"), group("b", "y")], Vec::new(), 0).unwrap();
    assert_eq!(pool.backends().iter().map(|it| it.group).collect::<Vec<_>>(), [one, two]);
    let mut backends = backends(&Arc::new(Roster::new(pool, 2)));
    let file = backends.free_file().unwrap();
    backends.connected(file, &egress(0, TWO[0]), socket());
    let way = egress(1, TWO[0]);
    assert!((0..100).all(|_| !backends.count(BackendSlot(1), way.to)));
    assert_eq!(backends.way(&way), (file, None));
}

#[test]
fn a_backend_left_unconnected_is_asked_for_no_more() {
    let mut backends = backends(&roster(&TWO[..1]));
    let (slot, to) = (BackendSlot(0), TWO[0].parse().unwrap());
    assert!((0..CONNECT_AFTER).map(|_| backends.count(slot, to)).last().unwrap());
    backends.leave_unconnected(slot);
    assert!(!backends.count(slot, to));
}

#[test]
fn outcomes_are_counted_for_the_backend_and_against_it_if_they_are_of_its_time() {
    let up_since_ms = 5000;
    let spec = BackendSpec { up_since_ms, ..BackendSpec::new("b", TWO[0].parse().unwrap()) };
    let pool = Pool::build(vec![spec], Policy::CALL_ID_HASH, 0).unwrap();
    let roster = Arc::new(Roster::new(pool, 2));
    let backends = backends(&roster);
    for (slot, sent_ms) in [(0, 4999), (0, 5000), (1, 5000)] {
        backends.count_failure(BackendSlot(slot), BackendOutcome::Refused, sent_ms);
    }
    let of = cells(&roster, 0);
    assert_eq!(of.outcomes.each_ref().map(crate::metrics::Cell::value), [0, 2, 0, 0]);
    assert_eq!(of.against(up_since_ms), 1);
}

/// Has a load of its own by identity, and remembers what it was told.
#[derive(Default)]
struct Book {
    told: Vec<(usize, u32)>,
    changed: Vec<BackendId>,
}

impl Counts for Book {
    fn dialogs_on(&self, backend: BackendId) -> usize {
        backend.0 as usize % 100
    }

    fn load_of(&self, backend: BackendId, _now: Now) -> Load {
        Load { calls: backend.0 % 1000, ..Load::default() }
    }

    fn take_changed(&mut self) -> Option<BackendId> {
        self.changed.pop()
    }

    fn set_elsewhere(
        &mut self,
        _now: Now,
        _pool: &Pool,
        slots: Range<usize>,
        of: impl Fn(BackendSlot) -> Load,
    ) {
        self.told.extend(slots.map(|slot| (slot, of(BackendSlot(slot as u16)).calls)));
    }
}

const NOW: Now = Now { us: 5_000_000 };

/// Of as many backends, for four workers.
fn many(backends: u16, policy: Policy) -> Arc<Roster> {
    let addresses: Vec<_> =
        (0..backends).map(|n| format!("127.1.{}.{}:1", n >> 8, n & 255)).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    Arc::new(Roster::new(pool(&addresses, policy), 4))
}

#[test]
fn gauges_are_refreshed_some_in_a_turn_and_from_the_first_on_when_slots_change() {
    let count = 2 * REFRESHED_PER_TURN + 1;
    let roster = many(count as u16, Policy::RoundRobin);
    let mut backends = backends(&roster);
    let fresh = |roster: &Roster| {
        (0..count).filter(|slot| cells(roster, *slot as u16).dialogs.value() > 0).count()
    };
    assert!(!backends.refresh(&Book::default(), NOW), "nobody has asked");
    backends.begin_refresh();
    let whole = roster.pool().backends().iter().filter(|it| it.id.0 % 100 > 0).count();
    assert!(!backends.refresh(&Book::default(), NOW) && backends.has_more_to_do());
    assert!(fresh(&roster) <= REFRESHED_PER_TURN);
    let other = many(count as u16, Policy::RoundRobin);
    backends.follow(Arc::clone(&other));
    let turns = (0..5).take_while(|_| !backends.refresh(&Book::default(), NOW)).count();
    assert_eq!((turns, fresh(&other)), (2, whole));
    assert!(!backends.has_more_to_do());
    let last = other.pool().backends()[count - 1].id;
    assert_eq!(cells(&other, count as u16 - 1).calls.value(), u64::from(last.0 % 1000));
}

#[test]
fn the_others_are_looked_at_some_in_a_turn_and_the_more_seldom_the_more_there_are() {
    let per_turn = LOOKS_PER_TURN / 3;
    let count = 2 * per_turn + 1;
    let roster = many(count as u16, Policy::LeastDialogs);
    for worker in 0..4 {
        let calls = 10_u32.pow(worker as u32);
        let load = Load { calls, ..Load::default() };
        roster.cells(worker, BackendSlot(3)).unwrap().publish(load, NOW.seconds());
    }
    let (mut backends, mut book) = (backends(&roster), Book::default());
    for _ in 0..3 {
        backends.look_elsewhere(&mut book, NOW);
    }
    assert!(!backends.has_more_to_do());
    assert_eq!(
        book.told.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(),
        Vec::from_iter(0..count)
    );
    assert_eq!((book.told[2].1, book.told[3].1), (0, 1101), "of all but worker 1");
    for (us, told) in [(2999, 0), (3000, per_turn)] {
        book.told.clear();
        backends.look_elsewhere(&mut book, Now { us: NOW.us + us });
        assert_eq!(book.told.len(), told, "{us}");
    }
    // The next roster is looked at at once, one by hash not at all.
    for (policy, told) in [(Policy::LeastDialogs, per_turn), (Policy::CALL_ID_HASH, 0)] {
        book.told.clear();
        backends.follow(many(count as u16, policy));
        backends.look_elsewhere(&mut book, Now { us: NOW.us + 3001 });
        assert_eq!((book.told.len(), backends.has_more_to_do()), (told, told > 0));
    }
}

#[test]
fn a_worker_alone_has_nobody_to_look_at() {
    let pool = pool(&TWO, Policy::LeastDialogs);
    let mut backends = Backends::new(0, LOCAL_SOCKETS, Arc::new(Roster::new(pool, 1)));
    let mut book = Book::default();
    backends.look_elsewhere(&mut book, NOW);
    assert!(book.told.is_empty());
}

#[test]
fn others_are_told_of_what_has_changed_some_in_a_turn() {
    let count = TOLD_PER_TURN + 1;
    let roster = many(count as u16, Policy::LeastDialogs);
    let backends = backends(&roster);
    let ids: Vec<_> = roster.pool().backends().iter().map(|it| it.id).collect();
    let mut book = Book { changed: ids.clone(), ..Book::default() };
    backends.tell_others(&mut book, NOW);
    assert_eq!(book.changed, ids[..1]);
    for (slot, id) in ids.iter().enumerate().skip(1) {
        assert_eq!(cells(&roster, slot as u16).load(NOW.seconds()).calls, id.0 % 1000);
    }
}

#[test]
fn the_places_for_connections_end() {
    let mut backends = backends(&roster(&TWO[..1]));
    for _ in 0..CONNECTIONS_MAX {
        let file = backends.free_file().unwrap();
        backends.connected(file, &egress(0, TWO[0]), socket());
    }
    assert!(backends.free_file().is_none());
}
