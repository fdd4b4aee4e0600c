//! What a worker is started with and what a reload gives it: settings from the config, and the keys.

use super::Failure;
use super::listeners::Followed;
use crate::config::Config;
use crate::io::os;
use crate::proxy::{FailoverSettings, Key, Keys, LocalSocket, Settings, Side, SinceStart};
use std::sync::Arc;
use std::time::Duration;

/// At the start, one for each worker; they differ in their sides.
pub(super) fn at_start(
    config: &Config,
    keys: &Keys,
    sockets: &[LocalSocket],
    sides: Vec<Vec<Side>>,
) -> Vec<Arc<Settings>> {
    let workers = sides.len();
    let of_worker = |sides| Arc::new(settings(config, workers, keys, sockets, sides));
    sides.into_iter().map(of_worker).collect()
}

/// After a reload. What a table has as its size is the same in `config`: it waits for a restart.
pub(super) fn reloaded(
    old: &[Arc<Settings>],
    config: &Config,
    followed: &Followed,
) -> Vec<Arc<Settings>> {
    let of_worker = |before: &Arc<Settings>| {
        let (keys, sides) = (keys_after(&before.keys, config), followed.sides(&before.sides));
        let new = Settings {
            since_start: followed.since_start.clone(),
            aliases: before.aliases.clone(),
            draining: before.draining,
            ..settings(config, old.len(), &keys, &followed.sockets, sides)
        };
        debug_assert_eq!(new.pins_max, before.pins_max);
        Arc::new(new)
    };
    old.iter().map(of_worker).collect()
}

fn settings(
    config: &Config,
    workers: usize,
    keys: &Keys,
    sockets: &[LocalSocket],
    sides: Vec<Side>,
) -> Settings {
    let limits = &config.limits;
    Settings {
        keys: keys.clone(),
        sockets: sockets.to_vec(),
        sides,
        since_start: SinceStart::default(),
        aliases: Vec::new(),
        pins_max: limits.pins / workers,
        transactions_max: (limits.transactions / workers).max(1),
        draining: false,
        failover: FailoverSettings {
            tries: limits.failover_tries,
            silence_ms: limits.failover_after_s * 1000,
            kept_max: (limits.failover_kept / workers).max(1),
        },
        work: config.work,
        record_route: config.record_route,
        path: config.path,
        max_message: limits.max_message,
        dialog_idle_s: limits.dialog_idle_s,
        registration_idle_s: limits.registration_idle_s,
    }
}

/// How long the workers may keep messages waiting for more to come.
pub(super) fn latency_budget(config: &Config) -> Duration {
    Duration::from_micros(config.limits.latency_budget_us.into())
}

/// Why the latency budget has no effect, if that is so: the kernel says `can`.
pub(super) fn budget_warning(
    config: &Config,
    can: impl FnOnce() -> Result<(), String>,
) -> Option<String> {
    let us = config.limits.latency_budget_us;
    let why = (us > 0).then(can)?.err()?;
    Some(format!("[limits] latency_budget_us = {us} has no effect: {why}"))
}

/// The keys of the config, or a random one.
///
/// # Errors
/// When the kernel has no random bytes.
pub(super) fn keys(config: &Config) -> Result<Keys, Failure> {
    let previous = config.cluster.previous;
    if let Some(current) = config.cluster.current {
        return Ok(Keys { current, previous });
    }
    tracing::warn!(
        "no token key in [cluster], so a random one is used: after a restart, and on other nodes, \
         dialogs of this run are routed by hash instead of by token"
    );
    let bytes = os::random_bytes().map_err(|error| {
        Failure::unavailable(format!("no random token key: {error}; set a key in [cluster]"))
    })?;
    let number = previous.map_or(0, |previous| (previous.number + 1) % 4);
    Ok(Keys { current: Key { number, bytes }, previous })
}

/// Without a key in the config the one in use stays: another would cut off every dialog.
fn keys_after(old: &Keys, config: &Config) -> Keys {
    match config.cluster.current {
        Some(current) => Keys { current, previous: config.cluster.previous },
        None => old.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::balancer::tests::loopback;
    use super::*;

    #[test]
    fn a_budget_without_the_kernel_for_it_is_warned_of() {
        let too_old = || Err("Linux 6.12 or newer is needed, this is 6.6".to_owned());
        let mut config = loopback();
        assert_eq!(budget_warning(&config, || unreachable!("nobody wants to know")), None);
        config.limits.latency_budget_us = 200;
        assert_eq!(budget_warning(&config, || Ok(())), None);
        let warning = budget_warning(&config, too_old).unwrap();
        assert!(warning.starts_with("[limits] latency_budget_us = 200 has no effect: Linux 6.12"));
        assert_eq!(latency_budget(&config), Duration::from_micros(200));
    }

    #[test]
    fn a_configured_key_is_used_and_a_missing_one_is_random() {
        let mut config = loopback();
        let (one, two) = (keys(&config).unwrap().current, keys(&config).unwrap().current);
        assert_ne!(one.bytes, two.bytes);
        let key = Key { number: 2, bytes: [7; 16] };
        config.cluster.previous = Some(one);
        assert_eq!((one.number, keys(&config).unwrap().current.number), (0, 1));
        config.cluster.current = Some(key);
        let keys = keys(&config).unwrap();
        assert_eq!((keys.current, keys.previous), (key, Some(one)));
        config.cluster.current = None;
        assert_eq!(keys_after(&keys, &config).current, key, "it stays until a restart");
    }
}
