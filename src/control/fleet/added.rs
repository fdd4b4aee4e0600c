//! Backends that come and go at run time, against the config: they survive reloads, until somebody
//! gives it up, the config says the same, or the process ends.

use super::change::CONFIG;
use super::{Awaited, Event, Fleet, Member, UnknownBackend, Who};
use crate::pool::BackendSpec;
use std::fmt;
use std::time::{Duration, SystemTime};

/// A backend of the config that was removed at run time.
#[derive(Clone, Debug)]
pub struct Removed {
    /// The name of its pool.
    pub pool: String,
    /// What the config says.
    pub spec: BackendSpec,
}

/// Why a backend cannot be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAdded {
    /// No pool has this name.
    NoPool(String),
    /// There is one of this name.
    Known(String),
    /// The config has one of this name, removed at run time.
    Removed(String),
}

impl fmt::Display for NotAdded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPool(name) => {
                write!(f, "no pool is named {name:?}; the names are those of the config")
            }
            Self::Known(name) => {
                write!(f, "there is a backend {name:?} already: take another name")
            }
            Self::Removed(name) => write!(
                f,
                "the backend {name:?} is in the config and was removed at run time: clear that instead"
            ),
        }
    }
}

impl Fleet {
    /// Those of the config that were removed at run time.
    pub fn removed(&self) -> &[Removed] {
        &self.removed
    }

    /// Adds a backend that the config does not have. To be followed by [`Fleet::watch`].
    ///
    /// # Errors
    /// [`NotAdded`].
    pub fn add(
        &mut self,
        pool: &str,
        spec: BackendSpec,
        who: Who,
        now: SystemTime,
    ) -> Result<bool, NotAdded> {
        let name = spec.name.clone();
        if self.pools.iter().all(|known| known.name != pool) {
            return Err(NotAdded::NoPool(pool.to_owned()));
        }
        if self.removed.iter().any(|removed| removed.spec.name == name) {
            return Err(NotAdded::Removed(name));
        }
        let mut fresh = Member { joined: true, added: true, ..Member::new(pool, spec, now) };
        (fresh.admin.reason, fresh.admin.who) = ("added at run time".to_owned(), who);
        match self.members.iter().position(|member| member.spec.name == name) {
            Some(place) if self.members[place].leaving.is_none() => {
                return Err(NotAdded::Known(name));
            }
            // It is on its way out: what is known of its health stays.
            Some(place) => {
                let mut before = self.members.remove(place);
                before.pool = fresh.pool;
                (before.admin, before.drain) = (fresh.admin, fresh.drain);
                (before.overridden, before.weight) = (false, None);
                (before.leaving, before.added) = (None, true);
                self.replace_spec(&mut before, fresh.spec, who, now);
                self.members.insert(place, before);
            }
            None => self.members.push(fresh),
        }
        self.note_by(&name, pool, "added", "asked for", who, now);
        Ok(true)
    }

    /// Removes a backend: it gets no new calls, and goes when those that it has are over, after
    /// `within` at the latest. `Ok(false)`: it is leaving already.
    ///
    /// # Errors
    /// [`UnknownBackend`].
    pub fn remove(
        &mut self,
        backend: &str,
        within: Duration,
        who: Who,
        now: SystemTime,
    ) -> Result<bool, UnknownBackend> {
        let member = self.member(backend)?;
        if member.leaving.is_some() {
            return Ok(false);
        }
        member.leaving = Some(Awaited { since: now, until: Some(now + within), who });
        let (pool, spec) = (member.pool.clone(), member.spec.clone());
        if !member.added {
            self.removed.push(Removed { pool: pool.clone(), spec });
        }
        self.note_by(backend, &pool, "leaving", "removal asked for: its calls may end", who, now);
        Ok(true)
    }

    /// Gives a removal up, or an addition: true if there was one.
    pub(super) fn clear_presence(&mut self, backend: &str, who: Who, now: SystemTime) -> bool {
        let removed = self.removed.iter().position(|removed| removed.spec.name == backend);
        if let Some(place) = removed {
            let Removed { pool, spec } = self.removed.remove(place);
            self.note_by(backend, &pool, "back", "its removal is given up", who, now);
            match self.members.iter().position(|member| member.spec.name == backend) {
                Some(place) => {
                    // What the config says of it may have changed meanwhile.
                    let before = Member { leaving: None, ..self.members.remove(place) };
                    let member = self.carried_over(before, &pool, spec, &CONFIG, now);
                    self.members.insert(place, member);
                }
                None => {
                    let member = Member { joined: true, ..Member::new(&pool, spec, now) };
                    self.members.push(member);
                }
            }
            return true;
        }
        let is_added =
            |one: &Member| one.added && one.leaving.is_none() && one.spec.name == backend;
        self.members.iter().any(is_added)
    }

