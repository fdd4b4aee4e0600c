//! From a name to addresses: a zone in a table, and each branch of RFC 3263 with its edges.

use super::*;
use std::collections::HashMap;

/// A zone: every question that is not in it has no records.
#[derive(Default)]
struct Zone {
    records: HashMap<Question, Vec<Record>>,
    failing: Vec<Question>,
}

impl Zone {
    fn naptr(self, order: u16, preference: u16, service: &str, replacement: &str) -> Self {
        let (flags, service) = ("s".to_owned(), service.to_owned());
        let replacement = replacement.to_owned();
        let record = Record::Naptr { order, preference, flags, service, replacement };
        self.with("example.com.", Kind::Naptr, record)
    }

    fn srv(self, name: &str, priority: u16, weight: u16, port: u16, target: &str) -> Self {
        let target = target.to_owned();
        self.with(name, Kind::Srv, Record::Srv { priority, weight, port, target })
    }

    fn at(self, name: &str, ip: &str) -> Self {
        let ip: std::net::IpAddr = ip.parse().expect("an address");
        let kind = if ip.is_ipv4() { Kind::A } else { Kind::Aaaa };
        self.with(name, kind, Record::Address(ip))
    }

    fn with(mut self, name: &str, kind: Kind, record: Record) -> Self {
        self.records.entry(Question::new(name, kind)).or_default().push(record);
        self
    }

    fn failing(mut self, name: &str, kind: Kind) -> Self {
        self.failing.push(Question::new(name, kind));
        self
    }

    /// Walks to the end; the questions in the order in which they were asked, and where it led.
    fn walk(&self, host: &Host) -> (Vec<String>, Outcome) {
        let mut asked: Vec<Question> = Vec::new();
        loop {
            let known = |question: &Question| match asked.contains(question) {
                false => Known::Unknown,
                true if self.failing.contains(question) => Known::Failed("timeout"),
                true => Known::Records(self.records.get(question).map_or(&[], Vec::as_slice)),
            };
            match walk(host, known) {
                Step::Ask(questions) => {
                    assert!(questions.iter().all(|one| !asked.contains(one)), "{questions:?}");
                    asked.extend(questions);
                }
                Step::Done(outcome) => {
                    return (asked.iter().map(ToString::to_string).collect(), outcome);
                }
            }
        }
    }

    fn found(&self, host: &Host) -> Vec<String> {
        let outcome = self.walk(host).1;
        assert_eq!(outcome.trouble, None);
        outcome.targets.iter().map(shown).collect()
    }

    fn trouble(&self, host: &Host) -> String {
        self.walk(host).1.trouble.expect("trouble")
    }
}

fn shown(target: &Target) -> String {
    match target.weight {
        Some(weight) => format!("{} {} {weight}", target.address, target.priority),
        None => target.address.to_string(),
    }
}

fn host(port: Option<u16>, transport: Option<Transport>) -> Host {
    Host { name: "example.com".to_owned(), port, transport }
}

fn bare() -> Host {
    host(None, None)
}

fn udp() -> Host {
    host(None, Some(Transport::Udp))
}

#[test]
fn with_a_port_only_addresses_are_asked_for() {
    let zone = Zone::default()
        .srv("_sip._udp.example.com.", 1, 1, 5090, "elsewhere.")
        .at("example.com.", "10.0.0.2")
        .at("example.com.", "10.0.0.1")
        .at("example.com.", "2001:db8::1");
    for transport in [None, Some(Transport::Udp)] {
        let host = host(Some(5070), transport);
        assert_eq!(zone.found(&host), ["10.0.0.1:5070", "10.0.0.2:5070", "[2001:db8::1]:5070"]);
        assert_eq!(zone.walk(&host).0, ["A example.com", "AAAA example.com"]);
    }
}

#[test]
fn naptr_leads_to_srv_and_srv_to_addresses() {
    let zone = Zone::default()
        .naptr(50, 50, "SIPS+D2T", "_sips._tcp.example.com.")
        .naptr(90, 50, "sip+d2u", "_sip._udp.far.example.com.")
        .srv("_sip._udp.far.example.com.", 10, 60, 5062, "a.example.com.")
        .srv("_sip._udp.far.example.com.", 20, 0, 5063, "b.example.com.")
        .at("a.example.com.", "10.0.0.1")
        .at("b.example.com.", "10.0.0.2")
        .at("b.example.com.", "::ffff:10.0.0.3");
    assert_eq!(
        zone.found(&bare()),
        ["10.0.0.1:5062 10 60", "10.0.0.2:5063 20 0", "10.0.0.3:5063 20 0"]
    );
    let asked = zone.walk(&bare()).0;
    assert_eq!(asked[..2], ["NAPTR example.com", "SRV _sip._udp.far.example.com"]);
    assert_eq!(asked.len(), 6, "{asked:?}");
}

