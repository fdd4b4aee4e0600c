//! Files and flags that load, and what they come to; those that do not, and what is said of them.

#[path = "config/addresses.rs"]
mod addresses;
#[path = "config/example.rs"]
mod example;
#[path = "config/flags.rs"]
mod flags;
#[path = "config/keys.rs"]
mod keys;
#[path = "config/names.rs"]
mod names;
#[path = "config/never_panics.rs"]
mod never_panics;
#[path = "config/pools.rs"]
mod pools;
#[path = "config/relations.rs"]
mod relations;
#[path = "config/reload.rs"]
mod reload;
#[path = "config/values.rs"]
mod values;

use sipring::config::{self, BackendPorts, Config, Flags, Loaded, LogLevel, Report, Text};
use sipring::pool::{Policy, State};
use sipring::proxy::PathMode;

const SMALLEST: &str = r#"
[[listener]]
bind = "udp:0.0.0.0:5060"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
"#;

const LARGEST: &str = r#"
workers = 4
steering = "off"
backend_ports = "16000-16007"
record_route = false
path = "supported"

[admin]
listen = "[::1]:9061"
socket = "/run/sip ring/\"a\".sock"

[[listener]]
bind = "udp:192.0.2.1:5060"
advertise = "sip.example.com"

[[listener]]
bind = "udp:[2001:db8::1]:5062"
advertise = "[2001:db8::ff]:5070"

[[pool]]
name = "proxies"
policy = "call-id-hash"
hash = "maglev"

[pool.health]
enabled = true
method = "PING"
from = "sip:lb@example.com"
user = "health"
interval = "1s500ms"
timeout = "300ms"
rise = 4
fall = 5
jitter = 0.25
codes = [200, 404]
down_interval_max = "1m"
retry_after_max = "0s"
slow_start = "20s"
panic = 0

[[pool.backend]]
name = "proxy-1"
address = "udp:10.0.0.11:5070"
weight = 0
state = "drained"
source = ["10.1.0.0/16", "10.2.0.1"]

[[pool.backend]]
address = "[2001:db8::11]"
state = "down"

[[pool.backend]]
address = "10.0.0.12"
weight = 65535

[limits]
max_message = "16KiB"
pins = 2000
dialog_idle = "1h30m"
registration_idle = "90s"
receive_buffer = 65536
latency_budget_us = 200
drain_timeout = "90s"
remove_timeout = "2d"

[cluster]
key = "00112233445566778899aabbccddeefe"
previous_key = "00112233445566778899aabbccddeeff"
hash_seed = 7

[log]
level = "debug"
messages = "errors"
sample = 0.25
file = "/var/log/a \"b\".json"
"#;

/// Loads a file with these flags.
fn load(file: &str, flags: &Flags) -> Result<Loaded, Report> {
    let name = "sipring.toml".to_owned();
    config::load(Some(&Text { name, bytes: file.as_bytes().to_vec() }), flags)
}

/// Loads a file that is good.
fn good(file: &str) -> Config {
    match load(file, &Flags::default()) {
        Ok(loaded) => loaded.config,
        Err(report) => panic!("{}", report.render(false)),
    }
}

/// Loads a file that is wrong: `expected` is the whole of what is said. Both begin with a newline
/// that does not count.
#[track_caller]
fn wrong(file: &str, expected: &str) {
    let file = file.strip_prefix('\n').unwrap_or(file);
    let report = load(file, &Flags::default()).expect_err("it loads");
    pretty_equal(&report.render(false), expected);
    assert!(report.blames_file());
}

/// Loads a file that is good but questionable.
#[track_caller]
fn questionable(file: &str, flags: &Flags, expected: &str) {
    let file = file.strip_prefix('\n').unwrap_or(file);
    let loaded = load(file, flags).expect("it does not load");
    pretty_equal(&loaded.warnings.render(false), expected);
}

#[track_caller]
fn pretty_equal(found: &str, expected: &str) {
    let expected = expected.strip_prefix('\n').unwrap_or(expected);
    assert!(found == expected, "found:\n{found}\nexpected:\n{expected}");
}

