//! A running balancer: workers, pool and metrics, without signals or admin server.
//!
//! The control thread holds one; tests and the demo hold theirs in their own process.

use super::fleet::{Admin, Fleet, NotAdded, PoolSpec, Who};
use super::kernel_drops::KernelDrops;
use super::listeners::Leaving;
use super::message_log::MessageLog;
use super::network::ask_network;
use super::plan::{self, Network, Outline};
use super::resolve::{self, Names};
use super::{Failure, log, ports, prober, worker_settings};
use crate::config::{BackendConfig, Config, Listener, PoolConfig};
use crate::io::{diagnose, os};
use crate::metrics::{Cell, Cells, Lookups, Metrics, Probes, Reloads, Roster, SocketDrops, Source};
use crate::pool::{BackendId, BackendSpec, Load, Policy, Pool, PoolError};
use crate::proxy::{Role, Settings};
use crate::worker::{Answer, Plan, Workers};
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// A running balancer.
#[derive(Debug)]
pub struct Balancer {
    /// `None` once they have ended.
    workers: Mutex<Option<Workers>>,
    roster: Arc<ArcSwap<Roster>>,
    /// Rosters of before: [`Balancer::look`] frees those that no worker has any more.
    retired: Mutex<Vec<Arc<Roster>>>,
    /// Whoever changes it publishes what follows from it before letting go.
    pub(super) live: Mutex<Live>,
    pub(super) reloads: Arc<Reloads>,
    cells: Vec<Arc<Cells>>,
    probes: Arc<Probes>,
    kernel_drops: Mutex<KernelDrops>,
    socket_drops: Arc<SocketDrops>,
    steering: Arc<Cell>,
    pub(super) message_log: Mutex<MessageLog>,
    pub(super) lookups: Arc<Lookups>,
    metrics: Arc<Metrics>,
    started: SystemTime,
}

/// What changes while it runs.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// As it was loaded, but for what waits for a restart.
    pub(super) config: Config,
    /// The listeners of `config`, each with a port.
    pub(super) bound: Vec<Listener>,
    /// Every `bind` that the config ever had: its place is the listener's number in sockets and rules,
    /// so that workers with the one of now and the other of before still mean the same.
    pub(super) binds: Vec<SocketAddr>,
    /// Listeners that have left the config and are still open.
    pub(super) leaving: Vec<Leaving>,
    pub(super) fleet: Fleet,
    /// The backends that DNS leads to.
    pub(super) names: Names,
    /// One for each worker; sockets and what is not of a side are the same in all.
    pub(super) settings: Vec<Arc<Settings>>,
    /// Why the last reload was refused, if it was.
    pub(super) refused: Option<String>,
}

impl Balancer {
    /// Plans the addresses, opens every socket and starts the workers. A listener with port 0 gets a
    /// free port; [`Balancer::listeners`] says which.
    ///
    /// # Errors
    /// When io_uring, a port or a way to a backend is missing, or the config contradicts the machine;
    /// nothing is left running then.
    pub fn start(config: Config) -> Result<Self, Failure> {
        let cores = os::allowed_cores().map_or(1, |cores| cores.len());
        let workers = plan::worker_count(&config, cores)?;
        if config.workers.is_none() && workers < cores {
            tracing::warn!(
                "{workers} workers on {cores} cores: backend_ports has no more ports; widen it to use \
                 every core"
            );
        }
        let mut bound = config.clone();
        ports::choose(&mut bound.listeners)?;
        let lookups = Arc::new(Lookups::default());
        let names = resolve::at_start(&bound, &lookups)?;
        let towards_names = names.local_addresses(&bound);
        let network = Network { towards_names, ..ask_network(&bound)? };
        let outline = plan::outline(&bound, workers, &network)?;
        Self::assemble((config, bound.listeners), outline, (names, lookups), workers <= cores)
    }

