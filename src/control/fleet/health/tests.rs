//! Probes and traffic in, states, weights and events out.

use super::super::PoolSpec;
use super::*;
use crate::pool::health::Rules;
use crate::pool::{BackendSpec, State};

const GOOD: Outcome = Outcome::Answered { status: 200, retry_after_s: None };

/// Backends of these weights, watched by two good or two bad probes, from 0 ms on.
fn fleet(weights: &[u16], change: impl FnOnce(&mut HealthConfig)) -> Fleet {
    let spec = |(number, weight): (usize, &u16)| BackendSpec {
        weight: *weight,
        ..BackendSpec::new(
            &format!("b{number}"),
            SocketAddr::from(([10, 0, 0, number as u8], 5060)),
        )
    };
    let mut health = HealthConfig::default();
    health.rules = Rules { rise: 2, fall: 2, jitter_per_mille: 0, ..health.rules };
    change(&mut health);
    let mut fleet =
        Fleet::new(pool(health, weights.iter().enumerate().map(spec).collect()), at(0).at);
    fleet.watch(at(0), &mut || 0);
    fleet
}

fn pool(health: HealthConfig, backends: Vec<BackendSpec>) -> Vec<PoolSpec> {
    vec![PoolSpec { health: Arc::new(health), ..PoolSpec::unwatched(backends) }]
}

/// The same pool with other backends.
fn reload(fleet: &mut Fleet, backends: Vec<BackendSpec>, now: Moment) {
    let health = HealthConfig::clone(&fleet.pools()[0].health);
    fleet.reload(pool(health, backends), HOUR, now.at);
    fleet.watch(now, &mut || 0);
}

fn in_panic(fleet: &Fleet) -> bool {
    fleet.pools()[0].panic
}

fn at(ms: u64) -> Moment {
    Moment { ms, at: SystemTime::UNIX_EPOCH + Duration::from_millis(ms) }
}

/// A probe of this backend where it is now; of one that is not there, anywhere.
fn due(fleet: &Fleet, backend: &str) -> Due {
    let there = fleet.members().iter().find(|member| member.spec.name == backend);
    let address = there.map_or(([10, 9, 9, 9], 5060).into(), |member| member.spec.address);
    Due { backend: backend.to_owned(), address, pool: 0 }
}

/// Ends a probe of a backend without an answer; true if it has gone down.
fn is_silent(fleet: &mut Fleet, backend: &str, ms: u64) -> bool {
    let due = due(fleet, backend);
    fleet.probe_ended(&due, Outcome::Silent, Duration::ZERO, at(ms), 0)
}

/// Ends two probes of a backend alike; true if the pool has changed.
fn two_probes(fleet: &mut Fleet, backend: &str, outcome: Outcome, ms: u64) -> bool {
    let took = Duration::from_millis(3);
    let due = due(fleet, backend);
    let first = fleet.probe_ended(&due, outcome, took, at(ms), 0);
    assert!(!first, "one is not enough");
    let changed = fleet.probe_ended(&due, outcome, took, at(ms), 0);
    fleet.settle(at(ms).at) || changed
}

fn states(fleet: &Fleet) -> Vec<State> {
    fleet.effective(0).0.iter().map(|spec| spec.state).collect()
}

fn weights(fleet: &Fleet) -> Vec<u16> {
    fleet.effective(0).0.iter().map(|spec| spec.weight).collect()
}

fn set(fleet: &mut Fleet, backend: &str, admin: Admin) {
    fleet.set_admin(backend, admin, "a test", Who::Operator, at(0).at).expect("it is known");
    fleet.settle(at(0).at);
}

