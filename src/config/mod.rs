//! A config file (or flags) becomes a [`Config`] that cannot be wrong.
//!
//! 1. [`read`] takes the file's bytes in.
//! 2. [`load()`] reads its tree (`file`, by `reader`), where every single value must be good
//!    (`values`, `address`), and lets the flags complete it (`flags`).
//! 3. It holds the values against each other (`validate`).
//! 4. Out comes a [`Config`] with warnings, or a [`Report`] of everything that is wrong.

mod address;
mod agreement;
mod diff;
mod dns;
mod file;
mod flags;
mod health;
mod load;
mod messages;
mod names;
mod policy;
mod pools;
mod reader;
mod report;
mod route;
mod show;
mod validate;
mod values;
mod work;

pub use diff::Diff;
pub use dns::DnsConfig;
pub use flags::{Flags, backend_of};
pub use health::HealthConfig;
pub use load::{FILE_SIZE_MAX, Loaded, Text, load, read};
pub use messages::MessageLogConfig;
pub use names::{Host, NamedBackends, Transport};
pub use report::Report;
pub use route::RouteConfig;

use crate::pool::{Intake, Policy, State};
use crate::proxy::{Key, Method, PathMode};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// A whole, valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Worker threads; `None`: one per core that this process may use.
    pub workers: Option<usize>,
    /// The kernel gives messages to the worker that owns their Call-ID, where it can (`steering =
    /// "auto"`); false: never (`"off"`).
    pub steering: bool,
    /// Where clients come in; at least one.
    pub listeners: Vec<Listener>,
    /// Where our requests to backends leave from.
    pub backend_ports: BackendPorts,
    /// The pools of backends, at least one: the first takes what no rule gives to another.
    pub pools: Vec<PoolConfig>,
    /// Which requests are for which pool: the first that matches says so.
    pub routes: Vec<RouteConfig>,
    /// `[work]`: what a request without a final response counts for, in hundredths of an average one;
    /// by number of [`Method`].
    pub work: [u16; Method::ALL.len()],
    /// Record-Route in dialog-forming requests.
    pub record_route: bool,
    /// Path in REGISTER.
    pub path: PathMode,
    /// How names of backends are looked up.
    pub dns: DnsConfig,
    /// Bounds.
    pub limits: Limits,
    /// Keys and seed, equal on every node.
    pub cluster: Cluster,
    /// Admin HTTP address; loopback by default.
    pub admin: SocketAddr,
    /// Unix socket of the same server; `None`: none.
    pub admin_socket: Option<PathBuf>,
    /// Log level.
    pub log: LogLevel,
    /// Lines of final responses; `None`: none.
    pub message_log: Option<MessageLogConfig>,
}

/// A UDP listener. (TCP, TLS, WS and WSS come with the stream room.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address; an unspecified one (`0.0.0.0`, `[::]`) stands for every local address of its family.
    pub bind: SocketAddr,
    /// Host (name or address, IPv6 without brackets) and port in Via, Record-Route and Path.
    pub advertise: Option<(String, u16)>,
    /// Requests are answered where they came from, whether their Via has `rport` or not (RFC 3581).
    pub force_rport: bool,
}

/// `backend_ports`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendPorts {
    /// A fixed range, first and last: one port per worker, all of them bound.
    Range(u16, u16),
    /// `"listener"`: from the listener's own socket, for backends that accept one port only.
    Listener,
}

/// One `[[pool]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Its name.
    pub name: String,
    /// How new calls are spread.
    pub policy: Policy,
    /// `header`: the header field that `header-hash` goes by.
    pub hash_header: Option<String>,
    /// `bound`, per cent of a fair share; `None`: a hash may give a backend more than that.
    pub bound_percent: Option<u16>,
    /// `source_header`: the header field that tells the backends where a request came from.
    pub source_header: Option<String>,
    /// How its backends are probed.
    pub health: HealthConfig,
    /// Those with an address; together with `names` at least one.
    pub backends: Vec<BackendConfig>,
    /// Those that DNS leads to.
    pub names: Vec<NamedBackends>,
}

impl PoolConfig {
    /// A pool with nothing special about it.
    pub fn new(name: impl Into<String>, policy: Policy, backends: Vec<BackendConfig>) -> Self {
        Self {
            name: name.into(),
            policy,
            hash_header: None,
            bound_percent: None,
            source_header: None,
            health: HealthConfig::default(),
            backends,
            names: Vec::new(),
        }
    }

    /// Every `[[pool.backend]]`, as its address is written and as what it is: those with an address
    /// first, then those with a name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (String, &BackendConfig)> {
        let fixed = self.backends.iter().map(|backend| (backend.address.to_string(), backend));
        fixed.chain(self.names.iter().map(|names| (names.host.to_string(), &names.like)))
    }
}

/// One `[[pool.backend]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendConfig {
    /// The identity; default: the address with its port, in one spelling (`10.0.0.11:5060`).
    pub name: String,
    /// Where requests go.
    pub address: SocketAddr,
    /// 0 to 65 535; default 1.
    pub weight: u16,
    /// `state = "ready" | "drained" | "down"`.
    pub state: State,
    /// Networks that this backend sends from.
    pub sources: Vec<IpNet>,
    /// `priority`, `backup`, `dialogs_max`, `calls_per_second_max`.
    pub intake: Intake,
}

/// `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, bytes; larger requests get 513.
    pub max_message: usize,
    /// Pins in the whole process.
    pub pins: usize,
    /// Requests in the whole process whose final response is awaited for the counts of load.
    pub transactions: usize,
    /// Seconds until a silent dialog is forgotten.
    pub dialog_idle_s: u32,
    /// Seconds until a silent registration or subscription is forgotten.
    pub registration_idle_s: u32,
    /// Socket receive buffer asked for, bytes.
    pub receive_buffer: usize,
    /// Attempts of a request outside a dialog, the first included; 1: no failover.
    pub failover_tries: u8,
    /// Seconds that a backend may say nothing before another is tried.
    pub failover_after_s: u32,
    /// Requests kept for failover at once in the whole process.
    pub failover_kept: usize,
    /// Microseconds that messages may be kept waiting for more to come, under load; 0: not at all.
    pub latency_budget_us: u32,
    /// Seconds that calls get to end after TERM.
    pub drain_timeout_s: u32,
    /// Seconds that calls of a removed backend get to end.
    pub remove_timeout_s: u32,
}

/// `[cluster]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Token keys; `None`: drawn at start, with a warning.
    pub current: Option<Key>,
    /// The key before.
    pub previous: Option<Key>,
    /// Seed of the backend hash.
    pub hash_seed: u64,
}

/// `[log] level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Errors only.
    Error,
    /// And warnings.
    Warn,
    /// And changes of state (default).
    Info,
    /// And details.
    Debug,
}

/// 12 h of dialog silence, 70 min of registration silence (an hour, and the refresh that is late).
impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 65_535,
            pins: 1_000_000,
            transactions: 65_536,
            dialog_idle_s: 12 * 3_600,
            registration_idle_s: 70 * 60,
            receive_buffer: 4 << 20,
            failover_tries: 3,
            failover_after_s: 3,
            failover_kept: 8192,
            latency_budget_us: 0,
            drain_timeout_s: 30,
            remove_timeout_s: 3_600,
        }
    }
}

/// `backend_ports` by default: 32 ports below the kernel's ephemeral ones.
const BACKEND_PORTS: BackendPorts = BackendPorts::Range(15_060, 15_091);

/// `[admin] listen` by default.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9060);
