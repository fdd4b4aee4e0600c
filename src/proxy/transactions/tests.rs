//! A transaction from its request to its end, and that its counts are what the table holds.

use super::*;
use proptest::prelude::*;

const A: BackendId = BackendId(1);
const B: BackendId = BackendId(0x7000_0000);

struct Shard {
    table: Transactions,
    counts: Counts,
    now: Now,
}

fn shard(open_max: usize) -> Shard {
    let table = Transactions::new(open_max, [1, 2, 3, 4]);
    Shard { table, counts: Counts::new(), now: Now::from_ms(10_000) }
}

fn sent(backend: BackendId) -> Sent {
    Sent { backend, to_backend: true, work: 175, begins_call: true, unpinned: false }
}

impl Shard {
    fn request(&mut self, key: u64, sent: Sent) -> Came {
        let came = self.table.request(&mut self.counts, TransactionKey(key), &sent, self.now);
        self.table.check_invariants(&self.counts);
        came
    }

    fn response(&mut self, key: u64, backend: BackendId, status: u16) -> Heard {
        let response = (backend, status, true);
        let heard = self.table.response(&mut self.counts, TransactionKey(key), response, self.now);
        self.table.check_invariants(&self.counts);
        heard
    }

    fn sweep(&mut self) {
        self.table.sweep(&mut self.counts, self.now.seconds(), Sweep::ROUND);
        self.table.check_invariants(&self.counts);
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now.after_ms(ms);
    }

    fn open_on(&self, backend: BackendId) -> (u32, u32) {
        let load = self.counts.load_of(backend, self.now);
        (load.transactions, load.work)
    }
}

#[test]
fn a_transaction_is_counted_from_its_request_to_its_final_response() {
    let mut shard = shard(4);
    assert_eq!(shard.request(7, sent(A)), Came::New);
    assert_eq!(shard.open_on(A), (1, 175));
    assert_eq!(shard.request(7, sent(A)), Came::Again);
    assert_eq!(shard.open_on(A), (1, 175), "a retransmission opens nothing");
    shard.response(7, A, 180);
    assert_eq!(shard.open_on(A), (1, 175));
    shard.response(7, A, 200);
    assert_eq!(shard.open_on(A), (0, 0));
    shard.response(7, A, 200);
    assert_eq!(shard.open_on(A), (0, 0), "repeated");
    assert_eq!(shard.request(7, sent(A)), Came::Again, "its response was lost");
    assert_eq!(shard.open_on(A), (0, 0));
    shard.wait(3_000);
    assert_eq!(shard.request(7, sent(A)), Came::New, "a closed one is forgotten soon");
}

#[test]
fn times_are_told_once_each() {
    let mut shard = shard(4);
    shard.request(7, sent(A));
    shard.wait(3);
    let timing = |heard: Heard| {
        let timing = heard.timing.expect("a timing");
        (timing.first_us(), timing.setup_us(), timing.final_us())
    };
    assert_eq!(timing(shard.response(7, A, 100)), (Some(3000), None, None));
    shard.wait(2);
    assert_eq!(timing(shard.response(7, A, 180)), (None, Some(5000), None));
    assert_eq!(timing(shard.response(7, A, 183)), (None, None, None));
    shard.request(7, sent(A));
    shard.wait(5);
    let heard = shard.response(7, A, 200);
    assert_eq!(timing(heard), (None, None, Some(10_000)));
    let told = heard.timing.expect("a timing");
    assert_eq!((told.retransmissions, told.heard_us, told.total_us), (1, 3000, 10_000));
    assert_eq!(shard.response(7, A, 200).timing, None);
}

