//! Against a balancer on loopback whose backends nobody is.

use super::super::balancer::tests::loopback;
use super::super::runtime::Runtime;
use super::*;
use crate::config::{Loaded, Report};
use crate::control::Balancer;
use serde_json::Value;

struct Api(Operator);

impl Api {
    fn start() -> Self {
        let config = loopback();
        let again = config.clone();
        let load = move || {
            if again.pools[0].backends.is_empty() {
                return Err("never".to_owned());
            }
            Ok(Loaded { warnings: Report::default(), config: again.clone() })
        };
        Self(Operator::new(Balancer::start(config).unwrap(), Box::new(load)))
    }

    fn ask(&self, posts: bool, target: &str) -> (u16, Value) {
        self.ask_with(posts, target, b"")
    }

    fn ask_with(&self, posts: bool, target: &str, body: &[u8]) -> (u16, Value) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let ask = Ask { reads: !posts, posts, from_page: false, path, query, body };
        let said = Runtime::new().unwrap().block_on(respond(&self.0, ask));
        (said.status, serde_json::from_str(&said.json).expect("JSON"))
    }

    fn get(&self, target: &str) -> Value {
        let (status, value) = self.ask(false, target);
        assert_eq!(status, 200, "{target}: {value}");
        value
    }

    fn post(&self, target: &str) -> Value {
        let (status, value) = self.ask(true, target);
        assert_eq!(status, 200, "{target}: {value}");
        value
    }
}

#[test]
fn a_drain_is_seen_as_state_drift_and_event_and_can_be_cleared() {
    let api = Api::start();
    let drained = api.post("/api/v1/backends/b1/drain?deadline=60");
    assert_eq!(
        (&drained["state"], &drained["admin"]["by"]),
        (&"drained".into(), &"operator".into())
    );
    let (since, until) = (drained["drain"]["since"].as_f64(), drained["drain"]["until"].as_f64());
    assert_eq!(until.unwrap() - since.unwrap(), 60.0);
    let backends = api.get("/api/v1/backends");
    assert_eq!(
        (&backends[0]["state"], &backends[1]["state"]),
        (&"ready".into(), &"drained".into())
    );
    let drift = &api.get("/api/v1/status")["drift"];
    assert_eq!(drift[0]["backend"], "b1");
    assert_eq!((&drift[0]["configured"], &drift[0]["now"]), (&"ready".into(), &"drain".into()));
    assert_eq!(api.get("/api/v1/events")[0]["what"], "drain");
    assert_eq!(api.post("/api/v1/reload")["generation"], 1, "nothing has changed in the file");
    assert_eq!(api.get("/api/v1/backends")[1]["state"], "drained", "it survives a reload");
    assert_eq!(api.post("/api/v1/backends/b1/clear")["state"], "ready");
    assert_eq!(api.get("/api/v1/status")["drift"].as_array().map(Vec::len), Some(0));
}

#[test]
fn weight_maint_and_ready_do_what_they_say() {
    let api = Api::start();
    assert_eq!(api.post("/api/v1/backends/b0/weight?value=0")["weight"]["now"], 0);
    assert_eq!(api.post("/api/v1/backends/b0/weight?value=65535")["weight"]["now"], 65535);
    for wrong in ["", "?value=", "?value=-1", "?value=65536", "?value=x"] {
        assert_eq!(api.ask(true, &format!("/api/v1/backends/b0/weight{wrong}")).0, 400, "{wrong}");
    }
    assert_eq!(api.post("/api/v1/backends/b0/maint")["state"], "down");
    assert_eq!(api.post("/api/v1/backends/b0/ready")["state"], "ready");
    assert_eq!(api.ask(true, "/api/v1/backends/b0/drain?deadline=2592001").0, 400);
    assert_eq!(api.ask(true, "/api/v1/backends/b0/drain?deadline=2592000").0, 200);
}

