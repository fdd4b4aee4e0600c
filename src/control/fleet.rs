//! The backends at run time: what the config says, what the administrator wants and what is known of
//! their health, kept apart; together they make the pool that the workers see.
//!
//! Three things, as HAProxy has them: the operational state (up or down, by probes and traffic), the
//! administrative state (ready, drain, maint: by whom, since when) and the weight. Each change has a
//! reason, a time and an author, and is an [`Event`]. Pure: times are arguments.
//!
//! `health` has what probes and traffic change: who is up, slow start, panic.

mod added;
mod change;
mod health;

pub use added::{NotAdded, Removed};
pub use change::Calls;
pub use health::{Due, Moment, Probed};

use crate::config::HealthConfig;
use crate::pool::health::{FULL_SHARE, Health};
use crate::pool::{BackendSpec, State};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Events that are kept for those who ask later.
const EVENTS_MAX: usize = 200;

/// Who changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The config file.
    Config,
    /// Somebody at the admin address, the control socket or inside this process.
    Operator,
    /// A health probe.
    Probe,
    /// Real requests that failed or succeeded.
    Traffic,
    /// The records of a name.
    Dns,
    /// The balancer itself, because of the state of the whole pool.
    Pool,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "config",
            Self::Operator => "operator",
            Self::Probe => "probe",
            Self::Traffic => "traffic",
            Self::Dns => "dns",
            Self::Pool => "pool",
        })
    }
}

/// What the config says of a pool.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// Its name.
    pub name: String,
    /// How its backends are watched.
    pub health: Arc<HealthConfig>,
    /// Those that it has.
    pub backends: Vec<BackendSpec>,
}

/// A pool at run time.
#[derive(Clone, Debug)]
pub struct PoolState {
    /// Its name.
    pub name: String,
    /// How its backends are watched.
    pub health: Arc<HealthConfig>,
    /// Too little of it is up: health is ignored.
    pub panic: bool,
}

/// What the administrator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// It takes calls.
    Ready,
    /// No new calls; its dialogs go on.
    Drain,
    /// Nothing new at all, registrations move away; dialogs have nowhere else to go.
    Maint,
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        })
    }
}

impl From<State> for Admin {
    /// What `state` in the config means.
    fn from(state: State) -> Self {
        match state {
            State::Ready => Self::Ready,
            State::Drained => Self::Drain,
            State::Down => Self::Maint,
        }
    }
}

/// A value with its history: why it is so, since when, by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known<T> {
    /// The value.
    pub value: T,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: SystemTime,
    /// By whom.
    pub who: Who,
}

/// A backend at run time.
#[derive(Clone, Debug)]
pub struct Member {
    /// What the config says.
    pub spec: BackendSpec,
    /// The name of its pool; of one that is leaving, which may be gone.
    pub pool: String,
    /// What the administrator wants.
    pub admin: Known<Admin>,
    /// Whether it answers.
    pub up: Known<bool>,
    /// Whether the will is somebody's at run time, against the config: it survives reloads then.
    pub overridden: bool,
    /// A weight set at run time, which survives reloads.
    pub weight: Option<u16>,
    /// Its calls are awaited: it is drained.
    pub drain: Option<Awaited>,
    /// It has left the config: its calls are awaited, then it goes.
    pub leaving: Option<Awaited>,
    /// It has asked to get nothing new for a while (Retry-After).
    pub held: bool,
    /// What its probes have found.
    pub probed: Probed,
    /// `None`: it is not watched, or not yet.
    health: Option<Health>,
    /// It is not in the config: somebody added it at run time.
    pub added: bool,
    /// It came while the balancer ran: it starts slowly.
    joined: bool,
    /// The part of its weight that counts now: less than [`FULL_SHARE`] during slow start.
    share: u16,
}

/// Since when, and how long, the end of a backend's calls is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Since when.
    pub since: SystemTime,
    /// When it is awaited no longer; `None`: for ever.
    pub until: Option<SystemTime>,
    /// Who wanted it so.
    pub who: Who,
}

impl Member {
    fn new(pool: &str, spec: BackendSpec, now: SystemTime) -> Self {
        let known = |reason: &str| (reason.to_owned(), now, Who::Config);
        let (reason, since, who) = known("configured");
        let admin = Known { value: Admin::from(spec.state), reason, since, who };
        let (reason, since, who) = known("not probed yet");
        let up = Known { value: true, reason, since, who };
        let mut member = Self {
            spec,
            pool: pool.to_owned(),
            admin,
            up,
            overridden: false,
            weight: None,
            drain: None,
            leaving: None,
            held: false,
            probed: Probed::default(),
            health: None,
            added: false,
            joined: false,
            share: FULL_SHARE,
        };
        member.await_calls(now, None);
        member
    }

    /// A drained backend's calls are awaited, any other's are not.
    fn await_calls(&mut self, now: SystemTime, within: Option<Duration>) {
        let drained = self.admin.value == Admin::Drain;
        let until = within.map(|within| now + within);
        let who = self.admin.who;
        self.drain = drained.then_some(Awaited { since: now, until, who });
    }

    /// What the workers see of it: during a panic as if it were up, and its weight `scale` times.
    fn effective(&self, panic: bool, scale: u16) -> BackendSpec {
        let state = match (self.admin.value, self.up.value || panic) {
            (Admin::Maint, _) | (_, false) => State::Down,
            (Admin::Drain, true) => State::Drained,
            (Admin::Ready, true) if self.leaving.is_some() => State::Drained,
            (Admin::Ready, true) if self.held && !panic => State::Drained,
            (Admin::Ready, true) => State::Ready,
        };
        let (weight, up_since_ms) = (self.scaled_weight(scale), self.up_since_ms());
        BackendSpec { state, weight, up_since_ms, ..self.spec.clone() }
    }
}

