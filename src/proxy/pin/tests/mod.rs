//! The pin table: a pin's life, the table's edges, and any operations against a `HashMap`.

mod lives;
mod oracle;
mod random;
mod table;

use super::slot::LIFETIME_S_MAX;
use super::*;

const IDLE: Idle = Idle { registration_s: 600, dialog_s: 1000 };
const A: BackendId = BackendId(0xa000_0000);
const B: BackendId = BackendId(0xb000_0000);
/// As many as a slot's time counts.
const SECONDS: u32 = 1 << 27;

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

/// As many are freed as there are.
fn looks(looks: usize) -> Sweep {
    Sweep { looks, removals: usize::MAX }
}
