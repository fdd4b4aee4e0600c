//! What a pin goes through: how long it lives, what it is of, and when its dialog is counted.

use super::*;
use crate::limits::IDLE_S_MAX;

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
fn times_that_a_slot_cannot_tell_apart_are_years_apart() {
    const MONTH_S: u32 = IDLE_S_MAX;
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

#[test]
fn the_longest_life_and_the_longest_death_are_told_apart_to_the_second() {
    for begins_s in [0, SECONDS / 2, SECONDS - 1, u32::MAX] {
        let key = PinKey(1);
        let slot = Slot::new(key, A, Stage::Dialog, begins_s, LIFETIME_S_MAX);
        let live_at = |later_s: u32| slot.is_live(begins_s.wrapping_add(later_s));
        assert_eq!(slot.rest_s(begins_s), LIFETIME_S_MAX);
        assert!(live_at(0) && live_at(LIFETIME_S_MAX) && !live_at(LIFETIME_S_MAX + 1));
        // As long as that it may wait for the hand.
        assert!(!live_at(SECONDS - 1) && live_at(SECONDS), "its life begins again");
    }
}