#[test]
fn smallest_file_gets_the_documented_defaults() {
    let config = good(SMALLEST);
    assert_eq!(config.workers, None);
    assert_eq!(config.backend_ports, BackendPorts::Range(15_060, 15_091));
    assert!(config.record_route);
    assert_eq!(config.path, PathMode::Always);
    assert_eq!(config.admin, "127.0.0.1:9060".parse().unwrap());
    assert_eq!(config.listeners[0].bind, "0.0.0.0:5060".parse().unwrap());
    assert_eq!(config.listeners[0].advertise, None);
    assert_eq!(
        (config.pools[0].name.as_str(), config.pools[0].policy),
        ("default", Policy::CALL_ID_HASH)
    );
    let backend = &config.pools[0].backends[0];
    assert_eq!(backend.name, "10.0.0.11:5060");
    assert_eq!(backend.address, "10.0.0.11:5060".parse().unwrap());
    assert_eq!((backend.weight, backend.state), (1, State::Ready));
    assert!(backend.sources.is_empty());
    let health = &config.pools[0].health;
    assert!(health.enabled);
    assert_eq!((health.method.as_str(), &health.from, &health.user), ("OPTIONS", &None, &None));
    assert_eq!((health.rules.interval_ms, health.rules.timeout_ms), (10_000, 2_000));
    assert_eq!((health.rules.rise, health.rules.fall), (2, 3));
    assert_eq!((health.rules.jitter_per_mille, health.panic_per_mille), (100, 500));
    assert_eq!((health.rules.down_interval_max_ms, health.rules.slow_start_ms), (30_000, 0));
    assert_eq!((health.rules.retry_after_max_ms, &health.rules.codes), (30_000, &Vec::new()));
    assert!(config.steering);
    assert_eq!(config.limits.max_message, 65_535);
    assert_eq!(config.limits.pins, 1_000_000);
    assert_eq!(config.limits.dialog_idle_s, 43_200);
    assert_eq!(config.limits.registration_idle_s, 4_200);
    assert_eq!(config.limits.receive_buffer, 4_194_304);
    assert_eq!((config.limits.drain_timeout_s, config.limits.remove_timeout_s), (30, 3_600));
    assert_eq!((config.cluster.current, config.cluster.previous), (None, None));
    assert_eq!(config.cluster.hash_seed, 0);
    assert_eq!(config.log, LogLevel::Info);
}

#[test]
fn every_key_reaches_the_configuration() {
    let config = good(LARGEST);
    assert_eq!((config.workers, config.steering), (Some(4), false));
    assert_eq!(config.backend_ports, BackendPorts::Range(16_000, 16_007));
    assert!(!config.record_route);
    assert_eq!(config.path, PathMode::Supported);
    assert_eq!(config.admin, "[::1]:9061".parse().unwrap());
    // Without a port of its own, `advertise` has that of `bind`.
    assert_eq!(config.listeners[0].advertise, Some(("sip.example.com".to_owned(), 5060)));
    assert_eq!(config.listeners[1].bind, "[2001:db8::1]:5062".parse().unwrap());
    assert_eq!(config.listeners[1].advertise, Some(("2001:db8::ff".to_owned(), 5070)));
    assert_eq!(
        (config.pools[0].name.as_str(), config.pools[0].policy),
        ("proxies", Policy::CALL_ID_HASH_MAGLEV)
    );
    let health = &config.pools[0].health;
    assert_eq!((health.enabled, health.method.as_str()), (true, "PING"));
    let (from, user) = (health.from.as_deref(), health.user.as_deref());
    assert_eq!((from, user), (Some("sip:lb@example.com"), Some("health")));
    let rules = &health.rules;
    assert_eq!((rules.interval_ms, rules.timeout_ms, rules.rise, rules.fall), (1_500, 300, 4, 5));
    assert_eq!((rules.jitter_per_mille, health.panic_per_mille), (250, 0));
    assert_eq!(rules.codes, [200, 404]);
    assert_eq!((rules.down_interval_max_ms, rules.retry_after_max_ms), (60_000, 0));
    assert_eq!(rules.slow_start_ms, 20_000);
    let [first, second, third] = &config.pools[0].backends[..] else { panic!("three backends") };
    assert_eq!((first.name.as_str(), first.weight, first.state), ("proxy-1", 0, State::Drained));
    let sources = ["10.1.0.0/16".parse().unwrap(), "10.2.0.1/32".parse().unwrap()];
    assert_eq!(first.sources, sources);
    assert_eq!((second.name.as_str(), second.state), ("[2001:db8::11]:5060", State::Down));
    assert_eq!(third.weight, 65_535);
    assert_eq!((config.limits.max_message, config.limits.pins), (16_384, 2_000));
    assert_eq!((config.limits.dialog_idle_s, config.limits.registration_idle_s), (5_400, 90));
    assert_eq!(config.limits.receive_buffer, 65_536);
    assert_eq!((config.limits.drain_timeout_s, config.limits.remove_timeout_s), (90, 172_800));
    assert_eq!(config.admin_socket, Some("/run/sip ring/\"a\".sock".into()));
    let (current, previous) = (config.cluster.current.unwrap(), config.cluster.previous.unwrap());
    assert_eq!((current.number, current.bytes[..2].to_vec()), (2, vec![0x00, 0x11]));
    assert_eq!((previous.number, previous.bytes[15]), (3, 0xff));
    assert_eq!((config.cluster.hash_seed, config.log), (7, LogLevel::Debug));
    let log = config.message_log.unwrap();
    assert_eq!((log.errors_only, log.sample_per_mille), (true, 250));
    assert_eq!(log.file, std::path::Path::new("/var/log/a \"b\".json"));
}

