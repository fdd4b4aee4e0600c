//! Another configuration while it runs: validated before it comes here, compared, and published once;
//! or refused, with everything as it was.

use super::balancer::{Balancer, Live, build};
use super::listeners::{self, Followed};
use super::message_log::LogChange;
use super::network::ask_network;
use super::{Failure, log, plan, prober, resolve, worker_settings};
use crate::config::{Config, Diff};
use crate::io::diagnose;
use crate::pool::Pool;
use crate::proxy::Settings;
use crate::worker::Opened;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// What it changed, and what waits for a restart.
    pub diff: Diff,
    /// The number of the configuration from now on.
    pub generation: u64,
    /// What is questionable in it.
    pub warnings: Vec<String>,
}

/// All that a reload is about to make live.
#[derive(Debug)]
struct Next {
    diff: Diff,
    live: Live,
    pool: Pool,
    followed: Followed,
    opened: Opened,
    log: Option<LogChange>,
}

impl Balancer {
    /// Takes over another configuration, but for what needs a restart: that is named in the result.
    /// What is known of a backend stays with its name. One that is not there any more gets no new
    /// calls and goes when those that it has are over.
    ///
    /// # Errors
    /// When a listener or the message log cannot be opened, or a backend cannot be reached, or only
    /// from where no socket is open, or is this balancer; nothing has changed then.
    pub fn reload(&self, config: &Config) -> Result<Reloaded, Failure> {
        let now = SystemTime::now();
        let mut live = self.live();
        let result = self.next(&live, config, now).and_then(|next| {
            let mut warnings = key_warnings(&live, &next.live.config);
            let can_gather = diagnose::try_gathering;
            warnings.extend(worker_settings::budget_warning(&next.live.config, can_gather));
            self.take_over(&mut live, next).map(|diff| (diff, warnings))
        });
        match result {
            Ok((diff, warnings)) => {
                self.reloads.success(!diff.live.is_empty(), now);
                Ok(Reloaded { diff, generation: self.reloads.generation.value(), warnings })
            }
            Err(failure) => {
                self.note_refused(&mut live, &failure.text);
                Err(failure)
            }
        }
    }

    /// A reload that was refused before it came to [`Balancer::reload`].
    pub fn refuse_reload(&self, why: &str) {
        self.note_refused(&mut self.live(), why);
    }

    fn note_refused(&self, live: &mut Live, why: &str) {
        self.reloads.failure();
        live.refused = Some(why.to_owned());
    }

    /// What would be live with this configuration; new sockets are bound, nothing else has changed.
    fn next(&self, live: &Live, config: &Config, now: SystemTime) -> Result<Next, Failure> {
        let mut diff = live.config.diff(config);
        let config = live.config.taking_over(config);
        let network = ask_network(&config)?;
        let bound = listeners::bind(&config.listeners, &live.config.listeners, &live.bound)?;
        let binds = listeners::binds(&live.binds, &config);
        let numbers = listeners::numbers(&binds, &config);
        let followed = listeners::follow(&live.settings[0], (&bound, &numbers), &network.local)?;
        diff.live.extend(followed.of_wildcards(&bound));
        let sides = &live.settings[0].sides; // their addresses are the same in every worker
        let locals: Vec<_> = sides.iter().map(|side| side.local).collect();
        let fixed = plan::backends_on(&config, &network, &locals, &followed.sockets)?;
        let mut fleet = live.fleet.clone();
        let mut names = live.names.following(&config);
        let places = (&locals[..], &followed.sockets[..]);
        let specs = resolve::backends(&config, &mut names, fixed, &mut fleet, places, now);
        let remove_timeout = Duration::from_secs(config.limits.remove_timeout_s.into());
        fleet.reload(specs, remove_timeout, now);
        fleet.watch(prober::moment(), &mut prober::random);
        fleet.settle(now);
        let pool = build(&fleet, &config, &binds)?;
        let settings = worker_settings::reloaded(&live.settings, &config, &followed);
        let leaving = listeners::leaving(&live.leaving, &followed, remove_timeout, now);
        let opened = self.open(&followed, &config)?;
        let before = live.config.message_log.as_ref();
        let log = LogChange::of(before, config.message_log.as_ref())?;
        let live = Live { config, bound, binds, leaving, fleet, names, settings, refused: None };
        Ok(Next { diff, live, pool, followed, opened, log })
    }

    fn take_over(&self, live: &mut Live, next: Next) -> Result<Diff, Failure> {
        let Next { diff, live: next, pool, followed, opened, log: message_log } = next;
        if followed.changes_sockets() {
            self.hand_out(opened, &followed, (live, &next), || self.publish(pool))?;
            let remove_timeout = next.config.limits.remove_timeout_s;
            listeners::log(&followed, Duration::from_secs(remove_timeout.into()));
        } else {
            self.configure(&next.settings);
            self.publish(pool);
        }
        if let Some(workers) = &*self.workers() {
            workers.gather_within(worker_settings::latency_budget(&next.config));
        }
        log::set_level(next.config.log);
        self.change_message_log(message_log);
        resolve::show(&next.names, &self.lookups);
        next.fleet.log_since(live.fleet.noted());
        self.reloads.hash.set(next.config.agreement());
        *live = next;
        Ok(diff)
    }

    /// Takes no new calls from now on, or takes them again; what is there goes on either way.
    pub fn set_draining(&self, draining: bool) {
        let mut live = self.live();
        let with = |old: &Arc<Settings>| Arc::new(Settings { draining, ..Settings::clone(old) });
        live.settings = live.settings.iter().map(with).collect();
        self.configure(&live.settings);
    }
}

/// Changes of the keys by which tokens that are out there could be read no more.
fn key_warnings(live: &Live, config: &Config) -> Vec<String> {
    let in_use = live.settings[0].keys.current;
    match (config.cluster.current, config.cluster.previous) {
        (None, _) if live.config.cluster.current.is_some() => {
            vec!["[cluster] key is gone from the file: the one in use stays until a restart".into()]
        }
        (Some(key), previous) if key != in_use && previous != Some(in_use) => vec![
            "[cluster] key is another one, and the one until now is not previous_key: dialogs and \
             registrations of before cannot be read, and go by pin or hash"
                .into(),
        ],
        _ => Vec::new(),
    }
}
