//! Small values as they are written: durations, sizes, keys, port ranges, words out of a list.

use super::BackendPorts;
use super::report::{nearest, quoted};
use crate::limits::BACKEND_PORTS_MAX;
use crate::proxy::Key;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

/// Why a value's text is not good. Offsets count within that text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) range: Range<usize>,
    pub(super) title: String,
    pub(super) label: String,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(
        range: Range<usize>,
        title: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        Self { range, title: title.into(), label: label.into(), help: None }
    }

    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

/// One of the words that are known; the error lists them and the nearest.
pub(super) fn one_of<T: Copy>(what: &str, text: &str, words: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let list: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let title = format!("unknown {what} {}", quoted(text));
    let near = nearest(text, words.iter().map(|(word, _)| *word));
    let near = near.map(|near| format!("did you mean \"{near}\"?"));
    if words.len() > LISTED_MAX {
        let all = format!("they are {}", list.join(", "));
        let help = near.map_or(all.clone(), |near| format!("{near} {all}"));
        return Err(Fault::new(0..text.len(), title, format!("no {what} that there is")).help(help));
    }
    let fault = Fault::new(0..text.len(), title, format!("expected {}", list.join(" or ")));
    Err(match near {
        Some(near) => fault.help(near),
        None => fault,
    })
}

/// Seconds: numbers with `d`, `h`, `m` or `s` behind each, such as `12h` or `1h30m`.
pub(super) fn duration_s(text: &str, allowed: RangeInclusive<u32>) -> Result<u32, Fault> {
    let total = sum_of_units(text, &UNITS_S, "(d, h, m, s), such as \"12h\" or \"1h30m\"")?;
    match u32::try_from(total) {
        Ok(seconds) if allowed.contains(&seconds) => Ok(seconds),
        _ => {
            let (least, most) = (show_duration(*allowed.start()), show_duration(*allowed.end()));
            Err(out_of_range(text, &least, &most))
        }
    }
}

/// Milliseconds: the same, and `ms`, such as `500ms` or `1s500ms`.
pub(super) fn duration_ms(text: &str, allowed: RangeInclusive<u64>) -> Result<u64, Fault> {
    let total = sum_of_units(text, &UNITS_MS, "(h, m, s, ms), such as \"10s\" or \"500ms\"")?;
    if allowed.contains(&total) {
        return Ok(total);
    }
    let (least, most) = (show_duration_ms(*allowed.start()), show_duration_ms(*allowed.end()));
    Err(out_of_range(text, &least, &most))
}

/// Longer names first where one begins with another.
const UNITS_S: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

const UNITS_MS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

fn out_of_range(text: &str, least: &str, most: &str) -> Fault {
    let title = format!("{} is out of range", quoted(text));
    Fault::new(0..text.len(), title, format!("expected {least} to {most}"))
}

/// Adds up numbers with their units; what is too large to be counted becomes the largest number.
fn sum_of_units(text: &str, units: &[(&str, u64)], examples: &str) -> Result<u64, Fault> {
    let wrong = |range: Range<usize>, label: &str| {
        Err(Fault::new(range, format!("{} is not a duration", quoted(text)), label)
            .help(format!("write numbers with their unit {examples}")))
    };
    if text.is_empty() {
        return wrong(0..0, "nothing here");
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at(digits);
        let unit_at = at + digits;
        if digits == 0 {
            return wrong(at..text.len(), "expected a number");
        }
        let Some((unit, size)) = units.iter().find(|(name, _)| behind.starts_with(name)) else {
            return match behind.chars().next() {
                Some(other) => wrong(unit_at..unit_at + other.len_utf8(), "not a unit"),
                None => wrong(unit_at..unit_at, "a unit is missing"),
            };
        };
        let number: u64 = number.parse().unwrap_or(u64::MAX); // overflow: out of range
        total = total.saturating_add(number.saturating_mul(*size));
        rest = &behind[unit.len()..];
    }
    Ok(total)
}