#[test]
fn policies_and_backend_ports_by_their_other_names() {
    let other = |from: &str, to: &str| good(&SMALLEST.replace(from, to));
    let rendezvous = other("[[pool]]", "[[pool]]\nhash = \"rendezvous\"");
    assert_eq!(rendezvous.pools[0].policy, Policy::CALL_ID_HASH);
    let turn = other("[[pool]]", "[[pool]]\npolicy = \"round-robin\"");
    assert_eq!(turn.pools[0].policy, Policy::RoundRobin);
    let ports = good(&format!("backend_ports = \"listener\"\n{SMALLEST}"));
    assert_eq!(ports.backend_ports, BackendPorts::Listener);
}

#[test]
fn edges_of_ranges_are_inside() {
    for (key, edges) in [
        ("workers = ", ["1", "32"]),
        ("[limits]\nmax_message = ", ["1024", "65535"]),
        ("[dns]\ntimeout = ", ["\"50ms\"", "\"1m\""]),
        ("[dns]\nttl_min = ", ["\"1s\"", "\"1h\""]),
        ("[dns]\nttl_max = ", ["\"5s\"", "\"1d\""]),
        ("[limits]\npins = ", ["1000", "100_000_000"]),
        ("[limits]\ndialog_idle = ", ["\"32s\"", "\"30d\""]),
        ("[limits]\nregistration_idle = ", ["\"32s\"", "\"30d\""]),
        ("[limits]\nfailover_tries = ", ["1", "4"]),
        ("[limits]\nfailover_after = ", ["\"1s\"", "\"30s\""]),
        ("[limits]\nfailover_kept = ", ["64", "1_000_000"]),
        ("[limits]\nlatency_budget_us = ", ["0", "10_000"]),
        ("[limits]\nreceive_buffer = ", ["\"64KiB\"", "\"512MiB\""]),
        ("[limits]\ndrain_timeout = ", ["\"0s\"", "\"30d\""]),
        ("[limits]\nremove_timeout = ", ["\"0s\"", "\"30d\""]),
        ("[[pool]]\n[pool.health]\ninterval = ", ["\"100ms\"", "\"1d\""]),
        ("[[pool]]\n[pool.health]\ntimeout = ", ["\"50ms\"", "\"1m\""]),
        ("[[pool]]\n[pool.health]\nslow_start = ", ["\"0s\"", "\"1d\""]),
        ("[[pool]]\n[pool.health]\nrise = ", ["1", "1000"]),
        ("[[pool]]\n[pool.health]\njitter = ", ["0.0", "1"]),
        ("[[pool]]\n[pool.health]\ncodes = ", ["[200]", "[699]"]),
        ("[cluster]\nhash_seed = ", ["0", "0x7fff_ffff_ffff_ffff"]),
    ] {
        for edge in edges {
            // A pool of its own would be a second one.
            let pools = if key.starts_with("[[pool]]") { "[[pool]]" } else { "" };
            good(&format!("{key}{edge}\n{}", SMALLEST.replacen(pools, "", 1)));
        }
    }
}

#[test]
fn a_control_socket_is_a_whole_path_that_the_kernel_takes() {
    let file = |path: &str| format!("[admin]\nsocket = \"{path}\"\n{SMALLEST}");
    let longest = format!("/{}", "x".repeat(106));
    for path in ["/a", longest.as_str()] {
        assert_eq!(good(&file(path)).admin_socket.as_deref(), Some(std::path::Path::new(path)));
    }
    let too_long = format!("{longest}x");
    for path in ["", "a.sock", "./a", "/", "/run/", "/a\\nb", too_long.as_str()] {
        let shown = load(&file(path), &Flags::default()).expect_err("it loads").render(false);
        assert!(shown.contains(":2:"), "{path}: {shown}");
    }
    assert_eq!(good(SMALLEST).admin_socket, None);
}