    /// Whether the config's backend was removed at run time; what the config says of it now is kept.
    pub(super) fn stays_removed(&mut self, pool: &str, spec: &BackendSpec) -> bool {
        let removed = self.removed.iter_mut().find(|removed| removed.spec.name == spec.name);
        let Some(removed) = removed else { return false };
        *removed = Removed { pool: pool.to_owned(), spec: spec.clone() };
        true
    }

    fn note_by(
        &mut self,
        backend: &str,
        pool: &str,
        what: &str,
        why: &str,
        who: Who,
        now: SystemTime,
    ) {
        let (backend, pool) = (backend.to_owned(), pool.to_owned());
        let (what, reason) = (what.to_owned(), why.to_owned());
        self.note(Event { at: now, backend, pool, what, reason, who });
    }
}

#[cfg(test)]
mod tests {
    use super::super::PoolSpec;
    use super::*;
    use crate::pool::State;

    const HOUR: Duration = Duration::from_secs(3600);

    fn spec(name: &str) -> BackendSpec {
        BackendSpec {
            weight: 4,
            ..BackendSpec::new(name, "10.0.0.1:5060".parse().expect("an address"))
        }
    }

    fn pool(names: &[&str]) -> Vec<PoolSpec> {
        vec![PoolSpec::unwatched(names.iter().map(|name| spec(name)).collect())]
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn names(fleet: &Fleet) -> (Vec<String>, Vec<String>) {
        let names = |of: Vec<BackendSpec>| of.into_iter().map(|one| one.name).collect();
        let (staying, leaving) = fleet.effective(0);
        (names(staying), names(leaving))
    }

    #[test]
    fn what_is_added_survives_reloads_until_it_is_removed() {
        let mut fleet = Fleet::new(pool(&["a"]), at(0));
        assert_eq!(fleet.add("default", spec("b"), Who::Operator, at(1)), Ok(true));
        assert_eq!(
            fleet.add("default", spec("a"), Who::Operator, at(1)),
            Err(NotAdded::Known("a".into()))
        );
        assert_eq!(
            fleet.add("other", spec("c"), Who::Operator, at(1)),
            Err(NotAdded::NoPool("other".into()))
        );
        let admin = &fleet.members()[1].admin;
        assert_eq!((admin.reason.as_str(), admin.who), ("added at run time", Who::Operator));
        fleet.reload(pool(&["a"]), HOUR, at(2));
        assert_eq!(names(&fleet).0, ["a", "b"]);
        assert_eq!(fleet.clear("b", HOUR, Who::Operator, at(3)), Ok(true));
        assert_eq!(names(&fleet), (vec!["a".into()], vec!["b".into()]));
        assert!(fleet.removed().is_empty(), "the config does not have it either");
        assert!(fleet.look(&|_| 0, at(40)));
        let gone = fleet.events().last().expect("an event");
        assert_eq!((gone.what.as_str(), gone.who), ("gone", Who::Operator), "by who wanted it");
        fleet.reload(pool(&["a"]), HOUR, at(50));
        assert_eq!(names(&fleet), (vec!["a".into()], vec![]));
    }

    #[test]
    fn what_the_config_has_too_is_no_addition_any_more() {
        let mut fleet = Fleet::new(pool(&["a"]), at(0));
        fleet.add("default", spec("b"), Who::Operator, at(1)).expect("a new one");
        fleet.reload(pool(&["b", "a"]), HOUR, at(2));
        assert_eq!(names(&fleet).0, ["b", "a"]);
        fleet.reload(pool(&["a"]), HOUR, at(3));
        assert_eq!(names(&fleet), (vec!["a".into()], vec!["b".into()]));
    }

    #[test]
    fn a_removal_survives_reloads_and_the_backends_end_until_it_is_cleared() {
        let mut fleet = Fleet::new(pool(&["a", "b"]), at(0));
        assert_eq!(fleet.remove("b", HOUR, Who::Operator, at(1)), Ok(true));
        assert_eq!(fleet.remove("b", HOUR, Who::Operator, at(2)), Ok(false));
        assert!(fleet.remove("z", HOUR, Who::Operator, at(2)).is_err());
        fleet.reload(pool(&["a", "b"]), HOUR, at(3));
        assert_eq!(names(&fleet), (vec!["a".into()], vec!["b".into()]));
        assert!(fleet.look(&|_| 0, at(40)));
        fleet.reload(pool(&["a", "b"]), HOUR, at(50));
        assert_eq!(names(&fleet), (vec!["a".into()], vec![]));
        let again = fleet.add("default", spec("b"), Who::Operator, at(51));
        assert_eq!(again, Err(NotAdded::Removed("b".into())));
        assert_eq!(fleet.clear("b", HOUR, Who::Operator, at(52)), Ok(true));
        assert_eq!(names(&fleet).0, ["a", "b"]);
        assert!(fleet.removed().is_empty());
    }

    #[test]
    fn a_removal_that_is_cleared_in_time_is_as_if_it_had_not_been() {
        let mut fleet = Fleet::new(pool(&["a", "b"]), at(0));
        fleet.set_admin("b", super::super::Admin::Drain, "", Who::Operator, at(1)).expect("known");
        fleet.remove("b", HOUR, Who::Operator, at(2)).expect("known");
        assert_eq!(fleet.clear("b", HOUR, Who::Operator, at(3)), Ok(true));
        assert_eq!(names(&fleet), (vec!["a".into(), "b".into()], vec![]));
        assert!(!fleet.members()[1].overridden, "all of it is given up");
    }

    #[test]
    fn a_removal_that_is_cleared_brings_back_what_the_config_says_now() {
        let mut fleet = Fleet::new(pool(&["a", "b"]), at(0));
        fleet.remove("b", HOUR, Who::Operator, at(1)).expect("known");
        let moved = BackendSpec {
            address: "10.0.0.2:5060".parse().expect("an address"),
            weight: 9,
            state: State::Drained,
            ..spec("b")
        };
        let other = PoolSpec { name: "other".into(), ..PoolSpec::unwatched(vec![moved.clone()]) };
        fleet.reload(vec![pool(&["a"]).remove(0), other], HOUR, at(2));
        assert_eq!(fleet.clear("b", HOUR, Who::Operator, at(3)), Ok(true));
        let (staying, leaving) = fleet.effective(1);
        assert_eq!((staying.len(), leaving.len(), names(&fleet).0), (1, 0, vec!["a".into()]));
        let back = &staying[0];
        assert_eq!((back.address, back.weight, back.state), (moved.address, 9, State::Drained));
    }

    #[test]
    fn what_was_added_and_removed_is_counted_as_drift() {
        let mut fleet = Fleet::new(pool(&["a", "b"]), at(0));
        fleet.add("default", spec("c"), Who::Operator, at(1)).expect("a new one");
        assert_eq!(fleet.drift(), 1);
        fleet.remove("b", HOUR, Who::Operator, at(2)).expect("known");
        assert_eq!(fleet.drift(), 2);
        fleet.clear("c", HOUR, Who::Operator, at(3)).expect("known");
        fleet.clear("b", HOUR, Who::Operator, at(3)).expect("known");
        assert_eq!(fleet.drift(), 0, "who leaves is as the config wants it");
    }

    #[test]
    fn what_leaves_the_config_too_is_no_drift() {
        let mut fleet = Fleet::new(pool(&["a", "b"]), at(0));
        fleet.remove("b", HOUR, Who::Operator, at(1)).expect("known");
        fleet.reload(pool(&["a"]), HOUR, at(2));
        assert!(fleet.removed().is_empty());
        fleet.reload(pool(&["a", "b"]), HOUR, at(3));
        assert_eq!(names(&fleet).0, ["a", "b"], "the config has it anew");
    }

    #[test]
    fn an_added_backend_leaves_with_its_pool() {
        let mut fleet = Fleet::new(pool(&["a"]), at(0));
        fleet.add("default", spec("b"), Who::Operator, at(1)).expect("a new one");
        let other = PoolSpec { name: "other".into(), ..PoolSpec::unwatched(vec![spec("a")]) };
        fleet.reload(vec![other], HOUR, at(2));
        assert_eq!(names(&fleet), (vec!["a".into()], vec!["b".into()]));
    }
}
