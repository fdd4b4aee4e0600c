//! How the fleet changes: by a reload, by hand, and when the calls of a backend have ended.
//!
//! A reload carries over by identity what is known of a backend. What somebody set at run time stands
//! against the file until it is cleared, or until the file says the same.

use super::{
    Admin, Awaited, Event, Fleet, Known, Member, PoolSpec, PoolState, UnknownBackend, Who,
};
use crate::pool::{BackendId, BackendSpec};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

/// A removed backend stays for 64*T1 at least (RFC 3261 17): who retransmits must still reach it.
const LEAVING_MIN: Duration = Duration::from_secs(32);

/// The workers tell their calls once a second: younger counts may be from before the drain.
const COUNTS_SETTLE: Duration = Duration::from_secs(3);

/// Where a list of backends comes from, in the words of its events.
pub(super) struct List {
    who: Who,
    added: &'static str,
    back: &'static str,
    leaving: &'static str,
}

pub(super) const CONFIG: List = List {
    who: Who::Config,
    added: "in the config",
    back: "in the config again",
    leaving: "no longer in the config: its calls may end",
};

const DNS: List = List {
    who: Who::Dns,
    added: "in DNS",
    back: "in DNS again",
    leaving: "no longer in DNS: its calls may end",
};

/// How many calls a backend has, confirmed or still being set up.
pub type Calls<'a> = &'a dyn Fn(BackendId) -> u64;

impl Fleet {
    /// Takes over other pools and backends from the config. A backend that is not in it any more
    /// drains, for `remove_timeout` at most; one that is in another pool goes on there. To be followed
    /// by [`Fleet::watch`].
    pub fn reload(&mut self, specs: Vec<PoolSpec>, remove_timeout: Duration, now: SystemTime) {
        self.follow_list(specs, remove_timeout, &CONFIG, now);
    }

    /// Takes over other backends from DNS, as a reload does: `specs` are all that there are now. To be
    /// followed by [`Fleet::watch`].
    pub fn resolved(&mut self, specs: Vec<PoolSpec>, remove_timeout: Duration, now: SystemTime) {
        self.follow_list(specs, remove_timeout, &DNS, now);
    }

    /// Whoever is here counts as if it had been there from the start.
    pub fn begin(&mut self) {
        self.members.iter_mut().for_each(|member| member.joined = false);
    }

    fn follow_list(
        &mut self,
        specs: Vec<PoolSpec>,
        remove_timeout: Duration,
        list: &List,
        now: SystemTime,
    ) {
        let was_in_panic =
            |name: &str| self.pools.iter().any(|pool| pool.name == name && pool.panic);
        let pool = |spec: &PoolSpec| PoolState {
            name: spec.name.clone(),
            health: spec.health.clone(),
            panic: was_in_panic(&spec.name),
        };
        self.pools = specs.iter().map(pool).collect();
        let before = std::mem::take(&mut self.members);
        let place = |(place, member): (usize, &Member)| (member.spec.name.clone(), place);
        let places: HashMap<_, _> = before.iter().enumerate().map(place).collect();
        let mut before: Vec<_> = before.into_iter().map(Some).collect();
        let mut configured = HashSet::new();
        for PoolSpec { name: pool, backends, .. } in specs {
            for spec in backends {
                configured.insert(spec.name.clone());
                if self.stays_removed(&pool, &spec) {
                    continue;
                }
                let known = places.get(&spec.name).and_then(|place| before[*place].take());
                let member = match known {
                    Some(member) => self.carried_over(member, &pool, spec, list, now),
                    None => self.joined(&pool, spec, list, now),
                };
                self.members.push(member);
            }
        }
        self.removed.retain(|removed| configured.contains(&removed.spec.name));
        for mut member in before.into_iter().flatten() {
            let has_pool = self.pools.iter().any(|pool| pool.name == member.pool);
            if member.leaving.is_none() && !(member.added && has_pool) {
                member.leaving = Some(Awaited { since: now, until: Some(now + remove_timeout) });
                self.note_of(&list.who, &member, "leaving", list.leaving, now);
            }
            self.members.push(member);
        }
    }

    fn joined(&mut self, pool: &str, spec: BackendSpec, list: &List, now: SystemTime) -> Member {
        let mut member = Member { joined: true, ..Member::new(pool, spec, now) };
        if list.who == Who::Dns {
            let (reason, who) = (list.added.to_owned(), Who::Dns);
            member.admin = Known { reason, who, ..member.admin };
        }
        self.note_of(&list.who, &member, "added", list.added, now);
        member
    }

    pub(super) fn carried_over(
        &mut self,
        mut member: Member,
        pool: &str,
        spec: BackendSpec,
        list: &List,
        now: SystemTime,
    ) -> Member {
        if member.leaving.take().is_some() {
            self.note_of(&list.who, &member, "back", list.back, now);
        }
        if member.pool != pool {
            let before = std::mem::replace(&mut member.pool, pool.to_owned());
            let reason = format!("it was in {before} until now");
            self.note_config(&member, &format!("in pool {pool}"), &reason, now);
        }
        let wanted = Admin::from(spec.state);
        (member.spec, member.added) = (spec, false);
        if member.admin.value == wanted {
            member.overridden = false;
        } else if !member.overridden {
            self.follow_config(&mut member, "the config has changed", now);
        }
        member
    }

    fn follow_config(&mut self, member: &mut Member, reason: &str, now: SystemTime) {
        let value = Admin::from(member.spec.state);
        member.overridden = false;
        member.admin = Known { value, reason: reason.to_owned(), since: now, who: Who::Config };
        member.await_calls(now, None);
        self.note_config(member, &value.to_string(), reason, now);
    }

