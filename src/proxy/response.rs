//! A response from end to end: RFC 3261 16.7 and 16.11 for a stateless proxy, 18.1.2, 18.2.2.

use super::branch::{Branch, Transaction};
use super::pin::{Class, PinKey};
use super::reason::{Absorb, CallResult, Drop, Method, RegistrationResult};
use super::retry::{Arrived, Intercepted};
use super::settings::Role;
use super::sign::Call;
use super::spiral::passage;
use super::transactions::{Heard, TransactionKey};
use super::{Egress, Forwarded, Ingress, Now, Proxy, Refused, Settled, Verdict};
use crate::limits::DATAGRAM_SIZE_MAX;
use crate::pool::{BackendId, Pool};
use crate::sip::{Header, Message, Row, Span, Start, Via};

/// The two Vias that a response is forwarded by.
struct Vias {
    /// The row of ours.
    row: Row,
    ours: Via,
    /// The row of the next one, which may be the same.
    next_row: Row,
    next: Via,
}

impl Proxy {
    /// Handles the response in `message`.
    pub(super) fn response(
        &mut self,
        now: Now,
        pool: &Pool,
        ingress: &Ingress,
        message: &Message<'_>,
        out: &mut [u8],
    ) -> Verdict {
        match self.forward_response(now, pool, ingress, message, out) {
            Ok(verdict) => verdict,
            // Our own CANCEL had no Via but ours.
            Err(Drop::NoNextVia) if is_of_cancel(message) => Verdict::Absorb(Absorb::OwnCancel),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    #[inline(never)]
    fn forward_response(
        &mut self,
        now: Now,
        pool: &Pool,
        ingress: &Ingress,
        message: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Verdict, Drop> {
        let bytes = message.bytes;
        let Start::Response { status, fault: None } = message.start else {
            return Err(Drop::BadResponse);
        };
        let end = message.end().map_err(|_| Drop::BadResponse)?;
        let call_id = message.call_id().map_err(|_| Drop::BadResponse)?.of(bytes);
        let (cseq, method) = message.cseq().map_err(|_| Drop::BadResponse)?;
        let vias = self.vias(message)?;
        let to = vias.next.reply_address(bytes).ok_or(Drop::NextViaUnusable)?;
        let transaction = Transaction::new(bytes, Call::new(call_id), cseq, &vias.next, to);
        // The key asks for the memory of its slot, which comes while the branch is read.
        let pin = self.pins.key(call_id);
        let next_branch = vias.next.branch.map(|branch| branch.of(bytes));
        let key = self.transactions.key(pin, cseq, next_branch);
        let text = vias.ours.branch.ok_or(Drop::BranchForged)?.of(bytes);
        let branch = Branch::read(text, &self.signer, &transaction)
            .or_else(|| self.read_as_begun(now, key?, text, &transaction))
            .ok_or(Drop::BranchForged)?;
        let socket = self.addresses.socket_for(branch.ingress, to).ok_or(Drop::NoEgress)?;
        let method = Method::of(method.of(bytes));
        let arrived = Arrived { message, status, method, pin, key, backend: branch.backend };
        let from = self.comes_from_backend(pool, ingress).then_some(branch.backend);
        if let (503, true, Some(key), Some(_)) = (status, method.begins(), key, from) {
            self.note_refusal(now, key, &arrived);
        }
        if let Intercepted::Here(verdict) = self.intercept(now, pool, &arrived, out) {
            return Ok(verdict.unwrap_or(Verdict::Absorb(Absorb::Abandoned)));
        }

        self.edits.clear();
        if status == 503 && pool.takes_new_calls() {
            self.soften(message);
        }
        self.edits.remove(our_part(&vias));
        self.strip_keep(message);
        let room = out.len().min(DATAGRAM_SIZE_MAX);
        let len = self.edits.apply(bytes, 0..end, &mut out[..room]).ok_or(Drop::TooLarge)?;
        let Heard { timing, awaited } = self.hear(now, &arrived, from.is_some());
        let fails = method == Method::Invite && status >= 300;
        let is_of_branch = fails && self.has_passed_before(message, (transaction.call, cseq));
        let settles = match from {
            Some(_) if status >= 200 && !is_of_branch => {
                self.settles(now, pin, method, status, awaited)
            }
            _ => None,
        };
        match is_of_branch {
            true => drop(self.pins.touch(pin, now.seconds())),
            false => self.pin_by_response(now, pin, method, status, branch.backend),
        }
        let egress = Egress { socket, to, backend: None };
        let begins = method.begins();
        let kind = Forwarded::Response { status, from, begins, settles, timing };
        Ok(Verdict::Forward { egress, len, kind })
    }

    /// Whether its request came back from a backend: there is another good Via of ours. So it answers one
    /// branch of a call that the backend may have sent to others too (RFC 3261 16.6, 16.7 item 5).
    #[cold]
    #[inline(never)]
    fn has_passed_before(&self, message: &Message<'_>, of: (Call<'_>, u32)) -> bool {
        let bytes = message.bytes;
        let mut vias =
            message.values(Header::Via).skip(1).map(|(_, value)| Via::parse(bytes, value));
        let mut upper = vias.next().flatten();
        vias.any(|lower| {
            let pair = upper.as_ref().zip(lower.as_ref());
            let found =
                pair.and_then(|pair| passage(bytes, pair, of, &self.addresses, &self.signer));
            upper = lower;
            found.is_some()
        })
    }

    /// A 503 is a bad sign once: its backend repeats it until the ACK comes (RFC 3261 17.2.1), and gives
    /// it to each retransmission of the request. One caller must not take a backend down.
    #[cold]
    fn note_refusal(&mut self, now: Now, key: TransactionKey, arrived: &Arrived<'_, '_>) {
        let backend = arrived.backend;
        if self.failover.is_first_refusal(key, backend, now.ms()) {
            let sent = self.transactions.sent(key, backend, now).unwrap_or(now);
            let retry_after_s = arrived.message.retry_after_s();
            self.refused = Some(Refused { backend, sent_ms: sent.ms(), retry_after_s });
        }
    }

    /// A response comes to where its request left from: a port towards the backends says it all. A
    /// listener that requests leave from in both directions says nothing; the source does.
    fn comes_from_backend(&self, pool: &Pool, ingress: &Ingress) -> bool {
        let socket = self.settings.sockets.get(usize::from(ingress.socket.0));
        match socket.map(|socket| socket.role) {
            Some(Role::BackendPort) => true,
            Some(Role::Listener | Role::Leaving | Role::Gone) => {
                self.settings.sides.iter().any(|side| side.egress == ingress.socket)
                    && pool.by_source(ingress.source).is_some()
            }
            None => false,
        }
    }

    /// What the response says of its transaction. How soon a backend says its first word is told by
    /// INVITE and REGISTER, to which it answers by itself (RFC 3261 17.2.1); a failure of its own that
    /// comes soon must not make it look fast.
    fn hear(&mut self, now: Now, arrived: &Arrived<'_, '_>, from_backend: bool) -> Heard {
        let Arrived { status, method, key: Some(key), backend, .. } = *arrived else {
            return Heard::default();
        };
        if method == Method::Cancel {
            return Heard::default(); // a transaction of its own with the same key (RFC 3261 9.1)
        }
        let counts = self.pins.counts_mut();
        let is_invite = method == Method::Invite;
        let heard = self.transactions.response(counts, key, (backend, status, is_invite), now);
        if let Some(first_us) = heard.timing.and_then(|timing| timing.first_us())
            && matches!(method, Method::Invite | Method::Register)
            && from_backend
            && status < 500
        {
            counts.answered(backend, first_us, now);
        }
        heard
    }

    /// What a final response from a backend is the end of; `awaited`: a call without a pin ends by it.
    fn settles(
        &mut self,
        now: Now,
        key: PinKey,
        method: Method,
        status: u16,
        awaited: bool,
    ) -> Option<Settled> {
        match method {
            Method::Invite => {
                let result = CallResult::of(status);
                let ended = self.pins.settle_attempt(key, is_repeated(status), now.seconds());
                (ended || awaited).then_some(Settled::Call(result))
            }
            Method::Register => Some(Settled::Registration(RegistrationResult::of(status))),
            _ => None,
        }
    }

    /// RFC 3261 16.7 item 6: 503 would tell the caller that this whole address serves nobody, and to
    /// stay away for Retry-After; as long as we serve anybody it goes upstream as 500.
    fn soften(&mut self, message: &Message<'_>) {
        // From the code to the end of the line: the version in front of it stays as it is.
        let line = &message.bytes[..message.head];
        let (Some(space), Some(end)) =
            (memchr::memchr(b' ', line), memchr::memchr2(b'\r', b'\n', line))
        else {
            return;
        };
        self.edits.replace(Span::new(space + 1, end), |text| {
            text.extend_from_slice(b"500 Server Internal Error");
        });
    }

    /// RFC 3261 18.1.2: a response whose topmost Via is not ours is discarded.
    fn vias(&self, message: &Message<'_>) -> Result<Vias, Drop> {
        let bytes = message.bytes;
        let mut values = message.values(Header::Via);
        let (row, value) = values.next().ok_or(Drop::BadResponse)?;
        let ours = Via::parse(bytes, value).ok_or(Drop::BadResponse)?;
        if !self.addresses.is_us(ours.host.of(bytes), ours.port.unwrap_or(5060)) {
            return Err(Drop::ViaNotOurs);
        }
        let (next_row, value) = values.next().ok_or(Drop::NoNextVia)?;
        let next = Via::parse(bytes, value).ok_or(Drop::NextViaUnusable)?;
        Ok(Vias { row, ours, next_row, next })
    }

    /// RFC 6223 10: a value of `keep` says that the next hop takes keep-alives; nobody beyond us can
    /// say that for us.
    fn strip_keep(&mut self, message: &Message<'_>) {
        let bytes = message.bytes;
        for (_, value) in message.values(Header::Via).skip(1) {
            let keep = Via::parse(bytes, value).and_then(|via| via.keep);
            if let Some(keep) = keep.filter(|keep| keep.value.is_some()) {
                self.edits.replace_by_copy(keep.whole, keep.name);
            }
        }
    }

    /// What the response tells of the dialog. 2xx to an INVITE confirms it, to another request inside
    /// it shows that it lives; a failing final ends the attempt; 481 says that the dialog is no more
    /// (12.2.1.2), and so does whatever answers a BYE (15.1.1): what was under way with it may have
    /// revived the pin. A NOTIFY tells nothing: a REFER's subscription outlives the call (RFC 5057 3).
    fn pin_by_response(
        &mut self,
        now: Now,
        key: PinKey,
        method: Method,
        status: u16,
        backend: BackendId,
    ) {
        let now_s = now.seconds();
        match (method, status) {
            (Method::Invite, 200..=299) => {
                // Without a pin it is a dialog from before a restart: counted again from here on.
                if !self.pins.confirm(key, now_s) {
                    self.pins.insert_or_refresh(key, backend, Class::Dialog, now_s);
                }
            }
            (Method::Register | Method::Subscribe | Method::Refer | Method::Publish, 200..=299) => {
                self.pins.insert_or_refresh(key, backend, Class::Registration, now_s);
            }
            (Method::Invite, 300..) => {
                if status == 481 {
                    self.pins.end(key, now_s);
                }
                self.pins.fail(key, now_s);
            }
            (Method::Bye, 200..) => drop(self.pins.end(key, now_s)),
            (Method::Other, 200..=299) => drop(self.pins.revive(key, now_s)),
            _ => drop(self.pins.touch(key, now_s)),
        }
    }
}

/// Whether the caller is to send its INVITE again in another form, with the same Call-ID, and the attempt
/// goes on: RFC 3261 8.1.3.5 (and 22), RFC 4028 7.3 (422), RFC 3329 2.3.1 (494), RFC 3261 21.4.16 (421),
/// RFC 8224 6.2.2 (428).
fn is_repeated(status: u16) -> bool {
    matches!(status, 401 | 407 | 413 | 415 | 416 | 420 | 421 | 422 | 428 | 494)
}

fn is_of_cancel(message: &Message<'_>) -> bool {
    message.cseq().is_ok_and(|(_, method)| method.of(message.bytes) == b"CANCEL")
}

/// RFC 3261 16.7 item 3: exactly our value goes; its row with it, if nothing else stands there.
fn our_part(vias: &Vias) -> Span {
    if vias.row.line == vias.next_row.line {
        Span { start: vias.row.value.start, end: vias.next.value.start }
    } else {
        vias.row.line
    }
}
