//! Which group a new request goes to, and what of it the group's policy goes by.

use crate::world::{
    LISTENER, Outcome, PORT, Request, World, address, backends, response, settings,
};
use sipring::pool::{
    BackendSpec, Domain, GroupIndex, GroupSpec, HashKey, HashTable, Intake, Policy, Pool, Rule,
};
use sipring::proxy::{Answer, Replaced, Verdict};
use std::net::SocketAddr;

const CLIENT: &str = "192.0.2.9:40000";

fn hash(key: HashKey) -> Policy {
    Policy::Hash { key, table: HashTable::Rendezvous }
}

fn world(groups: &[GroupSpec], rules: Vec<Rule>) -> World {
    let mut world = World::with(settings(), backends());
    world.pool = Pool::build_groups(groups, rules, 7).expect("a good pool");
    world
}

/// Many backends under one policy.
fn by(policy: Policy) -> World {
    let spec = |n: u16| BackendSpec {
        name: format!("b{n}"),
        address: address(&format!("10.1.0.{n}:5060")),
        ..backends()[0].clone()
    };
    let mut group = GroupSpec::new("many", policy, (1..=50).map(spec).collect());
    group.hash_header = Some("X-Tenant".to_owned());
    world(&[group], Vec::new())
}

/// `b1` is the group of all, `b2` and `b3` that of what the rule wants.
fn with_rule(rule: Rule) -> World {
    let mut second = backends();
    let first = second.drain(..1).collect();
    let groups = [("first", first), ("second", second)];
    let groups = groups.map(|(name, specs)| GroupSpec::new(name, Policy::CALL_ID_HASH, specs));
    world(&groups, vec![Rule { group: GroupIndex(1), ..rule }])
}

fn is_second(to: SocketAddr) -> bool {
    to != address("10.1.0.1:5060")
}

fn send(world: &mut World, request: &Request<'_>) -> Outcome {
    world.push(CLIENT, LISTENER, request.to_string())
}

/// Where a request with a Call-ID of its own goes.
fn to(world: &mut World, number: u32, request: Request<'_>) -> SocketAddr {
    let call_id = format!("call-{number}");
    send(world, &Request { call_id: &call_id, ..request }).forwarded_to()
}

#[test]
fn each_condition_of_a_rule_sends_what_it_wants_to_its_group_and_nothing_else() {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let domain = |name: &str| vec![Domain::Exactly(name.to_owned())];
    let base = Request::default;
    let cases: Vec<(Rule, Request<'_>, Request<'_>)> = vec![
        (
            Rule { methods: texts(&["REGISTER"]), ..Rule::default() },
            Request { method: "REGISTER", ..base() },
            base(),
        ),
        (
            Rule { uri_domains: domain("b.example"), ..Rule::default() },
            Request { uri: "sip:bob@B.example:5070;x", ..base() },
            base(),
        ),
        (
            Rule { uri_user_prefixes: texts(&["+49"]), ..Rule::default() },
            Request { uri: "sip:+4930:secret@example.com", ..base() },
            Request { uri: "sip:+39@example.com", ..base() },
        ),
        (
            Rule { uri_user_prefixes: texts(&["+49"]), ..Rule::default() },
            Request { uri: "tel:+4930", ..base() },
            Request { uri: "tel:+39", ..base() },
        ),
        (
            Rule { to_domains: domain("b.example"), ..Rule::default() },
            Request { uri: "sip:bob@b.example", ..base() },
            base(),
        ),
        (
            Rule { sources: vec!["192.0.2.9/32".parse().unwrap()], ..Rule::default() },
            base(),
            Request { via: "from elsewhere", ..base() },
        ),
    ];
    for (rule, wanted, other) in cases {
        let mut world = with_rule(rule.clone());
        assert!(is_second(to(&mut world, 1, wanted)), "{rule:?}");
        if other.via == "from elsewhere" {
            let sent =
                world.push("192.0.2.8:1", LISTENER, Request { call_id: "2", ..base() }.to_string());
            assert!(!is_second(sent.forwarded_to()), "{rule:?}");
        } else {
            assert!(!is_second(to(&mut world, 2, other)), "{rule:?}");
        }
    }
}

#[test]
fn rules_name_listeners_and_header_fields() {
    let mut world = with_rule(Rule { listeners: vec![4], ..Rule::default() });
    assert!(!is_second(to(&mut world, 1, Request::default())));
    world.configure(|settings| settings.sockets[usize::from(LISTENER.0)].listener = Some(4));
    assert!(is_second(to(&mut world, 2, Request::default())));

    let wanted = sipring::pool::HeaderRule { name: "Subject".into(), value: Some("sales".into()) };
    let mut world = with_rule(Rule { headers: vec![wanted], ..Rule::default() });
    for (number, (extra, second)) in
        [("s: sales\r\n", true), ("Subject: other\r\n", false), ("", false)].into_iter().enumerate()
    {
        let request = Request { extra, ..Request::default() };
        assert_eq!(is_second(to(&mut world, number as u32, request)), second, "{extra:?}");
    }
}

