//! `sipring ctl`: a running balancer, asked and told over its admin API.

mod http;
mod table;

use super::{Exit, terminal};
use crate::config::Config;
use clap::{Args, Subcommand};
use http::{Answer, Door, Unreachable, escaped};
use serde_json::Value;
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
    /// Every backend with its state, weight and calls
    Backends,
    /// Every worker with its share
    Workers,
    /// The last changes of backends
    Events,
    /// How many Call-IDs are remembered, and whether this one is
    Pins {
        /// The Call-ID to look for
        call_id: Option<String>,
    },
    /// The backend that a request with this Call-ID would get, and why
    Where {
        /// The Call-ID
        call_id: String,
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
        let text = value["error"].as_str().unwrap_or("refused, without a reason");
        terminal::error(text);
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
            Self::Workers => get("workers"),
            Self::Events => get("events"),
            Self::Pins { call_id: None } => get("pins"),
            Self::Pins { call_id: Some(call_id) } => {
                get(&format!("pins?call_id={}", escaped(call_id)))
            }
            Self::Where { call_id } => get(&format!("where?call_id={}", escaped(call_id))),
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
            Self::Workers => table::workers(value),
            Self::Events => table::events(value),
            Self::Pins { .. } => table::pins(value),
            Self::Where { .. } => table::whither(value),
            Self::Reload => table::reloaded(value),
            _ => table::backends(&Value::Array(vec![value.clone()])),
        }
    }
}