#[test]
fn a_backend_goes_down_and_comes_up_with_reason_time_and_author() {
    let mut fleet = fleet(&[1, 1, 1], |_| {});
    assert!(two_probes(&mut fleet, "b1", Outcome::Silent, 5_000));
    assert_eq!(states(&fleet), [State::Ready, State::Down, State::Ready]);
    let known = &fleet.members()[1].up;
    assert_eq!((known.value, known.since, &known.who), (false, at(5_000).at, &Who::Probe));
    assert_eq!(known.reason, "2 probes in a row, the last: no answer in time");
    assert!(two_probes(&mut fleet, "b1", GOOD, 9_000));
    assert_eq!(states(&fleet), [State::Ready; 3]);
    let events: Vec<_> = fleet.events().map(|event| event.what.as_str()).collect();
    assert_eq!(events, ["down", "up"]);
    let probed = fleet.members()[1].probed;
    assert_eq!((probed.ups, probed.downs, probed.good, probed.last), (1, 1, true, Some(GOOD)));
    assert_eq!(probed.took, Duration::from_millis(3));
}

#[test]
fn health_and_will_are_two_things() {
    let mut fleet = fleet(&[1, 1, 1], |_| {});
    two_probes(&mut fleet, "b0", Outcome::Refused, 1);
    set(&mut fleet, "b0", Admin::Drain);
    assert_eq!(states(&fleet)[0], State::Down, "who is drained and then stopped is not there");
    set(&mut fleet, "b0", Admin::Ready);
    assert_eq!(states(&fleet)[0], State::Down, "ready is no proof of health");
    two_probes(&mut fleet, "b0", GOOD, 2);
    assert_eq!(states(&fleet)[0], State::Ready);
}

#[test]
fn who_is_drained_is_probed_and_who_is_in_maintenance_is_not() {
    let mut fleet = fleet(&[1, 1, 1], |_| {});
    set(&mut fleet, "b0", Admin::Maint);
    set(&mut fleet, "b1", Admin::Drain);
    let due = fleet.probes_due(0);
    let names: Vec<_> = due.iter().map(|due| due.backend.as_str()).collect();
    assert_eq!(names, ["b1", "b2"]);
    assert_eq!(due[0].address, fleet.members()[1].spec.address);
    assert_eq!(fleet.probes_due(1_000_000), [], "theirs have not ended");
    assert_eq!(fleet.next_probe_ms(), None);
    set(&mut fleet, "b0", Admin::Ready);
    assert_eq!(fleet.next_probe_ms(), Some(0));
    assert_eq!(fleet.probes_due(1_000_000).len(), 1);
}

#[test]
fn requests_in_a_row_that_were_refused_take_it_down() {
    let mut fleet = fleet(&[1, 1, 1], |_| {});
    let met = |good, bad| [(BackendId::of_name("b2"), Traffic { good, bad, ..Traffic::default() })];
    assert!(!fleet.traffic(&met(0, 1), at(1)));
    assert!(!fleet.traffic(&met(5, 9), at(2)));
    assert!(!fleet.traffic(&met(0, 1), at(3)));
    assert!(!fleet.traffic(&[], at(3)));
    assert!(fleet.traffic(&met(0, 1), at(4)));
    assert_eq!(states(&fleet), [State::Ready, State::Ready, State::Down]);
    assert_eq!(fleet.members()[2].up.who, Who::Traffic);
    assert!(
        !fleet.traffic(&[(BackendId(7), Traffic { bad: 9, ..Traffic::default() })], at(5)),
        "unknown"
    );
}

#[test]
fn retry_after_holds_new_requests_back_for_its_time_and_all_at_once_are_not_believed() {
    let mut fleet = fleet(&[1, 1, 1], |_| {});
    let asks = |name: &str, retry_after_s| {
        [(BackendId::of_name(name), Traffic { bad: 1, retry_after_s, ..Traffic::default() })]
    };
    assert!(fleet.traffic(&asks("b2", 5), at(10)));
    fleet.settle(at(10).at);
    assert_eq!(states(&fleet), [State::Ready, State::Ready, State::Drained]);
    assert!(fleet.members()[2].up.value, "it is up all the same");
    assert!(!fleet.release(at(5009)));
    assert!(fleet.release(at(5010)));
    assert_eq!(states(&fleet), [State::Ready; 3]);
    let whats: Vec<_> = fleet.events().map(|event| event.what.as_str()).collect();
    assert_eq!(whats, ["held back", "no more held back"]);
    // All of them, for five minutes: service goes on.
    for name in ["b0", "b1", "b2"] {
        assert!(fleet.traffic(&asks(name, 300), at(6000)));
        fleet.settle(at(6000).at);
    }
    assert!(in_panic(&fleet));
    assert_eq!(states(&fleet), [State::Ready; 3]);
}

