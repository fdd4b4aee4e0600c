//! What must come out of the core beside our own fields, by the most obvious way: split the message
//! into rows, change the few that a proxy may change, and join them again. It shares no code with
//! `src/` and is slow.

use std::net::SocketAddr;

/// A message cut into pieces that together are all of it.
struct Pieces {
    start_line: String,
    rows: Vec<Row>,
    rest: Vec<u8>,
}

/// One header row, folds included, with its line end.
#[derive(Clone)]
struct Row {
    /// Up to and including the colon.
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Row {
    fn is(&self, long: &str, short: &str) -> bool {
        let name = String::from_utf8_lossy(&self.name).to_lowercase();
        let name = name.trim_end_matches(':').trim_end_matches([' ', '\t']);
        name == long || name == short
    }

    fn text(&self) -> String {
        latin(&self.value)
    }

    /// The value without the white space around it.
    fn inner(&self) -> String {
        self.text().trim_matches(BLANKS).to_owned()
    }
}

const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// One character a byte, and back.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn bytes(latin: &str) -> Vec<u8> {
    latin.chars().map(|character| character as u8).collect()
}

fn cut(message: &[u8]) -> Pieces {
    let message = &message[message.iter().take_while(|b| **b == b'\r' || **b == b'\n').count()..];
    let mut lines = message.split_inclusive(|byte| *byte == b'\n').peekable();
    let start_line = latin(lines.next().unwrap_or(b""));
    let mut taken = start_line.chars().count();
    let mut rows = Vec::new();
    while let Some(line) = lines.next() {
        if line == b"\n" || line == b"\r\n" {
            return Pieces { start_line, rows, rest: message[taken..].to_vec() };
        }
        let mut row = line.to_vec();
        while let Some(fold) = lines.next_if(|next| next[0] == b' ' || next[0] == b'\t') {
            row.extend_from_slice(fold);
        }
        taken += row.len();
        let colon = row.iter().position(|byte| *byte == b':').map_or(0, |colon| colon + 1);
        rows.push(Row { name: row[..colon].to_vec(), value: row[colon..].to_vec() });
    }
    panic!("a message without an end:\n{}", latin(message));
}

impl Pieces {
    fn join(self) -> Vec<u8> {
        let mut message = bytes(&self.start_line);
        for row in self.rows {
            message.extend_from_slice(&row.name);
            message.extend_from_slice(&row.value);
        }
        message.extend_from_slice(&self.rest);
        message
    }

    fn row(&mut self, long: &str, short: &str) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.is(long, short))
    }

    /// RFC 3261 18.3: what lies beyond Content-Length goes.
    fn trim_to_content_length(&mut self) {
        if let Some(row) = self.row("content-length", "l") {
            let length: usize = row.inner().parse().expect("a good Content-Length");
            let empty_line = self.rest.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            self.rest.truncate(empty_line + length);
        }
    }
}

/// Where `text` holds `separator` outside quoted strings and angle brackets.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut bracketed, mut escaped) = (false, false, false);
    for character in text.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if !bracketed => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            _ => {}
        }
        if character == separator && !quoted && !bracketed {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(character);
        }
    }
    parts
}

/// RFC 3261 18.2.1, RFC 3581 4: the topmost Via value with `received` and `rport` as they must be.
/// Its parameters stay where they are; a new `received` goes behind the last one.
fn stamp(via: &str, source: SocketAddr) -> String {
    let (core, tail) = via.split_at(via.trim_end_matches(BLANKS).len());
    let mut parts = split(core, ';');
    let sent_by = parts[0].trim_matches(BLANKS).rsplit('/').next().unwrap().to_owned();
    let sent_by = sent_by.trim_start_matches(BLANKS).split_once(BLANKS).unwrap().1.to_owned();
    let sent_by = sent_by.trim_matches(BLANKS);
    let host = match sent_by.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap().to_owned(),
        None => sent_by.split(':').next().unwrap().trim_matches(BLANKS).to_owned(),
    };
    let differs = host.parse() != Ok(source.ip());
    let (mut received, mut rport) = (false, false);
    for part in &mut parts[1..] {
        let name = part.split('=').next().unwrap().trim_matches(BLANKS).to_lowercase();
        let new = match name.as_str() {
            "rport" if !rport => format!("rport={}", source.port()),
            "received" if !received => format!("received={}", source.ip()),
            _ => continue,
        };
        rport |= name == "rport";
        received |= name == "received";
        let inner = part.trim_matches(BLANKS).to_owned();
        *part = part.replacen(&inner, &new, 1);
    }
    if !received && (rport || differs) {
        parts.push(format!("received={}", source.ip()));
    }
    parts.join(";") + tail
}

