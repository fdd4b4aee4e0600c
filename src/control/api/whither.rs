//! Where a request would go: route, pool, policy, backend, each with its reason.
//!
//! The request is described by the query, or is a whole one in the body; where it came from and on
//! which listener the query says either way. It is taken to be a new one: tokens in Route and the
//! dialog that a To tag or Replaces names are not looked at.

use super::answers;
use super::query::Query;
use crate::control::Balancer;
use crate::pool::{
    BackendId, BackendSlot, Choice, Facts, Group, GroupIndex, HashKey, Load, Loads, Policy, Pool,
    Turn,
};
use crate::sip::{self, Message, NameAddr, Span, Start, Uri};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Where {
    call_id: String,
    /// Null where nobody can say, or there is nobody.
    backend: Option<String>,
    /// "pin", "policy", "nobody".
    by: &'static str,
    why: String,
    /// Null where a pin decides.
    #[serde(flatten)]
    steps: Option<Steps>,
}

/// How it comes about, but for a pin.
#[derive(Debug, Serialize)]
struct Steps {
    /// The rule that matches, by its name or number; null: none does.
    route: Option<String>,
    /// In words.
    rule: String,
    pool: String,
    policy: String,
    /// Those among whom the policy chooses now, with what they have to do.
    candidates: Vec<Candidate>,
}

#[derive(Debug, Serialize)]
struct Candidate {
    backend: String,
    weight: u16,
    calls: u32,
    transactions: u32,
    work: f64,
    latency_ms: Option<f64>,
    /// It takes no more calls; what is no INVITE it takes all the same.
    full: bool,
}

/// A request as rules and policies look at it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) call_id: String,
    method: String,
    uri_host: String,
    uri_user: String,
    host_of_from: String,
    host_of_to: String,
    user_of_to: String,
    source: Option<IpAddr>,
    listener: Option<u16>,
    headers: Vec<(String, String)>,
}

impl Asked {
    /// As the query describes it, and the body if there is one.
    ///
    /// # Errors
    /// What is missing or cannot be read.
    pub(super) fn read(query: Query<'_>, body: &[u8], balancer: &Balancer) -> Result<Self, String> {
        let mut asked = match body {
            [] => Self { method: "INVITE".to_owned(), ..Self::default() },
            message => Self::of_message(message)?,
        };
        let set = |key: &str, value: &mut String| {
            if let Some(text) = query.text(key) {
                *value = text;
            }
        };
        set("call_id", &mut asked.call_id);
        set("method", &mut asked.method);
        if let Some(uri) = query.text("uri") {
            (asked.uri_user, asked.uri_host) = user_and_host(&uri)?;
        }
        if let Some(uri) = query.text("from") {
            asked.host_of_from = user_and_host(&uri)?.1;
        }
        if let Some(uri) = query.text("to") {
            (asked.user_of_to, asked.host_of_to) = user_and_host(&uri)?;
        }
        for header in query.texts("header") {
            let (name, value) = header.split_once(':').ok_or("header is NAME:VALUE")?;
            asked.headers.insert(0, (name.trim().to_owned(), value.trim().to_owned()));
        }
        if let Some(source) = query.text("source") {
            let socket = source.parse::<SocketAddr>().map(|socket| socket.ip());
            let ip = socket.or_else(|_| source.parse());
            asked.source = Some(ip.map_err(|_| format!("source {source:?} is not an address"))?);
        }
        if let Some(listener) = query.text("listener") {
            asked.listener = Some(listener_of(&listener, balancer)?);
        }
        match asked.call_id.is_empty() {
            true => {
                Err("call_id is missing: give ?call_id=C, or a whole request as body".to_owned())
            }
            false => Ok(asked),
        }
    }

