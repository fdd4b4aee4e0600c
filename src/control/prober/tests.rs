//! A balancer with its prober against real sockets: who is answered, refused or left in silence.

use super::*;
use crate::config::BackendPorts;
use crate::control::Admin;
use crate::control::plan::tests::config;
use crate::pool::State;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::sync::Mutex;
use std::time::Instant;

/// A backend that answers every request with a status; `None`: with silence.
struct Backend {
    address: SocketAddr,
    status: Arc<Mutex<Option<&'static str>>>,
    /// The method that it says nothing to, whatever the status.
    ignored: Arc<Mutex<&'static str>>,
    /// Requests that have come.
    asked: Arc<Mutex<u64>>,
    end: Arc<Mutex<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    fn start(address: SocketAddr, status: Option<&'static str>) -> Self {
        let socket = UdpSocket::bind(address).expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a time-out");
        let address = socket.local_addr().expect("its address");
        let status = Arc::new(Mutex::new(status));
        let (asked, end) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(false)));
        let ignored = Arc::new(Mutex::new("none"));
        let body = {
            let (status, asked, end) = (status.clone(), asked.clone(), end.clone());
            let ignored = ignored.clone();
            move || {
                let mut bytes = [0; 4096];
                while !*end.lock().unwrap() {
                    let Ok((len, from)) = socket.recv_from(&mut bytes) else { continue };
                    *asked.lock().unwrap() += 1;
                    let request = String::from_utf8_lossy(&bytes[..len]);
                    if let Some(status) = *status.lock().unwrap()
                        && !request.starts_with(*ignored.lock().unwrap())
                    {
                        let answer = answer(&request, status);
                        let _ = socket.send_to(answer.as_bytes(), from);
                    }
                }
            }
        };
        let thread = Some(std::thread::spawn(body));
        Self { address, status, ignored, asked, end, thread }
    }

    fn on_a_free_port(status: Option<&'static str>) -> Self {
        Self::start(SocketAddr::from(([127, 0, 0, 1], 0)), status)
    }

    fn answer(&self, status: Option<&'static str>) {
        *self.status.lock().unwrap() = status;
    }

    fn ignore(&self, method: &'static str) {
        *self.ignored.lock().unwrap() = method;
    }

    fn asked(&self) -> u64 {
        *self.asked.lock().unwrap()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        *self.end.lock().unwrap() = true;
        self.thread.take().map(JoinHandle::join);
    }
}

/// All Vias, From, To, Call-ID and CSeq of the request come back.
fn answer(request: &str, status: &str) -> String {
    let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let rows = request.lines().filter(|line| kept.iter().any(|name| line.starts_with(name)));
    let rows: Vec<_> = rows.collect();
    format!("SIP/2.0 {status}\r\n{}\r\nContent-Length: 0\r\n\r\n", rows.join("\r\n"))
}

struct Rig {
    balancer: Arc<Balancer>,
    _prober: Prober,
}

fn rig(backends: &[&Backend], rise: u32, fall: u32) -> Rig {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address.to_string()).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let mut config = config(&["127.0.0.1:0"], BackendPorts::Listener, &addresses);
    config.workers = Some(1);
    let health = &mut config.pools[0].health;
    health.panic_per_mille = 0;
    let rules = &mut health.rules;
    (rules.interval_ms, rules.timeout_ms, rules.down_interval_max_ms) = (100, 500, 200);
    (rules.rise, rules.fall) = (rise, fall);
    let balancer = Arc::new(Balancer::start(config).expect("a balancer"));
    let prober = Prober::start(balancer.clone()).expect("a prober");
    Rig { balancer, _prober: prober }
}

impl Rig {
    fn state(&self, place: usize) -> State {
        self.balancer.pool().backends()[place].spec.state
    }

    fn reason(&self, place: usize) -> String {
        self.balancer.with_fleet(|fleet| fleet.members()[place].up.reason.clone())
    }

    fn wait_for(&self, place: usize, state: State) {
        self.wait_until(&format!("{place} to be {state:?}"), |rig| rig.state(place) == state);
    }

