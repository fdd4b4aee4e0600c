//! Whole calls through a shard, as a worker's loop does it: turn by turn, several messages in each.

use crate::setup::world::{LISTENER, PORT, World, address, response};
use crate::setup::{CLIENT, CONTACT, Case, ok_with_sdp, within_dialog};
use sipring::proxy::{Ingress, Replaced, SocketIndex, Verdict};
use sipring::sip::call_key;
use std::hint::black_box;

/// Calls side by side: the messages of a turn.
const CALLS: usize = 8;

/// INVITE, 100, 180, 200, ACK, BYE, 200.
const MESSAGES: usize = 7;

/// From one turn to the next, milliseconds: enough that the hands sweep in each.
const TURN_MS: u64 = 2;

/// A shard, and what comes to it.
pub(crate) struct Turns {
    world: World,
    turns: Vec<Vec<(Ingress, Vec<u8>)>>,
    out: Vec<u8>,
}

impl Turns {
    /// Plays the calls once, to know what the peers send; then makes a fresh shard for them, with the
    /// same keys, whose buffers have seen a message.
    pub(crate) fn new() -> Self {
        let mut turns = vec![Vec::new(); MESSAGES];
        let mut world = Case::world();
        for number in 1..=CALLS {
            let messages = call(&mut world, number);
            turns.iter_mut().zip(messages).for_each(|(turn, message)| turn.push(message));
        }
        let mut world = Case::world();
        call(&mut world, 0);
        Self { world, turns, out: vec![0; 65_535] }
    }

    /// All turns, with all that a worker asks the core in one.
    pub(crate) fn run(&mut self) {
        let Self { world: World { proxy, pool, now, .. }, turns, out } = self;
        for turn in turns {
            *now = now.after_ms(TURN_MS);
            for (ingress, bytes) in turn {
                black_box(call_key(bytes));
                let verdict = proxy.handle(*now, pool, ingress, bytes, out);
                debug_assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
                black_box((verdict, proxy.take_refused()));
            }
            proxy.handle_timeout(*now);
            while let Some(verdict) = proxy.poll(*now, pool, out) {
                black_box(verdict);
            }
            while let Some(silent) = proxy.take_silent() {
                black_box(silent);
            }
            while let Some(backend) = proxy.take_changed() {
                black_box(proxy.load_of(backend, *now));
            }
        }
    }
}

/// The messages of one call, in order, as they come to us.
fn call(world: &mut World, number: usize) -> Vec<(Ingress, Vec<u8>)> {
    let mut came = Vec::new();
    let mut push = |from: &str, socket: SocketIndex, text: String| {
        let outcome = world.push(from, socket, &text);
        let ingress = Ingress { source: address(from), socket, replaced: Replaced::Unasked };
        came.push((ingress, text.into_bytes()));
        (outcome.forwarded_to().to_string(), outcome.text())
    };
    let invite = Case::invite_text().replace("a8-00000000", &format!("a8-{number:08}"));
    let (backend, got) = push(CLIENT, LISTENER, invite);
    push(&backend, PORT, response(&got, "100 Trying", "", ""));
    push(&backend, PORT, response(&got, "180 Ringing", "bob", CONTACT));
    let (_, ok) = push(&backend, PORT, ok_with_sdp(&got));
    push(CLIENT, LISTENER, within_dialog("ACK", 102, &ok));
    let (_, got) = push(CLIENT, LISTENER, within_dialog("BYE", 103, &ok));
    push(&backend, PORT, response(&got, "200 OK", "", ""));
    came
}
