//! `sipring doctor`: is this machine fit for the balancer, and if not, what is to be done?
//!
//! `facts` reads what the machine says of itself; here it is judged, without asking anybody, so that
//! every judgement has its test.

mod facts;
mod ports;
mod quota;
#[cfg(test)]
mod tests;

pub use facts::Facts;

use super::plan::worker_count;
use crate::config::{BackendPorts, Config};
use crate::limits::WORKERS_MAX;
use facts::{CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, Interface};
use serde::Serialize;
use std::fmt;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but calls may suffer.
    Warning,
    /// The balancer does not start.
    Failure,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How grave it is.
    pub level: Level,
    /// What was looked at.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// What to do; `None` where all is well.
    pub advice: Option<String>,
}

fn ok(what: &'static str, found: impl Into<String>) -> Finding {
    Finding { level: Level::Ok, what, found: found.into(), advice: None }
}

fn warning(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { level: Level::Warning, what, found: found.into(), advice: Some(advice.into()) }
}

fn failure(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { level: Level::Failure, what, found: found.into(), advice: Some(advice.into()) }
}

/// Judges the machine for this configuration.
pub fn findings(facts: &Facts, config: &Config) -> Vec<Finding> {
    let mut findings = vec![rings(facts, config), cores(facts, config)];
    findings.extend(cpu_quota(facts));
    findings.push(open_files(facts, config));
    findings.push(buffer("receive buffer", facts.receive_buffer, config.limits.receive_buffer));
    findings.extend(ports::judged(facts, config));
    findings.extend(clock(facts));
    findings.extend(seccomp(facts));
    let workers = workers(config, facts.cores_allowed);
    findings.extend(facts.interfaces.iter().map(|one| queues(one, workers, facts.cores)));
    findings.extend(conntrack(facts));
    findings.push(steering(facts, config));
    findings.push(latency_budget(facts, config));
    findings.push(capabilities(facts));
    findings
}

/// Sockets that a worker connects to backends at most.
const CONNECTIONS_MAX: usize = 64;

/// As many as the balancer would start on so many cores.
fn workers(config: &Config, cores: usize) -> usize {
    worker_count(config, cores).unwrap_or(WORKERS_MAX) // a config that asks for too many is refused
}

/// Sockets that each worker knows where the machine has so many addresses, at most.
fn local_sockets(config: &Config, addresses: usize) -> usize {
    let ports = match config.backend_ports {
        BackendPorts::Range(first, last) => usize::from(last - first) + 1,
        BackendPorts::Listener => 0,
    };
    addresses.max(1) * (config.listeners.len() + ports)
}

/// The kernel counts the memory of rings against RLIMIT_MEMLOCK.
fn rings(facts: &Facts, config: &Config) -> Finding {
    let release = &facts.release;
    if let Err(refused) = &facts.rings {
        return failure("io_uring", format!("refused, on Linux {release}"), refused);
    }
    let workers = workers(config, facts.cores_allowed);
    let limit =
        facts.locked_memory.map_or("without a limit of locked memory".to_owned(), |bytes| {
            format!("with a limit of {} KiB of locked memory", bytes >> 10)
        });
    let workers = format!("{workers} worker{}", if workers == 1 { "" } else { "s" });
    ok("io_uring", format!("works for {workers} on Linux {release}, {limit}"))
}

fn cores(facts: &Facts, config: &Config) -> Finding {
    let cores = facts.cores_allowed;
    let workers = workers(config, cores);
    let found = format!("{workers} workers on {cores} of {} cores", facts.cores);
    if workers > cores {
        let advice = format!(
            "more workers than cores take turns on them and are not pinned: set workers = {cores} or \
             leave it out"
        );
        return warning("cores", found, advice);
    }
    if config.workers.is_none() && workers < cores.min(WORKERS_MAX) {
        let advice = format!(
            "each worker needs a port of its own towards the backends: widen backend_ports to {cores} \
             ports, or set workers = {workers} if that is meant"
        );
        return warning("cores", found, advice);
    }
    ok("cores", found)
}

/// A quota stops all workers for the rest of a period once it is used up.
fn cpu_quota(facts: &Facts) -> Option<Finding> {
    let cores = facts.cpu_quota?;
    let found = format!("{cores:.1} cores of CPU time");
    let advice = "a control group stops the workers for up to 100 ms when its quota is used up, and \
                  callers retransmit: give whole cores (cpuset) instead of cpu.max";
    Some(warning("CPU quota", found, advice))
}

/// A socket for each worker and listener, a port for each of `backend_ports`, up to 64 connected ones
/// for each worker, rings and events, and some for the admin server.
fn open_files(facts: &Facts, config: &Config) -> Finding {
    let workers = workers(config, facts.cores_allowed);
    let addresses = facts.addresses.max(1);
    let listeners = addresses * config.listeners.len();
    let ports = local_sockets(config, addresses) - listeners;
    let needed = workers * (listeners + CONNECTIONS_MAX + 8) + ports + 200;
    let found = format!("{} at most, about {needed} needed", facts.open_files);
    if facts.open_files < needed as u64 {
        let advice = "raise the hard limit: LimitNOFILE=1048576 in the unit, or `ulimit -Hn`";
        return failure("open files", found, advice);
    }
    ok("open files", found)
}

