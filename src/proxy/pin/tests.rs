//! The pin table against a `HashMap`, edge by edge and by random lists of operations.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const IDLE: Idle = Idle { registration_s: 600, dialog_s: 1000 };
const A: BackendId = BackendId(0xa000_0000);
const B: BackendId = BackendId(0xb000_0000);

fn table(pins_max: usize) -> PinTable {
    PinTable::new(pins_max, IDLE, [1, 2, 3, 4])
}

/// A table with one pin, made at second 100.
fn with_pin(class: Class) -> (PinTable, PinKey) {
    let mut table = table(8);
    let key = table.key(b"call");
    assert_eq!(table.insert_or_refresh(key, A, class, 100), Outcome::Inserted);
    (table, key)
}

fn class_at(table: &PinTable, key: PinKey, now_s: u32) -> Option<Class> {
    table.check_invariants();
    table.find(key, now_s).map(|pin| pin.class)
}

#[test]
fn each_class_lives_its_time_and_no_longer() {
    let times = [
        (Class::Transaction, 32),
        (Class::Invite, 200),
        (Class::Registration, IDLE.registration_s),
        (Class::Dialog, IDLE.dialog_s),
    ];
    for (class, lifetime_s) in times {
        let (mut table, key) = with_pin(class);
        assert_eq!(table.find(key, 100 + lifetime_s), Some(Pin { backend: A, class }));
        assert_eq!(table.sweep(100 + lifetime_s, Sweep::ROUND), 0);
        assert_eq!(table.find(key, 101 + lifetime_s), None, "without a sweep");
        assert_eq!(table.sweep(101 + lifetime_s, Sweep::ROUND), 1);
        assert_eq!((table.pins(), table.counts().dialogs()), (0, 0));
    }
}

#[test]
fn a_refresh_begins_the_time_anew() {
    let (mut table, key) = with_pin(Class::Transaction);
    assert_eq!(table.insert_or_refresh(key, A, Class::Transaction, 132), Outcome::Refreshed);
    assert_eq!(class_at(&table, key, 164), Some(Class::Transaction));
    assert_eq!(class_at(&table, key, 165), None);
}

#[test]
fn a_refresh_lifts_the_class_and_never_lowers_it() {
    let classes = [Class::Transaction, Class::Invite, Class::Registration, Class::Dialog];
    for (first, second) in classes.iter().flat_map(|a| classes.map(|b| (*a, b))) {
        let (mut table, key) = with_pin(first);
        table.insert_or_refresh(key, A, second, 100);
        assert_eq!(class_at(&table, key, 100), Some(first.max(second)), "{first:?} {second:?}");
    }
}

#[test]
fn a_refresh_never_shortens_the_time() {
    let idle = Idle { registration_s: 60, dialog_s: 90 };
    let mut table = PinTable::new(4, idle, [1; 4]);
    let key = table.key(b"call");
    table.insert_or_refresh(key, A, Class::Invite, 0);
    table.insert_or_refresh(key, A, Class::Registration, 1);
    assert_eq!(class_at(&table, key, 200), Some(Class::Registration));
    table.insert_or_refresh(key, A, Class::Invite, 1);
    assert_eq!(class_at(&table, key, 201), Some(Class::Registration));
    assert_eq!(class_at(&table, key, 202), None);
}

#[test]
fn a_pin_that_ran_out_is_replaced_without_its_past() {
    let (mut table, key) = with_pin(Class::Dialog);
    let now_s = 101 + IDLE.dialog_s;
    assert_eq!(table.insert_or_refresh(key, B, Class::Transaction, now_s), Outcome::Inserted);
    assert_eq!(table.find(key, now_s), Some(Pin { backend: B, class: Class::Transaction }));
    assert_eq!((table.pins(), table.counts().dialogs(), table.counts().dialogs_on(A)), (1, 0, 0));
    table.check_invariants();
}

