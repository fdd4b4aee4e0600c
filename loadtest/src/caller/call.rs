//! One call as its caller sees it: INVITE, ACK, hold, BYE, with the timers of RFC 3261 17.1.

use super::CallRecord;
use crate::dialog::Dialog;
use crate::engine::Outbox;
use crate::message::{Message, Start, param};
use crate::random::Random;
use crate::report::{Outcome, Stage, Tally};
use crate::text::{self, USER_AGENT};
use crate::timers::{Backoff, GIVE_UP_IN_T1};
use std::net::SocketAddr;
use std::sync::Arc;

/// What one call is to do; drawn from the seed and its number.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) call_id: Arc<str>,
    pub(super) to: SocketAddr,
    pub(super) direct: bool,
    pub(super) hold_ns: u64,
    /// The number of the callee; `None`: a random name.
    pub(super) callee: Option<u32>,
    pub(super) callee_hangs_up: bool,
}

/// What all calls of a caller have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common {
    pub(super) local: SocketAddr,
    pub(super) t1: u64,
}

/// What a step made of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It goes on.
    Open,
    /// The message was none of this call's.
    Stray,
    /// It has ended, and is kept until [`Call::due`] if its phase is [`Phase::Over`].
    Ended(Outcome),
    /// It ended before and need not be kept any longer.
    Forget,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// INVITE sent; repeated by timer A.
    Calling,
    /// A 1xx came: no more repeats (17.1.1.2).
    Proceeding,
    /// ACK sent; our BYE is due.
    Holding,
    /// ACK sent; the callee's BYE is awaited.
    Awaiting,
    /// BYE sent; repeated by timer E.
    Closing,
    /// Ended; messages of the peer that come again are answered again.
    Over,
    /// Ended, and nothing can come any more.
    Gone,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) script: Script,
    pub(super) phase: Phase,
    /// When [`Call::wake`] is to be called.
    pub(super) due: u64,
    pub(super) split: bool,
    /// The first name in a Server or User-Agent field of the other side.
    pub(super) server: Option<String>,
    random: Random,
    pub(super) from: String,
    pub(super) cseq: u32,
    pub(super) branch: String,
    backoff: Backoff,
    invite: Vec<u8>,
    invited_at: u64,
    heard: bool,
    answered_at: Option<u64>,
    repeats: u32,
    pub(super) dialog: Option<Dialog>,
    ack: Vec<u8>,
    bye: Vec<u8>,
    bye_branch: String,
    bye_at: u64,
}

impl Call {
    /// Sends the INVITE.
    pub(super) fn start(
        script: Script,
        mut random: Random,
        now: u64,
        common: Common,
        out: &mut Outbox,
    ) -> Self {
        let (user, callee) = (text::user(&mut random), text::user(&mut random));
        let callee = script.callee.map_or(callee, |number| format!("callee{number}"));
        let from = format!("<sip:{user}@{}>;tag={:016x}", common.local, random.bits());
        let (branch, cseq) = (branch(&mut random), random.between(1, 9999) as u32);
        let invite = text::Invite {
            to: script.to,
            local: common.local,
            call_id: &script.call_id,
            from: &from,
            user: &user,
            callee: &callee,
            cseq,
            via: &text::via(common.local, &branch),
            hang_up_ms: script.callee_hangs_up.then_some(script.hold_ns / 1_000_000),
        }
        .write(&mut random);
        out.push((invite.clone(), script.to));
        let backoff = Backoff::invite(now, common.t1);
        Self {
            script,
            phase: Phase::Calling,
            due: backoff.due(now),
            split: false,
            server: None,
            random,
            from,
            cseq,
            branch,
            backoff,
            invite,
            invited_at: now,
            heard: false,
            answered_at: None,
            repeats: 0,
            dialog: None,
            ack: Vec::new(),
            bye: Vec::new(),
            bye_branch: String::new(),
            bye_at: 0,
        }
    }

