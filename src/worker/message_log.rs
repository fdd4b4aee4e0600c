//! Lines of the message log on their way out of a worker: one fixed-size record for each final response
//! that is sent, in a ring that somebody else reads. A full ring drops and counts; nothing here waits,
//! and nothing is allocated for a message.

use super::core::Core;
use super::desk::Desk;
use crate::io::buffers::SendSlot;
use crate::pool::BackendId;
use crate::proxy::{Forwarded, Method, Now, Timing, Verdict};
use crate::sip::Message;
use rtrb::{Consumer, Producer, RingBuffer};
use siphasher::sip::SipHasher24;
use std::net::SocketAddr;

/// Records that wait at most, 256 bytes each: the reader comes fifty times a second, so this is room
/// for 400 000 lines a second.
const LINES: usize = 8192;

/// Longer Call-IDs are cut.
const CALL_ID_MAX: usize = 128;

/// Which final responses have lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Only 400 and above, but for 401 and 407.
    pub errors_only: bool,
    /// The share of Call-IDs, thousandths.
    pub sample_per_mille: u16,
}

impl Rule {
    #[inline]
    fn wants_status(&self, status: u16) -> bool {
        status >= 200 && (!self.errors_only || (status >= 400 && status != 401 && status != 407))
    }

    /// Every node, and every start, chooses the same calls.
    fn wants_call(&self, call_id: &[u8]) -> bool {
        let hash = || SipHasher24::new_with_keys(0, 0).hash(call_id);
        self.sample_per_mille >= 1000 || hash() % 1000 < u64::from(self.sample_per_mille)
    }
}

/// A final response that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// When, microseconds on the clock of [`crate::io::os::now_ns`].
    pub us: u64,
    /// Where it was sent to: where its request came from.
    pub peer: SocketAddr,
    /// Who has answered; `None`: a client, or we ourselves.
    pub backend: Option<BackendId>,
    /// 200 to 699.
    pub status: u16,
    /// Of the request.
    pub method: Method,
    /// We have answered ourselves.
    pub own: bool,
    /// What its transaction tells; `None`: our own answer, or a response that was repeated.
    pub timing: Option<Timing>,
    call_id: [u8; CALL_ID_MAX],
    call_id_len: u8,
}

impl Line {
    /// The Call-ID, or its first 128 bytes.
    pub fn call_id(&self) -> &[u8] {
        &self.call_id[..usize::from(self.call_id_len)]
    }
}

/// The writing end, for a worker.
#[derive(Debug)]
pub struct Pen {
    lines: Producer<Line>,
    rule: Rule,
}

/// The reading end.
#[derive(Debug)]
pub struct Lines(Consumer<Line>);

/// A ring with room for [`LINES`].
pub fn pen(rule: Rule) -> (Pen, Lines) {
    let (lines, reader) = RingBuffer::new(LINES);
    (Pen { lines, rule }, Lines(reader))
}

impl Lines {
    /// The next line, if there is one.
    pub fn next_line(&mut self) -> Option<Line> {
        self.0.pop().ok()
    }

    /// No line waits, and none will come any more.
    pub fn is_over(&self) -> bool {
        self.0.is_abandoned() && self.0.is_empty()
    }
}

impl<C: Core> Desk<C> {
    /// Notes a final response that is about to be sent, where there is a log and it wants it.
    #[inline]
    pub(super) fn log_message(&mut self, now: Now, verdict: &Verdict, slot: &SendSlot) {
        if self.pen.is_some() {
            self.write_line(now, verdict, slot);
        }
    }

    /// Out of the way of who has no log: a message passes through more code than the processor's
    /// instruction cache holds.
    #[cold]
    #[inline(never)]
    fn write_line(&mut self, now: Now, verdict: &Verdict, slot: &SendSlot) {
        let Some(pen) = &mut self.pen else { return };
        let (sent, len) = match *verdict {
            Verdict::Forward { egress, len, kind } => {
                let Forwarded::Response { status, from: backend, timing, .. } = kind else {
                    return;
                };
                (Sent { status, to: egress.to, backend, own: false, timing }, len)
            }
            Verdict::Reply { egress, len, answer } => {
                let status = answer.status();
                (Sent { status, to: egress.to, backend: None, own: true, timing: None }, len)
            }
            _ => return,
        };
        if pen.rule.wants_status(sent.status) {
            let bytes = &self.driver.message(slot)[..len];
            if !pen.write(now, bytes, sent) {
                self.cells.message_log_dropped.increment();
            }
        }
    }
}

/// What is known of a response beside its bytes.
struct Sent {
    status: u16,
    to: SocketAddr,
    backend: Option<BackendId>,
    own: bool,
    timing: Option<Timing>,
}

impl Pen {
    /// Writes the line of the response in `bytes`. False: the ring is full.
    fn write(
        &mut self,
        now: Now,
        bytes: &[u8],
        Sent { status, to, backend, own, timing }: Sent,
    ) -> bool {
        let Some(message) = Message::parse(bytes) else { return true };
        let (Ok(call_id), Ok((_, method))) = (message.call_id(), message.cseq()) else {
            return true; // it was a request that has neither
        };
        let call_id = call_id.of(bytes);
        if !self.rule.wants_call(call_id) {
            return true;
        }
        let len = call_id.len().min(CALL_ID_MAX);
        let mut line = Line {
            us: now.us,
            peer: to,
            backend,
            status,
            method: Method::of(method.of(bytes)),
            own,
            timing,
            call_id: [0; CALL_ID_MAX],
            call_id_len: len as u8,
        };
        line.call_id[..len].copy_from_slice(&call_id[..len]);
        self.lines.push(line).is_ok()
    }
}