#[test]
fn panic_begins_below_the_share_and_not_at_it_and_says_so() {
    let mut fleet = fleet(&[1, 1, 1, 1], |_| {});
    two_probes(&mut fleet, "b0", Outcome::Silent, 1);
    two_probes(&mut fleet, "b1", Outcome::Silent, 2);
    assert!(!in_panic(&fleet), "exactly half is up");
    two_probes(&mut fleet, "b2", Outcome::Silent, 3);
    assert!(in_panic(&fleet));
    assert_eq!(states(&fleet), [State::Ready; 4], "health is ignored");
    let event = fleet.events().last().expect("an event");
    assert_eq!((event.what.as_str(), event.backend.as_str()), ("panic", "*"));
    assert_eq!(event.reason, "1 of 4 of the weight is up, less than 50 %: health is ignored");
    assert_eq!((event.at, &event.who), (at(3).at, &Who::Pool));
    two_probes(&mut fleet, "b0", GOOD, 4);
    assert!(!in_panic(&fleet));
    assert_eq!(states(&fleet), [State::Ready, State::Down, State::Down, State::Ready]);
    assert_eq!(fleet.events().last().expect("an event").what, "panic over");
}

#[test]
fn panic_counts_the_weight_that_is_wanted_and_leaves_the_administrators_will() {
    let mut fleet = fleet(&[10, 1, 1, 1], |_| {});
    two_probes(&mut fleet, "b0", Outcome::Silent, 1);
    assert!(in_panic(&fleet), "3 of 13");
    set(&mut fleet, "b0", Admin::Drain);
    assert!(!in_panic(&fleet), "3 of 3: what is drained is not wanted");
    set(&mut fleet, "b1", Admin::Maint);
    two_probes(&mut fleet, "b2", Outcome::Silent, 2);
    two_probes(&mut fleet, "b3", Outcome::Silent, 3);
    assert!(in_panic(&fleet));
    assert_eq!(states(&fleet), [State::Drained, State::Down, State::Ready, State::Ready]);
}

#[test]
fn without_panic_a_pool_may_have_nobody() {
    let mut fleet = fleet(&[1, 1], |health| health.panic_per_mille = 0);
    two_probes(&mut fleet, "b0", Outcome::Silent, 1);
    two_probes(&mut fleet, "b1", Outcome::Silent, 1);
    assert_eq!(states(&fleet), [State::Down; 2]);
    assert!(!in_panic(&fleet));
}

#[test]
fn a_recovered_backend_gets_its_weight_little_by_little() {
    let mut fleet = fleet(&[1, 100], |health| health.rules.slow_start_ms = 1_000);
    assert!(!fleet.ramp(0));
    assert_eq!(weights(&fleet), [1, 100], "not at process start");
    two_probes(&mut fleet, "b0", Outcome::Silent, 0);
    two_probes(&mut fleet, "b0", GOOD, 10_000);
    assert_eq!(weights(&fleet), [26, 25_600], "a tenth, from the first moment");
    assert!(!fleet.ramp(10_000), "already so");
    assert!(fleet.ramp(10_500));
    assert_eq!(weights(&fleet), [141, 25_600]);
    assert!(fleet.ramp(11_000));
    assert_eq!(weights(&fleet), [1, 100]);
    assert!(!fleet.ramp(12_000));
}