#[test]
fn what_has_no_memory_goes_by_the_hash_of_the_same_group() {
    let rule = || Rule { methods: vec!["INVITE".into(), "BYE".into()], ..Rule::default() };
    // In a dialog from before a restart.
    let mut world = with_rule(rule());
    for number in 0..20 {
        let invite = to(&mut world, number, Request::default());
        world.restart();
        let bye = Request { method: "BYE", to_tag: "bob", ..Request::default() };
        assert_eq!(to(&mut world, number, bye), invite, "a BYE without token or pin");
    }
    // Beyond a full pin table.
    let mut settings = settings();
    settings.pins_max = 0;
    let mut world = with_rule(rule());
    world.proxy = sipring::proxy::Proxy::new(std::sync::Arc::new(settings), [1, 2, 3, 4]);
    assert!((0..20).all(|number| is_second(to(&mut world, number, Request::default()))));
    // A dialog that is to be replaced, and of which nobody knows.
    let mut world = with_rule(rule());
    let extra = "Replaces: other@host;to-tag=a;from-tag=b\r\n";
    let text = Request { extra, ..Request::default() }.to_string();
    let sent = world.push_replaced(CLIENT, LISTENER, text, Replaced::Answered(None));
    assert!(is_second(sent.forwarded_to()));
}

#[test]
fn a_spiral_stays_in_its_group() {
    let mut world = with_rule(Rule { methods: vec!["INVITE".into()], ..Rule::default() });
    let sent = send(&mut world, &Request::default());
    let top = "Via: SIP/2.0/UDP 10.1.0.2;branch=z9hG4bKproxy\r\nVia: ";
    let back = sent.text().replacen("Via: ", top, 1).replace("bob@example.com", "bob@10.0.0.1");
    let second = world.push(&sent.forwarded_to().to_string(), LISTENER, &back);
    assert!(is_second(second.forwarded_to()) && second.forwarded_to() != sent.forwarded_to());
    let top = top.replace("proxy", "proxy2");
    let back = second.text().replacen("Via: ", &top, 1);
    let third = world.push(&second.forwarded_to().to_string(), LISTENER, back);
    assert!(matches!(third.verdict, Verdict::Reply { answer: Answer::Loop, .. }), "nobody is left");
}

#[test]
fn a_retry_stays_in_its_group() {
    let mut world = with_rule(Rule { methods: vec!["INVITE".into()], ..Rule::default() });
    let sent = send(&mut world, &Request::default());
    let refuse = |world: &mut World, got: &Outcome| {
        let text = response(&got.text(), "503 Service Unavailable", "bob", "");
        world.push(&got.forwarded_to().to_string(), PORT, text)
    };
    refuse(&mut world, &sent);
    let retried = world.poll().remove(0);
    assert!(is_second(retried.forwarded_to()) && retried.forwarded_to() != sent.forwarded_to());
    // Both of the group have failed: the third backend is of another.
    let upstream = refuse(&mut world, &retried);
    assert!(upstream.text().starts_with("SIP/2.0 500 "), "{}", upstream.text());
}

/// `a` and `b` of two groups are one server; the second group has another one behind it.
fn with_a_shared_address() -> World {
    let spec = |name: &str, n: u16| BackendSpec {
        name: name.to_owned(),
        address: address(&format!("10.1.0.{n}:5060")),
        ..backends()[0].clone()
    };
    let backup = Intake { backup: true, ..Intake::default() };
    let groups = [
        ("first", vec![spec("a", 1)]),
        ("second", vec![spec("b", 1), BackendSpec { intake: backup, ..spec("c", 2) }]),
    ];
    let groups = groups.map(|(name, specs)| GroupSpec::new(name, Policy::CALL_ID_HASH, specs));
    let rule = Rule { methods: vec!["INVITE".into()], group: GroupIndex(1), ..Rule::default() };
    world(&groups, vec![rule])
}

#[test]
fn an_error_of_an_address_is_one_of_every_group_that_has_it() {
    let mut world = with_a_shared_address();
    let sent = send(&mut world, &Request::default());
    world.proxy.unreachable(&world.pool, sent.forwarded_to());
    assert_eq!(world.poll().remove(0).forwarded_to(), address("10.1.0.2:5060"));
}

#[test]
fn a_dialog_stays_in_its_group_though_another_has_the_address_that_it_names() {
    let mut world = with_a_shared_address();
    let sent = send(&mut world, &Request::default());
    let ok = response(&sent.text(), "200 OK", "bob", "");
    world.push(&sent.forwarded_to().to_string(), PORT, ok);
    let again = Request { uri: "sip:bob@10.1.0.1", to_tag: "bob", cseq: 2, ..Request::default() };
    assert_eq!(send(&mut world, &again).forwarded_to(), sent.forwarded_to());
    let [a, b] = [0, 1].map(|place| world.pool.backends()[place].id);
    assert_eq!([a, b].map(|id| world.proxy.dialogs_on(id)), [0, 1]);
}

