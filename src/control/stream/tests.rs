//! A raw socket reads the stream of a balancer that has real calls.

use super::super::admin::{Admin, BOUNDS, Bounds, View};
use super::super::operator::Operator;
use super::super::runtime::Runtime;
use super::super::{Balancer, fleet};
use super::*;
use crate::config::BackendPorts;
use crate::control::plan::tests::config;
use serde_json::Value;
use sipring_loadtest::{Backend, BackendOptions, Caller, CallerOptions, Pace};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two backends, a balancer with its admin server, and perhaps a caller.
pub(in crate::control) struct Live {
    pub(in crate::control) admin: SocketAddr,
    operator: Arc<Operator>,
    view: Arc<View>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    caller: Option<Caller>,
    backends: Vec<Backend>,
}

impl Live {
    pub(in crate::control) fn start(backends: usize) -> Self {
        Self::bounded(backends, BOUNDS)
    }

    fn bounded(backends: usize, bounds: Bounds) -> Self {
        let backend = |n| {
            let free = "127.0.0.1:0".parse().expect("an address");
            Backend::start(BackendOptions::named(&format!("b{n}"), free)).expect("a free port")
        };
        let backends: Vec<Backend> = (0..backends).map(backend).collect();
        let addresses: Vec<String> = backends.iter().map(|one| one.address().to_string()).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let mut config = config(&["127.0.0.1:0"], BackendPorts::Listener, &addresses);
        config.workers = Some(2);
        let balancer = Balancer::start(config).expect("it starts on loopback");
        let no_file = || Err("there is no file".to_owned());
        let operator = Arc::new(Operator::new(balancer, Box::new(no_file)));
        let view = Arc::new(View {
            metrics: operator.balancer.metrics().clone(),
            ready: AtomicBool::new(true),
            operator: Some(operator.clone()),
            streams: Places::default(),
        });
        let mut server =
            Admin::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        server.bounds = bounds;
        let admin = server.address().expect("it is bound");
        let (end, ended) = oneshot::channel();
        let shown = view.clone();
        let thread = std::thread::spawn(move || {
            Runtime::new().expect("this machine has io_uring").block_on(async {
                server.serve(shown).expect("the runtime watches the socket");
                let _ = ended.await;
            });
        });
        let (end, thread) = (Some(end), Some(thread));
        Self { admin, operator, view, end, thread, caller: None, backends }
    }

    pub(in crate::control) fn balancer(&self) -> &Balancer {
        &self.operator.balancer
    }

    /// Calls from now on, so many a second.
    pub(in crate::control) fn call(&mut self, rate: f64) {
        let options = CallerOptions {
            pace: Pace::rate(rate),
            ..CallerOptions::to(self.balancer().listeners()[0])
        };
        self.caller = Some(Caller::start(options).expect("a caller on loopback"));
    }

    /// Nobody answers on the admin address any more.
    pub(in crate::control) fn end_server(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(!matches!(ended, Some(Err(_))), "the server panicked");
    }

    fn open(&self, request: &str) -> BufReader<TcpStream> {
        let mut client = TcpStream::connect(self.admin).expect("the server listens");
        client.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        client.write_all(request.as_bytes()).expect("the server reads");
        BufReader::new(client)
    }

    fn stream(&self) -> Events {
        let mut reader = self.open("GET /api/v1/stream HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("a head") > 0, "{head}");
        }
        Events { head: head.to_ascii_lowercase(), reader }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.caller.take());
        drop(self.end.take());
        let _ = self.thread.take().map(JoinHandle::join); // its panic was printed
        self.balancer().stop();
        self.backends.clear();
    }
}

struct Events {
    head: String,
    reader: BufReader<TcpStream>,
}

impl Events {
    /// The next event; chunk sizes stand on lines of their own.
    fn next(&mut self) -> Value {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.reader.read_line(&mut line).expect("an event within the patience") > 0);
            if let Some(json) = line.strip_prefix("data: ") {
                return serde_json::from_str(json).expect("JSON");
            }
        }
    }

    /// The first event that is so.
    fn until(&mut self, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let event = self.next();
            if so(&event) {
                return event;
            }
            assert!(std::time::Instant::now() < end, "never {what}: {event}");
        }
    }
}

