//! Failover at work: the kept request is forwarded again, to another backend; what an abandoned
//! attempt still wants (ACK, CANCEL) is made from what was forwarded to it.

use super::failover::{Fate, KeptSlot, Work};
use super::hash_key::Placing;
use super::loads::LoadsNow;
use super::pin::{Class, PinKey};
use super::reason::{Answer, FailoverCause as Cause, Method, Routed};
use super::request::Way;
use super::target::Target;
use super::transactions::TransactionKey;
use super::validate::{Preview, Request};
use super::{Egress, Forwarded, Ingress, Now, Proxy, Verdict};
use crate::pool::{BackendId, BackendSlot, Choice, Pool};
use crate::sip::{Header, Message, Start, Values};
use std::net::SocketAddr;

impl Proxy {
    /// What is due without a message having come: retries, retransmissions, CANCELs. Call it after
    /// each [`Proxy::handle`] and once a turn, until it gives nothing more.
    pub fn poll(&mut self, now: Now, pool: &Pool, out: &mut [u8]) -> Option<Verdict> {
        if self.failover.is_empty() {
            return None;
        }
        loop {
            let verdict = match self.failover.next_work(now.ms())? {
                Work::Retry(slot, cause) => self.retry(now, pool, slot, cause, out),
                Work::Again(slot) => {
                    let current = self.failover.kept(slot).current();
                    self.forward_copy(pool, slot, current, out)
                }
                Work::Cancel(slot, backend) => {
                    self.own_request(pool, slot, backend, "CANCEL", None, out)
                }
                Work::Answer(slot, answer) => self.with_copy(slot, |proxy, ingress, request| {
                    Some(proxy.answer(ingress, request, answer, out))
                }),
            };
            if verdict.is_some() {
                return verdict;
            }
        }
    }

    /// Whether requests are kept: then [`Proxy::poll`] is to be called every few dozen milliseconds.
    pub fn is_waiting(&self) -> bool {
        !self.failover.is_empty()
    }

    /// A transport error (ICMP, a refused send) towards this address: requests that wait for the first
    /// word of a backend there go elsewhere with the next [`Proxy::poll`] (RFC 3261 16.9).
    pub fn unreachable(&mut self, pool: &Pool, address: SocketAddr) {
        if pool.by_address(address).is_some() {
            let is_there =
                |id| pool.by_id(id).is_some_and(|slot| pool.backend(slot).spec.address == address);
            self.failover.unreachable(is_there);
        }
    }

    /// Before a request is forwarded: keeps it, or follows what is kept already. A retransmission
    /// and a CANCEL go where the current attempt went. `Err`: our own answer to a retransmission.
    pub(super) fn follow(
        &mut self,
        now: Now,
        pool: &Pool,
        ingress: &Ingress,
        request: &Request<'_>,
        key: Option<TransactionKey>,
        way: &mut Way,
    ) -> Result<(), Answer> {
        let (Target::Backend(slot), Some(key)) = (way.target, key) else { return Ok(()) };
        // A backend that was named, by whomever, is not to be exchanged for another.
        let free = matches!(way.by, Routed::Policy | Routed::Pin | Routed::Hash | Routed::Unpinned);
        let is_ack = request.method == Method::Ack;
        if (request.to_tag.is_some() && !is_ack) || !free {
            return Ok(());
        }
        let bytes = request.message.bytes;
        let current = match is_ack {
            true => self.failover.failed_at(key),
            false => self.failover.current(key),
        };
        if let Some(slot) = current.and_then(|backend| pool.by_id(backend)) {
            way.target = Target::Backend(slot);
        }
        if is_ack {
            return Ok(());
        }
        if current.is_some() {
            if request.method == Method::Cancel {
                self.failover.cancelled(key);
            } else if let Some(answer) = self.failover.own_answer(key) {
                return Err(answer);
            }
        } else if request.method != Method::Cancel {
            let backend = pool.backend(slot).id;
            if !self.failover.keep(key, ingress, request.method, backend, bytes, now.ms()) {
                self.tally.not_kept += 1;
            }
        }
        Ok(())
    }

    /// The ACK of an answer of our own: if it ended a failover, it is repeated no more.
    #[cold]
    pub(super) fn acknowledged(&mut self, request: &Request<'_>) {
        if self.failover.is_empty() {
            return;
        }
        let branch = request.via.branch.map(|branch| branch.of(request.message.bytes));
        if let Some(key) = self.transactions.key(request.pin_key, request.cseq, branch) {
            self.failover.acknowledged(key);
        }
    }

