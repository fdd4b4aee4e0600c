//! A backend: answers every request at once, with the state of its open answers only.
//!
//! Its To tags begin with `b` and its place among the backends: a request whose tag names another
//! backend has come to the wrong one.

use super::Number;
use super::outbox::Outbox;
use super::report::BackendCounts;
use super::scan::{Scanned, Start};
use super::text::{body, write_all, write_hex};
use super::timers::Timers;
use sipring_loadtest::random::Random;
use sipring_loadtest::text::sdp;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Calls whose answers are repeated until the ACK comes; what is beyond goes without.
const SLOTS_MAX: u32 = 1 << 17;
/// Different answers.
const ANSWERS: usize = 64;

pub(super) struct Answerer {
    place: u8,
    address: String,
    /// Session descriptions; a call takes one by its number.
    offers: Vec<String>,
    timers: Timers,
    answers: Vec<Answer>,
    pub(super) counts: BackendCounts,
}

/// The answer to the INVITE of one call, until its ACK.
#[derive(Default)]
struct Answer {
    generation: u32,
    is_open: bool,
    text: Vec<u8>,
    to: Option<SocketAddrV4>,
}

impl Answerer {
    pub(super) fn new(place: usize, address: SocketAddrV4, t1: Duration, seed: u64) -> Self {
        let offer = |n| sdp((*address.ip()).into(), &mut Random::new(seed, n));
        Self {
            place: place as u8,
            address: address.to_string(),
            offers: (0..ANSWERS as u64).map(offer).collect(),
            timers: Timers::new(t1),
            answers: Vec::new(),
            counts: BackendCounts::default(),
        }
    }

    /// A datagram came from a balancer or a caller; answers go back to where it came from, which is
    /// what `rport` asks for (RFC 3581 4).
    pub(super) fn receive(&mut self, now: u64, from: SocketAddrV4, bytes: &[u8], out: &mut Outbox) {
        self.counts.received += 1;
        let Some(request) = Scanned::read(bytes) else {
            self.counts.garbage += 1;
            return;
        };
        let Start::Request(method) = request.start else {
            self.counts.garbage += 1;
            return;
        };
        let number = request.number();
        if number.is_some() && request.to_tag().is_some_and(|tag| !self.is_mine(tag)) {
            self.counts.wrong_backend += 1;
        }
        match method {
            b"INVITE" => self.invite(now, from, &request, out),
            b"ACK" => self.acknowledged(number),
            b"BYE" => {
                // Whoever hangs up has heard the answer, even if the ACK was lost.
                self.acknowledged(number);
                self.answer(from, &request, out, "200 OK", "");
            }
            // Probes of the balancer too.
            _ => self.answer(from, &request, out, "200 OK", ""),
        }
    }

    /// Repeats answers that were not acknowledged (RFC 3261 13.3.1.4).
    pub(super) fn wake(&mut self, now: u64, out: &mut Outbox) {
        while let Some(wait) = self.timers.take_due(now) {
            let answer = &self.answers[wait.number.slot as usize];
            if !answer.is_open || answer.generation != wait.number.generation {
                continue;
            }
            if self.timers.again(now, wait, true) {
                self.counts.answers_repeated += 1;
                out.bytes.extend_from_slice(&answer.text);
                out.close(answer.to);
            }
        }
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        self.timers.next()
    }

