//! Samples made by hand: rates and shares at their edges.

use super::*;
use crate::pool::{BackendSlot, BackendSpec, Policy};

fn pool(names: &[&str]) -> Pool {
    let spec = |(n, name): (usize, &&str)| {
        BackendSpec::new(name, ([127, 0, 0, 1], 5061 + n as u16).into())
    };
    let specs = names.iter().enumerate().map(spec).collect();
    Pool::build(specs, Policy::CALL_ID_HASH, 0).expect("good backends")
}

fn members(pool: &Pool) -> super::super::fleet::Fleet {
    let specs = pool.backends().iter().map(|backend| backend.spec.clone()).collect();
    let pools = vec![super::super::fleet::PoolSpec::unwatched(specs)];
    super::super::fleet::Fleet::new(pools, SystemTime::now())
}

#[test]
fn a_rate_is_a_difference_over_real_time() {
    let (last, now) =
        (Totals { calls: 5, ..Totals::default() }, Totals { calls: 8, ..Totals::default() });
    assert_eq!(now.since(&last, 2.0).calls, 1.5);
    assert_eq!(now.since(&last, 2.0).requests, 0.0);
    assert_eq!(last.since(&now, 2.0).calls, 0.0, "a counter that went back is no negative rate");
}

#[test]
fn shares_are_of_what_came_since_the_last_sample() {
    let roster = Roster::new(pool(&["a", "b"]), 1);
    let (cells, pool) = (Cells::default(), roster.pool());
    let of = |slot| roster.cells(0, BackendSlot(slot)).expect("it has cells");
    of(0).requests.add(100);
    let begin = Instant::now();
    let last = Sample::take(&[&cells], &roster, begin);
    let fleet = members(pool);
    let rows = |last, now: &Sample| backend_rows(fleet.members(), pool, last, now);
    let first = rows(None, &last);
    assert_eq!((first[0].requests, first[0].rate, first[0].share), (100, None, None));

    let idle = Sample::take(&[&cells], &roster, begin + Duration::from_secs(1));
    let quiet = rows(Some(&last), &idle);
    assert_eq!((quiet[0].rate, quiet[0].share), (Some(0.0), None), "of nothing there is no share");

    of(0).requests.add(3);
    of(1).requests.add(1);
    let busy = Sample::take(&[&cells], &roster, begin + Duration::from_secs(2));
    let rows = rows(Some(&last), &busy);
    assert_eq!((rows[0].rate, rows[0].share), (Some(1.5), Some(0.75)));
    assert_eq!((rows[1].rate, rows[1].share), (Some(0.5), Some(0.25)));
}

#[test]
fn a_backend_that_joins_begins_at_nothing() {
    let before = Roster::new(pool(&["a"]), 1);
    let after = before.followed_by(pool(&["a", "b"]));
    let cells = Cells::default();
    let begin = Instant::now();
    let last = Sample::take(&[&cells], &before, begin);
    after.cells(0, BackendSlot(1)).expect("it has cells").requests.add(4);
    let now = Sample::take(&[&cells], &after, begin + Duration::from_secs(1));
    let rows = backend_rows(members(after.pool()).members(), after.pool(), Some(&last), &now);
    assert_eq!((rows[1].rate, rows[1].share), (Some(4.0), Some(1.0)));
}

#[test]
fn the_cpu_is_taken_over_all_samples_and_the_rest_over_the_last() {
    let roster = Roster::new(pool(&["a"]), 1);
    let cells = Cells::default();
    let begin = Instant::now();
    let take = |s| Sample::take(&[&cells], &roster, begin + Duration::from_secs(s));
    let first = take(0);
    cells.cpu_ns.add(1_000_000_000);
    cells.datagrams_received.add(100);
    let last = take(3);
    cells.cpu_ns.add(1_000_000_000);
    cells.datagrams_received.add(30);
    cells.enters.add(10);
    let now = take(4);
    let row = &worker_rows(&[&cells], Some(&last), Some(&first), &now)[0];
    assert_eq!((row.cpu, row.received, row.batch), (Some(0.5), Some(30.0), Some(3.0)));
    let row = &worker_rows(&[&cells], None, None, &now)[0];
    assert_eq!((row.cpu, row.received, row.batch), (None, None, None));
}

#[test]
fn a_turn_without_enters_has_no_batch() {
    let roster = Roster::new(pool(&["a"]), 1);
    let cells = Cells::default();
    let begin = Instant::now();
    let (last, now) =
        (Sample::take(&[&cells], &roster, begin), Sample::take(&[&cells], &roster, begin));
    let row = &worker_rows(&[&cells], Some(&last), Some(&last), &now)[0];
    assert_eq!((row.batch, row.received), (None, Some(0.0)));
}
