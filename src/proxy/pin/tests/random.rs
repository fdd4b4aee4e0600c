//! Any operations, on tables of any size, against a `HashMap`.

use super::oracle::Oracle;
use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Operation {
    Insert { key: usize, backend: u32, class: Class },
    Confirm(usize),
    End(usize),
    Revive(usize),
    Fail(usize),
    Touch(usize),
    Sweep(usize),
    SweepAll,
    Wait(u32),
}

const KEYS: usize = 40;

/// The small ones are of one, two and three lines: nearly every search ends at the end of the table, and
/// it is full most of the time.
fn pins_max() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(24), 1 => Just(1), 1 => Just(3), 1 => Just(5)]
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let class = prop_oneof![
        3 => Just(Class::Transaction),
        4 => Just(Class::Invite),
        2 => Just(Class::Registration),
        1 => Just(Class::Dialog),
    ];
    prop_oneof![
        8 => (0..KEYS, 0..5u32, class)
            .prop_map(|(key, backend, class)| Insert { key, backend, class }),
        4 => (0..KEYS).prop_map(Confirm),
        3 => (0..KEYS).prop_map(End),
        2 => (0..KEYS).prop_map(Revive),
        2 => (0..KEYS).prop_map(Fail),
        2 => (0..KEYS).prop_map(Touch),
        3 => (0..10usize).prop_map(Sweep),
        1 => Just(SweepAll),
        3 => (1..90u32).prop_map(Wait),
        1 => (90..1100u32).prop_map(Wait),
    ]
}

fn run(pins_max: usize, keys: &[PinKey], operations: &[Operation]) {
    // Not many more than there is room for: else hardly one is found.
    let keys = &keys[..KEYS.min(2 * pins_max + 1)];
    let of = |i: usize| keys[i % keys.len()];
    // In a long run, a slot's time comes round on the way.
    let (mut table, mut oracle, mut now_s) = (table(pins_max), Oracle::default(), SECONDS - 2000);
    for operation in operations {
        match operation.clone() {
            Operation::Insert { key, backend, class } => {
                let backend = BackendId(backend * 0x3000_0000);
                let outcome = table.insert_or_refresh(of(key), backend, class, now_s);
                if outcome == Outcome::Full {
                    assert_eq!(table.pins(), pins_max);
                    assert_eq!(oracle.find(of(key)), None);
                } else {
                    assert_eq!(outcome, oracle.insert(of(key), backend, class, now_s));
                }
            }
            Operation::Confirm(i) => {
                assert_eq!(table.confirm(of(i), now_s), oracle.confirm(of(i), now_s));
            }
            Operation::End(i) => assert_eq!(table.end(of(i), now_s), oracle.end(of(i), now_s)),
            Operation::Revive(i) => {
                assert_eq!(table.revive(of(i), now_s), oracle.revive(of(i), now_s));
            }
            Operation::Fail(i) => {
                assert_eq!(table.fail(of(i), now_s), oracle.fail(of(i), now_s));
            }
            Operation::Touch(i) => {
                assert_eq!(table.touch(of(i), now_s), oracle.touch(of(i), now_s));
            }
            Operation::Sweep(slots) => assert!(table.sweep(now_s, looks(slots)) <= slots),
            Operation::SweepAll => compare_all(&mut table, &oracle, now_s),
            Operation::Wait(seconds) => now_s += seconds,
        }
        oracle.forget_expired(now_s);
        compare(&table, &oracle, keys, now_s);
    }
    compare_all(&mut table, &oracle, now_s);
}

fn compare(table: &PinTable, oracle: &Oracle, keys: &[PinKey], now_s: u32) {
    table.check_invariants();
    for key in keys {
        assert_eq!(table.find(*key, now_s), oracle.find(*key));
    }
}

/// After a whole sweep nothing that ran out is left: then the counts must be equal, too.
fn compare_all(table: &mut PinTable, oracle: &Oracle, now_s: u32) {
    table.sweep(now_s, Sweep::ROUND);
    assert_eq!(table.pins(), oracle.pins());
    for backend in (0..5u32).map(|backend| BackendId(backend * 0x3000_0000)) {
        assert_eq!(table.counts().dialogs_on(backend), oracle.dialogs_on(backend));
    }
}

/// Keys whose homes are few lines, the last one among them, so that they stand in one long row over
/// the end of the table.
fn crowded_keys() -> Vec<PinKey> {
    (0..KEYS as u64).map(|i| PinKey(u64::MAX - (i % 3) * (u64::MAX / 10) - i)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_operations_give_what_a_hash_map_gives(
        pins_max in pins_max(), operations in prop::collection::vec(operation(), 1..300)
    ) {
        let table = table(1);
        let keys: Vec<_> = (0..KEYS).map(|i| table.key(&i.to_le_bytes())).collect();
        run(pins_max, &keys, &operations);
    }

    #[test]
    fn crowded_keys_are_found_and_removed_like_any(
        pins_max in pins_max(), operations in prop::collection::vec(operation(), 1..300)
    ) {
        run(pins_max, &crowded_keys(), &operations);
    }

    #[test]
    fn keys_that_differ_in_their_lowest_bits_only_are_kept_apart(
        pins_max in pins_max(), operations in prop::collection::vec(operation(), 1..200)
    ) {
        let keys: Vec<_> = (0..KEYS as u64).map(|i| PinKey(u64::MAX / 2 - i)).collect();
        run(pins_max, &keys, &operations);
    }
}
