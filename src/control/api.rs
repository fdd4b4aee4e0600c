//! The admin API: what the balancer knows as JSON, and what an operator may ask of it.
//!
//! | request | what |
//! |---|---|
//! | GET `/api/v1/status`, `backends`, `workers`, `events`, `config` | how it stands |
//! | GET `/api/v1/pins[?call_id=C]` | how many pins, and that of one Call-ID |
//! | GET `/api/v1/where?call_id=C` | the backend that this Call-ID would get, and why |
//! | POST `/api/v1/reload` | as HUP |
//! | POST `/api/v1/backends/NAME/drain[?deadline=S]`, `ready`, `maint`, `weight?value=N`, `clear` | as it says |
//!
//! Nothing changes by GET, and nothing for a web page that a browser shows: its requests bear an Origin.

mod answers;
mod query;

use super::fleet::{Admin, Who};
use super::operator::Operator;
use crate::pool::{GroupIndex, Policy, Pool};
use answers::Where;
use query::Query;
use serde::Serialize;
use std::time::Duration;

/// The longest deadline of a drain: 30 days.
const DEADLINE_MAX_S: u64 = 30 * 86_400;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    /// GET or HEAD; else POST or something else.
    pub(super) reads: bool,
    pub(super) posts: bool,
    /// From a page in a browser.
    pub(super) from_page: bool,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
}

/// A status code, JSON, and which methods are allowed where that one was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) json: String,
    pub(super) allow: Option<&'static str>,
}

/// What stands behind the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    Status,
    Backends,
    Workers,
    Events,
    Config,
    Pins,
    Where,
    Reload,
    /// What is to be done to a backend, as they stand in the path.
    Change(&'a str, &'a str),
}

/// Answers.
pub(super) async fn respond(operator: &Operator, ask: Ask<'_>) -> Said {
    let Some(route) = route(ask.path) else {
        return failed(404, "nothing at this path of the API; README.md lists what there is");
    };
    let changes = matches!(route, Route::Reload | Route::Change(..));
    if changes && !ask.posts {
        return Said { allow: Some("POST"), ..failed(405, "this changes something: POST only") };
    }
    if !changes && !ask.reads {
        return Said { allow: Some("GET, HEAD"), ..failed(405, "this only tells: GET or HEAD") };
    }
    if changes && ask.from_page {
        return failed(
            403,
            "no web page may change this balancer: send the request without Origin",
        );
    }
    let query = Query(ask.query);
    match route {
        Route::Status => json(&answers::status(operator)),
        Route::Backends => json(&answers::backends(&operator.balancer)),
        Route::Workers => json(&answers::workers(&operator.balancer)),
        Route::Events => json(&answers::events(&operator.balancer)),
        Route::Config => json(&answers::config(&operator.balancer)),
        Route::Pins => pins(operator, query).await,
        Route::Where => whither(operator, query).await,
        Route::Reload => match operator.reload() {
            Ok(reloaded) => json(&answers::Done::of(&reloaded)),
            Err(text) => failed(422, text.trim_end()),
        },
        Route::Change(name, action) => change(operator, &query::decoded(name), action, query),
    }
}

fn route(path: &str) -> Option<Route<'_>> {
    let path = path.strip_prefix("/api/v1/")?;
    let mut parts = path.split('/');
    let route = match (parts.next()?, parts.next(), parts.next()) {
        ("status", None, None) => Route::Status,
        ("backends", None, None) => Route::Backends,
        ("workers", None, None) => Route::Workers,
        ("events", None, None) => Route::Events,
        ("config", None, None) => Route::Config,
        ("pins", None, None) => Route::Pins,
        ("where", None, None) => Route::Where,
        ("reload", None, None) => Route::Reload,
        ("backends", Some(name), Some(action)) if ACTIONS.contains(&action) => {
            Route::Change(name, action)
        }
        _ => return None,
    };
    parts.next().is_none().then_some(route)
}

const ACTIONS: [&str; 5] = ["drain", "ready", "maint", "weight", "clear"];

/// Who asked by API.
const REASON: &str = "asked for";