/// A change of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// Which backend; `*` for a whole pool.
    pub backend: String,
    /// The pool that it is in; nothing for a name that DNS is asked for.
    pub pool: String,
    /// What it is now: "drain", "up", "weight 3", "panic".
    pub what: String,
    /// Why.
    pub reason: String,
    /// By whom.
    pub who: Who,
}

/// A name that no backend has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBackend(pub String);

impl fmt::Display for UnknownBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no backend is named {:?}; the names are those of the config", self.0)
    }
}

/// All backends at run time.
#[derive(Clone, Debug)]
pub struct Fleet {
    members: Vec<Member>,
    events: VecDeque<Event>,
    /// Events ever, those that are no more kept too.
    noted: u64,
    /// In the order of the config.
    pools: Vec<PoolState>,
    /// Those of the config that somebody removed at run time.
    removed: Vec<Removed>,
}

impl Fleet {
    /// As the config has them; health is not watched until [`Fleet::watch`].
    pub fn new(specs: Vec<PoolSpec>, now: SystemTime) -> Self {
        let mut fleet = Self {
            members: Vec::new(),
            events: VecDeque::new(),
            noted: 0,
            pools: Vec::new(),
            removed: Vec::new(),
        };
        for PoolSpec { name, health, backends } in specs {
            fleet.members.extend(backends.into_iter().map(|spec| Member::new(&name, spec, now)));
            fleet.pools.push(PoolState { name, health, panic: false });
        }
        fleet
    }

    /// Every backend, in the order of the config; then those that are leaving.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The last events, the oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }

    /// Every pool, in the order of the config.
    pub fn pools(&self) -> &[PoolState] {
        &self.pools
    }

    /// What the workers are to see of the backends of a pool: those that stay, and those on their way
    /// out. `place` is the pool's in the order of the config.
    pub fn effective(&self, place: usize) -> (Vec<BackendSpec>, Vec<BackendSpec>) {
        let (scale, panic) = (self.scale(place), self.pools[place].panic);
        let members = self.members.iter().filter(|one| self.pool_of(one) == place);
        let (leaving, staying): (Vec<_>, Vec<_>) = members.partition(|one| one.leaving.is_some());
        let seen = |of: Vec<&Member>| of.iter().map(|one| one.effective(panic, scale)).collect();
        (seen(staying), seen(leaving))
    }

    /// What the workers are to see of one.
    pub fn seen_of(&self, member: &Member) -> BackendSpec {
        member.effective(self.pools[self.pool_of(member)].panic, 1)
    }

    /// The place of its pool; who has outlived it is with the first one.
    fn pool_of(&self, member: &Member) -> usize {
        self.pools.iter().position(|pool| pool.name == member.pool).unwrap_or(0)
    }

    /// Sets what the administrator wants. `Ok(false)`: it was so already.
    ///
    /// # Errors
    /// [`UnknownBackend`].
    pub fn set_admin(
        &mut self,
        backend: &str,
        value: Admin,
        reason: &str,
        who: Who,
        now: SystemTime,
    ) -> Result<bool, UnknownBackend> {
        let member = self.member(backend)?;
        if member.admin.value == value {
            return Ok(false);
        }
        let reason = reason.to_owned();
        member.overridden = who != Who::Config && value != Admin::from(member.spec.state);
        member.admin = Known { value, reason: reason.clone(), since: now, who };
        member.await_calls(now, None);
        let pool = member.pool.clone();
        let (backend, what) = (backend.to_owned(), value.to_string());
        self.note(Event { at: now, backend, pool, what, reason, who });
        Ok(true)
    }

    /// How many things are set against the config.
    pub fn drift(&self) -> usize {
        let of = |one: &Member| {
            let is_added = one.added && one.leaving.is_none();
            [one.overridden, one.weight.is_some(), is_added].into_iter().filter(|is| *is).count()
        };
        self.members.iter().map(of).sum::<usize>() + self.removed.len()
    }

    fn member(&mut self, name: &str) -> Result<&mut Member, UnknownBackend> {
        let found = self.members.iter_mut().find(|member| member.spec.name == name);
        found.ok_or_else(|| UnknownBackend(name.to_owned()))
    }

    fn note(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.noted += 1;
    }

    /// Events ever: what to give to [`Fleet::log_since`] after a change.
    pub fn noted(&self) -> u64 {
        self.noted
    }

    /// Logs the events since then. Apart from noting them, for a change may yet be given up.
    pub fn log_since(&self, noted: u64) {
        let new = usize::try_from(self.noted - noted).unwrap_or(usize::MAX);
        for event in self.events.iter().skip(self.events.len().saturating_sub(new)) {
            let Event { backend, pool, what, reason, who, .. } = event;
            match backend.as_str() {
                "*" => tracing::info!("pool {pool:?}: {what} ({reason}, by {who})"),
                _ => tracing::info!("backend {backend:?}: {what} ({reason}, by {who})"),
            }
        }
    }
}

#[cfg(test)]
impl PoolSpec {
    pub(super) fn unwatched(backends: Vec<BackendSpec>) -> Self {
        let health = Arc::new(HealthConfig { enabled: false, ..HealthConfig::default() });
        Self { name: "default".to_owned(), health, backends }
    }
}

#[cfg(test)]
mod tests;
