//! Addresses as they are written: `udp:0.0.0.0:5060`, `10.0.0.11`, `[2001:db8::1]:5060`, networks.

use super::report::{nearest, quoted};
use super::values::{Fault, number};
use super::{Host, Transport};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

/// `[[listener]] bind`: the transport must be written, the port may be left out (5060).
pub(super) fn listener(text: &str) -> Result<SocketAddr, Fault> {
    let at = match transport(text)? {
        Some(rest) => rest,
        None => {
            let title = format!("{} names no transport", quoted(text));
            return Err(Fault::new(0..text.len(), title, "expected TRANSPORT:ADDRESS")
                .help(format!("did you mean \"udp:{}\"?", shortened(text))));
        }
    };
    let address = socket_address(text, at, SIP_PORT)?;
    let wrong = |what| refuse(text, at, what, "expected an address of this machine");
    match address.ip() {
        ip if ip.is_multicast() => wrong("a multicast address"),
        ip if is_broadcast(ip) => wrong("the broadcast address"),
        ip => special_v6(text, at, ip).map_or(Ok(address), Err),
    }
}

/// `address` of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    Address(SocketAddr),
    Name(Host),
}

/// The address or name of a backend: transport and port may be left out. Of an address they are udp
/// and 5060 then; of a name DNS says them.
pub(super) fn backend(text: &str) -> Result<Backend, Fault> {
    let transport = transport(text)?;
    let at = transport.unwrap_or(0);
    let parts = split(text, at)?;
    let host = &text[parts.host.clone()];
    if parts.ip(text)?.is_none() && is_host_name(host) && !is_nearly_an_address(host) {
        let (name, port) = (host.trim_end_matches('.').to_ascii_lowercase(), parts.port()?);
        return Ok(Backend::Name(Host {
            name,
            port,
            transport: transport.map(|_| Transport::Udp),
        }));
    }
    backend_address(text, at).map(Backend::Address)
}

fn backend_address(text: &str, at: usize) -> Result<SocketAddr, Fault> {
    let address = socket_address(text, at, SIP_PORT)?;
    let wrong = |what| refuse(text, at, what, "expected the address of one backend");
    match address.ip() {
        ip if ip.is_unspecified() => wrong("the unspecified address"),
        ip if ip.is_multicast() => wrong("a multicast address"),
        ip if is_broadcast(ip) => wrong("the broadcast address"),
        ip => special_v6(text, at, ip).map_or(Ok(address), Err),
    }
}

/// `[admin] listen`: the port may be left out (9060).
pub(super) fn admin(text: &str) -> Result<SocketAddr, Fault> {
    socket_address(text, 0, ADMIN_PORT)
}

/// A name server: the port may be left out (53).
pub(super) fn name_server(text: &str) -> Result<SocketAddr, Fault> {
    let address = socket_address(text, 0, DNS_PORT)?;
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return refuse(text, 0, "no address of a name server", "expected where one listens");
    }
    Ok(address)
}

/// `advertise`: a host name or address, IPv6 in brackets, and perhaps a port.
pub(super) fn advertise(text: &str) -> Result<(String, Option<u16>), Fault> {
    let parts = split(text, 0)?;
    let port = parts.port()?;
    let host = &text[parts.host.clone()];
    let refused = |what: &str| {
        let title = format!("{what} {} cannot be advertised", quoted(host));
        Err(Fault::new(parts.host.clone(), title, "expected what others reach this listener by"))
    };
    match parts.ip(text)? {
        Some(ip) if ip.is_unspecified() => refused("the unspecified address"),
        Some(ip) if ip.is_multicast() => refused("the multicast address"),
        Some(ip) => Ok((ip.to_string(), port)),
        None if is_host_name(host) => Ok((host.to_owned(), port)),
        None => Err(not_an_address(text, parts.host.clone(), "neither an address nor a host name")),
    }
}

/// Whether two listeners would share an address: the same, or one of them stands for all.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let wildcard = one.ip().is_unspecified() || other.ip().is_unspecified();
    one == other || (wildcard && one.is_ipv4() == other.is_ipv4() && one.port() == other.port())
}

/// A network that a backend sends from: `10.1.0.0/16`, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, Fault> {
    let network = any_network(text)?;
    if network.prefix_len() == 0 {
        let title = format!("the network {} holds every address", quoted(text));
        let label = "every client would count as this backend";
        return Err(Fault::new(0..text.len(), title, label)
            .help("requests from a backend may leave for anywhere: name its networks only"));
    }
    Ok(network)
}