    /// Answers of which no ACK came.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.answers.iter().filter(|answer| answer.is_open).count() as u64
    }

    fn invite(&mut self, now: u64, from: SocketAddrV4, invite: &Scanned<'_>, out: &mut Outbox) {
        self.head(from, invite, out, "100 Trying", false);
        write_all!(out.bytes, "Content-Length: 0\r\n\r\n");
        out.close(Some(from));
        self.answer(from, invite, out, "180 Ringing", "");
        let number = invite.number();
        let pick = number.map_or(0, |number| number.generation.wrapping_add(number.slot));
        let offer = std::mem::take(&mut self.offers[pick as usize % ANSWERS]);
        self.answer(from, invite, out, "200 OK", &offer);
        self.offers[pick as usize % ANSWERS] = offer;
        if let Some(number) = number.filter(|number| number.slot < SLOTS_MAX) {
            self.remember(now, number, from, out.last());
        }
    }

    fn remember(&mut self, now: u64, number: Number, to: SocketAddrV4, text: &[u8]) {
        let place = number.slot as usize;
        if self.answers.len() <= place {
            self.answers.resize_with(place + 1, Answer::default);
        }
        let answer = &mut self.answers[place];
        if answer.generation == number.generation && !answer.text.is_empty() {
            self.counts.requests_repeated += 1;
            return; // its timer runs, or its ACK was here
        }
        answer.generation = number.generation;
        answer.is_open = true;
        answer.to = Some(to);
        answer.text.clear();
        answer.text.extend_from_slice(text);
        self.timers.arm(now, number, 0);
    }

    fn acknowledged(&mut self, number: Option<Number>) {
        let Some(number) = number else { return };
        if let Some(answer) = self.answers.get_mut(number.slot as usize) {
            answer.is_open &= answer.generation != number.generation;
        }
    }

    fn answer(
        &self,
        from: SocketAddrV4,
        request: &Scanned<'_>,
        out: &mut Outbox,
        status: &str,
        offer: &str,
    ) {
        self.head(from, request, out, status, true);
        if request.method() == b"INVITE" {
            request.record_routes.all().iter().for_each(|line| out.bytes.extend_from_slice(line));
            write_all!(out.bytes, "Contact: <sip:b@", self.address, ">\r\n");
            write_all!(
                out.bytes,
                "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, REGISTER\r\n"
            );
        }
        write_all!(out.bytes, "Server: load-backend\r\n");
        match offer {
            "" => write_all!(out.bytes, "Content-Length: 0\r\n\r\n"),
            offer => body(&mut out.bytes, "application/sdp", offer),
        }
        out.close(Some(from));
    }

    /// What every response copies of its request (RFC 3261 8.2.6).
    fn head(
        &self,
        from: SocketAddrV4,
        request: &Scanned<'_>,
        out: &mut Outbox,
        status: &str,
        tagged: bool,
    ) {
        let out = &mut out.bytes;
        write_all!(out, "SIP/2.0 ", status, "\r\n");
        for (place, via) in request.vias.all().iter().enumerate() {
            match place {
                0 => write_first_via(out, via, from),
                _ => out.extend_from_slice(via),
            }
        }
        write_all!(out, "From: ", request.from, "\r\nTo: ", request.to);
        if tagged && request.to_tag().is_none() {
            write_all!(out, ";tag=b");
            let drawn = request.number().map_or(0, Number::value);
            write_hex(out, u64::from(self.place) << 56 | drawn & (u64::MAX >> 8));
        }
        write_all!(out, "\r\nCall-ID: ", request.call_id, "\r\nCSeq: ", request.cseq, "\r\n");
    }

    fn is_mine(&self, tag: &[u8]) -> bool {
        let place = tag.get(1..3).and_then(super::scan::hex);
        tag.first() == Some(&b'b') && place == Some(u64::from(self.place))
    }
}

/// The topmost Via with its empty `rport` filled (RFC 3581 4).
fn write_first_via(out: &mut Vec<u8>, via: &[u8], from: SocketAddrV4) {
    use std::io::Write;
    let name = b";rport";
    let empty = memchr::memmem::find(via, name)
        .map(|at| at + name.len())
        .filter(|&end| via.get(end) != Some(&b'='));
    match empty {
        Some(end) => {
            out.extend_from_slice(&via[..end]);
            let _ = write!(out, "={};received={}", from.port(), from.ip()); // a Vec takes all
            out.extend_from_slice(&via[end..]);
        }
        None => out.extend_from_slice(via),
    }
}
