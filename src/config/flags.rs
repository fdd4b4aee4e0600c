//! The flags of the command line complete what the file says.

use super::BackendConfig;
use super::address;
use super::file::{CAP, PRIORITY, Raw, RawBackend, RawListener, RawPool, WEIGHT, WORKERS};
use super::policy::policy;
use super::pools::config_of;
use super::reader::At;
use super::report::{Place, Problem, Report, nearest, quoted};
use super::values::{Fault, backend_ports, name, number};
use crate::pool::Intake;

/// What the command line says, as it was typed.
///
/// A flag with one value (`--policy`, `--workers`, `--admin`, `--backend-ports`,
/// `--no-record-route`, `--no-health`) replaces that of the file; `--listen` and `--backend` add to the file's
/// listeners and to its first pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--listen TRANSPORT:ADDR`, each one.
    pub listen: Vec<String>,
    /// `--backend [TRANSPORT:]ADDR|NAME[,weight=N][,priority=N][,backup][,dialogs_max=N]
    /// [,calls_per_second_max=N][,name=S]`, each one.
    pub backend: Vec<String>,
    /// `--policy NAME`.
    pub policy: Option<String>,
    /// `--workers N`.
    pub workers: Option<String>,
    /// `--admin ADDR`.
    pub admin: Option<String>,
    /// `--backend-ports FIRST-LAST|listener`.
    pub backend_ports: Option<String>,
    /// `--no-record-route`.
    pub no_record_route: bool,
    /// `--no-health`.
    pub no_health: bool,
}

/// Adds the flags to what the file said.
pub(super) fn apply(flags: &Flags, raw: &mut Raw, report: &mut Report) {
    let whole = |text: &str| number("--workers", text, WORKERS).map(|count| count as usize);
    replace(&mut raw.workers, "--workers", &flags.workers, report, whole);
    replace(&mut raw.admin, "--admin", &flags.admin, report, address::admin);
    replace(&mut raw.backend_ports, "--backend-ports", &flags.backend_ports, report, backend_ports);
    if flags.no_record_route {
        raw.record_route = Some(false);
    }
    for text in &flags.listen {
        if let Some(bind) = read("--listen", text, report, address::listener) {
            raw.listeners.push(RawListener { bind, advertise: None, force_rport: false });
        }
    }
    if raw.pools.is_empty() && (flags.policy.is_some() || !flags.backend.is_empty()) {
        raw.pools.push(RawPool::default());
    }
    if let Some(pool) = raw.pools.first_mut() {
        pool.health.enabled &= !flags.no_health;
        replace(&mut pool.policy, "--policy", &flags.policy, report, policy);
        let backends = flags.backend.iter().filter_map(|text| backend(text, report));
        backends.for_each(|one| pool.add(one));
    }
}

fn replace<T>(
    value: &mut Option<At<T>>,
    flag: &str,
    text: &Option<String>,
    report: &mut Report,
    parse: impl Fn(&str) -> Result<T, Fault>,
) {
    if let Some(text) = text
        && let Some(read) = read(flag, text, report, parse)
    {
        *value = Some(read);
    }
}

fn read<T>(
    flag: &str,
    text: &str,
    report: &mut Report,
    parse: impl Fn(&str) -> Result<T, Fault>,
) -> Option<At<T>> {
    let place = report.flag(flag, text);
    part(place, text, report, parse)
}

/// A part of a flag's value; `place` is where `text` stands.
fn part<T>(
    place: Place,
    text: &str,
    report: &mut Report,
    parse: impl Fn(&str) -> Result<T, Fault>,
) -> Option<At<T>> {
    let fault = match parse(text) {
        Ok(value) => return Some(At { value, place }),
        Err(fault) => fault,
    };
    let problem = Problem::error(fault.title).at(place.part(fault.range), fault.label);
    report.add(match fault.help {
        Some(help) => problem.help(help),
        None => problem,
    });
    None
}

/// A backend with an address as `--backend` has it, alone.
///
/// # Errors
/// A report of every problem found.
pub fn backend_of(text: &str) -> Result<BackendConfig, Report> {
    let (mut report, mut pool) = (Report::default(), RawPool::default());
    backend(text, &mut report).into_iter().for_each(|one| pool.add(one));
    if let Some(name) = pool.names.first() {
        report.add(
            Problem::error("a backend by name cannot be added at run time")
                .at(name.address.place, "expected an address")
                .help("write the name into the file and reload, or give one of its addresses"),
        );
    }
    match pool.backends.first() {
        Some(raw) if !report.has_errors() => Ok(config_of(raw)),
        _ => Err(report),
    }
}

fn backend(text: &str, report: &mut Report) -> Option<RawBackend<address::Backend>> {
    let whole = report.flag("--backend", text);
    let mut pieces = text.split(',');
    let first = pieces.next().unwrap_or_default();
    let address = part(whole.part(0..first.len()), first, report, address::backend);
    let mut weight = None;
    let mut named = None;
    let mut intake = Intake::default();
    let mut start = first.len() + 1;
    for piece in pieces {
        let place = whole.part(start..start + piece.len());
        start += piece.len() + 1;
        let (word, value) = piece.split_once('=').unwrap_or((piece, ""));
        let value_place = place.part((word.len() + 1).min(piece.len())..piece.len());
        match word {
            "weight" => {
                let parse = |value: &str| number("weight", value, WEIGHT);
                weight = part(value_place, value, report, parse).map(|at| at.value as u16);
            }
            "name" => named = part(value_place, value, report, name),
            "priority" => {
                let parse = |value: &str| number("priority", value, PRIORITY);
                let read = part(value_place, value, report, parse);
                intake.priority = read.map_or(0, |at| at.value as u16);
            }
            "dialogs_max" => {
                let parse = |value: &str| number(word, value, CAP);
                intake.calls_max =
                    part(value_place, value, report, parse).map(|at| at.value as u32);
            }
            "calls_per_second_max" => {
                let parse = |value: &str| number(word, value, CAP);
                let read = part(value_place, value, report, parse);
                intake.calls_per_second_max = read.map(|at| at.value as u32);
            }
            "backup" if piece == "backup" => intake.backup = true,
            _ => report.add(unknown_word(word, place.part(0..word.len()))),
        }
    }
    let (name, address, sources) = (named, address?, Vec::new());
    Some(RawBackend { name, address, weight, state: None, sources, intake })
}

fn unknown_word(word: &str, place: Place) -> Problem {
    let problem = Problem::error(format!("unknown {} in --backend", quoted(word)))
        .at(place, "expected weight, priority, dialogs_max, calls_per_second_max, name or backup");
    match nearest(
        word,
        ["weight", "priority", "dialogs_max", "calls_per_second_max", "name", "backup"],
    ) {
        Some("backup") => problem.help("`backup` has no value"),
        Some(near) => problem.help(format!("did you mean `{near}=`?")),
        None => problem,
    }
}
