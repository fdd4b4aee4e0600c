//! A caller whose call may meet several backends, sans-IO: RFC 3261 9.1, 13.2.2, 15 and 17.1, RFC 6026.
//! It notes an answer that contradicts one before.

use crate::network::Datagram;
use crate::world::{Request, routes_of_caller, rows};
use std::net::SocketAddr;

pub(crate) const T1_MS: u64 = 500;
/// Timers B, D, F and H.
pub(crate) const TRANSACTION_MS: u64 = 64 * T1_MS;
/// A call that rings for longer is cancelled.
const RING_MS_MAX: u64 = 60_000;

/// What a caller does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) start_ms: u64,
    /// From the INVITE on; not before a provisional response (9.1).
    pub(crate) cancel_ms: Option<u64>,
    /// From the answer to the BYE; `None`: the callee hangs up.
    pub(crate) hold_ms: Option<u64>,
}

/// A request that is repeated until something ends it.
struct Transaction {
    datagram: Datagram,
    interval_ms: u64,
    resend_ms: Option<u64>,
    end_ms: u64,
}

impl Transaction {
    fn begin(datagram: Datagram, now_ms: u64) -> Self {
        let end_ms = now_ms + TRANSACTION_MS;
        Self { datagram, interval_ms: T1_MS, resend_ms: Some(now_ms + T1_MS), end_ms }
    }

    fn due(&mut self, now_ms: u64) -> Option<Datagram> {
        if self.resend_ms? > now_ms {
            return None;
        }
        self.interval_ms *= 2;
        let next_ms = now_ms + self.interval_ms;
        self.resend_ms = (next_ms < self.end_ms).then_some(next_ms);
        Some(self.datagram.clone())
    }
}

/// One dialog that a 2xx has made; a forked call has several.
struct Dialog {
    tag: String,
    ack: Datagram,
    bye: Datagram,
    bye_ms: Option<u64>,
    ending: Option<Transaction>,
}

pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    pub(crate) call_id: String,
    pub(crate) plan: Plan,
    proxy: SocketAddr,
    invite: Option<Transaction>,
    cancel: Option<Transaction>,
    provisional: bool,
    /// The final response that is none of 2xx: its status, its tag, when it came.
    pub(crate) failure: Option<(u16, String, u64)>,
    dialogs: Vec<Dialog>,
    pub(crate) outbox: Vec<Datagram>,
    pub(crate) complaint: Option<String>,
}

impl Caller {
    pub(crate) fn new(address: SocketAddr, proxy: SocketAddr, call_id: String, plan: Plan) -> Self {
        Self {
            address,
            call_id,
            plan,
            proxy,
            invite: None,
            cancel: None,
            provisional: false,
            failure: None,
            dialogs: Vec::new(),
            outbox: Vec::new(),
            complaint: None,
        }
    }

    /// Dialogs that the call has made.
    pub(crate) fn answers(&self) -> usize {
        self.dialogs.len()
    }

    pub(crate) fn has_cancelled(&self) -> bool {
        self.cancel.is_some()
    }

    fn is_answered(&self) -> bool {
        self.failure.is_some() || !self.dialogs.is_empty()
    }

    /// Does what is due; called at every step of the clock.
    pub(crate) fn handle_timeout(&mut self, now_ms: u64) {
        if self.invite.is_none() {
            if now_ms >= self.plan.start_ms {
                let datagram = self.request("INVITE", "", 1, "");
                self.outbox.push(datagram.clone());
                self.invite = Some(Transaction::begin(datagram, now_ms));
            }
            return;
        }
        let rings_ms = self.plan.cancel_ms.unwrap_or(RING_MS_MAX).min(RING_MS_MAX);
        let is_time = now_ms >= self.plan.start_ms + rings_ms;
        if is_time && self.provisional && !self.is_answered() && self.cancel.is_none() {
            let datagram = self.request("CANCEL", "", 1, "");
            self.outbox.push(datagram.clone());
            self.cancel = Some(Transaction::begin(datagram, now_ms));
        }
        let byes = self.dialogs.iter_mut().filter_map(|dialog| {
            if dialog.bye_ms.is_some_and(|at| at <= now_ms) {
                dialog.bye_ms = None;
                dialog.ending = Some(Transaction::begin(dialog.bye.clone(), now_ms));
                return Some(dialog.bye.clone());
            }
            dialog.ending.as_mut()?.due(now_ms)
        });
        self.outbox.extend(byes);
        for transaction in [&mut self.invite, &mut self.cancel].into_iter().flatten() {
            self.outbox.extend(transaction.due(now_ms));
        }
    }

