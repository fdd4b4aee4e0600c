//! From a name to addresses by RFC 3263 4.1 and 4.2, as a pure function of what DNS has said so far:
//! it says what to ask next, or where requests go.
//!
//! 1. A port is given: the addresses of the name, with that port.
//! 2. No port and no transport: NAPTR. Of the records for SIP over UDP those of the lowest order
//!    count, the most preferred first; each leads to SRV records, and the first that has some wins.
//! 3. No NAPTR record, or the transport is given: SRV of `_sip._udp.` and the name.
//! 4. SRV records: the addresses of each target, with its port, priority and weight.
//! 5. No SRV record: the addresses of the name, with port 5060.
//!
//! A numeric host never comes here: it is an address, and nothing is looked up. What cannot be known
//! is never guessed: a NAPTR or SRV look-up that fails ends the walk, for another branch might lead
//! elsewhere on each node. Only of addresses those are used that are known.

use super::record::{Kind, Question, Record};
use crate::config::{Host, Transport};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Where requests to a name may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Target {
    pub(in super::super) address: SocketAddr,
    /// Of its SRV record, the lower the earlier; 0 without one.
    pub(in super::super) priority: u16,
    /// Of its SRV record; `None`: it has none.
    pub(in super::super) weight: Option<u16>,
}

/// What is known of a question.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known<'a> {
    /// Not asked yet.
    Unknown,
    /// The records; none: there are none.
    Records(&'a [Record]),
    /// Nobody can say now, and why; but these were the records when somebody could.
    Kept(&'a [Record], &'a str),
    /// Nobody could say: why.
    Failed(&'a str),
}

/// How the walk goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// These must be answered first.
    Ask(Vec<Question>),
    /// It is over.
    Done(Outcome),
}

/// Where a walk led.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// By address, each once.
    pub(super) targets: Vec<Target>,
    /// What it went by.
    pub(super) used: Vec<Question>,
    /// What went wrong, if something did; always, if there is no target.
    pub(super) trouble: Option<String>,
}

/// SRV targets that are looked up; a pool behind one name has tens, and each costs two questions.
pub(super) const SRV_MAX: usize = 128;

/// Addresses of one name; one that has more is served by as many.
pub(super) const TARGETS_MAX: usize = 512;

/// NAPTR records of the same order that are followed.
const NAPTR_MAX: usize = 4;

/// RFC 3261 section 19.1.2: the default port of UDP.
const SIP_PORT: u16 = 5060;

/// Goes as far as the answers lead.
pub(super) fn walk<'a>(host: &Host, known: impl Fn(&Question) -> Known<'a>) -> Step {
    let mut walk = Walk { known, used: Vec::new(), missing: Vec::new(), trouble: None };
    let name = absolute(&host.name);
    let found = match (host.port, host.transport) {
        (Some(port), _) => walk.addresses(&name, port),
        (None, Some(Transport::Udp)) => walk.services(&format!("_sip._udp.{name}"), &name),
        (None, None) => walk.by_naptr(&name),
    };
    if !walk.missing.is_empty() {
        walk.missing.sort_unstable();
        walk.missing.dedup();
        return Step::Ask(walk.missing);
    }
    let targets = found.map(|targets| walk.in_order(targets));
    let (used, trouble) = (walk.used, walk.trouble);
    Step::Done(match targets {
        Ok(targets) => Outcome { targets, used, trouble },
        Err(why) => Outcome { targets: Vec::new(), used, trouble: Some(why) },
    })
}

/// A name with a dot in it is whole; one without is for the search list of the machine.
fn absolute(name: &str) -> String {
    let name = name.trim_end_matches('.');
    if name.contains('.') { format!("{name}.") } else { name.to_owned() }
}

/// Targets, or why there is none. Of no meaning while something is missing.
type Found = Result<Vec<Target>, String>;

struct Walk<F> {
    known: F,
    used: Vec<Question>,
    missing: Vec<Question>,
    /// The first thing that went wrong.
    trouble: Option<String>,
}

