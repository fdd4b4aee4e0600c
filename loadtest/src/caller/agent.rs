//! All calls of one caller: starts them in time, gives each its messages and deadlines, counts ends.

use super::call::{Call, Common, Phase, Script, Step};
use super::extra::Extras;
use super::pace::Schedule;
use super::{CallRecord, CallerOptions, Direct};
use crate::engine::{Agent, Outbox};
use crate::message::{Message, Start};
use crate::random::{Random, hash};
use crate::report::{CallerReport, Tally};
use crate::respond::{self, Answer};
use crate::text::{ALLOW, USER_AGENT};
use crate::timers::Timers;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct CallerAgent {
    options: CallerOptions,
    common: Common,
    report: Arc<CallerReport>,
    schedule: Schedule,
    calls: HashMap<Arc<str>, Call>,
    timers: Timers,
    /// Calls that have not ended; the others in `calls` are kept for repeated messages only.
    open: usize,
    /// Of the calls of a plan that have ended.
    records: Vec<CallRecord>,
    extras: Extras,
}

impl CallerAgent {
    pub(super) fn new(
        options: CallerOptions,
        local: SocketAddr,
        report: Arc<CallerReport>,
    ) -> Self {
        let common = Common { local, t1: options.t1.as_nanos() as u64 };
        let schedule = match &options.plan {
            Some(plan) => Schedule::planned(Arc::clone(plan), options.open_max),
            None => Schedule::new(options.pace, options.calls, options.duration, options.open_max),
        };
        let (calls, timers, records) = (HashMap::new(), Timers::default(), Vec::new());
        let extras = Extras::new(Random::new(options.seed, u64::MAX));
        Self { options, common, report, schedule, calls, timers, open: 0, records, extras }
    }

    pub(super) fn records(&self) -> Vec<CallRecord> {
        let open = self.calls.values().filter(|call| !matches!(call.phase, Phase::Over));
        self.records.iter().cloned().chain(open.map(|call| call.record(None))).collect()
    }

    pub(super) fn finish(&mut self) {
        self.schedule.end();
    }

    fn start_call(&mut self, now: u64, out: &mut Outbox) {
        let Some((number, late)) = self.schedule.start(now) else { return };
        if late {
            self.report.late_starts.increment();
        }
        let mut random = Random::new(self.options.seed, number);
        let script = script(&self.options, number, &mut random);
        tally(&self.report, &script).started.increment();
        self.open += 1;
        let call = Call::start(script, random, now, self.common, out);
        self.timers.arm(call.due, &call.script.call_id);
        self.calls.insert(Arc::clone(&call.script.call_id), call);
    }

    /// Gives a call one step, and draws the consequences.
    fn step(
        &mut self,
        now: u64,
        call_id: &str,
        act: impl FnOnce(&mut Call, Common, &Tally) -> Step,
    ) -> Option<Step> {
        let call = self.calls.get_mut(call_id)?;
        let tally = tally(&self.report, &call.script);
        let (phase, due) = (call.phase, call.due);
        let step = act(call, self.common, tally);
        if call.due != due {
            self.timers.arm(call.due, &call.script.call_id);
        }
        let answered = matches!(phase, Phase::Calling | Phase::Proceeding)
            && matches!(call.phase, Phase::Holding | Phase::Awaiting);
        if answered {
            self.extras.answered(now, call, self.common);
        }
        if answered && !call.script.direct {
            self.report.answered_by(call.server.as_deref().unwrap_or("unnamed"));
        }
        if let Step::Ended(outcome) = step {
            tally.end(outcome, call.split);
            self.open -= 1;
            if self.options.plan.is_some() {
                self.records.push(call.record(Some((now, outcome))));
            }
        }
        if step == Step::Forget || call.phase == Phase::Gone {
            self.calls.remove(call_id);
        }
        Some(step)
    }

    fn request(&mut self, now: u64, source: SocketAddr, message: &Message<'_>, out: &mut Outbox) {
        let Start::Request { method, .. } = message.start else { return };
        let mut known = false;
        if method == "BYE" {
            self.step(now, message.call_id, |call, common, _| {
                let step;
                (known, step) = call.bye(now, message, common);
                step
            });
            known |= self.extras.hold(message);
        }
        let status = match method {
            "ACK" => return,
            "BYE" if known => "200 OK",
            "BYE" => "481 Call/Transaction Does Not Exist",
            "OPTIONS" => "200 OK",
            _ => "501 Not Implemented",
        };
        if !known {
            self.report.strays.increment();
        }
        let tag = format!("{:016x}", hash(self.options.seed, message.call_id.as_bytes()));
        let fields = format!("{ALLOW}Server: {USER_AGENT}\r\n");
        let answer = Answer { status, to_tag: Some(&tag), fields: &fields, body: "" };
        let to = respond::reply_to(message, source);
        out.push((respond::response(message, source, answer), to));
    }
}

impl Agent for CallerAgent {
    fn receive(&mut self, now: u64, source: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let Some(message) = Message::parse(bytes) else {
            self.report.garbage.increment();
            return;
        };
        if matches!(message.start, Start::Request { .. }) {
            return self.request(now, source, &message, out);
        }
        if self.extras.response(now, &message, self.common, &self.report, out) {
            return;
        }
        let step = self.step(now, message.call_id, |call, common, tally| {
            call.response(now, &message, common, tally, out)
        });
        if matches!(step, None | Some(Step::Stray)) {
            self.report.strays.increment();
        }
    }

    fn wake(&mut self, now: u64, out: &mut Outbox) {
        if self.schedule.due(self.open).is_some_and(|due| due <= now) {
            self.start_call(now, out);
        }
        self.extras.wake(now, out);
        if let Some((due, call_id)) = self.timers.take_due(now) {
            self.step(now, &call_id, |call, common, tally| match call.due == due {
                true => call.wake(now, common, tally, out),
                false => Step::Open,
            });
        }
    }

    fn deadline(&self) -> Option<u64> {
        let dues = [self.schedule.due(self.open), self.timers.next(), self.extras.next()];
        dues.into_iter().flatten().min()
    }

    fn done(&self) -> bool {
        self.schedule.over() && self.calls.is_empty() && self.extras.is_empty()
    }

    fn socket_error(&mut self) {
        self.report.socket_errors.increment();
    }
}

fn tally<'a>(report: &'a CallerReport, script: &Script) -> &'a Tally {
    if script.direct { &report.direct } else { &report.through }
}

fn script(options: &CallerOptions, number: u64, random: &mut Random) -> Script {
    let direct = options.direct.filter(|Direct { every, .. }| number % every == every - 1);
    let (shortest, longest) = options.hold;
    let planned = options.plan.as_ref().and_then(|plan| plan.get(number as usize));
    Script {
        call_id: format!("{number}.{:016x}@sipring-loadtest", random.bits()).into(),
        to: direct.map_or(options.to, |direct| direct.to),
        direct: direct.is_some(),
        hold_ns: match planned {
            Some(planned) => planned.hold_ns,
            None => random.between(shortest.as_nanos() as u64, longest.as_nanos() as u64),
        },
        callee: planned.map(|planned| planned.callee),
        callee_hangs_up: random.chance(options.callee_hangs_up_per_mille),
    }
}
