//! Several pools and the rules between them: what loads, what is said of it, and what is not right.

use super::{good, load, pretty_equal, wrong};
use sipring::config::{Config, Flags};
use sipring::pool::{Domain, GroupIndex, HashKey, HashTable, HeaderRule, Intake, Policy};
use sipring::proxy::Method;

const POOLS: &str = r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[listener]]
bind = "udp:192.0.2.2:5060"
force_rport = true

[[pool]]
name = "calls"
policy = "aor-hash"
bound = 1.25
source_header = "X-Real-Source"
[[pool.backend]]
name = "a"
address = "10.0.0.11"
priority = 10
dialogs_max = 2000
calls_per_second_max = 50
[[pool.backend]]
name = "b"
address = "10.0.0.12"
[[pool.backend]]
name = "c"
address = "10.0.0.13"
backup = true

[[pool]]
name = "tenants"
policy = "header-hash"
hash = "maglev"
header = "X-Tenant"
[pool.health]
rise = 7
[[pool.backend]]
name = "a-again"
address = "10.0.0.11"

[[route]]
name = "blue"
pool = "tenants"
header = ["X-Tenant: blue", "X-Debug"]
[[route]]
pool = "tenants"
method = ["REGISTER", "SUBSCRIBE"]
uri_domain = ["Example.com", "*.example.com"]
uri_user = ["+49"]
from_domain = ["10.0.0.1"]
to_domain = ["a.example"]
source = ["10.0.0.0/8", "2001:db8::1"]
listener = ["udp:192.0.2.2"]

[work]
INVITE = 2.5
other = 0.01
"#;

#[test]
fn pools_and_rules_are_read_whole() {
    let config = good(POOLS);
    let [calls, tenants] = &config.pools[..] else { panic!("two pools") };
    let policy = |key, table| Policy::Hash { key, table };
    assert_eq!(calls.policy, policy(HashKey::Aor, HashTable::Rendezvous));
    assert_eq!((calls.bound_percent, calls.health.rules.rise), (Some(125), 2));
    assert_eq!(calls.source_header.as_deref(), Some("X-Real-Source"));
    assert_eq!(tenants.policy, policy(HashKey::Header, HashTable::Maglev));
    assert_eq!(tenants.hash_header.as_deref(), Some("X-Tenant"));
    assert_eq!(tenants.health.rules.rise, 7);
    let capped = Intake {
        priority: 10,
        backup: false,
        calls_max: Some(2000),
        calls_per_second_max: Some(50),
    };
    assert_eq!(calls.backends[0].intake, capped);
    assert_eq!(calls.backends[1].intake, Intake::default());
    assert!(calls.backends[2].intake.backup);
    assert_eq!(config.listeners.iter().map(|l| l.force_rport).collect::<Vec<_>>(), [false, true]);
    let weighs = |method: Method| config.work[method as usize];
    assert_eq!([Method::Invite, Method::Bye, Method::Other].map(weighs), [250, 100, 1]);

    let [blue, rest] = &config.rules(&config.binds())[..] else { panic!("two rules") };
    assert_eq!((blue.name.as_str(), blue.group), ("blue", GroupIndex(1)));
    let header = |name: &str, value: Option<&str>| HeaderRule {
        name: name.into(),
        value: value.map(Into::into),
    };
    assert_eq!(blue.headers, [header("X-Tenant", Some("blue")), header("X-Debug", None)]);
    assert_eq!(rest.methods, ["REGISTER", "SUBSCRIBE"]);
    let (exactly, below) =
        (Domain::Exactly("example.com".into()), Domain::Below("example.com".into()));
    assert_eq!(rest.uri_domains, [exactly, below]);
    assert_eq!((&rest.uri_user_prefixes[..], &rest.listeners[..]), (&["+49".into()][..], &[1][..]));
    assert_eq!(
        rest.sources.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.0/8", "2001:db8::1/128"]
    );
}

