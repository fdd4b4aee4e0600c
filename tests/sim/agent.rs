//! One party of one call, sans-IO: what a phone or a server does by RFC 3261 12 to 15 and 17, with
//! timers and retransmissions. It notes what a right balancer never lets happen.

use crate::network::Datagram;
use crate::world::{Request, response, routes_of_callee, routes_of_caller, rows};
use std::net::SocketAddr;

const T1_MS: u64 = 500;
const T2_MS: u64 = 4000;
/// Timers B, F and H (17.1.1.2, 17.1.2.2, 17.2.1).
const TRANSACTION_MS: u64 = 64 * T1_MS;

/// The two ends of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Caller,
    Callee,
}

/// What happens in a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) start_ms: u64,
    /// From INVITE to the final response.
    pub(crate) ring_ms: u64,
    pub(crate) answered: bool,
    /// From the first ringing on.
    pub(crate) cancel_ms: Option<u64>,
    pub(crate) reinvite: Option<Side>,
    /// Who hangs up, and how long after the answer.
    pub(crate) bye: Side,
    pub(crate) hold_ms: u64,
    /// The caller's Via and Contact name an address behind a NAT.
    pub(crate) private: bool,
}

/// A re-INVITE comes so long after the answer; a BYE at least `REINVITE_MS` and a transaction later.
pub(crate) const REINVITE_MS: u64 = 3000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Early,
    Confirmed,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Invite,
    Cancel,
    Answer,
    Reinvite,
    Bye,
}

/// A client transaction (17.1).
struct Client {
    method: &'static str,
    branch: String,
    datagram: Datagram,
    interval_ms: u64,
    resend_ms: Option<u64>,
    /// When it has failed.
    end_ms: Option<u64>,
    /// What answers each final response to an INVITE.
    ack: Option<Datagram>,
}

/// A server transaction (17.2).
struct Server {
    branch: String,
    cseq: String,
    request: String,
    /// The last response.
    sent: Datagram,
    is_final: bool,
    interval_ms: u64,
    resend_ms: Option<u64>,
    end_ms: Option<u64>,
}

pub(crate) struct Agent {
    pub(crate) side: Side,
    pub(crate) address: SocketAddr,
    pub(crate) call_id: String,
    plan: Plan,
    state: State,
    local_tag: String,
    remote_tag: String,
    routes: String,
    target: String,
    /// Where requests outside of a dialog go.
    proxy: SocketAddr,
    cseq: u32,
    branches: u32,
    clients: Vec<Client>,
    servers: Vec<Server>,
    due: Vec<(u64, Action)>,
    pub(crate) outbox: Vec<Datagram>,
    /// What went wrong.
    pub(crate) failure: Option<String>,
}

impl Agent {
    pub(crate) fn new(
        side: Side,
        address: SocketAddr,
        proxy: SocketAddr,
        call_id: &str,
        plan: Plan,
    ) -> Self {
        let due = match side {
            Side::Caller => vec![(plan.start_ms, Action::Invite)],
            Side::Callee => Vec::new(),
        };
        Self {
            side,
            address,
            call_id: call_id.to_owned(),
            plan,
            state: State::Early,
            local_tag: format!("{side:?}-{address}-{call_id}").replace([':', '[', ']', '@'], "-"),
            remote_tag: String::new(),
            routes: String::new(),
            target: "sip:bob@example.com".to_owned(),
            proxy,
            cseq: 0,
            branches: 0,
            clients: Vec::new(),
            servers: Vec::new(),
            due,
            outbox: Vec::new(),
            failure: None,
        }
    }

