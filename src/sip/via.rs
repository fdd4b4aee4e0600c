//! One Via value (RFC 3261 20.42, 25.1; RFC 3581 for `rport`).

use super::block::find;
use super::field::{Param, Params};
use super::uri::{host_port, ip, port_number};
use super::{Span, is_name, trim, usual};
use std::net::{IpAddr, SocketAddr};

/// One Via value, read as far as forwarding needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    /// The whole value.
    pub value: Span,
    /// `UDP`, `TCP`, ...
    pub transport: Span,
    /// The sent-by host, an IPv6 address without its brackets.
    pub host: Span,
    /// The sent-by port, where one is given.
    pub port: Option<u16>,
    /// The `branch`, where it has a value.
    pub branch: Option<Span>,
    /// The `received` parameter.
    pub received: Option<Param>,
    /// The `rport` parameter, with or without a value.
    pub rport: Option<Param>,
    /// The `keep` parameter (RFC 6223), with or without a value.
    pub keep: Option<Param>,
}

impl Via {
    /// Reads one value; `None` if it is not `SIP / version / transport host [: port] *( ; param )`.
    /// The version is any (25.1 protocol-version): who speaks another one must get its 505.
    pub fn parse(bytes: &[u8], value: Span) -> Option<Self> {
        match usual::via(bytes, value) {
            Some(via) if via.value == value => Some(via),
            _ => Self::parse_any(bytes, value),
        }
    }

    /// As [`Via::parse`], with white space wherever it may stand.
    #[inline(never)]
    pub(super) fn parse_any(bytes: &[u8], value: Span) -> Option<Self> {
        let end = value.end as usize;
        let protocol_end = value.start as usize + protocol_end(value.of(bytes))?;
        let start = trim(bytes, Span::new(protocol_end, end)).start as usize;
        let transport = Span::new(start, find(bytes, start, end, *b" \t\r\n")?);
        let sent_by = transport.end as usize;
        let params_start = find(bytes, sent_by, end, *b";").unwrap_or(end);
        let (host, port_text) = host_port(bytes, Span::new(sent_by, params_start))?;
        let port = match port_text {
            Some(text) => Some(port_number(bytes, text)?),
            None => None,
        };
        let mut via = Self::without_params(value, transport, host, port);
        for param in Params::new(bytes, Span::new(params_start, end)) {
            via.take(bytes, param);
        }
        Some(via)
    }

    #[inline(always)]
    pub(super) fn without_params(
        value: Span,
        transport: Span,
        host: Span,
        port: Option<u16>,
    ) -> Self {
        let (received, rport, keep) = (None, None, None);
        Self { value, transport, host, port, branch: None, received, rport, keep }
    }

    /// Keeps the first parameter of each name that it knows.
    #[inline(always)]
    pub(super) fn take(&mut self, bytes: &[u8], param: Param) {
        let name = param.name.of(bytes);
        match name.len() {
            4 if self.keep.is_none() && is_name(name, b"keep") => self.keep = Some(param),
            5 if self.rport.is_none() && is_name(name, b"rport") => self.rport = Some(param),
            6 if self.branch.is_none() && is_name(name, b"branch") => {
                self.branch = param.value.filter(|value| !value.is_empty());
            }
            8 if self.received.is_none() && is_name(name, b"received") => {
                self.received = Some(param);
            }
            _ => {}
        }
    }

    /// Where a response goes that this Via is on top of (RFC 3261 18.2.2, RFC 3581 4): `received`
    /// or else the sent-by host, `rport` or else the sent-by port, else 5060. `None` if there is no
    /// address in it. `maddr` is not followed: it would let a sender aim us at somebody else.
    pub fn reply_address(&self, bytes: &[u8]) -> Option<SocketAddr> {
        let host = match self.received.and_then(|param| param.value) {
            Some(received) => ip_maybe_bracketed(received.of(bytes))?,
            None => ip(self.host.of(bytes))?,
        };
        let rport = match self.rport.and_then(|param| param.value) {
            Some(port) => Some(super::number(port.of(bytes), 65_535)? as u16),
            None => None,
        };
        Some(SocketAddr::new(host, rport.or(self.port).unwrap_or(5060)))
    }
}