    fn of_message(bytes: &[u8]) -> Result<Self, String> {
        let message = Message::parse(bytes).ok_or("the body is no SIP message")?;
        let Start::Request { method, uri, .. } = message.start else {
            return Err("the body is a response: only requests are placed".to_owned());
        };
        let text = |span: Span| String::from_utf8_lossy(span.of(bytes)).into_owned();
        let call_id = message.call_id().map_err(|_| "the request has no good Call-ID")?;
        let of = |address: Option<NameAddr>| {
            address.and_then(|one| user_and_host(&text(one.uri)).ok()).unwrap_or_default()
        };
        let (uri_user, uri_host) = user_and_host(&text(uri)).unwrap_or_default();
        let (user_of_to, host_of_to) = of(message.to().ok());
        let (_, host_of_from) = of(message.from().ok());
        Ok(Self {
            call_id: text(call_id),
            method: text(method),
            uri_host,
            uri_user,
            host_of_from,
            host_of_to,
            user_of_to,
            source: None,
            listener: None,
            headers: headers(bytes),
        })
    }

    /// What this group's policy goes by, and nobody has said.
    fn lacks(&self, group: &Group) -> Option<&'static str> {
        let Policy::Hash { key, .. } = group.policy() else { return None };
        match key {
            HashKey::Source if self.source.is_none() => Some("its source: say source too"),
            HashKey::Aor if self.aor_user().is_empty() => Some("a user: say uri or to too"),
            _ => None,
        }
    }
}

impl Facts for Asked {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn uri_host(&self) -> &[u8] {
        self.uri_host.as_bytes()
    }

    fn uri_user(&self) -> &[u8] {
        self.uri_user.as_bytes()
    }

    fn host_of_from(&self) -> &[u8] {
        self.host_of_from.as_bytes()
    }

    fn host_of_to(&self) -> &[u8] {
        self.host_of_to.as_bytes()
    }

    fn user_of_to(&self) -> &[u8] {
        self.user_of_to.as_bytes()
    }

    fn call_id(&self) -> &[u8] {
        self.call_id.as_bytes()
    }

    fn source(&self) -> IpAddr {
        self.source.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) // in no network that is written
    }

    fn listener(&self) -> Option<u16> {
        self.listener
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let wanted = sip::long_name(name.as_bytes());
        let is_it = |known: &str| sip::long_name(known.as_bytes()).eq_ignore_ascii_case(wanted);
        let found = self.headers.iter().find(|(known, _)| is_it(known));
        found.map(|(_, value)| value.as_bytes())
    }
}

/// User and host of a SIP URI; the number of a tel URI.
fn user_and_host(uri: &str) -> Result<(String, String), String> {
    let bytes = uri.as_bytes();
    if let Some((scheme, number)) = uri.split_at_checked(4)
        && scheme.eq_ignore_ascii_case("tel:")
    {
        return Ok((number.to_owned(), String::new()));
    }
    let parsed = Uri::parse(bytes, Span::new(0, bytes.len()));
    let parsed =
        parsed.ok_or_else(|| format!("{uri:?} is not a SIP URI, such as sip:alice@a.example"))?;
    let text = |span: Span| String::from_utf8_lossy(span.of(bytes)).into_owned();
    let user = parsed.user.map(text).unwrap_or_default();
    let user = user.split(':').next().unwrap_or_default().to_owned(); // without a password
    Ok((user, text(parsed.host)))
}

