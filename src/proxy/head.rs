//! The fields that we put on top of a forwarded request: Via, Record-Route or Path, Max-Forwards.
//!
//! All of it is a function of the request and of fixed settings: a retransmission gets the same
//! bytes (RFC 3261 16.11).

use super::address::{Addresses, Written};
use super::branch::{Branch, Transaction};
use super::reason::Method;
use super::reply::Stamps;
use super::settings::{PathMode, Settings};
use super::sign::Signer;
use super::target::Target;
use super::token::{Flow, Kind, Pair, Party, Token, from_tag_hash};
use super::validate::Request;
use super::{Egress, Ingress, SocketIndex};
use crate::pool::{BackendId, Pool};

/// The next hop and the two sides of this request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    pub(super) egress: Egress,
    backend: BackendId,
    /// The side that the From party is on.
    from: Party,
    /// The socket that the client's side talks to.
    client_facing: SocketIndex,
    /// The socket that the backends' side talks to.
    backend_facing: SocketIndex,
}

impl Hop {
    pub(super) fn new(settings: &Settings, pool: &Pool, ingress: &Ingress, target: Target) -> Self {
        match target {
            Target::Backend(slot) => {
                let backend = pool.backend(slot);
                let side = &settings.sides[usize::from(backend.spec.side)];
                let to = backend.spec.address;
                Self {
                    egress: Egress { socket: side.egress, to, backend: Some(slot) },
                    backend: backend.id,
                    from: Party::Client,
                    client_facing: ingress.socket,
                    backend_facing: side.contact,
                }
            }
            Target::Peer { socket, to, backend } => Self {
                egress: Egress { socket, to, backend: None },
                backend,
                from: Party::Backend,
                client_facing: socket,
                backend_facing: ingress.socket,
            },
        }
    }

    /// The field by which the backend learns where a client's request came from, if its group wants
    /// one. What comes from the backends' side says so already, of the client.
    pub(super) fn source_header<'a>(&self, pool: &'a Pool, ingress: &Ingress) -> Option<&'a str> {
        let group = pool.backend(self.egress.backend?).group;
        let name = pool.group(group).source_header()?;
        pool.by_source(ingress.source).is_none().then_some(name)
    }

    pub(super) fn is_to_backend(self) -> bool {
        self.from == Party::Client
    }
}

/// What the fields are made from.
pub(super) struct Head<'a> {
    pub(super) settings: &'a Settings,
    pub(super) addresses: &'a Addresses,
    pub(super) signer: &'a Signer,
    pub(super) ingress: &'a Ingress,
    pub(super) request: &'a Request<'a>,
    pub(super) hop: &'a Hop,
}

impl Head<'_> {
    /// Appends the fields.
    pub(super) fn write(&self, stamps: &Stamps<'_>, text: &mut Vec<u8>) {
        self.write_via(stamps, text);
        if self.request.method == Method::Register {
            if self.wants_path() {
                self.write_path(text);
            }
        } else if self.settings.record_route
            && self.request.to_tag.is_none()
            && self.request.method.may_begin_dialog()
        {
            self.write_record_routes(text);
        }
        if self.request.max_forwards.is_none() {
            // RFC 3261 16.6 item 3.
            text.extend_from_slice(b"Max-Forwards: 70\r\n");
        }
    }

    /// RFC 3261 16.6 item 8. Towards a backend the sent-by is this worker's own port; towards a
    /// client what clients know us by.
    fn write_via(&self, stamps: &Stamps<'_>, text: &mut Vec<u8>) {
        let (request, socket) = (self.request, self.hop.egress.socket);
        let sent_by = match self.hop.is_to_backend() {
            true => self.addresses.raw(socket),
            false => self.addresses.contact(socket),
        };
        text.extend_from_slice(sent_by.via.as_bytes());
        let ingress = self.addresses.id(self.ingress.socket);
        let branch = Branch { ingress, backend: self.hop.backend };
        let (bytes, call, cseq) = (request.message.bytes, request.call, request.cseq);
        let reply_to = stamps.reply_address(request.via);
        let transaction = Transaction::new(bytes, call, cseq, request.via, reply_to);
        branch.write(self.signer, &transaction, request, text);
        text.extend_from_slice(b"\r\n");
    }

    fn wants_path(&self) -> bool {
        match self.settings.path {
            PathMode::Always => true,
            PathMode::Supported => self.request.supports_path(),
            PathMode::Off => false,
        }
    }

    /// RFC 3327 5.2: the registrar sends the phone's requests to us, and the token names the flow.
    fn write_path(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(self.addresses.raw(self.hop.backend_facing).path.as_bytes());
        self.token(Kind::Path, Pair::Single).write(self.signer, self.request.call, text);
        text.extend_from_slice(b">\r\n");
    }

    /// RFC 3261 16.6 item 4; two of them where the sides differ in address family or interface
    /// (RFC 5658 6.2): the side that the request leaves on is on top.
    fn write_record_routes(&self, text: &mut Vec<u8>) {
        let (client, backend) = (self.hop.client_facing, self.hop.backend_facing);
        let client_contact = self.addresses.contact(client);
        if self.same_side(client, backend) {
            return self.write_record_route(client_contact, Pair::Single, text);
        }
        let backend_contact = self.addresses.raw(backend);
        if self.hop.is_to_backend() {
            self.write_record_route(backend_contact, Pair::BackendFacing, text);
            self.write_record_route(client_contact, Pair::ClientFacing, text);
        } else {
            self.write_record_route(client_contact, Pair::ClientFacing, text);
            self.write_record_route(backend_contact, Pair::BackendFacing, text);
        }
    }

    /// One address for both sides: the same local address, and no other name for one of them.
    fn same_side(&self, client: SocketIndex, backend: SocketIndex) -> bool {
        self.addresses.ip(client) == self.addresses.ip(backend)
            && !self.addresses.is_advertised(client)
    }

    fn write_record_route(&self, contact: &Written, pair: Pair, text: &mut Vec<u8>) {
        let begun = match pair {
            Pair::Single => &contact.record_route,
            Pair::ClientFacing | Pair::BackendFacing => &contact.record_route_of_two,
        };
        text.extend_from_slice(begun.as_bytes());
        self.token(Kind::Dialog, pair).write(self.signer, self.request.call, text);
        text.extend_from_slice(b">\r\n");
    }

    fn token(&self, kind: Kind, pair: Pair) -> Token {
        let from_tag = match kind {
            Kind::Dialog => {
                from_tag_hash(self.signer, self.signer.current().number, self.request.from_tag)
            }
            Kind::Path => 0,
        };
        Token {
            kind,
            pair,
            from: self.hop.from,
            backend: self.hop.backend,
            from_tag,
            flow: self.flow(),
        }
    }

    /// The client's side: where the request came from, or where it goes.
    fn flow(&self) -> Flow {
        let (socket, peer) = match self.hop.is_to_backend() {
            true => (self.ingress.socket, self.ingress.source),
            false => (self.hop.egress.socket, self.hop.egress.to),
        };
        self.addresses.flow(socket, peer)
    }
}
