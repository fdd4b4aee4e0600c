//! SIPp as caller and as callee, and what its statistics say.

use crate::process::{Namespace, Process};
use crate::scenario;
use crate::stage::Stage;
use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What a SIPp is asked to do; the rest is the same for all.
#[derive(Clone)]
pub(crate) struct Part<'a> {
    /// Scenario file under `sipp/`, without `.xml`.
    pub(crate) scenario: &'a str,
    /// Values for the scenario.
    pub(crate) values: scenario::Values<'a>,
    /// The namespace that it runs in.
    pub(crate) namespace: Namespace<'a>,
    /// All messages go to `NAME.messages`.
    pub(crate) trace: bool,
}

impl<'a> Part<'a> {
    /// The scenario with its defaults.
    pub(crate) fn new(scenario: &'a str) -> Part<'a> {
        Part { scenario, values: Vec::new(), namespace: None, trace: false }
    }

    /// Gives a value to the scenario.
    pub(crate) fn with(mut self, name: &'a str, value: &'a str) -> Part<'a> {
        self.values.push((name, value));
        self
    }

    /// Keeps a trace of all messages.
    pub(crate) fn traced(mut self) -> Part<'a> {
        self.trace = true;
        self
    }

    /// Runs in a network namespace.
    pub(crate) fn inside(mut self, namespace: &'a str) -> Part<'a> {
        self.namespace = Some(namespace);
        self
    }
}

/// How many calls a caller makes, and how fast.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// Calls in all.
    pub(crate) calls: u32,
    /// New calls a second.
    pub(crate) rate: u32,
    /// Seconds until it gives up.
    pub(crate) limit_s: u64,
}

/// Enough calls to meet every backend and every worker, in about a second.
pub(crate) const FEW: Load = Load { calls: 24, rate: 60, limit_s: 60 };

/// A running SIPp.
pub(crate) struct Sipp {
    process: Process,
    statistics: PathBuf,
    messages: PathBuf,
    limit: Duration,
    name: String,
}

/// What a SIPp counted, from the last line of its statistics file.
#[derive(Debug)]
pub(crate) struct Statistics {
    /// Whose.
    pub(crate) name: String,
    /// Calls begun.
    pub(crate) created: u64,
    /// Calls that went through the whole scenario.
    pub(crate) successful: u64,
    /// Calls that did not.
    pub(crate) failed: u64,
    /// Messages of no known call. (A callee takes a stray request for a new call, which then fails.)
    pub(crate) out_of_call: u64,
}

impl Sipp {
    /// A callee at `address`, ready when this returns.
    pub(crate) fn callee(stage: &Stage, name: &str, part: &Part<'_>, address: SocketAddr) -> Sipp {
        let mut sipp = Sipp::start(stage, name, part, address, &[], Duration::from_secs(30));
        sipp.process.wait_for_udp_port(address.port());
        sipp
    }

    /// A caller at `from` whose next hop is `to`.
    pub(crate) fn caller(
        stage: &Stage,
        name: &str,
        part: &Part<'_>,
        from: SocketAddr,
        to: SocketAddr,
        load: Load,
    ) -> Sipp {
        let limit = format!("{}s", load.limit_s);
        let arguments = [
            to.to_string(),
            format!("-m {} -r {} -l 1000", load.calls, load.rate),
            format!("-timeout {limit} -timeout_error -recv_timeout 20000"),
        ];
        let limit = Duration::from_secs(load.limit_s + 40);
        Sipp::start(stage, name, part, from, &arguments, limit)
    }

    fn start(
        stage: &Stage,
        name: &str,
        part: &Part<'_>,
        address: SocketAddr,
        more: &[String],
        limit: Duration,
    ) -> Sipp {
        let scenario = scenario::expand(part.scenario, &part.values);
        let scenario = stage.write(&format!("{name}.xml"), &scenario);
        let statistics = stage.path(&format!("{name}.csv"));
        let messages = stage.path(&format!("{name}.messages"));
        let errors = stage.path(&format!("{name}-errors.log"));
        let mut command: Vec<String> = vec!["sipp".to_owned()];
        command.extend(more.iter().flat_map(|words| words.split(' ')).map(str::to_owned));
        let common = format!(
            "-i {} -p {} -sf {} -nostdin -trace_err -error_file {} -trace_stat -stf {} -fd 1",
            address.ip(),
            address.port(),
            scenario.display(),
            errors.display(),
            statistics.display(),
        );
        command.extend(common.split(' ').map(str::to_owned));
        if part.trace {
            let trace = format!("-trace_msg -message_file {}", messages.display());
            command.extend(trace.split(' ').map(str::to_owned));
        }
        let process = Process::start(stage, name, part.namespace, &command);
        Sipp { process, statistics, messages, limit, name: name.to_owned() }
    }

    /// `kill -9`.
    pub(crate) fn kill_hard(self) {
        self.process.kill_hard();
    }

    /// All messages up to now, as traced.
    pub(crate) fn messages(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.messages).unwrap_or_default()).into_owned()
    }

    /// Waits until a caller has made all its calls.
    pub(crate) fn finish(mut self) -> Statistics {
        let status = self.process.wait(self.limit);
        let status = status.unwrap_or_else(|| panic!("{} does not come to an end", self.name));
        let statistics = self.read_statistics();
        assert!(status.success(), "{}: {status}, {statistics:?}", self.name);
        statistics
    }

    /// Ends a callee: it takes no new calls, ends those it has, and goes.
    pub(crate) fn stop(mut self) -> Statistics {
        self.process.assert_alive();
        self.process.signal("USR1");
        let status = self.process.wait(self.limit);
        assert!(status.is_some(), "{} still has open calls", self.name);
        self.read_statistics()
    }

    fn read_statistics(&self) -> Statistics {
        let text = fs::read_to_string(&self.statistics).unwrap_or_default();
        let mut lines = text.lines();
        let names = lines.next().unwrap_or_default().split(';');
        let values = lines.last().unwrap_or_default().split(';');
        let table: HashMap<&str, &str> = names.zip(values).collect();
        let count = |column: &str| -> u64 {
            let value = table.get(column).and_then(|value| value.parse().ok());
            value.unwrap_or_else(|| {
                panic!("{}: no number under {column} in {}", self.name, self.statistics.display())
            })
        };
        Statistics {
            name: self.name.clone(),
            created: count("TotalCallCreated"),
            successful: count("SuccessfulCall(C)"),
            failed: count("FailedCall(C)"),
            out_of_call: count("OutOfCallMsgs(C)"),
        }
    }
}

/// No call was lost or split: the caller ended all of them well, and so did, together, the callees;
/// nobody got a message that belongs to somebody else.
pub(crate) fn assert_whole(load: Load, caller: &Statistics, callees: &[Statistics]) {
    let calls = u64::from(load.calls);
    assert_eq!((caller.successful, caller.failed), (calls, 0), "{caller:?} {callees:?}");
    assert_eq!(callees.iter().map(|callee| callee.successful).sum::<u64>(), calls, "{callees:?}");
    for side in callees.iter().chain([caller]) {
        let strays = (side.failed, side.out_of_call, side.created - side.successful);
        assert_eq!(strays, (0, 0, 0), "{} got what was not its own: {side:?}", side.name);
    }
}