/// The request that `input` becomes, without the fields that we put on top of it. `ours` are our
/// own Route values, as they stand at the head of the Routes.
pub(crate) fn request(input: &[u8], source: SocketAddr, ours: &[String]) -> Vec<u8> {
    let mut pieces = cut(input);
    pieces.trim_to_content_length();
    if let Some(row) = pieces.row("via", "v") {
        let mut values = split(&row.text(), ',');
        values[0] = stamp(&values[0], source);
        row.value = bytes(&values.join(","));
    }
    if let Some(row) = pieces.row("max-forwards", "max-forwards") {
        let hops: u32 = row.inner().parse().expect("a good Max-Forwards");
        row.value = bytes(&row.text().replacen(&row.inner(), &(hops - 1).to_string(), 1));
    }
    let mut left = ours.to_vec();
    for row in &mut pieces.rows {
        if row.is("route", "route") && !left.is_empty() {
            take_off(row, &mut left);
        }
    }
    assert!(left.is_empty(), "our Routes head the others");
    pieces.rows.retain(|row| !row.value.is_empty());
    pieces.join()
}

/// RFC 3261 16.4: our values go; the white space in front of the first stays with the row.
fn take_off(row: &mut Row, ours: &mut Vec<String>) {
    let text = row.text();
    let mut values = split(&text, ',');
    while !values.is_empty() && !ours.is_empty() {
        assert_eq!(values[0].trim_matches(BLANKS), ours[0], "our Routes head the others");
        values.remove(0);
        ours.remove(0);
    }
    let lead: String = text.chars().take_while(|character| BLANKS.contains(character)).collect();
    row.value = match values.is_empty() {
        true => Vec::new(),
        false => bytes(&(lead + values.join(",").trim_start_matches(BLANKS))),
    };
}

/// The response that `input` becomes: the topmost Via value goes, and its row with it if it is the
/// only one there (RFC 3261 16.7 item 3).
pub(crate) fn response(input: &[u8]) -> Vec<u8> {
    let mut pieces = cut(input);
    pieces.trim_to_content_length();
    let row = pieces.row("via", "v").expect("a Via");
    let text = row.text();
    let lead: String = text.chars().take_while(|character| BLANKS.contains(character)).collect();
    row.value = match split(&text, ',').split_first() {
        Some((_, rest)) if !rest.is_empty() => {
            bytes(&(lead + rest.join(",").trim_start_matches(BLANKS)))
        }
        _ => Vec::new(),
    };
    pieces.rows.retain(|row| !row.value.is_empty());
    pieces.join()
}

/// Takes the fields off that we put on top: the forwarded message as the others wrote it, and the
/// names of our own fields in order. They are known by their place: all between the start line and
/// what is left when `expected` has been laid against the end.
#[track_caller]
pub(crate) fn without_ours(output: &[u8], expected: &[u8]) -> (Vec<u8>, Vec<String>) {
    let head = output.iter().position(|byte| *byte == b'\n').expect("a start line") + 1;
    assert!(
        output.len() >= expected.len(),
        "something was lost:\n{}\ninstead of\n{}",
        latin(output),
        latin(expected)
    );
    let ours = latin(&output[head..head + output.len() - expected.len()]);
    let names = ours.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect();
    ([&output[..head], &output[head + ours.chars().count()..]].concat(), names)
}

/// Asserts that `output` is `expected` and our own fields on top of it: one Via, what `extra`
/// names, and Max-Forwards where the sender left it out.
#[track_caller]
pub(crate) fn assert_unharmed(output: &[u8], expected: &[u8], extra: &[&str]) {
    let (left, names) = without_ours(output, expected);
    assert_eq!(latin(&left), latin(expected));
    let has_hops = cut(expected).row("max-forwards", "max-forwards").is_some();
    let mut wanted = vec!["Via"];
    wanted.extend(extra);
    if !has_hops {
        wanted.push("Max-Forwards");
    }
    assert_eq!(names, wanted, "{}", latin(output));
}