/// Behind `SIP / version /`.
fn protocol_end(text: &[u8]) -> Option<usize> {
    const USUAL: &[u8] = b"SIP/2.0/";
    if text.starts_with(USUAL) {
        return Some(USUAL.len());
    }
    let first_slash = memchr::memchr(b'/', text)?;
    let second_slash = first_slash + 1 + memchr::memchr(b'/', &text[first_slash + 1..])?;
    let name = text[..first_slash].trim_ascii();
    let version = text[first_slash + 1..second_slash].trim_ascii();
    (name.eq_ignore_ascii_case(b"SIP") && !version.is_empty()).then_some(second_slash + 1)
}

/// RFC 5118 4.5: `received` has no brackets around an IPv6 address, but some write them.
fn ip_maybe_bracketed(text: &[u8]) -> Option<IpAddr> {
    match text {
        [b'[', inner @ .., b']'] => ip(inner),
        _ => ip(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(text: &str) -> Option<Via> {
        Via::parse(text.as_bytes(), Span::new(0, text.len()))
    }

    fn reply(text: &str) -> Option<SocketAddr> {
        via(text).and_then(|via| via.reply_address(text.as_bytes()))
    }

    #[test]
    fn white_space_may_stand_around_every_separator() {
        let text = "SIP  / 2.0\r\n /  UDP\t192.0.2.2 : 5070 ;branch = z9hG4bK1 ; rport";
        let found = via(text).expect("wsinv of RFC 4475 has such a Via");
        assert_eq!(found.transport.of(text.as_bytes()), b"UDP");
        assert_eq!(found.host.of(text.as_bytes()), b"192.0.2.2");
        assert_eq!(found.port, Some(5070));
        assert_eq!(found.branch.unwrap().of(text.as_bytes()), b"z9hG4bK1");
        assert!(found.rport.unwrap().value.is_none() && found.received.is_none());
    }

    #[test]
    fn a_response_goes_to_received_and_rport_first() {
        assert_eq!(reply("SIP/2.0/UDP 10.0.0.1"), Some("10.0.0.1:5060".parse().unwrap()));
        assert_eq!(
            reply("SIP/2.0/UDP h:5070;received=10.0.0.2"),
            Some("10.0.0.2:5070".parse().unwrap())
        );
        assert_eq!(
            reply("SIP/2.0/UDP 10.0.0.1:5070;rport=9;received=10.0.0.2"),
            Some("10.0.0.2:9".parse().unwrap())
        );
        for received in ["2001:db8::9", "[2001:db8::9]"] {
            let text = format!("SIP/2.0/UDP [2001:db8::1]:5070;received={received}");
            assert_eq!(reply(&text), Some("[2001:db8::9]:5070".parse().unwrap()));
        }
        assert_eq!(
            reply("SIP/2.0/UDP 10.0.0.1;maddr=10.9.9.9"),
            Some("10.0.0.1:5060".parse().unwrap())
        );
    }

    #[test]
    fn a_sender_of_another_version_can_be_answered() {
        // RFC 4475 3.1.2.16
        assert_eq!(reply("SIP/7.0/UDP 10.0.0.1"), Some("10.0.0.1:5060".parse().unwrap()));
    }

    #[test]
    fn a_name_without_received_is_no_address() {
        assert_eq!(reply("SIP/2.0/UDP client.example.com:5060"), None);
        assert_eq!(reply("SIP/2.0/UDP 10.0.0.1;rport=99999"), None);
    }

    #[test]
    fn what_is_no_via_is_refused() {
        for text in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0 h",
            "SIP//UDP h",
            "HTTP/2.0/UDP h",
            "SIP/2.0/UDP ;branch=x",
            "SIP/2.0/UDP h:port",
            "SIP/2.0/UDP h:70000",
            "SIP/2.0/UDP [::1;branch=x",
        ] {
            assert_eq!(via(text), None, "{text}");
        }
    }
}
