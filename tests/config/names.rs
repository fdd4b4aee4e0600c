//! Backends by name, as files and flags have them.

use super::{good, load, questionable, wrong};
use sipring::config::{DnsConfig, Flags, NamedBackends};
use sipring::pool::State;

/// A file with these backends.
fn file(backends: &str) -> String {
    let key = "[cluster]\nkey = \"000102030405060708090a0b0c0d0e0f\"\n";
    format!("[[listener]]\nbind = \"udp:192.0.2.1:5060\"\n{key}[[pool]]\n{backends}")
}

fn backend(address: &str, keys: &str) -> String {
    format!("[[pool.backend]]\naddress = \"{address}\"\n{keys}")
}

fn shown(names: &NamedBackends) -> (String, &str) {
    (names.host.to_string(), names.like.name.as_str())
}

#[test]
fn a_name_stands_for_backends_beside_those_with_an_address() {
    let text = [
        backend("Proxies.Example.COM", "weight = 7\nstate = \"drained\"\n"),
        backend("10.0.0.11", ""),
        backend("udp:sip.example.com:5070", "name = \"edge\"\n"),
    ];
    let config = good(&file(&text.concat()));
    let pool = &config.pools[0];
    assert_eq!(pool.backends.len(), 1);
    let (first, second) = (shown(&pool.names[0]), shown(&pool.names[1]));
    assert_eq!(first, ("proxies.example.com".to_owned(), "proxies.example.com"));
    assert_eq!(second, ("udp:sip.example.com:5070".to_owned(), "edge"));
    assert_eq!((pool.names[0].like.weight, pool.names[0].like.state), (7, State::Drained));
    let mut again = good(&config.to_string());
    again.cluster = config.cluster.clone();
    assert_eq!(again, config, "it shows itself as it is");
    assert!(config.to_string().contains("# looked up at run time: a backend edge/ADDRESS:PORT"));
}

#[test]
fn a_name_alone_is_enough_and_may_come_by_flag() {
    assert_eq!(good(&file(&backend("proxies.example.com", ""))).pools[0].names.len(), 1);
    let flags = Flags {
        backend: vec!["proxies.example.com:5060,weight=3,name=edge".to_owned()],
        ..Flags::default()
    };
    let config = load(&file(""), &flags).expect("it loads").config;
    assert_eq!(shown(&config.pools[0].names[0]), ("proxies.example.com:5060".to_owned(), "edge"));
    assert_eq!(config.pools[0].names[0].like.weight, 3);
}

#[test]
fn dns_has_its_defaults_and_its_keys() {
    let text = file(&backend("10.0.0.11", ""));
    assert_eq!(good(&text).dns, DnsConfig::default());
    let keys = "[dns]\nservers = [\"10.0.0.53\", \"[::1]:5353\"]\ntimeout = \"500ms\"\n\
                ttl_min = \"10s\"\nttl_max = \"10s\"\n";
    let dns = good(&format!("{text}{keys}")).dns;
    let servers = ["10.0.0.53:53", "[::1]:5353"].map(|one| one.parse().unwrap());
    assert_eq!(dns.servers, servers);
    assert_eq!((dns.timeout_ms, dns.ttl_min_s, dns.ttl_max_s), (500, 10, 10));
}

#[test]
fn changes_of_names_are_told() {
    let one = good(&file(&backend("one.example.com", "name = \"edge\"\n")));
    let mut two = good(&file(&backend("udp:one.example.com", "name = \"edge\"\nweight = 2\n")));
    two.dns.servers.push("10.0.0.53:53".parse().unwrap());
    let expected = [
        "backend \"edge\": address one.example.com -> udp:one.example.com",
        "backend \"edge\": weight 1 -> 2",
        "dns servers [] -> [\"10.0.0.53:53\"]",
    ];
    assert_eq!(one.diff(&two).live, expected);
    assert!(one.diff(&two).restart.is_empty());
}

#[test]
fn what_is_wrong_with_names() {
    // two of a kind
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1"
[cluster]
key = "000102030405060708090a0b0c0d0e0f"
[[pool]]
[[pool.backend]]
address = "sip.example.com"
[[pool.backend]]
address = "udp:SIP.example.com"
"#,
        r#"
error: two backends have the name `sip.example.com`
 --> sipring.toml:9:11
  |
7 | address = "sip.example.com"
  |           ----------------- the first one
8 | [[pool.backend]]
9 | address = "udp:SIP.example.com"
  |           ^^^^^^^^^^^^^^^^^^^^^ again here
  |
  = help: without a name of their own they are called like their host
"#,
    );
    // bounds that exclude each other
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1"
[cluster]
key = "000102030405060708090a0b0c0d0e0f"
[[pool]]
[[pool.backend]]
address = "sip.example.com"
[dns]
ttl_min = "10s"
ttl_max = "9s"
"#,
        r#"
error: `ttl_min` is above `ttl_max`
  --> sipring.toml:9:11
   |
 9 | ttl_min = "10s"
   |           ^^^^^ 10s at least
10 | ttl_max = "9s"
   |           ---- 9s at most
   |
   = help: the defaults are 5s and 1h
"#,
    );
    // no name server
    wrong(
        r#"
[dns]
servers = ["ns.example.com"]
"#,
        r#"
error: `ns.example.com` is a name, not an address
 --> sipring.toml:2:13
  |
2 | servers = ["ns.example.com"]
  |             ^^^^^^^^^^^^^^ expected an address of this machine
  |
  = help: such as 127.0.0.1, [::1], or 0.0.0.0 for every IPv4 address
"#,
    );
}

#[test]
fn most_names_and_one_more() {
    let names = |count: usize| -> String {
        (0..count).map(|n| backend(&format!("sip{n}.example.com"), "")).collect()
    };
    assert_eq!(good(&file(&names(256))).pools[0].names.len(), 256);
    let report = load(&file(&names(257)), &Flags::default()).expect_err("too many");
    assert!(report.render(false).contains("there are 257 backends by name"));
}

#[test]
fn names_that_take_no_calls_are_warned_of() {
    questionable(
        &file(&backend("sip.example.com", "weight = 0\n")),
        &Flags::default(),
        r#"
warning: no backend takes new calls
 --> sipring.toml:5:1
  |
5 | [[pool]]
  | ^^^^^^^^ all are drained, down, or have weight 0
  |
  = help: callers get 480 until one is ready
"#,
    );
}
