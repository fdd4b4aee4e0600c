//! Pins by the million: how many bytes each, how long a cold find and insert, how long the longest pause.
//!
//! `cargo run --release -p sipring-instructions --example pins -- [--pins N] [--shards N] [--huge]`; results in
//! `benches/results/`. It stands in this crate because the core is built alone here.
//!
//! One operation lasts little longer than two looks at the clock. So each is timed by itself, the clock's own
//! cost is shown, and what is called "net" has its mean taken off; the mean of a chain of finds, each of which
//! waits for the one before, needs no clock between and tells whether that is right. What else the machine does
//! shows as the longest gap in an empty loop of the same length.

#[allow(unsafe_code, dead_code)] // the balancer's own
#[path = "../../../src/io/huge_pages.rs"]
mod huge_pages;
#[path = "../../setup/mod.rs"]
#[allow(dead_code)] // not all of it
mod setup;
mod times;

extern crate sipring_instructions as sipring; // world.rs names it so

use setup::world::{LISTENER, World, address, backends, settings};
use setup::{CLIENT, Case};
use sipring::pool::BackendId;
use sipring::proxy::pin::{Class, Idle, Outcome, PinKey, PinTable, Sweep};
use sipring::proxy::{Ingress, Replaced};
use std::hint::black_box;
use std::time::{Duration, Instant};
use times::{Times, resident_kb};

/// What a run is asked for.
struct Options {
    pins: usize,
    shards: usize,
    huge: bool,
}

fn main() {
    let options = options();
    Times::empty(Duration::from_secs(1));
    let before_kb = resident_kb();
    tables(&options, before_kb);
    shard(&options);
}

fn options() -> Options {
    let mut options = Options { pins: 10_000_000, shards: 1, huge: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|n| n.parse().ok()).expect("a number");
        match argument.as_str() {
            "--pins" => options.pins = number(),
            "--shards" => options.shards = number(),
            "--huge" => options.huge = true,
            other => panic!("{other}: --pins N, --shards N, --huge"),
        }
    }
    options
}

/// Memory as large as a table, which no find can undercut by more than what the caches hold of it.
fn words(options: &Options, bytes: usize) -> Vec<u64> {
    let words: Vec<u64> = (0..bytes as u64 / 8).collect();
    if options.huge {
        let range = words.as_ptr_range();
        println!(
            "on huge pages: {:?} bytes",
            huge_pages::collapse(range.start.addr()..range.end.addr())
        );
    }
    words
}

/// Numbers in no order.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((u128::from(self.0) * limit as u128) >> 64) as usize
    }
}

/// The tables by themselves.
fn tables(options: &Options, before_kb: u64) {
    let each = options.pins / options.shards;
    let began = Instant::now();
    let mut tables: Vec<PinTable> = (0..options.shards as u64)
        .map(|shard| PinTable::new(each, IDLE, [shard, 2, 3, 4]))
        .collect();
    if options.huge {
        for table in &tables {
            println!("on huge pages: {:?} bytes", huge_pages::collapse(table.memory()));
        }
    }
    println!("made in {} ms: {} slots a shard", began.elapsed().as_millis(), tables[0].slots());
    let at = |number: usize| (number % options.shards, number / options.shards);

    // A million are transactions that all run out in second 32, the others are dialogs.
    let storm = options.pins / 10;
    let (mut early, mut late) =
        (Times::new("insert, up to 3/4 of all"), Times::new("insert, the rest"));
    let all = each * options.shards;
    for number in 0..all {
        let table = &mut tables[at(number).0];
        let key = table.key(&call_id(number));
        let class = if number % 10 == 0 { Class::Transaction } else { Class::Dialog };
        let backend = backend(number);
        let times = if number < all / 4 * 3 { &mut early } else { &mut late };
        let outcome = times.of(|| table.insert_or_refresh(key, backend, class, 0));
        assert_eq!(outcome, Outcome::Inserted);
    }
    early.print();
    late.print();
    let kb = resident_kb() - before_kb;
    println!(
        "{all} pins: {} MB resident, {:.1} bytes a pin",
        kb / 1000,
        kb as f64 * 1024.0 / all as f64
    );

    let mut words = words(options, tables[0].bytes());
    cold(&tables[0], &words, each, |number| number * options.shards);
    chain(&tables[0], |random| call_id((random % each as u64) as usize * options.shards));
    expiry(&mut tables, &mut words, storm);
}

/// Looks at a table in which these numbers stand, and at other memory; by turns, since what the machine has
/// left for us changes.
fn cold(table: &PinTable, words: &[u64], count: usize, number: impl Fn(usize) -> usize) {
    let mut random = Random(1);
    let mut nothing = Times::new("nothing");
    let mut word = Times::new("one word of as much memory");
    let (mut hit, mut miss) = (Times::new("find, pinned"), Times::new("find, not pinned"));
    let mut key = |beyond| table.key(&call_id(number(random.below(count) + beyond)));
    let mut other = Random(2);
    for _ in 0..1000 {
        (0..1000).for_each(|_| nothing.of(|| ()));
        for _ in 0..1000 {
            let at = other.below(words.len());
            word.of(|| words[at]);
        }
        for _ in 0..1000 {
            let key = key(0);
            assert!(hit.of(|| table.find(key, 1)).is_some());
        }
        for _ in 0..1000 {
            let key = key(count);
            assert!(miss.of(|| table.find(key, 1)).is_none());
        }
    }
    [nothing, word, hit, miss].iter().for_each(Times::print);
}

