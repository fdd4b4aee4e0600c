//! Messages that wait to be sent together: one buffer, and where each of them ends.

use std::net::SocketAddrV4;

#[derive(Default)]
pub(super) struct Outbox {
    /// Where a message is written; [`Outbox::close`] ends it.
    pub(super) bytes: Vec<u8>,
    ends: Vec<(usize, Option<SocketAddrV4>)>,
}

impl Outbox {
    /// Ends a message; `to` is `None` on a connection.
    pub(super) fn close(&mut self, to: Option<SocketAddrV4>) {
        self.ends.push((self.bytes.len(), to));
    }

    /// The message that was closed last.
    pub(super) fn last(&self) -> &[u8] {
        let Some(&(end, _)) = self.ends.last() else { return &[] };
        let start = self.ends.len().checked_sub(2).map_or(0, |place| self.ends[place].0);
        &self.bytes[start..end]
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = (&[u8], Option<SocketAddrV4>)> {
        let mut start = 0;
        self.ends.iter().map(move |&(end, to)| {
            let message = &self.bytes[start..end];
            start = end;
            (message, to)
        })
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}