#[test]
fn a_call_is_counted_in_once_and_out_once() {
    let (mut table, key) = with_pin(Class::Invite);
    assert_eq!(table.counts().dialogs(), 0);
    assert!(table.confirm(key, 101) && table.confirm(key, 102), "a retransmitted 200 too");
    table.insert_or_refresh(key, A, Class::Invite, 103);
    assert_eq!((table.counts().dialogs(), table.counts().dialogs_on(A)), (1, 1));
    assert!(table.end(key, 110) && table.end(key, 111), "a retransmitted BYE too");
    assert_eq!((table.counts().dialogs(), table.counts().dialogs_on(A)), (0, 0));
    assert_eq!(class_at(&table, key, 111 + 32), Some(Class::Transaction));
    assert_eq!(class_at(&table, key, 111 + 33), None);
}

#[test]
fn traffic_after_a_bye_revives_the_dialog_of_a_fork() {
    let (mut table, key) = with_pin(Class::Dialog);
    table.end(key, 110);
    assert!(table.revive(key, 120));
    assert_eq!(class_at(&table, key, 120 + IDLE.dialog_s), Some(Class::Dialog));
    assert_eq!(table.counts().dialogs_on(A), 1);
    table.end(key, 200);
    table.insert_or_refresh(key, A, Class::Transaction, 201);
    assert!(table.revive(key, 202), "a transaction in between changes nothing");
    assert_eq!(table.counts().dialogs_on(A), 1);
}

#[test]
fn a_200_repeated_across_the_bye_begins_no_dialog() {
    let (mut table, key) = with_pin(Class::Dialog);
    table.end(key, 110);
    assert!(table.confirm(key, 111));
    assert_eq!(
        (table.counts().dialogs(), class_at(&table, key, 111)),
        (0, Some(Class::Transaction))
    );
    table.insert_or_refresh(key, A, Class::Invite, 112);
    assert!(table.confirm(key, 113), "a new INVITE was sent");
    assert_eq!(table.counts().dialogs(), 1);
}

#[test]
fn a_touch_changes_the_time_alone() {
    let (mut table, key) = with_pin(Class::Invite);
    assert!(table.touch(key, 250));
    assert_eq!(class_at(&table, key, 250 + INVITE_S), Some(Class::Invite));
    assert_eq!(class_at(&table, key, 250 + INVITE_S + 1), None);
    assert!(!table.touch(key, 250 + INVITE_S + 1));
}

#[test]
fn reviving_makes_no_dialog_of_what_was_none() {
    for class in [Class::Transaction, Class::Invite, Class::Registration] {
        let (mut table, key) = with_pin(class);
        assert!(table.revive(key, 110));
        assert_eq!((class_at(&table, key, 110), table.counts().dialogs()), (Some(class), 0));
    }
}

#[test]
fn a_failing_final_ends_an_invite_and_nothing_else() {
    let (mut table, key) = with_pin(Class::Invite);
    assert!(table.fail(key, 150));
    assert_eq!(class_at(&table, key, 182), Some(Class::Transaction));
    assert_eq!(class_at(&table, key, 183), None);
    for class in [Class::Transaction, Class::Registration, Class::Dialog] {
        let (mut table, key) = with_pin(class);
        assert!(table.fail(key, 100) && (class == Class::Dialog || table.end(key, 100)));
        assert_eq!(class_at(&table, key, 132), Some(class));
        assert_eq!(table.counts().dialogs(), usize::from(class == Class::Dialog));
    }
}

#[test]
fn an_invite_repeated_after_a_challenge_is_an_invite_again() {
    let (mut table, key) = with_pin(Class::Invite);
    table.fail(key, 101);
    assert_eq!(table.insert_or_refresh(key, A, Class::Invite, 102), Outcome::Refreshed);
    assert_eq!(class_at(&table, key, 302), Some(Class::Invite));
}

