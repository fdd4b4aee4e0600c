//! The admin API: what the balancer knows as JSON, and what an operator may ask of it.
//!
//! | request | what |
//! |---|---|
//! | GET `/api/v1/status`, `backends`, `workers`, `events`, `config` | how it stands |
//! | GET `/api/v1/pins[?call_id=C]` | how many pins, and that of one Call-ID |
//! | GET `/api/v1/pools`, `routes` | pools with their backends, rules in their order |
//! | GET `/api/v1/where?call_id=C` | the backend that such a request would get, and why: also `method`, `uri` ... |
//! | POST `/api/v1/where` | the same of a whole request, in the body |
//! | POST `/api/v1/backends?address=A` | adds a backend: also `pool`, and the words of `--backend` |
//! | POST `/api/v1/backends/NAME/remove[?deadline=S]` | drains it, then it goes |
//! | POST `/api/v1/reload` | as HUP |
//! | POST `/api/v1/backends/NAME/drain[?deadline=S]`, `ready`, `maint`, `weight?value=N`, `clear` | as it says |
//!
//! Nothing changes by GET, and nothing for a web page that a browser shows: its requests bear an Origin.

mod answers;
mod groups;
mod query;
mod whither;

use super::fleet::{Admin, UnknownBackend, Who};
use super::operator::Operator;
use super::prober;
use crate::config::backend_of;
use query::Query;
use serde::Serialize;
use std::time::Duration;
use whither::Asked;

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
    pub(super) body: &'a [u8],
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
    Pools,
    Routes,
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
        return failed(404, NOTHING_HERE);
    };
    let adds = route == Route::Backends && ask.posts;
    let changes = adds || matches!(route, Route::Reload | Route::Change(..));
    if changes && !ask.posts {
        return Said { allow: Some("POST"), ..failed(405, "this changes something: POST only") };
    }
    let asks_with_body = route == Route::Where && ask.posts;
    if !changes && !ask.reads && !asks_with_body {
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
        Route::Backends if adds => add(operator, query),
        Route::Pools => json(&groups::pools(&operator.balancer)),
        Route::Routes => json(&groups::routes(&operator.balancer)),
        Route::Backends => json(&answers::backends(&operator.balancer)),
        Route::Workers => json(&answers::workers(&operator.balancer)),
        Route::Events => json(&answers::events(&operator.balancer)),
        Route::Config => json(&answers::config(&operator.balancer)),
        Route::Pins => pins(operator, query).await,
        Route::Where => whither(operator, query, ask.body).await,
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
        ("pools", None, None) => Route::Pools,
        ("routes", None, None) => Route::Routes,
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

const ACTIONS: [&str; 6] = ["drain", "ready", "maint", "weight", "clear", "remove"];

const NOTHING_HERE: &str = "nothing at this path of the API; below /api/v1/ there are status, backends, pools, \
     routes, workers, events, config, pins, where and reload";

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
                Ok::<_, UnknownBackend>(changed)
            })
        }
        "weight" => {
            let Ok(Some(weight)) = query.number("value", 0..=u64::from(u16::MAX)) else {
                return failed(400, "value is missing or no weight: give ?value=N, 0 to 65535");
            };
            let weight = u16::try_from(weight).unwrap_or(u16::MAX);
            balancer.change(|fleet, now| fleet.set_weight(name, weight, Who::Operator, now))
        }
        "clear" => {
            let within = balancer.remove_timeout();
            balancer.change(|fleet, now| {
                let changed = fleet.clear(name, within, Who::Operator, now)?;
                fleet.watch(prober::moment(), &mut prober::random); // who is back is watched again
                Ok::<_, UnknownBackend>(changed)
            })
        }
        "remove" => {
            let Ok(deadline) = query.number("deadline", 0..=DEADLINE_MAX_S) else {
                return failed(400, "deadline is a number of seconds, 0 to 2592000");
            };
            let within = deadline.map_or(balancer.remove_timeout(), Duration::from_secs);
            balancer.change(|fleet, now| fleet.remove(name, within, Who::Operator, now))
        }
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

async fn whither(operator: &Operator, query: Query<'_>, body: &[u8]) -> Said {
    let asked = match Asked::read(query, body, &operator.balancer) {
        Ok(asked) => asked,
        Err(text) => return failed(400, &text),
    };
    match operator.pinned(asked.call_id.as_bytes()).await {
        Ok(pin) => json(&whither::place(&operator.balancer, &asked, pin)),
        Err(()) => failed(503, "a worker does not answer"),
    }
}

/// The words are those of `--backend`, and so are the errors.
fn add(operator: &Operator, query: Query<'_>) -> Said {
    let Some(address) = query.text("address") else {
        return failed(400, "address is missing: give ?address=A");
    };
    let mut text = address;
    for key in ["name", "weight", "priority", "dialogs_max", "calls_per_second_max"] {
        if let Some(value) = query.text(key) {
            text += &format!(",{key}={value}");
        }
    }
    match query.text("backup").as_deref() {
        Some("true") => text += ",backup",
        Some("false") | None => {}
        Some(_) => return failed(400, "backup is true or false"),
    }
    let backend = match backend_of(&text) {
        Ok(backend) => backend,
        Err(report) => return failed(400, report.render(false).trim_end()),
    };
    let balancer = &operator.balancer;
    let first = || balancer.with_fleet(|fleet| fleet.pools()[0].name.clone());
    let pool = query.text("pool").unwrap_or_else(first);
    let name = backend.name.clone();
    match (balancer.add(&pool, backend), answers::backend(balancer, &name)) {
        (Ok(()), Some(backend)) => json(&backend),
        (Ok(()), None) => failed(404, "the backend is gone"),
        (Err(failure), _) => failed(409, &failure.text),
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
