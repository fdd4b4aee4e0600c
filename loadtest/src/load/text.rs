//! The requests that callers send, 450 to 1200 bytes: whole as phones write them, put together from
//! pieces that were made beforehand. A request is a function of its number, so it is the same again
//! when it is repeated.

use super::Number;
use super::options::Kind;
use sipring_loadtest::random::{Random, hash};
use sipring_loadtest::text::{USER_AGENT, sdp, user};
use std::net::SocketAddrV4;

/// Different callers and callees; their names and offers have different lengths.
const PEOPLE: usize = 256;

/// What of a request depends on who calls whom.
struct Person {
    name: String,
    callee: String,
    /// Fields that some phones send and some do not.
    extra: String,
    offer: String,
    note: String,
}

pub(super) struct Phrasebook {
    people: Vec<Person>,
    /// The callers' own addresses.
    sources: Vec<String>,
    /// Host of Request-URI, From and To.
    domain: String,
    /// What every MESSAGE says, if they all say the same.
    note: Option<String>,
}

/// Where in-dialog requests go, as the answer said (RFC 3261 12.1.2).
#[derive(Default)]
pub(super) struct Dialog {
    /// The To value with its tag.
    pub(super) to: Vec<u8>,
    /// The URI of the Contact.
    pub(super) target: Vec<u8>,
    /// Whole Route lines.
    pub(super) routes: Vec<u8>,
}

macro_rules! write_all {
    ($out:expr, $($piece:expr),+ $(,)?) => {{ $($out.extend_from_slice($piece.as_ref());)+ }};
}
pub(super) use write_all;

impl Phrasebook {
    pub(super) fn new(
        seed: u64,
        domain: SocketAddrV4,
        sources: &[SocketAddrV4],
        note: Option<usize>,
    ) -> Self {
        let people = (0..PEOPLE as u64).map(|n| person(&mut Random::new(seed, n), domain));
        Self {
            people: people.collect(),
            sources: sources.iter().map(ToString::to_string).collect(),
            domain: domain.to_string(),
            note: note.map(|bytes| "x".repeat(bytes)),
        }
    }

    /// The first request of a call, or the only one of another kind.
    pub(super) fn first(&self, out: &mut Vec<u8>, kind: Kind, number: Number, source: usize) {
        let person = self.person(number);
        let method = kind.method();
        match kind {
            // RFC 3261 10.2: the Request-URI of a REGISTER has no user.
            Kind::Register => write_all!(out, method, " sip:", self.domain, " SIP/2.0\r\n"),
            _ => {
                write_all!(out, method, " sip:", person.callee, "@", self.domain, " SIP/2.0\r\n");
            }
        }
        self.via(out, method, number, source);
        self.from(out, number);
        let to = if kind == Kind::Register { &person.name } else { &person.callee };
        write_all!(out, "To: <sip:", to, "@", self.domain, ">\r\n");
        self.ids(out, number, "1 ", method);
        if kind != Kind::Message {
            let source = &self.sources[source];
            write_all!(out, "Contact: <sip:", person.name, "@", source, ";transport=udp>\r\n");
        }
        write_all!(out, person.extra, "User-Agent: ", USER_AGENT, "\r\n");
        match kind {
            Kind::Call => body(out, "application/sdp", &person.offer),
            Kind::Message => {
                body(out, "text/plain", self.note.as_ref().unwrap_or(&person.note));
            }
            Kind::Register => write_all!(out, "Expires: 3600\r\nContent-Length: 0\r\n\r\n"),
            Kind::Options => {
                write_all!(out, "Accept: application/sdp\r\nContent-Length: 0\r\n\r\n");
            }
        }
    }

    /// The ACK of a 200, a transaction of its own.
    pub(super) fn ack(&self, out: &mut Vec<u8>, number: Number, source: usize, dialog: &Dialog) {
        write_all!(out, "ACK ", dialog.target, " SIP/2.0\r\n");
        self.via(out, "ACK", number, source);
        write_all!(out, dialog.routes);
        self.from(out, number);
        write_all!(out, "To: ", dialog.to, "\r\n");
        self.ids(out, number, "1 ", "ACK");
        write_all!(out, "User-Agent: ", USER_AGENT, "\r\nContent-Length: 0\r\n\r\n");
    }

    pub(super) fn bye(&self, out: &mut Vec<u8>, number: Number, source: usize, dialog: &Dialog) {
        write_all!(out, "BYE ", dialog.target, " SIP/2.0\r\n");
        self.via(out, "BYE", number, source);
        write_all!(out, dialog.routes);
        self.from(out, number);
        write_all!(out, "To: ", dialog.to, "\r\n");
        self.ids(out, number, "2 ", "BYE");
        write_all!(
            out,
            self.person(number).extra,
            "User-Agent: ",
            USER_AGENT,
            "\r\nReason: Q.850;cause=16;text=\"Normal call clearing\"\r\nContent-Length: 0\r\n\r\n"
        );
    }