    /// Sets a weight that stands against the config's. `Ok(false)`: it was so already.
    ///
    /// # Errors
    /// [`UnknownBackend`].
    pub fn set_weight(
        &mut self,
        backend: &str,
        weight: u16,
        who: Who,
        now: SystemTime,
    ) -> Result<bool, UnknownBackend> {
        let member = self.member(backend)?;
        if member.full_weight() == weight {
            return Ok(false);
        }
        member.weight = (weight != member.spec.weight).then_some(weight);
        let (what, reason) = (format!("weight {weight}"), "asked for".to_owned());
        let (backend, pool) = (backend.to_owned(), member.pool.clone());
        self.note(Event { at: now, backend, pool, what, reason, who });
        Ok(true)
    }

    /// Gives up what was set at run time: the config is followed again. So one that was removed is
    /// back, and one that was added leaves, `within` at the latest. `Ok(false)`: nothing was set. To be
    /// followed by [`Fleet::watch`].
    ///
    /// # Errors
    /// [`UnknownBackend`].
    pub fn clear(
        &mut self,
        backend: &str,
        within: Duration,
        who: Who,
        now: SystemTime,
    ) -> Result<bool, UnknownBackend> {
        let changed = self.clear_presence(backend, &who, now);
        let member = self.member(backend)?;
        if member.added && changed {
            return self.remove(backend, within, who, now);
        }
        if !member.overridden && member.weight.is_none() {
            return Ok(changed);
        }
        member.weight = None;
        let value = Admin::from(member.spec.state);
        if member.overridden {
            let reason = "as the config says".to_owned();
            member.admin = Known { value, reason, since: now, who: Who::Config };
            member.overridden = false;
            member.await_calls(now, None);
        }
        let (what, reason) = ("cleared", "what was set at run time is given up");
        let (what, reason) = (what.to_owned(), reason.to_owned());
        let (backend, pool) = (backend.to_owned(), member.pool.clone());
        self.note(Event { at: now, backend, pool, what, reason, who });
        Ok(true)
    }

    /// How long the calls of a drained backend are awaited from now on, before an event says how
    /// many are left; they go on all the same. A backend that is not drained is left alone.
    ///
    /// # Errors
    /// [`UnknownBackend`].
    pub fn await_drain(
        &mut self,
        backend: &str,
        within: Duration,
        now: SystemTime,
    ) -> Result<(), UnknownBackend> {
        self.member(backend)?.await_calls(now, Some(within));
        Ok(())
    }

    /// Looks whose calls have ended, or were awaited long enough: a leaving backend goes, of a
    /// drained one an event says so. True if one went.
    pub fn look(&mut self, calls: Calls<'_>, now: SystemTime) -> bool {
        let mut gone = Vec::new();
        for place in 0..self.members.len() {
            let member = &self.members[place];
            let (backend, pool) = (member.spec.name.clone(), member.pool.clone());
            let left = calls(BackendId::of_name(&backend));
            if let Some(reason) = member.leaving.and_then(|it| it.end(left, LEAVING_MIN, now)) {
                gone.push(backend.clone());
                let (what, who) = ("gone".to_owned(), Who::Config);
                self.note(Event { at: now, backend, pool, what, reason, who });
            } else if let Some(reason) =
                member.drain.and_then(|it| it.end(left, COUNTS_SETTLE, now))
            {
                let who = member.admin.who.clone();
                self.members[place].drain = None;
                let what = if left == 0 { "drained" } else { "drain overdue" }.to_owned();
                self.note(Event { at: now, backend, pool, what, reason, who });
            }
        }
        self.members.retain(|member| !gone.contains(&member.spec.name));
        !gone.is_empty()
    }

    fn note_config(&mut self, member: &Member, what: &str, reason: &str, now: SystemTime) {
        self.note_of(&Who::Config, member, what, reason, now);
    }

    fn note_of(&mut self, who: &Who, member: &Member, what: &str, reason: &str, now: SystemTime) {
        let (backend, pool) = (member.spec.name.clone(), member.pool.clone());
        let (what, reason) = (what.to_owned(), reason.to_owned());
        self.note(Event { at: now, backend, pool, what, reason, who: who.clone() });
    }

    /// Notes what became of a name or a record, which is no backend.
    pub fn note_dns(&mut self, name: &str, what: &str, reason: &str, now: SystemTime) {
        let (backend, pool) = (name.to_owned(), String::new());
        let (what, reason) = (what.to_owned(), reason.to_owned());
        self.note(Event { at: now, backend, pool, what, reason, who: Who::Dns });
    }
}

impl Awaited {
    /// Why it is awaited no longer, if so; not before `least` has passed.
    fn end(&self, calls: u64, least: Duration, now: SystemTime) -> Option<String> {
        let waited = now.duration_since(self.since).unwrap_or_default();
        if self.until.is_some_and(|until| now >= until) {
            let s = if calls == 1 { "" } else { "s" };
            return Some(format!("{calls} call{s} left after {} s", waited.as_secs()));
        }
        (calls == 0 && waited >= least).then(|| "no call is left".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Intake;
    use crate::pool::State;

    const HOUR: Duration = Duration::from_secs(3600);

    fn spec(name: &str, state: State) -> BackendSpec {
        BackendSpec {
            name: name.to_owned(),
            address: "10.0.0.1:5060".parse().expect("an address"),
            weight: 4,
            state,
            sources: Vec::new(),
            side: 0,
            intake: Intake::default(),
        }
    }

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
}