/// Bytes: `4MiB`, `512KiB`, or a bare number.
pub(super) fn size(text: &str) -> Result<u64, Fault> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_bytes: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    if digits == 0 || unit_bytes == 0 {
        let (range, label) = if digits == 0 {
            (0..text.len(), "expected a number")
        } else {
            (digits..text.len(), "not a unit")
        };
        return Err(Fault::new(range, format!("{} is not a size", quoted(text)), label)
            .help("write bytes, or KiB, MiB or GiB, such as 4194304 or \"4MiB\""));
    }
    Ok(number.parse().unwrap_or(u64::MAX).saturating_mul(unit_bytes))
}

/// A whole number as a flag has it.
pub(super) fn number(what: &str, text: &str, allowed: RangeInclusive<u64>) -> Result<u64, Fault> {
    let expected = format!("expected {} to {}", allowed.start(), allowed.end());
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let title = format!("{what} {} is not a number", quoted(text));
        return Err(Fault::new(0..text.len(), title, expected));
    }
    match text.parse() {
        Ok(number) if allowed.contains(&number) => Ok(number),
        _ => {
            let title = format!("{what} {} is out of range", quoted(text));
            Err(Fault::new(0..text.len(), title, expected))
        }
    }
}

/// `FIRST-LAST` or `listener`.
pub(super) fn backend_ports(text: &str) -> Result<BackendPorts, Fault> {
    if text == "listener" {
        return Ok(BackendPorts::Listener);
    }
    let Some((first_text, last_text)) = text.split_once('-') else {
        let title = format!("{} is not a range of ports", quoted(text));
        return Err(Fault::new(0..text.len(), title, "expected FIRST-LAST or `listener`")
            .help("the default is \"15060-15091\""));
    };
    let first = number("port", first_text, 1..=65_535)? as u16;
    let last_at = first_text.len() + 1;
    let last = number("port", last_text, 1..=65_535).map_err(|mut fault| {
        fault.range = last_at..text.len();
        fault
    })? as u16;
    if first > last {
        let title = format!("the range {} ends before it begins", quoted(text));
        return Err(Fault::new(0..text.len(), title, "the first port must not be above the last")
            .help(format!("did you mean \"{last}-{first}\"?")));
    }
    let count = usize::from(last - first) + 1;
    if count > BACKEND_PORTS_MAX {
        let title = format!("the range {} has {count} ports", quoted(text));
        return Err(Fault::new(0..text.len(), title, format!("at most {BACKEND_PORTS_MAX}")).help(
            "all of them are opened; as many as the workers of the largest node are enough",
        ));
    }
    Ok(BackendPorts::Range(first, last))
}

/// A cluster key: 32 hex digits. Its number in the tokens (0 to 3) is its last digit modulo 4, so
/// that nodes agree on it without being told.
pub(super) fn key(text: &str) -> Result<Key, Fault> {
    let how = "draw one with: openssl rand -hex 16";
    if let Some((at, bad)) = text.char_indices().find(|(_, digit)| !digit.is_ascii_hexdigit()) {
        let title = "a key has hex digits only";
        return Err(Fault::new(at..at + bad.len_utf8(), title, "not a hex digit").help(how));
    }
    if text.len() != 32 {
        let title = format!("a key has 32 hex digits; here are {}", text.len());
        return Err(Fault::new(0..text.len(), title, "expected 32 hex digits").help(how));
    }
    let value = u128::from_str_radix(text, 16).unwrap_or_default(); // 32 hex digits, seen above
    Ok(Key { number: (value & 3) as u8, bytes: value.to_be_bytes() })
}

/// The name of a backend or pool. It stands in metrics and logs, hence the modest alphabet.
pub(super) fn name(text: &str) -> Result<String, Fault> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-:[]@/".contains(letter);
    if let Some((at, bad)) = text.char_indices().find(|(_, letter)| !allowed(*letter)) {
        let title = format!("the name {} has a character that no name may have", quoted(text));
        let label = "expected ASCII letters, digits and . _ - : [ ] @ /";
        return Err(Fault::new(at..at + bad.len_utf8(), title, label));
    }
    if text.is_empty() || text.len() > NAME_SIZE_MAX {
        let title = format!("the name {} has {} characters", quoted(text), text.len());
        return Err(Fault::new(0..text.len(), title, format!("expected 1 to {NAME_SIZE_MAX}")));
    }
    Ok(text.to_owned())
}

