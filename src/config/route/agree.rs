//! What rules, pools and listeners say of each other.

use super::{RawRoute, RouteConfig};
use crate::config::PoolConfig;
use crate::config::file::RawListener;
use crate::config::report::{Problem, Report, nearest, quoted};
use crate::pool::{Domain, HeaderRule};
use ipnet::IpNet;

/// Checks the rules against the pools and listeners, and against each other.
pub(in crate::config) fn agree(
    raw: Vec<RawRoute>,
    pools: &[PoolConfig],
    listeners: &[RawListener],
    report: &mut Report,
) -> Vec<RouteConfig> {
    let mut routes: Vec<RouteConfig> = Vec::with_capacity(raw.len());
    for route in &raw {
        pool_is_there(route, pools, report);
        listeners_are_there(route, listeners, report);
    }
    names_differ(&raw, report);
    for (place, route) in raw.iter().enumerate() {
        let this = config(route);
        if let Some(earlier) = routes.iter().position(|earlier| takes_all(earlier, &this)) {
            let title = format!("{} never matches", this.title(place + 1));
            report.add(
                Problem::warning(title)
                    .at(route.place, "what it wants")
                    .at(raw[earlier].place, "this rule takes all of that before")
                    .help("the first rule that matches wins: put the narrower one first"),
            );
        }
        routes.push(this);
    }
    routes
}

fn config(raw: &RawRoute) -> RouteConfig {
    RouteConfig {
        name: raw.name.as_ref().map(|at| at.value.clone()),
        pool: raw.pool.value.clone(),
        methods: raw.methods.clone(),
        uri_domains: raw.uri_domains.clone(),
        uri_users: raw.uri_users.clone(),
        from_domains: raw.from_domains.clone(),
        to_domains: raw.to_domains.clone(),
        sources: raw.sources.clone(),
        listeners: raw.listeners.iter().map(|at| at.value).collect(),
        headers: raw.headers.clone(),
    }
}

fn pool_is_there(route: &RawRoute, pools: &[PoolConfig], report: &mut Report) {
    let name = &route.pool.value;
    if pools.iter().any(|pool| pool.name == *name) {
        return;
    }
    let known: Vec<_> = pools.iter().map(|pool| pool.name.as_str()).collect();
    let mut problem = Problem::error(format!("there is no pool {}", quoted(name)))
        .at(route.pool.place, "no [[pool]] has this name");
    if let Some(near) = nearest(name, known.iter().copied()) {
        problem = problem.help(format!("did you mean \"{near}\"?"));
    }
    report.add(problem.help(format!("pools here: {}", known.join(", "))));
}

fn listeners_are_there(route: &RawRoute, listeners: &[RawListener], report: &mut Report) {
    for wanted in &route.listeners {
        if listeners.iter().any(|listener| listener.bind.value == wanted.value) {
            continue;
        }
        let text = format!("udp:{}", wanted.value);
        let known: Vec<_> =
            listeners.iter().map(|listener| format!("udp:{}", listener.bind.value)).collect();
        let mut problem = Problem::error(format!("there is no listener {}", quoted(&text)))
            .at(wanted.place, "no [[listener]] has this bind");
        if let Some(near) = nearest(&text, known.iter().map(String::as_str)) {
            problem = problem.help(format!("did you mean \"{near}\"?"));
        }
        report.add(problem.help(format!("listeners here: {}", known.join(", "))));
    }
}

fn names_differ(raw: &[RawRoute], report: &mut Report) {
    for (place, route) in raw.iter().enumerate() {
        let Some(name) = &route.name else { continue };
        let same = |other: &&RawRoute| other.name.as_ref().is_some_and(|n| n.value == name.value);
        if let Some(earlier) = raw[..place].iter().find(same).and_then(|one| one.name.as_ref()) {
            report.add(
                Problem::error(format!("two rules have the name `{}`", name.value))
                    .at(name.place, "again here")
                    .at(earlier.place, "the first one"),
            );
        }
    }
}

