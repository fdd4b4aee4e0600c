//! Which connection and which cells a backend has, over pools that come and go.

use super::*;
use crate::pool::{self, BackendSpec, Intake, Policy};

const LOCAL_SOCKETS: usize = 3;

fn pool(addresses: &[&str]) -> Pool {
    Pool::build(specs(addresses), Policy::CALL_ID_HASH, 0).unwrap()
}

fn specs(addresses: &[&str]) -> Vec<BackendSpec> {
    let spec = |address: &&str| BackendSpec {
        name: (*address).to_owned(),
        address: address.parse().unwrap(),
        weight: 1,
        state: pool::State::Ready,
        sources: Vec::new(),
        side: 0,
        intake: Intake::default(),
        up_since_ms: 0,
    };
    addresses.iter().map(spec).collect()
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
    let pool = pool(&["127.0.0.1:7001", "127.0.0.1:7002"]);
    let cells = Arc::new(Cells::new(vec![pool.backends()[1].id]));
    let mut backends = Backends::new(Arc::clone(&cells), Vec::new(), LOCAL_SOCKETS, &pool);
    let due: Vec<_> = (0..70).filter(|_| backends.count(BackendSlot(1))).collect();
    assert_eq!(due, (CONNECT_AFTER - 1..70).collect::<Vec<_>>());
    let of = cells.backends.of(pool.backends()[1].id).unwrap();
    assert_eq!(of.requests.value(), 70);
    let way = egress(1, "127.0.0.1:7002");
    assert_eq!(backends.way(&way), (FileIndex(2), Some(way.to)));
    let file = backends.free_file().unwrap();
    assert_eq!(file, FileIndex(3));
    backends.connected(file, &way, socket());
    assert_eq!(backends.way(&way), (file, None));
    assert!(!backends.count(BackendSlot(1)));
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
fn a_connection_follows_its_address_over_pools_and_closes_when_that_is_gone() {
    let cells = Arc::new(Cells::new(Vec::new()));
    let first = pool(&["127.0.0.1:7001", "127.0.0.1:7002"]);
    let mut backends = Backends::new(Arc::clone(&cells), Vec::new(), LOCAL_SOCKETS, &first);
    let file = backends.free_file().unwrap();
    backends.connected(file, &egress(1, "127.0.0.1:7002"), socket());
    let second = pool(&["127.0.0.1:7002"]);
    assert_eq!(backends.follow(&first, &second), []);
    assert_eq!(backends.way(&egress(0, "127.0.0.1:7002")), (file, None));
    let third = pool(&["127.0.0.1:7001"]);
    let closed = backends.follow(&second, &third);
    assert_eq!(closed, [file]);
    assert!(backends.is_closing(file));
    // Back again while it closes: it is not used, and not closed twice.
    assert_eq!(backends.follow(&third, &first), []);
    assert!(backends.way(&egress(1, "127.0.0.1:7002")).1.is_some());
    assert_ne!(backends.free_file(), Some(file));
    assert!(backends.turn_away(file).is_some());
    assert!(backends.turn_away(file).is_none(), "once");
    assert!(backends.is_closing(file));
    assert!(backends.close(file).is_some());
    assert_eq!(backends.free_file(), Some(file));
}

#[test]
fn a_backend_left_unconnected_is_asked_for_no_more() {
    let pool = pool(&["127.0.0.1:7001"]);
    let cells = Arc::new(Cells::new(Vec::new()));
    let mut backends = Backends::new(Arc::clone(&cells), Vec::new(), LOCAL_SOCKETS, &pool);
    let slot = BackendSlot(0);
    assert!((0..CONNECT_AFTER).map(|_| backends.count(slot)).last().unwrap());
    backends.leave_unconnected(slot);
    assert!(!backends.count(slot));
}

#[test]
fn outcomes_are_counted_for_the_backend_that_is_known() {
    let pool = pool(&["127.0.0.1:7001", "127.0.0.1:7002"]);
    let cells = Arc::new(Cells::new(vec![pool.backends()[1].id]));
    let backends = Backends::new(Arc::clone(&cells), Vec::new(), LOCAL_SOCKETS, &pool);
    for slot in 0..3 {
        backends.count_outcome(BackendSlot(slot), BackendOutcome::Refused);
    }
    let of = cells.backends.of(pool.backends()[1].id).expect("its cells");
    assert_eq!(of.outcomes.each_ref().map(crate::metrics::Cell::value), [0, 1, 0, 0]);
}

#[test]
fn the_places_for_connections_end() {
    let pool = pool(&["127.0.0.1:7001"]);
    let cells = Arc::new(Cells::new(Vec::new()));
    let mut backends = Backends::new(Arc::clone(&cells), Vec::new(), LOCAL_SOCKETS, &pool);
    for _ in 0..CONNECTIONS_MAX {
        let file = backends.free_file().unwrap();
        backends.connected(file, &egress(0, "127.0.0.1:7001"), socket());
    }
    assert!(backends.free_file().is_none());
}

#[test]
fn a_backend_keeps_its_cells_over_pools_and_has_new_ones_once_they_were_forgotten() {
    let [first, second] =
        [&["127.0.0.1:7001", "127.0.0.1:7002"][..], &["127.0.0.1:7002"]].map(pool);
    let id = second.backends()[0].id;
    let [own, other] = [(); 2].map(|()| Arc::new(Cells::new(vec![id])));
    let mut backends =
        Backends::new(Arc::clone(&own), vec![Arc::clone(&other)], LOCAL_SOCKETS, &first);
    let requests = || own.backends.of(id).unwrap().requests.value();
    backends.count(BackendSlot(1));
    backends.follow(&first, &second);
    backends.count(BackendSlot(0));
    assert_eq!(requests(), 2, "the same cells");
    // It went and came back while the worker had no time to look.
    own.backends.keep(&[]);
    own.backends.add([id]);
    backends.follow(&second, &first);
    backends.count(BackendSlot(1));
    assert_eq!(requests(), 1, "the new ones");
    backends.follow(&first, &first);
    backends.count(BackendSlot(0));
    backends.count(BackendSlot(1));
    assert_eq!(requests(), 2, "one without cells is counted nowhere");
}

#[test]
fn the_other_workers_cells_follow_what_the_pool_goes_by() {
    let by = |policy| Pool::build(specs(&["127.0.0.1:7001"]), policy, 0).unwrap();
    let [hash, loads] = [Policy::CALL_ID_HASH, Policy::LeastTransactions].map(by);
    let id = hash.backends()[0].id;
    let [own, other] = [(); 2].map(|()| Arc::new(Cells::new(vec![id])));
    let mut backends = Backends::new(own, vec![Arc::clone(&other)], LOCAL_SOCKETS, &hash);
    for (before, pool, elsewhere) in [
        (&hash, &loads, 1),
        (&loads, &loads, 1),
        (&loads, &hash, 0),
        (&hash, &hash, 0),
        (&hash, &loads, 1),
    ] {
        backends.follow(before, pool);
        assert_eq!(backends.entries[0].elsewhere.len(), elsewhere);
    }
    assert!(Arc::ptr_eq(&backends.entries[0].elsewhere[0], &other.backends.of(id).unwrap()));
}
