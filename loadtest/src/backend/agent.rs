//! All calls of one backend: a user agent server by RFC 3261 8.2, 12.2.2, 13.3 and 17.2.

use super::BackendOptions;
use super::leg::{Datagram, Leg, Offer, Phase, Sender};
use super::manner::{Held, Manner};
use super::service::{Arrival, Queue};
use crate::dialog::Dialog;
use crate::engine::{Agent, Outbox};
use crate::message::{Message, Start, param};
use crate::random::{Random, hash};
use crate::report::BackendReport;
use crate::respond::{self, Answer};
use crate::text::{self, ALLOW};
use crate::timers::Timers;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

const NO_DIALOG: &str = "481 Call/Transaction Does Not Exist";
const UNAVAILABLE: &str = "503 Service Unavailable";

#[derive(Debug)]
pub(super) struct BackendAgent {
    options: BackendOptions,
    address: SocketAddr,
    t1: u64,
    report: Arc<BackendReport>,
    legs: HashMap<Arc<str>, Leg>,
    timers: Timers,
    /// Requests that wait for the service, if there is one.
    queue: Option<Queue>,
    manner: Manner,
    held: Held,
}

/// A request and where it came from.
#[derive(Clone, Copy)]
struct Request<'a> {
    message: &'a Message<'a>,
    source: SocketAddr,
}

impl BackendAgent {
    pub(super) fn new(
        options: BackendOptions,
        address: SocketAddr,
        report: Arc<BackendReport>,
    ) -> Self {
        let t1 = options.t1.as_nanos() as u64;
        let queue = options.service.map(Queue::new);
        let (legs, timers) = (HashMap::new(), Timers::default());
        let (manner, held) = (Manner::default(), Held::default());
        Self { options, address, t1, report, legs, timers, queue, manner, held }
    }

    pub(super) fn turn(&mut self, manner: Manner) {
        self.manner = manner;
    }

    /// True if its manner keeps it from answering this.
    fn ignores(&mut self, now: u64, request: Request<'_>, bytes: &[u8]) -> bool {
        let message = request.message;
        let is_new = matches!(message.start, Start::Request { method: "INVITE", .. })
            && param(message.to, "tag").is_none()
            && !self.legs.contains_key(message.call_id);
        let ignored = match self.manner {
            Manner::Good | Manner::Busy => false,
            Manner::Mute => true,
            Manner::DeafToCalls => is_new,
            Manner::Slow(shortest, longest) if is_new => {
                let mut random = self.random(message.call_id, 0);
                self.held.hold(now, (shortest, longest), &mut random, request.source, bytes);
                return true;
            }
            Manner::Slow(..) => false,
        };
        if ignored && is_new {
            self.report.ignored.increment();
        }
        ignored
    }

    pub(super) fn saw(&self, call_id: &str) -> bool {
        self.legs.contains_key(call_id)
    }

    /// A request that costs service goes into the queue; true if that is done with it for now.
    /// Costs: the INVITE of a new call, and the BYE that ends one. What comes again does not.
    fn queued(&mut self, now: u64, request: Request<'_>, bytes: &[u8], out: &mut Outbox) -> bool {
        let (message, source) = (request.message, request.source);
        let (Some(queue), Start::Request { method, .. }) = (&mut self.queue, message.start) else {
            return false;
        };
        let leg = self.legs.get(message.call_id);
        let costs = match method {
            "INVITE" => leg.is_none() && param(message.to, "tag").is_none(),
            "BYE" => leg.is_some_and(|leg| leg.phase != Phase::Ended),
            _ => false,
        };
        if !costs {
            return false;
        }
        match queue.arrive(now, method == "INVITE", message.call_id, source, bytes) {
            Arrival::Queued => self.report.queued.increment(),
            Arrival::Repeated => self.report.requests_repeated.increment(),
            Arrival::Full => {
                self.report.overflowed.increment();
                if queue.refuses() {
                    out.push(self.answer(request, UNAVAILABLE));
                }
            }
        }
        true
    }

    /// Answers a request whose service has ended, if there is one.
    fn serve(&mut self, now: u64, out: &mut Outbox) {
        let served = self.queue.as_mut().and_then(|queue| queue.take_served(now));
        let Some(served) = served else { return };
        self.report.queued.decrement();
        self.report.worked_ns.add(served.time_ns);
        let Some(message) = Message::parse(&served.bytes) else { return };
        self.answer_request(now, Request { message: &message, source: served.source }, out);
    }

    fn answer_request(&mut self, now: u64, request: Request<'_>, out: &mut Outbox) {
        let Start::Request { method, .. } = request.message.start else { return };
        match method {
            "INVITE" => self.invite(now, request, out),
            "ACK" => self.ack(now, request.message),
            "BYE" => self.bye(now, request, out),
            "OPTIONS" => {
                self.report.options.increment();
                let is_busy = self.manner == Manner::Busy;
                out.push(self.answer(request, if is_busy { UNAVAILABLE } else { "200 OK" }));
            }
            "CANCEL" => out.push(self.answer(request, NO_DIALOG)),
            _ => out.push(self.answer(request, "501 Not Implemented")),
        }
    }