impl<'a, F: Fn(&Question) -> Known<'a>> Walk<F> {
    /// The records, or why nobody can say; none as long as the question is not answered.
    fn look(&mut self, name: &str, kind: Kind) -> Result<&'a [Record], String> {
        let question = Question::new(name, kind);
        let known = (self.known)(&question);
        if matches!(known, Known::Unknown) {
            self.missing.push(question);
            return Ok(&[]);
        }
        let failed = |why: &str| format!("{question}: {why}");
        let result = match known {
            Known::Unknown => Ok(&[][..]),
            Known::Records(records) => Ok(records),
            Known::Kept(records, why) => {
                self.trouble.get_or_insert_with(|| failed(why));
                Ok(records)
            }
            Known::Failed(why) => Err(failed(why)),
        };
        self.used.push(question);
        result
    }

    fn by_naptr(&mut self, name: &str) -> Found {
        let records = self.look(name, Kind::Naptr)?;
        if !self.missing.is_empty() {
            return Ok(Vec::new());
        }
        let (udp, others) = services_offered(records);
        if udp.is_empty() && others.is_empty() {
            return self.services(&format!("_sip._udp.{name}"), name);
        }
        if udp.is_empty() {
            let others = others.join(", ");
            return Err(format!("NAPTR offers {others}, but not SIP over UDP (SIP+D2U)"));
        }
        for replacement in &udp {
            let records = self.look(replacement, Kind::Srv)?;
            if !records.is_empty() {
                return self.targets(records);
            }
            if !self.missing.is_empty() {
                return Ok(Vec::new());
            }
        }
        Err(format!("no SRV record at {}, where NAPTR points to", udp.join(", ")))
    }

    /// By the SRV records of `service`, else by the addresses of `name`.
    fn services(&mut self, service: &str, name: &str) -> Found {
        let records = self.look(service, Kind::Srv)?;
        if !records.is_empty() {
            return self.targets(records);
        }
        if !self.missing.is_empty() {
            return Ok(Vec::new());
        }
        self.addresses(name, SIP_PORT)
    }

    fn targets(&mut self, records: &[Record]) -> Found {
        let mut services: Vec<_> = records.iter().filter_map(service).collect();
        services.sort_unstable(); // the order on the wire differs from answer to answer
        if services.len() > SRV_MAX {
            let count = services.len();
            self.trouble.get_or_insert(format!("{count} SRV records: {SRV_MAX} are used"));
            services.truncate(SRV_MAX);
        }
        let (mut found, mut failed) = (Vec::new(), None);
        for (priority, target, port, weight) in services {
            match self.addresses(&format!("{target}."), port) {
                Ok(targets) => {
                    let of_service = |one| Target { priority, weight: Some(weight), ..one };
                    found.extend(targets.into_iter().map(of_service));
                }
                Err(why) => drop(failed.get_or_insert(why)),
            }
        }
        if found.is_empty() {
            let refused = || "SRV says that there is no such service here".to_owned();
            return Err(failed.unwrap_or_else(refused));
        }
        self.trouble = self.trouble.take().or(failed);
        Ok(found)
    }

    fn addresses(&mut self, name: &str, port: u16) -> Found {
        let (v4, v6) = (self.look(name, Kind::A), self.look(name, Kind::Aaaa));
        let failed = [&v4, &v6].into_iter().find_map(|one| one.as_ref().err().cloned());
        let records = v4.unwrap_or_default().iter().chain(v6.unwrap_or_default());
        let target = |record: &Record| match record {
            // An IPv4 address in IPv6 clothes is the IPv4 address.
            Record::Address(ip) => {
                let address = SocketAddr::new(ip.to_canonical(), port);
                Some(Target { address, priority: 0, weight: None })
            }
            _ => None,
        };
        let targets: Vec<_> = records.filter_map(target).collect();
        if targets.is_empty() {
            let none = || format!("{} has no address", name.trim_end_matches('.'));
            return Err(failed.unwrap_or_else(none));
        }
        self.trouble = self.trouble.take().or(failed);
        Ok(targets)
    }

    /// By address, so that every node has the same order (RFC 3263 4.4), each once.
    fn in_order(&mut self, targets: Vec<Target>) -> Vec<Target> {
        let mut by_address: BTreeMap<SocketAddr, Target> = BTreeMap::new();
        for target in targets {
            let one =
                by_address.entry(target.address).and_modify(|one| *one = merged(*one, target));
            one.or_insert(target);
        }
        let mut targets: Vec<_> = by_address.into_values().collect();
        if targets.len() > TARGETS_MAX {
            let count = targets.len();
            self.trouble.get_or_insert(format!("{count} addresses: {TARGETS_MAX} are used"));
            targets.sort_by_key(|target| (target.priority, target.address));
            targets.truncate(TARGETS_MAX);
            targets.sort_by_key(|target| target.address);
        }
        targets
    }
}

/// Priority, target, port and weight, if there is a service at all: "." says decidedly not (RFC 2782).
fn service(record: &Record) -> Option<(u16, &str, u16, u16)> {
    match record {
        Record::Srv { priority, weight, port, target } => {
            let target = target.trim_end_matches('.');
            (!target.is_empty() && *port > 0).then_some((*priority, target, *port, *weight))
        }
        _ => None,
    }
}

/// Where NAPTR points to for SIP over UDP, in the order of RFC 3403 4.1, of the lowest order only; and
/// which other transports of SIP it offers.
fn services_offered(records: &[Record]) -> (Vec<String>, Vec<String>) {
    let (mut udp, mut others) = (Vec::new(), Vec::new());
    for record in records {
        let Record::Naptr { order, preference, flags, service, replacement } = record else {
            continue;
        };
        let service = service.to_ascii_uppercase();
        if service == "SIP+D2U" && flags.eq_ignore_ascii_case("s") {
            udp.push((*order, *preference, replacement));
        } else if service.starts_with("SIP+") || service.starts_with("SIPS+") {
            others.push(service);
        }
    }
    udp.sort_unstable();
    let lowest = udp.first().map(|(order, ..)| *order);
    let of_lowest = udp.into_iter().filter(|(order, ..)| Some(*order) == lowest);
    let udp = of_lowest.map(|(.., replacement)| replacement.clone()).take(NAPTR_MAX).collect();
    others.sort();
    others.dedup();
    (udp, others)
}

/// What two records come to that lead to one address: the better priority, and in the same one the
/// sum of the weights.
fn merged(one: Target, other: Target) -> Target {
    match one.priority.cmp(&other.priority) {
        Ordering::Less => one,
        Ordering::Greater => other,
        Ordering::Equal => {
            let weights = one.weight.zip(other.weight);
            Target { weight: weights.map(|(one, other)| one.saturating_add(other)), ..one }
        }
    }
}

#[cfg(test)]
mod tests;