#[test]
fn shown_they_load_to_the_same_and_are_said_in_words() {
    let config = good(POOLS);
    let shown = config.to_string();
    assert_eq!(good(&shown), config);
    for line in [
        "# tier 1 (priority 0): b",
        "# tier 2 (priority 10): a",
        "# tier 3 (backup): c",
        "# rule 1: with header X-Tenant: blue and X-Debug -> pool tenants",
        "# rule 2: REGISTER or SUBSCRIBE, Request-URI at example.com or *.example.com, Request-URI \
         user begins with +49, From at 10.0.0.1, To at a.example, from 10.0.0.0/8 or \
         2001:db8::1/128, in on udp:192.0.2.2:5060 -> pool tenants",
        "# everything else -> pool calls",
        "bound = 1.25",
        "INVITE = 2.5",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "no {line:?} in:\n{shown}");
    }
}

fn diff(change: impl FnOnce(&mut Config)) -> Vec<String> {
    let old = good(POOLS);
    let mut new = old.clone();
    change(&mut new);
    let diff = old.diff(&new);
    assert!(old.diff(&old).is_empty());
    assert_eq!(diff.restart, [""; 0]);
    diff.live
}

#[test]
fn every_change_of_pools_policies_and_caps_is_named() {
    assert_eq!(
        diff(|config| config.pools[0].policy = Policy::Random),
        ["pool \"calls\": policy aor-hash (rendezvous) -> random"]
    );
    let header = diff(|config| config.pools[1].hash_header = Some("X-Other".into()));
    assert_eq!(
        header,
        [
            "pool \"tenants\": policy header-hash of X-Tenant (maglev) -> header-hash of X-Other (maglev)"
        ]
    );
    assert_eq!(
        diff(|config| config.listeners[1].force_rport = false),
        ["listener udp:192.0.2.2:5060 force_rport true -> false"]
    );
    let lines = diff(|config| {
        let pool = &mut config.pools[0];
        (pool.bound_percent, pool.source_header) = (None, None);
        pool.health.rules.rise = 3;
        let intake = &mut pool.backends[0].intake;
        (intake.priority, intake.backup) = (11, true);
        (intake.calls_max, intake.calls_per_second_max) = (None, Some(51));
        config.work[Method::Invite as usize] = 175;
    });
    assert_eq!(
        lines,
        [
            "pool \"calls\": bound 1.25 -> none",
            "pool \"calls\": source_header X-Real-Source -> none",
            "pool \"calls\": health rise 2 -> 3",
            "backend \"a\": priority 10 -> 11",
            "backend \"a\": backup false -> true",
            "backend \"a\": dialogs_max 2000 -> none",
            "backend \"a\": calls_per_second_max 50 -> 51",
            "work INVITE 2.5 -> 1.75",
        ]
    );
}

#[test]
fn pools_come_go_change_places_and_give_backends_to_each_other() {
    let lines = diff(|config| {
        let mut more = config.pools[1].clone();
        more.name = "more".into();
        more.backends[0].name = "new".into();
        config.pools.insert(0, more);
    });
    assert_eq!(lines, ["pool \"more\" added", "backend \"new\" added (10.0.0.11:5060)"]);
    let lines = diff(|config| {
        config.pools.truncate(1);
        config.routes.clear();
    });
    assert_eq!(lines[0], "pool \"tenants\" removed");
    assert_eq!(lines[1], "backend \"a-again\" removed (10.0.0.11:5060)");
    let lines = diff(|config| config.pools.reverse());
    assert_eq!(lines, ["order of the pools: the first takes what no rule gives to another"]);
    let lines = diff(|config| {
        let moved = config.pools[0].backends.remove(1);
        config.pools[1].backends.push(moved);
    });
    assert_eq!(lines, ["backend \"b\": pool calls -> tenants"]);
}