#[test]
fn the_stream_begins_at_once_and_goes_on_with_rates() {
    let mut live = Live::start(2);
    live.call(40.0);
    let mut events = live.stream();
    assert!(events.head.starts_with("http/1.1 200 "), "{}", events.head);
    assert!(events.head.contains("\r\ncontent-type: text/event-stream\r\n"), "{}", events.head);
    let first = events.next();
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(first["ready"], true);
    assert_eq!(first["rates"], Value::Null, "there is nothing before it");
    assert_eq!(first["workers"].as_array().map(Vec::len), Some(2));
    assert_eq!(first["workers"][0]["cpu"], Value::Null);
    assert_eq!(first["gauges"]["pins_max"], live.balancer().pins_max());
    let busy = events.until("calls and answers", |event| {
        event["rates"]["calls"].as_f64() > Some(0.0)
            && event["totals"]["answered"].as_u64() > Some(0)
    });
    assert!(busy["rates"]["requests"].as_f64() >= busy["rates"]["calls"].as_f64(), "{busy}");
    assert!(busy["workers"][1]["cpu"].is_number(), "{busy}");
    assert!(busy["totals"]["received"].as_u64() > Some(0), "{busy}");
}

#[test]
fn the_backends_shares_are_of_one_whole() {
    let mut live = Live::start(2);
    live.call(60.0);
    let event = live.stream().until("requests to both", |event| {
        (0..2).all(|n| event["backends"][n]["share"].as_f64() > Some(0.0))
    });
    let share = |n: usize| event["backends"][n]["share"].as_f64().expect("a number");
    assert!((share(0) + share(1) - 1.0).abs() < 1e-9, "{event}");
    assert_eq!(event["backends"][1]["name"], "b1");
    assert_eq!(event["backends"][1]["state"], "ready");
    assert_eq!(event["backends"][1]["health"]["value"], "up");
    assert!(event["backends"][0]["rate"].as_f64() > Some(0.0), "{event}");
}

#[test]
fn a_drain_is_in_the_next_event_with_its_reason() {
    let live = Live::start(2);
    let mut events = live.stream();
    assert_eq!(events.next()["events"].as_array().map(Vec::len), Some(0));
    live.balancer().set_admin("b1", fleet::Admin::Drain, "an upgrade").expect("b1 exists");
    // One may have been on its way.
    let event = [events.next(), events.next()].into_iter().rfind(|_| true).expect("two");
    assert_eq!(event["backends"][1]["state"], "drained");
    assert_eq!(event["backends"][1]["admin"]["value"], "drain");
    assert_eq!(event["backends"][1]["admin"]["reason"], "an upgrade");
    assert_eq!(event["backends"][0]["state"], "ready");
    assert_eq!(event["events"][0]["backend"], "b1");
    assert_eq!(event["events"][0]["who"], "operator");
    live.balancer().set_admin("b1", fleet::Admin::Ready, "done").expect("b1 exists");
    let event = events.until("ready again", |event| event["backends"][1]["state"] == "ready");
    assert_eq!(event["events"][0]["what"], "ready", "the newest first");
    assert_eq!(event["events"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_stream_outlives_the_time_of_other_connections() {
    let live = Live::bounded(1, Bounds { connection: Duration::from_millis(500), ..BOUNDS });
    let mut events = live.stream();
    let times = [events.next(), events.next(), events.next()].map(|event| event["at_ms"].as_u64());
    assert!(times[2] >= times[0].map(|first| first + 1000), "{times:?}");
}

#[test]
fn stopping_is_said() {
    let live = Live::start(1);
    let mut events = live.stream();
    assert_eq!(events.next()["ready"], true);
    live.view.ready.store(false, Relaxed);
    events.until("stopping", |event| event["ready"] == false);
}

#[test]
fn as_many_streams_as_allowed_and_one_that_ends_makes_room() {
    let live = Live::start(1);
    let mut streams: Vec<Events> = (0..STREAMS_MAX).map(|_| live.stream()).collect();
    streams.iter_mut().for_each(|events| assert_eq!(events.next()["ready"], true));
    let refused = live.stream();
    assert!(refused.head.starts_with("http/1.1 503 "), "{}", refused.head);
    let mut live_answer = String::new();
    let mut other = live.open("GET /live HTTP/1.1\r\nHost: a\r\n\r\n");
    other.read_to_string(&mut live_answer).expect("an answer");
    assert!(live_answer.starts_with("HTTP/1.1 200 "), "{live_answer}");
    streams.pop();
    let end = std::time::Instant::now() + PATIENCE;
    while live.stream().head.starts_with("http/1.1 503 ") {
        assert!(std::time::Instant::now() < end, "the place of an ended stream is not given back");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn head_begins_no_stream() {
    let live = Live::start(1);
    let mut answer = String::new();
    let mut client = live.open("HEAD /api/v1/stream HTTP/1.1\r\nHost: a\r\n\r\n");
    client.read_to_string(&mut answer).expect("it ends");
    assert!(answer.to_ascii_lowercase().contains("content-type: text/event-stream"), "{answer}");
}