#[test]
fn nothing_happens_to_a_call_without_a_pin() {
    let mut table = table(8);
    let key = table.key(b"call");
    assert!(!table.confirm(key, 0) && !table.end(key, 0));
    assert!(!table.revive(key, 0) && !table.fail(key, 0));
    let (mut table, key) = with_pin(Class::Dialog);
    let late_s = 101 + IDLE.dialog_s;
    assert!(!table.confirm(key, late_s) && !table.end(key, late_s), "one that ran out too");
    assert_eq!((table.pins(), table.counts().dialogs()), (1, 1));
}

#[test]
fn a_dialog_that_moves_is_counted_where_it_is() {
    let (mut table, key) = with_pin(Class::Dialog);
    table.insert_or_refresh(key, B, Class::Transaction, 101);
    assert_eq!(
        (table.counts().dialogs_on(A), table.counts().dialogs_on(B), table.counts().dialogs()),
        (0, 1, 1)
    );
    assert_eq!(table.find(key, 101), Some(Pin { backend: B, class: Class::Dialog }));
}

#[test]
fn a_full_table_evicts_nobody_and_has_room_again_after_a_sweep() {
    for pins_max in [0, 1, 2, 3, 4, 100] {
        let mut table = table(pins_max);
        let keys: Vec<_> = (0..pins_max as u64 + 1).map(|i| table.key(&i.to_le_bytes())).collect();
        let (last, first) = keys.split_last().unwrap();
        for key in first {
            assert_eq!(table.insert_or_refresh(*key, A, Class::Invite, 0), Outcome::Inserted);
        }
        assert_eq!(table.insert_or_refresh(*last, A, Class::Invite, 0), Outcome::Full);
        assert!(first.iter().all(|key| table.find(*key, 0).is_some()));
        assert!(first.iter().all(|k| table.confirm(*k, 1)), "those inside go on");
        table.check_invariants();
        assert_eq!(table.sweep(2 + IDLE.dialog_s, Sweep::ROUND), pins_max);
        let after = if pins_max == 0 { Outcome::Full } else { Outcome::Inserted };
        assert_eq!(table.insert_or_refresh(*last, A, Class::Invite, 2 + IDLE.dialog_s), after);
    }
}

fn looks(looks: usize) -> Sweep {
    Sweep { looks, removals: usize::MAX }
}

#[test]
fn the_hand_looks_at_no_more_slots_than_it_is_told_and_comes_round() {
    let mut table = table(300);
    (0..300u64).for_each(|i| {
        let key = table.key(&i.to_le_bytes());
        table.insert_or_refresh(key, A, Class::Dialog, 0);
    });
    let (mut calls, mut removed) = (0, 0);
    while table.pins() > 0 {
        let now = table.sweep(1 + IDLE.dialog_s, looks(7));
        assert!(now <= 7);
        (calls, removed) = (calls + 1, removed + now);
        table.check_invariants();
        // Each look frees a slot or goes on by one.
        assert!(calls <= (table.slots() + 300) / 7 + 1, "the hand does not come round");
    }
    assert_eq!((removed, table.counts().dialogs()), (300, 0));
}

#[test]
fn the_hand_frees_no_more_than_it_is_told_and_goes_on_where_it_stopped() {
    let mut table = table(300);
    (0..300u64).for_each(|i| {
        let key = table.key(&i.to_le_bytes());
        table.insert_or_refresh(key, A, Class::Dialog, 0);
    });
    let most = Sweep { looks: usize::MAX, removals: 7 };
    let freed: Vec<usize> = (0..44).map(|_| table.sweep(1 + IDLE.dialog_s, most)).collect();
    assert_eq!(freed[..42], [7; 42]);
    assert_eq!(freed[42..], [6, 0]);
    table.check_invariants();
}

#[test]
fn a_pin_costs_32_bytes_at_the_fullest() {
    for pins_max in [1_000, 1_000_000] {
        let table = table(pins_max);
        assert!(table.slots() >= pins_max * 2 && table.pins_max() == pins_max);
        assert!(table.bytes() <= pins_max * 32 + 64, "{} bytes", table.bytes());
    }
}

