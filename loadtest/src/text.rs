//! Messages of the size and look that phones send: INVITE, Via and SDP.

use crate::random::Random;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// How the caller names itself.
pub const USER_AGENT: &str = concat!("sipring-loadtest/", env!("CARGO_PKG_VERSION"));

/// The header field in which a caller asks a [`crate::Backend`] to hang up first: milliseconds
/// after the ACK.
pub(crate) const HANG_UP_FIELD: &str = "x-load-hang-up-ms";

/// The methods that both ends know.
pub(crate) const ALLOW: &str = "Allow: INVITE, ACK, BYE, OPTIONS\r\n";

/// What one INVITE is made of.
#[derive(Debug)]
pub(crate) struct Invite<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) call_id: &'a str,
    /// The From value, with its tag.
    pub(crate) from: &'a str,
    pub(crate) user: &'a str,
    pub(crate) callee: &'a str,
    pub(crate) cseq: u32,
    pub(crate) via: &'a str,
    pub(crate) hang_up_ms: Option<u64>,
}

impl Invite<'_> {
    /// The request, 700 to 1000 bytes.
    pub(crate) fn write(&self, random: &mut Random) -> Vec<u8> {
        let Self { to, local, call_id, from, user, callee, cseq, via, .. } = self;
        let body = sdp(local.ip(), random);
        let hang_up = match self.hang_up_ms {
            Some(ms) => format!("X-Load-Hang-Up-Ms: {ms}\r\n"),
            None => String::new(),
        };
        format!(
            "INVITE sip:{callee}@{to} SIP/2.0\r\n{via}Max-Forwards: 70\r\nFrom: {from}\r\n\
             To: <sip:{callee}@{to}>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} INVITE\r\n\
             Contact: <sip:{user}@{local}>\r\n{ALLOW}Accept: application/sdp\r\n\
             User-Agent: {USER_AGENT}\r\n{hang_up}Content-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// A Via line of ours.
pub(crate) fn via(local: SocketAddr, branch: &str) -> String {
    format!("Via: SIP/2.0/UDP {local};branch={branch};rport\r\n")
}

/// A user name: syllables and a number, as in `tiranomel4711`.
pub fn user(random: &mut Random) -> String {
    const SYLLABLES: [&str; 16] = [
        "ba", "cor", "da", "fen", "gil", "ha", "jo", "ka", "lum", "mel", "no", "pra", "ri", "sto",
        "ti", "vel",
    ];
    let mut name = String::new();
    for _ in 0..random.between(2, 4) {
        name.push_str(SYLLABLES[random.below(16) as usize]);
    }
    let _ = write!(name, "{}", random.below(10_000));
    name
}

/// An audio offer or answer with a few codecs.
pub fn sdp(host: IpAddr, random: &mut Random) -> String {
    let family = if host.is_ipv4() { "IP4" } else { "IP6" };
    let session = random.below(1 << 31);
    let port = random.between(8192, 32_767) * 2;
    let codecs = [
        "rtpmap:9 G722/8000",
        "rtpmap:8 PCMA/8000",
        "rtpmap:0 PCMU/8000",
        "rtpmap:18 G729/8000",
        "fmtp:18 annexb=no",
        "rtpmap:101 telephone-event/8000",
        "fmtp:101 0-16",
    ];
    let skipped = random.below(codecs.len() as u64 * 2) as usize;
    let mut text = format!(
        "v=0\r\no=- {session} {session} IN {family} {host}\r\ns=call\r\nc=IN {family} {host}\r\n\
         t=0 0\r\nm=audio {port} RTP/AVP 9 8 0 18 101\r\n"
    );
    for (_, codec) in codecs.iter().enumerate().filter(|(index, _)| *index != skipped) {
        let _ = write!(text, "a={codec}\r\n");
    }
    text.push_str("a=ptime:20\r\na=sendrecv\r\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    #[test]
    fn invites_are_700_to_1000_bytes_and_whole() {
        for (to, local) in [("127.0.0.1:5060", "127.0.0.1:40000"), ("[::1]:5060", "[::1]:40000")] {
            let (to, local) = (to.parse().unwrap(), local.parse().unwrap());
            for number in 0..2000 {
                let mut random = Random::new(1, number);
                let (user, callee) = (user(&mut random), user(&mut random));
                let invite = Invite {
                    to,
                    local,
                    call_id: &format!("{number}.0123456789abcdef@sipring-loadtest"),
                    from: &format!("<sip:{user}@{local}>;tag=0123456789abcdef"),
                    user: &user,
                    callee: &callee,
                    cseq: 4711,
                    via: &via(local, "z9hG4bK0123456789abcdef"),
                    hang_up_ms: number.is_multiple_of(2).then_some(1000),
                };
                let bytes = invite.write(&mut random);
                assert!((700..=1000).contains(&bytes.len()), "{} bytes", bytes.len());
                assert!(Message::parse(&bytes).is_some());
            }
        }
    }
}
