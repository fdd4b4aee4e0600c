//! One call as its callee sees it: 100, 180, 200, ACK, and the BYE of either side.

use crate::dialog::Dialog;
use crate::message::{Message, param};
use crate::report::BackendReport;
use crate::text;
use crate::timers::{Backoff, GIVE_UP_IN_T1};
use std::net::SocketAddr;

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// 180 sent.
    Ringing,
    /// 200 sent, and sent again until the ACK (13.3.1.4).
    Answered,
    /// The ACK came.
    Confirmed,
    /// Our BYE is sent.
    Closing,
    /// Ended; kept for 64*T1 (timer J), for requests that come again.
    Ended,
}

/// A datagram that the leg wants to send; it may be lost on purpose on its way.
pub(super) type Datagram = (Vec<u8>, SocketAddr);

/// A call that this backend took.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) phase: Phase,
    /// When [`Leg::wake`] is to be called; `u64::MAX`: never.
    pub(super) due: u64,
    /// Datagrams sent or dropped so far: which are dropped is a function of it.
    pub(super) sent: u64,
    dialog: Dialog,
    branch: String,
    cseq: u32,
    /// The last response to the INVITE, sent again when the INVITE comes again (17.2.1).
    last: Vec<u8>,
    answer: Vec<u8>,
    reply_to: SocketAddr,
    answered_at: u64,
    backoff: Backoff,
    /// How long after the ACK we hang up.
    hang_up_ns: Option<u64>,
    bye: Vec<u8>,
    bye_branch: String,
}

/// What a leg is made of.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    pub(super) invite: &'a Message<'a>,
    pub(super) dialog: Dialog,
    pub(super) ringing: Vec<u8>,
    pub(super) answer: Vec<u8>,
    pub(super) reply_to: SocketAddr,
    pub(super) ring_ns: u64,
}

impl Leg {
    pub(super) fn new(offer: Offer<'_>, now: u64, t1: u64) -> Self {
        let hang_up = offer.invite.first(text::HANG_UP_FIELD).and_then(|ms| ms.parse::<u32>().ok());
        Self {
            phase: Phase::Ringing,
            due: now + offer.ring_ns,
            sent: 0,
            dialog: offer.dialog,
            branch: param(offer.invite.via, "branch").unwrap_or("").to_owned(),
            cseq: offer.invite.cseq,
            last: offer.ringing,
            answer: offer.answer,
            reply_to: offer.reply_to,
            answered_at: 0,
            backoff: Backoff::capped(now, t1),
            hang_up_ns: hang_up.map(|ms| u64::from(ms) * 1_000_000),
            bye: Vec::new(),
            bye_branch: String::new(),
        }
    }

    /// True if this is the INVITE that made the leg, again.
    pub(super) fn repeats(&self, invite: &Message<'_>) -> bool {
        param(invite.via, "branch") == Some(&self.branch) && invite.cseq == self.cseq
    }

    /// The dialog, for its tags.
    pub(super) fn dialog(&self) -> &Dialog {
        &self.dialog
    }

    /// The response that the INVITE got last; empty once it is acknowledged.
    pub(super) fn last(&self) -> Datagram {
        (self.last.clone(), self.reply_to)
    }

    /// An ACK in this dialog; true if it is the first.
    pub(super) fn acknowledge(&mut self, now: u64, cseq: u32, report: &BackendReport) -> bool {
        if self.phase != Phase::Answered || cseq != self.cseq {
            return false;
        }
        report.acknowledged.record(now - self.answered_at);
        self.phase = Phase::Confirmed;
        (self.last, self.answer) = (Vec::new(), Vec::new());
        self.due = self.hang_up_ns.map_or(u64::MAX, |ns| now + ns);
        true
    }

    /// The call has ended; requests that come again are answered for 64*T1 more.
    pub(super) fn end(&mut self, now: u64, t1: u64) {
        self.phase = Phase::Ended;
        self.due = now + GIVE_UP_IN_T1 * t1;
        (self.last, self.answer, self.bye) = (Vec::new(), Vec::new(), Vec::new());
    }

    /// A response; true if it is the final one to our BYE.
    pub(super) fn ends_bye(&self, code: u16, message: &Message<'_>) -> bool {
        self.phase == Phase::Closing
            && code >= 200
            && message.cseq_method == "BYE"
            && param(message.via, "branch") == Some(&self.bye_branch)
            && message.values("via").count() == 1
    }

    /// The deadline has come: what to send, or `None` if the call is to be ended or forgotten.
    pub(super) fn wake(
        &mut self,
        now: u64,
        t1: u64,
        sender: Sender<'_>,
        report: &BackendReport,
    ) -> Option<Datagram> {
        match self.phase {
            Phase::Ringing => {
                self.phase = Phase::Answered;
                self.last.clone_from(&self.answer);
                self.answered_at = now;
                self.backoff = Backoff::capped(now, t1);
                self.due = self.backoff.due(now);
                Some(self.last())
            }
            Phase::Answered => {
                self.due = self.backoff.again(now)?;
                report.sends_repeated.increment();
                Some(self.last())
            }
            Phase::Confirmed => {
                self.phase = Phase::Closing;
                self.bye_branch = sender.branch.to_owned();
                let via = text::via(sender.address, sender.branch);
                self.bye = self.dialog.request("BYE", 1, &via, sender.name);
                self.backoff = Backoff::capped(now, t1);
                self.due = self.backoff.due(now);
                Some(self.our_bye())
            }
            Phase::Closing => {
                self.due = self.backoff.again(now)?;
                report.sends_repeated.increment();
                Some(self.our_bye())
            }
            Phase::Ended => None,
        }
    }

    /// Our BYE goes where the route set says; where that is a name, back to where the INVITE came
    /// from.
    fn our_bye(&self) -> Datagram {
        (self.bye.clone(), self.dialog.next_hop().unwrap_or(self.reply_to))
    }
}

/// Who sends, for the Via and the User-Agent of a BYE.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    pub(super) address: SocketAddr,
    pub(super) name: &'a str,
    pub(super) branch: &'a str,
}
