//! A request from end to end: RFC 3261 16.3 to 16.6, step by step.

use super::address::Addresses;
use super::facts::RequestFacts;
use super::hash_key::Placing;
use super::head::{Head, Hop};
use super::named;
use super::pin::{Class, Outcome};
use super::reason::{Absorb, Answer, Drop, Method, Routed};
use super::reply::{self, Origin, Stamps, push_address};
use super::rewrite::{Edits, push_number};
use super::spiral::Spiral;
use super::target::{Chooser, Stop, Target};
use super::transactions::{Came, Sent, TransactionKey};
use super::validate::{Preview, Request};
use super::{Direction, Egress, Forwarded, Ingress, Now, Proxy, Verdict};
use crate::limits::DATAGRAM_SIZE_MAX;
use crate::pool::Pool;
use crate::sip::{Fault, Message, Span, Start, Uri};

/// The way of a request, and what chose it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) target: Target,
    pub(super) by: Routed,
    /// It begins an attempt to call.
    attempt: bool,
}

impl Proxy {
    /// Handles the request in `message`.
    #[inline(never)]
    pub(super) fn request(
        &mut self,
        now: Now,
        pool: &Pool,
        ingress: &Ingress,
        message: &Message<'_>,
        out: &mut [u8],
    ) -> Verdict {
        let preview = Preview::of(message, &self.pins);
        // By reference: it is too large to be moved out.
        let request = Request::new(&preview, &self.signer);
        let request = match &request {
            Ok(request) => request,
            Err(fault) => return self.refuse_broken(ingress, message, *fault, out),
        };
        if request.method == Method::Ack && reply::is_own_ack(&self.signer, request) {
            self.acknowledged(request);
            return Verdict::Absorb(Absorb::OwnAck);
        }
        if let Some(answer) = self.refusal(request) {
            return self.answer(ingress, request, answer, out);
        }
        if self.routes.load(request, &self.addresses).is_err() {
            return self.refuse_broken(ingress, message, Fault::Route, out);
        }
        if request.method == Method::Options && self.is_for_us(request) {
            return self.answer_options(ingress, request, out);
        }
        // The key asks for the memory of its slot, which comes while the backend is chosen.
        let branch = request.via.branch.map(|branch| branch.of(message.bytes));
        let key = self.transactions.key(request.pin_key, request.cseq, branch);
        let spiral = Spiral::of(request, &self.addresses, &self.signer, pool);
        let mut chooser = Chooser { now, key, pool, ingress, proxy: self, spiral: &spiral };
        let mut way = match chooser.choose(request) {
            Ok((target, by)) => Way { target, by, attempt: false },
            Err(Stop::Ask(call_id)) => return Verdict::Ask { call_id },
            Err(Stop::Answer(answer)) => return self.answer(ingress, request, answer, out),
        };
        if spiral.passages == 0 {
            self.pin(now, pool, ingress, request, &mut way); // else it is the first passage's
        }
        if let Err(answer) = self.follow(now, pool, ingress, request, key, &mut way) {
            self.answered_here(now, request);
            return self.answer(ingress, request, answer, out);
        }
        self.track(now, pool, request, key, &mut way, spiral.passages == 0);
        let verdict = self.signing_as_begun(key, |proxy| {
            proxy.forward(pool, ingress, request, way.target, way.attempt, out)
        });
        if !matches!(verdict, Verdict::Forward { .. }) {
            self.went_nowhere(now, request, key);
            return verdict;
        }
        self.tally.routed(way.by);
        if let Target::Backend(slot) = way.target
            && way.attempt
        {
            self.pins.counts_mut().begin(pool.backend(slot).id, now);
        }
        verdict
    }

