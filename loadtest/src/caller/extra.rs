//! Dialogs that a caller does not want: when a second callee answers an INVITE with 2xx, it is
//! acknowledged, and its dialog ended (RFC 3261 13.2.2.4). A proxy that has given a backend up may
//! forward its late 200 (16.7 item 5).

use super::call::{Call, Common, branch};
use crate::dialog::Dialog;
use crate::engine::Outbox;
use crate::message::{Message, Start, param};
use crate::random::Random;
use crate::report::CallerReport;
use crate::text::{self, USER_AGENT};
use crate::timers::{Backoff, GIVE_UP_IN_T1};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

/// INVITEs that were answered, and the further dialogs that they led to.
#[derive(Debug)]
pub(super) struct Extras {
    /// By Call-ID, for 64*T1 after the first 2xx (RFC 6026 7.2, timer M).
    answered: HashMap<Arc<str>, Answered>,
    /// The same by when they are forgotten.
    forgotten: VecDeque<(u64, Arc<str>)>,
    ending: Vec<Ending>,
    random: Random,
}

/// An INVITE whose first 2xx has come.
#[derive(Debug)]
struct Answered {
    to: SocketAddr,
    from: String,
    branch: String,
    cseq: u32,
    /// That of the dialog that is wanted.
    first: Dialog,
}

/// A dialog whose BYE is on its way.
#[derive(Debug)]
struct Ending {
    dialog: Dialog,
    to: SocketAddr,
    ack: Vec<u8>,
    bye: Vec<u8>,
    branch: String,
    backoff: Backoff,
    due: u64,
}

impl Extras {
    pub(super) fn new(random: Random) -> Self {
        let (answered, forgotten) = (HashMap::new(), VecDeque::new());
        Self { answered, forgotten, ending: Vec::new(), random }
    }

    /// A call has got its first 2xx.
    pub(super) fn answered(&mut self, now: u64, call: &Call, common: Common) {
        while self.forgotten.front().is_some_and(|(when, _)| *when <= now) {
            let gone = self.forgotten.pop_front();
            gone.map(|(_, call_id)| self.answered.remove(&call_id));
        }
        let Some(first) = call.dialog.clone() else { return };
        let (from, branch) = (call.from.clone(), call.branch.clone());
        let call_id = &call.script.call_id;
        let (to, cseq) = (call.script.to, call.cseq);
        self.answered.insert(Arc::clone(call_id), Answered { to, from, branch, cseq, first });
        let until = now + GIVE_UP_IN_T1 * common.t1;
        self.forgotten.push_back((until, Arc::clone(call_id)));
    }

    /// A response. False if it is of no dialog but the one that is wanted.
    pub(super) fn response(
        &mut self,
        now: u64,
        message: &Message<'_>,
        common: Common,
        report: &CallerReport,
        out: &mut Outbox,
    ) -> bool {
        let Start::Response { code } = message.start else { return false };
        match (message.cseq_method, code) {
            ("INVITE", 200..300) => self.answer(now, message, common, report, out),
            ("BYE", _) => self.ended(message, code, report),
            _ => false,
        }
    }

    /// A 2xx to an INVITE: of another callee than the first one it begins a dialog, which is ended
    /// at once.
    fn answer(
        &mut self,
        now: u64,
        message: &Message<'_>,
        common: Common,
        report: &CallerReport,
        out: &mut Outbox,
    ) -> bool {
        let Some(invite) = self.answered.get(message.call_id) else { return false };
        let ours = param(message.via, "branch") == Some(&invite.branch)
            && message.cseq == invite.cseq
            && message.from == invite.from;
        if !ours || invite.first.answered_by(message) {
            return false;
        }
        if let Some(known) = self.ending.iter().find(|one| one.dialog.is_of(message)) {
            out.push((known.ack.clone(), known.to));
            return true;
        }
        let Some(dialog) = Dialog::of_caller(message) else { return false };
        let mut via = || {
            let branch = branch(&mut self.random);
            (text::via(common.local, &branch), branch)
        };
        let ((of_ack, _), (of_bye, branch)) = (via(), via());
        let ack = dialog.request("ACK", invite.cseq, &of_ack, USER_AGENT);
        let bye = dialog.request("BYE", invite.cseq + 1, &of_bye, USER_AGENT);
        let (to, backoff) = (invite.to, Backoff::capped(now, common.t1));
        out.extend([(ack.clone(), to), (bye.clone(), to)]);
        report.extra_dialogs.increment();
        let due = backoff.due(now);
        self.ending.push(Ending { dialog, to, ack, bye, branch, backoff, due });
        true
    }

    fn ended(&mut self, message: &Message<'_>, code: u16, report: &CallerReport) -> bool {
        let branch = param(message.via, "branch");
        let place = self.ending.iter().position(|one| Some(one.branch.as_str()) == branch);
        let Some(place) = place else { return false };
        if code >= 200 {
            self.ending.swap_remove(place);
            report.extra_dialogs_ended.increment();
        }
        true
    }

    /// True if a BYE is of a dialog that is being ended from here too.
    pub(super) fn hold(&self, bye: &Message<'_>) -> bool {
        self.ending.iter().any(|one| one.dialog.is_of(bye) && one.dialog.holds(bye))
    }

    /// When the next BYE is to be sent again, or given up.
    pub(super) fn next(&self) -> Option<u64> {
        self.ending.iter().map(|one| one.due).min()
    }

    /// Sends one that is due again.
    pub(super) fn wake(&mut self, now: u64, out: &mut Outbox) {
        let Some(place) = self.ending.iter().position(|one| one.due <= now) else { return };
        let one = &mut self.ending[place];
        match one.backoff.again(now) {
            Some(due) => {
                one.due = due;
                out.push((one.bye.clone(), one.to));
            }
            None => drop(self.ending.swap_remove(place)),
        }
    }

    /// True if none is being ended.
    pub(super) fn is_empty(&self) -> bool {
        self.ending.is_empty()
    }
}
