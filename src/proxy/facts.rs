//! What the pool's rules and policies look at in a request: each found when one asks for it.

use super::Ingress;
use super::named;
use super::settings::Settings;
use super::validate::Request;
use crate::pool::Facts;
use crate::sip::{NameAddr, Start, Uri};
use std::net::IpAddr;

/// A request as rules see it.
pub(super) struct RequestFacts<'a> {
    pub(super) settings: &'a Settings,
    pub(super) ingress: &'a Ingress,
    pub(super) request: &'a Request<'a>,
}

impl Facts for RequestFacts<'_> {
    fn method(&self) -> &[u8] {
        match self.request.message.start {
            Start::Request { method, .. } => method.of(self.request.message.bytes),
            Start::Response { .. } => b"",
        }
    }

    fn uri_host(&self) -> &[u8] {
        let bytes = self.request.message.bytes;
        self.request.sip_uri.map_or(b"", |uri| uri.host.of(bytes))
    }

    fn uri_user(&self) -> &[u8] {
        self.request.called_user().unwrap_or(b"")
    }

    fn host_of_from(&self) -> &[u8] {
        self.host_of(self.request.message.from().ok())
    }

    fn host_of_to(&self) -> &[u8] {
        self.host_of(self.request.message.to().ok())
    }

    fn user_of_to(&self) -> &[u8] {
        self.request.user_of_to().unwrap_or(b"")
    }

    fn call_id(&self) -> &[u8] {
        self.request.call_id
    }

    fn source(&self) -> IpAddr {
        self.ingress.source.ip()
    }

    fn listener(&self) -> Option<u16> {
        self.settings.socket(self.ingress.socket)?.listener
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.request.field(name)
    }
}

impl RequestFacts<'_> {
    fn host_of(&self, address: Option<NameAddr>) -> &[u8] {
        let bytes = self.request.message.bytes;
        let uri = address.and_then(|address| Uri::parse(bytes, address.uri));
        uri.map_or(b"", |uri| uri.host.of(bytes))
    }
}

impl<'a> Request<'a> {
    /// The user in the Request-URI, without a password; the number of a tel URI, which is what stands
    /// there in a SIP URI (RFC 3261 19.1.6).
    pub(super) fn called_user(&self) -> Option<&'a [u8]> {
        let bytes = self.message.bytes;
        match self.sip_uri {
            Some(uri) => user(bytes, uri),
            None => number(self.uri.of(bytes)),
        }
    }

    /// The user in To.
    pub(super) fn user_of_to(&self) -> Option<&'a [u8]> {
        let bytes = self.message.bytes;
        let address = self.message.to().ok()?;
        match Uri::parse(bytes, address.uri) {
            Some(uri) => user(bytes, &uri),
            None => number(address.uri.of(bytes)),
        }
    }

    /// Whether it answers a challenge (RFC 3261 22).
    pub(super) fn has_credentials(&self) -> bool {
        ["Authorization", "Proxy-Authorization"].iter().any(|name| self.field(name).is_some())
    }

    /// The value of the first row of a field.
    pub(super) fn field(&self, name: &str) -> Option<&'a [u8]> {
        let row = named::rows(self.message, name).next()?;
        Some(row.value.of(self.message.bytes))
    }
}

fn user<'a>(bytes: &'a [u8], uri: &Uri) -> Option<&'a [u8]> {
    let user = uri.user?.of(bytes);
    let end = memchr::memchr(b':', user).unwrap_or(user.len());
    Some(&user[..end]).filter(|user| !user.is_empty())
}

fn number(uri: &[u8]) -> Option<&[u8]> {
    let (scheme, number) = uri.split_at_checked(4)?;
    (scheme.eq_ignore_ascii_case(b"tel:") && !number.is_empty()).then_some(number)
}
