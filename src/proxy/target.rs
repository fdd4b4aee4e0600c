//! Where a request goes: DESIGN's order, first that applies. A token, the named backend, the
//! replaced dialog, the pin, the policy; and before them what only a backend may ask for.

use super::facts::RequestFacts;
use super::hash_key::Placing;
use super::loads::LoadsNow;
use super::pin::Class;
use super::reason::{Answer, Method, Routed, TokenResult};
use super::spiral::Spiral;
use super::token::{BadToken, Kind, Pair, Party, Token, from_tag_hash};
use super::transactions::TransactionKey;
use super::validate::Request;
use super::{Ingress, Now, Proxy, Replaced, SocketIndex};
use crate::limits::PASSAGES_MAX;
use crate::pool::{BackendId, BackendSlot, CallHash, Choice, GroupIndex, Pool, State};
use crate::sip::{Span, Uri};
use std::net::SocketAddr;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To a backend of the pool.
    Backend(BackendSlot),
    /// From the backends' side to a peer: a client's flow, or where a backend points.
    Peer {
        socket: SocketIndex,
        to: SocketAddr,
        /// The backend whose dialog it is.
        backend: BackendId,
    },
}

/// Why a request goes nowhere now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is answered.
    Answer(Answer),
    /// Another shard must be asked for the pin of this Call-ID first.
    Ask(Span),
}

/// All that the choice looks at.
pub(super) struct Chooser<'a> {
    pub(super) now: Now,
    pub(super) key: Option<TransactionKey>,
    pub(super) pool: &'a Pool,
    pub(super) ingress: &'a Ingress,
    pub(super) proxy: &'a mut Proxy,
    pub(super) spiral: &'a Spiral,
}

