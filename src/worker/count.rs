//! From reasons and errors to cells: the only place that knows which counter means what.

use crate::io::driver::Errno;
use crate::metrics::{BackendOutcome, Cell, Cells, status_codes};
use crate::proxy::{Forwarded, Settled, Tally, Verdict};

/// Counts a verdict. [`Verdict::Ask`] counts when it is answered.
#[inline]
pub(super) fn verdict(cells: &Cells, verdict: &Verdict) {
    match *verdict {
        Verdict::Forward { kind, .. } => forwarded(cells, kind),
        Verdict::Reply { answer, .. } => increment(&cells.answers, answer as usize),
        Verdict::Absorb(absorb) => increment(&cells.absorbed, absorb as usize),
        Verdict::Drop(drop) => increment(&cells.dropped, drop as usize),
        Verdict::Ask { .. } => {}
    }
}

#[inline]
fn forwarded(cells: &Cells, kind: Forwarded) {
    match kind {
        Forwarded::RequestToBackend { method, attempt } => {
            increment(&cells.requests_to_backends, method as usize);
            cells.call_attempts.add(u64::from(attempt));
        }
        Forwarded::RequestToClient { method } => {
            increment(&cells.requests_to_clients, method as usize);
        }
        Forwarded::Own => cells.own_requests.increment(),
        Forwarded::Response { status, settles, timing, .. } => {
            increment(&cells.responses, class(status));
            increment(&cells.response_codes, status_codes::place(status));
            let setup_us = timing.and_then(|timing| timing.setup_us());
            setup_us.into_iter().for_each(|us| cells.setup_seconds.observe(us));
            match settles {
                Some(Settled::Call(result)) => increment(&cells.call_results, result as usize),
                Some(Settled::Registration(result)) => {
                    increment(&cells.registrations, result as usize);
                }
                None => {}
            }
        }
    }
}

/// The place of a status code's class: 1xx at 0 to 6xx at 5.
#[inline]
pub(super) fn class(status: u16) -> usize {
    usize::from(status / 100).clamp(1, 6) - 1
}

#[inline]
fn increment(cells: &[Cell], reason: usize) {
    cells[reason].increment(); // the cells have the length of `ALL`
}

/// What a response tells of its backend's health; provisional ones tell nothing, since a proxy sends
/// 100 before it knows.
#[inline]
pub(super) fn outcome(status: u16, begins: bool) -> Option<BackendOutcome> {
    match status {
        503 => None, // told by itself, whether it goes upstream or not
        200.. if begins => Some(BackendOutcome::Answered),
        _ => None,
    }
}

/// Copies the core's own counts.
pub(super) fn tally(cells: &Cells, tally: &Tally) {
    let routed = cells.routed.iter().zip(tally.routed);
    let tokens = cells.tokens.iter().zip(tally.tokens);
    let failovers = cells.failovers.iter().zip(tally.failovers);
    routed.chain(tokens).chain(failovers).for_each(|(cell, value)| cell.set(value));
    cells.not_kept.set(tally.not_kept);
    cells.not_tracked.set(tally.not_tracked);
    let again = cells.retransmissions.iter().zip(tally.retransmissions);
    again.for_each(|(cell, value)| cell.set(value));
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
    use crate::proxy::{
        Absorb, Answer, CallResult, Drop, Egress, Method, RegistrationResult, SocketIndex, Timing,
    };

    fn forward(kind: Forwarded) -> Verdict {
        let to = "192.0.2.1:5060".parse().unwrap();
        let egress = Egress { socket: SocketIndex(0), to, backend: None };
        Verdict::Forward { egress, len: 0, kind }
    }

    #[test]
    fn only_finals_to_what_may_begin_something_tell_of_health() {
        for status in [200, 302, 404, 408, 486, 500, 502, 504, 603] {
            assert_eq!(outcome(status, true), Some(BackendOutcome::Answered));
        }
        for (status, begins) in [(100, true), (199, true), (200, false), (503, true)] {
            assert_eq!(outcome(status, begins), None, "{status} {begins}");
        }
    }

    #[test]
    fn every_reason_has_its_cell() {
        let cells = Cells::default();
        Absorb::ALL.iter().for_each(|one| verdict(&cells, &Verdict::Absorb(*one)));
        Drop::ALL.iter().for_each(|one| verdict(&cells, &Verdict::Drop(*one)));
        for answer in Answer::ALL {
            let Verdict::Forward { egress, .. } =
                forward(Forwarded::RequestToClient { method: Method::Bye })
            else {
                unreachable!()
            };
            verdict(&cells, &Verdict::Reply { egress, len: 0, answer: *answer });
        }
        let all = cells.absorbed.iter().chain(&cells.dropped).chain(&cells.answers);
        assert!(all.map(Cell::value).all(|value| value == 1));
    }

    #[test]
    fn responses_are_counted_by_class() {
        let cells = Cells::default();
        for code in [100, 199, 200, 302, 486, 503, 600, 699] {
            let kind = Forwarded::Response {
                status: code,
                from: None,
                begins: true,
                settles: None,
                timing: None,
            };
            verdict(&cells, &forward(kind));
        }
        let classes = cells.responses.each_ref().map(Cell::value);
        assert_eq!(classes, [2, 1, 1, 1, 1, 2]);
        let of = |status| cells.response_codes[status_codes::place(status)].value();
        assert_eq!([100, 486, 199, 699].map(of), [1, 1, 1, 1]);
    }

    #[test]
    fn every_method_and_result_has_its_cell() {
        let cells = Cells::default();
        for &method in Method::ALL {
            verdict(&cells, &forward(Forwarded::RequestToBackend { method, attempt: false }));
            verdict(&cells, &forward(Forwarded::RequestToClient { method }));
        }
        let calls = CallResult::ALL.iter().map(|&result| Settled::Call(result));
        let registrations = RegistrationResult::ALL.iter().map(|&r| Settled::Registration(r));
        for settles in calls.chain(registrations) {
            let (from, settles) = (Some(BackendId(1)), Some(settles));
            verdict(
                &cells,
                &forward(Forwarded::Response {
                    status: 200,
                    from,
                    begins: true,
                    settles,
                    timing: None,
                }),
            );
        }
        let requests = cells.requests_to_backends.iter().chain(&cells.requests_to_clients);
        let all = requests.chain(&cells.call_results).chain(&cells.registrations);
        assert!(all.map(Cell::value).all(|value| value == 1));
        assert_eq!(cells.call_attempts.value(), 0);
    }

    #[test]
    fn the_first_ringing_tells_how_long_the_setup_took() {
        let cells = Cells::default();
        for sets_up in [true, false] {
            let timing = Some(Timing {
                total_us: 700,
                heard_us: 700,
                attempt_us: 300,
                first: true,
                last: false,
                sets_up,
                retransmissions: 0,
            });
            let kind = Forwarded::Response {
                status: 180,
                from: None,
                begins: true,
                settles: None,
                timing,
            };
            verdict(&cells, &forward(kind));
        }
        assert_eq!(cells.setup_seconds.sum_us.value(), 700, "over all attempts, and once");
    }

    #[test]
    fn an_attempt_is_a_request_too() {
        let cells = Cells::default();
        for attempt in [true, false, true] {
            let kind = Forwarded::RequestToBackend { method: Method::Invite, attempt };
            verdict(&cells, &forward(kind));
        }
        assert_eq!(cells.call_attempts.value(), 2);
        assert_eq!(cells.requests_to_backends[Method::Invite as usize].value(), 3);
    }

    #[test]
    fn errors_of_sends_and_receives_are_counted_by_kind() {
        let cells = Cells::default();
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