    /// Awaits the final response, or recognises a retransmission of a request whose is awaited. A call
    /// without a pin is an attempt once. A call is set up on its first passage, whatever follows.
    fn track(
        &mut self,
        now: Now,
        pool: &Pool,
        request: &Request<'_>,
        key: Option<TransactionKey>,
        way: &mut Way,
        first_passage: bool,
    ) {
        if matches!(request.method, Method::Ack | Method::Cancel) {
            return;
        }
        let Some(key) = key else {
            self.tally.not_tracked += 1;
            return;
        };
        let (backend, direction) = match way.target {
            Target::Backend(slot) => (pool.backend(slot).id, Direction::ToBackend),
            Target::Peer { backend, .. } => (backend, Direction::ToClient),
        };
        let begins_call =
            request.method == Method::Invite && request.to_tag.is_none() && first_passage;
        let unpinned = begins_call && way.by == Routed::Unpinned;
        let sent = Sent {
            backend,
            to_backend: direction == Direction::ToBackend,
            work: self.settings.work[request.method as usize],
            begins_call,
            unpinned,
        };
        match self.transactions.request(self.pins.counts_mut(), key, &sent, now) {
            // What bears credentials was begun before they were asked for.
            Came::New if unpinned => way.attempt = !request.has_credentials(),
            Came::New => {}
            Came::Again => self.tally.retransmissions[direction as usize] += 1,
            Came::Untracked => self.tally.not_tracked += 1,
        }
    }

    /// What was not forwarded is not waited for, and nobody is silent about it.
    #[cold]
    fn went_nowhere(&mut self, now: Now, request: &Request<'_>, key: Option<TransactionKey>) {
        // These have the key of their INVITE.
        if matches!(request.method, Method::Ack | Method::Cancel) {
            return;
        }
        if let Some(key) = key {
            self.transactions.close(self.pins.counts_mut(), key, now);
            if let Some(kept) = self.failover.find(key) {
                self.failover.forget(kept);
            }
        }
        self.answered_here(now, request);
    }

    /// Its final response was ours: an INVITE's pin is of no call any more.
    pub(super) fn answered_here(&mut self, now: Now, request: &Request<'_>) {
        if request.method == Method::Invite {
            self.pins.fail(request.pin_key, now.seconds());
        }
    }

    /// RFC 3261 16.3 items 3 and 5, 21.5.7.
    fn refusal(&self, request: &Request<'_>) -> Option<Answer> {
        if request.message.bytes.len() > self.settings.max_message {
            return Some(Answer::TooLarge);
        }
        if request.max_forwards.is_some_and(|(_, hops)| hops == 0) {
            return Some(Answer::TooManyHops);
        }
        request.requires_of_proxies().then_some(Answer::BadExtension)
    }

    /// Whether an OPTIONS is for the balancer itself (RFC 3261 11): no user, our host, no Route beyond us.
    #[inline(never)]
    fn is_for_us(&self, request: &Request<'_>) -> bool {
        let bytes = request.message.bytes;
        self.routes.next(request.message) == Ok(None)
            && Uri::parse(bytes, self.routes.target()).is_some_and(|uri| {
                uri.user.is_none()
                    && self.addresses.is_us(uri.host.of(bytes), uri.port_or_default())
            })
    }

    #[cold]
    fn answer_options(
        &mut self,
        ingress: &Ingress,
        request: &Request<'_>,
        out: &mut [u8],
    ) -> Verdict {
        let refuses = self.settings.refuses_new(ingress.socket);
        let answer = if refuses { Answer::Draining } else { Answer::Options };
        self.answer(ingress, request, answer, out)
    }