#[test]
fn a_retry_keeps_to_the_caps() {
    let mut backends = backends();
    let full = Intake { calls_max: Some(0), ..Intake::default() };
    for backend in &mut backends[1..] {
        backend.intake = full;
    }
    let mut world = World::with(settings(), backends);
    let sent = send(&mut world, &Request::default());
    assert!(!is_second(sent.forwarded_to()));
    let text = response(&sent.text(), "503 Service Unavailable", "bob", "");
    let upstream = world.push(&sent.forwarded_to().to_string(), PORT, text);
    assert!(upstream.text().starts_with("SIP/2.0 500 "), "those that are left are full");
}

#[test]
fn a_user_is_called_where_it_is_registered() {
    let mut world = by(hash(HashKey::Aor));
    let mut used = std::collections::HashSet::new();
    for number in 0..100 {
        let aor = format!("sip:user{number}@site.example");
        let register = Request { method: "REGISTER", uri: &aor, ..Request::default() };
        let registered = to(&mut world, number, register);
        used.insert(registered);
        for (at, uri) in [
            format!("sip:user{number}@10.0.0.1:5060;transport=udp"),
            format!("sips:%75ser{number}@site.example"),
            format!("sip:user{number}:password@other.example"),
        ]
        .iter()
        .enumerate()
        {
            let called = to(
                &mut world,
                1000 + 10 * number + at as u32,
                Request { uri, ..Request::default() },
            );
            assert_eq!(called, registered, "{uri}");
        }
    }
    assert!(used.len() > 25, "100 users over 50 backends: {}", used.len());
}

#[test]
fn without_a_user_the_next_best_tells_requests_apart() {
    let mut world = by(hash(HashKey::Aor));
    let number = to(&mut world, 1, Request { uri: "sip:+4930@a.example", ..Request::default() });
    assert_eq!(to(&mut world, 2, Request { uri: "tel:+4930", ..Request::default() }), number);
    // No user in the Request-URI: that of To.
    let text = |call_id| {
        let request = Request { uri: "sip:a.example", call_id, ..Request::default() }.to_string();
        request.replace("To: <sip:a.example>", "To: <sip:+4930@b.example>")
    };
    assert_eq!(world.push(CLIENT, LISTENER, text("3")).forwarded_to(), number);
    // In neither of the two: the Call-ID.
    let to: std::collections::HashSet<_> = (10..60)
        .map(|n| to(&mut world, n, Request { uri: "sip:a.example", ..Request::default() }))
        .collect();
    assert!(to.len() > 20, "{}", to.len());
}

#[test]
fn a_source_keeps_its_backend_whatever_its_port() {
    let mut world = by(hash(HashKey::Source));
    let mut of = |source: &str, call_id: &str| {
        let text = Request { call_id, ..Request::default() }.to_string();
        world.push(source, LISTENER, text).forwarded_to()
    };
    let first = of("192.0.2.9:40000", "a");
    assert_eq!(of("192.0.2.9:5060", "b"), first);
    let others: std::collections::HashSet<_> =
        (0..50).map(|n| of(&format!("192.0.3.{n}:5060"), &format!("c{n}"))).collect();
    assert!(others.len() > 20, "{}", others.len());
}

#[test]
fn a_header_field_keeps_its_backend_and_the_call_id_stands_in_for_it() {
    let mut world = by(hash(HashKey::Header));
    let mut of = |number, extra| to(&mut world, number, Request { extra, ..Request::default() });
    let first = of(1, "X-Tenant: blue\r\n");
    assert_eq!(of(2, "x-tenant:  blue \r\nX-Tenant: red\r\n"), first);
    assert_eq!(of(3, "X-Tenant:\r\n blue\r\n"), first);
    let without: std::collections::HashSet<_> = (10..60).map(|number| of(number, "")).collect();
    assert!(without.len() > 20, "{}", without.len());
}

#[test]
fn a_call_that_all_backends_are_too_full_for_gets_503_and_may_come_again_at_once() {
    let full = Intake { calls_max: Some(0), ..Intake::default() };
    let specs = backends().into_iter().map(|spec| BackendSpec { intake: full, ..spec });
    let mut world = World::with(settings(), specs.collect());
    let refused = send(&mut world, &Request::default());
    assert!(matches!(refused.verdict, Verdict::Reply { answer: Answer::Overloaded, .. }));
    assert_eq!(refused.answer(), "SIP/2.0 503 Service Unavailable");
    // RFC 3261 21.5.4: with Retry-After the caller would keep back its BYEs, too.
    assert!(refused.rows("Retry-After").is_empty());
    let bye = Request { method: "BYE", to_tag: "bob", ..Request::default() };
    assert!(matches!(send(&mut world, &bye).verdict, Verdict::Forward { .. }));
}
