//! The table: no pin too many, the hand that sweeps, its memory, its keys.

use super::*;

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
