//! A backend that dies, goes silent, is slow or refuses, sans-IO: RFC 3261 9.2, 13.3.1.4, 17.2.1.

use crate::agent::{parameter, reply_address};
use crate::caller::{T1_MS, TRANSACTION_MS, tag};
use crate::network::{Datagram, Random};
use crate::world::{response, routes_of_callee, rows};
use std::net::SocketAddr;

/// What a backend does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It answers new calls.
    Good,
    /// It answers new calls with 503.
    Busy,
    /// It says 100 to new calls, and 503 a second later.
    BusyLate,
    /// It says nothing to new calls for some seconds, then what it says otherwise.
    Slow,
    /// Nothing goes in or out; it knows its calls when it is back.
    Silent,
    /// Its port is closed, and all it knew is gone.
    Dead,
}

/// A request waits so long for a word at most, with the steps of the clock.
const PATIENCE_MS: u64 = 3200;
/// What was sent in time may be heard of so much later: the way there, and a transport error back.
const UNDERWAY_MS: u64 = 500;

/// What it has still to do for an INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Say(&'static str, Option<u64>),
    Repeat,
}

/// The server transaction of an INVITE, and the dialog that it makes.
struct Server {
    address: SocketAddr,
    branch: String,
    invite: String,
    tag: String,
    last: Option<Datagram>,
    status: u16,
    interval_ms: u64,
    due: Option<(u64, Due)>,
    /// When it gives up waiting for an ACK.
    end_ms: u64,
    acknowledged: bool,
    bye: Option<(Datagram, u64)>,
    ended: bool,
}

pub(crate) struct Backend {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) mode: Mode,
    servers: Vec<Server>,
    tags: u64,
    /// From when to when it did not answer as it should.
    bad_ms: Vec<(u64, u64)>,
    pub(crate) outbox: Vec<Datagram>,
    pub(crate) complaint: Option<String>,
}

impl Backend {
    pub(crate) fn new(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            address,
            mode: Mode::Good,
            servers: Vec::new(),
            tags: 0,
            bad_ms: Vec::new(),
            outbox: Vec::new(),
            complaint: None,
        }
    }

    pub(crate) fn turn(&mut self, now_ms: u64, mode: Mode) {
        if let Some((_, to)) = self.bad_ms.last_mut().filter(|(_, to)| *to == u64::MAX) {
            *to = now_ms;
        }
        if mode != Mode::Good {
            self.bad_ms.push((now_ms, u64::MAX));
        }
        self.mode = mode;
        if mode == Mode::Dead {
            self.servers.clear();
        }
    }

    /// Whether a request that was sent to it then had a reason to go elsewhere.
    pub(crate) fn has_failed(&self, sent_ms: u64) -> bool {
        self.bad_ms.iter().any(|(from, to)| {
            *from <= sent_ms + PATIENCE_MS && sent_ms <= to.saturating_add(UNDERWAY_MS)
        })
    }

    fn complain(&mut self, what: &str, text: &str) {
        self.complaint.get_or_insert_with(|| format!("{}: {what}:\n{text}", self.name));
    }

    /// One datagram for this backend. False: the port is closed.
    pub(crate) fn handle(&mut self, random: &mut Random, now_ms: u64, text: &str) -> bool {
        if matches!(self.mode, Mode::Silent | Mode::Dead) {
            return self.mode != Mode::Dead;
        }
        let branch = parameter(&rows(text, "Via")[0], "branch").to_owned();
        let to_tag = tag(text, "To");
        if !to_tag.is_empty() && !to_tag.starts_with(&format!("{}-", self.name)) {
            self.complain("a dialog has moved here", text);
            return true;
        }
        let with_branch = self.servers.iter().position(|server| server.branch == branch);
        let with_tag = self.servers.iter().position(|server| server.tag == to_tag);
        match text.split(' ').next().unwrap_or("") {
            "INVITE" => match with_branch {
                Some(at) => self.outbox.extend(self.servers[at].last.clone()),
                None => self.invited(random, now_ms, branch, text),
            },
            "ACK" => {
                if let Some(at) = with_branch.or(with_tag) {
                    self.servers[at].acknowledge(now_ms);
                }
            }
            "CANCEL" => self.cancelled(now_ms, with_branch, text),
            "BYE" => {
                let known = with_tag.filter(|_| !to_tag.is_empty());
                if let Some(at) = known {
                    self.servers[at].end();
                }
                let status = if known.is_some() { "200 OK" } else { "481 No Such Dialog" };
                self.say(text, status, "");
            }
            _ => self.complain("a request of nobody", text),
        }
        true
    }

    /// A response to a BYE of ours; to nothing else are there any.
    pub(crate) fn answered(&mut self, text: &str) {
        let from = tag(text, "From");
        if let Some(server) = self.servers.iter_mut().find(|server| server.tag == from) {
            server.end();
        }
    }

    fn say(&mut self, request: &str, status: &str, tag: &str) {
        let text = response(request, status, tag, "");
        self.outbox.push(Datagram { from: self.address, to: reply_address(request), text });
    }

    fn invited(&mut self, random: &mut Random, now_ms: u64, branch: String, text: &str) {
        let is_answered = random.percent(75);
        let after_ms = random.between(0, 3000);
        let last = if is_answered { "200 OK" } else { "486 Busy Here" };
        let due = match self.mode {
            Mode::Busy => (now_ms, Due::Say("503 Service Unavailable", None)),
            Mode::BusyLate => (now_ms + 1000, Due::Say("503 Service Unavailable", None)),
            Mode::Slow => {
                (now_ms + random.between(2000, 9000), Due::Say("180 Ringing", Some(after_ms)))
            }
            _ => (now_ms, Due::Say("180 Ringing", Some(after_ms))),
        };
        self.tags += 1;
        self.servers.push(Server {
            address: self.address,
            branch,
            invite: text.to_owned(),
            tag: format!("{}-{}-{}", self.name, self.tags, &last[..3]),
            last: None,
            status: 0,
            interval_ms: T1_MS,
            due: Some(due),
            end_ms: u64::MAX,
            acknowledged: false,
            bye: None,
            ended: false,
        });
        if !matches!(self.mode, Mode::Busy | Mode::Slow) && random.percent(60) {
            self.say(text, "100 Trying", "");
        }
        self.handle_timeout(now_ms);
    }

    fn cancelled(&mut self, now_ms: u64, invite: Option<usize>, text: &str) {
        let status = if invite.is_some() { "200 OK" } else { "481 No Such Call" };
        self.say(text, status, "");
        if let Some(at) = invite
            && self.servers[at].status < 200
        {
            self.servers[at].due = Some((now_ms, Due::Say("487 Request Terminated", None)));
            self.handle_timeout(now_ms);
        }
    }

    /// Does what is due; called at every step of the clock.
    pub(crate) fn handle_timeout(&mut self, now_ms: u64) {
        let mut out = Vec::new();
        self.servers.iter_mut().for_each(|server| server.handle_timeout(now_ms, &mut out));
        // What a silent one sends is lost, and the dead have no servers.
        if self.mode != Mode::Silent {
            self.outbox.append(&mut out);
        }
    }
}