/// The name of a header field: a token (RFC 3261 25.1).
pub(super) fn header_name(text: &str) -> Result<String, Fault> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(letter);
    if let Some((at, bad)) = text.char_indices().find(|(_, letter)| !allowed(*letter)) {
        let title = format!("{} is not the name of a header field", quoted(text));
        return Err(Fault::new(at..at + bad.len_utf8(), title, "not here"));
    }
    if text.is_empty() || text.len() > NAME_SIZE_MAX {
        let title = format!("the header field {} has {} characters", quoted(text), text.len());
        return Err(Fault::new(0..text.len(), title, format!("expected 1 to {NAME_SIZE_MAX}")));
    }
    Ok(text.to_owned())
}

/// `source_header`: a header field that is ours to write, and to take away where a client wrote it.
pub(super) fn source_header(text: &str) -> Result<String, Fault> {
    let name = header_name(text)?;
    if name.len() > 2 && name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-")) {
        return Ok(name);
    }
    let known = NOT_OURS.iter().any(|word| word.eq_ignore_ascii_case(&name)) || name.len() == 1;
    if known {
        let title = format!("{} has a meaning of its own", quoted(text));
        return Err(Fault::new(0..text.len(), title, "what clients write there must stay")
            .help("take one that nobody else writes, such as \"X-Real-Source\""));
    }
    Ok(name)
}

/// Header fields that SIP needs as they are (RFC 3261 20 and others).
const NOT_OURS: [&str; 50] = [
    "Accept",
    "Accept-Contact",
    "Allow",
    "Allow-Events",
    "Authorization",
    "Call-ID",
    "Contact",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-Type",
    "CSeq",
    "Date",
    "Event",
    "Expires",
    "From",
    "History-Info",
    "Identity",
    "Join",
    "Max-Forwards",
    "MIME-Version",
    "P-Access-Network-Info",
    "P-Asserted-Identity",
    "P-Preferred-Identity",
    "Path",
    "Privacy",
    "Proxy-Authorization",
    "Proxy-Require",
    "RAck",
    "Reason",
    "Record-Route",
    "Refer-To",
    "Referred-By",
    "Reject-Contact",
    "Replaces",
    "Request-Disposition",
    "Require",
    "Route",
    "RSeq",
    "Service-Route",
    "Session-Expires",
    "SIP-If-Match",
    "Subject",
    "Subscription-State",
    "Supported",
    "Target-Dialog",
    "To",
    "User-Agent",
    "Via",
];

/// A Unix socket's path: absolute, for it must not hang on where the process was started, and no
/// longer than the kernel takes (unix(7): 108 bytes with the NUL).
pub(super) fn socket_path(text: &str) -> Result<PathBuf, Fault> {
    let wrong = |title: String, label: &str| {
        Err(Fault::new(0..text.len(), title, label)
            .help("write a path from the root, such as \"/run/sipring/control.sock\""))
    };
    if !text.starts_with('/') || text.ends_with('/') || text.contains(char::is_control) {
        return wrong(format!("{} is no path of a socket", quoted(text)), "not a whole path");
    }
    if text.len() >= 108 {
        let title = format!("a socket's path of {} bytes is too long", text.len());
        return wrong(title, "at most 107 bytes");
    }
    Ok(PathBuf::from(text))
}

/// A list of strings as TOML has it.
pub(super) fn listed(items: &[String]) -> String {
    let items: Vec<_> =
        items.iter().map(|item| toml::Value::from(item.as_str()).to_string()).collect();
    format!("[{}]", items.join(", "))
}

