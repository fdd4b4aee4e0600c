//! Flags alone, flags and a file, and flags that are wrong.

use super::{LARGEST, SMALLEST, load, pretty_equal, questionable};
use sipring::config::{self, BackendPorts, Flags};
use sipring::pool::Policy;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Flags that are enough by themselves.
fn enough() -> Flags {
    Flags {
        listen: words(&["udp:127.0.0.1:5060"]),
        backend: words(&["10.0.0.11", "10.0.0.12:5070,weight=3,name=b,priority=0"]),
        ..Flags::default()
    }
}

#[test]
fn no_health_switches_it_off_and_nothing_switches_it_on() {
    let on = Flags { no_health: false, ..enough() };
    assert!(config::load(None, &on).unwrap().config.pools[0].health.enabled);
    let off = Flags { no_health: true, ..enough() };
    assert!(!config::load(None, &off).unwrap().config.pools[0].health.enabled);
    let file = SMALLEST.replace("[[pool]]", "[[pool]]\n[pool.health]\nenabled = false");
    assert!(!load(&file, &Flags::default()).unwrap().config.pools[0].health.enabled);
}

#[track_caller]
fn wrong(flags: &Flags, expected: &str) {
    let report = config::load(None, flags).expect_err("it loads");
    assert!(!report.blames_file());
    pretty_equal(&report.render(false), expected);
}

#[test]
fn flags_alone_are_enough() {
    let config = config::load(None, &enough()).unwrap().config;
    assert_eq!(config.listeners[0].bind, "127.0.0.1:5060".parse().unwrap());
    assert_eq!(config.pools[0].name, "default");
    let [first, second] = &config.pools[0].backends[..] else { panic!("two backends") };
    assert_eq!((first.name.as_str(), first.weight), ("10.0.0.11:5060", 1));
    assert_eq!((second.name.as_str(), second.weight), ("b", 3));
    assert_eq!(second.address, "10.0.0.12:5070".parse().unwrap());
}

#[test]
fn flags_with_one_value_replace_that_of_the_file() {
    let flags = Flags {
        policy: Some("call-id-hash".to_owned()),
        workers: Some("2".to_owned()),
        admin: Some("127.0.0.1:1".to_owned()),
        backend_ports: Some("17000-17001".to_owned()),
        no_record_route: true,
        ..Flags::default()
    };
    for file in [SMALLEST, LARGEST] {
        let config = load(file, &flags).unwrap().config;
        assert_eq!(config.workers, Some(2));
        assert_eq!(config.admin, "127.0.0.1:1".parse().unwrap());
        assert_eq!(config.backend_ports, BackendPorts::Range(17_000, 17_001));
        assert!(!config.record_route);
    }
    // The flag names the policy, the file its hash.
    assert_eq!(load(LARGEST, &flags).unwrap().config.pools[0].policy, Policy::CALL_ID_HASH_MAGLEV);
}

#[test]
fn listeners_and_backends_add_to_those_of_the_file() {
    let flags = Flags {
        listen: words(&["udp:[::1]:5060"]),
        backend: words(&["10.0.0.99"]),
        ..Flags::default()
    };
    let config = load(LARGEST, &flags).unwrap().config;
    assert_eq!((config.listeners.len(), config.pools[0].backends.len()), (3, 4));
    assert_eq!(config.pools[0].name, "proxies");
}

#[test]
fn policy_flag_leaves_the_files_hash_without_effect() {
    let flags = Flags { policy: Some("round-robin".to_owned()), ..Flags::default() };
    assert_eq!(load(LARGEST, &flags).unwrap().config.pools[0].policy, Policy::RoundRobin);
    questionable(
        LARGEST,
        &flags,
        r#"
warning: `hash` goes with the policies by hash only
  --> sipring.toml:22:8
   |
22 | hash = "maglev"
   |        ^^^^^^^^ without effect
   |
  ::: --policy:1:1
   |
   | round-robin
   | ----------- the policy is round-robin
"#,
    );
}

