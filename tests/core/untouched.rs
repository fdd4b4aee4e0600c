//! What nobody told us to touch stays as it came, byte for byte and in its order: RFC 3261 16.6 item
//! 1, 16.7 item 9. Generated messages in every spelling that the grammar allows, against a slow
//! reference that shares no code with the core.

use crate::reference;
use crate::world::{LISTENER, PORT, World, address};
use proptest::prelude::*;

const CLIENT: &str = "192.0.2.9:40000";
const BACKEND: &str = "10.1.0.1:5060";

/// Decisions out of random bytes: none left means the first, simplest choice, so that a failing
/// case shrinks to a plain message.
struct Choices {
    bytes: std::vec::IntoIter<u8>,
}

impl Choices {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into_iter() }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.bytes.next().unwrap_or(0)) % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn chance(&mut self) -> bool {
        self.below(2) == 1
    }

    /// White space that may be left out.
    fn space(&mut self) -> &'static str {
        self.pick(&["", " ", "", "\t", "  \t", "\r\n ", "\r\n\t \r\n  "])
    }

    /// White space that may not.
    fn blank(&mut self) -> &'static str {
        self.pick(&[" ", "\t", "  ", "\r\n ", " \r\n\t"])
    }

    /// `name:`, in some spelling.
    fn name(&mut self, spellings: &[&str]) -> String {
        let name: String = self
            .pick(spellings)
            .chars()
            .map(|letter| if self.chance() { letter.to_ascii_uppercase() } else { letter })
            .collect();
        name + self.pick(&["", " ", "\t", "  "]) + ":"
    }

    /// A row of a field that we read: name, white space, value, white space, line end.
    fn row(&mut self, spellings: &[&str], value: &str) -> Vec<u8> {
        let name = self.name(spellings);
        let (before, after) = (self.space(), self.pick(&["", "", " ", "\t"]));
        format!("{name}{before}{value}{after}{}", self.line_end()).into_bytes()
    }

    fn line_end(&mut self) -> &'static str {
        self.pick(&["\r\n", "\r\n", "\r\n", "\n"])
    }

    /// A row that is nothing to us.
    fn foreign_row(&mut self) -> Vec<u8> {
        let name = self.pick(&[
            "X-Anything",
            "Subject",
            "s",
            "Contact",
            "m",
            "Vias",
            "X-Via",
            "Routes",
            "To-Do",
            "CSeqs",
            "Max-Forward",
            "Record-Route",
            "Path",
            "no colon at all",
            "Content-Lengths",
            "e",
            "",
        ]);
        let mut row = name.as_bytes().to_vec();
        if name != "no colon at all" {
            row.push(b':');
        }
        for _ in 0..self.below(12) {
            let byte = self.below(256) as u8;
            row.push(if matches!(byte, b'\r' | b'\n') { b';' } else { byte });
            if self.below(6) == 5 {
                row.extend_from_slice(b"\r\n ");
            }
        }
        row.extend_from_slice(self.line_end().as_bytes());
        row
    }

    fn via(&mut self) -> String {
        let mut via = format!(
            "SIP{}/{}2.0{}/{}{}{}{}",
            self.space(),
            self.space(),
            self.space(),
            self.space(),
            self.pick(&["UDP", "TCP", "udp", "TLS-SCTP"]),
            self.blank(),
            self.pick(&["a.example", "192.0.2.9", "192.0.2.8", "[2001:db8::1]"]),
        );
        via += self.pick(&["", ":5062", " : 5062", "\r\n : 5062"]);
        for _ in 0..self.below(5) {
            via += self.space();
            via += ";";
            via += self.space();
            via += self.pick(&[
                "branch=z9hG4bKx1",
                "rport",
                "received=198.51.100.1",
                "RPORT = 99",
                "Received=a.example",
                "x=\"a;b,c\\\"d\"",
                "branch = old",
                "maddr=203.0.113.7",
                "ttl=1",
                "",
                "rport=1",
            ]);
        }
        via
    }

    fn party(&mut self) -> &'static str {
        self.pick(&[
            "<sip:a@b.example>",
            "sip:a@b.example",
            "\"A, <b>; \\\" c\" <sip:a;x@b.example;tag=not-this>",
            "A B <tel:+1>",
            "<http://b.example/?a,b;c>",
        ])
    }

    fn our_route(&mut self) -> &'static str {
        self.pick(&[
            "<sip:10.0.0.1:5060;lr>",
            "<sip:lb.example.com;lr>",
            "<sips:LB.Example.com;lr;x=\"y\">",
            "\"Us, <x>\" <sip:[2001:db8::1];lr;lb=nothing>;p=\"a,b\"",
            "<sip:10.0.0.1;lr;lb=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA>",
        ])
    }

    fn their_route(&mut self) -> &'static str {
        self.pick(&[
            "<sip:p1.example;lr>",
            "\"P, 2\" <sip:p2.example;lr>;x=\"1,2\"",
            "<sip:192.0.2.77:5070;lr;a=b>",
        ])
    }

    /// Values in some rows, some of them joined.
    fn rows(&mut self, spellings: &[&str], values: &[String]) -> Vec<Vec<u8>> {
        let mut rows: Vec<String> = Vec::new();
        for value in values {
            match rows.last_mut() {
                Some(row) if self.chance() => {
                    let comma = format!("{},{}", self.space(), self.space());
                    *row += &(comma + value);
                }
                _ => rows.push(value.clone()),
            }
        }
        rows.iter().map(|value| self.row(spellings, value)).collect()
    }

    /// Mixes rows into others; those of one field keep their order.
    fn mix(&mut self, fields: Vec<Vec<Vec<u8>>>) -> Vec<u8> {
        let mut fields: Vec<_> = fields.into_iter().map(Vec::into_iter).collect();
        let mut message = Vec::new();
        while !fields.is_empty() {
            let at = self.below(fields.len());
            match fields[at].next() {
                Some(row) => message.extend_from_slice(&row),
                None => drop(fields.remove(at)),
            }
        }
        message
    }

    /// Content-Length or none, the empty line, a body of any bytes, and perhaps too many of them.
    fn body(&mut self) -> (Vec<Vec<u8>>, Vec<u8>) {
        let len = self.below(40);
        let body: Vec<u8> = (0..len).map(|_| self.below(256) as u8).collect();
        let rows = match self.below(3) {
            0 => Vec::new(),
            1 => vec![self.row(&["content-length", "l"], &len.to_string())],
            _ => vec![self.row(&["content-length", "l"], &format!("00{}", len - len / 2))],
        };
        (rows, [self.line_end().as_bytes(), &body].concat())
    }

    fn foreign_rows(&mut self) -> Vec<Vec<u8>> {
        (0..self.below(5)).map(|_| self.foreign_row()).collect()
    }
}