#[test]
fn where_and_pins_agree_with_the_pool() {
    let api = Api::start();
    let pool = api.0.balancer.pool();
    for call_id in ["a@b", "c d", "e+f"] {
        let found = api.get(&format!("/api/v1/where?call_id={}", call_id.replace(' ', "%20")));
        let slot = pool
            .choose_by_hash(crate::pool::GroupIndex(0), pool.call_hash(call_id.as_bytes()), &[])
            .unwrap();
        assert_eq!(found["backend"], pool.backend(slot).spec.name.as_str());
        assert_eq!((&found["by"], &found["call_id"]), (&"policy".into(), &call_id.into()));
    }
    let pins = api.get("/api/v1/pins?call_id=a%40b");
    assert_eq!((&pins["count"], &pins["found"]["backend"]), (&0.into(), &Value::Null));
    assert_eq!(pins["found"]["call_id"], "a@b");
    assert_eq!(api.get("/api/v1/pins").get("found"), None);
    assert_eq!(api.ask(false, "/api/v1/where").0, 400);
    for name in ["b0", "b1"] {
        api.post(&format!("/api/v1/backends/{name}/drain"));
    }
    assert_eq!(api.get("/api/v1/where?call_id=a")["by"], "nobody");
}

#[test]
fn changes_are_posts_of_no_web_page_and_the_rest_is_not() {
    let api = Api::start();
    let changes = ["drain", "ready", "maint", "weight?value=3", "clear", "remove"];
    let changes = changes.map(|action| format!("/api/v1/backends/b0/{action}"));
    for target in changes.iter().map(String::as_str).chain(["/api/v1/reload"]) {
        assert_eq!(api.ask(false, target).0, 405, "{target}");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let ask = Ask { reads: false, posts: true, from_page: true, path, query, body: b"" };
        let said = Runtime::new().unwrap().block_on(respond(&api.0, ask));
        assert_eq!(said.status, 403, "{target}");
    }
    for path in ["status", "workers", "events", "config", "pins", "pools", "routes"] {
        assert_eq!(api.ask(true, &format!("/api/v1/{path}")).0, 405, "{path}");
    }
    assert_eq!(api.0.balancer.with_fleet(|fleet| fleet.events().count()), 0);
}

#[test]
fn what_is_not_there_is_404() {
    let api = Api::start();
    for target in ["/api", "/api/v1/", "/api/v2/status", "/api/v1/status/", "/api/v1/backends/b0"] {
        assert_eq!(api.ask(false, target).0, 404, "{target}");
    }
    for target in ["b9/drain", "b9/weight?value=1", "b0/dance", "b0/drain/now", "/drain"] {
        let (status, value) = api.ask(true, &format!("/api/v1/backends/{target}"));
        assert_eq!(status, 404, "{target}");
        assert!(value["error"].is_string());
    }
}

#[test]
fn the_config_is_told_without_its_keys() {
    let api = Api::start();
    let config = api.get("/api/v1/config");
    assert!(config["text"].as_str().unwrap().contains("# key: not set"), "{config}");
    assert_eq!(api.get("/api/v1/workers").as_array().map(Vec::len), Some(2));
}

impl Api {
    /// Two pools with a rule between them.
    fn of_two_pools(change: impl FnOnce(&mut crate::config::Config)) -> Self {
        let mut config = loopback();
        let mut other = config.pools[0].clone();
        other.name = "registrars".to_owned();
        for (place, backend) in other.backends.iter_mut().enumerate() {
            backend.name = format!("r{place}");
        }
        other.backends[1].intake.backup = true;
        config.pools.push(other);
        config.routes.push(crate::config::RouteConfig {
            name: Some("registrations".to_owned()),
            pool: "registrars".to_owned(),
            methods: vec!["REGISTER".to_owned()],
            ..crate::config::RouteConfig::default()
        });
        change(&mut config);
        let again = config.clone();
        let load = move || Ok(Loaded { warnings: Report::default(), config: again.clone() });
        Self(Operator::new(Balancer::start(config).unwrap(), Box::new(load)))
    }
}