/// Whether every request that `later` fits is one that `earlier` fits too.
fn takes_all(earlier: &RouteConfig, later: &RouteConfig) -> bool {
    holds(&earlier.methods, &later.methods, |one, other| one == other)
        && holds(&earlier.uri_domains, &later.uri_domains, domain_holds)
        && holds(&earlier.uri_users, &later.uri_users, |one, other| other.starts_with(one.as_str()))
        && holds(&earlier.from_domains, &later.from_domains, domain_holds)
        && holds(&earlier.to_domains, &later.to_domains, domain_holds)
        && holds(&earlier.sources, &later.sources, |one: &IpNet, other| one.contains(other))
        && holds(&earlier.listeners, &later.listeners, |one, other| one == other)
        && earlier
            .headers
            .iter()
            .all(|wanted| later.headers.iter().any(|other| header_holds(wanted, other)))
}

/// Whether one of these fits wherever one of those does.
fn holds<T>(these: &[T], those: &[T], one_holds: impl Fn(&T, &T) -> bool) -> bool {
    these.is_empty()
        || (!those.is_empty()
            && those.iter().all(|that| these.iter().any(|this| one_holds(this, that))))
}

fn domain_holds(one: &Domain, other: &Domain) -> bool {
    match (one, other) {
        (Domain::Below(_), Domain::Exactly(name)) => one.matches(name.as_bytes()),
        (Domain::Below(name), Domain::Below(below)) => {
            name == below || one.matches(below.as_bytes())
        }
        _ => one == other,
    }
}

fn header_holds(wanted: &HeaderRule, other: &HeaderRule) -> bool {
    let same_value = wanted.value.is_none() || wanted.value == other.value;
    wanted.name.eq_ignore_ascii_case(&other.name) && same_value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(change: impl FnOnce(&mut RouteConfig)) -> RouteConfig {
        let mut route = RouteConfig::default();
        change(&mut route);
        route
    }

    fn domains(list: &[&str]) -> Vec<Domain> {
        let domain = |text: &&str| match text.strip_prefix("*.") {
            Some(name) => Domain::Below(name.into()),
            None => Domain::Exactly((*text).into()),
        };
        list.iter().map(domain).collect()
    }

    #[test]
    fn a_rule_without_conditions_takes_all_and_is_not_taken() {
        let (all, some) = (route(|_| {}), route(|it| it.methods = vec!["INVITE".into()]));
        assert!(takes_all(&all, &some) && takes_all(&all, &all));
        assert!(!takes_all(&some, &all));
    }

    #[test]
    fn a_wider_condition_takes_what_a_narrower_one_wants() {
        let uri = |list: &[&str]| route(|it| it.uri_domains = domains(list));
        assert!(takes_all(&uri(&["*.a.com", "b.com"]), &uri(&["x.a.com", "b.com", "*.y.a.com"])));
        assert!(!takes_all(&uri(&["*.a.com"]), &uri(&["a.com"])), "not below itself");
        assert!(!takes_all(&uri(&["a.com"]), &uri(&["*.a.com"])));
        let user = |text: &str| route(|it| it.uri_users = vec![text.into()]);
        assert!(takes_all(&user("+4"), &user("+49")) && !takes_all(&user("+49"), &user("+4")));
        let source = |text: &str| route(|it| it.sources = vec![text.parse().unwrap()]);
        assert!(takes_all(&source("10.0.0.0/8"), &source("10.1.0.0/16")));
        assert!(!takes_all(&source("10.1.0.0/16"), &source("10.0.0.0/8")));
        let header = |name: &str, value: Option<&str>| {
            let value = value.map(Into::into);
            route(|it| it.headers = vec![HeaderRule { name: name.into(), value }])
        };
        assert!(takes_all(&header("X-A", None), &header("x-a", Some("1"))));
        assert!(!takes_all(&header("X-A", Some("1")), &header("X-A", None)));
        assert!(!takes_all(&header("X-A", None), &route(|_| {})));
    }

    #[test]
    fn one_condition_that_does_not_hold_is_enough() {
        let both = |method: &str, user: &str| {
            route(|it| {
                it.methods = vec![method.into()];
                it.uri_users = vec![user.into()];
            })
        };
        assert!(takes_all(&both("INVITE", "+"), &both("INVITE", "+49")));
        assert!(!takes_all(&both("INVITE", "+"), &both("REGISTER", "+49")));
    }
}
