//! Which group a new call goes to: the `[[route]]` rules, first that matches.
//!
//! A rule lists what it wants; all that it lists must fit, and of each list one entry is enough. What it
//! looks at comes from [`Facts`], which finds each only when a rule asks for it. The rules are part of
//! the snapshot, so that they never name a group that is not there.

use super::GroupIndex;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// What rules and policies look at in a request.
pub trait Facts {
    /// Its method.
    fn method(&self) -> &[u8];
    /// Host of its Request-URI; empty for a URI without one.
    fn uri_host(&self) -> &[u8];
    /// User of its Request-URI; empty if there is none.
    fn uri_user(&self) -> &[u8];
    /// Host of the URI in From.
    fn host_of_from(&self) -> &[u8];
    /// Host of the URI in To.
    fn host_of_to(&self) -> &[u8];
    /// User of the URI in To; empty if there is none.
    fn user_of_to(&self) -> &[u8];
    /// Its Call-ID.
    fn call_id(&self) -> &[u8];
    /// Where it came from.
    fn source(&self) -> IpAddr;
    /// The number of the listener that it came in on, in the order of the config.
    fn listener(&self) -> Option<u16>;
    /// The first value of a header field; `None` if it is not there.
    fn header(&self, name: &str) -> Option<&[u8]>;

    /// The user that is registered or called; empty if there is none. Its domain has no part in it:
    /// phones register with one name of a site and are called by another.
    fn aor_user(&self) -> &[u8] {
        match self.method() {
            b"REGISTER" => self.user_of_to(),
            _ if self.uri_user().is_empty() => self.user_of_to(),
            _ => self.uri_user(),
        }
    }
}

/// A domain that a rule names: itself, or all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// This one.
    Exactly(String),
    /// Those below it: `*.example.com`.
    Below(String),
}

impl Domain {
    /// Whether a host is it; the case of letters says nothing (RFC 3261 19.1.4).
    pub fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Exactly(name) => host.eq_ignore_ascii_case(name.as_bytes()),
            Self::Below(name) => host
                .len()
                .checked_sub(name.len() + 1)
                .filter(|dot| *dot > 0 && host[*dot] == b'.')
                .is_some_and(|dot| host[dot + 1..].eq_ignore_ascii_case(name.as_bytes())),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

/// A header field that a rule wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    /// Its name; the case of letters says nothing.
    pub name: String,
    /// Its first value; `None`: any.
    pub value: Option<String>,
}

/// One `[[route]]`. An empty list wants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// What it is called in the config; empty: nothing.
    pub name: String,
    /// Where its requests go.
    pub group: GroupIndex,
    /// Methods, as they stand in the request.
    pub methods: Vec<String>,
    /// Domains of the Request-URI.
    pub uri_domains: Vec<Domain>,
    /// What its user begins with.
    pub uri_user_prefixes: Vec<String>,
    /// Domains of From.
    pub from_domains: Vec<Domain>,
    /// Domains of To.
    pub to_domains: Vec<Domain>,
    /// Networks that it comes from.
    pub sources: Vec<IpNet>,
    /// Numbers of listeners, in the order of the config.
    pub listeners: Vec<u16>,
    /// Header fields, all of which must be there.
    pub headers: Vec<HeaderRule>,
}

impl Rule {
    /// Whether a request is one of its.
    pub fn matches(&self, facts: &impl Facts) -> bool {
        any(&self.methods, |method| facts.method() == method.as_bytes())
            && any(&self.listeners, |listener| facts.listener() == Some(*listener))
            && any(&self.sources, |network| network.contains(&facts.source()))
            && any(&self.uri_domains, |domain| domain.matches(facts.uri_host()))
            && any(&self.uri_user_prefixes, |start| facts.uri_user().starts_with(start.as_bytes()))
            && any(&self.from_domains, |domain| domain.matches(facts.host_of_from()))
            && any(&self.to_domains, |domain| domain.matches(facts.host_of_to()))
            && self.headers.iter().all(|wanted| {
                facts.header(&wanted.name).is_some_and(|found| {
                    wanted.value.as_ref().is_none_or(|value| value.as_bytes() == found)
                })
            })
    }
}

fn any<T>(wanted: &[T], fits: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(fits)
}