#[test]
fn every_change_of_the_rules_is_named() {
    let blue = "with header X-Tenant: blue and X-Debug -> pool tenants";
    assert_eq!(
        diff(|config| drop(config.routes.remove(0))),
        [format!("route \"blue\" removed: {blue}")]
    );
    let lines = diff(|config| config.routes[0].pool = "calls".into());
    assert_eq!(
        lines,
        [format!("route \"blue\": {blue} => with header X-Tenant: blue and X-Debug -> pool calls")]
    );
    let lines = diff(|config| config.routes[1].methods.clear());
    assert!(lines.len() == 1 && lines[0].starts_with("route 2: REGISTER or "), "{lines:?}");
    let lines = diff(|config| {
        let mut first = config.routes[0].clone();
        (first.name, first.headers) = (None, vec![]);
        config.routes.insert(0, first);
    });
    assert_eq!(
        lines,
        ["route 1 added: everything -> pool tenants"],
        "those behind have only moved"
    );
    assert_eq!(diff(|config| config.routes.reverse()), ["order of the routes"]);
    assert_eq!(diff(|config| config.routes[0].name = None), ["other settings"]);
}

const HEAD: &str = r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
"#;

/// What is said of a good file.
fn warnings(tail: &str) -> String {
    let file = format!("{HEAD}{tail}[cluster]\nkey = \"00112233445566778899aabbccddeeff\"\n");
    load(&file, &Flags::default()).expect("it loads").warnings.render(false)
}

#[test]
fn a_rule_that_never_matches_and_a_pool_without_rules_are_worth_a_warning() {
    let text = warnings(
        r#"[[pool]]
[[pool.backend]]
address = "10.0.0.11"
[[pool]]
name = "other"
[[pool.backend]]
address = "10.0.0.12"
[[route]]
pool = "default"
method = ["INVITE", "REGISTER"]
[[route]]
name = "late"
pool = "default"
method = ["REGISTER"]
source = ["10.0.0.0/8"]
"#,
    );
    pretty_equal(
        &text,
        r#"
warning: route "late" never matches
  --> sipring.toml:14:1
   |
11 | [[route]]
   | --------- this rule takes all of that before
...
14 | [[route]]
   | ^^^^^^^^^ what it wants
   |
   = help: the first rule that matches wins: put the narrower one first

warning: no rule leads to the pool `other`
--> sipring.toml
 = help: add a [[route]] with pool = "other" and what is for it
"#,
    );
}

fn in_pool(keys: &str) -> String {
    format!("{HEAD}[[pool]]\n{keys}\n[[pool.backend]]\naddress = \"10.0.0.11\"\n")
}

