//! What the administrator wants, and events.

use super::*;
use std::time::Duration;

pub(super) fn spec(name: &str, state: State) -> BackendSpec {
    BackendSpec {
        weight: 4,
        state,
        ..BackendSpec::new(name, "10.0.0.1:5060".parse().expect("an address"))
    }
}

fn fleet() -> Fleet {
    let specs = vec![spec("a", State::Ready), spec("b", State::Drained), spec("c", State::Down)];
    Fleet::new(vec![PoolSpec::unwatched(specs)], SystemTime::UNIX_EPOCH)
}

fn states(fleet: &Fleet) -> Vec<State> {
    fleet.effective(0).0.iter().map(|spec| spec.state).collect()
}

fn later() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(9)
}

#[test]
fn the_configs_state_is_what_the_administrator_wants_at_first() {
    let fleet = fleet();
    assert_eq!(states(&fleet), [State::Ready, State::Drained, State::Down]);
    assert_eq!(fleet.members()[1].admin.who, Who::Config);
    assert_eq!(fleet.events().count(), 0);
}

#[test]
fn a_change_says_why_when_and_who_and_no_change_says_nothing() {
    let mut fleet = fleet();
    assert_eq!(fleet.set_admin("a", Admin::Maint, "broken fan", Who::Operator, later()), Ok(true));
    assert_eq!(fleet.set_admin("a", Admin::Maint, "again", Who::Operator, later()), Ok(false));
    let event = fleet.events().next().expect("one");
    assert_eq!((event.what.as_str(), event.reason.as_str()), ("maint", "broken fan"));
    assert_eq!((event.at, &event.who), (later(), &Who::Operator));
    assert_eq!(fleet.events().count(), 1);
    assert_eq!(fleet.members()[0].admin.reason, "broken fan");
}

#[test]
fn an_unknown_name_changes_nothing() {
    let mut fleet = fleet();
    let error = fleet.set_admin("z", Admin::Drain, "", Who::Operator, later()).unwrap_err();
    assert!(error.to_string().contains("\"z\""), "{error}");
    assert_eq!(fleet.events().count(), 0);
}

#[test]
fn events_are_bounded() {
    let mut fleet = fleet();
    for n in 0..EVENTS_MAX + 5 {
        let admin = if n % 2 == 1 { Admin::Ready } else { Admin::Drain };
        let _ = fleet.set_admin("a", admin, &n.to_string(), Who::Operator, later());
    }
    assert_eq!(fleet.events().count(), EVENTS_MAX);
    assert_eq!(fleet.events().next().expect("the oldest kept").reason, "5");
}