/// Each row of the header, in order.
fn headers(bytes: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let rows = head.split("\r\n").skip(1).filter_map(|row| row.split_once(':'));
    rows.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

fn listener_of(text: &str, balancer: &Balancer) -> Result<u16, String> {
    let live = balancer.live();
    let address = text.strip_prefix("udp:").unwrap_or(text).parse::<SocketAddr>();
    let found = address.ok().and_then(|address| {
        let of_config = live.config.listeners.iter().position(|one| one.bind == address);
        let sockets = &live.settings[0].sockets;
        let open = || sockets.iter().find(|socket| socket.address == address)?.listener;
        of_config.map(|place| place as u16).or_else(open)
    });
    found.ok_or_else(|| format!("listener {text:?} is none of the config's"))
}

/// Where it goes; `pin` is the backend that its Call-ID is pinned to.
pub(super) fn place(balancer: &Balancer, asked: &Asked, pin: Option<BackendId>) -> Where {
    place_by(balancer, asked, pin, &|id| balancer.load_of(id))
}

/// The same by these loads.
pub(super) fn place_by(
    balancer: &Balancer,
    asked: &Asked,
    pin: Option<BackendId>,
    load_of: &dyn Fn(BackendId) -> Load,
) -> Where {
    let pool = balancer.pool();
    let call_id = asked.call_id.clone();
    if let Some(slot) = pin.and_then(|id| pool.by_id(id)) {
        let backend = Some(pool.backend(slot).spec.name.clone());
        let why = "it is known, and stays where it went".to_owned();
        return Where { call_id, backend, by: "pin", why, steps: None };
    }
    let index = pool.route(asked);
    let group = pool.group(index);
    let loads = LoadsNow { load_of, pool: &pool, for_call: asked.method == "INVITE" };
    let choice = pool.choose(index, pool.key_hash(index, asked), &[], &loads, &mut Turn(0));
    let (mut backend, by, mut why) = verdict(&pool, group, choice);
    if let (Choice::Backend(_), Some(what)) = (choice, asked.lacks(group)) {
        (backend, why) = (None, format!("a new call: by a hash, for which it lacks {what}"));
    }
    let steps = Some(steps(balancer, &pool, asked, index, &loads));
    Where { call_id, backend, by, why, steps }
}

/// What the workers said last.
struct LoadsNow<'a> {
    load_of: &'a dyn Fn(BackendId) -> Load,
    pool: &'a Pool,
    for_call: bool,
}

impl Loads for LoadsNow<'_> {
    fn of(&self, slot: BackendSlot) -> Load {
        (self.load_of)(self.pool.backend(slot).id)
    }

    fn for_call(&self) -> bool {
        self.for_call
    }
}

fn verdict(pool: &Pool, group: &Group, choice: Choice) -> (Option<String>, &'static str, String) {
    let name = |slot: BackendSlot| pool.backend(slot).spec.name.clone();
    let slot = match choice {
        Choice::Backend(slot) => slot,
        Choice::Full => return (None, "nobody", "all have reached their caps: 503".to_owned()),
        Choice::Nobody => return (None, "nobody", "no backend takes new calls: 480".to_owned()),
    };
    let loaded = match group.asks_for_loads() {
        true => "; by the calls of now, for there are caps or a bound",
        false => "",
    };
    let (backend, why) = match group.policy() {
        Policy::Hash { key, .. } => {
            let of = match key {
                HashKey::CallId => "its Call-ID".to_owned(),
                HashKey::Source => "its source".to_owned(),
                HashKey::Aor => "the user that is registered or called".to_owned(),
                HashKey::Header => group.hash_header().unwrap_or_default().to_owned(),
            };
            (Some(name(slot)), format!("a new call: the hash of {of}{loaded}"))
        }
        Policy::RoundRobin => {
            (None, "a new call: whose turn it is, in each worker anew".to_owned())
        }
        Policy::Random => (None, "a new call: drawn by weight".to_owned()),
        Policy::LeastDialogs => {
            let why = "a new call: the fewest calls for its weight; by those of now";
            (Some(name(slot)), why.to_owned())
        }
        Policy::LeastTransactions => {
            (None, "a new call: the fewest requests for its weight at that moment".to_owned())
        }
        Policy::LeastWork => {
            (None, "a new call: the least work for its weight at that moment".to_owned())
        }
        Policy::Latency => {
            (None, "a new call: of two drawn, who answers sooner at that moment".to_owned())
        }
    };
    (backend, "policy", why)
}