fn first_line(file: &str) -> String {
    let report = load(file, &Flags::default()).expect_err("it loads").render(false);
    report.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn policies_that_want_or_do_not_want_a_key() {
    for (keys, expected) in [
        (
            "policy = \"header-hash\"",
            "error: header-hash goes by a header field, and none is named",
        ),
        ("header = \"X-Tenant\"", "error: `header` goes with header-hash only"),
        ("policy = \"random\"\nbound = 1.5", "error: `bound` goes with the policies by hash only"),
        (
            "policy = \"latency\"\nhash = \"maglev\"",
            "error: `hash` goes with the policies by hash only",
        ),
        ("bound = 1.0", "error: `bound` is out of range: `1.0`"),
        ("bound = 10.01", "error: `bound` is out of range: `10.01`"),
        ("bound = \"1.5\"", "error: `bound` is a string"),
        ("source_header = \"Via\"", "error: `Via` has a meaning of its own"),
        ("source_header = \"f\"", "error: `f` has a meaning of its own"),
        ("source_header = \"X Y\"", "error: `X Y` is not the name of a header field"),
    ] {
        assert_eq!(first_line(&in_pool(keys)), expected, "{keys}");
    }
    for ours in [
        "Via",
        "Route",
        "Record-Route",
        "Path",
        "Max-Forwards",
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "Contact",
        "Content-Length",
        "Replaces",
        "Join",
        "Target-Dialog",
        "v",
        "m",
        "l",
        "content-LENGTH",
    ] {
        let expected = format!("error: `{ours}` has a meaning of its own");
        assert_eq!(first_line(&in_pool(&format!("source_header = \"{ours}\""))), expected);
    }
    for edge in ["bound = 1.01", "bound = 10", "source_header = \"X-Real-Source\""] {
        good(&in_pool(edge));
    }
}

#[test]
fn caps_and_tiers_at_their_edges() {
    for (keys, good_one) in [
        ("dialogs_max = 0", false),
        ("dialogs_max = 1", true),
        ("dialogs_max = 4294967295", true),
        ("dialogs_max = 4294967296", false),
        ("calls_per_second_max = 0", false),
        ("calls_per_second_max = 1", true),
        ("priority = 65535", true),
        ("priority = 65536", false),
        ("backup = 1", false),
    ] {
        let file = format!("{}{keys}\n", in_pool(""));
        assert_eq!(load(&file, &Flags::default()).is_ok(), good_one, "{keys}");
    }
}

#[test]
fn rules_that_name_what_is_not_there() {
    let with = |route: &str| format!("{}[[route]]\n{route}", in_pool(""));
    wrong(
        &with("pool = \"defualt\"\nlistener = [\"udp:192.0.2.1:5061\"]\n"),
        r#"
error: there is no pool `defualt`
 --> sipring.toml:8:8
  |
8 | pool = "defualt"
  |        ^^^^^^^^^ no [[pool]] has this name
  |
  = help: did you mean "default"?
  = help: pools here: default

error: there is no listener `udp:192.0.2.1:5061`
 --> sipring.toml:9:13
  |
9 | listener = ["udp:192.0.2.1:5061"]
  |             ^^^^^^^^^^^^^^^^^^^^ no [[listener]] has this bind
  |
  = help: did you mean "udp:192.0.2.1:5060"?
  = help: listeners here: udp:192.0.2.1:5060
"#,
    );
    for (route, expected) in [
        ("method = [\"REGISTER\"]", "error: `pool` is missing"),
        ("pool = \"default\"\nmethod = []", "error: `method` lists nothing"),
        ("pool = \"default\"\nmethod = [\"REGISTR\"]", "error: unknown method `REGISTR`"),
        ("pool = \"default\"\nuri_domain = [\"*\"]", "error: `*` is not a domain"),
        ("pool = \"default\"\nheader = [\"X:\"]", "error: the header field `X:` has no value"),
        ("pool = \"default\"\nmethods = [\"INVITE\"]", "error: unknown key `methods`"),
    ] {
        assert_eq!(first_line(&with(route)), expected, "{route}");
    }
    let twice = "[[route]]\nname = \"x\"\npool = \"default\"\nuri_user = [\"1\"]\n";
    let twice = format!("{}{twice}{}", in_pool(""), twice.replace("\"1\"", "\"2\""));
    assert_eq!(first_line(&twice), "error: two rules have the name `x`");
    good(&with("pool = \"default\"\nsource = [\"0.0.0.0/0\"]\n"));
}

#[test]
fn weights_of_methods_at_their_edges() {
    let with = |work: &str| format!("{}[work]\n{work}\n", in_pool(""));
    for (work, good_one) in
        [("BYE = 0.01", true), ("BYE = 0.009", false), ("BYE = 100", true), ("BYE = 100.1", false)]
    {
        assert_eq!(load(&with(work), &Flags::default()).is_ok(), good_one, "{work}");
    }
    assert_eq!(first_line(&with("ACK = 1")), "error: unknown key `ACK`");
    let report = load(&with("invite = 2"), &Flags::default()).expect_err("it loads").render(false);
    assert!(report.contains("did you mean `INVITE`?"), "{report}");
}

#[test]
fn a_backend_flag_has_a_tier_and_goes_to_the_first_pool() {
    let flags = Flags {
        backend: vec!["10.0.0.99,priority=65535,backup,weight=3".to_owned()],
        ..Flags::default()
    };
    let config = load(POOLS, &flags).expect("it loads").config;
    let added = config.pools[0].backends.last().expect("a backend");
    assert_eq!((added.intake.priority, added.intake.backup, added.weight), (65_535, true, 3));
    assert_eq!(config.pools[1].backends.len(), 1);
}