#[test]
fn of_naptr_the_lowest_order_counts_and_in_it_the_preference() {
    let zone = Zone::default()
        .naptr(20, 1, "SIP+D2U", "_sip._udp.late.example.com.")
        .naptr(10, 9, "SIP+D2U", "_sip._udp.second.example.com.")
        .naptr(10, 3, "SIP+D2U", "_sip._udp.first.example.com.");
    let both = |zone: Zone| {
        zone.srv("_sip._udp.second.example.com.", 1, 1, 5060, "b.example.com.")
            .srv("_sip._udp.late.example.com.", 1, 1, 5060, "c.example.com.")
            .at("a.example.com.", "10.0.0.1")
            .at("b.example.com.", "10.0.0.2")
            .at("c.example.com.", "10.0.0.3")
    };
    let zone = both(zone);
    assert_eq!(zone.found(&bare()), ["10.0.0.2:5060 1 1"], "the first has no SRV record");
    let zone = zone.srv("_sip._udp.first.example.com.", 1, 1, 5060, "a.example.com.");
    assert_eq!(zone.found(&bare()), ["10.0.0.1:5060 1 1"]);
}

#[test]
fn a_higher_order_is_not_a_way_out() {
    let zone = Zone::default()
        .naptr(10, 1, "SIP+D2U", "_sip._udp.empty.example.com.")
        .naptr(20, 1, "SIP+D2U", "_sip._udp.example.com.")
        .srv("_sip._udp.example.com.", 1, 1, 5060, "a.example.com.")
        .at("a.example.com.", "10.0.0.1");
    assert!(zone.trouble(&bare()).contains("_sip._udp.empty.example.com"));
}

#[test]
fn a_domain_that_offers_no_udp_is_left_alone_unless_udp_is_asked_for() {
    let zone = Zone::default()
        .naptr(10, 1, "SIP+D2T", "_sip._tcp.example.com.")
        .srv("_sip._udp.example.com.", 1, 1, 5060, "a.example.com.")
        .at("a.example.com.", "10.0.0.1");
    let trouble = zone.trouble(&bare());
    assert_eq!(trouble, "NAPTR offers SIP+D2T, but not SIP over UDP (SIP+D2U)");
    assert_eq!(zone.found(&udp()), ["10.0.0.1:5060 1 1"]);
    assert!(!zone.walk(&udp()).0.iter().any(|asked| asked.starts_with("NAPTR")));
}

#[test]
fn naptr_of_other_services_is_none() {
    let zone = Zone::default()
        .naptr(10, 1, "E2U+sip", "enum.example.com.")
        .srv("_sip._udp.example.com.", 1, 1, 5060, "a.example.com.")
        .at("a.example.com.", "10.0.0.1");
    assert_eq!(zone.found(&bare()), ["10.0.0.1:5060 1 1"]);
}

#[test]
fn without_naptr_srv_is_asked_for_and_without_srv_the_address_with_the_default_port() {
    let zone = Zone::default().at("example.com.", "10.0.0.1");
    assert_eq!(zone.found(&bare()), ["10.0.0.1:5060"]);
    let asked = zone.walk(&bare()).0;
    let srv = "SRV _sip._udp.example.com";
    assert_eq!(asked, ["NAPTR example.com", srv, "A example.com", "AAAA example.com"]);
    assert_eq!(zone.walk(&udp()).0[0], srv);
}

#[test]
fn a_dot_and_port_0_are_no_service() {
    let zone = Zone::default()
        .srv("_sip._udp.example.com.", 0, 0, 0, ".")
        .srv("_sip._udp.example.com.", 0, 0, 0, "a.example.com.")
        .at("a.example.com.", "10.0.0.1")
        .at("example.com.", "10.0.0.9");
    assert_eq!(zone.trouble(&udp()), "SRV says that there is no such service here");
}

#[test]
fn a_failure_ends_the_walk_and_names_its_question() {
    let zone = Zone::default()
        .srv("_sip._udp.example.com.", 1, 1, 5060, "a.example.com.")
        .at("a.example.com.", "10.0.0.1")
        .at("example.com.", "10.0.0.9");
    let zone = zone.failing("example.com.", Kind::Naptr);
    assert_eq!(zone.trouble(&bare()), "NAPTR example.com: timeout");
    let zone = zone.failing("_sip._udp.example.com.", Kind::Srv);
    assert_eq!(zone.trouble(&udp()), "SRV _sip._udp.example.com: timeout", "no address instead");
    assert_eq!(zone.found(&host(Some(5060), None)), ["10.0.0.9:5060"]);
}

