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
                let (until, who) = (Some(now + remove_timeout), list.who);
                member.leaving = Some(Awaited { since: now, until, who });
                self.note_of(list.who, &member, "leaving", list.leaving, now);
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
        self.note_of(list.who, &member, "added", list.added, now);
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
            self.note_of(list.who, &member, "back", list.back, now);
        }
        if member.pool != pool {
            let before = std::mem::replace(&mut member.pool, pool.to_owned());
            let reason = format!("it was in {before} until now");
            self.note_config(&member, &format!("in pool {pool}"), &reason, now);
        }
        let wanted = Admin::from(spec.state);
        self.replace_spec(&mut member, spec, list.who, now);
        member.added = false;
        if member.weight == Some(member.spec.weight) {
            member.weight = None;
        }
        if member.admin.value == wanted {
            member.overridden = false;
        } else if !member.overridden {
            self.follow_config(&mut member, "the config has changed", now);
        }
        member
    }

    /// Another spec of the same name. At another address it is somebody else as far as health goes.
    pub(super) fn replace_spec(
        &mut self,
        member: &mut Member,
        spec: BackendSpec,
        who: Who,
        now: SystemTime,
    ) {
        let before = std::mem::replace(&mut member.spec, spec);
        let address = member.spec.address;
        if address == before.address {
            return;
        }
        let reason = format!("it was at {} until now", before.address);
        self.note_of(who, member, &format!("at {address}"), &reason, now);
        if member.begin_health(who, now) {
            self.note_of(who, member, "up", &member.up.reason.clone(), now);
        }
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
        let changed = self.clear_presence(backend, who, now);
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
            if let Some(leaving) = member.leaving
                && let Some(reason) = leaving.end(left, LEAVING_MIN, now)
            {
                gone.push(backend.clone());
                let (what, who) = ("gone".to_owned(), leaving.who);
                self.note(Event { at: now, backend, pool, what, reason, who });
            } else if let Some(drain) = member.drain
                && let Some(reason) = drain.end(left, COUNTS_SETTLE, now)
            {
                let who = drain.who;
                self.members[place].drain = None;
                let what = if left == 0 { "drained" } else { "drain overdue" }.to_owned();
                self.note(Event { at: now, backend, pool, what, reason, who });
            }
        }
        self.members.retain(|member| !gone.contains(&member.spec.name));
        !gone.is_empty()
    }

    fn note_config(&mut self, member: &Member, what: &str, reason: &str, now: SystemTime) {
        self.note_of(Who::Config, member, what, reason, now);
    }

    fn note_of(&mut self, who: Who, member: &Member, what: &str, reason: &str, now: SystemTime) {
        let (backend, pool) = (member.spec.name.clone(), member.pool.clone());
        let (what, reason) = (what.to_owned(), reason.to_owned());
        self.note(Event { at: now, backend, pool, what, reason, who });
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
mod tests;
