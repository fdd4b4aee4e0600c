//! `sipring ctl`: a running balancer, asked and told over its admin API.

mod groups;
mod http;
mod table;

use super::{Exit, terminal};
use crate::config::Config;
use clap::{Args, Subcommand};
use http::{Answer, Door, Unreachable, escaped};
use serde_json::Value;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Whom to ask, and what.
#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    way: Way,

    /// Print the API's JSON instead of tables
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

/// Where a running balancer answers.
#[derive(Args, Clone, Debug)]
struct Way {
    /// Admin address of the balancer [default: 127.0.0.1:9060]
    #[arg(long, global = true, value_name = "ADDR", conflicts_with = "socket")]
    admin: Option<SocketAddr>,

    /// Control socket of the balancer (`socket` under `[admin]` in its file)
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// How it stands: version, calls, configuration, what was set at run time
    Status,
    /// Every backend with its pool, state, weight and calls
    Backends,
    /// Every pool with its policy and tiers
    Pools,
    /// Every rule, in the order in which they are asked
    Routes,
    /// Every worker with its share
    Workers,
    /// The last changes of backends
    Events,
    /// How many Call-IDs are remembered, and whether this one is
    Pins {
        /// The Call-ID to look for
        call_id: Option<String>,
    },
    /// The backend that a request would get, and why: its rule, pool and policy
    Where(WhereArguments),
    /// A backend that the config does not have, until it is removed or the process ends
    Add(AddArguments),
    /// A backend gets no new calls, and goes when those that it has are over
    Remove {
        /// Its name
        name: String,
        /// Seconds after which it goes in any case
        #[arg(long, value_name = "SECONDS")]
        deadline: Option<u32>,
    },
    /// No new calls for a backend; those that it has go on
    Drain {
        /// Its name
        name: String,
        /// Seconds after which an event tells of calls that are left
        #[arg(long, value_name = "SECONDS")]
        deadline: Option<u32>,
    },
    /// New calls for a backend again
    Ready {
        /// Its name
        name: String,
    },
    /// Nothing new at all for a backend; registrations move away
    Maint {
        /// Its name
        name: String,
    },
    /// Another share of new calls for a backend
    Weight {
        /// Its name
        name: String,
        /// 0 to 65535
        weight: u16,
    },
    /// Give up what was set at run time: the config is followed again
    Clear {
        /// Its name
        name: String,
    },
    /// Load the configuration again, as HUP does
    Reload,
}

/// A request, by what rules and policies look at.
#[derive(Args, Clone, Debug)]
struct WhereArguments {
    /// The Call-ID
    #[arg(required_unless_present = "file")]
    call_id: Option<String>,

    /// A whole request, as it comes in; `-` reads it from the standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Its method [default: INVITE]
    #[arg(long)]
    method: Option<String>,

    /// Its Request-URI
    #[arg(long)]
    uri: Option<String>,

    /// The URI in From
    #[arg(long)]
    from: Option<String>,

    /// The URI in To
    #[arg(long)]
    to: Option<String>,

    /// The address that it comes from
    #[arg(long, value_name = "ADDR")]
    source: Option<String>,

    /// The listener that it comes in on
    #[arg(long, value_name = "ADDR")]
    listener: Option<String>,

    /// A header field, each one
    #[arg(long, value_name = "NAME:VALUE")]
    header: Vec<String>,
}

/// A backend, as `--backend` describes it.
#[derive(Args, Clone, Debug)]
struct AddArguments {
    /// Where it is
    address: String,

    /// The pool that it is for [default: the first one]
    #[arg(long)]
    pool: Option<String>,

    /// Its name [default: its address]
    #[arg(long)]
    name: Option<String>,

    /// Its share of new calls [default: 1]
    #[arg(long)]
    weight: Option<u16>,

    /// Its tier [default: 0]
    #[arg(long)]
    priority: Option<u16>,

    /// It takes calls when nobody else does
    #[arg(long)]
    backup: bool,

    /// Calls at most
    #[arg(long)]
    dialogs_max: Option<u32>,

    /// Calls begun in one second at most
    #[arg(long)]
    calls_per_second_max: Option<u32>,
}