impl Chooser<'_> {
    /// The way of this request.
    pub(super) fn choose(&mut self, request: &Request<'_>) -> Result<(Target, Routed), Stop> {
        let source = self.pool.by_source(self.ingress.source);
        if let Some(text) = self.proxy.routes.token()
            && let Some(found) = self.by_token(request, text, source)?
        {
            return Ok(found);
        }
        if matches!(request.method, Method::Ack | Method::Cancel)
            && let Some(slot) = self.of_transaction()
        {
            return Ok((Target::Backend(slot), Routed::Pin));
        }
        if self.proxy.settings.refuses_new(self.ingress.socket) && self.is_new(request) {
            return Err(Stop::Answer(Answer::Draining));
        }
        let routes = &self.proxy.routes;
        let next = routes.next(request.message).ok().flatten().unwrap_or(routes.target());
        let of_route;
        let uri = match next == request.uri {
            true => request.sip_uri,
            false => {
                of_route = Uri::parse(request.message.bytes, next);
                of_route.as_ref()
            }
        };
        if let Some(source) = source
            && let Some(found) = self.by_backend(request, uri, source)?
        {
            return Ok(found);
        }
        if self.spiral.passages >= PASSAGES_MAX {
            return Err(Stop::Answer(Answer::Loop));
        }
        self.in_pool(request, uri)
    }

    /// Whether this begins what would have to go on here later: a dialog or a registration that has
    /// neither token nor pin, and belongs to no call that is here already.
    #[inline(never)]
    fn is_new(&self, request: &Request<'_>) -> bool {
        use Method::{Invite, Refer, Register, Subscribe};
        matches!(request.method, Invite | Refer | Register | Subscribe)
            && request.to_tag.is_none()
            && self.spiral.passages == 0
            && request.named_dialog().is_none()
            && self.pinned(request).is_none()
    }

    /// A good token says it all; a bad one is counted and says nothing, but a forged flow is refused
    /// (RFC 5626 5.3.1).
    #[inline(never)]
    fn by_token(
        &mut self,
        request: &Request<'_>,
        text: Span,
        source: Option<BackendSlot>,
    ) -> Result<Option<(Target, Routed)>, Stop> {
        let text = text.of(request.message.bytes);
        let (token, key_number) = match Token::read(text, &self.proxy.signer, request.call) {
            Ok(found) => found,
            Err(BadToken::Forged(kind)) => {
                self.proxy.tally.token(TokenResult::Forged);
                return match kind {
                    Kind::Path => Err(Stop::Answer(Answer::FlowForged)),
                    Kind::Dialog => Ok(None),
                };
            }
            Err(BadToken::Unreadable) => {
                self.proxy.tally.token(TokenResult::Unreadable);
                return Ok(None);
            }
        };
        self.proxy.tally.token(TokenResult::Good);
        if token.kind == Kind::Dialog && self.goes_to_backend(request, &token, key_number) {
            // A backend that has left the pool: the dialog goes on by pin or hash.
            let slot = self.pool.by_id(token.backend);
            return Ok(slot.map(|slot| (Target::Backend(slot), Routed::Token)));
        }
        let flow = token.flow;
        let Some(socket) = self.proxy.addresses.socket_for(flow.socket, flow.peer) else {
            return Err(Stop::Answer(Answer::FlowGone));
        };
        let backend = match token.kind {
            Kind::Dialog => token.backend,
            // The call comes from the backend that sends it now, not from the one that registered.
            Kind::Path => source.map_or(token.backend, |slot| self.pool.backend(slot).id),
        };
        let target = Target::Peer { socket, to: flow.peer, backend };
        Ok(Some((target, Routed::Flow)))
    }

    /// Direction is in the message: a double Record-Route tells the side it came in on; else the
    /// party with the token's From tag sends away from its own side, and the other one towards it.
    fn goes_to_backend(&self, request: &Request<'_>, token: &Token, key_number: u8) -> bool {
        match token.pair {
            Pair::ClientFacing => true,
            Pair::BackendFacing => false,
            Pair::Single => {
                let hash = from_tag_hash(&self.proxy.signer, key_number, request.from_tag);
                (hash == token.from_tag) == (token.from == Party::Client)
            }
        }
    }

    /// A backend may send a request anywhere: to a peer by address, to another backend, or back to
    /// the pool. `Ok(None)`: into the pool.
    #[inline(never)]
    fn by_backend(
        &mut self,
        request: &Request<'_>,
        uri: Option<&Uri>,
        source: BackendSlot,
    ) -> Result<Option<(Target, Routed)>, Stop> {
        let bytes = request.message.bytes;
        let ours = uri.is_some_and(|uri| {
            self.proxy.addresses.is_us(uri.host.of(bytes), uri.port_or_default())
        });
        if ours {
            return Ok(None);
        }
        let usable = |to: &SocketAddr| {
            !to.ip().is_unspecified() && !to.ip().is_multicast() && to.port() != 0
        };
        let Some(to) = uri.and_then(|uri| uri.address(bytes)).filter(usable) else {
            let spirals = self.spiral.passages > 0;
            return if spirals { Ok(None) } else { Err(Stop::Answer(Answer::Unresolvable)) };
        };
        if let Some(slot) = self.at_address(request, to) {
            return Ok(Some((Target::Backend(slot), Routed::Backend)));
        }
        let Some(socket) = self.proxy.addresses.listener_towards(to) else {
            return Err(Stop::Answer(Answer::Unresolvable));
        };
        let backend = self.pool.backend(source).id;
        Ok(Some((Target::Peer { socket, to, backend }, Routed::Backend)))
    }

    /// Into the pool: nobody but a token or a backend may aim anywhere else (RFC 3261 16.4).
    fn in_pool(
        &mut self,
        request: &Request<'_>,
        uri: Option<&Uri>,
    ) -> Result<(Target, Routed), Stop> {
        let bytes = request.message.bytes;
        let found = |slot, by| Ok((Target::Backend(slot), by));
        let nobody = Err(Stop::Answer(Answer::NoBackend));
        if self.spiral.passages > 0 {
            return self.on_spiral(request);
        }
        if request.to_tag.is_some() {
            let address = uri.and_then(|uri| uri.address(bytes));
            if let Some(slot) = address.and_then(|address| self.named(request, address)) {
                return found(slot, Routed::Named);
            }
        } else if request.method == Method::Invite
            && let Some(other) = request.named_dialog()
        {
            return self.by_replaced(request, other);
        }
        if let Some(slot) = self.pinned(request) {
            return found(slot, Routed::Pin);
        }
        let Placing { group, call } = self.placing(request);
        if request.to_tag.is_some() || matches!(request.method, Method::Ack | Method::Cancel) {
            // Not new, but nothing is left of its past: the hash finds most of them again.
            return match self.pool.choose_by_hash(group, call, &[]) {
                Some(slot) => found(slot, Routed::Hash),
                None => nobody,
            };
        }
        match self.by_policy(request, group, call) {
            Choice::Backend(slot) => found(slot, Routed::Policy),
            Choice::Full => Err(Stop::Answer(Answer::Overloaded)),
            Choice::Nobody => nobody,
        }
    }

    /// To a backend that it has not met.
    #[inline(never)]
    fn on_spiral(&self, request: &Request<'_>) -> Result<(Target, Routed), Stop> {
        let Placing { group, call } = self.placing(request);
        match self.pool.choose_by_hash(group, call, self.spiral.backends()) {
            Some(slot) => Ok((Target::Backend(slot), Routed::Spiral)),
            None => Err(Stop::Answer(Answer::Loop)),
        }
    }

    /// Loads cost something: they are looked at where somebody asks for them.
    fn by_policy(&mut self, request: &Request<'_>, group: GroupIndex, call: CallHash) -> Choice {
        if self.pool.group(group).asks_for_loads() {
            self.proxy.board.follow(self.pool, self.proxy.pins.counts_mut());
        }
        let for_call = request.method == Method::Invite;
        let Proxy { board, pins, turns, .. } = &mut *self.proxy;
        let loads = LoadsNow { board, counts: pins.counts(), now: self.now, for_call };
        let turn = &mut turns[usize::from(group.0)];
        self.pool.choose(group, call, &[], &loads, turn)
    }

    fn facts<'b>(&'b self, request: &'b Request<'b>) -> RequestFacts<'b> {
        RequestFacts { settings: &self.proxy.settings, ingress: self.ingress, request }
    }

    fn placing(&self, request: &Request<'_>) -> Placing {
        Placing::of(self.pool, &self.facts(request))
    }

    /// RFC 3891, RFC 3911, RFC 4538: to the backend that holds the dialog named in the request; if
    /// its pin is gone, to where the hash of its Call-ID leads.
    #[inline(never)]
    fn by_replaced(
        &mut self,
        request: &Request<'_>,
        other: Span,
    ) -> Result<(Target, Routed), Stop> {
        let Replaced::Answered(pin) = self.ingress.replaced else {
            return Err(Stop::Ask(other));
        };
        let slot = pin.and_then(|id| self.pool.by_id(id)).or_else(|| {
            let other = other.of(request.message.bytes);
            let Placing { group, call } =
                Placing::of_other_call(self.pool, &self.facts(request), other);
            self.pool.choose_by_hash(group, call, &[])
        });
        match slot {
            Some(slot) => Ok((Target::Backend(slot), Routed::Replaced)),
            None => Err(Stop::Answer(Answer::NoBackend)),
        }
    }

    /// Where the transaction of a CANCEL or of the ACK of a failure is (RFC 3261 9.1, 17.1.1.3). The pin
    /// would say so too, but of one transaction only: not of the further passages of a spiral, and
    /// nothing in what a proxy sends hop by hop shows that it belongs to one.
    fn of_transaction(&self) -> Option<BackendSlot> {
        self.pool.by_id(self.proxy.transactions.backend(self.key?)?)
    }

    /// The backend that a request inside a dialog names by its address. The ACK of a failure has the
    /// Request-URI of its INVITE (RFC 3261 17.1.1.3), which may name one that it never went to.
    fn named(&self, request: &Request<'_>, address: SocketAddr) -> Option<BackendSlot> {
        let is_of_failure = request.method == Method::Ack
            && self
                .proxy
                .pins
                .find(request.pin_key, self.now.seconds())
                .is_some_and(|pin| matches!(pin.class, Class::Transaction | Class::Invite));
        if is_of_failure { None } else { self.at_address(request, address) }
    }

    /// The backend at an address; of several the one that the call is at.
    fn at_address(&self, request: &Request<'_>, address: SocketAddr) -> Option<BackendSlot> {
        let slot = self.pool.by_address(address)?;
        let pinned = self.pinned(request);
        let is_there = |slot: &BackendSlot| self.pool.backend(*slot).spec.address == address;
        Some(pinned.filter(is_there).unwrap_or(slot))
    }

    /// The backend of the Call-ID's pin. A transaction and a dialog stay with one that is down (RFC 3261
    /// 16.11); a registration moves, and so does the next transaction outside a dialog: after a
    /// challenge, or of a phone that sends all its requests with one Call-ID.
    fn pinned(&self, request: &Request<'_>) -> Option<BackendSlot> {
        let pin = self.proxy.pins.find(request.pin_key, self.now.seconds())?;
        let slot = self.pool.by_id(pin.backend)?;
        if self.pool.backend(slot).spec.state != State::Down {
            return Some(slot);
        }
        let moves = match pin.class {
            Class::Registration => true,
            Class::Transaction => request.to_tag.is_none() && self.begins_transaction(request),
            Class::Invite | Class::Dialog => false,
        };
        (!moves).then_some(slot)
    }

    /// Whether this is no retransmission, and nothing that belongs to another request.
    fn begins_transaction(&self, request: &Request<'_>) -> bool {
        !matches!(request.method, Method::Ack | Method::Cancel)
            && self.key.is_some_and(|key| !self.proxy.transactions.is_live(key, self.now))
    }
}
