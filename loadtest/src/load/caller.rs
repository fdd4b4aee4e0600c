//! All callers: starts calls and requests, follows each to its end, and counts what became of it.

use super::options::{Kind, Options};
use super::outbox::Outbox;
use super::report::{CallerCounts, Latencies, Stage};
use super::scan::{Scanned, Start};
use super::text::{Dialog, Phrasebook};
use super::timers::{Timers, Wait};
use super::{Number, text};
use std::collections::VecDeque;
use std::net::SocketAddrV4;

/// Calls that may be open at once.
pub(crate) const OPEN_MAX: usize = 1 << 17;

/// The transactions of a call; the only one of another kind is the first.
const FIRST: u8 = 1;
const BYE: u8 = 2;

pub(super) struct Callers {
    book: Phrasebook,
    slots: Vec<Slot>,
    free: Vec<u32>,
    timers: Timers,
    /// BYEs to come, in the order in which they are due: all calls last equally long.
    hanging_up: VecDeque<(u64, Number)>,
    hold_ns: u64,
    sources: usize,
    next_source: usize,
    pub(super) outboxes: Vec<Outbox>,
    /// Calls and requests that start now count.
    pub(super) is_measuring: bool,
    pub(super) counts: CallerCounts,
    pub(super) latencies: Latencies,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    /// The first request is out; `proceeding`: a provisional answer has come.
    Waiting {
        proceeding: bool,
    },
    /// Answered, acknowledged, and not yet hung up.
    Talking,
    HangingUp,
}

struct Slot {
    state: State,
    generation: u32,
    kind: Kind,
    source: usize,
    counts: bool,
    /// When it was due to start; latencies count from here.
    due: u64,
    bye_sent: u64,
    dialog: Dialog,
}

impl Callers {
    pub(super) fn new(options: &Options, domain: SocketAddrV4, sources: &[SocketAddrV4]) -> Self {
        Self {
            book: Phrasebook::new(options.seed, domain, sources, options.body),
            slots: Vec::new(),
            free: Vec::new(),
            timers: Timers::new(options.t1),
            hanging_up: VecDeque::new(),
            hold_ns: options.hold.as_nanos() as u64,
            sources: sources.len(),
            next_source: 0,
            outboxes: sources.iter().map(|_| Outbox::default()).collect(),
            is_measuring: false,
            counts: CallerCounts::default(),
            latencies: Latencies::new(),
        }
    }