#[test]
fn keys_differ_by_call_id_and_by_table() {
    let [one, two] = [[1, 2, 3, 4], [1, 2, 3, 5]].map(|keys| PinTable::new(1, IDLE, keys));
    let keys = [one.key(b"a"), one.key(b"b"), one.key(b""), two.key(b"a")];
    for (i, key) in keys.iter().enumerate() {
        assert!(!keys[..i].contains(key));
    }
    assert_eq!(one.key(b"a"), one.key(b"a"));
}

#[test]
fn times_that_a_slot_cannot_tell_apart_are_years_apart() {
    const MONTH_S: u32 = 30 * 86_400;
    let idle = Idle { registration_s: 60, dialog_s: MONTH_S };
    for begins_s in [0, SECONDS - MONTH_S, SECONDS - 1, SECONDS, u32::MAX - 1] {
        let mut table = PinTable::new(4, idle, [1; 4]);
        let key = table.key(b"call");
        table.insert_or_refresh(key, A, Class::Dialog, begins_s);
        let [last_s, out_s] = [MONTH_S, MONTH_S + 1].map(|later| begins_s.wrapping_add(later));
        assert_eq!(class_at(&table, key, last_s), Some(Class::Dialog));
        for late_s in [0, MONTH_S, 12 * MONTH_S, 24 * MONTH_S] {
            assert_eq!(class_at(&table, key, out_s.wrapping_add(late_s)), None);
        }
        table.touch(key, last_s);
        assert!(table.end(key, out_s) && table.find(key, out_s.wrapping_add(32)).is_some());
        assert!(table.find(key, out_s.wrapping_add(33)).is_none());
    }
}

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

/// As many as a slot's time counts.
const SECONDS: u32 = 1 << 27;
const KEYS: usize = 40;
const PINS_MAX: usize = 24;

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

/// What the table should know: obvious, and slow in nothing but memory.
#[derive(Default)]
struct Oracle {
    pins: HashMap<PinKey, OraclePin>,
}

#[derive(Clone, Copy)]
struct OraclePin {
    backend: BackendId,
    class: Class,
    after_bye: bool,
    expires_s: u32,
}

impl Oracle {
    fn lifetime_s(class: Class) -> u32 {
        match class {
            Class::Transaction => 32,
            Class::Invite => 200,
            Class::Registration => IDLE.registration_s,
            Class::Dialog => IDLE.dialog_s,
        }
    }

    fn forget_expired(&mut self, now_s: u32) {
        self.pins.retain(|_, pin| pin.expires_s >= now_s);
    }

    fn insert(&mut self, key: PinKey, backend: BackendId, class: Class, now_s: u32) -> Outcome {
        let expires_s = now_s + Self::lifetime_s(class);
        let new = OraclePin { backend, class, after_bye: false, expires_s };
        let Some(pin) = self.pins.get_mut(&key) else {
            self.pins.insert(key, new);
            return Outcome::Inserted;
        };
        pin.backend = backend;
        Self::lift(pin, class, now_s);
        Outcome::Refreshed
    }

    fn lift(pin: &mut OraclePin, class: Class, now_s: u32) {
        if class > pin.class {
            (pin.class, pin.after_bye) = (class, false);
        }
        let lifetime_s = Self::lifetime_s(class).max(Self::lifetime_s(pin.class));
        pin.expires_s = pin.expires_s.max(now_s + lifetime_s);
    }

    fn change(&mut self, key: PinKey, change: impl Fn(&mut OraclePin)) -> bool {
        self.pins.get_mut(&key).map(change).is_some()
    }

    fn confirm(&mut self, key: PinKey, now_s: u32) -> bool {
        self.change(key, |pin| {
            let class = if pin.after_bye { Class::Transaction } else { Class::Dialog };
            Self::lift(pin, class, now_s);
        })
    }

    fn touch(&mut self, key: PinKey, now_s: u32) -> bool {
        self.change(key, |pin| Self::lift(pin, pin.class, now_s))
    }

    fn end(&mut self, key: PinKey, now_s: u32) -> bool {
        self.change(key, |pin| {
            if pin.class == Class::Dialog || pin.after_bye {
                (pin.class, pin.after_bye, pin.expires_s) = (Class::Transaction, true, now_s + 32);
            }
        })
    }

