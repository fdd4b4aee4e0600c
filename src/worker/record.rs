//! What one worker tells another: a datagram and where it came from, as a record of a hand-off ring.

use crate::io::message_header::{self, NAME_SIZE};
use crate::pool::BackendId;
use crate::proxy::{Ingress, Replaced, SocketIndex};
use crate::sip::Span;

/// Bytes in front of the datagram: kind, socket, two words, source.
pub(super) const HEADER_SIZE: usize = 1 + 2 + 4 + 4 + NAME_SIZE;

/// What the receiver of a record is to do with the datagram in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Handle it: its Call-ID is yours, or you asked and this is the answer.
    Handle,
    /// Say where the pin of the Call-ID in this range leads: send it back with the answer.
    Ask(Span),
}

const HANDLE: u8 = 0;
const ASK: u8 = 1;
const ANSWER_NONE: u8 = 2;
const ANSWER_SOME: u8 = 3;

/// Writes what goes in front of the datagram.
pub(super) fn encode(task: Task, ingress: &Ingress) -> [u8; HEADER_SIZE] {
    let (kind, one, two) = match (task, ingress.replaced) {
        (Task::Ask(span), _) => (ASK, span.start, span.end),
        (Task::Handle, Replaced::Unasked) => (HANDLE, 0, 0),
        (Task::Handle, Replaced::Answered(None)) => (ANSWER_NONE, 0, 0),
        (Task::Handle, Replaced::Answered(Some(BackendId(id)))) => (ANSWER_SOME, id, 0),
    };
    let mut name = [0; NAME_SIZE];
    message_header::encode(ingress.source, &mut name);
    let mut header = [0; HEADER_SIZE];
    header[0] = kind;
    header[1..3].copy_from_slice(&ingress.socket.0.to_le_bytes());
    header[3..7].copy_from_slice(&u32::to_le_bytes(one));
    header[7..11].copy_from_slice(&u32::to_le_bytes(two));
    header[11..].copy_from_slice(&name);
    header
}

/// Reads a record: the task, where the datagram came from, and the datagram. `None` if it is none,
/// which only a bug could write.
pub(super) fn decode(record: &[u8]) -> Option<(Task, Ingress, &[u8])> {
    let (header, bytes) = record.split_first_chunk::<HEADER_SIZE>()?;
    let word = |at: usize| header[at..at + 4].try_into().map(u32::from_le_bytes).unwrap_or(0);
    let (task, replaced) = match header[0] {
        HANDLE => (Task::Handle, Replaced::Unasked),
        ASK => (Task::Ask(Span { start: word(3), end: word(7) }), Replaced::Unasked),
        ANSWER_NONE => (Task::Handle, Replaced::Answered(None)),
        ANSWER_SOME => (Task::Handle, Replaced::Answered(Some(BackendId(word(3))))),
        _ => return None,
    };
    let socket = SocketIndex(u16::from_le_bytes([header[1], header[2]]));
    let source = message_header::decode(&header[11..])?;
    Some((task, Ingress { source, socket, replaced }, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_record_survives_the_way() {
        let span = Span { start: 5, end: 70_000 };
        let answers = [None, Some(BackendId(0)), Some(BackendId(u32::MAX))];
        let cases = [(Task::Handle, Replaced::Unasked), (Task::Ask(span), Replaced::Unasked)]
            .into_iter()
            .chain(answers.map(|answer| (Task::Handle, Replaced::Answered(answer))));
        for (task, replaced) in cases {
            for source in ["192.0.2.1:5060", "[2001:db8::1]:5060", "[fe80::1%7]:65535"] {
                let source = source.parse().unwrap();
                let ingress = Ingress { source, socket: SocketIndex(4095), replaced };
                let record = [&encode(task, &ingress)[..], b"INVITE"].concat();
                let (decoded, came, bytes) = decode(&record).unwrap();
                assert_eq!((decoded, bytes), (task, &b"INVITE"[..]));
                assert_eq!(came.source, source);
                assert_eq!((came.socket, came.replaced), (SocketIndex(4095), replaced));
            }
        }
    }

    #[test]
    fn a_record_one_byte_short_is_none() {
        let ingress = Ingress {
            source: "192.0.2.1:5060".parse().unwrap(),
            socket: SocketIndex(0),
            replaced: Replaced::Unasked,
        };
        let header = encode(Task::Handle, &ingress);
        assert!(decode(&header).is_some_and(|(_, _, bytes)| bytes.is_empty()));
        assert!(decode(&header[..HEADER_SIZE - 1]).is_none());
    }

    proptest! {
        #[test]
        fn random_bytes_do_not_panic(record: Vec<u8>) {
            let _ = decode(&record);
        }
    }
}