impl Server {
    fn handle_timeout(&mut self, now_ms: u64, out: &mut Vec<Datagram>) {
        if let Some((bye, at_ms)) = &mut self.bye
            && now_ms >= *at_ms
            && !self.ended
        {
            *at_ms = now_ms + 4 * T1_MS;
            out.push(bye.clone());
        }
        let Some((at_ms, due)) = self.due else { return };
        if at_ms > now_ms {
            return;
        }
        self.due = None;
        match due {
            Due::Say(status, then_ms) => {
                let text = response(&self.invite, status, &self.tag, "Contact: <sip:b@host>\r\n");
                let to = reply_address(&self.invite);
                let sent = Datagram { from: self.address, to, text };
                self.status = status[..3].parse().expect("a status");
                self.last = Some(sent.clone());
                out.push(sent);
                if self.status >= 200 {
                    self.end_ms = now_ms + TRANSACTION_MS;
                    self.due = Some((now_ms + self.interval_ms, Due::Repeat));
                } else if let Some(then_ms) = then_ms {
                    let last = if self.tag.ends_with("200") { "200 OK" } else { "486 Busy Here" };
                    self.due = Some((now_ms + then_ms, Due::Say(last, None)));
                }
            }
            Due::Repeat if now_ms < self.end_ms => {
                out.extend(self.last.clone());
                self.interval_ms = (2 * self.interval_ms).min(4000);
                self.due = Some((now_ms + self.interval_ms, Due::Repeat));
            }
            // RFC 3261 13.3.1.4: without an ACK there is a dialog, and it is ended.
            Due::Repeat if self.status == 200 => self.hang_up(now_ms),
            Due::Repeat => {}
        }
    }

    fn acknowledge(&mut self, now_ms: u64) {
        if self.status < 200 {
            return; // of a transaction before its restart
        }
        self.due = None;
        let callee_hangs_up = rows(&self.invite, "Call-ID").remove(0).contains("-callee@");
        if !self.acknowledged && self.status == 200 && callee_hangs_up {
            self.hang_up(now_ms + 5000);
        }
        self.acknowledged = true;
    }

    fn hang_up(&mut self, at_ms: u64) {
        let from = rows(&self.invite, "To").remove(0);
        let (to, call_id) = (rows(&self.invite, "From").remove(0), rows(&self.invite, "Call-ID"));
        let contact = rows(&self.invite, "Contact").remove(0);
        let uri = contact.trim_matches(['<', '>']);
        let routes = routes_of_callee(&self.invite);
        let (_, hop) = routes.split_once("<sip:").expect("our Record-Route");
        let next = hop[..hop.find([';', '>']).expect("its end")].parse().expect("an address");
        let address = self.address;
        let text = format!(
            "BYE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{}\r\n{routes}\
             Max-Forwards: 70\r\nFrom: {from};tag={}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\n\
             Content-Length: 0\r\n\r\n",
            self.tag, self.tag, call_id[0]
        );
        self.bye = Some((Datagram { from: address, to: next, text }, at_ms));
    }

    fn end(&mut self) {
        (self.ended, self.bye, self.due) = (true, None, None);
    }
}