/// A network: `10.1.0.0/16`, or one address.
pub(super) fn any_network(text: &str) -> Result<IpNet, Fault> {
    let whole = 0..text.len();
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip));
    }
    let Ok(network) = text.parse::<IpNet>() else {
        let title = format!("{} is not a network", quoted(text));
        return Err(Fault::new(whole, title, "expected ADDRESS/BITS or an address")
            .help("such as \"10.1.0.0/16\", \"2001:db8::/48\" or \"10.1.2.3\""));
    };
    if network.addr() != network.network() {
        let title = format!("the network {} has bits set behind its prefix", quoted(text));
        return Err(Fault::new(whole, title, "expected zeros there")
            .help(format!("did you mean \"{}\"?", network.trunc())));
    }
    Ok(network)
}

/// Host and port as ranges of the text.
struct Parts<'a> {
    host: Range<usize>,
    bracketed: bool,
    port: Option<(&'a str, Range<usize>)>,
}

impl Parts<'_> {
    fn ip(&self, text: &str) -> Result<Option<IpAddr>, Fault> {
        let host = &text[self.host.clone()];
        if self.bracketed {
            let parsed = host.parse::<Ipv6Addr>();
            return parsed.map(|ip| Some(ip.into())).map_err(|_| {
                not_an_address(text, self.host.clone(), "not an IPv6 address")
                    .help("only IPv6 addresses stand in brackets, such as \"[2001:db8::1]:5060\"")
            });
        }
        Ok(host.parse::<Ipv4Addr>().ok().map(IpAddr::V4))
    }

    fn port(&self) -> Result<Option<u16>, Fault> {
        let Some((text, range)) = &self.port else { return Ok(None) };
        number("port", text, 1..=65_535).map(|port| Some(port as u16)).map_err(|mut fault| {
            fault.range = range.clone();
            fault
        })
    }
}

/// Reads a transport before the address: `Some(where the address begins)`, `None` if there is none.
fn transport(text: &str) -> Result<Option<usize>, Fault> {
    let Some((word, rest)) = text.split_once(':') else { return Ok(None) };
    let letters = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic());
    if word == "udp" {
        return Ok(Some(word.len() + 1));
    }
    if !letters || text.parse::<Ipv6Addr>().is_ok() {
        return Ok(None);
    }
    let range = 0..word.len();
    if TRANSPORTS_LATER.contains(&word) {
        let title = format!("transport {} comes with a later version", quoted(word));
        return Err(Fault::new(range, title, "this version forwards udp only")
            .help(format!("did you mean \"udp:{}\"?", shortened(rest))));
    }
    // `proxy:5060` is a host and a port; `upd:10.0.0.1` a misspelt transport.
    if !rest.contains([':', '.', '[']) {
        return Ok(None);
    }
    let title = format!("unknown transport {}", quoted(word));
    let fault = Fault::new(range, title, "expected `udp`");
    Err(match word {
        "sip" | "sips" => fault.help("write an address here, not a SIP URI"),
        _ => match nearest(word, ["udp"].into_iter().chain(TRANSPORTS_LATER)) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help("such as \"udp:10.0.0.11:5060\""),
        },
    })
}

fn socket_address(text: &str, at: usize, port: u16) -> Result<SocketAddr, Fault> {
    let parts = split(text, at)?;
    if let Some(ip) = parts.ip(text)? {
        return Ok(SocketAddr::new(ip, parts.port()?.unwrap_or(port)));
    }
    let host = &text[parts.host.clone()];
    if is_host_name(host) && !is_nearly_an_address(host) {
        let title = format!("{} is a name, not an address", quoted(host));
        return Err(Fault::new(parts.host, title, "expected an address of this machine")
            .help("such as 127.0.0.1, [::1], or 0.0.0.0 for every IPv4 address"));
    }
    Err(not_an_address(text, parts.host, "expected an IPv4 address, or an IPv6 one in brackets"))
}

