//! What probes and traffic make of the backends: who is up, who starts slowly, and when too little is
//! up to be believed.

use super::{Admin, Event, Fleet, Known, Member, Who};
use crate::config::HealthConfig;
use crate::pool::BackendId;
use crate::pool::health::{Change, FULL_SHARE, Health, Outcome, Traffic, Why};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// One moment by two clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Milliseconds of a clock that never goes back.
    pub ms: u64,
    /// What people read.
    pub at: SystemTime,
}

/// A probe that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The name of the backend.
    pub backend: String,
    /// Where it is.
    pub address: SocketAddr,
    /// The place of its pool, which says how.
    pub pool: usize,
}

/// What a backend's probes have found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probed {
    /// How the last one ended.
    pub last: Option<Outcome>,
    /// The last one was good.
    pub good: bool,
    /// How long the last one took, from its first datagram to its end.
    pub took: Duration,
    /// Times that the backend came up.
    pub ups: u64,
    /// Times that it went down.
    pub downs: u64,
}

impl Fleet {
    /// Watches health as the pools say from now on; what is known stays. Who was there from the
    /// beginning does not start slowly, who has joined later does.
    pub fn watch(&mut self, now: Moment, random: &mut impl FnMut() -> u32) {
        for place in 0..self.members.len() {
            let config = self.health_of(place);
            let member = &mut self.members[place];
            let joined = std::mem::take(&mut member.joined);
            if config.enabled {
                let fresh = || match joined {
                    true => Health::joining(now.ms, &config.rules, random()),
                    false => Health::new(now.ms, &config.rules, random()),
                };
                let health = member.health.get_or_insert_with(fresh);
                member.share = health.share(now.ms, &config.rules);
                continue;
            }
            (member.health, member.share, member.held) = (None, FULL_SHARE, false);
            if !member.up.value {
                self.turn(place, true, "health is not watched".to_owned(), Who::Config, now.at);
            }
        }
    }

    /// By what a member is watched.
    fn health_of(&self, member: usize) -> Arc<HealthConfig> {
        self.pools[self.pool_of(&self.members[member])].health.clone()
    }

    /// Whom to probe now; each is taken to be probed from now on. Not who is in maintenance, nor who
    /// is leaving.
    pub fn probes_due(&mut self, now_ms: u64) -> Vec<Due> {
        let mut due = Vec::new();
        for member in self.members.iter_mut().filter(|one| one.is_probed()) {
            let Some(health) = member.health.as_mut().filter(|health| health.is_due(now_ms)) else {
                continue;
            };
            health.probe_sent(now_ms);
            let (backend, address) = (member.spec.name.clone(), member.spec.address);
            let pool = self.pools.iter().position(|pool| pool.name == member.pool).unwrap_or(0);
            due.push(Due { backend, address, pool });
        }
        due
    }

    /// When the next probe is due; `None`: none is before one has ended.
    pub fn next_probe_ms(&self) -> Option<u64> {
        let probed = self.members.iter().filter(|one| one.is_probed());
        probed.filter_map(|member| member.health.as_ref()?.next_ms()).min()
    }

    /// A probe of [`Fleet::probes_due`] has ended. True: the backend has come up or gone down. One that
    /// has another address by now is not concerned.
    pub fn probe_ended(
        &mut self,
        probe: &Due,
        outcome: Outcome,
        took: Duration,
        now: Moment,
        random: u32,
    ) -> bool {
        let is_it = |Member { spec, .. }: &Member| {
            spec.name == probe.backend && spec.address == probe.address
        };
        let Some(place) = self.members.iter().position(is_it) else { return false };
        let config = self.health_of(place);
        let rules = &config.rules;
        let member = &mut self.members[place];
        let Some(health) = &mut member.health else { return false };
        let change = health.probe_ended(now.ms, rules, outcome, random);
        let good = outcome.is_good(rules) == Some(true);
        member.probed = Probed { last: Some(outcome), good, took, ..member.probed };
        self.follow(place, change, now)
    }

    /// What requests have met at these backends since the last time; bad things only of those that were
    /// sent since [`Member::up_since_ms`]. To be told before the ends of probes are: a backend that
    /// comes up by them has another such time. True: one has gone down.
    pub fn traffic(&mut self, met: &[(BackendId, Traffic)], now: Moment) -> bool {
        if met.is_empty() {
            return false;
        }
        let met: HashMap<_, _> = met.iter().copied().collect();
        let mut changed = false;
        for place in 0..self.members.len() {
            let config = self.health_of(place);
            let member = &mut self.members[place];
            if let Some(met) = met.get(&BackendId::of_name(&member.spec.name))
                && member.leaving.is_none() // no probe would ever bring it up again
                && let Some(health) = &mut member.health
            {
                let change = health.traffic(now.ms, &config.rules, *met);
                changed |= self.follow(place, change, now);
                changed |= self.hold(place, now);
            }
        }
        changed
    }

    /// Moves slow starts on. True: a share has changed.
    pub fn ramp(&mut self, now_ms: u64) -> bool {
        let mut changed = false;
        for place in 0..self.members.len() {
            let config = self.health_of(place);
            let (member, rules) = (&mut self.members[place], &config.rules);
            let share = member.health.as_ref().map_or(FULL_SHARE, |one| one.share(now_ms, rules));
            changed |= member.share != share;
            member.share = share;
        }
        changed
    }

    /// Ends the holding back of those whose time is over. True: there was one.
    pub fn release(&mut self, now: Moment) -> bool {
        let mut changed = false;
        for place in 0..self.members.len() {
            changed |= self.hold(place, now);
        }
        changed
    }