#[test]
fn pools_and_rules_are_told_in_their_order() {
    let api = Api::of_two_pools(|_| {});
    let pools = api.get("/api/v1/pools");
    assert_eq!((&pools[0]["name"], &pools[1]["name"]), (&"default".into(), &"registrars".into()));
    assert_eq!(pools[0]["policy"], "call-id-hash (rendezvous)");
    assert_eq!(pools[1]["routes"], serde_json::json!(["route \"registrations\""]));
    let tiers = pools[1]["tiers"].as_array().expect("tiers");
    assert_eq!((tiers.len(), &tiers[1]["backends"][0]), (2, &"r1".into()));
    assert_eq!((&tiers[0]["backup"], &tiers[1]["backup"]), (&false.into(), &true.into()));
    assert_eq!((&pools[1]["weight"], &pools[1]["weight_ready"]), (&3.into(), &3.into()));
    let routes = api.get("/api/v1/routes");
    assert_eq!(routes[0]["words"], "REGISTER -> pool registrars");
    assert_eq!((&routes[1]["number"], &routes[1]["pool"]), (&Value::Null, &"default".into()));
    let backends = api.get("/api/v1/backends");
    assert_eq!(
        (&backends[2]["pool"], &backends[3]["backup"]),
        (&"registrars".into(), &true.into())
    );
}

#[test]
fn where_goes_through_rule_pool_policy_and_backend() {
    let api = Api::of_two_pools(|config| config.pools[0].policy = crate::pool::Policy::LeastWork);
    let found = api.get("/api/v1/where?call_id=a&method=REGISTER");
    assert_eq!(
        (&found["route"], &found["pool"]),
        (&"route \"registrations\"".into(), &"registrars".into())
    );
    assert_eq!((&found["backend"], &found["by"]), (&"r0".into(), &"policy".into()), "no backup");
    let found = api.get("/api/v1/where?call_id=a");
    assert_eq!((&found["route"], &found["pool"]), (&Value::Null, &"default".into()));
    assert_eq!(
        (&found["backend"], &found["rule"]),
        (&Value::Null, &"everything else -> pool default".into())
    );
    assert_eq!(found["candidates"].as_array().map(Vec::len), Some(2));
    let message = b"REGISTER sip:x SIP/2.0\r\nCall-ID: m@1\r\nTo: <sip:a@x>\r\n\r\n";
    let (status, found) = api.ask_with(true, "/api/v1/where", message);
    assert_eq!(
        (status, &found["pool"], &found["call_id"]),
        (200, &"registrars".into(), &"m@1".into())
    );
    assert_eq!(api.ask_with(true, "/api/v1/where", b"rubbish").0, 400);
    for wrong in ["source=x", "listener=x", "uri=x", "header=x"] {
        assert_eq!(api.ask(false, &format!("/api/v1/where?call_id=a&{wrong}")).0, 400, "{wrong}");
    }
}

#[test]
fn where_says_what_it_would_have_to_know() {
    let of = |key| {
        let table = crate::pool::HashTable::Rendezvous;
        let policy = crate::pool::Policy::Hash { key, table };
        Api::of_two_pools(|config| config.pools[0].policy = policy)
    };
    let api = of(crate::pool::HashKey::Source);
    let found = api.get("/api/v1/where?call_id=a");
    assert_eq!(found["backend"], Value::Null, "{found}");
    assert!(found["why"].as_str().unwrap().contains("source"), "{found}");
    assert!(api.get("/api/v1/where?call_id=a&source=192.0.2.1")["backend"].is_string());
    let api = of(crate::pool::HashKey::Aor);
    assert_eq!(api.get("/api/v1/where?call_id=a")["backend"], Value::Null);
    assert!(api.get("/api/v1/where?call_id=a&to=sip:a@x")["backend"].is_string());
}