#[test]
fn nothing_at_all_is_told_what_is_needed() {
    wrong(
        &Flags::default(),
        r#"
error: there is no listener
 |
 = help: give --listen udp:0.0.0.0:5060, or a file with [[listener]] bind = "udp:0.0.0.0:5060"

error: there is no backend
 |
 = help: give --backend 10.0.0.11:5060, or a file with [[pool.backend]] address = "10.0.0.11:5060"
"#,
    );
}

#[test]
fn every_wrong_flag_is_shown_with_its_value() {
    let flags = Flags {
        listen: words(&["ws:0.0.0.0:80"]),
        backend: words(&["10.0.0.11,weight=x,wieght=2,priority=-1,backup=yes,name", "10.0.0.300"]),
        policy: Some("least-dialog".to_owned()),
        workers: Some("257".to_owned()),
        admin: Some("[::1".to_owned()),
        backend_ports: Some("9-8".to_owned()),
        no_record_route: false,
        no_health: false,
    };
    wrong(
        &flags,
        r#"
error: --workers `257` is out of range
--> --workers:1:1
 |
 | 257
 | ^^^ expected 1 to 256

error: `[::1` has an open bracket
--> --admin:1:1
 |
 | [::1
 | ^ its `]` is missing

error: the range `9-8` ends before it begins
--> --backend-ports:1:1
 |
 | 9-8
 | ^^^ the first port must not be above the last
 |
 = help: did you mean "8-9"?

error: transport `ws` comes with a later version
--> --listen:1:1
 |
 | ws:0.0.0.0:80
 | ^^ this version forwards udp only
 |
 = help: did you mean "udp:0.0.0.0:80"?

error: unknown policy `least-dialog`
--> --policy:1:1
 |
 | least-dialog
 | ^^^^^^^^^^^^ no policy that there is
 |
 = help: did you mean "least-dialogs"? they are "call-id-hash", "source-hash", "aor-hash", "header-hash", "round-robin", "random", "least-dialogs", "least-transactions", "least-work", "latency"

error: weight `x` is not a number
--> --backend:1:18
 |
 | 10.0.0.11,weight=x,wieght=2,priority=-1,backup=yes,name
 |                  ^ expected 0 to 65535

error: unknown `wieght` in --backend
--> --backend:1:20
 |
 | 10.0.0.11,weight=x,wieght=2,priority=-1,backup=yes,name
 |                    ^^^^^^ expected weight, priority, dialogs_max, calls_per_second_max, name or backup
 |
 = help: did you mean `weight=`?

error: priority `-1` is not a number
--> --backend:1:38
 |
 | 10.0.0.11,weight=x,wieght=2,priority=-1,backup=yes,name
 |                                      ^^ expected 0 to 65535

error: unknown `backup` in --backend
--> --backend:1:41
 |
 | 10.0.0.11,weight=x,wieght=2,priority=-1,backup=yes,name
 |                                         ^^^^^^ expected weight, priority, dialogs_max, calls_per_second_max, name or backup
 |
 = help: `backup` has no value

error: the name `` has 0 characters
--> --backend:1:56
 |
 | 10.0.0.11,weight=x,wieght=2,priority=-1,backup=yes,name
 |                                                        ^ expected 1 to 64

error: `10.0.0.300` is not an address
--> --backend:1:1
 |
 | 10.0.0.300
 | ^^^^^^^^^^ expected an IPv4 address, or an IPv6 one in brackets
"#,
    );
}

#[test]
fn flag_that_clashes_with_the_file_is_to_blame() {
    let flags = Flags { backend: words(&["10.0.0.11:5060"]), ..Flags::default() };
    let file = SMALLEST.trim_start();
    let report = load(file, &flags).expect_err("it loads");
    assert!(!report.blames_file());
    pretty_equal(
        &report.render(false),
        r#"
error: two backends have the address 10.0.0.11:5060
 --> --backend:1:1
  |
  | 10.0.0.11:5060
  | ^^^^^^^^^^^^^^ again here
  |
 ::: sipring.toml:5:11
  |
5 | address = "10.0.0.11"
  |           ----------- the first one
"#,
    );
}
