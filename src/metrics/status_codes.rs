//! The status codes that are counted one by one; the rest share one place. A label must be bounded, and
//! a backend may answer with any of 600 numbers.

/// Those of RFC 3261 21 and of the usual extensions, in order.
const CODES: [u16; 55] = [
    100, 180, 181, 182, 183, 199, 200, 202, 204, 300, 301, 302, 305, 380, 400, 401, 402, 403, 404,
    405, 406, 407, 408, 410, 412, 413, 414, 415, 416, 420, 421, 422, 423, 429, 430, 436, 438, 480,
    481, 482, 483, 484, 485, 486, 487, 488, 489, 491, 494, 500, 501, 502, 503, 504, 505,
];

/// And those behind them.
const MORE: [u16; 8] = [513, 555, 580, 600, 603, 604, 606, 607];

/// Places, the last one for all others.
pub const PLACES: usize = CODES.len() + MORE.len() + 1;

/// The place of a status code, below [`PLACES`].
#[inline]
pub fn place(status: u16) -> usize {
    usize::from(TABLE.get(usize::from(status)).copied().unwrap_or(OTHER))
}

/// The labels of all places, in their order.
pub fn labels() -> impl Iterator<Item = String> {
    let codes = CODES.iter().chain(&MORE).map(ToString::to_string);
    codes.chain(["other".to_owned()])
}

const OTHER: u8 = (PLACES - 1) as u8;

/// By status code.
static TABLE: [u8; 700] = table();

const fn table() -> [u8; 700] {
    let mut table = [OTHER; 700];
    let mut at = 0;
    while at < CODES.len() {
        table[CODES[at] as usize] = at as u8;
        at += 1;
    }
    while at < CODES.len() + MORE.len() {
        table[MORE[at - CODES.len()] as usize] = at as u8;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_is_at_the_place_of_its_code() {
        let labels: Vec<_> = labels().collect();
        assert_eq!(labels.len(), PLACES);
        for status in 0..=u16::MAX {
            let label = &labels[place(status)];
            assert!(*label == status.to_string() || label == "other", "{status}: {label}");
        }
        for known in [100, 183, 200, 302, 407, 487, 503, 505, 513, 603, 607] {
            assert_eq!(labels[place(known)], known.to_string());
        }
        for other in [0, 99, 299, 499, 699, 700, u16::MAX] {
            assert_eq!(labels[place(other)], "other", "{other}");
        }
    }
}
