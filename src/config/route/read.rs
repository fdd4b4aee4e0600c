//! The keys of a `[[route]]`, each value good by itself.

use crate::config::address::{self, is_host_name};
use crate::config::reader::{At, Table};
use crate::config::report::{Place, nearest, quoted};
use crate::config::values::{Fault, header_name, name};
use crate::pool::{Domain, HeaderRule};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// A `[[route]]` as it stands in the file.
#[derive(Debug)]
pub(in crate::config) struct RawRoute {
    pub(super) place: Place,
    pub(super) name: Option<At<String>>,
    pub(super) pool: At<String>,
    pub(super) methods: Vec<String>,
    pub(super) uri_domains: Vec<Domain>,
    pub(super) uri_users: Vec<String>,
    pub(super) from_domains: Vec<Domain>,
    pub(super) to_domains: Vec<Domain>,
    pub(super) sources: Vec<IpNet>,
    pub(super) listeners: Vec<At<SocketAddr>>,
    pub(super) headers: Vec<HeaderRule>,
}

/// Reads the table; `None` without a pool.
pub(in crate::config) fn route(mut table: Table<'_>) -> Option<RawRoute> {
    let place = table.place();
    let called = table.parsed("name", "\"registrations\"", name);
    let pool = table.required("pool", "\"default\"", name);
    let methods = values(table.filled_list("method", "[\"REGISTER\"]", method));
    let mut domains = |key| values(table.filled_list(key, "[\"*.example.com\"]", domain));
    let uri_domains = domains("uri_domain");
    let (from_domains, to_domains) = (domains("from_domain"), domains("to_domain"));
    let uri_users = values(table.filled_list("uri_user", "[\"+49\"]", user));
    let sources = values(table.filled_list("source", "[\"10.0.0.0/8\"]", address::any_network));
    let listeners = table.filled_list("listener", "[\"udp:0.0.0.0:5060\"]", address::listener);
    let headers = values(table.filled_list("header", "[\"X-Tenant: blue\"]", header));
    table.finish(&[]);
    Some(RawRoute {
        place,
        name: called,
        pool: pool?,
        methods,
        uri_domains,
        uri_users,
        from_domains,
        to_domains,
        sources,
        listeners,
        headers,
    })
}

fn values<T>(list: Vec<At<T>>) -> Vec<T> {
    list.into_iter().map(|at| at.value).collect()
}

/// Methods have a case (RFC 3261 7.1), and a misspelt one would never match.
fn method(text: &str) -> Result<String, Fault> {
    let token = |byte: u8| byte.is_ascii_uppercase() || b"-_".contains(&byte);
    let good = !text.is_empty() && text.len() <= METHOD_SIZE_MAX && text.bytes().all(token);
    if good && KNOWN.contains(&text) {
        return Ok(text.to_owned());
    }
    let fault = match good {
        true => Fault::new(0..text.len(), format!("unknown method {}", quoted(text)), "misspelt?"),
        false => {
            let title = format!("{} is not a method", quoted(text));
            Fault::new(0..text.len(), title, "expected capital letters")
        }
    };
    match (nearest(text, KNOWN), good) {
        (Some(near), _) => Err(fault.help(format!("did you mean \"{near}\"?"))),
        (None, true) => Ok(text.to_owned()), // somebody's own
        (None, false) => Err(fault.help("such as \"REGISTER\"")),
    }
}

/// `example.com`, `*.example.com` or an address: in lower case, for hosts have no case (RFC 3261
/// 19.1.4).
fn domain(text: &str) -> Result<Domain, Fault> {
    let lower = text.to_ascii_lowercase();
    let (below, host) = match lower.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, lower.as_str()),
    };
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let is_address = bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6() == (bare != host));
    let fault = |label: &str| {
        let title = format!("{} is not a domain", quoted(text));
        Err(Fault::new(0..text.len(), title, label))
    };
    match (is_host_name(host), is_address, below) {
        (true, _, true) => Ok(Domain::Below(host.to_owned())),
        (true, _, false) | (_, true, false) => Ok(Domain::Exactly(host.to_owned())),
        _ if host.contains('*') => fault("a `*` stands for all labels before, as in *.example.com"),
        _ => fault("expected a host name, *.NAME for those below it, or an address")
            .map_err(|fault| fault.help("such as \"example.com\" or \"*.example.com\"")),
    }
}