fn split(text: &str, at: usize) -> Result<Parts<'_>, Fault> {
    let rest = &text[at..];
    if rest.is_empty() {
        return Err(Fault::new(at..at, "an address is missing", "expected ADDRESS:PORT"));
    }
    if let Some(inside) = rest.strip_prefix('[') {
        let Some(end) = inside.find(']') else {
            let title = format!("{} has an open bracket", quoted(rest));
            return Err(Fault::new(at..at + 1, title, "its `]` is missing"));
        };
        let host = at + 1..at + 1 + end;
        let after = host.end + 1;
        return match &text[after..] {
            "" => Ok(Parts { host, bracketed: true, port: None }),
            tail if tail.starts_with(':') => {
                let port = Some((&tail[1..], after + 1..text.len()));
                Ok(Parts { host, bracketed: true, port })
            }
            tail => {
                let title = format!("unexpected {} behind the address", quoted(tail));
                Err(Fault::new(after..text.len(), title, "expected `:PORT` or nothing"))
            }
        };
    }
    if rest.matches(':').count() > 1 {
        return Err(unbracketed(text, at));
    }
    Ok(match rest.split_once(':') {
        Some((host, port)) => {
            let end = at + host.len();
            Parts { host: at..end, bracketed: false, port: Some((port, end + 1..text.len())) }
        }
        None => Parts { host: at..text.len(), bracketed: false, port: None },
    })
}

/// More than one colon outside brackets: most likely an IPv6 address without them.
fn unbracketed(text: &str, at: usize) -> Fault {
    let rest = &text[at..];
    let fault =
        not_an_address(text, at..text.len(), "an IPv6 address stands in brackets before its port");
    let transport = &text[..at];
    let is_v6 = |host: &str| host.parse::<Ipv6Addr>().is_ok();
    let whole = is_v6(rest).then(|| format!("\"{transport}[{rest}]:{SIP_PORT}\""));
    let split = rest.rsplit_once(':').filter(|(host, _)| is_v6(host));
    let split = split.map(|(host, port)| format!("\"{transport}[{host}]:{port}\""));
    match (split, whole) {
        (Some(one), Some(other)) => fault.help(format!("did you mean {one} or {other}?")),
        (Some(one), None) | (None, Some(one)) => fault.help(format!("did you mean {one}?")),
        _ => fault.help("such as \"10.0.0.11:5060\" or \"[2001:db8::11]:5060\""),
    }
}

fn not_an_address(text: &str, range: Range<usize>, label: &str) -> Fault {
    let title = match &text[range.clone()] {
        "" => "an address is missing".to_owned(),
        host => format!("{} is not an address", quoted(host)),
    };
    Fault::new(range, title, label)
}

fn refuse<T>(text: &str, at: usize, what: &str, label: &str) -> Result<T, Fault> {
    let title = format!("{} is {what}", quoted(&text[at..]));
    Err(Fault::new(at..text.len(), title, label))
}

/// Forms of IPv6 addresses that name no peer by themselves.
fn special_v6(text: &str, at: usize, ip: IpAddr) -> Option<Fault> {
    let IpAddr::V6(ip) = ip else { return None };
    let range = at..text.len();
    if let Some(v4) = ip.to_ipv4_mapped() {
        let title = format!("{} is an IPv4 address inside an IPv6 one", quoted(&text[at..]));
        return Some(
            Fault::new(range, title, "expected the address of one family")
                .help(format!("did you mean {v4}?")),
        );
    }
    ip.is_unicast_link_local().then(|| {
        let title = format!("{} is a link-local address", quoted(&text[at..]));
        Fault::new(range, title, "it means nothing without an interface")
            .help("use a global or unique local address (fd00::/8)")
    })
}

fn is_broadcast(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// RFC 3261 section 25.1, `hostname`: labels of letters, digits and inner hyphens; the last one
/// begins with a letter (else it is a misspelt address).
pub(super) fn is_host_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let label_is_good = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let top = name.rsplit('.').next().unwrap_or(name);
    name.len() <= 253
        && name.split('.').all(label_is_good)
        && top.starts_with(|letter: char| letter.is_ascii_alphabetic())
}

/// `10.0.0.1l`: most likely a misspelt address.
fn is_nearly_an_address(host: &str) -> bool {
    let number = |label: &&str| label.bytes().all(|byte| byte.is_ascii_digit());
    host.split('.').filter(number).count() == 3 && host.split('.').count() == 4
}

/// What a suggestion repeats of the text.
fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

/// RFC 3261 section 19.1.2: the default port of UDP.
const SIP_PORT: u16 = 5060;

const DNS_PORT: u16 = 53;

const ADMIN_PORT: u16 = 9060;

const TRANSPORTS_LATER: [&str; 4] = ["tcp", "tls", "ws", "wss"];

#[cfg(test)]
mod tests;