    /// Holds a backend back that has asked for it, or no more. True: that has changed.
    fn hold(&mut self, place: usize, now: Moment) -> bool {
        let member = &mut self.members[place];
        let held = member.health.as_ref().is_some_and(|health| health.is_held(now.ms));
        if held == std::mem::replace(&mut member.held, held) {
            return false;
        }
        let (what, reason) = match held {
            true => ("held back", "a 503 had Retry-After"),
            false => ("no more held back", "its Retry-After is over"),
        };
        let (backend, pool) = (member.spec.name.clone(), member.pool.clone());
        let (what, reason) = (what.to_owned(), reason.to_owned());
        self.note(Event { at: now.at, backend, pool, what, reason, who: Who::Traffic });
        true
    }

    /// Begins or ends the panic of each pool, as follows from who is wanted and who is up. True: one
    /// did.
    pub fn settle(&mut self, at: SystemTime) -> bool {
        let mut changed = false;
        for pool in 0..self.pools.len() {
            changed |= self.settle_pool(pool, at);
        }
        changed
    }

    fn settle_pool(&mut self, pool: usize, at: SystemTime) -> bool {
        let state = &self.pools[pool];
        let is_wanted = |one: &&Member| {
            one.admin.value == Admin::Ready && one.leaving.is_none() && one.pool == state.name
        };
        let wanted = || self.members.iter().filter(is_wanted);
        let weight = |member: &Member| u64::from(member.full_weight());
        let all: u64 = wanted().map(weight).sum();
        let up: u64 = wanted().filter(|one| one.up.value && !one.held).map(weight).sum();
        let config = state.health.clone();
        let panic = up * 1000 < all * u64::from(config.panic_per_mille) && config.enabled;
        if panic == state.panic {
            return false;
        }
        self.pools[pool].panic = panic;
        let per_cent = f64::from(config.panic_per_mille) / 10.0;
        let (what, than, so) = match panic {
            true => ("panic", "less than", "health is ignored"),
            false => ("panic over", "no less than", "health counts again"),
        };
        let reason = format!("{up} of {all} of the weight is up, {than} {per_cent} %: {so}");
        let (backend, pool) = ("*".to_owned(), self.pools[pool].name.clone());
        self.note(Event { at, backend, pool, what: what.into(), reason, who: Who::Pool });
        true
    }

    /// By how much all weights of a pool are multiplied, so that a part of a small one is a whole
    /// number.
    pub(super) fn scale(&self, pool: usize) -> u16 {
        let members = || self.members.iter().filter(|member| self.pool_of(member) == pool);
        if members().all(|member| member.share == FULL_SHARE) {
            return 1;
        }
        let heaviest = members().map(Member::full_weight).max().unwrap_or(1).max(1);
        (u16::MAX / heaviest).clamp(1, FULL_SHARE)
    }

    fn follow(&mut self, place: usize, change: Option<Change>, now: Moment) -> bool {
        let Some(Change { up, why }) = change else { return false };
        let who = match why {
            Why::Traffic { .. } => Who::Traffic,
            Why::Probes { .. } | Why::Unproven => Who::Probe,
        };
        let config = self.health_of(place);
        let member = &mut self.members[place];
        if let Some(health) = &member.health {
            // The new share at once: a recovered backend gets no burst before the next look.
            member.share = health.share(now.ms, &config.rules);
        }
        self.turn(place, up, why.to_string(), who, now.at);
        true
    }

    pub(super) fn turn(
        &mut self,
        place: usize,
        value: bool,
        reason: String,
        who: Who,
        at: SystemTime,
    ) {
        let member = &mut self.members[place];
        member.up = Known { value, reason: reason.clone(), since: at, who };
        let count = if value { &mut member.probed.ups } else { &mut member.probed.downs };
        *count += 1;
        let (backend, pool) = (member.spec.name.clone(), member.pool.clone());
        let what = if value { "up" } else { "down" }.to_owned();
        self.note(Event { at, backend, pool, what, reason, who });
    }
}

impl Member {
    fn is_probed(&self) -> bool {
        self.admin.value != Admin::Maint && self.leaving.is_none()
    }

    /// Nothing is known of its health any more: it is like one that joins. True: it was down.
    pub(super) fn begin_health(&mut self, who: Who, now: SystemTime) -> bool {
        (self.health, self.held, self.joined) = (None, false, true);
        let Probed { ups, downs, .. } = self.probed;
        self.probed = Probed { ups, downs, ..Probed::default() };
        let reason = "not probed yet at this address".to_owned();
        let was_up = self.up.value;
        let since = if was_up { self.up.since } else { now };
        self.up = Known { value: true, reason, since, who };
        self.probed.ups += u64::from(!was_up);
        !was_up
    }

    /// Since when it counts as up, milliseconds; 0: it is not watched.
    pub fn up_since_ms(&self) -> u64 {
        self.health.as_ref().map_or(0, Health::up_since_ms)
    }

    /// Its weight without slow start.
    pub fn full_weight(&self) -> u16 {
        self.weight.unwrap_or(self.spec.weight)
    }

    /// The part of its weight that slow start lets it have, in 256 parts.
    pub fn share(&self) -> u16 {
        self.share
    }

    pub(super) fn scaled_weight(&self, scale: u16) -> u16 {
        let weight = u64::from(self.full_weight()) * u64::from(scale);
        let part = weight * u64::from(self.share) / u64::from(FULL_SHARE);
        // A little is not nothing: weight 0 is what an administrator sets.
        part.max(u64::from(weight > 0)) as u16 // below 2^16 by `scale`
    }
}

#[cfg(test)]
mod tests;
