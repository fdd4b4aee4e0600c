//! From reasons and errors to cells: the only place that knows which counter means what.

use crate::io::driver::Errno;
use crate::metrics::{BackendOutcome, Cell, Cells};
use crate::proxy::{Forwarded, Response, Tally, Verdict};

/// Counts a verdict. [`Verdict::Ask`] counts when it is answered.
#[inline]
pub(super) fn verdict(cells: &Cells, verdict: &Verdict) {
    match *verdict {
        Verdict::Forward { kind, .. } => match kind {
            Forwarded::RequestToBackend => cells.requests_to_backends.increment(),
            Forwarded::RequestToClient => cells.requests_to_clients.increment(),
            Forwarded::Response(response) => {
                let class = usize::from(response.status / 100).clamp(1, 6) - 1;
                cells.responses[class].increment();
            }
        },
        Verdict::Reply { answer, .. } => increment(&cells.answers, answer as usize),
        Verdict::Absorb(absorb) => increment(&cells.absorbed, absorb as usize),
        Verdict::Drop(drop) => increment(&cells.dropped, drop as usize),
        Verdict::Ask { .. } => {}
    }
}

#[inline]
fn increment(cells: &[Cell], reason: usize) {
    cells[reason].increment(); // the cells have the length of `ALL`
}

/// What a response tells of its backend's health; provisional ones tell nothing, since a proxy sends
/// 100 before it knows.
#[inline]
pub(super) fn outcome(response: &Response) -> Option<BackendOutcome> {
    match response.status {
        503 if response.begins => Some(BackendOutcome::Refused),
        200.. if response.begins => Some(BackendOutcome::Answered),
        _ => None,
    }
}

/// Copies the core's own counts.
pub(super) fn tally(cells: &Cells, tally: &Tally) {
    let pairs = cells.routed.iter().zip(tally.routed).chain(cells.tokens.iter().zip(tally.tokens));
    pairs.for_each(|(cell, value)| cell.set(value));
}

/// Counts the end of a send.
#[inline]
pub(super) fn sent(cells: &Cells, result: Result<u32, Errno>) {
    match result {
        Ok(bytes) => {
            cells.datagrams_sent.increment();
            cells.bytes_sent.add(u64::from(bytes));
        }
        Err(Errno(libc::EAGAIN)) => cells.send_full.increment(),
        Err(errno) if errno.is_icmp() => cells.icmp_errors.increment(),
        Err(_) => cells.send_errors.increment(),
    }
}

/// Counts the end of a receive.
pub(super) fn receive_ended(cells: &Cells, errno: Errno) {
    match errno {
        Errno(libc::ENOBUFS) => cells.buffers_exhausted.increment(),
        Errno(libc::ECANCELED) => {} // we asked for it
        errno if errno.is_icmp() => cells.icmp_errors.increment(),
        _ => cells.receive_errors.increment(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::BackendId;
    use crate::proxy::{Absorb, Answer, Drop, Egress, SocketIndex};

    fn forward(kind: Forwarded) -> Verdict {
        let to = "192.0.2.1:5060".parse().unwrap();
        let egress = Egress { socket: SocketIndex(0), to, backend: None };
        Verdict::Forward { egress, len: 0, kind }
    }

    fn response(status: u16, begins: bool) -> Response {
        Response { status, backend: BackendId(1), begins }
    }

    #[test]
    fn only_finals_to_what_may_begin_something_tell_of_health() {
        for status in [200, 302, 404, 408, 486, 500, 502, 504, 603] {
            assert_eq!(outcome(&response(status, true)), Some(BackendOutcome::Answered));
        }
        assert_eq!(outcome(&response(503, true)), Some(BackendOutcome::Refused));
        for (status, begins) in [(100, true), (199, true), (200, false), (503, false)] {
            assert_eq!(outcome(&response(status, begins)), None, "{status} {begins}");
        }
    }

    #[test]
    fn every_reason_has_its_cell() {
        let cells = Cells::new(Vec::new());
        Absorb::ALL.iter().for_each(|one| verdict(&cells, &Verdict::Absorb(*one)));
        Drop::ALL.iter().for_each(|one| verdict(&cells, &Verdict::Drop(*one)));
        for answer in Answer::ALL {
            let Verdict::Forward { egress, .. } = forward(Forwarded::RequestToClient) else {
                unreachable!()
            };
            verdict(&cells, &Verdict::Reply { egress, len: 0, answer: *answer });
        }
        let all = cells.absorbed.iter().chain(&cells.dropped).chain(&cells.answers);
        assert!(all.map(Cell::value).all(|value| value == 1));
    }

    #[test]
    fn responses_are_counted_by_class() {
        let cells = Cells::new(Vec::new());
        for code in [100, 199, 200, 302, 486, 503, 600, 699] {
            verdict(&cells, &forward(Forwarded::Response(response(code, true))));
        }
        let classes = cells.responses.each_ref().map(Cell::value);
        assert_eq!(classes, [2, 1, 1, 1, 1, 2]);
    }

    #[test]
    fn errors_of_sends_and_receives_are_counted_by_kind() {
        let cells = Cells::new(Vec::new());
        let send = [libc::EAGAIN, libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::EMSGSIZE];
        send.iter().for_each(|errno| sent(&cells, Err(Errno(*errno))));
        let receive = [libc::ENOBUFS, libc::ECANCELED, libc::ENETUNREACH, libc::ENOMEM];
        receive.iter().for_each(|errno| receive_ended(&cells, Errno(*errno)));
        sent(&cells, Ok(500));
        assert_eq!(cells.send_full.value(), 1);
        assert_eq!(cells.icmp_errors.value(), 3);
        assert_eq!(cells.send_errors.value(), 1);
        assert_eq!(cells.buffers_exhausted.value(), 1);
        assert_eq!(cells.receive_errors.value(), 1);
        assert_eq!((cells.datagrams_sent.value(), cells.bytes_sent.value()), (1, 500));
    }
}