#[test]
fn a_share_of_any_weight_fits_and_is_never_nothing() {
    let mut fleet = fleet(&[0, 1, 65_535], |health| health.rules.slow_start_ms = 1_000);
    for backend in ["b0", "b1"] {
        two_probes(&mut fleet, backend, Outcome::Silent, 0);
        two_probes(&mut fleet, backend, GOOD, 0);
    }
    assert_eq!(weights(&fleet), [0, 1, 65_535]);
    two_probes(&mut fleet, "b2", Outcome::Silent, 0);
    two_probes(&mut fleet, "b2", GOOD, 0);
    assert_eq!(weights(&fleet), [0, 1, 6_655]);
}

#[test]
fn who_joins_later_starts_slowly() {
    let mut fleet = fleet(&[1], |health| health.rules.slow_start_ms = 1_000);
    let mut joining = fleet.members()[0].spec.clone();
    joining.name = "later".to_owned();
    let all = [specs(&fleet), vec![joining]].concat();
    reload(&mut fleet, all, at(5_000));
    assert_eq!(fleet.probes_due(5_000).len(), 2);
    assert!(!fleet.ramp(5_000), "from the first moment");
    assert_eq!(weights(&fleet), [256, 26]);
}

#[test]
fn switched_off_everybody_is_up_and_nobody_is_probed() {
    let mut fleet = fleet(&[1, 1], |_| {});
    two_probes(&mut fleet, "b0", Outcome::Silent, 1);
    let all = vec![PoolSpec::unwatched(specs(&fleet))];
    fleet.reload(all, HOUR, at(2).at);
    fleet.watch(at(2), &mut || 0);
    assert_eq!(states(&fleet), [State::Ready; 2]);
    assert_eq!(fleet.members()[0].up.who, Who::Config);
    assert_eq!(fleet.probes_due(1_000_000), []);
    assert!(!is_silent(&mut fleet, "b0", 3));
    assert!(
        !fleet.traffic(
            &[(BackendId::of_name("b0"), Traffic { bad: 99, ..Traffic::default() })],
            at(3)
        )
    );
}

#[test]
fn the_end_of_a_probe_of_somebody_who_is_gone_changes_nothing() {
    let mut fleet = fleet(&[1], |_| {});
    assert!(!is_silent(&mut fleet, "gone", 1));
    assert_eq!(fleet.events().count(), 0);
}

const HOUR: Duration = Duration::from_secs(3600);

fn specs(fleet: &Fleet) -> Vec<BackendSpec> {
    fleet.members().iter().map(|member| member.spec.clone()).collect()
}

#[test]
fn health_follows_the_name_over_a_reload_and_who_joins_is_probed_and_starts_slowly() {
    let mut fleet = fleet(&[1, 1, 1], |health| health.rules.slow_start_ms = 1_000);
    two_probes(&mut fleet, "b1", Outcome::Silent, 1);
    assert!(!is_silent(&mut fleet, "b2", 1));
    let mut after = specs(&fleet);
    after.reverse();
    after.push(BackendSpec { name: "later".to_owned(), ..after[0].clone() });
    reload(&mut fleet, after, at(2_000));
    assert_eq!(states(&fleet), [State::Ready, State::Down, State::Ready, State::Ready]);
    assert!(is_silent(&mut fleet, "b2", 2_001), "the second");
    two_probes(&mut fleet, "b1", GOOD, 2_002);
    let due = fleet.probes_due(1_000_000);
    assert!(due.iter().any(|due| due.backend == "later"), "{due:?}");
    let later = fleet.members().iter().find(|member| member.spec.name == "later").expect("there");
    assert!(later.share() < FULL_SHARE, "it has just joined");
    fleet.ramp(1_000_000);
    let later = fleet.members().iter().find(|member| member.spec.name == "later").expect("there");
    assert_eq!(later.share(), FULL_SHARE);
}