fn steps(
    balancer: &Balancer,
    pool: &Pool,
    asked: &Asked,
    index: GroupIndex,
    loads: &LoadsNow<'_>,
) -> Steps {
    let live = balancer.live();
    let rule = pool.rules().iter().position(|rule| rule.matches(asked));
    let route = rule.and_then(|place| live.config.routes.get(place).map(|route| (place, route)));
    let members = (0..).zip(pool.backends()).filter(|(_, one)| one.group == index);
    let takers: Vec<_> = members.filter(|(_, one)| one.takes_new_calls()).collect();
    let tier = takers.iter().map(|(_, one)| one.spec.intake.tier()).min();
    let candidate = |(slot, one): &(u16, &crate::pool::Backend)| {
        let load = loads.of(BackendSlot(*slot));
        Candidate {
            backend: one.spec.name.clone(),
            weight: one.spec.weight,
            calls: load.calls,
            transactions: load.transactions,
            work: answers::work(load),
            latency_ms: answers::latency_ms(load),
            full: one.spec.intake.is_full(load),
        }
    };
    let in_tier = takers.iter().filter(|(_, one)| Some(one.spec.intake.tier()) == tier);
    let config = live.config.pools.get(usize::from(index.0));
    Steps {
        route: route.map(|(place, route)| route.title(place + 1)),
        rule: route.map_or_else(|| live.config.otherwise(), |(_, route)| route.words()),
        pool: pool.group(index).name().to_owned(),
        policy: config.map(|pool| pool.policy_in_words()).unwrap_or_default(),
        candidates: in_tier.map(candidate).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &[u8] = b"INVITE sip:+49%31:pw@Example.com;x=y SIP/2.0\r\n\
        Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\nf: <sip:a@a.example>;tag=1\r\n\
        t: \"B\" <sips:bob@b.example:5061>\r\ni: abc@x\r\nCSeq: 1 INVITE\r\nX-Tenant:  blue \r\n\
        X-Tenant: red\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn a_message_is_what_rules_look_at() {
        let asked = Asked::of_message(INVITE).expect("a request");
        assert_eq!((asked.call_id.as_str(), asked.method.as_str()), ("abc@x", "INVITE"));
        assert_eq!((asked.uri_user.as_str(), asked.uri_host.as_str()), ("+49%31", "Example.com"));
        assert_eq!(
            (Facts::host_of_from(&asked), Facts::host_of_to(&asked)),
            (&b"a.example"[..], &b"b.example"[..])
        );
        assert_eq!(Facts::header(&asked, "x-tenant"), Some(&b"blue"[..]), "the first");
        assert_eq!(asked.aor_user(), b"+49%31");
    }

    #[test]
    fn what_is_no_request_is_said() {
        for (body, word) in [(&b"rubbish"[..], "no SIP"), (b"SIP/2.0 200 OK\r\n\r\n", "response")] {
            let error = Asked::of_message(body).expect_err("no request");
            assert!(error.contains(word), "{error}");
        }
        assert!(user_and_host("alice").is_err());
        assert_eq!(user_and_host("tel:+491"), Ok(("+491".into(), String::new())));
    }

    #[test]
    fn a_header_field_is_found_by_either_name() {
        let asked = Asked::of_message(INVITE).expect("a request");
        assert_eq!(Facts::header(&asked, "Call-ID"), Some(&b"abc@x"[..]));
        assert_eq!(Facts::header(&asked, "F"), Facts::header(&asked, "From"));
        assert!(Facts::header(&asked, "f").is_some());
        assert_eq!(user_and_host("TEL:+491"), Ok(("+491".into(), String::new())));
    }

    #[test]
    fn the_user_that_is_registered_is_that_of_to() {
        let asked = |method: &str, uri: &str| Asked {
            method: method.into(),
            uri_user: uri.into(),
            user_of_to: "to".into(),
            ..Asked::default()
        };
        assert_eq!(asked("REGISTER", "uri").aor_user(), b"to");
        assert_eq!(asked("INVITE", "uri").aor_user(), b"uri");
        assert_eq!(asked("INVITE", "").aor_user(), b"to");
    }
}