    /// Keeps the Call-ID where it goes (RFC 3261 16.11: a pool that changes must not split a
    /// transaction). If the table is full, a new call goes by the hash, which needs no memory.
    fn pin(
        &mut self,
        now: Now,
        pool: &Pool,
        ingress: &Ingress,
        request: &Request<'_>,
        way: &mut Way,
    ) {
        let backend = match way.target {
            Target::Backend(slot) => pool.backend(slot).id,
            Target::Peer { backend, .. } => backend,
        };
        let key = request.pin_key;
        let class = match request.method {
            Method::Bye => {
                self.pins.end(key, now.seconds());
                return;
            }
            Method::Ack | Method::Cancel => {
                self.pins.touch(key, now.seconds());
                return;
            }
            Method::Invite => Class::Invite,
            _ => Class::Transaction,
        };
        let outcome = self.pins.insert_or_refresh(key, backend, class, now.seconds());
        if outcome == Outcome::Full && way.by == Routed::Policy {
            return self.go_unpinned(pool, ingress, request, way);
        }
        let may_begin = class == Class::Invite && request.to_tag.is_none();
        match (may_begin, outcome, way.by) {
            (true, Outcome::Inserted, Routed::Policy | Routed::Replaced) => {
                self.pins.begin_attempt(key);
                way.attempt = true;
            }
            (true, Outcome::Refreshed, Routed::Pin | Routed::Policy | Routed::Replaced) => {
                self.pins.repeat_attempt(key);
            }
            (_, Outcome::Inserted, Routed::Token | Routed::Flow) if is_inside_call(request) => {
                // Of a dialog from before a restart: it counts when an answer shows that it lives.
                self.pins.insert_or_refresh(key, backend, Class::Dialog, now.seconds());
                self.pins.end(key, now.seconds());
            }
            _ => {}
        }
    }

    #[cold]
    fn go_unpinned(&self, pool: &Pool, ingress: &Ingress, request: &Request<'_>, way: &mut Way) {
        let placing = self.placing(pool, ingress, request);
        if let Some(slot) = pool.choose_by_hash(placing.group, placing.call, &[]) {
            (way.target, way.by) = (Target::Backend(slot), Routed::Unpinned);
        }
    }

    /// RFC 3261 16.6: the copy is written with our fields on top and the rest as it came.
    pub(super) fn forward(
        &mut self,
        pool: &Pool,
        ingress: &Ingress,
        request: &Request<'_>,
        target: Target,
        attempt: bool,
        out: &mut [u8],
    ) -> Verdict {
        let bytes = request.message.bytes;
        let stamps = Stamps::new(bytes, request.via, self.origin(ingress));
        let hop = Hop::new(&self.settings, pool, ingress, target);
        let head = Head {
            settings: &self.settings,
            addresses: &self.addresses,
            signer: &self.signer,
            ingress,
            request,
            hop: &hop,
        };
        self.edits.clear();
        self.edits.insert(request.message.head, |text| head.write(&stamps, text));
        stamps.each(|span, write| self.edits.replace(span, write));
        if let Some(name) = hop.source_header(pool, ingress) {
            // Two readings of where a line ends would be a way around us.
            if named::has_bare_cr(request.message) {
                return self.refuse_broken(ingress, request.message, Fault::BareCr, out);
            }
            self.tell_source(request, name, ingress);
        }
        if let Some((span, hops)) = request.max_forwards {
            // 0 was refused (16.3 item 3).
            self.edits.replace(span, |text| push_number(text, hops.saturating_sub(1)));
        }
        match self.routes.record(request, &mut self.edits) {
            Ok(true) => strip_maddr(&self.addresses, request, &mut self.edits),
            Ok(false) => {}
            Err(fault) => return self.refuse_broken(ingress, request.message, fault, out),
        }
        let room = out.len().min(DATAGRAM_SIZE_MAX);
        let Some(len) = self.edits.apply(bytes, 0..request.end, &mut out[..room]) else {
            return self.answer(ingress, request, Answer::TooLarge, out);
        };
        let method = request.method;
        let kind = match hop.is_to_backend() {
            true => Forwarded::RequestToBackend { method, attempt },
            false => Forwarded::RequestToClient { method },
        };
        Verdict::Forward { egress: hop.egress, len, kind }
    }