    /// The ACK of a refusal: of the INVITE's transaction (RFC 3261 17.1.1.3).
    pub(super) fn ack_refusal(&self, out: &mut Vec<u8>, number: Number, source: usize, to: &[u8]) {
        let callee = &self.person(number).callee;
        write_all!(out, "ACK sip:", callee, "@", self.domain, " SIP/2.0\r\n");
        self.via(out, "INVITE", number, source);
        self.from(out, number);
        write_all!(out, "To: ", to, "\r\n");
        self.ids(out, number, "1 ", "ACK");
        write_all!(out, "Content-Length: 0\r\n\r\n");
    }

    fn person(&self, number: Number) -> &Person {
        let drawn = hash(1, &number.value().to_le_bytes());
        &self.people[drawn as usize % PEOPLE]
    }

    /// Via and Max-Forwards; the branch names method and call.
    fn via(&self, out: &mut Vec<u8>, method: &str, number: Number, source: usize) {
        let source = &self.sources[source];
        write_all!(out, "Via: SIP/2.0/UDP ", source, ";branch=z9hG4bK-", method, "-");
        write_hex(out, number.value());
        write_all!(out, ";rport\r\nMax-Forwards: 70\r\n");
    }

    fn from(&self, out: &mut Vec<u8>, number: Number) {
        let name = &self.person(number).name;
        write_all!(out, "From: \"", name, "\" <sip:", name, "@", self.domain, ">;tag=c");
        write_hex(out, hash(2, &number.value().to_le_bytes()));
        write_all!(out, "\r\n");
    }

    fn ids(&self, out: &mut Vec<u8>, number: Number, cseq: &str, method: &str) {
        write_all!(out, "Call-ID: ");
        write_hex(out, number.value());
        write_all!(
            out,
            "-",
            self.person(number).name,
            "@load.example\r\nCSeq: ",
            cseq,
            method,
            "\r\n"
        );
    }
}

fn person(random: &mut Random, domain: SocketAddrV4) -> Person {
    let fields = [
        "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REFER, NOTIFY, MESSAGE\r\n",
        "Supported: replaces, timer, path, outbound, gruu\r\n",
        "Session-Expires: 1800;refresher=uac\r\n",
        "P-Preferred-Identity: <sip:+4930123456@example.com;user=phone>\r\n",
    ];
    let extra = fields.into_iter().filter(|_| random.chance(600)).collect();
    let name = user(random);
    let words = random.between(4, 30) as usize;
    Person {
        callee: user(random),
        extra,
        offer: sdp((*domain.ip()).into(), random),
        note: "see you at noon ".repeat(words),
        name,
    }
}

/// The last fields, and the body.
pub(super) fn body(out: &mut Vec<u8>, kind: &str, body: &str) {
    write_all!(out, "Content-Type: ", kind, "\r\nContent-Length: ");
    write_decimal(out, body.len());
    write_all!(out, "\r\n\r\n", body);
}

fn write_decimal(out: &mut Vec<u8>, number: usize) {
    use std::io::Write;
    let _ = write!(out, "{number}"); // a Vec takes all
}

/// 16 digits.
pub(super) fn write_hex(out: &mut Vec<u8>, number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |place: u32| DIGITS[(number >> (60 - 4 * place)) as usize & 15];
    out.extend((0..16).map(digit));
}

#[cfg(test)]
mod tests {
    use super::super::scan::{Scanned, Start};
    use super::*;

    #[test]
    fn requests_are_whole_of_real_sizes_and_the_same_again() {
        let address = "127.0.0.1:5060".parse().unwrap();
        let book = Phrasebook::new(1, address, &[address], None);
        let mut lengths = Vec::new();
        for generation in 0..500 {
            let number = Number { slot: 7, generation };
            for kind in Kind::ALL {
                let (mut text, mut again) = (Vec::new(), Vec::new());
                book.first(&mut text, kind, number, 0);
                book.first(&mut again, kind, number, 0);
                assert_eq!(text, again);
                let found = Scanned::read(&text).unwrap();
                assert_eq!(found.start, Start::Request(kind.method().as_bytes()));
                assert_eq!(
                    (found.number(), found.method()),
                    (Some(number), kind.method().as_bytes())
                );
                assert!((300..=1200).contains(&text.len()), "{} bytes", text.len());
                if kind == Kind::Call {
                    lengths.push(text.len());
                }
            }
        }
        lengths.sort_unstable();
        lengths.dedup();
        assert!(lengths.len() > 50, "sizes vary: {}", lengths.len());
        assert!(lengths[0] >= 500, "{lengths:?}");
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        let mut out = Vec::new();
        write_hex(&mut out, 0x0123_4567_89ab_cdef);
        assert_eq!(out, b"0123456789abcdef");
        assert_eq!(super::super::scan::hex(&out), Some(0x0123_4567_89ab_cdef));
    }
}