    /// What becomes of a response: `None` if it goes upstream (as 500 if `status` says so).
    pub(super) fn intercept(
        &mut self,
        now: Now,
        pool: &Pool,
        arrived: &Arrived<'_, '_>,
        out: &mut [u8],
    ) -> Intercepted {
        // A CANCEL has a transaction of its own with the same key (RFC 3261 9.1).
        if self.failover.is_empty() || arrived.method == Method::Cancel {
            return Intercepted::Upstream;
        }
        let bytes = arrived.message.bytes;
        let Some(key) = arrived.key else { return Intercepted::Upstream };
        let another = arrived.status == 503 && self.has_another(now, pool, key);
        let status = arrived.status;
        match self.failover.response(key, arrived.backend, status, another, now.ms()) {
            Fate::Forward => Intercepted::Upstream,
            Fate::Adopt => {
                let (backend, now_s) = (arrived.backend, now.seconds());
                self.pins.insert_or_refresh(arrived.pin, backend, Class::Transaction, now_s);
                Intercepted::Upstream
            }
            Fate::Absorb(slot) => {
                let is_invite_final = self.failover.kept(slot).is_invite && status >= 200;
                let to = arrived.message.first(Header::To).map(|to| to.of(bytes));
                let ack = is_invite_final
                    .then(|| self.own_request(pool, slot, arrived.backend, "ACK", to, out))
                    .flatten();
                Intercepted::Here(ack)
            }
            Fate::Cancel(slot) => Intercepted::Here(self.own_request(
                pool,
                slot,
                arrived.backend,
                "CANCEL",
                None,
                out,
            )),
        }
    }

    /// Whether there is a backend for another attempt. Nobody's turn passes by that.
    fn has_another(&mut self, now: Now, pool: &Pool, key: TransactionKey) -> bool {
        let slot = self.failover.find(key).filter(|slot| self.failover.may_retry(*slot));
        let turns = self.turns;
        let next = slot.and_then(|slot| {
            self.with_copy(slot, |proxy, ingress, request| {
                proxy.next_backend(now, pool, slot, ingress, request).slot()
            })
        });
        self.turns = turns;
        next.is_some()
    }

    /// The policy's choice among the backends that were not tried yet.
    fn next_backend(
        &mut self,
        now: Now,
        pool: &Pool,
        slot: KeptSlot,
        ingress: &Ingress,
        request: &Request<'_>,
    ) -> Choice {
        let kept = self.failover.kept(slot);
        let mut tried = [BackendSlot(0); super::failover::TRIES_MAX];
        let mut count = 0;
        for backend in kept.tried().iter().filter_map(|id| pool.by_id(*id)) {
            tried[count] = backend;
            count += 1;
        }
        let Placing { group, call } = self.placing(pool, ingress, request);
        if pool.group(group).asks_for_loads() {
            self.board.follow(pool, self.pins.counts_mut());
        }
        let for_call = request.method == Method::Invite;
        let loads = LoadsNow { board: &self.board, counts: self.pins.counts(), now, for_call };
        let turn = &mut self.turns[usize::from(group.0)];
        pool.choose(group, call, &tried[..count], &loads, turn)
    }

    fn retry(
        &mut self,
        now: Now,
        pool: &Pool,
        slot: KeptSlot,
        cause: Cause,
        out: &mut [u8],
    ) -> Option<Verdict> {
        self.with_copy(slot, |proxy, ingress, request| {
            let choice = proxy.next_backend(now, pool, slot, ingress, request);
            let Some(next) = choice.slot().filter(|_| proxy.failover.may_retry(slot)) else {
                // RFC 3261 16.7 item 6: 503 would say that nobody can be served.
                let answer = match choice {
                    Choice::Backend(_) => Answer::BackendFailed,
                    Choice::Full => Answer::Overloaded,
                    Choice::Nobody => Answer::NoBackendLeft,
                };
                let is_answered = proxy.failover.given_up(slot, cause, answer, now.ms());
                let key = proxy.failover.kept(slot).key;
                return is_answered.then(|| {
                    proxy.transactions.close(proxy.pins.counts_mut(), key, now);
                    proxy.answered_here(now, request);
                    proxy.answer(ingress, request, answer, out)
                });
            };
            let backend = pool.backend(next).id;
            let class = match request.method {
                Method::Invite => Class::Invite,
                _ => Class::Transaction,
            };
            proxy.pins.insert_or_refresh(request.pin_key, backend, class, now.seconds());
            proxy.failover.next_attempt(slot, backend, now.ms());
            let key = proxy.failover.kept(slot).key;
            proxy.transactions.moved(proxy.pins.counts_mut(), key, backend, now);
            if request.method == Method::Invite {
                proxy.pins.counts_mut().begin(backend, now);
            }
            proxy.tally.failover(cause);
            proxy.tally.routed(Routed::Failover);
            Some(proxy.forward(pool, ingress, request, Target::Backend(next), false, out))
        })
    }