/// What a user begins with: `user` of RFC 3261 25.1, and no empty one, with which all begin.
fn user(text: &str) -> Result<String, Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,;?/%#".contains(c);
    if let Some((at, bad)) = text.char_indices().find(|(_, letter)| !allowed(*letter)) {
        let title = format!("{} is not the beginning of a user", quoted(text));
        return Err(Fault::new(at..at + bad.len_utf8(), title, "not here"));
    }
    if text.is_empty() || text.len() > USER_SIZE_MAX {
        let title = format!("the user {} has {} characters", quoted(text), text.len());
        return Err(Fault::new(0..text.len(), title, format!("expected 1 to {USER_SIZE_MAX}")));
    }
    Ok(text.to_owned())
}

/// `Name` or `Name: value`.
fn header(text: &str) -> Result<HeaderRule, Fault> {
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name, Some(value.trim())),
        None => (text, None),
    };
    let name = header_name(name)?;
    match value {
        Some("") => {
            let title = format!("the header field {} has no value", quoted(text));
            Err(Fault::new(text.len()..text.len(), title, "expected a value behind the `:`")
                .help(format!("for any value write \"{name}\"")))
        }
        Some(value) if value.len() > VALUE_SIZE_MAX || value.contains(char::is_control) => {
            let title = format!("{} is no value of a header field", quoted(text));
            let label = format!("expected 1 to {VALUE_SIZE_MAX} characters on one line");
            Err(Fault::new(0..text.len(), title, label))
        }
        value => Ok(HeaderRule { name, value: value.map(str::to_owned) }),
    }
}

/// Those of RFC 3261 and its extensions.
const KNOWN: [&str; 14] = [
    "ACK",
    "BYE",
    "CANCEL",
    "INFO",
    "INVITE",
    "MESSAGE",
    "NOTIFY",
    "OPTIONS",
    "PRACK",
    "PUBLISH",
    "REFER",
    "REGISTER",
    "SUBSCRIBE",
    "UPDATE",
];

const METHOD_SIZE_MAX: usize = 32;

const USER_SIZE_MAX: usize = 64;

const VALUE_SIZE_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_known_ones_or_somebodys_own_and_not_misspelt() {
        for good in ["REGISTER", "INFO", "X-PING"] {
            assert_eq!(method(good).as_deref(), Ok(good));
        }
        for (bad, near) in [("REGISTR", "REGISTER"), ("invite", "INVITE"), ("Options", "OPTIONS")] {
            let help = method(bad).unwrap_err().help.expect("a help");
            assert!(help.contains(near), "{bad}: {help}");
        }
        assert!(method("").is_err() && method("A B").is_err() && method(&"M".repeat(33)).is_err());
    }

    #[test]
    fn domains_are_names_stars_and_addresses() {
        let exactly = |text: &str| Ok(Domain::Exactly(text.to_owned()));
        assert_eq!(domain("Example.COM"), exactly("example.com"));
        assert_eq!(domain("*.example.com"), Ok(Domain::Below("example.com".into())));
        assert_eq!(domain("10.0.0.1"), exactly("10.0.0.1"));
        assert_eq!(domain("[2001:db8::1]"), exactly("[2001:db8::1]"));
        for bad in ["", "*", "*.", "a*.b", "*.10.0.0.1", "2001:db8::1", "[10.0.0.1]", "a b", "-a"] {
            assert!(domain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_header_is_a_name_and_perhaps_a_value() {
        let rule = |name: &str, value: Option<&str>| {
            Ok(HeaderRule { name: name.into(), value: value.map(Into::into) })
        };
        assert_eq!(header("X-Tenant"), rule("X-Tenant", None));
        assert_eq!(header("X-Tenant:  blue: 1 "), rule("X-Tenant", Some("blue: 1")));
        for bad in ["", ":", ": x", "X-Tenant:", "X Tenant: x", "X-T: a\r\nB: c"] {
            assert!(header(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_user_is_not_empty_and_has_no_character_that_ends_it() {
        assert!(user("+49").is_ok() && user(&"4".repeat(64)).is_ok());
        for bad in ["", "a@b", "a:b", "a b", &"4".repeat(65)] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
    }
}