    /// The backend is told where the request came from, by us alone: what says so already goes.
    fn tell_source(&mut self, request: &Request<'_>, name: &str, ingress: &Ingress) {
        let edits = &mut self.edits;
        edits.insert(request.message.head, |text| {
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b": ");
            push_address(text, ingress.source);
            text.extend_from_slice(b";transport=udp\r\n");
        });
        named::rows(request.message, name).for_each(|row| edits.remove(row.line));
    }

    /// Where a new request would be placed.
    pub(super) fn placing(&self, pool: &Pool, ingress: &Ingress, request: &Request<'_>) -> Placing {
        Placing::of(pool, &RequestFacts { settings: &self.settings, ingress, request })
    }

    fn origin<'a>(&self, ingress: &'a Ingress) -> Origin<'a> {
        let socket = self.settings.socket(ingress.socket);
        let force_rport = socket.is_some_and(|socket| socket.force_rport);
        Origin { source: &ingress.source, force_rport }
    }

    /// Our answer to a request that keeps the rules.
    #[cold]
    #[inline(never)]
    pub(super) fn answer(
        &mut self,
        ingress: &Ingress,
        request: &Request<'_>,
        answer: Answer,
        out: &mut [u8],
    ) -> Verdict {
        if request.method == Method::Ack {
            return Verdict::Drop(Drop::AckNowhere);
        }
        self.reply(ingress, request.message, answer, None, out)
    }

    /// Our answer to one that does not: 400, or 505 (RFC 3261 21.4.1, 21.5.6).
    #[cold]
    #[inline(never)]
    fn refuse_broken(
        &mut self,
        ingress: &Ingress,
        message: &Message<'_>,
        fault: Fault,
        out: &mut [u8],
    ) -> Verdict {
        match message.start {
            Start::Request { method, .. } if method.of(message.bytes) == b"ACK" => {
                Verdict::Drop(Drop::BadAck)
            }
            _ if fault == Fault::Version => {
                self.reply(ingress, message, Answer::BadVersion, None, out)
            }
            _ => self.reply(ingress, message, Answer::BadRequest, Some(fault.phrase()), out),
        }
    }

    fn reply(
        &mut self,
        ingress: &Ingress,
        message: &Message<'_>,
        answer: Answer,
        phrase: Option<&str>,
        out: &mut [u8],
    ) -> Verdict {
        let room = out.len().min(DATAGRAM_SIZE_MAX);
        let out = &mut out[..room];
        let origin = self.origin(ingress);
        let (signer, edits) = (&self.signer, &mut self.edits);
        match reply::write(signer, message, origin, answer, phrase, edits, out) {
            Some((to, len)) => {
                // RFC 3581 4: from the address and port that the request came in on.
                let egress = Egress { socket: ingress.socket, to, backend: None };
                Verdict::Reply { egress, len, answer }
            }
            None => Verdict::Drop(Drop::Unanswerable),
        }
    }
}

/// What is sent inside the dialog of a call, once that is confirmed: UPDATE, INFO and the like. PRACK comes
/// before (RFC 3262 3), and others belong to subscriptions too.
fn is_inside_call(request: &Request<'_>) -> bool {
    let Start::Request { method, .. } = request.message.start else { return false };
    request.method == Method::Other
        && request.to_tag.is_some()
        && method.of(request.message.bytes) != b"PRACK"
}

/// RFC 3261 16.4: a Request-URI that stays and whose `maddr` is ours has served its purpose; it goes, with a port
/// that is not the default.
fn strip_maddr(addresses: &Addresses, request: &Request<'_>, edits: &mut Edits) {
    let bytes = request.message.bytes;
    let Some(uri) = request.sip_uri else { return };
    // Most have none, and it shows at once.
    if memchr::memchr2(b'm', b'M', uri.params.of(bytes)).is_none() {
        return;
    }
    let Some(maddr) = uri.param(bytes, b"maddr") else { return };
    let Some(host) = maddr.value.filter(|host| addresses.is_our_host(host.of(bytes))) else {
        return;
    };
    debug_assert!(!host.is_empty());
    if let Some(port) = uri.port_text.filter(|_| uri.port != Some(5060)) {
        edits.remove(port);
    }
    // With its semicolon.
    edits.remove(Span { start: maddr.whole.start - 1, end: maddr.whole.end });
}