/// The group of the first rule that matches; the first group where none does.
#[inline]
pub(super) fn group_for(rules: &[Rule], facts: &impl Facts) -> GroupIndex {
    rules.iter().find(|rule| rule.matches(facts)).map_or(GroupIndex(0), |rule| rule.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Call;

    impl Facts for Call {
        fn method(&self) -> &[u8] {
            b"INVITE"
        }
        fn uri_host(&self) -> &[u8] {
            b"EU.Example.com"
        }
        fn uri_user(&self) -> &[u8] {
            b"+4930123"
        }
        fn host_of_from(&self) -> &[u8] {
            b"a.example"
        }
        fn host_of_to(&self) -> &[u8] {
            b"b.example"
        }
        fn user_of_to(&self) -> &[u8] {
            b"bob"
        }
        fn call_id(&self) -> &[u8] {
            b"1"
        }
        fn source(&self) -> IpAddr {
            [192, 0, 2, 77].into()
        }
        fn listener(&self) -> Option<u16> {
            Some(1)
        }
        fn header(&self, name: &str) -> Option<&[u8]> {
            name.eq_ignore_ascii_case("X-Tenant").then_some(b"blue")
        }
    }

    fn domain(name: &str) -> Domain {
        Domain::Exactly(name.to_owned())
    }

    fn fits(change: impl FnOnce(&mut Rule)) -> bool {
        let mut rule = Rule::default();
        change(&mut rule);
        rule.matches(&Call)
    }

    #[test]
    fn each_condition_fits_and_does_not() {
        let words = |word: &str| vec![word.to_owned()];
        assert!(fits(|_| {}), "a rule without conditions fits everything");
        assert!(fits(|rule| rule.methods = words("INVITE")));
        assert!(!fits(|rule| rule.methods = words("invite")), "methods have a case (7.1)");
        assert!(fits(|rule| rule.uri_domains = vec![domain("eu.example.COM")]));
        assert!(!fits(|rule| rule.uri_domains = vec![domain("example.com")]));
        assert!(fits(|rule| rule.uri_user_prefixes = words("+49")));
        assert!(!fits(|rule| rule.uri_user_prefixes = words("49")));
        assert!(fits(|rule| rule.from_domains = vec![domain("x"), domain("a.example")]));
        assert!(!fits(|rule| rule.from_domains = vec![domain("b.example")]));
        assert!(fits(|rule| rule.to_domains = vec![domain("b.example")]));
        assert!(!fits(|rule| rule.to_domains = vec![domain("a.example")]));
        assert!(fits(|rule| rule.listeners = vec![0, 1]));
        assert!(!fits(|rule| rule.listeners = vec![0]));
        let network = |text: &str| vec![text.parse().expect("a network")];
        assert!(fits(|rule| rule.sources = network("192.0.2.0/24")));
        assert!(!fits(|rule| rule.sources = network("192.0.2.0/26")));
        let header = |name: &str, value: Option<&str>| {
            vec![HeaderRule { name: name.into(), value: value.map(Into::into) }]
        };
        assert!(fits(|rule| rule.headers = header("x-tenant", None)));
        assert!(fits(|rule| rule.headers = header("X-Tenant", Some("blue"))));
        assert!(!fits(|rule| rule.headers = header("X-Tenant", Some("red"))));
        assert!(!fits(|rule| rule.headers = header("X-Other", None)));
    }

    #[test]
    fn all_conditions_must_fit() {
        assert!(!fits(|rule| {
            rule.methods = vec!["INVITE".into()];
            rule.listeners = vec![0];
        }));
    }

    #[test]
    fn below_a_domain_is_not_the_domain_and_no_lookalike() {
        let below = Domain::Below("example.com".into());
        assert!(below.matches(b"eu.example.com") && below.matches(b"A.B.EXAMPLE.COM"));
        for host in ["example.com", ".example.com", "badexample.com", "example.com.evil", ""] {
            assert!(!below.matches(host.as_bytes()), "{host}");
        }
        assert_eq!(below.to_string(), "*.example.com");
    }

    #[test]
    fn the_first_rule_that_matches_says_where_and_else_the_first_group() {
        let rule = |group, method: &str| Rule {
            group: GroupIndex(group),
            methods: vec![method.into()],
            ..Rule::default()
        };
        let rules = [rule(3, "REGISTER"), rule(2, "INVITE"), rule(1, "INVITE")];
        assert_eq!(group_for(&rules, &Call), GroupIndex(2));
        assert_eq!(group_for(&rules[..1], &Call), GroupIndex(0));
    }
}
