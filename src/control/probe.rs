//! One probe: a request to one backend, over UDP as traffic goes, and how it ended.
//!
//! Its socket is its own, on the local address that traffic leaves from, and not connected: the
//! answer is known by its branch, from whatever address it comes (RFC 3261 18.1.2). A lost datagram
//! is no failure: it is sent again as timer E says (17.1.2.2).

use crate::config::HealthConfig;
use crate::io::os;
use crate::pool::health::Outcome;
use crate::sip::{Message, Start};
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// RFC 3261 17.1.1.1: T1 and T2.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);

/// The longest answer that is read, bytes.
const ANSWER_SIZE_MAX: usize = 8192;

/// What a probe asks.
#[derive(Clone, Debug)]
pub(super) struct Question {
    method: String,
    from: Option<String>,
    user: Option<String>,
    timeout: Duration,
}

impl Question {
    pub(super) fn new(health: &HealthConfig) -> Self {
        Self {
            method: health.method.clone(),
            from: health.from.clone(),
            user: health.user.clone(),
            timeout: Duration::from_millis(health.rules.timeout_ms),
        }
    }
}

/// How a probe ended, and how long it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// From the first datagram to the end.
    pub(super) took: Duration,
}

/// Sends a probe and waits for its end: never longer than the timeout.
pub(super) async fn probe(question: &Question, to: SocketAddr) -> Ended {
    let begun = Instant::now();
    let outcome = match exchange(question, to, begun).await {
        Ok(outcome) => outcome,
        Err(error) => outcome_of(&error),
    };
    if outcome == Outcome::NotSent {
        tracing::warn!("no probe could be sent to {to}: this machine has no socket for it");
    }
    Ended { outcome, took: begun.elapsed() }
}

/// What an error says: of the backend, of the way to it, or of this machine alone.
fn outcome_of(error: &io::Error) -> Outcome {
    match error.kind() {
        ErrorKind::ConnectionRefused => Outcome::Refused,
        ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::PermissionDenied => Outcome::Unreachable,
        _ => Outcome::NotSent,
    }
}

async fn exchange(question: &Question, to: SocketAddr, begun: Instant) -> io::Result<Outcome> {
    let local = os::source_address_towards(to)?;
    let socket = UdpSocket::from_std(os::open_for_one_exchange(local)?)?;
    let ticket = Ticket::draw()?;
    let request = question.request(to, socket.local_addr()?, &ticket);
    let end = begun + question.timeout;
    let mut pause = T1;
    let mut answer = [0; ANSWER_SIZE_MAX];
    loop {
        socket.send_to(request.as_bytes(), to).await?; // a socket of its own has room
        let again = end.min(Instant::now() + pause);
        match timeout_at(again, final_response(&socket, &mut answer, &ticket)).await {
            Ok(outcome) => return outcome,
            Err(_) if again >= end => return Ok(Outcome::Silent),
            Err(_) => pause = (2 * pause).min(T2),
        }
    }
}

/// The final response with our branch. Anything else is passed over.
async fn final_response(
    socket: &UdpSocket,
    answer: &mut [u8],
    ticket: &Ticket,
) -> io::Result<Outcome> {
    loop {
        // An ICMP error alone does not make a socket readable.
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        // One or the other: `try_io` knows no sums.
        let interest = if ready.is_error() { Interest::ERROR } else { Interest::READABLE };
        match socket.try_io(interest, || receive(socket, answer)) {
            Ok(len) => {
                if let Some(outcome) = read_final(&answer[..len], ticket) {
                    return Ok(outcome);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn receive(socket: &UdpSocket, answer: &mut [u8]) -> io::Result<usize> {
    (&*socket2::SockRef::from(socket)).read(answer)
}

/// What makes a probe's answer known, and nobody else can guess.
struct Ticket {
    branch: String,
    tag: String,
    call: String,
}

impl Ticket {
    fn draw() -> io::Result<Self> {
        let [branch, tag, call] = os::random_words::<3>()?;
        let (branch, tag) = (format!("z9hG4bK{branch:016x}"), format!("{:08x}", tag as u32));
        Ok(Self { branch, tag, call: format!("{call:016x}") })
    }
}

impl Question {
    fn request(&self, to: SocketAddr, local: SocketAddr, ticket: &Ticket) -> String {
        let method = &self.method;
        let uri = match &self.user {
            Some(user) => format!("sip:{user}@{to}"),
            None => format!("sip:{to}"),
        };
        let host = local.ip();
        let host = if host.is_ipv6() { format!("[{host}]") } else { host.to_string() };
        let from = self.from.clone().unwrap_or_else(|| format!("sip:probe@{host}"));
        format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch={};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <{from}>;tag={}\r\n\
             To: <{uri}>\r\n\
             Call-ID: {}@{host}\r\n\
             CSeq: 1 {method}\r\n\
             Contact: <sip:{local}>\r\n\
             Accept: application/sdp\r\n\
             User-Agent: sipring/{}\r\n\
             Content-Length: 0\r\n\r\n",
            ticket.branch,
            ticket.tag,
            ticket.call,
            env!("CARGO_PKG_VERSION"),
        )
    }
}

/// A final response to this probe, or `None`.
fn read_final(bytes: &[u8], ticket: &Ticket) -> Option<Outcome> {
    let message = Message::parse(bytes)?;
    let Start::Response { status: status @ 200..=699, fault: None } = message.start else {
        return None;
    };
    let via = message.top_via()?;
    if via.branch?.of(bytes) != ticket.branch.as_bytes() {
        return None;
    }
    Some(Outcome::Answered { status, retry_after_s: message.retry_after_s() })
}

#[cfg(test)]
mod tests;
