//! Pools and rules, as the API tells them.

use crate::control::Balancer;
use crate::pool::State;
use serde::Serialize;

/// One of GET `/api/v1/pools`, in the order of the config.
#[derive(Debug, Serialize)]
pub(super) struct PoolAnswer {
    name: String,
    policy: String,
    /// Null: no bound.
    bound: Option<f64>,
    source_header: Option<String>,
    /// Health is ignored, for too little is up.
    panic: bool,
    /// Weight that is wanted ready, and how much of it takes calls.
    weight: u64,
    weight_ready: u64,
    calls: u64,
    /// In the order in which they are asked.
    tiers: Vec<Tier>,
    /// Rules that lead here, by name or number.
    routes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Tier {
    priority: u16,
    backup: bool,
    backends: Vec<String>,
    /// Somebody of it takes calls.
    ready: bool,
}

/// One of GET `/api/v1/routes`, in their order; the last one is what no rule fits.
#[derive(Debug, Serialize)]
pub(super) struct RouteAnswer {
    /// From 1; null for what no rule fits.
    number: Option<usize>,
    name: Option<String>,
    pool: String,
    words: String,
}

pub(super) fn pools(balancer: &Balancer) -> Vec<PoolAnswer> {
    let live = balancer.live();
    let fleet = &live.fleet;
    let answer = |(place, config): (usize, &crate::config::PoolConfig)| {
        let (staying, leaving) = fleet.effective(place);
        let all = || fleet.members().iter().filter(|one| one.pool == config.name);
        let wanted = all()
            .filter(|one| one.leaving.is_none() && one.admin.value == crate::control::Admin::Ready);
        let ready = wanted.clone().filter(|one| fleet.seen_of(one).state == State::Ready);
        let weight = |member: &crate::control::fleet::Member| u64::from(member.full_weight());
        let mut tiers: Vec<Tier> = Vec::new();
        let mut sorted = staying.clone();
        sorted.sort_by_key(|one| one.intake.tier());
        for one in sorted {
            let (priority, backup) = (one.intake.priority, one.intake.backup);
            if tiers.last().is_none_or(|tier| (tier.priority, tier.backup) != (priority, backup)) {
                tiers.push(Tier { priority, backup, backends: Vec::new(), ready: false });
            }
            if let Some(tier) = tiers.last_mut() {
                tier.ready |= one.state == State::Ready && one.weight > 0;
                tier.backends.push(one.name);
            }
        }
        let here = staying.iter().chain(&leaving);
        let routes = live.config.routes.iter().enumerate();
        PoolAnswer {
            name: config.name.clone(),
            policy: config.policy_in_words(),
            bound: config.bound_percent.map(|percent| f64::from(percent) / 100.0),
            source_header: config.source_header.clone(),
            panic: fleet.pools()[place].panic,
            weight: wanted.map(weight).sum(),
            weight_ready: ready.map(weight).sum(),
            calls: here
                .map(|one| balancer.calls_on(crate::pool::BackendId::of_name(&one.name)))
                .sum(),
            tiers,
            routes: routes
                .filter(|(_, route)| route.pool == config.name)
                .map(|(place, route)| route.title(place + 1))
                .collect(),
        }
    };
    live.config.pools.iter().enumerate().map(answer).collect()
}

pub(super) fn routes(balancer: &Balancer) -> Vec<RouteAnswer> {
    let live = balancer.live();
    let rules = live.config.routes.iter().enumerate().map(|(place, route)| RouteAnswer {
        number: Some(place + 1),
        name: route.name.clone(),
        pool: route.pool.clone(),
        words: route.words(),
    });
    let otherwise = RouteAnswer {
        number: None,
        name: None,
        pool: live.config.pools[0].name.clone(),
        words: live.config.otherwise(),
    };
    rules.chain([otherwise]).collect()
}
