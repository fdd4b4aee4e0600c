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
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let ask = Ask { reads: !posts, posts, from_page: false, path, query };
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
    let changes = ["drain", "ready", "maint", "weight?value=3", "clear"];
    let changes = changes.map(|action| format!("/api/v1/backends/b0/{action}"));
    for target in changes.iter().map(String::as_str).chain(["/api/v1/reload"]) {
        assert_eq!(api.ask(false, target).0, 405, "{target}");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let ask = Ask { reads: false, posts: true, from_page: true, path, query };
        let said = Runtime::new().unwrap().block_on(respond(&api.0, ask));
        assert_eq!(said.status, 403, "{target}");
    }
    for path in ["status", "backends", "workers", "events", "config", "pins", "where"] {
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