fn buffer(what: &'static str, granted: Option<usize>, wanted: usize) -> Finding {
    let Some(granted) = granted else {
        return warning(what, "unknown", "no UDP socket could be opened: see `open files`");
    };
    let found = format!("{} KiB of {} KiB asked for", granted >> 10, wanted >> 10);
    if granted < wanted {
        let advice = format!(
            "bursts beyond it are lost: `sysctl -w net.core.rmem_max={wanted}`, or give the process \
             CAP_NET_ADMIN"
        );
        return warning(what, found, advice);
    }
    ok(what, found)
}

fn clock(facts: &Facts) -> Option<Finding> {
    let name = facts.clock_source.as_ref()?;
    Some(
        match matches!(
            name.as_str(),
            "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page" | "arch_sys_counter"
        ) {
            true => ok("clock", name),
            false => warning(
                "clock",
                name,
                "reading this clock costs a system call: `dmesg | grep -i tsc` says why the kernel does not \
             use the processor's",
            ),
        },
    )
}

fn seccomp(facts: &Facts) -> Option<Finding> {
    // What it forbids shows above; that it is there explains it.
    (facts.seccomp == Some(2)).then(|| ok("seccomp", "a filter is in force, as in containers"))
}

/// The kernel delivers datagrams on the cores that the queues of a card interrupt.
fn queues(interface: &Interface, workers: usize, cores: usize) -> Finding {
    let Interface { name, queues, steered } = interface;
    let found = format!("{name}: {queues} receive queue{}", if *queues == 1 { "" } else { "s" });
    if *queues >= workers || *steered {
        return ok("network card", found);
    }
    let mask = mask(cores);
    let advice = format!(
        "one core takes in what {workers} workers could handle: more queues (`ethtool -L {name} combined \
         {workers}`), or software steering (`echo {mask} > /sys/class/net/{name}/queues/rx-0/rps_cpus`)"
    );
    warning("network card", found, advice)
}

/// So many cores as the kernel reads them: it refuses a mask of more than there can be.
fn mask(cores: usize) -> String {
    let (words, rest) = (cores / 32, cores % 32);
    let first = (rest > 0).then(|| format!("{:x}", (1_u64 << rest) - 1));
    let words = std::iter::repeat_n("ffffffff".to_owned(), words);
    first.into_iter().chain(words).collect::<Vec<_>>().join(",")
}

fn conntrack(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if facts.sip_helper {
        findings.push(warning(
            "nf_conntrack_sip",
            "loaded",
            "the kernel rewrites addresses inside SIP messages and breaks signed Vias: `modprobe -r \
             nf_nat_sip nf_conntrack_sip`, or keep the SIP ports out of it (CT target, `notrack`)",
        ));
    }
    if let Some((used, max)) = facts.conntrack {
        let found = format!("{used} of {max} entries");
        findings.push(match used * 5 > max * 4 {
            true => warning(
                "conntrack",
                found,
                "a full table drops datagrams of new peers: raise net.netfilter.nf_conntrack_max, or \
                 exempt the SIP ports (`notrack`)",
            ),
            false => ok("conntrack", found),
        });
    }
    findings
}

fn steering(facts: &Facts, config: &Config) -> Finding {
    match (&facts.steering, config.steering, workers(config, facts.cores_allowed)) {
        (_, false, _) => ok("steering", "off, as the configuration says"),
        (_, _, 1) => ok("steering", "off: one worker needs none"),
        (Ok(()), ..) => ok("steering", "the kernel gives each message to the worker that owns it"),
        (Err(why), ..) => warning(
            "steering",
            format!("off: {why}"),
            "a trunk from one address and port keeps one worker busy, which hands over what others own: \
             AmbientCapabilities=CAP_BPF CAP_PERFMON in the unit, or `setcap cap_bpf,cap_perfmon+ep` on \
             the binary (and bpf in a container's seccomp profile); to leave it so, steering = \"off\"",
        ),
    }
}

fn latency_budget(facts: &Facts, config: &Config) -> Finding {
    let what = "latency budget";
    match (&facts.gathering, config.limits.latency_budget_us) {
        (Ok(()), 0) => ok(what, "none, as the configuration says; the kernel could wait for more"),
        (Ok(()), us) => ok(what, format!("{us} us: under load the kernel waits for more")),
        (Err(why), 0) => ok(what, format!("none, as the configuration says ({why})")),
        (Err(why), us) => warning(
            what,
            format!("{us} us, without effect: {why}"),
            "boot a newer kernel, or set latency_budget_us = 0",
        ),
    }
}

fn capabilities(facts: &Facts) -> Finding {
    let has = |capability| if facts.has(capability) { "yes" } else { "no" };
    let found =
        format!("low ports {}, larger buffers {}", has(CAP_NET_BIND_SERVICE), has(CAP_NET_ADMIN));
    ok("capabilities", found)
}
