//! `[pool.health]`: how backends are probed, and when they count as up.

use super::reader::{At, Table};
use super::report::quoted;
use super::values::{Fault, duration_ms, show_duration_ms};
use crate::pool::health::Rules;
use std::fmt::{self, Formatter};
use std::ops::RangeInclusive;

/// One `[pool.health]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// False: no probes, and every backend counts as up whatever its traffic meets.
    pub enabled: bool,
    /// The method of a probe.
    pub method: String,
    /// The URI in From; `None`: `sip:probe@` and the local address.
    pub from: Option<String>,
    /// The user in the Request-URI and To; `None`: without one.
    pub user: Option<String>,
    /// When a backend is up, and how often it is asked.
    pub rules: Rules,
    /// The share of the weight, in thousandths, below which health is ignored; 0: never.
    pub panic_per_mille: u16,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            method: "OPTIONS".to_owned(),
            from: None,
            user: None,
            rules: Rules {
                interval_ms: 10_000,
                timeout_ms: 2_000,
                jitter_per_mille: 100,
                rise: 2,
                fall: 3,
                codes: Vec::new(),
                down_interval_max_ms: 30_000,
                retry_after_max_ms: 30_000,
                slow_start_ms: 0,
            },
            panic_per_mille: 500,
        }
    }
}

/// Reads the table.
pub(super) fn health(mut table: Table<'_>) -> HealthConfig {
    let default = HealthConfig::default();
    let rules = default.rules;
    let enabled = table.boolean("enabled").map_or(default.enabled, |at| at.value);
    let method = table.parsed("method", "\"OPTIONS\"", method);
    let from = table.parsed("from", "\"sip:probe@example.com\"", from).map(|at| at.value);
    let user = table.parsed("user", "\"ping\"", user).map(|at| at.value);
    let mut duration = |key, example, allowed: RangeInclusive<u64>, default| {
        let parse = |text: &str| duration_ms(text, allowed.clone());
        table.parsed(key, example, parse).map_or(default, |at: At<u64>| at.value)
    };
    let rules = Rules {
        interval_ms: duration("interval", "\"10s\"", INTERVAL_MS, rules.interval_ms),
        timeout_ms: duration("timeout", "\"2s\"", TIMEOUT_MS, rules.timeout_ms),
        down_interval_max_ms: duration(
            "down_interval_max",
            "\"30s\"",
            INTERVAL_MS,
            rules.down_interval_max_ms,
        ),
        retry_after_max_ms: duration(
            "retry_after_max",
            "\"30s\"",
            0..=DAY_MS,
            rules.retry_after_max_ms,
        ),
        slow_start_ms: duration("slow_start", "\"30s\"", 0..=DAY_MS, rules.slow_start_ms),
        jitter_per_mille: table.share("jitter").map_or(rules.jitter_per_mille, |at| at.value),
        rise: table.integer("rise", COUNT).map_or(rules.rise, |at| at.value as u32),
        fall: table.integer("fall", COUNT).map_or(rules.fall, |at| at.value as u32),
        codes: table.integers("codes", CODE).into_iter().map(|at| at.value as u16).collect(),
    };
    let panic_per_mille = table.share("panic").map_or(default.panic_per_mille, |at| at.value);
    table.finish(&[]);
    let method = method.map_or(default.method, |at| at.value);
    HealthConfig { enabled, method, from, user, rules, panic_per_mille }
}

fn method(text: &str) -> Result<String, Fault> {
    let token = |byte: u8| byte.is_ascii_uppercase() || b"-_".contains(&byte);
    if text.is_empty() || text.len() > METHOD_SIZE_MAX || !text.bytes().all(token) {
        let title = format!("{} is not a method", quoted(text));
        return Err(Fault::new(0..text.len(), title, "expected capital letters")
            .help("OPTIONS, or what the backends answer without side effects"));
    }
    if ["ACK", "BYE", "CANCEL", "INVITE", "PRACK"].contains(&text) {
        let title = format!("{} cannot be a probe", quoted(text));
        return Err(Fault::new(0..text.len(), title, "it belongs to a call")
            .help("OPTIONS asks for a sign of life and changes nothing (RFC 3261 11)"));
    }
    Ok(text.to_owned())
}