    /// What became of it, with its end if it has ended.
    pub(super) fn record(&self, ended: Option<(u64, Outcome)>) -> CallRecord {
        CallRecord {
            invited_ns: self.invited_at,
            answered_ns: self.answered_at,
            hung_up_ns: (!self.bye.is_empty()).then_some(self.bye_at),
            ended,
            repeats: self.repeats,
            split: self.split,
            server: self.server.clone(),
        }
    }

    /// A response with this call's Call-ID.
    pub(super) fn response(
        &mut self,
        now: u64,
        message: &Message<'_>,
        common: Common,
        tally: &Tally,
        out: &mut Outbox,
    ) -> Step {
        let Start::Response { code } = message.start else { return Step::Stray };
        let of_invite = message.cseq_method == "INVITE";
        let (branch, cseq) = match of_invite {
            true => (&self.branch, self.cseq),
            false => (&self.bye_branch, self.cseq + 1),
        };
        // RFC 3261 17.1.3 and 18.1.2: our branch in the topmost Via, which is the only one.
        let ours = param(message.via, "branch") == Some(branch)
            && message.cseq == cseq
            && message.from == self.from
            && message.values("via").count() == 1;
        if !ours {
            return Step::Stray;
        }
        // A 100 is hop by hop: a proxy in between may name itself there.
        if let Some(name) = message.first("server").filter(|_| code > 100) {
            self.hear_of(name);
        }
        match of_invite {
            true => self.invite_response(now, code, message, common, tally, out),
            false => self.bye_response(now, code, tally),
        }
    }

    fn invite_response(
        &mut self,
        now: u64,
        code: u16,
        message: &Message<'_>,
        common: Common,
        tally: &Tally,
        out: &mut Outbox,
    ) -> Step {
        if !self.heard {
            self.heard = true;
            tally.first_response.record(now - self.invited_at);
        }
        let waiting = matches!(self.phase, Phase::Calling | Phase::Proceeding);
        match code {
            ..200 if self.phase == Phase::Calling => {
                // No timer guards a call that rings; this caller does not wait longer than for an
                // answer to the INVITE itself.
                self.phase = Phase::Proceeding;
                self.due = self.invited_at + GIVE_UP_IN_T1 * common.t1;
                Step::Open
            }
            ..200 => Step::Open,
            200..300 if waiting => self.answered(now, message, common, tally, out),
            300.. if waiting => {
                self.ack = self.ack_of_failure(message);
                out.push((self.ack.clone(), self.script.to));
                self.end(now, common, Outcome::Failed(code))
            }
            _ => {
                // The final response again: the ACK again (13.2.2.4, 17.1.1.2). A 2xx of another
                // callee does not come here.
                let same = self.dialog.as_ref().is_none_or(|dialog| dialog.answered_by(message));
                if self.ack.is_empty() || !same {
                    return Step::Stray;
                }
                tally.answers_repeated.increment();
                out.push((self.ack.clone(), self.script.to));
                Step::Open
            }
        }
    }

    /// The 2xx: the dialog is there.
    fn answered(
        &mut self,
        now: u64,
        message: &Message<'_>,
        common: Common,
        tally: &Tally,
        out: &mut Outbox,
    ) -> Step {
        let Some(dialog) = Dialog::of_caller(message) else { return Step::Stray };
        tally.answer.record(now - self.invited_at);
        self.answered_at = Some(now);
        let via = text::via(common.local, &branch(&mut self.random));
        self.ack = dialog.request("ACK", self.cseq, &via, USER_AGENT);
        out.push((self.ack.clone(), self.script.to));
        self.dialog = Some(dialog);
        self.invite = Vec::new();
        if self.script.callee_hangs_up {
            self.phase = Phase::Awaiting;
            self.due = now + self.script.hold_ns + GIVE_UP_IN_T1 * common.t1;
        } else {
            self.phase = Phase::Holding;
            self.due = now + self.script.hold_ns;
        }
        Step::Open
    }

