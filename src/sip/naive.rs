//! The oracle of the scanner: the same rows by the most obvious way, slowly.

use super::{Header, Row, Span};

/// Every row of a known field, and where the body begins.
pub(super) fn rows(bytes: &[u8]) -> (Vec<Row>, Option<usize>) {
    let mut rows = Vec::new();
    let mut start = 0;
    loop {
        let Some(mut end) = line_end(bytes, start) else { return (rows, None) };
        if bytes[start..end] == *b"\n" || bytes[start..end] == *b"\r\n" {
            return (rows, Some(end));
        }
        while end < bytes.len() && (bytes[end] == b' ' || bytes[end] == b'\t') {
            let Some(next) = line_end(bytes, end) else { return (rows, None) };
            end = next;
        }
        let line = &bytes[start..end];
        if let Some(colon) = line.iter().position(|&byte| byte == b':') {
            // Only SP and HTAB may stand before the colon: a fold there makes another name.
            let name_end = line[..colon].iter().rposition(|byte| !b" \t".contains(byte));
            let name = &line[..name_end.map_or(0, |last| last + 1)];
            let blank = |byte: &u8| b" \t\r\n".contains(byte);
            let from = colon + 1 + line[colon + 1..].iter().take_while(|b| blank(b)).count();
            let to = line.len() - line[from..].iter().rev().take_while(|b| blank(b)).count();
            if let Some(header) = Header::named(name) {
                let value = Span::new(start + from, start + to);
                rows.push(Row { header, line: Span::new(start, end), value });
            }
        }
        start = end;
    }
}

fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    bytes[from..].iter().position(|&byte| byte == b'\n').map(|at| from + at + 1)
}