    /// Calls and requests that are open.
    pub(super) fn open(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Starts one that was due at `due`. False if too many are open.
    pub(super) fn start(&mut self, now: u64, due: u64, kind: Kind) -> bool {
        let Some(place) = self.free_slot() else {
            self.counts.not_started += u64::from(self.is_measuring);
            return false;
        };
        self.next_source = (self.next_source + 1) % self.sources;
        let slot = &mut self.slots[place as usize];
        slot.state = State::Waiting { proceeding: false };
        slot.generation = slot.generation.wrapping_add(1);
        slot.kind = kind;
        slot.source = self.next_source;
        slot.counts = self.is_measuring;
        slot.due = due;
        self.counts.started += u64::from(slot.counts);
        let number = Number { slot: place, generation: slot.generation };
        self.timers.arm(now, number, FIRST);
        self.send_first(number);
        true
    }

    /// A datagram came in at the socket of a source.
    pub(super) fn receive(&mut self, now: u64, source: usize, bytes: &[u8]) {
        self.counts.received += 1;
        let Some(found) = Scanned::read(bytes) else {
            self.counts.garbage += 1;
            return;
        };
        let Start::Response(code) = found.start else {
            self.counts.garbage += 1;
            return;
        };
        let Some((number, slot)) = found.number().and_then(|number| {
            let slot = self.slots.get(number.slot as usize)?;
            let is_it = slot.generation == number.generation && slot.source == source;
            is_it.then_some((number, slot))
        }) else {
            self.counts.strays += 1;
            return;
        };
        match (found.method(), slot.kind, slot.state) {
            (b"INVITE", Kind::Call, State::Waiting { .. }) => {
                self.answer(now, number, code, &found)
            }
            // The 200 once more: the ACK was lost (RFC 3261 13.2.2.4).
            (b"INVITE", Kind::Call, State::Talking | State::HangingUp) if code >= 200 => {
                self.send_ack(number);
            }
            (b"BYE", Kind::Call, State::HangingUp) if code >= 200 => {
                let sent = slot.bye_sent;
                self.end(now, number, code, Stage::Bye, sent);
            }
            (method, kind, State::Waiting { .. })
                if kind != Kind::Call && method == kind.method().as_bytes() && code >= 200 =>
            {
                let due = slot.due;
                self.end(now, number, code, Stage::Other, due);
            }
            _ => self.counts.late_answers += 1,
        }
    }

    /// Does what is due: repeats requests, hangs up.
    pub(super) fn wake(&mut self, now: u64) {
        while let Some(wait) = self.timers.take_due(now) {
            self.wait_is_over(now, wait);
        }
        while let Some(&(_, number)) = self.hanging_up.front().filter(|(due, _)| *due <= now) {
            self.hanging_up.pop_front();
            self.hang_up(now, number);
        }
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        let bye = self.hanging_up.front().map(|(due, _)| *due);
        [self.timers.next(), bye].into_iter().flatten().min()
    }

    /// What is still open is lost: counts it by what it waits for.
    pub(super) fn close(&mut self) {
        for slot in self.slots.iter().filter(|slot| slot.counts) {
            match (slot.state, slot.kind) {
                (State::Free, _) => {}
                (State::Waiting { .. }, Kind::Call) => self.counts.lost.no_answer += 1,
                (State::Waiting { .. }, _) => self.counts.lost.no_answer_other += 1,
                (State::Talking | State::HangingUp, _) => self.counts.lost.no_answer_bye += 1,
            }
        }
    }

    fn answer(&mut self, now: u64, number: Number, code: u16, found: &Scanned<'_>) {
        let slot = &mut self.slots[number.slot as usize];
        if slot.state == (State::Waiting { proceeding: false }) && slot.counts {
            self.latencies.first_response.record(now - slot.due);
        }
        if code < 200 {
            slot.state = State::Waiting { proceeding: true };
            return;
        }
        if code >= 300 {
            let out = &mut self.outboxes[slot.source];
            self.book.ack_refusal(&mut out.bytes, number, slot.source, found.to);
            out.close(None);
            self.counts.sent += 1;
            let due = slot.due;
            self.end(now, number, code, Stage::Answer, due);
            return;
        }
        if slot.counts {
            self.latencies.answer.record(now - slot.due);
        }
        slot.state = State::Talking;
        slot.dialog.fill(found);
        self.send_ack(number);
        match self.hold_ns {
            0 => self.hang_up(now, number),
            hold => self.hanging_up.push_back((now + hold, number)),
        }
    }

    fn hang_up(&mut self, now: u64, number: Number) {
        let slot = &mut self.slots[number.slot as usize];
        slot.state = State::HangingUp;
        slot.bye_sent = now;
        self.send_bye(number);
        self.timers.arm(now, number, BYE);
    }

    fn wait_is_over(&mut self, now: u64, wait: Wait) {
        let slot = &self.slots[wait.number.slot as usize];
        if slot.generation != wait.number.generation {
            return;
        }
        let first = (FIRST, State::Waiting { proceeding: false });
        let what = (wait.transaction, slot.state);
        let capped = what != first || slot.kind != Kind::Call;
        // What has gone on was answered long ago.
        let is_waited_for = what == first || what == (BYE, State::HangingUp);
        if !is_waited_for || !self.timers.again(now, wait, capped) {
            return;
        }
        if what == first {
            self.counts.requests_repeated += 1;
            self.send_first(wait.number);
        } else {
            self.counts.byes_repeated += 1;
            self.send_bye(wait.number);
        }
    }

    fn end(&mut self, now: u64, number: Number, code: u16, stage: Stage, since: u64) {
        let slot = &mut self.slots[number.slot as usize];
        slot.state = State::Free;
        self.free.push(number.slot);
        let went_well = (200..300).contains(&code);
        self.counts.ended_well += u64::from(went_well);
        if !slot.counts {
            return;
        }
        if !went_well {
            *self.counts.lost.refused.entry(code).or_default() += 1;
            return;
        }
        self.counts.completed += 1;
        match stage {
            Stage::Answer => {}
            Stage::Bye => self.latencies.bye.record(now - since),
            Stage::Other => self.latencies.other.record(now - since),
        }
    }

    fn free_slot(&mut self) -> Option<u32> {
        if let Some(place) = self.free.pop() {
            return Some(place);
        }
        if self.slots.len() == OPEN_MAX {
            return None;
        }
        self.slots.push(Slot {
            state: State::Free,
            generation: 0,
            kind: Kind::Call,
            source: 0,
            counts: false,
            due: 0,
            bye_sent: 0,
            dialog: Dialog::default(),
        });
        Some(self.slots.len() as u32 - 1)
    }

    fn send_first(&mut self, number: Number) {
        let slot = &self.slots[number.slot as usize];
        let out = &mut self.outboxes[slot.source];
        self.book.first(&mut out.bytes, slot.kind, number, slot.source);
        out.close(None);
        self.counts.sent += 1;
    }

    fn send_ack(&mut self, number: Number) {
        let slot = &self.slots[number.slot as usize];
        let out = &mut self.outboxes[slot.source];
        self.book.ack(&mut out.bytes, number, slot.source, &slot.dialog);
        out.close(None);
        self.counts.sent += 1;
    }

    fn send_bye(&mut self, number: Number) {
        let slot = &self.slots[number.slot as usize];
        let out = &mut self.outboxes[slot.source];
        self.book.bye(&mut out.bytes, number, slot.source, &slot.dialog);
        out.close(None);
        self.counts.sent += 1;
    }
}

impl Dialog {
    /// Keeps what the 200 says (RFC 3261 12.1.2): the route set is its Record-Route reversed.
    fn fill(&mut self, found: &Scanned<'_>) {
        self.to.clear();
        self.to.extend_from_slice(found.to);
        self.target.clear();
        self.target.extend_from_slice(uri(found.contact));
        self.routes.clear();
        for line in found.record_routes.all().iter().rev() {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            for value in line[colon + 1..].trim_ascii().rsplit(|&byte| byte == b',') {
                text::write_all!(self.routes, "Route: ", value.trim_ascii(), "\r\n");
            }
        }
    }
}

/// What stands in the angle brackets.
fn uri(value: &[u8]) -> &[u8] {
    let begin = memchr::memchr(b'<', value).map_or(0, |at| at + 1);
    let end = memchr::memchr(b'>', value).unwrap_or(value.len());
    value.get(begin..end).unwrap_or(value)
}
