//! Backends by name, with a name server of our own: records become backends, changes are followed
//! while calls go on, and what DNS said last holds when it fails.

mod server;

use server::{Data, Reply, Server};
use sipring::config::{self, Config, Flags, Text};
use sipring::control::{Balancer, Prober};
use sipring::pool::{BackendSpec, State};
use sipring_loadtest::{Backend, BackendOptions, Caller, CallerOptions, Pace};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A balancer with one name for backends, and its name server.
struct Stage {
    balancer: Arc<Balancer>,
    _watch: Prober,
    dns: Server,
    listener: SocketAddr,
}

impl Stage {
    /// `address` as the config has it.
    fn start(dns: Server, address: &str) -> Self {
        let listener = UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap();
        let balancer = Balancer::start(configuration(&dns, listener, address)).unwrap();
        let balancer = Arc::new(balancer);
        Self { _watch: Prober::start(balancer.clone()).unwrap(), balancer, dns, listener }
    }

    fn configuration(&self, address: &str) -> Config {
        configuration(&self.dns, self.listener, address)
    }

    /// Name, state, weight and priority of each backend.
    fn backends(&self) -> Vec<String> {
        let shown = |spec: &BackendSpec| {
            let leaving = if spec.state == State::Ready { "" } else { " leaving" };
            format!("{} {} {}{leaving}", spec.name, spec.weight, spec.intake.priority)
        };
        self.balancer.pool().backends().iter().map(|backend| shown(&backend.spec)).collect()
    }

    fn wait_for(&self, backends: &[&str]) {
        self.wait_until(|| self.backends() == backends);
    }