    fn assemble(
        (config, bound): (Config, Vec<Listener>),
        outline: Outline,
        (mut names, lookups): (Names, Arc<Lookups>),
        pin_to_cores: bool,
    ) -> Result<Self, Failure> {
        let Outline { sockets, sides, backends } = outline;
        let workers = sides.len();
        let started = SystemTime::now();
        let mut fleet = Fleet::new(pools(&config, backends.clone()), started);
        let locals: Vec<_> = sides[0].iter().map(|side| side.local).collect();
        resolve::first(&config, &mut names, backends, &mut fleet, (&locals, &sockets), started);
        fleet.log_since(0);
        fleet.watch(prober::moment(), &mut prober::random);
        let pool = build(&fleet, &config, &config.binds())?;
        let roster = Arc::new(ArcSwap::from_pointee(Roster::new(pool, workers)));
        let settings =
            worker_settings::at_start(&config, &worker_settings::keys(&config)?, &sockets, sides);
        let cells: Vec<_> = (0..workers).map(|_| Arc::default()).collect();
        let reloads = Arc::new(Reloads::new(started));
        reloads.hash.set(config.agreement());
        let probes = Arc::new(Probes::default());
        let kernel_drops = Mutex::new(KernelDrops::default());
        let socket_drops = Arc::new(SocketDrops::default());
        let steering = Arc::new(Cell::default());
        let metrics = Metrics::new(Source {
            cells: cells.clone(),
            roster: roster.clone(),
            reloads: reloads.clone(),
            probes: probes.clone(),
            socket_drops: socket_drops.clone(),
            lookups: lookups.clone(),
            steering: steering.clone(),
            pins_max: settings.iter().map(|settings| settings.pins_max).sum(),
            started,
        });
        if let Some(warning) = worker_settings::budget_warning(&config, diagnose::try_gathering) {
            tracing::warn!("{warning}");
        }
        let workers = Workers::start(Plan {
            settings: settings.clone(),
            roster: roster.clone(),
            cells: cells.clone(),
            receive_buffer: config.limits.receive_buffer,
            latency_budget: worker_settings::latency_budget(&config),
            pin_to_cores,
            steering: config.steering,
        })?;
        let (binds, leaving) = (config.binds(), Vec::new());
        let live = Live { config, bound, binds, leaving, fleet, names, settings, refused: None };
        resolve::show(&live.names, &lookups);
        let live = Mutex::new(live);
        let (workers, metrics) = (Mutex::new(Some(workers)), Arc::new(metrics));
        let balancer = Self {
            workers,
            roster,
            retired: Mutex::default(),
            live,
            reloads,
            cells,
            probes,
            kernel_drops,
            socket_drops,
            steering,
            message_log: Mutex::default(),
            lookups,
            metrics,
            started,
        };
        let config = balancer.live().config.clone();
        balancer.begin_message_log(&config)?;
        balancer.look(); // so that every series is there from the start
        Ok(balancer)
    }

    /// Sets what the administrator wants of a backend and publishes the pool that follows from it,
    /// which each worker takes up with its next turn.
    ///
    /// # Errors
    /// When no backend has this name; the pool stays as it is.
    pub fn set_admin(&self, backend: &str, admin: Admin, reason: &str) -> Result<(), Failure> {
        self.change(|fleet, now| fleet.set_admin(backend, admin, reason, Who::Operator, now))
    }

    /// Looks at the backends as they are at run time.
    pub fn with_fleet<T>(&self, look: impl FnOnce(&Fleet) -> T) -> T {
        look(&self.live().fleet)
    }

    /// Looks whose calls have ended (removed backends go then) or whose time to leave is over (removed
    /// listeners), what the kernel has dropped, and what differs from the configuration. To be called
    /// about once a second.
    pub fn look(&self) {
        self.close_left(SystemTime::now());
        self.retired().retain(|roster| Arc::strong_count(roster) > 1);
        self.observe(|fleet, now| fleet.look(&|id| self.calls_on(id), now));
        self.reloads.drift.set(self.with_fleet(|fleet| fleet.drift()) as u64);
        let mut drops = self.kernel_drops.lock().unwrap_or_else(PoisonError::into_inner);
        drops.look(&self.live().settings[0].sockets, &self.socket_drops);
        self.steering.set(u64::from(self.steering_off().is_none()));
    }

