//! The rows of one header field in a message, and its comma-joined values over all of them.
//!
//! By hand: chained, flattened iterators do the same in twice as much code, and each message walks its Vias.

use super::{Row, Rows, Span, Values};

/// The rows of one field, in their order.
#[derive(Clone, Debug)]
pub struct RowsOf<'a> {
    bytes: &'a [u8],
    /// The one that was given last, or the first one.
    row: Row,
    begun: bool,
    /// So many were not given yet.
    left: u32,
}

impl<'a> RowsOf<'a> {
    /// `count` of them, of which this is the first.
    #[inline]
    pub(super) fn new(bytes: &'a [u8], first: Row, count: u32) -> Self {
        Self { bytes, row: first, begun: false, left: count }
    }

    // Never: other rows may stand between, and the walk over them is no small one.
    #[inline(never)]
    fn further(&self) -> Option<Row> {
        let mut behind = Rows::new(self.bytes, self.row.line.end as usize);
        behind.find(|row| row.header == self.row.header)
    }
}

impl Iterator for RowsOf<'_> {
    type Item = Row;

    #[inline]
    fn next(&mut self) -> Option<Row> {
        self.left = self.left.checked_sub(1)?;
        if self.begun {
            self.row = self.further()?;
        }
        self.begun = true;
        Some(self.row)
    }
}

/// The values of one field, each with its row.
#[derive(Clone, Debug)]
pub struct ValuesOf<'a> {
    rows: RowsOf<'a>,
    /// Of the row that was given last.
    values: Values<'a>,
}

impl<'a> ValuesOf<'a> {
    #[inline]
    pub(super) fn new(rows: RowsOf<'a>) -> Self {
        Self { values: Values::new(rows.bytes, Span::default()), rows }
    }
}

impl Iterator for ValuesOf<'_> {
    type Item = (Row, Span);

    // Never: one copy of it for all fields and askers.
    #[inline(never)]
    fn next(&mut self) -> Option<(Row, Span)> {
        loop {
            if let Some(value) = self.values.next() {
                return Some((self.rows.row, value));
            }
            let row = self.rows.next()?;
            self.values = Values::new(self.rows.bytes, row.value);
        }
    }
}