    fn wait_until(&self, condition: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            let events: Vec<_> = self.events();
            assert!(Instant::now() < end, "in vain: {:?}\n{}", self.backends(), events.join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn events(&self) -> Vec<String> {
        self.balancer.with_fleet(|fleet| {
            let event = |e: &sipring::control::fleet::Event| {
                format!("{} {} ({}, by {})", e.backend, e.what, e.reason, e.who)
            };
            fleet.events().map(event).collect()
        })
    }

    fn has_event(&self, start: &str) -> bool {
        self.events().iter().any(|event| event.starts_with(start))
    }

    fn metric(&self, series: &str) -> f64 {
        let text = self.balancer.metrics().text().unwrap();
        let found = text.lines().find_map(|line| line.strip_prefix(series));
        found.unwrap_or_else(|| panic!("no {series} in\n{text}")).trim().parse().unwrap()
    }

    fn caller(&self, per_second: f64) -> Caller {
        let options = CallerOptions {
            pace: Pace::Open { from: per_second, to: per_second, ramp: Duration::from_secs(1) },
            hold: (Duration::from_millis(300), Duration::from_secs(3)),
            callee_hangs_up_per_mille: 300,
            ..CallerOptions::to(self.listener)
        };
        Caller::start(options).unwrap()
    }
}

/// Lets the calls end; none may be lost, or astray at a backend that does not have it.
fn finish(caller: &Caller, backends: &[&Backend]) {
    caller.finish();
    assert!(caller.wait(PATIENCE), "calls do not end");
    let report = &caller.report().through;
    assert!(report.started.value() > 10, "{} calls", report.started.value());
    assert_eq!(report.lost(), 0, "{:?}", report.failures().collect::<Vec<_>>());
    assert_eq!(report.completed.value(), report.started.value());
    let astray: u64 = backends.iter().map(|backend| backend.report().strangers.value()).sum();
    assert_eq!(astray, 0, "requests of dialogs that the backend does not have");
}

fn configuration(dns: &Server, listener: SocketAddr, address: &str) -> Config {
    let text = format!(
        "workers = 2\nbackend_ports = \"listener\"\n[admin]\nlisten = \"127.0.0.1:9\"\n\
         [[listener]]\nbind = \"udp:{listener}\"\n[cluster]\nkey = \"{:032x}\"\n\
         [log]\nlevel = \"warn\"\n[limits]\npins = 10000\n\
         [dns]\nservers = [\"{}\"]\ntimeout = \"300ms\"\nttl_min = \"1s\"\n\
         [[pool]]\n[pool.health]\ninterval = \"1s\"\n[[pool.backend]]\naddress = \"{address}\"\n",
        1, dns.address
    );
    let text = Text { name: "test.toml".to_owned(), bytes: text.into_bytes() };
    match config::load(Some(&text), &Flags::default()) {
        Ok(loaded) => loaded.config,
        Err(report) => panic!("{}", report.render(false)),
    }
}

fn backend(name: &str, address: &str) -> Backend {
    Backend::start(BackendOptions::named(name, address.parse().unwrap())).unwrap()
}

/// Backends with one port at different addresses, as records of one name have.
fn backends_on_one_port(ips: &[&str]) -> (Vec<Backend>, u16) {
    loop {
        let first = backend(ips[0], &format!("{}:0", ips[0]));
        let port = first.address().port();
        let start = |ip: &&str| {
            let address = format!("{ip}:{port}").parse().unwrap();
            Backend::start(BackendOptions::named(ip, address)).ok()
        };
        if let Some(others) = ips[1..].iter().map(start).collect::<Option<Vec<_>>>() {
            return ([first].into_iter().chain(others).collect(), port);
        }
    }
}

#[test]
fn with_a_port_each_address_is_a_backend() {
    let dns = Server::start();
    dns.addresses("sip.test", 60, &["127.0.0.3", "127.0.0.2"]);
    let stage = Stage::start(dns, "SIP.test.:5070");
    assert_eq!(stage.backends(), ["sip.test/127.0.0.2:5070 1 0", "sip.test/127.0.0.3:5070 1 0"]);
    assert_eq!((stage.dns.asked("sip.test", "SRV"), stage.dns.asked("sip.test", "NAPTR")), (0, 0));
    assert!(stage.has_event("sip.test/127.0.0.2:5070 added (in DNS, by dns)"));
}

#[test]
fn naptr_and_srv_say_port_priority_and_weight() {
    let dns = Server::start();
    let naptr = |order, service, to| Data::Naptr(order, 0, service, to);
    let offers = vec![
        naptr(10, "SIPS+D2T", "_sips._tcp.sip.test"),
        naptr(30, "SIP+D2U", "_sip._udp.late.test"),
        naptr(20, "SIP+D2U", "_sip._udp.early.test"),
    ];
    dns.set("sip.test", "NAPTR", Reply::Records(60, offers));
    let services = [(10, 60, 5062, "a.test"), (10, 20, 5063, "a.test"), (20, 0, 5064, "b.test")];
    dns.services("_sip._udp.early.test", 60, &services);
    dns.addresses("a.test", 60, &["127.0.0.2"]);
    dns.addresses("b.test", 60, &["127.0.0.3"]);
    dns.set("b.test", "AAAA", Reply::Records(60, vec![Data::Address("::1".parse().unwrap())]));
    let stage = Stage::start(dns, "sip.test");
    let backends = [
        "sip.test/127.0.0.2:5062 60 10",
        "sip.test/127.0.0.2:5063 20 10",
        "sip.test/127.0.0.3:5064 1 20",
    ];
    assert_eq!(stage.backends(), backends);
    assert!(stage.has_event("sip.test/[::1]:5064 left out"), "no listener has IPv6");
    assert_eq!(stage.dns.asked("_sips._tcp.sip.test", "SRV"), 0);
}

#[test]
fn without_records_for_services_the_address_has_port_5060() {
    let dns = Server::start();
    dns.addresses("sip.test", 60, &["127.0.0.9"]);
    let stage = Stage::start(dns, "udp:sip.test");
    assert_eq!(stage.backends(), ["sip.test/127.0.0.9:5060 1 0"]);
    assert_eq!(stage.dns.asked("sip.test", "NAPTR"), 0, "the transport is given");
    assert_eq!(stage.dns.asked("_sip._udp.sip.test", "SRV"), 1);
}

#[test]
fn calls_follow_priority_and_weight() {
    let dns = Server::start();
    let backends = ["a", "b", "c"].map(|name| backend(name, "127.0.0.2:0"));
    let port = |n: usize| backends[n].address().port();
    let services =
        [(1, 30, port(0), "a.test"), (1, 10, port(1), "a.test"), (2, 99, port(2), "a.test")];
    dns.services("_sip._udp.sip.test", 60, &services);
    dns.addresses("a.test", 60, &["127.0.0.2"]);
    let stage = Stage::start(dns, "udp:sip.test");
    let caller = stage.caller(200.0);
    let calls = |n: usize| backends[n].report().new_calls.value();
    stage.wait_until(|| calls(0) + calls(1) >= 400);
    finish(&caller, &[&backends[0], &backends[1], &backends[2]]);
    let (a, b, c) = (calls(0), calls(1), calls(2));
    assert!(a > 2 * b && b > 0, "three to one: {a}, {b}");
    assert_eq!(c, 0, "of a later tier");
}

#[test]
fn a_change_is_followed_after_the_ttl_and_no_call_notices() {
    let dns = Server::start();
    let (backends, port) = backends_on_one_port(&["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    dns.addresses("sip.test", 1, &["127.0.0.2", "127.0.0.3"]);
    let stage = Stage::start(dns, &format!("sip.test:{port}"));
    let names = ["2", "3", "4"].map(|n| format!("sip.test/127.0.0.{n}:{port}"));
    stage.wait_for(&[&format!("{} 1 0", names[0]), &format!("{} 1 0", names[1])]);
    let caller = stage.caller(50.0);
    let calls = |n: usize| backends[n].report().new_calls.value();
    stage.wait_until(|| calls(0) > 5 && calls(1) > 5);
    stage.dns.addresses("sip.test", 1, &["127.0.0.4", "127.0.0.3"]);
    stage.wait_for(&[
        &format!("{} 1 0", names[1]),
        &format!("{} 1 0", names[2]),
        &format!("{} 0 0 leaving", names[0]),
    ]);
    assert!(stage.has_event(&format!("{} added (in DNS, by dns)", names[2])));
    assert!(stage.has_event(&format!("{} leaving (no longer in DNS", names[0])));
    std::thread::sleep(Duration::from_millis(700)); // what was on its way has arrived then
    let before = calls(0);
    assert!(backends[0].report().dialogs.value() > 0, "some calls are held for longer than that");
    stage.wait_until(|| calls(2) > 5);
    finish(&caller, &backends.iter().collect::<Vec<_>>());
    assert_eq!(calls(0), before, "no new calls where no record is any more");
    // It comes back before it is gone.
    stage.dns.addresses("sip.test", 1, &["127.0.0.2", "127.0.0.4", "127.0.0.3"]);
    let all = names.map(|name| format!("{name} 1 0"));
    stage.wait_until(|| stage.backends() == all);
    assert!(stage.has_event(&format!("sip.test/127.0.0.2:{port} back (in DNS again")));
}

#[test]
fn when_dns_is_dead_the_last_good_answer_holds_and_calls_go_on() {
    let dns = Server::start();
    let one = backend("a", "127.0.0.2:0");
    let port = one.address().port();
    dns.addresses("sip.test", 1, &["127.0.0.2"]);
    let stage = Stage::start(dns, &format!("sip.test:{port}"));
    let expected = [format!("sip.test/127.0.0.2:{port} 1 0")];
    assert_eq!(stage.backends(), expected);
    assert_eq!(stage.metric("sipring_dns_names{state=\"fresh\"}"), 1.0);
    let caller = stage.caller(50.0);
    let address = format!("sip.test:{port}");
    let ways = [Reply::Silence, Reply::Failure, Reply::NoName(1), Reply::Records(1, Vec::new())];
    for (round, reply) in ways.into_iter().enumerate() {
        let kept = stage.events().iter().filter(|e| e.contains("addresses kept")).count();
        stage.dns.set("sip.test", "A", reply);
        let is_kept = || stage.metric("sipring_dns_names{state=\"kept\"}") == 1.0;
        stage.wait_until(is_kept);
        assert_eq!(stage.backends(), expected, "round {round}");
        assert_eq!(
            stage.events().iter().filter(|e| e.contains("addresses kept")).count(),
            kept + 1
        );
        stage.dns.addresses("sip.test", 1, &["127.0.0.2"]);
        stage.wait_until(|| !is_kept());
    }
    stage.dns.set_dead(true);
    let failures = stage.metric("sipring_dns_lookups_total{result=\"failure\"}");
    stage.wait_until(|| stage.metric("sipring_dns_lookups_total{result=\"failure\"}") > failures);
    // A reload keeps what is resolved, though nothing can be.
    stage.balancer.reload(&stage.configuration(&address)).unwrap();
    assert_eq!(stage.backends(), expected);
    finish(&caller, &[&one]);
    assert!(stage.has_event(&format!("{address} addresses kept")));
    assert!(stage.metric("sipring_dns_last_success_timestamp_seconds") > 1e9);
}

#[test]
fn a_name_that_never_led_anywhere_is_no_reason_not_to_start() {
    let dns = Server::start();
    let one = backend("a", "127.0.0.2:0");
    let port = one.address().port();
    let stage = Stage::start(dns, &format!("sip.test:{port}"));
    assert_eq!(stage.backends(), [""; 0]);
    let why =
        format!("sip.test:{port} no address (sip.test has no address; it gets no calls until");
    assert!(stage.has_event(&why), "{:?}", stage.events());
    assert_eq!(stage.metric("sipring_dns_names{state=\"unresolved\"}"), 1.0);
    assert_eq!(stage.metric("sipring_dns_last_success_timestamp_seconds"), 0.0);
    stage.dns.addresses("sip.test", 60, &["127.0.0.2"]);
    stage.wait_for(&[&format!("sip.test/127.0.0.2:{port} 1 0")]);
    let caller = stage.caller(50.0);
    stage.wait_until(|| one.report().new_calls.value() > 10);
    finish(&caller, &[&one]);
}

#[test]
fn a_long_answer_comes_by_tcp() {
    let dns = Server::start();
    let data = (2..42).map(|n| Data::Address([127, 0, 0, n].into())).collect();
    dns.set("sip.test", "A", Reply::Truncated(60, data));
    let stage = Stage::start(dns, "sip.test:5070");
    assert_eq!(stage.backends().len(), 40, "{:?}", stage.events());
}

#[test]
fn only_what_runs_out_is_asked_again() {
    let dns = Server::start();
    dns.services("_sip._udp.sip.test", 1, &[(1, 1, 5070, "a.test")]);
    dns.addresses("a.test", 60, &["127.0.0.2"]);
    dns.set("a.test", "AAAA", Reply::NoName(60));
    let stage = Stage::start(dns, "udp:sip.test");
    stage.wait_until(|| stage.dns.asked("_sip._udp.sip.test", "SRV") >= 3);
    assert_eq!((stage.dns.asked("a.test", "A"), stage.dns.asked("a.test", "AAAA")), (1, 1));
}

#[test]
fn a_reload_brings_names_and_takes_them() {
    let dns = Server::start();
    dns.addresses("one.test", 60, &["127.0.0.2"]);
    dns.addresses("two.test", 60, &["127.0.0.3"]);
    let stage = Stage::start(dns, "one.test:5070");
    let other = stage.configuration("two.test:5070");
    let reloaded = stage.balancer.reload(&other).unwrap();
    let live = [
        "backend \"two.test\" added (two.test:5070)",
        "backend \"one.test\" removed (one.test:5070)",
    ];
    assert_eq!(reloaded.diff.live, live);
    stage.wait_for(&["two.test/127.0.0.3:5070 1 0", "one.test/127.0.0.2:5070 0 0 leaving"]);
    assert!(stage.has_event("one.test/127.0.0.2:5070 leaving (no longer in the config"));
    let asked = stage.dns.asked_at_all();
    stage.balancer.reload(&other).unwrap();
    assert_eq!(stage.balancer.pool().backends().len(), 2);
    assert_eq!(stage.dns.asked_at_all(), asked, "a reload asks for nothing that holds");
}