#[test]
fn most_backends_and_listeners_and_one_more() {
    let backends = |count: u32| -> String {
        let address = |i| std::net::Ipv4Addr::from_bits(0x0a00_0000 + i);
        (1..=count).map(|i| format!("[[pool.backend]]\naddress = \"{}\"\n", address(i))).collect()
    };
    let listeners = |count: u32| -> String {
        (1..=count).map(|i| format!("[[listener]]\nbind = \"udp:192.0.2.1:{i}\"\n")).collect()
    };
    let file = |listening, forwarding| {
        format!("{}[[pool]]\n{}", listeners(listening), backends(forwarding))
    };
    let config = good(&file(3_840, 4_096));
    assert_eq!((config.listeners.len(), config.pools[0].backends.len()), (3_840, 4_096));
    let shown = |file: String| load(&file, &Flags::default()).expect_err("it loads").render(false);
    let many = shown(file(1, 4_097));
    assert!(many.starts_with("error: there are 4097 backends\n"), "{many}");
    assert!(many.contains("at most 4096 can be"), "{many}");
    let many = shown(file(3_841, 1));
    assert!(many.starts_with("error: there are 3841 listeners\n"), "{many}");
    assert!(many.contains("at most 3840 can be"), "{many}");
}

#[test]
fn shown_configuration_loads_to_the_same() {
    for file in [SMALLEST, LARGEST] {
        let mut config = good(file);
        let shown = config.to_string();
        // Cluster keys are secrets: they are not shown.
        config.cluster.current = None;
        config.cluster.previous = None;
        assert_eq!(good(&shown), config, "{shown}");
        assert!(!shown.contains("aabbccdd"), "{shown}");
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_no_trouble() {
    let dos = format!("\u{feff}{}", SMALLEST.replace('\n', "\r\n"));
    assert_eq!(good(&dos), good(SMALLEST));
}

#[test]
fn bytes_that_are_not_utf8_are_shown_where_they_stand() {
    let bytes = b"workers = 4\n[log]\nlevel = \"inf\xf6\"\n".to_vec();
    let text = Text { name: "sipring.toml".to_owned(), bytes };
    let report = config::load(Some(&text), &Flags::default()).expect_err("it loads");
    pretty_equal(
        &report.render(false),
        r#"
error: this is not UTF-8
 --> sipring.toml:3:13
  |
3 | level = "inf�"
  |             ^ a byte 0xf6 here
  |
  = help: TOML files are UTF-8: save it in that encoding
"#,
    );
}

#[test]
fn more_than_a_screen_of_problems_is_counted() {
    let keys: String = (0..30).map(|i| format!("k{i} = 1\n")).collect();
    let report = load(&keys, &Flags::default()).expect_err("it loads");
    assert_eq!(report.len(), 30);
    let shown = report.render(false);
    assert_eq!(shown.matches("error: unknown key").count(), 20);
    assert!(shown.ends_with("\nand 10 more like these\n"), "{shown}");
}

#[test]
fn colours_only_where_they_are_asked_for() {
    let report = load("workers = 0\n", &Flags::default()).expect_err("it loads");
    assert!(report.render(true).contains('\u{1b}'));
    assert!(!report.render(false).contains('\u{1b}'));
}

#[test]
fn questionable_configurations_load_with_a_warning() {
    let keyed = "[cluster]\nkey = \"00112233445566778899aabbccddeeff\"\n";
    let none = Flags::default();
    questionable(&format!("{keyed}{SMALLEST}"), &none, "");
    questionable(
        SMALLEST,
        &none,
        r#"
warning: there is no cluster key
--> sipring.toml
 = help: one is drawn at each start: tokens of other nodes and of earlier starts cannot be read, and their dialogs go by hash; set [cluster] key to: openssl rand -hex 16
"#,
    );
    questionable(
        &format!("backend_ports = \"32767-32768\"\n{keyed}{SMALLEST}"),
        &none,
        r#"
warning: backend_ports reaches into the kernel's ephemeral ports
 --> sipring.toml:1:17
  |
1 | backend_ports = "32767-32768"
  |                 ^^^^^^^^^^^^^ 32768 and above by default
  |
  = help: another program may hold one of them when this one starts
"#,
    );
    questionable(&format!("backend_ports = \"32700-32767\"\n{keyed}{SMALLEST}"), &none, "");
    questionable(
        &format!("[admin]\nlisten = \"0.0.0.0\"\n{keyed}{SMALLEST}"),
        &none,
        r#"
warning: the admin address can be reached from other machines
 --> sipring.toml:2:10
  |
2 | listen = "0.0.0.0"
  |          ^^^^^^^^^ it asks nobody for a password
  |
  = help: listen on 127.0.0.1 or [::1], or let a firewall guard it
"#,
    );
    questionable(
        &format!("{keyed}{SMALLEST}state = \"drained\"\n"),
        &none,
        r#"
warning: no backend takes new calls
 --> sipring.toml:6:1
  |
6 | [[pool]]
  | ^^^^^^^^ all are drained, down, or have weight 0
  |
  = help: callers get 480 until one is ready
"#,
    );
}