/// Finds, each of which begins when the one before has ended.
fn chain(table: &PinTable, id: impl Fn(u64) -> [u8; 53]) {
    const FINDS: u64 = 1 << 20;
    let keys: Vec<PinKey> =
        (0..FINDS).map(|n| table.key(&id(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20))).collect();
    let (began, nothing) = (Instant::now(), black_box(0));
    let mut at = 0;
    for n in 0..FINDS as usize {
        let found = table.find(keys[n + at], 1);
        at = found.expect("pinned").backend.0 as usize & nothing; // only we know that it is 0
    }
    let ns = began.elapsed().as_nanos() as f64 / FINDS as f64;
    println!("{:32} mean {ns:.0} ns", "find, one waiting for another");
}

/// As many as a turn takes at most.
const LOOKS: usize = 3072;

/// A tenth of all pins runs out in one second, and later all others, which shows what removals cost. Beside
/// each slice as much other memory is read, and written to in 256 places: what pauses the machine itself
/// makes while memory is walked shows there.
fn expiry(tables: &mut [PinTable], words: &mut [u64], storm: usize) {
    let most = Sweep { looks: LOOKS, removals: 256 };
    let mut slices = Times::new("sweep, 3072 looks, 256 removals");
    let mut other = Times::new("as much other memory");
    let mut freed = 0;
    let mut parts = (0..words.len() / WORDS).cycle();
    let began = Instant::now();
    for table in &mut *tables {
        for _ in 0..table.slots() / LOOKS + storm / 256 + 2 {
            freed += slices.of(|| table.sweep(40, most));
            let part = parts.next().expect("there is memory") * WORDS;
            other.of(|| walk(&mut words[part..part + WORDS]));
        }
    }
    slices.print();
    other.print();
    println!("{freed} pins ran out together, freed in {} ms", began.elapsed().as_millis());
    assert!(freed >= storm);
    let all_out = 1 + IDLE.dialog_s;
    let mut slices = Times::new("the same, all others out");
    let mut unbounded = Times::new("the same, not bounded");
    for _ in 0..500 {
        slices.of(|| tables[0].sweep(all_out, most));
        unbounded.of(|| tables[0].sweep(all_out, Sweep { removals: usize::MAX, ..most }));
    }
    slices.print();
    unbounded.print();
}

/// Words of the slots that one slice looks at.
const WORDS: usize = LOOKS * 2;

fn walk(words: &mut [u64]) -> u64 {
    let sum = words.iter().sum();
    words.iter_mut().step_by(WORDS / 256).for_each(|word| *word = sum);
    sum
}

/// One of a thousand: identities are hashes.
fn backend(number: usize) -> BackendId {
    BackendId((number as u32 % 1000).wrapping_mul(0x9E37_79B1))
}

/// A whole shard: what comes together in the second after a storm.
fn shard(options: &Options) {
    let mut settings = settings();
    settings.pins_max = options.pins / options.shards;
    settings.transactions_max = 65_536;
    let mut world = World::with(settings, backends());
    if options.huge {
        println!("on huge pages: {:?} bytes", huge_pages::collapse(world.proxy.memory()));
    }
    let ingress =
        Ingress { source: address(CLIENT), socket: LISTENER, replaced: Replaced::Unasked };
    let mut message = Case::invite_text().into_bytes();
    let id_at = String::from_utf8_lossy(&message).find("a8-").expect("its Call-ID") + 3;
    let mut out = vec![0; 65_535];
    let mut invite = |world: &mut World, times: &mut Times, number: usize| {
        message[id_at..id_at + 8].copy_from_slice(format!("{number:08}").as_bytes());
        let World { proxy, pool, now, .. } = world;
        times.of(|| proxy.handle(*now, pool, &ingress, &message, &mut out));
    };
    let mut handled = Times::new("handle, INVITE of a new call");
    let calls = settings_pins(&world) / 10;
    (0..calls).for_each(|number| invite(&mut world, &mut handled, number));
    handled.print();

    // All of them run out; meanwhile a message a turn, a turn a millisecond.
    world.now = world.now.after_ms(201_000);
    let (mut swept, mut during) =
        (Times::new("handle_timeout, in the storm"), Times::new("handle, in the storm"));
    let mut turns = 0;
    while world.proxy.pins() > 2 * turns + 1 {
        world.now = world.now.after_ms(1);
        invite(&mut world, &mut during, calls + turns);
        let World { proxy, now, .. } = &mut world;
        swept.of(|| proxy.handle_timeout(*now));
        turns += 1;
        assert!(turns < 60_000, "{} pins do not go", world.proxy.pins());
    }
    swept.print();
    during.print();
    println!("{calls} calls ran out together, gone after {turns} turns of a millisecond");
}

fn settings_pins(world: &World) -> usize {
    world.settings.pins_max
}

const IDLE: Idle = Idle { registration_s: 4200, dialog_s: 43_200 };

/// A Call-ID as phones make them.
fn call_id(number: usize) -> [u8; 53] {
    let mut id = *b"3c26700857a8-0000000000-f81d4fae7dec11d0@192.168.178.";
    let mut rest = number;
    for place in id[13..23].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    id
}