    fn wait_until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !done(self) {
            assert!(Instant::now() < end, "waited in vain for {what}: {}", self.events());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn events(&self) -> String {
        self.balancer.with_fleet(|fleet| format!("{:#?}", fleet.events().collect::<Vec<_>>()))
    }

    fn metrics(&self) -> String {
        self.balancer.metrics().text().expect("the scrape")
    }
}

#[test]
fn a_backend_that_is_killed_goes_down_and_comes_back_after_good_probes() {
    let (steady, killed) =
        (Backend::on_a_free_port(Some("200 OK")), Backend::on_a_free_port(Some("200 OK")));
    let address = killed.address;
    let rig = rig(&[&steady, &killed], 2, 3);
    rig.wait_until("a first probe", |_| killed.asked() > 0);
    drop(killed);
    rig.wait_for(1, State::Down);
    let why = rig.reason(1);
    assert!(why.starts_with("3 probes in a row") && why.contains("nobody listens"), "{why}");
    assert_eq!(rig.state(0), State::Ready);

    let back = Backend::start(address, Some("200 OK"));
    rig.wait_for(1, State::Ready);
    assert!(back.asked() >= 2, "after {} probes", back.asked());
    assert_eq!(rig.reason(1), "2 probes in a row, the last: 200");
    rig.wait_until("the metric", |rig| {
        let text = rig.metrics();
        text.contains("sipring_probe_transitions_total{backend=\"b1\",to=\"down\"} 1")
            && text.contains("sipring_probe_transitions_total{backend=\"b1\",to=\"up\"} 1")
            && text.contains("sipring_backend_up{backend=\"b1\"} 1")
            && text.contains("sipring_probe_success{backend=\"b1\"} 1")
    });
}

#[test]
fn who_answers_503_or_nothing_is_down_and_who_answers_404_or_408_is_up() {
    let statuses = [Some("503 Service Unavailable"), None, Some("404 Not Found"), Some("408 X")];
    let backends = statuses.map(Backend::on_a_free_port);
    let rig = rig(&backends.each_ref(), 1, 2);
    rig.wait_for(0, State::Down);
    rig.wait_for(1, State::Down);
    assert_eq!(rig.reason(0), "2 probes in a row, the last: 503");
    assert_eq!(rig.reason(1), "2 probes in a row, the last: no answer in time");
    rig.wait_until("more probes than it takes", |_| backends[2..].iter().all(|b| b.asked() > 5));
    assert_eq!((rig.state(2), rig.state(3)), (State::Ready, State::Ready));

    backends[0].answer(Some("401 Unauthorized"));
    backends[1].answer(Some("200 OK"));
    rig.wait_for(0, State::Ready);
    rig.wait_for(1, State::Ready);
    assert_eq!(rig.reason(0), "probe: 401");
}

#[test]
fn who_is_in_maintenance_is_asked_no_more_until_it_is_ready_again() {
    let backends = [Some("200 OK"), Some("200 OK")].map(Backend::on_a_free_port);
    let rig = rig(&backends.each_ref(), 2, 3);
    rig.balancer.set_admin("b0", Admin::Maint, "a test").expect("it is known");
    rig.balancer.set_admin("b1", Admin::Drain, "a test").expect("it is known");
    std::thread::sleep(Duration::from_millis(600)); // what was on its way, and its repetition
    let (before, drained) = (backends[0].asked(), backends[1].asked());
    rig.wait_until("probes of the drained one", |_| backends[1].asked() > drained + 5);
    assert_eq!(backends[0].asked(), before);
    assert_eq!((rig.state(0), rig.state(1)), (State::Down, State::Drained));
    rig.balancer.set_admin("b0", Admin::Ready, "a test").expect("it is known");
    rig.wait_until("a probe", |_| backends[0].asked() > before);
}

#[test]
fn calls_that_are_answered_503_take_a_backend_down_though_its_probes_are_good() {
    let backend = Backend::on_a_free_port(Some("503 Busy"));
    // `codes` calls 503 a good answer to a probe, so that traffic alone decides.
    let addresses = [backend.address.to_string()];
    let mut config = config(&["127.0.0.1:0"], BackendPorts::Listener, &[&addresses[0]]);
    config.workers = Some(1);
    config.pools[0].health.panic_per_mille = 0;
    config.pools[0].health.rules.codes = vec![503];
    let balancer = Arc::new(Balancer::start(config).expect("a balancer"));
    let _prober = Prober::start(balancer.clone()).expect("a prober");
    let rig = Rig { balancer, _prober };
    rig.wait_until("a first probe", |_| backend.asked() > 0); // from now on it looks at traffic
    let client = UdpSocket::bind("127.0.0.1:0").expect("a client");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    for number in 0..3 {
        assert_eq!(rig.state(0), State::Ready);
        let answer = ask(&rig, &client, &number.to_string());
        assert_eq!(answer, "SIP/2.0 500 ", "a 503, softened");
    }
    rig.wait_for(0, State::Down);
    assert_eq!(rig.reason(0), "3 requests in a row got 503, ICMP or no answer");
    let line = "sipring_backend_outcomes_total{backend=\"b0\",outcome=\"refused\"} 3";
    assert!(rig.metrics().contains(line), "{}", rig.metrics());
}

#[test]
fn requests_that_meet_silence_take_a_backend_down_though_its_probes_are_good() {
    let backend = Backend::on_a_free_port(Some("200 OK"));
    backend.ignore("REGISTER");
    for tries in [1, 3] {
        let addresses = [backend.address.to_string()];
        let mut config = config(&["127.0.0.1:0"], BackendPorts::Listener, &[&addresses[0]]);
        config.workers = Some(1);
        config.pools[0].health.panic_per_mille = 0;
        (config.limits.failover_tries, config.limits.failover_after_s) = (tries, 1);
        let balancer = Arc::new(Balancer::start(config).expect("a balancer"));
        let _prober = Prober::start(balancer.clone()).expect("a prober");
        let rig = Rig { balancer, _prober };
        let probed = backend.asked();
        rig.wait_until("a first probe", |_| backend.asked() > probed);
        let client = UdpSocket::bind("127.0.0.1:0").expect("a client");
        for number in 0..3 {
            send(&rig, &client, "REGISTER", &format!("silent-{tries}-{number}"));
        }
        rig.wait_for(0, State::Down);
        assert_eq!(rig.reason(0), "3 requests in a row got 503, ICMP or no answer");
        let line = "sipring_backend_outcomes_total{backend=\"b0\",outcome=\"silent\"} 3";
        assert!(rig.metrics().contains(line), "{}", rig.metrics());
    }
}

#[test]
fn a_request_that_was_sent_before_a_backend_came_up_does_not_count_against_it() {
    let backend = Backend::on_a_free_port(Some("200 OK"));
    backend.ignore("REGISTER");
    let addresses = [backend.address.to_string()];
    let mut config = config(&["127.0.0.1:0"], BackendPorts::Listener, &[&addresses[0]]);
    config.workers = Some(2);
    config.pools[0].health.panic_per_mille = 0;
    let rules = &mut config.pools[0].health.rules;
    (rules.interval_ms, rules.down_interval_max_ms) = (50, 50);
    (rules.rise, rules.fall) = (1, 1);
    config.limits.failover_after_s = 1;
    let balancer = Arc::new(Balancer::start(config).expect("a balancer"));
    let prober = Prober::start(balancer.clone()).expect("a prober");
    let rig = Rig { balancer, _prober: prober };
    rig.wait_until("a first probe", |_| backend.asked() > 0);
    let client = UdpSocket::bind("127.0.0.1:0").expect("a client");
    (0..9).for_each(|number| send(&rig, &client, "REGISTER", &format!("before-{number}")));
    backend.answer(Some("503 Busy"));
    rig.wait_for(0, State::Down);
    backend.answer(Some("200 OK"));
    rig.wait_for(0, State::Ready);
    let silent = |count: u32| {
        format!("sipring_backend_outcomes_total{{backend=\"b0\",outcome=\"silent\"}} {count}\n")
    };
    rig.wait_until("all silences", |rig| rig.metrics().contains(&silent(9)));
    std::thread::sleep(Duration::from_millis(2 * LOOK_MS));
    let by_traffic = |rig: &Rig| rig.events().contains("got 503, ICMP or no answer");
    assert!(!by_traffic(&rig), "{}", rig.events());

    send(&rig, &client, "REGISTER", "afterwards");
    rig.wait_until("another silence", |rig| rig.metrics().contains(&silent(10)));
    rig.wait_until("its fall", by_traffic);
}

#[test]
fn a_reload_keeps_who_is_down_probes_who_is_added_and_leaves_who_is_removed() {
    let backends = [None, Some("200 OK"), Some("200 OK")].map(Backend::on_a_free_port);
    let rig = rig(&[&backends[0], &backends[1]], 2, 2);
    rig.wait_for(0, State::Down);
    let mut config = rig.balancer.live().config.clone();
    let added = crate::config::BackendConfig {
        name: "added".to_owned(),
        address: backends[2].address,
        ..config.pools[0].backends[1].clone()
    };
    config.pools[0].backends[1] = added; // in the place of b1
    config.pools[0].health.method = "PING".to_owned();
    let reloaded = rig.balancer.reload(&config).expect("a good one");
    let lines = &reloaded.diff.live;
    assert!(lines.iter().any(|line| line == "health method OPTIONS -> PING"), "{lines:?}");
    assert_eq!(rig.state(0), State::Down, "known by its name");
    rig.wait_until("probes of the added one", |_| backends[2].asked() > 0);
    std::thread::sleep(Duration::from_millis(600)); // what was on its way, and its repetition
    let (removed, added) = (backends[1].asked(), backends[2].asked());
    rig.wait_until("more probes", |_| backends[2].asked() > added + 5);
    assert_eq!(backends[1].asked(), removed);
    backends[0].answer(Some("200 OK"));
    rig.wait_for(0, State::Ready);
}

#[test]
fn calls_that_failover_saves_count_against_who_refused_them() {
    let (busy, good) =
        (Backend::on_a_free_port(Some("503 Busy")), Backend::on_a_free_port(Some("200 OK")));
    let addresses = [busy.address.to_string(), good.address.to_string()];
    let mut config =
        config(&["127.0.0.1:0"], BackendPorts::Listener, &[&addresses[0], &addresses[1]]);
    config.workers = Some(1);
    config.pools[0].health.panic_per_mille = 0;
    config.pools[0].health.rules.codes = vec![503]; // traffic alone decides
    let balancer = Arc::new(Balancer::start(config).expect("a balancer"));
    let _prober = Prober::start(balancer.clone()).expect("a prober");
    let rig = Rig { balancer, _prober };
    let client = UdpSocket::bind("127.0.0.1:0").expect("a client");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    for number in 0..100 {
        if rig.state(0) == State::Down {
            break;
        }
        assert_eq!(ask(&rig, &client, &format!("saved-{number}")), "SIP/2.0 200 ");
    }
    rig.wait_for(0, State::Down);
    let why = rig.reason(0);
    assert!(why.ends_with("requests in a row got 503, ICMP or no answer"), "{why}");
}

#[test]
fn a_503_with_retry_after_is_left_alone_for_that_time_and_one_without_is_not() {
    let busy = Backend::on_a_free_port(Some("503 Busy\r\nRetry-After: 1"));
    let good = Backend::on_a_free_port(Some("200 OK"));
    let addresses = [busy.address.to_string(), good.address.to_string()];
    let mut config =
        config(&["127.0.0.1:0"], BackendPorts::Listener, &[&addresses[0], &addresses[1]]);
    config.workers = Some(1);
    config.pools[0].health.rules.codes = vec![200, 503]; // its probes are good
    config.pools[0].health.rules.fall = 1000;
    let balancer = Arc::new(Balancer::start(config).expect("a balancer"));
    let _prober = Prober::start(balancer.clone()).expect("a prober");
    let rig = Rig { balancer, _prober };
    let client = UdpSocket::bind("127.0.0.1:0").expect("a client");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    let number = std::cell::Cell::new(0);
    rig.wait_until("it is held back", |rig| {
        number.set(number.get() + 1);
        let call_id = format!("held-{}", number.get());
        assert_eq!(ask(rig, &client, &call_id), "SIP/2.0 200 ");
        rig.state(0) == State::Drained
    });
    busy.answer(Some("503 Busy"));
    rig.wait_for(0, State::Ready);
    let events = rig
        .balancer
        .with_fleet(|fleet| fleet.events().map(|event| event.what.clone()).collect::<Vec<_>>());
    assert_eq!(events, ["held back", "no more held back"]);
}

/// The beginning of the answer to a MESSAGE.
fn ask(rig: &Rig, client: &UdpSocket, call_id: &str) -> String {
    send(rig, client, "MESSAGE", call_id);
    let mut bytes = [0; 2048];
    let len = client.recv(&mut bytes).expect("an answer");
    String::from_utf8_lossy(&bytes[..len.min(12)]).into_owned()
}

fn send(rig: &Rig, client: &UdpSocket, method: &str, call_id: &str) {
    let from = client.local_addr().expect("its address");
    let request = format!(
        "{method} sip:a@example.com SIP/2.0\r\n\
         Via: SIP/2.0/UDP {from};branch=z9hG4bK{call_id};rport\r\n\
         From: <sip:b@example.com>;tag=1\r\nTo: <sip:a@example.com>\r\n\
         Call-ID: {call_id}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    client.send_to(request.as_bytes(), rig.balancer.listeners()[0]).expect("sent");
}

#[test]
fn a_prober_ends_when_it_is_dropped() {
    let backend = Backend::on_a_free_port(Some("200 OK"));
    let rig = rig(&[&backend], 2, 3);
    rig.wait_until("a probe", |_| backend.asked() > 0);
    let Rig { balancer, _prober } = rig;
    drop(_prober);
    assert_eq!(Arc::strong_count(&balancer), 1);
}
