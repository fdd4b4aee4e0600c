//! A real Prometheus (Debian's) scrapes a balancer under load each second; then every panel's query
//! is asked with the variables as a browser would fill them in.

use crate::balancer::{Balancer, Setup};
use crate::process::Process;
use crate::stage::{Family, Stage, free_ports, have, wait_until};
use crate::{dashboards, path, queries};
use serde_json::Value;
use sipring_loadtest::{Backend, BackendOptions, Caller, CallerOptions, Pace};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Queries that may have no answer here: a part of their text, and why.
const MAY_BE_EMPTY: &[(&str, &str)] = &[
    ("offset 1w", "nothing is a week old"),
    ("handoff_doorbells_total", "with steering nothing is handed over, and nobody is rung for"),
    ("uring_gather_seconds_total", "without a latency budget nobody waits for more"),
    ("result=~\"3xx|4xx|5xx|6xx\"", "nobody registers, and a ratio of nothing is left out"),
];

/// How long Prometheus gets for each thing.
const PATIENCE: Duration = Duration::from_secs(40);

struct Prometheus {
    process: Process,
    address: SocketAddr,
}

impl Prometheus {
    fn start(stage: &Stage, admin: SocketAddr) -> Prometheus {
        let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1)));
        let config = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files:\n  - {}\n\
             scrape_configs:\n  - job_name: sipring\n    static_configs:\n      - targets: \
             [\"{admin}\"]\n",
            path("rules/*.yml").display()
        );
        let config = stage.write("prometheus.yml", &config);
        let command = [
            "prometheus".to_owned(),
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", stage.path("data").display()),
            format!("--web.listen-address={address}"),
        ];
        Prometheus { process: Process::start(stage, "prometheus", None, &command), address }
    }

    /// The `data.result` of an instant query, or what went wrong.
    fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let body = format!("query={}", encoded(expression));
        let request = format!(
            "POST /api/v1/query HTTP/1.0\r\nHost: {}\r\nContent-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut answer = String::new();
        TcpStream::connect(self.address)
            .and_then(|mut client| {
                client.set_read_timeout(Some(PATIENCE))?;
                client.write_all(request.as_bytes())?;
                client.read_to_string(&mut answer)
            })
            .map_err(|error| error.to_string())?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
        let body: Value = serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))?;
        match body["data"]["result"].as_array() {
            Some(result) => Ok(result.clone()),
            None => Err(body.to_string()),
        }
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// As Grafana does it: everything chosen, four scrapes and more for a rate.
fn filled_in(expression: &str) -> String {
    let mut text = expression.replace("$__rate_interval", "5s");
    for variable in ["$job", "$instance", "$backend", "$pool", "$worker"] {
        text = text.replace(variable, ".*");
    }
    assert!(!text.contains('$'), "{text}");
    text
}

/// Whether each series of a result has a number.
fn is_whole(result: &[Value]) -> bool {
    let number = |series: &Value| series["value"][1].as_str().map(|text| text != "NaN");
    result.iter().all(|series| number(series) == Some(true))
}

#[test]
fn every_panel_has_an_answer_from_a_balancer_under_load() {
    if !have(&["prometheus"]) {
        return;
    }
    let stage = Stage::new("grafana");
    let backend = |name: &str| {
        let options = BackendOptions::named(name, "127.0.0.1:0".parse().expect("an address"));
        Backend::start(options).expect("a free port")
    };
    let backends = ["b1", "b2", "b3"].map(backend);
    let addresses = backends.each_ref().map(Backend::address);
    let setup = Setup::new(&[Family::V4.free_address()], &addresses);
    let mut balancer = Balancer::start(&stage, &setup, 2);
    let pace = Pace::rate(60.0);
    let caller = Caller::start(CallerOptions { pace, ..CallerOptions::to(setup.listeners[0]) });
    let _caller = caller.expect("a caller");

    let mut prometheus = Prometheus::start(&stage, setup.admin);
    wait_until("Prometheus had scraped calls for some seconds", PATIENCE, || {
        prometheus.process.assert_alive();
        let busy =
            prometheus.query("min_over_time(rate(sipring_call_attempts_total[3s])[4s:1s]) > 10");
        busy.is_ok_and(|result| !result.is_empty())
    });
    wait_until("the recording rules had values", PATIENCE, || {
        let ser = prometheus.query("instance:sipring_ser:ratio_rate5m");
        ser.is_ok_and(|result| !result.is_empty() && is_whole(&result))
    });

    let mut wrong = Vec::new();
    let mut asked = 0;
    for (file, dashboard) in dashboards() {
        for (title, expression) in queries(&dashboard) {
            asked += 1;
            let excused = MAY_BE_EMPTY.iter().any(|(part, _)| expression.contains(part));
            match prometheus.query(&filled_in(&expression)) {
                Ok(result) if excused || (!result.is_empty() && is_whole(&result)) => {}
                Ok(result) => wrong.push(format!("{file}: {title}: {result:?}\n  {expression}")),
                Err(error) => wrong.push(format!("{file}: {title}: {error}\n  {expression}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked} queries:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 50, "{asked} queries");
    assert!(prometheus.query("sum(rate(sipring_no_such_total[5s]))").is_ok_and(|r| r.is_empty()));
    assert!(prometheus.query("sum(rate(").is_err(), "a broken query is an error");

    let of_calls =
        prometheus.query("sum(sipring_call_results_total{result=\"2xx\"})").expect("calls");
    assert!(of_calls[0]["value"][1].as_str().is_some_and(|n| n.parse::<f64>().unwrap() > 100.0));
    let ser = prometheus.query("instance:sipring_ser:ratio_rate5m").expect("SER");
    let ser: f64 = ser[0]["value"][1].as_str().expect("text").parse().expect("a number");
    assert!((0.8..=1.1).contains(&ser), "SER {ser} of a caller that every backend answers");
    let loud = prometheus.query("ALERTS{severity=\"critical\"}").expect("alerts");
    assert!(loud.is_empty(), "a healthy balancer alarms: {loud:?}");
    balancer.assert_alive();
}