fn from(text: &str) -> Result<String, Fault> {
    let rest = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:"));
    let bad = |letter: char| !letter.is_ascii_graphic() || "<>\"?,".contains(letter);
    match (rest, text.char_indices().find(|(_, letter)| bad(*letter))) {
        (_, Some((at, letter))) => {
            let title = format!("{} is not a SIP URI", quoted(text));
            Err(Fault::new(at..at + letter.len_utf8(), title, "not here"))
        }
        (Some(rest), None) if !rest.is_empty() && text.len() <= URI_SIZE_MAX => Ok(text.to_owned()),
        _ => {
            let title = format!("{} is not a SIP URI", quoted(text));
            Err(Fault::new(0..text.len(), title, "expected sip:USER@HOST"))
        }
    }
}

/// `unreserved` and `user-unreserved` of RFC 3261 25.1.
fn user(text: &str) -> Result<String, Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,;?/".contains(c);
    if let Some((at, bad)) = text.char_indices().find(|(_, letter)| !allowed(*letter)) {
        let title = format!("{} is not the user of a SIP URI", quoted(text));
        return Err(Fault::new(at..at + bad.len_utf8(), title, "not here"));
    }
    if text.is_empty() || text.len() > USER_SIZE_MAX {
        let title = format!("the user {} has {} characters", quoted(text), text.len());
        return Err(Fault::new(0..text.len(), title, format!("expected 1 to {USER_SIZE_MAX}")));
    }
    Ok(text.to_owned())
}

/// As [`health`] reads it.
pub(super) fn show(f: &mut Formatter<'_>, health: &HealthConfig) -> fmt::Result {
    let rules = &health.rules;
    writeln!(f, "\n[pool.health]\nenabled = {}\nmethod = \"{}\"", health.enabled, health.method)?;
    if let Some(from) = &health.from {
        writeln!(f, "from = \"{from}\"")?;
    }
    if let Some(user) = &health.user {
        writeln!(f, "user = \"{user}\"")?;
    }
    let durations = [
        ("interval", rules.interval_ms),
        ("timeout", rules.timeout_ms),
        ("down_interval_max", rules.down_interval_max_ms),
        ("retry_after_max", rules.retry_after_max_ms),
        ("slow_start", rules.slow_start_ms),
    ];
    for (key, ms) in durations {
        writeln!(f, "{key} = \"{}\"", show_duration_ms(ms))?;
    }
    writeln!(f, "jitter = {}", show_share(rules.jitter_per_mille))?;
    writeln!(f, "rise = {}\nfall = {}\ncodes = {:?}", rules.rise, rules.fall, rules.codes)?;
    writeln!(f, "panic = {}", show_share(health.panic_per_mille))
}

/// A share as it is written in a file.
pub(super) fn show_share(per_mille: u16) -> String {
    format!("{:?}", f64::from(per_mille) / 1000.0)
}

const DAY_MS: u64 = 86_400_000;

const INTERVAL_MS: RangeInclusive<u64> = 100..=DAY_MS;

const TIMEOUT_MS: RangeInclusive<u64> = 50..=60_000;

const COUNT: RangeInclusive<u64> = 1..=1_000;

const CODE: RangeInclusive<u64> = 200..=699;

const METHOD_SIZE_MAX: usize = 32;

const URI_SIZE_MAX: usize = 256;

const USER_SIZE_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_a_word_in_capitals_that_begins_no_call() {
        for good in ["OPTIONS", "PING", "X-PING", &"M".repeat(32)] {
            assert!(method(good).is_ok(), "{good}");
        }
        for bad in ["", "options", "A B", "INVITE", "ACK", "A\r\nB", &"M".repeat(33)] {
            assert!(method(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn from_is_a_uri_that_fits_in_angle_brackets() {
        for good in ["sip:probe@lb.example.com", "sips:a@[2001:db8::1]:5061;x=y"] {
            assert_eq!(from(good).as_deref(), Ok(good));
        }
        for bad in ["", "sip:", "probe@x", "sip:a>b", "sip:a b", "sip:a\r\nX: y", "tel:1", "sip:é"]
        {
            assert!(from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_user_has_no_character_that_ends_it() {
        assert!(user("ping").is_ok() && user(&"u".repeat(64)).is_ok());
        for bad in ["", "a@b", "a:b", "a b", "a>", "é", &"u".repeat(65)] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn shares_are_shown_as_they_are_written() {
        let shown = [0, 1, 100, 500, 1000].map(show_share);
        assert_eq!(shown, ["0.0", "0.001", "0.1", "0.5", "1.0"]);
    }
}