#[test]
fn of_several_targets_those_that_are_known_are_used() {
    let zone = Zone::default()
        .srv("_sip._udp.example.com.", 1, 1, 5060, "a.example.com.")
        .srv("_sip._udp.example.com.", 1, 1, 5060, "b.example.com.")
        .srv("_sip._udp.example.com.", 1, 1, 5060, "gone.example.com.")
        .at("a.example.com.", "10.0.0.1")
        .failing("a.example.com.", Kind::Aaaa)
        .failing("b.example.com.", Kind::A)
        .failing("b.example.com.", Kind::Aaaa);
    let outcome = zone.walk(&udp()).1;
    assert_eq!(outcome.targets.iter().map(shown).collect::<Vec<_>>(), ["10.0.0.1:5060 1 1"]);
    assert_eq!(outcome.trouble.as_deref(), Some("AAAA a.example.com: timeout"));
    assert_eq!(zone.failing("a.example.com.", Kind::A).trouble(&udp()), "A a.example.com: timeout");
}

#[test]
fn what_is_kept_is_used_and_named() {
    let kept = [Record::Address("10.0.0.1".parse().expect("an address"))];
    let known = |question: &Question| match question.kind {
        Kind::A => Known::Kept(&kept, "timeout"),
        _ => Known::Records(&[]),
    };
    let Step::Done(outcome) = walk(&host(Some(5060), None), known) else { panic!("it is over") };
    assert_eq!(outcome.targets.len(), 1);
    assert_eq!(outcome.trouble.as_deref(), Some("A example.com: timeout"));
}

#[test]
fn an_address_stands_once_with_the_better_priority_or_the_sum_of_the_weights() {
    let zone = Zone::default()
        .srv("_sip._udp.example.com.", 1, 10, 5060, "a.example.com.")
        .srv("_sip._udp.example.com.", 1, 65_530, 5060, "b.example.com.")
        .srv("_sip._udp.example.com.", 2, 5, 5060, "b.example.com.")
        .srv("_sip._udp.example.com.", 2, 5, 5061, "b.example.com.")
        .at("a.example.com.", "10.0.0.1")
        .at("b.example.com.", "10.0.0.1")
        .at("b.example.com.", "10.0.0.2");
    let expected = [
        "10.0.0.1:5060 1 65535",
        "10.0.0.1:5061 2 5",
        "10.0.0.2:5060 1 65530",
        "10.0.0.2:5061 2 5",
    ];
    assert_eq!(zone.found(&udp()), expected);
}

#[test]
fn a_name_without_a_dot_is_left_to_the_search_list() {
    let short = Host { name: "proxy".to_owned(), port: Some(5060), transport: None };
    let zone = Zone::default().at("proxy", "10.0.0.1");
    assert_eq!(zone.found(&short), ["10.0.0.1:5060"]);
}

#[test]
fn srv_records_at_the_edge() {
    let zone = |count: usize| {
        let add = |zone: Zone, n: usize| {
            let name = format!("h{n}.example.com.");
            let priority = (count - n) as u16;
            zone.srv("_sip._udp.example.com.", priority, 1, 5060, &name)
                .at(&name, &format!("10.0.{}.{}", n / 256, n % 256))
        };
        (0..count).fold(Zone::default(), add).walk(&udp()).1
    };
    let all = zone(SRV_MAX);
    assert_eq!((all.targets.len(), all.trouble), (SRV_MAX, None));
    let most = zone(SRV_MAX + 1);
    assert_eq!(most.targets.len(), SRV_MAX);
    assert!(most.targets.iter().all(|one| usize::from(one.priority) <= SRV_MAX), "the best ones");
    assert_eq!(most.trouble.as_deref(), Some("129 SRV records: 128 are used"));
}

#[test]
fn addresses_at_the_edge() {
    let zone = |count: usize| {
        let add = |zone: Zone, n: usize| {
            zone.at("example.com.", &format!("10.0.{}.{}", n / 256, n % 256))
        };
        (0..count).fold(Zone::default(), add).walk(&host(Some(5060), None)).1
    };
    let all = zone(TARGETS_MAX);
    assert_eq!((all.targets.len(), all.trouble), (TARGETS_MAX, None));
    let most = zone(TARGETS_MAX + 1);
    assert_eq!(most.targets.len(), TARGETS_MAX);
    assert_eq!(most.trouble.as_deref(), Some("513 addresses: 512 are used"));
}