/// A path with those parameters that are there.
fn target(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let given = parameters.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    let pairs: Vec<_> = given.map(|(key, value)| format!("{key}={}", escaped(value))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

impl WhereArguments {
    fn ask(&self, door: &Door) -> Result<Answer, Unreachable> {
        let mut parameters = vec![
            ("call_id", self.call_id.clone()),
            ("method", self.method.clone()),
            ("uri", self.uri.clone()),
            ("from", self.from.clone()),
            ("to", self.to.clone()),
            ("source", self.source.clone()),
            ("listener", self.listener.clone()),
        ];
        parameters.extend(self.header.iter().map(|header| ("header", Some(header.clone()))));
        let target = target("/api/v1/where", &parameters);
        let Some(path) = &self.file else { return door.ask("GET", &target) };
        let read = match path.as_os_str() == "-" {
            true => {
                let mut bytes = Vec::new();
                std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
            }
            false => std::fs::read(path),
        };
        let unreadable =
            |error| Unreachable { forbidden: false, text: format!("{}: {error}", path.display()) };
        door.post(&target, &read.map_err(unreadable)?)
    }
}

impl AddArguments {
    fn target(&self) -> String {
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        target(
            "/api/v1/backends",
            &[
                ("address", Some(self.address.clone())),
                ("pool", self.pool.clone()),
                ("name", self.name.clone()),
                ("weight", number(self.weight.map(u32::from))),
                ("priority", number(self.priority.map(u32::from))),
                ("backup", self.backup.then(|| "true".to_owned())),
                ("dialogs_max", number(self.dialogs_max)),
                ("calls_per_second_max", number(self.calls_per_second_max)),
            ],
        )
    }
}

/// Does it. 69 when nobody answers, 77 when it is not allowed, 78 when a reload was refused, 1 when
/// anything else was.
pub(super) fn ctl(arguments: Arguments) -> Exit {
    let Arguments { way, json, command } = arguments;
    let answer = match command.ask(&way.door()) {
        Ok(answer) => answer,
        Err(unreachable) => return refuse(&unreachable),
    };
    let value: Value = match serde_json::from_str(&answer.body) {
        Ok(value) => value,
        Err(_) => {
            terminal::error(&format!("{} answers, but it is no sipring", way.door()));
            return Exit::Failure;
        }
    };
    if answer.status != 200 {
        match value["error"].as_str().unwrap_or("refused, without a reason") {
            // A report of a config that was refused is whole.
            report if report.starts_with("error") => terminal::say(&format!("{report}\n")),
            text => terminal::error(text),
        }
        return if answer.status == 422 { Exit::Config } else { Exit::Failure };
    }
    terminal::result(&if json { answer.body } else { command.shown(&value) })
}

fn refuse(unreachable: &Unreachable) -> Exit {
    terminal::error(&unreachable.text);
    if unreachable.forbidden { Exit::Permission } else { Exit::Unavailable }
}

/// The configuration of the balancer that runs where this one would, as `sipring check` prints it.
pub(super) fn running_config(config: &Config) -> Result<String, Exit> {
    let door = match &config.admin_socket {
        Some(path) => Door::Socket(path.clone()),
        None => Door::Address(config.admin),
    };
    let answer = door.ask("GET", "/api/v1/config").map_err(|error| refuse(&error))?;
    let value: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    value["text"].as_str().map(str::to_owned).ok_or_else(|| {
        terminal::error(&format!("{door} does not tell its configuration"));
        Exit::Failure
    })
}

impl Way {
    fn door(&self) -> Door {
        match &self.socket {
            Some(path) => Door::Socket(path.clone()),
            None => Door::Address(self.admin.unwrap_or(ADMIN)),
        }
    }
}

/// `[admin] listen` by default.
const ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9060);

impl Command {
    fn ask(&self, door: &Door) -> Result<Answer, Unreachable> {
        let get = |path: &str| door.ask("GET", &format!("/api/v1/{path}"));
        let change = |name: &str, action: &str| {
            door.ask("POST", &format!("/api/v1/backends/{}/{action}", escaped(name)))
        };
        match self {
            Self::Status => get("status"),
            Self::Backends => get("backends"),
            Self::Pools => get("pools"),
            Self::Routes => get("routes"),
            Self::Workers => get("workers"),
            Self::Events => get("events"),
            Self::Pins { call_id: None } => get("pins"),
            Self::Pins { call_id: Some(call_id) } => {
                get(&format!("pins?call_id={}", escaped(call_id)))
            }
            Self::Where(arguments) => arguments.ask(door),
            Self::Add(arguments) => door.ask("POST", &arguments.target()),
            Self::Remove { name, deadline } => {
                let deadline = deadline.map(|seconds| seconds.to_string());
                change(name, &target("remove", &[("deadline", deadline)]))
            }
            Self::Drain { name, deadline: None } => change(name, "drain"),
            Self::Drain { name, deadline: Some(seconds) } => {
                change(name, &format!("drain?deadline={seconds}"))
            }
            Self::Ready { name } => change(name, "ready"),
            Self::Maint { name } => change(name, "maint"),
            Self::Weight { name, weight } => change(name, &format!("weight?value={weight}")),
            Self::Clear { name } => change(name, "clear"),
            Self::Reload => door.ask("POST", "/api/v1/reload"),
        }
    }

    fn shown(&self, value: &Value) -> String {
        match self {
            Self::Status => table::status(value),
            Self::Backends => table::backends(value),
            Self::Pools => groups::pools(value),
            Self::Routes => groups::routes(value),
            Self::Workers => table::workers(value),
            Self::Events => table::events(value),
            Self::Pins { .. } => table::pins(value),
            Self::Where(_) => groups::whither(value),
            Self::Reload => table::reloaded(value),
            _ => table::backends(&Value::Array(vec![value.clone()])),
        }
    }
}