/// A duration as [`duration_s`] reads it.
pub(super) fn show_duration(seconds: u32) -> String {
    match seconds {
        s if s >= 86_400 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s >= 3_600 && s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s >= 60 && s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// A duration as [`duration_ms`] reads it.
pub(super) fn show_duration_ms(ms: u64) -> String {
    match u32::try_from(ms / 1_000) {
        Ok(seconds) if ms.is_multiple_of(1_000) => show_duration(seconds),
        _ => format!("{ms}ms"),
    }
}

/// Words that a label can list on one line.
const LISTED_MAX: usize = 5;

/// Characters of a name.
const NAME_SIZE_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_adds_its_parts_up_to_the_edges() {
        assert_eq!(duration_s("12h", 32..=50_000), Ok(43_200));
        assert_eq!(duration_s("1h30m5s", 32..=50_000), Ok(5_405));
        assert_eq!(duration_s("32s", 32..=50_000), Ok(32));
        assert_eq!(duration_s("31s", 32..=50_000).unwrap_err().label, "expected 32s to 50000s");
        assert!(duration_s("50001s", 32..=50_000).is_err());
    }

    #[test]
    fn duration_without_unit_or_number_is_a_fault_at_that_place() {
        for (text, range) in [("", 0..0), ("12", 2..2), ("h", 0..1), ("3x", 1..2), ("1h é", 2..5)]
        {
            assert_eq!(duration_s(text, 0..=u32::MAX).unwrap_err().range, range, "{text}");
        }
        let huge = "99999999999999999999999d99999999999999999999d";
        assert!(duration_s(huge, 0..=u32::MAX).unwrap_err().title.contains("out of range"));
    }

    #[test]
    fn shown_durations_read_back() {
        for seconds in [1, 32, 59, 60, 90, 3_600, 4_200, 43_200, 86_400, 90_000, u32::MAX] {
            assert_eq!(duration_s(&show_duration(seconds), 0..=u32::MAX), Ok(seconds));
        }
    }

    #[test]
    fn milliseconds_have_their_unit_too() {
        assert_eq!(duration_ms("500ms", 0..=9_000), Ok(500));
        assert_eq!(duration_ms("1m1s1ms", 0..=61_001), Ok(61_001));
        assert_eq!(duration_ms("0s", 0..=1), Ok(0));
        assert_eq!(duration_ms("2s", 50..=1_500).unwrap_err().label, "expected 50ms to 1500ms");
        assert_eq!(duration_ms("3x", 0..=1).unwrap_err().range, 1..2);
        assert!(duration_s("500ms", 0..=u32::MAX).is_err());
        for ms in [0, 1, 999, 1_000, 1_500, 60_000, 86_400_000, u64::MAX] {
            assert_eq!(duration_ms(&show_duration_ms(ms), 0..=u64::MAX), Ok(ms));
        }
    }

    #[test]
    fn sizes_in_binary_units() {
        assert_eq!(size("4MiB"), Ok(4_194_304));
        assert_eq!(size("65535"), Ok(65_535));
        assert_eq!(size("99999999999999999999GiB"), Ok(u64::MAX));
        assert_eq!(size("4MB").unwrap_err().range, 1..3);
        assert_eq!(size("MiB").unwrap_err().range, 0..3);
    }

    #[test]
    fn port_ranges_at_their_edges() {
        assert_eq!(backend_ports("15060-15060"), Ok(BackendPorts::Range(15_060, 15_060)));
        assert_eq!(backend_ports("1-256"), Ok(BackendPorts::Range(1, 256)));
        assert_eq!(backend_ports("1-257").unwrap_err().label, "at most 256");
        assert_eq!(backend_ports("0-5").unwrap_err().range, 0..1);
        assert_eq!(backend_ports("5-65536").unwrap_err().range, 2..7);
        let reversed = backend_ports("9-8").unwrap_err();
        assert_eq!(reversed.help.unwrap(), "did you mean \"8-9\"?");
    }

    #[test]
    fn key_number_is_the_last_digit_modulo_four() {
        let text = "000102030405060708090a0b0c0d0e0f";
        let read = key(text).unwrap();
        assert_eq!((read.number, read.bytes[1], read.bytes[15]), (3, 1, 15));
        assert_eq!(key(&text.replace("0f", "F4")).unwrap().number, 0);
        assert_eq!(key(&text[1..]).unwrap_err().title, "a key has 32 hex digits; here are 31");
        assert_eq!(key("00é").unwrap_err().range, 2..4);
    }

    #[test]
    fn names_at_their_edges() {
        assert!(name(&"n".repeat(64)).is_ok());
        assert!(name(&"n".repeat(65)).is_err());
        assert!(name("").is_err());
        assert_eq!(name("a b").unwrap_err().range, 1..2);
    }
}