#[test]
fn who_leaves_is_neither_probed_nor_blamed_nor_wanted_until_it_is_back() {
    let mut fleet = fleet(&[1, 1, 1, 1], |_| {});
    two_probes(&mut fleet, "b0", Outcome::Silent, 1);
    two_probes(&mut fleet, "b1", Outcome::Silent, 1);
    let all = specs(&fleet);
    reload(&mut fleet, all[..3].to_vec(), at(2));
    let met = [(BackendId::of_name("b3"), Traffic { bad: 9, ..Traffic::default() })];
    assert!(!fleet.traffic(&met, at(3)), "no probe would bring it up");
    assert!(fleet.settle(at(3).at) && in_panic(&fleet), "1 of 3 is up");
    let due = fleet.probes_due(1_000_000);
    assert_eq!(due.iter().map(|due| due.backend.as_str()).collect::<Vec<_>>(), ["b0", "b1", "b2"]);
    assert_eq!(fleet.next_probe_ms(), None, "theirs have not ended, and b3 has none");
    reload(&mut fleet, all, at(4));
    assert!(fleet.settle(at(4).at) && !in_panic(&fleet), "2 of 4");
    assert_eq!(fleet.probes_due(1_000_000).len(), 1);
}

#[test]
fn since_when_it_counts_as_up_stands_in_the_snapshot_and_outlives_a_reload() {
    let mut fleet = fleet(&[1, 1], |_| {});
    let since =
        |fleet: &Fleet| fleet.effective(0).0.iter().map(|one| one.up_since_ms).collect::<Vec<_>>();
    two_probes(&mut fleet, "b1", Outcome::Silent, 5_000);
    assert_eq!(since(&fleet), [0, 0]);
    two_probes(&mut fleet, "b1", GOOD, 9_000);
    assert_eq!(since(&fleet), [0, 9_000]);
    let mut after = specs(&fleet);
    after.reverse();
    after.push(BackendSpec { name: "later".to_owned(), ..after[0].clone() });
    reload(&mut fleet, after, at(10_000));
    assert_eq!(since(&fleet), [9_000, 0, 10_000]);
}

/// Two pools of two: the second has a panic of its own, never probes, and starts nobody slowly.
fn two_pools() -> Vec<PoolSpec> {
    let spec =
        |name: &str| BackendSpec::new(name, SocketAddr::from(([10, 0, 0, name.len() as u8], 5060)));
    let mut health = HealthConfig::default();
    health.rules = Rules { rise: 2, fall: 2, jitter_per_mille: 0, ..health.rules };
    let mut other = health.clone();
    other.panic_per_mille = 1000;
    other.rules.fall = 1;
    let pool = |name: &str, health, names: [&str; 2]| PoolSpec {
        name: name.to_owned(),
        health: Arc::new(health),
        backends: names.map(spec).to_vec(),
    };
    vec![pool("one", health, ["a", "bb"]), pool("two", other, ["ccc", "dddd"])]
}

fn states_of(fleet: &Fleet, pool: usize) -> Vec<State> {
    fleet.effective(pool).0.iter().map(|spec| spec.state).collect()
}

#[test]
fn each_pool_has_its_own_rules_and_its_own_panic() {
    let mut fleet = Fleet::new(two_pools(), at(0).at);
    fleet.watch(at(0), &mut || 0);
    let bad = |fleet: &mut Fleet, name: &str, ms| is_silent(fleet, name, ms);
    assert!(!bad(&mut fleet, "a", 1), "falls by two");
    assert!(bad(&mut fleet, "ccc", 1), "falls by one");
    assert!(fleet.settle(at(1).at));
    assert_eq!(fleet.pools().iter().map(|pool| pool.panic).collect::<Vec<_>>(), [false, true]);
    let event = fleet.events().last().expect("an event");
    assert_eq!((event.backend.as_str(), event.pool.as_str()), ("*", "two"));
    assert_eq!(states_of(&fleet, 1), [State::Ready; 2], "health is ignored here");
    assert!(bad(&mut fleet, "a", 2));
    fleet.settle(at(2).at);
    assert_eq!(states_of(&fleet, 0), [State::Down, State::Ready], "and counts there");
}