fn change(operator: &Operator, name: &str, action: &str, query: Query<'_>) -> Said {
    let balancer = &operator.balancer;
    let result = match action {
        "drain" => {
            let Ok(deadline) = query.number("deadline", 0..=DEADLINE_MAX_S) else {
                return failed(400, "deadline is a number of seconds, 0 to 2592000");
            };
            balancer.change(|fleet, now| {
                let changed = fleet.set_admin(name, Admin::Drain, REASON, Who::Operator, now)?;
                if let Some(seconds) = deadline {
                    fleet.await_drain(name, Duration::from_secs(seconds), now)?;
                }
                Ok(changed)
            })
        }
        "weight" => {
            let Ok(Some(weight)) = query.number("value", 0..=u64::from(u16::MAX)) else {
                return failed(400, "value is missing or no weight: give ?value=N, 0 to 65535");
            };
            let weight = u16::try_from(weight).unwrap_or(u16::MAX);
            balancer.change(|fleet, now| fleet.set_weight(name, weight, Who::Operator, now))
        }
        "clear" => balancer.change(|fleet, now| fleet.clear(name, Who::Operator, now)),
        "maint" => balancer.set_admin(name, Admin::Maint, REASON),
        _ => balancer.set_admin(name, Admin::Ready, REASON),
    };
    match (result, answers::backend(balancer, name)) {
        (Ok(()), Some(backend)) => json(&backend),
        (Ok(()), None) => failed(404, "the backend is gone"),
        (Err(failure), None) => failed(404, &failure.text),
        (Err(failure), Some(_)) => failed(500, &failure.text),
    }
}

async fn pins(operator: &Operator, query: Query<'_>) -> Said {
    let Some(call_id) = query.text("call_id") else {
        return json(&answers::pins(&operator.balancer, None));
    };
    match operator.pinned(call_id.as_bytes()).await {
        Ok(pin) => json(&answers::pins(&operator.balancer, Some((call_id, pin)))),
        Err(()) => failed(503, "a worker does not answer"),
    }
}

async fn whither(operator: &Operator, query: Query<'_>) -> Said {
    let Some(call_id) = query.text("call_id") else {
        return failed(400, "call_id is missing: give ?call_id=C");
    };
    let Ok(pin) = operator.pinned(call_id.as_bytes()).await else {
        return failed(503, "a worker does not answer");
    };
    let pool = operator.balancer.pool();
    let policy = operator.balancer.live().config.pools[0].policy;
    let name = |slot| pool.backend(slot).spec.name.clone();
    let pinned = pin.and_then(|id| pool.by_id(id)).map(name);
    let (backend, by, why) = match pinned {
        Some(name) => (Some(name), "pin", "it is known, and stays where it went"),
        None => by_policy(&pool, policy, call_id.as_bytes()),
    };
    json(&Where { call_id, backend, by, why })
}

fn by_policy(
    pool: &Pool,
    policy: Policy,
    call_id: &[u8],
) -> (Option<String>, &'static str, &'static str) {
    match policy {
        Policy::Hash { .. } => {
            match pool.choose_by_hash(GroupIndex(0), pool.call_hash(call_id), &[]) {
                Some(slot) => {
                    let name = pool.backend(slot).spec.name.clone();
                    (Some(name), "policy", "a new call: the hash of its Call-ID")
                }
                None => (None, "nobody", "no backend takes new calls: 480"),
            }
        }
        _ if pool.backends().iter().any(|one| one.takes_new_calls()) => {
            (None, "policy", "a new call: whose turn it is, whatever its Call-ID")
        }
        _ => (None, "nobody", "no backend takes new calls: 480"),
    }
}

fn json(value: &impl Serialize) -> Said {
    match serde_json::to_string(value) {
        Ok(json) => Said { status: 200, json: json + "\n", allow: None },
        Err(error) => failed(500, &error.to_string()),
    }
}

fn failed(status: u16, text: &str) -> Said {
    let json = serde_json::json!({ "error": text }).to_string() + "\n";
    Said { status, json, allow: None }
}

#[cfg(test)]
mod tests;
