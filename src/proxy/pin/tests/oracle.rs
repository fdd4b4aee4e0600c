//! What the table should know: obvious, and slow in nothing but memory.

use super::*;
use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Oracle {
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

    pub(super) fn pins(&self) -> usize {
        self.pins.len()
    }

    pub(super) fn find(&self, key: PinKey) -> Option<Pin> {
        self.pins.get(&key).map(|pin| Pin { backend: pin.backend, class: pin.class })
    }

    pub(super) fn dialogs_on(&self, backend: BackendId) -> usize {
        let on = |pin: &&OraclePin| pin.class == Class::Dialog && pin.backend == backend;
        self.pins.values().filter(on).count()
    }

    pub(super) fn forget_expired(&mut self, now_s: u32) {
        self.pins.retain(|_, pin| pin.expires_s >= now_s);
    }

    pub(super) fn insert(
        &mut self,
        key: PinKey,
        backend: BackendId,
        class: Class,
        now_s: u32,
    ) -> Outcome {
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

    pub(super) fn confirm(&mut self, key: PinKey, now_s: u32) -> bool {
        self.change(key, |pin| {
            let class = if pin.after_bye { Class::Transaction } else { Class::Dialog };
            Self::lift(pin, class, now_s);
        })
    }

    pub(super) fn touch(&mut self, key: PinKey, now_s: u32) -> bool {
        self.change(key, |pin| Self::lift(pin, pin.class, now_s))
    }

    pub(super) fn end(&mut self, key: PinKey, now_s: u32) -> bool {
        self.change(key, |pin| {
            if pin.class == Class::Dialog || pin.after_bye {
                (pin.class, pin.after_bye, pin.expires_s) = (Class::Transaction, true, now_s + 32);
            }
        })
    }

    pub(super) fn revive(&mut self, key: PinKey, now_s: u32) -> bool {
        self.change(key, |pin| {
            let class = if pin.after_bye { Class::Dialog } else { pin.class };
            Self::lift(pin, class, now_s);
        })
    }

    pub(super) fn fail(&mut self, key: PinKey, now_s: u32) -> bool {
        self.change(key, |pin| {
            if pin.class == Class::Invite {
                (pin.class, pin.expires_s) = (Class::Transaction, now_s + 32);
            }
        })
    }
}