    /// Forwards the kept request to a backend that it went to before: the same bytes (16.11).
    fn forward_copy(
        &mut self,
        pool: &Pool,
        slot: KeptSlot,
        backend: BackendId,
        out: &mut [u8],
    ) -> Option<Verdict> {
        let backend = pool.by_id(backend)?;
        self.with_copy(slot, |proxy, ingress, request| {
            Some(proxy.forward(pool, ingress, request, Target::Backend(backend), false, out))
        })
    }

    /// ACK (RFC 3261 17.1.1.3) or CANCEL (9.1) for an attempt: made from the request as that backend
    /// got it. `to` is the To of the response that is acknowledged.
    fn own_request(
        &mut self,
        pool: &Pool,
        slot: KeptSlot,
        backend: BackendId,
        method: &str,
        to: Option<&[u8]>,
        out: &mut [u8],
    ) -> Option<Verdict> {
        let Verdict::Forward { egress, len, .. } = self.forward_copy(pool, slot, backend, out)?
        else {
            return None;
        };
        self.own.clear();
        write_own(&out[..len], method, to, &mut self.own)?;
        let len = self.own.len();
        out.get_mut(..len)?.copy_from_slice(&self.own);
        let egress = Egress { backend: None, ..egress };
        Some(Verdict::Forward { egress, len, kind: Forwarded::Own })
    }

    /// Lends a kept request to `work`, with its Routes loaded.
    fn with_copy<T>(
        &mut self,
        slot: KeptSlot,
        work: impl FnOnce(&mut Self, &Ingress, &Request<'_>) -> Option<T>,
    ) -> Option<T> {
        let copies = self.failover.lend_copies();
        let ingress = self.failover.kept(slot).ingress;
        let message = Message::parse(&copies[self.failover.range(slot)]);
        let preview = message.as_ref().map(|message| Preview::of(message, &self.pins));
        let request = preview.as_ref().and_then(|one| Request::new(one, &self.signer).ok());
        let request = request.filter(|one| self.routes.load(one, &self.addresses).is_ok());
        let result = match &request {
            Some(request) => self.signing_as_begun(Some(self.failover.kept(slot).key), |proxy| {
                work(proxy, &ingress, request)
            }),
            // It was good when it was kept: another configuration reads its Routes otherwise.
            None => {
                self.failover.forget(slot);
                None
            }
        };
        self.failover.take_back_copies(copies);
        result
    }
}

/// A response, as far as failover cares.
pub(super) struct Arrived<'a, 'b> {
    pub(super) message: &'b Message<'a>,
    pub(super) status: u16,
    pub(super) method: Method,
    /// The key of its Call-ID's pin.
    pub(super) pin: PinKey,
    pub(super) key: Option<TransactionKey>,
    /// The backend that our branch names.
    pub(super) backend: BackendId,
}

/// Where a response ends.
pub(super) enum Intercepted {
    /// At the caller.
    Upstream,
    /// Here; perhaps with something to send back.
    Here(Option<Verdict>),
}

/// From the request as it was forwarded: one Via, the same Request-URI, Routes, From, Call-ID and
/// CSeq number.
fn write_own(sent: &[u8], method: &str, to: Option<&[u8]>, out: &mut Vec<u8>) -> Option<()> {
    let message = Message::parse(sent)?;
    let Start::Request { uri, .. } = message.start else { return None };
    let mut push = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    push(&[method.as_bytes(), b" ", uri.of(sent), b" SIP/2.0\r\n"]);
    let via = Values::new(sent, message.first(Header::Via)?).next()?;
    push(&[b"Via: ", via.of(sent), b"\r\nMax-Forwards: 70\r\n"]);
    for row in message.rows(Header::Route) {
        push(&[b"Route: ", row.value.of(sent), b"\r\n"]);
    }
    let value = |header| message.first(header).map(|span| span.of(sent));
    push(&[b"From: ", value(Header::From)?, b"\r\nTo: ", to.or(value(Header::To))?]);
    push(&[b"\r\nCall-ID: ", value(Header::CallId)?, b"\r\nCSeq: "]);
    let cseq = value(Header::CSeq)?;
    let number = cseq.iter().take_while(|byte| byte.is_ascii_digit()).count();
    push(&[&cseq[..number], b" ", method.as_bytes(), b"\r\nContent-Length: 0\r\n\r\n"]);
    Some(())
}