    /// Why the kernel does not steer; `None`: it does.
    pub fn steering_off(&self) -> Option<String> {
        let workers = self.workers();
        workers.as_ref().map_or(Some("no worker runs".to_owned()), Workers::steering_off)
    }

    /// Tells the fleet what was found out, and publishes the pool that follows from it, if anything
    /// has changed.
    pub(super) fn observe(&self, tell: impl FnOnce(&mut Fleet, SystemTime) -> bool) {
        let mut live = self.live();
        let (noted, now) = (live.fleet.noted(), SystemTime::now());
        let changed = tell(&mut live.fleet, now);
        if live.fleet.settle(now) || changed {
            match build(&live.fleet, &live.config, &live.binds) {
                Ok(pool) => self.publish(pool),
                Err(error) => tracing::error!("the pool stays as it is: {error}"),
            }
        }
        live.fleet.log_since(noted);
    }

    /// How long calls get to end after TERM.
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_secs(self.live().config.limits.drain_timeout_s.into())
    }

    /// How long calls of a removed backend get to end.
    pub(super) fn remove_timeout(&self) -> Duration {
        Duration::from_secs(self.live().config.limits.remove_timeout_s.into())
    }

    /// Calls on a backend, confirmed or still being set up, as the workers said last.
    pub fn calls_on(&self, id: BackendId) -> u64 {
        self.roster().of(id).map(|cells| cells.calls.value()).sum()
    }

    /// What a backend has to do, as the workers said last.
    pub(super) fn load_of(&self, id: BackendId) -> Load {
        let now_s = (os::now_ms() / 1000) as u32; // the second that the workers name
        self.roster().of(id).map(|cells| cells.load(now_s)).fold(Load::default(), Load::and)
    }

    /// Calls in all, confirmed or still being set up, as the workers said last.
    pub fn calls(&self) -> u64 {
        self.cells.iter().map(|cells| cells.calls.value()).sum()
    }

    /// Changes the fleet and publishes the pool that follows from it, if anything has changed.
    pub(super) fn change<E: Into<Failure>>(
        &self,
        change: impl FnOnce(&mut Fleet, SystemTime) -> Result<bool, E>,
    ) -> Result<(), Failure> {
        let mut live = self.live();
        let mut fleet = live.fleet.clone();
        let now = SystemTime::now();
        let changed = change(&mut fleet, now).map_err(Into::into)?;
        if fleet.settle(now) || changed {
            self.publish(build(&fleet, &live.config, &live.binds)?);
        }
        fleet.log_since(live.fleet.noted());
        live.fleet = fleet;
        Ok(())
    }

    /// Adds a backend that the config does not have to a pool.
    ///
    /// # Errors
    /// When there is no such pool, there is such a backend, or it cannot be reached from the sockets
    /// that are open.
    pub(super) fn add(&self, pool: &str, backend: BackendConfig) -> Result<(), Failure> {
        let (name, spec) = {
            let live = self.live();
            let alone = vec![PoolConfig::new(pool, Policy::CALL_ID_HASH, vec![backend])];
            let config = Config { pools: alone, ..live.config.clone() };
            let settings = &live.settings[0];
            let locals: Vec<_> = settings.sides.iter().map(|side| side.local).collect();
            let network = ask_network(&config)?;
            let specs = plan::backends_on(&config, &network, &locals, &settings.sockets)?;
            let spec = specs.into_iter().flatten().next();
            (pool, spec.ok_or_else(|| Failure::run_time("the backend is lost"))?)
        };
        self.change(|fleet, now| {
            let added = fleet.add(name, spec, Who::Operator, now)?;
            fleet.watch(prober::moment(), &mut prober::random);
            Ok::<_, NotAdded>(added)
        })
    }

    /// Gives the workers another pool.
    pub(super) fn publish(&self, pool: Pool) {
        let next = Arc::new(self.roster().followed_by(pool));
        self.retired().push(self.roster.swap(next));
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Arc<Roster>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shared_roster(&self) -> &Arc<ArcSwap<Roster>> {
        &self.roster
    }

    /// Gives the workers other settings.
    pub(super) fn configure(&self, settings: &[Arc<Settings>]) {
        if let Some(workers) = &*self.workers() {
            workers.configure(settings);
        }
    }

    /// Asks every worker for the backend of a Call-ID's pin; each answers once it has taken over all
    /// settings and refreshed its gauges.
    pub(super) fn ask(&self, call_id: &[u8], answer: &Answer) {
        if let Some(workers) = &*self.workers() {
            workers.ask(call_id, answer);
        }
    }

    pub(super) fn workers(&self) -> MutexGuard<'_, Option<Workers>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it was started.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Pins that all shards together can hold.
    pub fn pins_max(&self) -> usize {
        self.live().settings.iter().map(|settings| settings.pins_max).sum()
    }

    /// The pool of the moment.
    pub fn pool(&self) -> Arc<Pool> {
        Arc::clone(self.roster().pool())
    }

    /// The same with what each worker counts.
    pub(super) fn roster(&self) -> Arc<Roster> {
        self.roster.load_full()
    }

    /// The counters of each worker.
    pub fn cells(&self) -> &[Arc<Cells>] {
        &self.cells
    }

    /// What the metrics say of health.
    pub(super) fn probes(&self) -> &Probes {
        &self.probes
    }

    /// What became of reloads.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// All metrics, ready to be scraped.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The addresses that clients may send to: concrete, also where the config has a wildcard.
    pub fn listeners(&self) -> Vec<SocketAddr> {
        let live = self.live();
        let sockets = live.settings[0].sockets.iter();
        sockets.filter(|one| one.role == Role::Listener).map(|socket| socket.address).collect()
    }

    /// Where it listens, where it forwards, how many workers, which token key: one line.
    pub fn summary(&self) -> String {
        let steering_off = self.steering_off();
        let live = self.live();
        let sockets = &live.settings[0].sockets;
        log::summary(&live.config, sockets, live.settings.len(), steering_off.as_deref())
    }

    /// True once a worker has ended by itself: the balancer serves only a part of the calls then.
    pub fn failed(&self) -> bool {
        self.workers().as_ref().is_some_and(Workers::failed)
    }

    /// Ends the workers after the turn they are in, and waits for them.
    pub fn stop(&self) {
        let workers = self.workers().take();
        drop(workers); // without the lock: it takes a while
        self.end_message_log();
    }
}

/// The pool that follows from fleet and config; `binds` are [`Live::binds`].
pub(super) fn build(
    fleet: &Fleet,
    config: &Config,
    binds: &[SocketAddr],
) -> Result<Pool, PoolError> {
    let group = |(place, pool): (usize, &PoolConfig)| {
        let (staying, leaving) = fleet.effective(place);
        pool.group(staying, leaving)
    };
    let groups: Vec<_> = config.pools.iter().enumerate().map(group).collect();
    Pool::build_groups(&groups, config.rules(binds), config.cluster.hash_seed)
}

/// What the fleet is told of the config's pools, with their backends as the plan has them.
pub(super) fn pools(config: &Config, backends: Vec<Vec<BackendSpec>>) -> Vec<PoolSpec> {
    let pool = |(pool, backends): (&PoolConfig, Vec<BackendSpec>)| PoolSpec {
        name: pool.name.clone(),
        health: Arc::new(pool.health.clone()),
        backends,
    };
    config.pools.iter().zip(backends).map(pool).collect()
}

#[cfg(test)]
pub(super) mod tests;
