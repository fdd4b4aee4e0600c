//! What changes of records leave alone, without DNS: a look-up is told as it would have ended.

use super::super::super::balancer::tests::loopback;
use super::super::super::fleet::{UnknownBackend, Who};
use super::super::walk::Target;
use super::*;
use crate::config::NamedBackends;
use crate::pool::Pool;

/// A balancer with b0 (127.0.0.1:9), b1 (127.0.0.2:9) and a name that leads nowhere yet.
fn balancer() -> (Balancer, Host) {
    let mut config = loopback();
    let host = Host { name: "sip.test".to_owned(), port: Some(9), transport: None };
    let mut like = config.pools[0].backends[0].clone();
    (like.name, like.weight) = (host.name.clone(), 1);
    config.pools[0].names.push(NamedBackends { host: host.clone(), like });
    // Nobody answers there, and that is known at once.
    config.dns.servers.push("127.0.0.1:9".parse().expect("an address"));
    config.dns.timeout_ms = 50;
    (Balancer::start(config).expect("it starts"), host)
}

fn leads_to(balancer: &Balancer, host: &Host, addresses: &[&str]) {
    let target = |text: &&str| {
        let address = text.parse().expect("an address");
        Target { address, priority: 0, weight: None }
    };
    let targets: Vec<_> = addresses.iter().map(target).collect();
    let settled = Settled { changed: true, news: false };
    balancer.resolved(Name::with(host.clone(), &targets), settled);
}

fn names(balancer: &Balancer) -> Vec<String> {
    let of = |pool: &Pool| pool.backends().iter().map(|one| one.spec.name.clone()).collect();
    of(&balancer.pool())
}

#[test]
fn who_was_added_or_removed_at_run_time_stays_so_when_records_change() {
    let (balancer, host) = balancer();
    let like = balancer.live().config.pools[0].backends[0].clone();
    let added = BackendConfig {
        name: "added".to_owned(),
        address: "127.0.0.3:9".parse().expect("an address"),
        ..like
    };
    balancer.add("default", added).expect("it is reached");
    let remove = |name: &str| {
        let (hour, who) = (Duration::from_secs(3600), Who::Operator);
        balancer.change(|fleet, now| {
            let removed: Result<bool, UnknownBackend> = fleet.remove(name, hour, who, now);
            removed
        })
    };
    remove("b1").expect("it is known");
    leads_to(&balancer, &host, &["127.0.0.4:9", "127.0.0.5:9"]);
    let (one, other) = ("sip.test/127.0.0.4:9", "sip.test/127.0.0.5:9");
    assert_eq!(names(&balancer), ["b0", one, other, "added", "b1"], "b1 is leaving");
    assert!(balancer.with_fleet(|fleet| fleet.removed().iter().any(|it| it.spec.name == "b1")));
    remove(one).expect("a record can be removed too");
    leads_to(&balancer, &host, &["127.0.0.4:9", "127.0.0.6:9"]);
    let leaving = balancer.with_fleet(|fleet| {
        let leaving = fleet.members().iter().filter(|member| member.leaving.is_some());
        leaving.map(|member| member.spec.name.clone()).collect::<Vec<_>>()
    });
    assert_eq!(leaving.len(), 3, "b1, {one} and {other}: {leaving:?}");
    assert!(!leaving.contains(&"added".to_owned()) && leaving.contains(&one.to_owned()));
    balancer.stop();
}

#[test]
fn a_record_with_the_address_of_another_backend_is_left_out_until_that_is_gone() {
    let (balancer, host) = balancer();
    leads_to(&balancer, &host, &["127.0.0.1:9", "127.0.0.4:9"]);
    assert_eq!(names(&balancer), ["b0", "b1", "sip.test/127.0.0.4:9"]);
    let left_out =
        || balancer.with_fleet(|fleet| fleet.events().filter(|one| one.what == "left out").count());
    assert_eq!(left_out(), 1);
    leads_to(&balancer, &host, &["127.0.0.1:9"]);
    assert_eq!(left_out(), 1, "it is no news");
    let own = balancer.listeners()[0].to_string();
    leads_to(&balancer, &host, &[&own]);
    assert_eq!(left_out(), 2, "the balancer itself");
    balancer.stop();
}

#[test]
fn a_name_that_the_config_has_lost_changes_nothing() {
    let (balancer, _) = balancer();
    let gone = Host { name: "gone.test".to_owned(), port: Some(9), transport: None };
    let before = balancer.pool();
    leads_to(&balancer, &gone, &["127.0.0.4:9"]);
    assert!(std::sync::Arc::ptr_eq(&before, &balancer.pool()));
    balancer.stop();
}