/// A generated request, and what must be known of it to judge what comes out.
#[derive(Debug)]
struct Generated {
    bytes: Vec<u8>,
    our_routes: Vec<String>,
    /// The fields that we must put on top, beside Via and Max-Forwards.
    on_top: &'static [&'static str],
}

fn generate_request(choices: &mut Choices) -> Generated {
    let method = choices.pick(&[
        "INVITE",
        "OPTIONS",
        "REGISTER",
        "SUBSCRIBE",
        "MESSAGE",
        "BYE",
        "ACK",
        "X-Y",
    ]);
    let to_tag = choices.pick(&["", ";tag=t", " ; x=y ;\r\n TAG = t"]);
    let our_routes: Vec<_> =
        (0..choices.below(3)).map(|_| choices.our_route().to_owned()).collect();
    let mut routes = our_routes.clone();
    routes.extend((0..choices.below(3)).map(|_| choices.their_route().to_owned()));
    let vias: Vec<_> = (0..=choices.below(4)).map(|_| choices.via()).collect();
    let (content_length, body) = choices.body();
    let from = format!("{}{}", choices.party(), choices.pick(&[";tag=f", "", " ;\r\n tag=\tf"]));
    let to = format!("{}{to_tag}", choices.party());
    let cseq = format!("00{}{}{method}", choices.below(200), choices.blank());
    let hops = match choices.below(4) {
        0 => Vec::new(),
        n => vec![choices.row(&["max-forwards"], ["", "1", "0070", "255"][n])],
    };
    let fields = vec![
        choices.rows(&["via", "v"], &vias),
        choices.rows(&["route"], &routes),
        vec![choices.row(&["from", "f"], &from)],
        vec![choices.row(&["to", "t"], &to)],
        vec![choices.row(&["call-id", "i"], "c@\"<,;>:a")],
        vec![choices.row(&["cseq"], &cseq)],
        hops,
        content_length,
        choices.foreign_rows(),
        choices.foreign_rows(),
    ];
    let on_top: &[&str] = match method {
        "REGISTER" => &["Path"],
        "INVITE" | "SUBSCRIBE" | "X-Y" if to_tag.is_empty() => &["Record-Route"],
        _ => &[],
    };
    let lead = choices.pick(&["", "", "", "\r\n", "\r\n\r\n\n"]);
    let uri =
        choices.pick(&["sip:a@b.example", "tel:+1;x", "urn:service:sos", "sips:[::1]:5061;p"]);
    let start_line = format!("{lead}{method} {uri} SIP/2.0{}", choices.line_end());
    let bytes = [start_line.into_bytes(), choices.mix(fields), body].concat();
    Generated { bytes, our_routes, on_top }
}