    fn revive(&mut self, key: PinKey, now_s: u32) -> bool {
        self.change(key, |pin| {
            let class = if pin.after_bye { Class::Dialog } else { pin.class };
            Self::lift(pin, class, now_s);
        })
    }

    fn fail(&mut self, key: PinKey, now_s: u32) -> bool {
        self.change(key, |pin| {
            if pin.class == Class::Invite {
                (pin.class, pin.expires_s) = (Class::Transaction, now_s + 32);
            }
        })
    }
}

fn run(keys: &[PinKey], operations: &[Operation]) {
    // In a long run, a slot's time comes round on the way.
    let (mut table, mut oracle, mut now_s) = (table(PINS_MAX), Oracle::default(), SECONDS - 2000);
    for operation in operations {
        match operation.clone() {
            Operation::Insert { key, backend, class } => {
                let backend = BackendId(backend * 0x3000_0000);
                let outcome = table.insert_or_refresh(keys[key], backend, class, now_s);
                if outcome == Outcome::Full {
                    assert_eq!(table.pins(), PINS_MAX);
                    assert!(!oracle.pins.contains_key(&keys[key]));
                } else {
                    assert_eq!(outcome, oracle.insert(keys[key], backend, class, now_s));
                }
            }
            Operation::Confirm(i) => {
                assert_eq!(table.confirm(keys[i], now_s), oracle.confirm(keys[i], now_s));
            }
            Operation::End(i) => assert_eq!(table.end(keys[i], now_s), oracle.end(keys[i], now_s)),
            Operation::Revive(i) => {
                assert_eq!(table.revive(keys[i], now_s), oracle.revive(keys[i], now_s));
            }
            Operation::Fail(i) => {
                assert_eq!(table.fail(keys[i], now_s), oracle.fail(keys[i], now_s));
            }
            Operation::Touch(i) => {
                assert_eq!(table.touch(keys[i], now_s), oracle.touch(keys[i], now_s));
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
        let expected = oracle.pins.get(key);
        let expected = expected.map(|pin| Pin { backend: pin.backend, class: pin.class });
        assert_eq!(table.find(*key, now_s), expected);
    }
}

/// After a whole sweep nothing that ran out is left: then the counts must be equal, too.
fn compare_all(table: &mut PinTable, oracle: &Oracle, now_s: u32) {
    table.sweep(now_s, Sweep::ROUND);
    assert_eq!(table.pins(), oracle.pins.len());
    for backend in (0..5u32).map(|backend| BackendId(backend * 0x3000_0000)) {
        let on = |pin: &&OraclePin| pin.class == Class::Dialog && pin.backend == backend;
        assert_eq!(table.counts().dialogs_on(backend), oracle.pins.values().filter(on).count());
    }
}

/// Keys whose homes are few lines, the last one among them, so that they stand in one long row over
/// the end of the table.
fn crowded_keys() -> Vec<PinKey> {
    (0..KEYS as u64).map(|i| PinKey(u64::MAX - (i % 3) * (u64::MAX / 10) - i)).collect()
}

proptest! {
    #[test]
    fn any_operations_give_what_a_hash_map_gives(
        operations in prop::collection::vec(operation(), 1..300)
    ) {
        let table = table(1);
        let keys: Vec<_> = (0..KEYS).map(|i| table.key(&i.to_le_bytes())).collect();
        run(&keys, &operations);
    }

    #[test]
    fn crowded_keys_are_found_and_removed_like_any(
        operations in prop::collection::vec(operation(), 1..300)
    ) {
        run(&crowded_keys(), &operations);
    }

    #[test]
    fn keys_that_differ_in_their_lowest_bits_only_are_kept_apart(
        operations in prop::collection::vec(operation(), 1..200)
    ) {
        run(&(0..KEYS as u64).map(|i| PinKey(u64::MAX / 2 - i)).collect::<Vec<_>>(), &operations);
    }
}