    fn invite(&mut self, now: u64, request: Request<'_>, out: &mut Outbox) {
        let message = request.message;
        let in_dialog = param(message.to, "tag").is_some();
        let Some(leg) = self.legs.get(message.call_id) else {
            if !in_dialog {
                return self.new_call(now, request, out);
            }
            self.report.strangers.increment();
            return out.push(self.answer(request, NO_DIALOG));
        };
        if in_dialog {
            // A re-INVITE: the session stays as it is (14.2).
            return out.push(self.answer(request, "488 Not Acceptable Here"));
        }
        if !leg.repeats(message) {
            self.report.merged.increment();
            return out.push(self.answer(request, "482 Loop Detected"));
        }
        self.report.requests_repeated.increment();
        let last = leg.last();
        if !last.0.is_empty() {
            self.send(message.call_id, last, out);
        }
    }

    fn new_call(&mut self, now: u64, request: Request<'_>, out: &mut Outbox) {
        let message = request.message;
        let full = self.legs.len() >= self.options.calls_max || self.manner == Manner::Busy;
        let refusal = if full { Some(UNAVAILABLE) } else { None };
        if let Some(status) = refusal.or(self.options.refuse.as_deref()) {
            self.report.refused.increment();
            return out.push(self.answer(request, status));
        }
        let Some(dialog) = Dialog::of_callee(message, &self.tag(message.call_id)) else {
            return out.push(self.answer(request, "400 No Contact Or From Tag"));
        };
        self.report.new_calls.increment();
        self.report.dialogs.increment();

        let mut random = self.random(message.call_id, 0);
        let (shortest, longest) = self.options.ring;
        let ring_ns = random.between(shortest.as_nanos() as u64, longest.as_nanos() as u64);
        let sdp = text::sdp(self.address.ip(), &mut random);
        let offer = Offer {
            invite: message,
            dialog,
            ringing: self.answer_with(request, "180 Ringing", "").0,
            answer: self.answer_with(request, "200 OK", &sdp).0,
            reply_to: respond::reply_to(message, request.source),
            ring_ns,
        };
        let call_id: Arc<str> = message.call_id.into();
        self.legs.insert(Arc::clone(&call_id), Leg::new(offer, now, self.t1));
        let trying = self.trying(request);
        self.send(&call_id, trying, out);
        let ringing = self.legs[&call_id].last();
        self.send(&call_id, ringing, out);
        if ring_ns == 0 {
            self.wake_leg(now, &call_id, out);
        } else {
            self.timers.arm(now + ring_ns, &call_id);
        }
    }

    fn ack(&mut self, now: u64, message: &Message<'_>) {
        let own_tag = param(message.to, "tag") == Some(&self.tag(message.call_id));
        match self.legs.get_key_value(message.call_id).map(|(key, _)| Arc::clone(key)) {
            Some(call_id) => {
                let report = Arc::clone(&self.report);
                self.change(&call_id, |leg| {
                    if !leg.acknowledge(now, message.cseq, &report) {
                        report.requests_repeated.increment();
                    }
                });
            }
            // The ACK of a refusal; every other belongs to a dialog of somebody else.
            None if own_tag => {}
            None => self.report.strangers.increment(),
        }
    }

    fn bye(&mut self, now: u64, request: Request<'_>, out: &mut Outbox) {
        let message = request.message;
        let leg = self.legs.get_key_value(message.call_id);
        let leg = leg.filter(|(_, leg)| leg.dialog().holds(message));
        let Some((call_id, leg)) = leg.map(|(key, leg)| (Arc::clone(key), leg)) else {
            self.report.strangers.increment();
            return out.push(self.answer(request, NO_DIALOG));
        };
        match leg.phase {
            Phase::Ended => self.report.requests_repeated.increment(),
            // Both hang up: ours decides how the call is counted.
            Phase::Closing => {}
            _ => {
                self.report.completed.increment();
                self.end(now, &call_id);
            }
        }
        let answer = self.answer(request, "200 OK");
        self.send(&call_id, answer, out);
    }

    /// The final response to a BYE of ours.
    fn response(&mut self, now: u64, code: u16, message: &Message<'_>) {
        let leg = self.legs.get_key_value(message.call_id);
        let Some((call_id, _)) = leg.filter(|(_, leg)| leg.ends_bye(code, message)) else { return };
        let call_id = Arc::clone(call_id);
        match code {
            200..300 => self.report.completed.increment(),
            _ => self.report.byes_failed.increment(),
        }
        self.end(now, &call_id);
    }