    /// One datagram for this caller.
    pub(crate) fn handle(&mut self, now_ms: u64, text: &str) {
        if rows(text, "Call-ID") != [self.call_id.as_str()] {
            return self.complain("a message of another call", text);
        }
        let Some(status) = text.strip_prefix("SIP/2.0 ") else { return self.hung_up(text) };
        let Ok(status) = status[..3].parse() else { return self.complain("no status", text) };
        let cseq = rows(text, "CSeq").remove(0);
        match cseq.split_once(' ') {
            Some((_, "INVITE")) if rows(text, "Via").len() == 1 => {
                self.response(now_ms, status, text);
            }
            Some((_, "CANCEL")) => self.stop(|caller| caller.cancel.as_mut()),
            Some((_, "BYE")) => {
                let tag = tag(text, "To");
                self.stop(|caller| {
                    caller.dialogs.iter_mut().find(|one| one.tag == tag)?.ending.as_mut()
                });
            }
            _ => self.complain("a response to nothing", text),
        }
    }

    fn stop(&mut self, which: impl FnOnce(&mut Self) -> Option<&mut Transaction>) {
        if let Some(transaction) = which(self) {
            transaction.resend_ms = None;
        }
    }

    fn response(&mut self, now_ms: u64, status: u16, text: &str) {
        self.stop(|caller| caller.invite.as_mut());
        match status {
            ..=199 => self.provisional = true,
            200..=299 => self.accepted(now_ms, text),
            _ => self.refused(now_ms, status, text),
        }
    }

    /// RFC 3261 13.2.2.4: each 2xx with a tag of its own is a dialog; what nobody waits for is ended.
    fn accepted(&mut self, now_ms: u64, text: &str) {
        let tag = tag(text, "To");
        if let Some(dialog) = self.dialogs.iter().find(|dialog| dialog.tag == tag) {
            return self.outbox.push(dialog.ack.clone());
        }
        let wanted = !self.is_answered() && self.cancel.is_none();
        let routes = routes_of_caller(text);
        let ack = self.request("ACK", &tag, 1, &routes);
        let bye = self.request("BYE", &tag, 2, &routes);
        let bye_ms = match self.plan.hold_ms {
            Some(hold_ms) if wanted => Some(now_ms + hold_ms),
            None if wanted => None,
            _ => Some(now_ms + 1),
        };
        self.outbox.push(ack.clone());
        self.dialogs.push(Dialog { tag, ack, bye, bye_ms, ending: None });
    }

    /// RFC 3261 17.1.1.2: one failure; what comes when the transaction is over
    /// (timer D) belongs to nobody.
    fn refused(&mut self, now_ms: u64, status: u16, text: &str) {
        let tag = tag(text, "To");
        match &self.failure {
            Some((.., at_ms)) if now_ms > at_ms + TRANSACTION_MS => return,
            Some((first, of, _)) if (*first, of) != (status, &tag) => {
                let what = format!("two answers, the first of them {first} from {of}");
                return self.complain(&what, text);
            }
            Some(_) => {}
            None if self.dialogs.is_empty() => self.failure = Some((status, tag.clone(), now_ms)),
            None => {} // sent before the 2xx, and overtaken by it
        }
        let ack = self.request("ACK", &tag, 1, "");
        self.outbox.push(ack);
    }

    /// A BYE of the callee.
    fn hung_up(&mut self, text: &str) {
        let from = tag(text, "From");
        match self.dialogs.iter_mut().find(|dialog| dialog.tag == from) {
            Some(dialog) if text.starts_with("BYE ") => {
                (dialog.bye_ms, dialog.ending) = (None, None);
            }
            // It gave up waiting for an ACK, and its 2xx was lost with its backend.
            None if text.starts_with("BYE ") => {}
            _ => return self.complain("a request of nobody", text),
        }
        let text = crate::world::response(text, "200 OK", "", "");
        self.outbox.push(self.datagram(text));
    }

    /// ACK of a failure and CANCEL have the branch of the INVITE; the others have their own.
    fn request(&self, method: &str, to_tag: &str, cseq: u32, routes: &str) -> Datagram {
        let of = if routes.is_empty() { "" } else { method };
        let via = format!("SIP/2.0/UDP {};branch=z9hG4bK{}{of}", self.address, self.call_id);
        let contact = format!("Contact: <sip:a@{}>\r\n", self.address);
        let request = Request {
            method,
            via: &via,
            to_tag,
            call_id: &self.call_id,
            cseq,
            extra: if method == "INVITE" { &contact } else { routes },
            ..Default::default()
        };
        self.datagram(request.to_string())
    }

    fn datagram(&self, text: String) -> Datagram {
        Datagram { from: self.address, to: self.proxy, text }
    }

    fn complain(&mut self, what: &str, text: &str) {
        self.complaint.get_or_insert_with(|| format!("{}: {what}:\n{text}", self.call_id));
    }
}

/// The tag in From or To.
pub(crate) fn tag(text: &str, header: &str) -> String {
    let value = rows(text, header).remove(0);
    value.split_once(";tag=").map_or(String::new(), |(_, tag)| tag.to_owned())
}
