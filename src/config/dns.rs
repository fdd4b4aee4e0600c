//! `[dns]`: how names of backends are looked up.

use super::address;
use super::reader::{At, Table};
use super::report::{Place, Problem, Report};
use super::values::{duration_ms, duration_s, show_duration, show_duration_ms};
use std::fmt::{self, Formatter};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// `[dns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// Name servers, asked by UDP, and by TCP where an answer is too long; none: those of
    /// `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// How long a server has to answer, milliseconds; it is asked twice.
    pub timeout_ms: u64,
    /// How long an answer holds at least, seconds.
    pub ttl_min_s: u32,
    /// How long an answer holds at most, seconds.
    pub ttl_max_s: u32,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self { servers: Vec::new(), timeout_ms: 2_000, ttl_min_s: 5, ttl_max_s: 3_600 }
    }
}

/// The table, each value good by itself.
#[derive(Debug, Default)]
pub(super) struct RawDns {
    pub(super) config: DnsConfig,
    /// Where the TTLs stand, if they do.
    ttls: [Option<Place>; 2],
}

/// Reads the table.
pub(super) fn dns(mut table: Table<'_>) -> RawDns {
    let default = DnsConfig::default();
    let servers = table.list("servers", "[\"10.0.0.53:53\"]", address::name_server);
    let servers = servers.into_iter().map(|at| at.value).collect();
    let patience = |text: &str| duration_ms(text, TIMEOUT_MS);
    let timeout = table.parsed("timeout", "\"2s\"", patience);
    let ttl = |text: &str| duration_s(text, TTL_S);
    let least = table.parsed("ttl_min", "\"5s\"", ttl);
    let most = table.parsed("ttl_max", "\"1h\"", ttl);
    table.finish(&[]);
    let place = |at: &Option<At<u32>>| at.as_ref().map(|at| at.place);
    let ttls = [place(&least), place(&most)];
    let config = DnsConfig {
        servers,
        timeout_ms: timeout.map_or(default.timeout_ms, |at| at.value),
        ttl_min_s: least.map_or(default.ttl_min_s, |at| at.value),
        ttl_max_s: most.map_or(default.ttl_max_s, |at| at.value),
    };
    RawDns { config, ttls }
}

/// The least must not be above the most.
pub(super) fn ttls_agree(raw: &RawDns, report: &mut Report) {
    let (least, most) = (raw.config.ttl_min_s, raw.config.ttl_max_s);
    if least > most {
        let [of_least, of_most] = raw.ttls;
        report.add(
            Problem::error("`ttl_min` is above `ttl_max`")
                .at(of_least, format!("{} at least", show_duration(least)))
                .at(of_most, format!("{} at most", show_duration(most)))
                .help("the defaults are 5s and 1h"),
        );
    }
}

/// As [`dns`] reads it.
pub(super) fn show(f: &mut Formatter<'_>, dns: &DnsConfig) -> fmt::Result {
    let servers = servers(dns);
    writeln!(f, "\n[dns]\nservers = {servers}")?;
    writeln!(f, "timeout = \"{}\"", show_duration_ms(dns.timeout_ms))?;
    writeln!(f, "ttl_min = \"{}\"", show_duration(dns.ttl_min_s))?;
    writeln!(f, "ttl_max = \"{}\"", show_duration(dns.ttl_max_s))
}

/// What differs, in words.
pub(super) fn diff(old: &DnsConfig, new: &DnsConfig, value: &mut impl FnMut(&str, String, String)) {
    value("dns servers", servers(old), servers(new));
    value("dns timeout", show_duration_ms(old.timeout_ms), show_duration_ms(new.timeout_ms));
    value("dns ttl_min", show_duration(old.ttl_min_s), show_duration(new.ttl_min_s));
    value("dns ttl_max", show_duration(old.ttl_max_s), show_duration(new.ttl_max_s));
}

fn servers(dns: &DnsConfig) -> String {
    let servers: Vec<_> = dns.servers.iter().map(|server| format!("\"{server}\"")).collect();
    format!("[{}]", servers.join(", "))
}

const TIMEOUT_MS: RangeInclusive<u64> = 50..=60_000;

/// From a second, for a TTL of 0 must not become a storm, to a day.
const TTL_S: RangeInclusive<u32> = 1..=86_400;
