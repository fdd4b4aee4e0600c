//! `sipring doctor`: is this machine fit for the balancer, and if not, what is to be done?
//!
//! `facts` reads what the machine says of itself; here it is judged, without asking anybody, so that
//! every judgement has its test.

mod facts;
#[cfg(test)]
mod tests;

pub use facts::Facts;

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
    let mut findings = vec![ring(facts), cores(facts, config)];
    findings.extend(quota(facts));
    findings.push(open_files(facts, config));
    findings.push(buffer("receive buffer", facts.receive_buffer, config.limits.receive_buffer));
    findings.extend(ports(facts, config));
    findings.extend(clock(facts));
    findings.extend(seccomp(facts));
    findings.extend(facts.interfaces.iter().map(|one| queues(one, workers(facts, config))));
    findings.extend(conntrack(facts));
    findings.push(steering(facts, config));
    findings.push(latency_budget(facts, config));
    findings.push(capabilities(facts));
    findings
}

fn workers(facts: &Facts, config: &Config) -> usize {
    config.workers.unwrap_or(facts.cores_allowed).clamp(1, WORKERS_MAX)
}

fn ring(facts: &Facts) -> Finding {
    match &facts.ring {
        Ok(()) => ok("io_uring", format!("works, on Linux {}", facts.release)),
        Err(refused) => {
            failure("io_uring", format!("refused, on Linux {}", facts.release), refused)
        }
    }
}

fn cores(facts: &Facts, config: &Config) -> Finding {
    let (workers, cores) = (workers(facts, config), facts.cores_allowed);
    let found = format!("{workers} workers on {cores} of {} cores", facts.cores);
    if workers > cores {
        let advice = format!(
            "more workers than cores take turns on them and are not pinned: set workers = {cores} or \
             leave it out"
        );
        return warning("cores", found, advice);
    }
    ok("cores", found)
}

/// A quota stops all workers for the rest of a period once it is used up.
fn quota(facts: &Facts) -> Option<Finding> {
    let cores = facts.cpu_quota?;
    let found = format!("{cores:.1} cores of CPU time");
    let advice = "a control group stops the workers for up to 100 ms when its quota is used up, and \
                  callers retransmit: give whole cores (cpuset) instead of cpu.max";
    Some(warning("CPU quota", found, advice))
}

/// A socket for each worker and listener, a port for each of `backend_ports`, up to 64 connected ones
/// for each worker, rings and events, and some for the admin server.
fn open_files(facts: &Facts, config: &Config) -> Finding {
    let workers = workers(facts, config);
    let ports = match config.backend_ports {
        BackendPorts::Range(first, last) => usize::from(last - first) + 1,
        BackendPorts::Listener => 0,
    };
    let addresses = facts.addresses.max(1);
    let needed = workers * (addresses * config.listeners.len() + 64 + 8) + ports * addresses + 200;
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

fn ports(facts: &Facts, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let may_bind_low = facts.has(CAP_NET_BIND_SERVICE);
    for listener in &config.listeners {
        let port = listener.bind.port();
        if port != 0 && port < facts.unprivileged_port && !may_bind_low {
            findings.push(failure(
                "listener port",
                format!("udp:{}", listener.bind),
                format!(
                    "ports below {} need CAP_NET_BIND_SERVICE: AmbientCapabilities=CAP_NET_BIND_SERVICE \
                     in the unit, or another port",
                    facts.unprivileged_port
                ),
            ));
        }
    }
    if let (BackendPorts::Range(first, last), Some((low, high))) =
        (config.backend_ports, facts.ephemeral_ports)
    {
        let found = format!("{first}-{last}, ephemeral ones are {low}-{high}");
        findings.push(match first <= high && last >= low && !facts.reserved_ports {
            true => warning(
                "backend_ports",
                found,
                format!(
                    "another program may be given one of them before the balancer starts: choose a range \
                     outside, or `sysctl -w net.ipv4.ip_local_reserved_ports={first}-{last}`"
                ),
            ),
            false => ok("backend_ports", found),
        });
    }
    findings
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
fn queues(interface: &Interface, workers: usize) -> Finding {
    let Interface { name, queues, steered } = interface;
    let found = format!("{name}: {queues} receive queue{}", if *queues == 1 { "" } else { "s" });
    if *queues >= workers || *steered {
        return ok("network card", found);
    }
    let advice = format!(
        "one core takes in what {workers} workers could handle: more queues (`ethtool -L {name} combined \
         {workers}`), or software steering (`echo ffffffff > /sys/class/net/{name}/queues/rx-0/rps_cpus`)"
    );
    warning("network card", found, advice)
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
    match (&facts.steering, config.steering, workers(facts, config)) {
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
