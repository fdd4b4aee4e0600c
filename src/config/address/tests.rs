//! Good addresses, and where the caret stands under bad ones.

use super::*;

fn title<T: std::fmt::Debug>(result: Result<T, Fault>) -> String {
    result.unwrap_err().title
}

#[test]
fn backend_forms_that_are_good() {
    for (text, address) in [
        ("10.0.0.11", "10.0.0.11:5060"),
        ("10.0.0.11:5070", "10.0.0.11:5070"),
        ("udp:10.0.0.11:1", "10.0.0.11:1"),
        ("udp:10.0.0.11:65535", "10.0.0.11:65535"),
        ("[2001:db8::1]", "[2001:db8::1]:5060"),
        ("udp:[2001:db8::1]:5061", "[2001:db8::1]:5061"),
    ] {
        let address = address.parse().unwrap();
        assert_eq!(backend(text), Ok(Backend::Address(address)), "{text}");
    }
}

#[test]
fn backend_forms_that_are_not() {
    for (text, expected) in [
        ("", "an address is missing"),
        ("udp:", "an address is missing"),
        (":5060", "an address is missing"),
        ("10.0.0.11:0", "port `0` is out of range"),
        ("10.0.0.11:65536", "port `65536` is out of range"),
        ("10.0.0.11:", "port `` is not a number"),
        ("10.0.0.256", "`10.0.0.256` is not an address"),
        ("0.0.0.0:5060", "`0.0.0.0:5060` is the unspecified address"),
        ("[::]:5060", "`[::]:5060` is the unspecified address"),
        ("224.0.1.75", "`224.0.1.75` is a multicast address"),
        ("[ff02::1]", "`[ff02::1]` is a multicast address"),
        ("255.255.255.255", "`255.255.255.255` is the broadcast address"),
        ("[::ffff:10.0.0.1]", "`[::ffff:10.0.0.1]` is an IPv4 address inside an IPv6 one"),
        ("[fe80::1]:5060", "`[fe80::1]:5060` is a link-local address"),
        ("[10.0.0.1]:5060", "`10.0.0.1` is not an address"),
        ("[::1", "`[::1` has an open bracket"),
        ("[::1]5060", "unexpected `5060` behind the address"),
        ("proxy-1.example.com:0", "port `0` is out of range"),
        ("10.0.0.1l", "`10.0.0.1l` is not an address"),
        ("a_b.example.com", "`a_b.example.com` is not an address"),
        ("proxy..example.com", "`proxy..example.com` is not an address"),
        ("tcp:proxies.example.com", "transport `tcp` comes with a later version"),
        ("upd:proxies.example.com", "unknown transport `upd`"),
        ("tcp:10.0.0.11:5060", "transport `tcp` comes with a later version"),
        ("wss:10.0.0.11", "transport `wss` comes with a later version"),
        ("upd:10.0.0.11", "unknown transport `upd`"),
        ("sip:10.0.0.11:5060", "unknown transport `sip`"),
    ] {
        assert_eq!(title(backend(text)), expected, "{text}");
    }
}

#[test]
fn a_backend_may_have_a_name() {
    let host = |name: &str, port, transport| Host { name: name.to_owned(), port, transport };
    let udp = Some(Transport::Udp);
    for (text, expected) in [
        ("proxies.example.com", host("proxies.example.com", None, None)),
        ("Proxies.Example.COM.", host("proxies.example.com", None, None)),
        ("proxies.example.com:5070", host("proxies.example.com", Some(5070), None)),
        ("udp:proxies.example.com", host("proxies.example.com", None, udp)),
        ("udp:proxies.example.com:1", host("proxies.example.com", Some(1), udp)),
        ("proxy:5060", host("proxy", Some(5060), None)),
        ("proxy", host("proxy", None, None)),
        ("10.0.example", host("10.0.example", None, None)),
    ] {
        assert_eq!(backend(text), Ok(Backend::Name(expected.clone())), "{text}");
        let again = backend(&expected.to_string());
        assert_eq!(again, Ok(Backend::Name(expected)), "as it is shown");
    }
}

#[test]
fn ipv6_without_brackets_is_offered_with_them() {
    let help = |text| backend(text).unwrap_err().help.unwrap();
    assert_eq!(help("2001:db8::1"), "did you mean \"[2001:db8::1]:5060\"?");
    assert_eq!(help("::1:99"), "did you mean \"[::1]:99\" or \"[::1:99]:5060\"?");
    assert_eq!(help("abcd::1"), "did you mean \"[abcd::1]:5060\"?");
    assert_eq!(
        help("udp:2001:db8:0:0:0:0:0:1:5061"),
        "did you mean \"udp:[2001:db8:0:0:0:0:0:1]:5061\"?"
    );
}

#[test]
fn listener_needs_its_transport_and_may_be_a_wildcard() {
    assert_eq!(listener("udp:0.0.0.0:5060"), Ok("0.0.0.0:5060".parse().unwrap()));
    assert_eq!(listener("udp:[::]"), Ok("[::]:5060".parse().unwrap()));
    assert_eq!(title(listener("0.0.0.0:5060")), "`0.0.0.0:5060` names no transport");
    assert_eq!(title(listener("tls:0.0.0.0:5061")), "transport `tls` comes with a later version");
    assert_eq!(title(listener("udp:localhost")), "`localhost` is a name, not an address");
    assert_eq!(title(listener("udp:224.0.0.1")), "`224.0.0.1` is a multicast address");
}

#[test]
fn advertise_takes_names_and_addresses() {
    let good = |text| advertise(text).unwrap();
    assert_eq!(good("sip.example.com:5060"), ("sip.example.com".to_owned(), Some(5060)));
    assert_eq!(good("sip.example.com"), ("sip.example.com".to_owned(), None));
    assert_eq!(good("[2001:db8::1]:5061"), ("2001:db8::1".to_owned(), Some(5061)));
    assert_eq!(good("192.0.2.1"), ("192.0.2.1".to_owned(), None));
    for bad in ["", "0.0.0.0", "a_b.example", "-a", "a..b", "1.2.3", "[::]", "a:0", "2001:db8::1"] {
        assert!(advertise(bad).is_err(), "{bad}");
    }
}

#[test]
fn networks_are_exact_and_never_everything() {
    assert_eq!(network("10.1.0.0/16").unwrap().to_string(), "10.1.0.0/16");
    assert_eq!(network("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
    assert_eq!(network("2001:db8::/48").unwrap().to_string(), "2001:db8::/48");
    assert_eq!(network("10.1.2.3/16").unwrap_err().help.unwrap(), "did you mean \"10.1.0.0/16\"?");
    assert!(network("0.0.0.0/0").unwrap_err().title.contains("holds every address"));
    assert!(network("10.1.0.0/33").is_err());
    assert!(network("office").is_err());
}
