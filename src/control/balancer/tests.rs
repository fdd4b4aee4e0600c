//! Over loopback, with backends that nobody is.

use super::super::plan::tests::config;
use super::*;
use crate::config::BackendPorts;
use crate::pool::State;

/// On loopback, with free ports.
pub(in super::super::super) fn loopback() -> Config {
    let mut config =
        config(&["127.0.0.1:0"], BackendPorts::Listener, &["127.0.0.1:9", "127.0.0.2:9"]);
    config.workers = Some(2);
    config
}

#[test]
fn every_worker_gets_its_share_of_pins_and_the_same_sockets() {
    let mut config = loopback();
    config.limits.pins = 1001;
    let balancer = Balancer::start(config).unwrap();
    assert_eq!(balancer.cells().len(), 2);
    let text = balancer.metrics().text().unwrap();
    assert!(text.contains("\nsipring_pins_max 1000\n"), "{text}");
    assert!(text.contains("\nsipring_workers 2\n"), "{text}");
    assert_eq!(balancer.roster().workers(), 2);
    balancer.stop();
}

#[test]
fn a_listener_with_port_0_gets_a_real_port() {
    let balancer = Balancer::start(loopback()).unwrap();
    let [listener] = balancer.listeners()[..] else { panic!("{:?}", balancer.listeners()) };
    assert_ne!(listener.port(), 0);
    assert!(balancer.summary().contains(&listener.to_string()), "{}", balancer.summary());
    balancer.stop();
}

#[test]
fn a_new_state_is_a_new_pool_with_everything_else_as_before() {
    let balancer = Balancer::start(loopback()).unwrap();
    let before = balancer.pool();
    balancer.set_admin("b1", Admin::Drain, "a test").unwrap();
    let states = |pool: &Pool| pool.backends().iter().map(|b| b.spec.state).collect::<Vec<_>>();
    assert_eq!(states(&before), [State::Ready, State::Ready]);
    assert_eq!(states(&balancer.pool()), [State::Ready, State::Drained]);
    assert_eq!(balancer.pool().backends()[1].id, before.backends()[1].id);
    balancer.set_admin("b1", Admin::Ready, "a test").unwrap();
    assert_eq!(states(&balancer.pool()), [State::Ready, State::Ready]);
    balancer.stop();
}

#[test]
fn a_roster_is_kept_until_no_worker_has_it_and_no_longer() {
    let balancer = Balancer::start(loopback()).unwrap();
    balancer.set_admin("b1", Admin::Drain, "a test").unwrap();
    balancer.set_admin("b1", Admin::Ready, "a test").unwrap();
    let before = Arc::downgrade(&balancer.retired()[0]);
    let held = before.upgrade();
    balancer.look();
    assert!(balancer.retired().iter().any(|one| Arc::ptr_eq(one, held.as_ref().unwrap())));
    drop(held);
    let begin = std::time::Instant::now();
    while before.strong_count() > 0 {
        assert!(begin.elapsed() < Duration::from_secs(20), "the workers have taken over another");
        balancer.look();
        std::thread::sleep(Duration::from_millis(10));
    }
    balancer.stop();
}

#[test]
fn an_unknown_backend_changes_nothing() {
    let balancer = Balancer::start(loopback()).unwrap();
    let before = balancer.pool();
    let failure = balancer.set_admin("b7", Admin::Maint, "a test").unwrap_err();
    assert!(failure.text.contains("b7"), "{failure}");
    assert!(Arc::ptr_eq(&before, &balancer.pool()));
    balancer.stop();
}