    fn wake_leg(&mut self, now: u64, call_id: &Arc<str>, out: &mut Outbox) {
        let branch = format!("z9hG4bK{:016x}", self.random(call_id, 1).bits());
        let name = self.options.name.clone();
        let sender = Sender { address: self.address, name: &name, branch: &branch };
        let (t1, report) = (self.t1, Arc::clone(&self.report));
        let Some(leg) = self.legs.get(call_id) else { return };
        let phase = leg.phase;
        match self.change(call_id, |leg| leg.wake(now, t1, sender, &report)).flatten() {
            Some(datagram) => self.send(call_id, datagram, out),
            None if phase == Phase::Ended => {
                self.legs.remove(call_id);
            }
            None => {
                match phase {
                    Phase::Closing => self.report.byes_failed.increment(),
                    _ => self.report.unacknowledged.increment(),
                }
                self.end(now, call_id);
            }
        }
    }

    fn end(&mut self, now: u64, call_id: &Arc<str>) {
        let t1 = self.t1;
        self.report.dialogs.decrement();
        self.change(call_id, |leg| leg.end(now, t1));
    }

    /// Changes a leg, and arms its deadline if that is another one now.
    fn change<T>(&mut self, call_id: &Arc<str>, act: impl FnOnce(&mut Leg) -> T) -> Option<T> {
        let leg = self.legs.get_mut(call_id)?;
        let due = leg.due;
        let told = act(leg);
        if leg.due != due && leg.due != u64::MAX {
            self.timers.arm(leg.due, call_id);
        }
        Some(told)
    }

    /// Sends a datagram of a call, or drops it: a function of seed, Call-ID and its number.
    fn send(&mut self, call_id: &str, datagram: Datagram, out: &mut Outbox) {
        let Some(leg) = self.legs.get_mut(call_id) else { return };
        leg.sent += 1;
        let number = leg.sent;
        if self.random(call_id, number + 1).chance(self.options.drop_per_mille) {
            self.report.dropped.increment();
        } else {
            out.push(datagram);
        }
    }

    fn answer(&self, request: Request<'_>, status: &str) -> Datagram {
        self.answer_with(request, status, "")
    }

    fn answer_with(&self, request: Request<'_>, status: &str, body: &str) -> Datagram {
        let Self { address, options, .. } = self;
        let tag = self.tag(request.message.call_id);
        let fields = format!("Contact: <sip:{address}>\r\n{ALLOW}Server: {}\r\n", options.name);
        let answer = Answer { status, to_tag: Some(&tag), fields: &fields, body };
        let to = respond::reply_to(request.message, request.source);
        (respond::response(request.message, request.source, answer), to)
    }

    /// A 100 makes no dialog: no tag and no Contact (8.2.6.1).
    fn trying(&self, request: Request<'_>) -> Datagram {
        let fields = format!("Server: {}\r\n", self.options.name);
        let answer = Answer { status: "100 Trying", to_tag: None, fields: &fields, body: "" };
        let to = respond::reply_to(request.message, request.source);
        (respond::response(request.message, request.source, answer), to)
    }

    /// The To tag of a call: the same whenever it is asked for, and another on another backend.
    fn tag(&self, call_id: &str) -> String {
        let name = hash(self.options.seed, self.options.name.as_bytes());
        format!("{:016x}", hash(name, call_id.as_bytes()))
    }

    fn random(&self, call_id: &str, purpose: u64) -> Random {
        Random::new(hash(self.options.seed, call_id.as_bytes()), purpose)
    }
}

impl Agent for BackendAgent {
    fn receive(&mut self, now: u64, source: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let Some(message) = Message::parse(bytes) else {
            self.report.garbage.increment();
            return;
        };
        let request = Request { message: &message, source };
        match message.start {
            _ if self.ignores(now, request, bytes) => {}
            Start::Response { code } => self.response(now, code, &message),
            Start::Request { .. } if self.queued(now, request, bytes, out) => {}
            Start::Request { .. } => self.answer_request(now, request, out),
        }
    }

    fn wake(&mut self, now: u64, out: &mut Outbox) {
        self.serve(now, out);
        if let Some((source, bytes)) = self.held.take_due(now) {
            if let Some(message) = Message::parse(&bytes) {
                self.answer_request(now, Request { message: &message, source }, out);
            }
            return;
        }
        let Some((due, call_id)) = self.timers.take_due(now) else { return };
        if self.legs.get(&call_id).is_some_and(|leg| leg.due == due) {
            self.wake_leg(now, &call_id, out);
        }
    }

    fn deadline(&self) -> Option<u64> {
        let served = self.queue.as_ref().and_then(Queue::next);
        [self.timers.next(), served, self.held.next()].into_iter().flatten().min()
    }

    /// A backend waits for calls until it is dropped.
    fn done(&self) -> bool {
        false
    }

    fn socket_error(&mut self) {
        self.report.socket_errors.increment();
    }
}