#[test]
fn after_a_failover_the_backend_is_timed_from_its_own_attempt_on() {
    let mut shard = shard(4);
    shard.request(7, sent(A));
    shard.response(7, A, 100);
    shard.wait(1000);
    shard.table.moved(&mut shard.counts, TransactionKey(7), B, shard.now);
    assert_eq!((shard.open_on(A), shard.open_on(B)), ((0, 0), (1, 175)));
    shard.wait(4);
    let timing = shard.response(7, B, 180).timing.expect("a timing");
    assert_eq!((timing.first_us(), timing.setup_us()), (Some(4000), Some(1_004_000)));
    assert_eq!(timing.heard_us, 0, "the caller got the 100 of the first attempt");
    // The abandoned one answers after all: the request is over, and nobody was timed.
    assert_eq!(shard.response(7, A, 200).timing, None);
    assert_eq!((shard.open_on(A), shard.open_on(B)), ((0, 0), (0, 0)));
}

#[test]
fn times_are_right_while_the_lower_half_of_the_clock_comes_round() {
    let mut shard = shard(4);
    shard.now = Now { us: u64::from(u32::MAX) - 999 };
    shard.request(7, sent(A));
    shard.wait(5);
    let timing = shard.response(7, A, 200).timing.expect("a timing");
    assert_eq!((timing.heard_us, timing.total_us), (5000, 5000));
}

#[test]
fn what_is_never_answered_ends_with_its_time() {
    // 64*T1, and 200 s after a 1xx to an INVITE.
    for (provisional, ms, open) in [
        (None, 32_000, true),
        (None, 33_000, false),
        (Some(180), 200_000, true),
        (Some(180), 201_000, false),
    ] {
        let mut shard = shard(4);
        shard.request(7, sent(A));
        if let Some(status) = provisional {
            shard.response(7, A, status);
        }
        shard.wait(ms);
        shard.sweep();
        assert_eq!(shard.open_on(A).0, u32::from(open), "{provisional:?} {ms}");
    }
}

#[test]
fn a_full_table_counts_nothing_in_and_nothing_out() {
    let mut shard = shard(2);
    let came = [1, 2, 3].map(|key| shard.request(key, sent(A)));
    assert_eq!(came, [Came::New, Came::New, Came::Untracked]);
    shard.response(3, A, 200);
    assert_eq!(shard.open_on(A).0, 2);
    shard.response(1, A, 200);
    assert_eq!(shard.request(3, sent(A)), Came::New, "closed ones take no room from open ones");
    (4..40).for_each(|key| {
        shard.response(key - 1, A, 200);
        assert_eq!(shard.request(key, sent(A)), Came::New);
    });
    assert_eq!(shard.open_on(A).0, 2);
    assert_eq!(Transactions::new(0, [1; 4]).slots(), 2, "a line");
}

#[test]
fn requests_to_clients_are_recognised_and_counted_for_nobody() {
    let mut shard = shard(4);
    let to_client = Sent { to_backend: false, ..sent(A) };
    assert_eq!(
        [shard.request(7, to_client), shard.request(7, to_client)],
        [Came::New, Came::Again]
    );
    assert_eq!(shard.open_on(A), (0, 0));
    shard.wait(9);
    assert_eq!(shard.response(7, A, 200).timing.and_then(|timing| timing.final_us()), Some(9000));
}

proptest! {
    #[test]
    fn counts_are_what_the_table_holds_whatever_comes(
        steps in prop::collection::vec((0u8..6, 1u64..9, any::<bool>(), 0u64..50_000), 1..300),
    ) {
        let mut shard = shard(4);
        for (step, key, other, ms) in steps {
            let backend = if other { A } else { B };
            match step {
                0 | 1 => {
                    shard.request(key, Sent { to_backend: key < 7, ..sent(backend) });
                }
                2 | 3 => {
                    shard.response(key, backend, if step == 2 { 180 } else { 486 });
                }
                4 => shard.table.moved(&mut shard.counts, TransactionKey(key), backend, shard.now),
                _ => shard.wait(ms),
            }
            if ms % 3 == 0 {
                shard.sweep();
            }
            shard.table.check_invariants(&shard.counts);
        }
        shard.wait(300_000);
        shard.sweep();
        prop_assert_eq!((shard.table.open, shard.table.slots.used(), shard.counts.transactions()), (0, 0, 0));
    }
}