    fn bye_response(&mut self, now: u64, code: u16, tally: &Tally) -> Step {
        if self.phase != Phase::Closing {
            return Step::Stray;
        }
        if code < 200 {
            return Step::Open;
        }
        self.phase = Phase::Gone;
        if code >= 300 {
            return Step::Ended(Outcome::Failed(code));
        }
        tally.bye.record(now - self.bye_at);
        Step::Ended(Outcome::Completed)
    }

    /// A BYE with this call's Call-ID; false if it is of no dialog of ours (481).
    pub(super) fn bye(&mut self, now: u64, message: &Message<'_>, common: Common) -> (bool, Step) {
        if !self.dialog.as_ref().is_some_and(|dialog| dialog.holds(message)) {
            return (false, Step::Stray);
        }
        if let Some(name) = message.first("user-agent") {
            self.hear_of(name);
        }
        match self.phase {
            Phase::Holding | Phase::Awaiting => (true, self.end(now, common, Outcome::Completed)),
            _ => (true, Step::Open),
        }
    }

    /// The deadline has come.
    pub(super) fn wake(
        &mut self,
        now: u64,
        common: Common,
        tally: &Tally,
        out: &mut Outbox,
    ) -> Step {
        match self.phase {
            Phase::Calling => match self.backoff.again(now) {
                Some(due) => {
                    tally.invites_repeated.increment();
                    self.repeats += 1;
                    out.push((self.invite.clone(), self.script.to));
                    self.due = due;
                    Step::Open
                }
                None => self.time_out(Stage::Answer),
            },
            Phase::Proceeding => self.time_out(Stage::Answer),
            Phase::Holding => {
                self.hang_up(now, common, out);
                Step::Open
            }
            Phase::Awaiting => self.time_out(Stage::CalleesBye),
            Phase::Closing => match self.backoff.again(now) {
                Some(due) => {
                    tally.byes_repeated.increment();
                    self.repeats += 1;
                    out.push((self.bye.clone(), self.script.to));
                    self.due = due;
                    Step::Open
                }
                None => self.time_out(Stage::ByeAnswer),
            },
            Phase::Over | Phase::Gone => Step::Forget,
        }
    }

    fn hang_up(&mut self, now: u64, common: Common, out: &mut Outbox) {
        let Some(dialog) = &self.dialog else { return };
        self.bye_branch = branch(&mut self.random);
        let via = text::via(common.local, &self.bye_branch);
        self.bye = dialog.request("BYE", self.cseq + 1, &via, USER_AGENT);
        out.push((self.bye.clone(), self.script.to));
        self.phase = Phase::Closing;
        self.bye_at = now;
        self.backoff = Backoff::capped(now, common.t1);
        self.due = self.backoff.due(now);
    }

    /// Ends the call; the peer may still repeat its last message for a while.
    fn end(&mut self, now: u64, common: Common, outcome: Outcome) -> Step {
        self.phase = Phase::Over;
        self.due = now + 4 * common.t1;
        Step::Ended(outcome)
    }

    fn time_out(&mut self, stage: Stage) -> Step {
        self.phase = Phase::Gone;
        Step::Ended(Outcome::TimedOut(stage))
    }

    /// A name in the dialog that is not the first one: two servers answer for one call.
    fn hear_of(&mut self, name: &str) {
        match &self.server {
            Some(first) => self.split |= first != name,
            None => self.server = Some(name.to_owned()),
        }
    }

    /// The ACK of a failure goes hop by hop, with the INVITE's branch (17.1.1.3).
    fn ack_of_failure(&self, message: &Message<'_>) -> Vec<u8> {
        let Some(invite) = Message::parse(&self.invite) else { return Vec::new() };
        let Start::Request { uri, .. } = invite.start else { return Vec::new() };
        let Message { from, to, call_id, cseq, .. } = message;
        let via = invite.via;
        format!(
            "ACK {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} ACK\r\nUser-Agent: {USER_AGENT}\r\n\
             Content-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }
}

pub(super) fn branch(random: &mut Random) -> String {
    format!("z9hG4bK{:016x}", random.bits())
}