/// What the server sends back that got `request`.
fn generate_response(choices: &mut Choices, request: &str) -> Vec<u8> {
    let vias = crate::world::rows(request, "Via");
    let (content_length, body) = choices.body();
    let copied = |choices: &mut Choices, name: &str, spellings: &[&str]| {
        let value = crate::world::rows(request, name)[0].clone();
        vec![choices.row(spellings, &value)]
    };
    let fields = vec![
        choices.rows(&["via", "v"], &vias),
        copied(choices, "From", &["from", "f"]),
        copied(choices, "To", &["to", "t"]),
        copied(choices, "Call-ID", &["call-id", "i"]),
        copied(choices, "CSeq", &["cseq"]),
        content_length,
        choices.foreign_rows(),
        choices.foreign_rows(),
    ];
    let status = choices.pick(&["200 OK", "100 ", "183", "699 \u{43d}\u{435}\u{442}", "401 a:b,c"]);
    let start_line = format!("SIP/2.0 {status}{}", choices.line_end());
    [start_line.into_bytes(), choices.mix(fields), body].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_request_keeps_all_that_a_proxy_may_not_touch(
        bytes in prop::collection::vec(any::<u8>(), 0..400)
    ) {
        let request = generate_request(&mut Choices::new(bytes));
        let outcome = World::new().push(CLIENT, LISTENER, &request.bytes);
        outcome.forwarded_to();
        let expected = reference::request(&request.bytes, address(CLIENT), &request.our_routes);
        reference::assert_unharmed(&outcome.bytes, &expected, request.on_top);
    }

    #[test]
    fn a_response_keeps_all_but_our_via(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        rport in any::<bool>(),
    ) {
        let mut world = World::new();
        let via = ["SIP/2.0/UDP a.example:5062;branch=z9hG4bKa", ";rport"][..=usize::from(rport)].concat();
        let below = "SIP/2.0/TCP b.example;branch=z9hG4bKb;x=\"a,b\"";
        let via = format!("{via}, {below}");
        let request = crate::world::Request { via: &via, ..Default::default() };
        let sent = world.push(CLIENT, LISTENER, request.to_string());
        let response = generate_response(&mut Choices::new(bytes), &sent.text());
        let outcome = world.push(BACKEND, PORT, &response);
        outcome.forwarded_to();
        let expected = reference::response(&response);
        prop_assert_eq!(outcome.text(), String::from_utf8_lossy(&expected));
        prop_assert_eq!(outcome.bytes, expected);
    }
}
