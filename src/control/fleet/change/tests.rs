//! Reloads, changes by hand, and ends.

use super::super::tests::spec;
use super::*;
use crate::pool::State;

const HOUR: Duration = Duration::from_secs(3600);

fn ready(names: &[&str]) -> Vec<BackendSpec> {
    names.iter().map(|name| spec(name, State::Ready)).collect()
}

fn pool(backends: Vec<BackendSpec>) -> Vec<PoolSpec> {
    vec![PoolSpec::unwatched(backends)]
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn goes_down(fleet: &mut Fleet, name: &str, now: SystemTime) {
    let place = fleet.members().iter().position(|one| one.spec.name == name).expect("known");
    fleet.turn(place, false, "timeout".to_owned(), Who::Probe, now);
}

fn names(fleet: &Fleet) -> Vec<&str> {
    fleet.members().iter().map(|member| member.spec.name.as_str()).collect()
}

fn states(fleet: &Fleet) -> Vec<State> {
    fleet.members().iter().map(|member| fleet.seen_of(member).state).collect()
}

fn whats(fleet: &Fleet) -> Vec<String> {
    fleet.events().map(|event| format!("{} {}", event.backend, event.what)).collect()
}

#[test]
fn what_is_known_follows_the_name_over_a_reload() {
    let mut fleet = Fleet::new(pool(ready(&["a", "b", "c"])), at(0));
    fleet.set_admin("a", Admin::Drain, "upgrade", Who::Operator, at(1)).unwrap();
    goes_down(&mut fleet, "b", at(2));
    fleet.set_weight("c", 9, Who::Operator, at(3)).unwrap();
    let before = fleet.members().to_vec();
    fleet.reload(pool(ready(&["c", "b", "a"])), HOUR, at(10));
    assert_eq!(names(&fleet), ["c", "b", "a"]);
    assert_eq!(states(&fleet), [State::Ready, State::Down, State::Drained]);
    assert_eq!(fleet.members()[2].admin, before[0].admin, "who and since when, too");
    assert_eq!(fleet.members()[1].up, before[1].up);
    assert_eq!(fleet.effective(0).0[0].weight, 9);
    assert_eq!(fleet.events().count(), 3, "the reload changed nothing");
}

#[test]
fn the_file_is_followed_where_nobody_overrode_it() {
    let mut fleet = Fleet::new(pool(ready(&["a", "b"])), at(0));
    fleet.set_admin("b", Admin::Maint, "fan", Who::Operator, at(1)).unwrap();
    let drained = || vec![spec("a", State::Drained), spec("b", State::Drained)];
    fleet.reload(pool(drained()), HOUR, at(2));
    assert_eq!(states(&fleet), [State::Drained, State::Down]);
    assert_eq!(fleet.members()[0].admin.who, Who::Config);
    // The file says what was set by hand: no override any more, the next file is followed.
    fleet.reload(pool(vec![spec("a", State::Ready), spec("b", State::Down)]), HOUR, at(3));
    assert!(!fleet.members()[1].overridden);
    fleet.reload(pool(ready(&["a", "b"])), HOUR, at(4));
    assert_eq!(states(&fleet), [State::Ready, State::Ready]);
}

#[test]
fn what_is_set_back_by_hand_is_no_override() {
    let mut fleet = Fleet::new(pool(ready(&["a"])), at(0));
    fleet.set_admin("a", Admin::Drain, "", Who::Operator, at(1)).unwrap();
    assert!(fleet.members()[0].overridden);
    fleet.set_admin("a", Admin::Ready, "", Who::Operator, at(2)).unwrap();
    assert!(!fleet.members()[0].overridden);
    fleet.set_weight("a", 7, Who::Operator, at(3)).unwrap();
    fleet.set_weight("a", 4, Who::Operator, at(4)).unwrap();
    assert_eq!(fleet.members()[0].weight, None);
}

#[test]
fn what_the_file_says_too_stands_against_it_no_more() {
    let weighing = |weight| pool(vec![BackendSpec { weight, ..spec("a", State::Ready) }]);
    let mut fleet = Fleet::new(weighing(4), at(0));
    fleet.set_weight("a", 9, Who::Operator, at(1)).unwrap();
    fleet.set_admin("a", Admin::Drain, "", Who::Operator, at(1)).unwrap();
    fleet.reload(weighing(2), HOUR, at(2));
    assert_eq!((fleet.effective(0).0[0].weight, fleet.drift()), (9, 2));
    let drained = || BackendSpec { weight: 9, ..spec("a", State::Drained) };
    fleet.reload(pool(vec![drained()]), HOUR, at(3));
    assert_eq!((fleet.effective(0).0[0].weight, fleet.drift()), (9, 0));
    fleet.reload(weighing(5), HOUR, at(4));
    assert_eq!((fleet.effective(0).0[0].weight, states(&fleet)[0]), (5, State::Ready));
}

#[test]
fn cleared_it_follows_the_config() {
    let mut fleet = Fleet::new(pool(vec![spec("a", State::Drained)]), at(0));
    assert_eq!(fleet.clear("a", HOUR, Who::Operator, at(1)), Ok(false));
    fleet.set_admin("a", Admin::Ready, "", Who::Operator, at(1)).unwrap();
    fleet.set_weight("a", 0, Who::Operator, at(1)).unwrap();
    assert_eq!(fleet.clear("a", HOUR, Who::Operator, at(2)), Ok(true));
    assert_eq!((states(&fleet)[0], fleet.effective(0).0[0].weight), (State::Drained, 4));
    assert!(fleet.clear("z", HOUR, Who::Operator, at(3)).is_err());
}

#[test]
fn a_removed_backend_drains_and_goes_with_its_last_call() {
    let mut fleet = Fleet::new(pool(ready(&["a", "b"])), at(0));
    fleet.reload(pool(ready(&["b"])), HOUR, at(100));
    assert_eq!(
        (names(&fleet), states(&fleet)),
        (vec!["b", "a"], vec![State::Ready, State::Drained])
    );
    assert_eq!((fleet.effective(0).0.len(), fleet.effective(0).1.len()), (1, 1));
    assert!(!fleet.look(&|_| 0, at(131)), "retransmissions must still reach it");
    assert!(!fleet.look(&|_| 1, at(200)));
    assert!(fleet.look(&|_| 0, at(201)));
    assert_eq!(names(&fleet), ["b"]);
    assert_eq!(whats(&fleet), ["a leaving", "a gone"]);
}

#[test]
fn a_removed_backend_goes_at_its_deadline_whatever_it_has() {
    let mut fleet = Fleet::new(pool(ready(&["a"])), at(0));
    fleet.reload(pool(Vec::new()), HOUR, at(0));
    assert!(!fleet.look(&|_| 2, at(3599)));
    assert!(fleet.look(&|_| 2, at(3600)));
    assert_eq!(fleet.events().last().unwrap().reason, "2 calls left after 3600 s");
}

#[test]
fn a_removed_backend_that_comes_back_is_as_it_was() {
    let mut fleet = Fleet::new(pool(ready(&["a", "b"])), at(0));
    goes_down(&mut fleet, "a", at(1));
    fleet.reload(pool(ready(&["b"])), HOUR, at(2));
    assert_eq!(states(&fleet), [State::Ready, State::Down]);
    fleet.reload(pool(ready(&["a", "b"])), HOUR, at(3));
    assert_eq!(names(&fleet), ["a", "b"]);
    assert_eq!(states(&fleet), [State::Down, State::Ready]);
    assert!(!fleet.look(&|_| 0, at(9999)), "it stays");
}

#[test]
fn a_second_reload_does_not_begin_the_deadline_anew() {
    let mut fleet = Fleet::new(pool(ready(&["a", "b"])), at(0));
    fleet.reload(pool(ready(&["b"])), HOUR, at(0));
    fleet.reload(pool(ready(&["b"])), HOUR, at(3000));
    assert!(fleet.look(&|_| 1, at(3600)));
}

#[test]
fn the_end_of_a_drain_is_an_event_once() {
    let mut fleet = Fleet::new(pool(ready(&["a"])), at(0));
    fleet.set_admin("a", Admin::Drain, "upgrade", Who::Operator, at(10)).unwrap();
    fleet.look(&|_| 0, at(12));
    assert_eq!(whats(&fleet), ["a drain"], "the counts may be from before");
    fleet.look(&|_| 0, at(13));
    fleet.look(&|_| 0, at(14));
    assert_eq!(whats(&fleet), ["a drain", "a drained"]);
    assert_eq!(states(&fleet), [State::Drained]);
}

#[test]
fn a_drain_that_is_overdue_says_so_and_goes_on() {
    let mut fleet = Fleet::new(pool(ready(&["a"])), at(0));
    fleet.set_admin("a", Admin::Drain, "", Who::Operator, at(0)).unwrap();
    fleet.await_drain("a", Duration::from_secs(60), at(0)).unwrap();
    fleet.look(&|_| 1, at(59));
    assert_eq!(fleet.events().count(), 1);
    fleet.look(&|_| 1, at(60));
    assert_eq!(fleet.events().last().unwrap().what, "drain overdue");
    assert_eq!(fleet.events().last().unwrap().reason, "1 call left after 60 s");
    assert_eq!(states(&fleet), [State::Drained]);
}