#[test]
fn what_is_known_follows_a_backend_from_pool_to_pool() {
    let mut fleet = Fleet::new(two_pools(), at(0).at);
    fleet.watch(at(0), &mut || 0);
    two_probes(&mut fleet, "a", Outcome::Silent, 1);
    let mut after = two_pools();
    let moved = after[0].backends.remove(0);
    after[1].backends.push(moved);
    fleet.reload(after, HOUR, at(2).at);
    fleet.watch(at(2), &mut || 0);
    fleet.settle(at(2).at);
    let member = fleet.members().iter().find(|member| member.spec.name == "a").expect("there");
    assert_eq!((member.pool.as_str(), member.up.value), ("two", false));
    assert_eq!(states_of(&fleet, 0), [State::Ready]);
    assert_eq!(states_of(&fleet, 1), [State::Ready; 3], "2 of 3 is less than all: panic");
    let moved = fleet.events().find(|event| event.what == "in pool two").expect("an event");
    assert_eq!((moved.backend.as_str(), moved.who), ("a", Who::Config));
}

#[test]
fn who_outlives_its_pool_leaves_with_the_first_one() {
    let mut fleet = Fleet::new(two_pools(), at(0).at);
    fleet.watch(at(0), &mut || 0);
    fleet.reload(two_pools()[..1].to_vec(), HOUR, at(1).at);
    fleet.watch(at(1), &mut || 0);
    fleet.settle(at(1).at);
    let names = |specs: Vec<BackendSpec>| specs.into_iter().map(|one| one.name).collect::<Vec<_>>();
    let (staying, leaving) = fleet.effective(0);
    assert_eq!(
        (names(staying), names(leaving)),
        (vec!["a".to_owned(), "bb".to_owned()], vec!["ccc".to_owned(), "dddd".to_owned()],)
    );
    assert!(!fleet.pools()[0].panic, "who leaves is not wanted");
}

#[test]
fn at_another_address_a_backend_is_somebody_else() {
    let mut fleet = fleet(&[1, 1, 1], |health| health.rules.slow_start_ms = 1_000);
    two_probes(&mut fleet, "b1", Outcome::Silent, 1);
    let under_way = fleet.probes_due(50_000);
    assert_eq!(under_way.len(), 3);
    let mut after = specs(&fleet);
    after[1].address = SocketAddr::from(([10, 0, 0, 9], 5060));
    after[2].address = SocketAddr::from(([10, 0, 0, 8], 5060));
    reload(&mut fleet, after, at(51_000));
    assert_eq!(states(&fleet), [State::Ready; 3], "nothing speaks against it there");
    assert!(fleet.members()[1].share() < FULL_SHARE, "as if it had joined");
    assert_eq!(fleet.members()[1].up_since_ms(), 51_000, "what was sent before says nothing");
    let what: Vec<_> = fleet.events().map(|one| format!("{} {}", one.backend, one.what)).collect();
    assert_eq!(what, ["b1 down", "b1 at 10.0.0.9:5060", "b1 up", "b2 at 10.0.0.8:5060"]);
    let at_once = at(51_001);
    for end in under_way.iter().filter(|end| end.backend != "b0").cycle().take(9) {
        assert!(!fleet.probe_ended(end, Outcome::Silent, Duration::ZERO, at_once, 0), "not there");
    }
    let due = fleet.probes_due(51_001);
    let addresses: Vec<_> = due.iter().map(|due| due.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.9:5060", "10.0.0.8:5060"], "it is asked there at once");
    assert!(is_silent(&mut fleet, "b1", 51_002) || is_silent(&mut fleet, "b1", 51_003));
}