#[test]
fn where_keeps_calls_out_at_a_cap_and_nothing_else() {
    let api = Api::of_two_pools(|config| {
        config.routes.clear();
        for backend in &mut config.pools[0].backends {
            backend.intake.calls_max = Some(3);
        }
    });
    let full = crate::pool::Load { calls: 3, work: 525, latency_us: 1500, ..Default::default() };
    let place = |query| {
        let asked = Asked::read(Query(query), b"", &api.0.balancer).expect("good");
        let found = whither::place_by(&api.0.balancer, &asked, None, &|_| full);
        serde_json::to_value(found).expect("JSON")
    };
    let found = place("call_id=a");
    assert_eq!((&found["backend"], &found["by"]), (&Value::Null, &"nobody".into()));
    let candidate = &found["candidates"][0];
    assert_eq!((&candidate["full"], &candidate["calls"]), (&true.into(), &3.into()));
    assert_eq!((&candidate["work"], &candidate["latency_ms"]), (&5.25.into(), &1.5.into()));
    assert!(place("call_id=a&method=REGISTER")["backend"].is_string());
    let told = &api.get("/api/v1/backends")[0];
    assert_eq!(
        (&told["transactions"], &told["latency_ms"], &told["held"]),
        (&0.into(), &Value::Null, &false.into())
    );
}

#[test]
fn where_by_source_listener_and_header() {
    let api = Api::of_two_pools(|config| {
        let route = &mut config.routes[0];
        route.methods.clear();
        route.sources = vec!["192.0.2.0/24".parse().unwrap()];
        route.listeners = vec![config.listeners[0].bind];
        route.headers =
            vec![crate::pool::HeaderRule { name: "X-T".into(), value: Some("1".into()) }];
    });
    let listener = api.get("/api/v1/status")["listeners"][0].as_str().unwrap().to_owned();
    let pool = |query: &str| api.get(&format!("/api/v1/where?call_id=a{query}"))["pool"].clone();
    let all = format!("&source=192.0.2.7:5060&listener={listener}&header=x-t%3A%201");
    assert_eq!(pool(&all), "registrars");
    assert_eq!(pool(&all.replace("192.0.2.7", "192.0.3.7")), "default");
    assert_eq!(pool(&all.replace("%201", "%202")), "default");
    assert_eq!(pool(all.split("&header").next().unwrap()), "default");
}

#[test]
fn a_backend_is_added_removed_and_all_of_it_given_up() {
    let api = Api::of_two_pools(|_| {});
    let added = api.post(
        "/api/v1/backends?address=127.0.0.3:9&name=new&pool=registrars&weight=7&priority=3&dialogs_max=5",
    );
    assert_eq!(
        (&added["pool"], &added["added"], &added["weight"]["now"]),
        (&"registrars".into(), &true.into(), &7.into())
    );
    assert_eq!((&added["priority"], &added["dialogs_max"]), (&3.into(), &5.into()));
    assert_eq!(api.0.balancer.pool().backends().len(), 5);
    assert_eq!(api.get("/api/v1/status")["drift"][0]["what"], "added");
    api.post("/api/v1/reload");
    assert_eq!(api.get("/api/v1/backends").as_array().map(Vec::len), Some(5), "it survives");
    for (wrong, status) in [
        ("", 400),
        ("?address=x:", 400),
        ("?address=127.0.0.4&weight=x", 400),
        ("?address=127.0.0.4&name=new", 409),
        ("?address=127.0.0.4&pool=none", 409),
    ] {
        assert_eq!(api.ask(true, &format!("/api/v1/backends{wrong}")).0, status, "{wrong}");
    }
    assert!(!api.post("/api/v1/backends/new/clear")["leaving"].is_null());
    let removed = api.post("/api/v1/backends/b0/remove?deadline=60");
    assert_eq!((&removed["state"], &removed["overridden"]), (&"drained".into(), &true.into()));
    let drift = &api.get("/api/v1/status")["drift"];
    assert_eq!((&drift[0]["backend"], &drift[0]["what"]), (&"b0".into(), &"removed".into()));
    api.post("/api/v1/reload");
    assert!(!api.get("/api/v1/backends")[4]["leaving"].is_null(), "it survives");
    assert_eq!(api.post("/api/v1/backends/b0/clear")["state"], "ready");
    assert_eq!(api.get("/api/v1/status")["drift"].as_array().map(Vec::len), Some(0));
}
