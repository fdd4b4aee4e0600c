//! `[work]`: what a request without a final response counts for, by its method.

use super::reader::Table;
use crate::proxy::{Method, WORK};
use std::fmt::{self, Formatter};
use std::ops::RangeInclusive;

/// Hundredths of an average request: 0.01 to 100.
const WEIGHT: RangeInclusive<u16> = 1..=10_000;

/// ACK has no response (RFC 3261 17).
fn weighed() -> impl Iterator<Item = Method> {
    Method::ALL.iter().copied().filter(|method| *method != Method::Ack)
}

/// Reads the table.
pub(super) fn work(mut table: Table<'_>) -> [u16; Method::ALL.len()] {
    let mut work = WORK;
    for method in weighed() {
        if let Some(at) = table.decimal(method.label(), 100, WEIGHT) {
            work[method as usize] = at.value;
        }
    }
    table.finish(&[]);
    work
}

/// As [`work`] reads it.
pub(super) fn show(f: &mut Formatter<'_>, work: &[u16; Method::ALL.len()]) -> fmt::Result {
    writeln!(f, "\n[work]")?;
    for method in weighed() {
        writeln!(f, "{} = {}", method.label(), decimal(work[method as usize]))?;
    }
    Ok(())
}

/// Each weight that differs, in words.
pub(super) fn diff(
    old: &[u16; Method::ALL.len()],
    new: &[u16; Method::ALL.len()],
    value: &mut impl FnMut(&str, String, String),
) {
    for method in weighed() {
        let of = |work: &[u16; Method::ALL.len()]| decimal(work[method as usize]);
        value(&format!("work {}", method.label()), of(old), of(new));
    }
}

/// Hundredths as a decimal number.
pub(super) fn decimal(hundredths: u16) -> String {
    format!("{:?}", f64::from(hundredths) / 100.0)
}