    /// The call is over and nothing waits for an answer.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Ended
            && self.due.is_empty()
            && self.clients.iter().all(|client| client.end_ms.is_none())
            && self.servers.iter().all(|server| server.end_ms.is_none())
    }

    fn fail(&mut self, what: impl Into<String>) {
        if self.failure.is_none() {
            self.failure = Some(what.into());
        }
    }

    /// When something is to be done next.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let clients = self.clients.iter().flat_map(|client| [client.resend_ms, client.end_ms]);
        let servers = self.servers.iter().flat_map(|server| [server.resend_ms, server.end_ms]);
        let due = self.due.iter().map(|(at, _)| Some(*at));
        clients.chain(servers).chain(due).flatten().min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now_ms: u64) {
        let is_due = |at: Option<u64>| at.is_some_and(|at| at <= now_ms);
        let mut late = Vec::new();
        for client in &mut self.clients {
            if is_due(client.end_ms) {
                late.push(format!("{} had no final response in 64*T1", client.method));
                (client.end_ms, client.resend_ms) = (None, None);
            } else if is_due(client.resend_ms) {
                // Timers A and E: A has no upper bound.
                let bound = if client.method == "INVITE" { u64::MAX } else { T2_MS };
                client.interval_ms = (2 * client.interval_ms).min(bound);
                client.resend_ms = Some(now_ms + client.interval_ms);
                self.outbox.push(client.datagram.clone());
            }
        }
        for server in &mut self.servers {
            if is_due(server.end_ms) {
                late.push("a final response to INVITE had no ACK in 64*T1".to_owned());
                (server.end_ms, server.resend_ms) = (None, None);
            } else if is_due(server.resend_ms) {
                server.interval_ms = (2 * server.interval_ms).min(T2_MS);
                server.resend_ms = Some(now_ms + server.interval_ms);
                self.outbox.push(server.sent.clone());
            }
        }
        late.into_iter().for_each(|what| self.fail(what));
        while let Some(at) = self.due.iter().position(|(at, _)| *at <= now_ms) {
            let (_, action) = self.due.remove(at);
            self.act(now_ms, action);
        }
    }

    fn act(&mut self, now_ms: u64, action: Action) {
        match action {
            Action::Invite | Action::Reinvite => self.request(now_ms, "INVITE"),
            Action::Bye => self.request(now_ms, "BYE"),
            Action::Cancel => self.cancel(now_ms),
            Action::Answer => {
                let status = if self.plan.answered { "200 OK" } else { "486 Busy Here" };
                if self.servers.first().is_some_and(|invite| !invite.is_final) {
                    self.finish_invite(now_ms, 0, status);
                }
            }
        }
    }

    /// One datagram for this party.
    pub(crate) fn handle(&mut self, now_ms: u64, text: &str) {
        if rows(text, "Call-ID") != [self.call_id.as_str()] {
            return self.fail(format!("a message of another call:\n{text}"));
        }
        match text.strip_prefix("SIP/2.0 ") {
            Some(status) => match status[..3].parse() {
                Ok(code) => self.handle_response(now_ms, code, text),
                Err(_) => self.fail(format!("no status code:\n{text}")),
            },
            None => self.handle_request(now_ms, text),
        }
    }

    // ---- as a client

    fn new_via(&mut self) -> (String, String) {
        self.branches += 1;
        let branch = format!("z9hG4bK{}-{}", self.local_tag, self.branches);
        let via = match (self.side, self.plan.private) {
            (Side::Caller, true) => format!("SIP/2.0/UDP 192.168.7.7:5060;rport;branch={branch}"),
            _ => format!("SIP/2.0/UDP {};branch={branch}", self.address),
        };
        (via, branch)
    }

    fn contact(&self) -> String {
        match (self.side, self.plan.private) {
            (Side::Caller, true) => "Contact: <sip:alice@192.168.7.7:5060>\r\n".to_owned(),
            _ => format!("Contact: <sip:ua@{}>\r\n", self.address),
        }
    }

    fn write(&self, method: &str, via: &str, to_tag: &str, routes: &str, uri: &str) -> String {
        let extra = match method {
            "INVITE" => format!("{routes}{}", self.contact()),
            _ => routes.to_owned(),
        };
        Request {
            method,
            uri,
            via,
            from_tag: &self.local_tag,
            to_tag,
            call_id: &self.call_id,
            cseq: self.cseq,
            extra: &extra,
            body: if method == "INVITE" { "v=0\r\n" } else { "" },
        }
        .to_string()
    }

    /// 12.2.1.1: to the first Route.
    fn next_hop(&self) -> SocketAddr {
        match self.routes.split_once("<sip:") {
            Some((_, rest)) => {
                rest[..rest.find([';', '>']).unwrap_or(0)].parse().unwrap_or(self.proxy)
            }
            None => self.proxy,
        }
    }

    fn request(&mut self, now_ms: u64, method: &'static str) {
        self.cseq += 1;
        let (via, branch) = self.new_via();
        let text = self.write(method, &via, &self.remote_tag, &self.routes, &self.target);
        self.transmit(now_ms, method, branch, text);
    }

    /// 9.1: everything of the INVITE but its method.
    fn cancel(&mut self, now_ms: u64) {
        let invite = &self.clients[0];
        if invite.ack.is_some() {
            return;
        }
        let via = rows(&invite.datagram.text, "Via").remove(0);
        let branch = invite.branch.clone();
        let text = self.write("CANCEL", &via, "", "", "sip:bob@example.com");
        self.transmit(now_ms, "CANCEL", branch, text);
    }

    fn transmit(&mut self, now_ms: u64, method: &'static str, branch: String, text: String) {
        let datagram = Datagram { from: self.address, to: self.next_hop(), text };
        self.outbox.push(datagram.clone());
        self.clients.push(Client {
            method,
            branch,
            datagram,
            interval_ms: T1_MS,
            resend_ms: Some(now_ms + T1_MS),
            end_ms: Some(now_ms + TRANSACTION_MS),
            ack: None,
        });
    }

    fn handle_response(&mut self, now_ms: u64, code: u16, text: &str) {
        let vias = rows(text, "Via");
        let cseq = rows(text, "CSeq");
        let found = self.clients.iter().position(|client| {
            vias.len() == 1
                && parameter(&vias[0], "branch") == client.branch
                && cseq == rows(&client.datagram.text, "CSeq")
        });
        let Some(at) = found else { return self.fail(format!("a response to nothing:\n{text}")) };
        let client = &mut self.clients[at];
        client.resend_ms = None;
        if code < 200 {
            client.end_ms = None;
            return self.ring(now_ms);
        }
        client.end_ms = None;
        match client.method {
            "INVITE" => self.finish_client_invite(now_ms, at, code, text),
            "BYE" if code == 200 => self.state = State::Ended,
            "CANCEL" if code == 200 => {}
            method => self.fail(format!("{method} was refused:\n{text}")),
        }
    }

    /// The caller hears ringing. (The callee's re-INVITE may ring too, and is not given up for it.)
    fn ring(&mut self, now_ms: u64) {
        if self.side == Side::Caller
            && let Some(wait) = self.plan.cancel_ms.take()
        {
            self.due.push((now_ms + wait, Action::Cancel));
        }
    }

    fn finish_client_invite(&mut self, now_ms: u64, at: usize, code: u16, text: &str) {
        if let Some(ack) = &self.clients[at].ack {
            return self.outbox.push(ack.clone());
        }
        let to_tag = parameter(&rows(text, "To").remove(0), "tag").to_owned();
        let ack = if code < 300 { self.accept(text, to_tag) } else { self.refuse(at, &to_tag) };
        self.clients[at].ack = Some(ack.clone());
        self.outbox.push(ack);
        if at > 0 {
            return;
        }
        let cancelled = self.clients.iter().any(|client| client.method == "CANCEL");
        match code {
            200..=299 if cancelled => {
                // 15: the cancelled call was answered all the same.
                self.state = State::Confirmed;
                self.due.push((now_ms, Action::Bye));
            }
            200..=299 => self.confirm(now_ms),
            486 | 487 => self.state = State::Ended,
            _ => self.fail(format!("INVITE was refused:\n{text}")),
        }
    }

    /// 13.2.2.4, 12.1.2: the dialog, and an ACK with a branch of its own.
    fn accept(&mut self, text: &str, to_tag: String) -> Datagram {
        if self.remote_tag.is_empty() {
            self.remote_tag = to_tag;
            self.routes = routes_of_caller(text);
            self.target = uri(&rows(text, "Contact").remove(0));
        }
        let (via, _) = self.new_via();
        let text = self.write("ACK", &via, &self.remote_tag, &self.routes, &self.target);
        Datagram { from: self.address, to: self.next_hop(), text }
    }

    /// 17.1.1.3: an ACK with the branch of the INVITE.
    fn refuse(&self, at: usize, to_tag: &str) -> Datagram {
        let invite = &self.clients[at].datagram;
        let via = rows(&invite.text, "Via").remove(0);
        let text = self.write("ACK", &via, to_tag, "", "sip:bob@example.com");
        Datagram { from: self.address, to: invite.to, text }
    }

    /// The answer has come, or its ACK: what this side does in the call is planned.
    fn confirm(&mut self, now_ms: u64) {
        self.state = State::Confirmed;
        if self.plan.reinvite == Some(self.side) {
            self.due.push((now_ms + REINVITE_MS, Action::Reinvite));
        }
        if self.plan.bye == self.side {
            self.due.push((now_ms + self.plan.hold_ms, Action::Bye));
        }
    }

    // ---- as a server

    fn handle_request(&mut self, now_ms: u64, text: &str) {
        let method = text.split(' ').next().unwrap_or("");
        let branch = parameter(&rows(text, "Via")[0], "branch").to_owned();
        let cseq = rows(text, "CSeq").remove(0);
        let to_tag = parameter(&rows(text, "To")[0], "tag").to_owned();
        if !to_tag.is_empty() && to_tag != self.local_tag {
            return self.fail(format!("a request of another dialog:\n{text}"));
        }
        if method == "ACK" {
            return self.handle_ack(now_ms, &cseq);
        }
        let same = |server: &&Server| server.branch == branch && server.cseq == cseq;
        if let Some(server) = self.servers.iter().find(same) {
            return self.outbox.push(server.sent.clone());
        }
        match method {
            "INVITE" if to_tag.is_empty() => {
                if !self.servers.is_empty() {
                    return self.fail(format!("one INVITE with two branches:\n{text}"));
                }
                self.remote_tag = parameter(&rows(text, "From")[0], "tag").to_owned();
                self.routes = routes_of_callee(text);
                self.target = uri(&rows(text, "Contact").remove(0));
                self.respond(text, &branch, &cseq, "180 Ringing");
                self.due.push((now_ms + self.plan.ring_ms, Action::Answer));
            }
            "INVITE" => {
                self.respond(text, &branch, &cseq, "180 Ringing");
                self.finish_invite(now_ms, self.servers.len() - 1, "200 OK");
            }
            "CANCEL" => self.handle_cancel(now_ms, text, &branch, &cseq),
            "BYE" => {
                self.respond(text, &branch, &cseq, "200 OK");
                self.state = State::Ended;
                self.due.clear();
            }
            _ => self.fail(format!("a request that nobody sent:\n{text}")),
        }
    }

    /// 9.2: the INVITE is the one with the same branch.
    fn handle_cancel(&mut self, now_ms: u64, text: &str, branch: &str, cseq: &str) {
        let invite = self.servers.iter().position(|server| server.branch == branch);
        self.respond(text, branch, cseq, "200 OK");
        match invite {
            Some(at) if !self.servers[at].is_final => {
                self.finish_invite(now_ms, at, "487 Request Terminated");
            }
            Some(_) => {}
            None => self.fail(format!("CANCEL does not match its INVITE:\n{text}")),
        }
    }

    fn handle_ack(&mut self, now_ms: u64, cseq: &str) {
        let number = cseq.split(' ').next().unwrap_or("");
        let invite = |server: &Server| server.cseq == format!("{number} INVITE");
        let Some(at) = self.servers.iter().position(invite) else {
            return self.fail(format!("ACK {number} for nothing"));
        };
        let server = &mut self.servers[at];
        let first = server.end_ms.take().is_some();
        server.resend_ms = None;
        if first && at == 0 && self.state == State::Early {
            match server.sent.text.starts_with("SIP/2.0 200") {
                true => self.confirm(now_ms),
                false => self.state = State::Ended,
            }
        }
    }

    fn respond(&mut self, request: &str, branch: &str, cseq: &str, status: &str) {
        let text = response(request, status, &self.local_tag, &self.contact());
        let sent = Datagram { from: self.address, to: reply_address(request), text };
        self.outbox.push(sent.clone());
        self.servers.push(Server {
            branch: branch.to_owned(),
            cseq: cseq.to_owned(),
            request: request.to_owned(),
            sent,
            is_final: !status.starts_with('1'),
            interval_ms: T1_MS,
            resend_ms: None,
            end_ms: None,
        });
    }

    /// 13.3.1.4, 17.2.1: repeated until the ACK comes.
    fn finish_invite(&mut self, now_ms: u64, at: usize, status: &str) {
        let contact = self.contact();
        let server = &mut self.servers[at];
        server.sent.text = response(&server.request, status, &self.local_tag, &contact);
        server.is_final = true;
        server.resend_ms = Some(now_ms + T1_MS);
        server.end_ms = Some(now_ms + TRANSACTION_MS);
        self.outbox.push(server.sent.clone());
    }
}

/// A parameter's value; empty where there is none.
pub(crate) fn parameter<'a>(value: &'a str, name: &str) -> &'a str {
    let params = &value[value.rfind('>').unwrap_or(0)..];
    let mut found = params.split(';').filter_map(|param| param.split_once('='));
    found.find(|(found, _)| *found == name).map_or("", |(_, value)| value)
}

fn uri(contact: &str) -> String {
    contact.trim_start_matches('<').split('>').next().unwrap_or("").to_owned()
}

/// 18.2.2, RFC 3581 4.
pub(crate) fn reply_address(request: &str) -> SocketAddr {
    let via = rows(request, "Via").remove(0);
    let sent_by = via.trim_start_matches("SIP/2.0/UDP ").split(';').next().unwrap_or("").to_owned();
    let mut address: SocketAddr = sent_by.parse().expect("our Via names address and port");
    if let Ok(port) = parameter(&via, "rport").parse() {
        address.set_port(port);
    }
    address
}
