//! Timers of kept requests: a wheel of lists through the slots themselves. Setting, moving and
//! cancelling one costs a few stores and never allocates; a timer is late by a tick at most.

const NONE: u32 = u32::MAX;
const TICK_MS: u64 = 16;
/// 16 s around; a later timer is looked at once a round.
const BUCKETS: u64 = 1024;

#[derive(Clone, Copy, Debug)]
struct Node {
    due_ms: u64,
    next: u32,
    prev: u32,
    /// [`NONE`]: not set.
    bucket: u32,
}

/// A timer for each slot.
#[derive(Debug)]
pub(super) struct Wheel {
    nodes: Vec<Node>,
    heads: Vec<u32>,
    /// The tick whose bucket is looked at.
    tick: u64,
    set: usize,
}

impl Wheel {
    /// Timers for slots 0 to `slots` - 1.
    pub(super) fn new(slots: usize) -> Self {
        let node = Node { due_ms: 0, next: NONE, prev: NONE, bucket: NONE };
        Self { nodes: vec![node; slots], heads: vec![NONE; BUCKETS as usize], tick: 0, set: 0 }
    }

    /// Sets or moves the timer of a slot.
    pub(super) fn schedule(&mut self, slot: u32, due_ms: u64) {
        self.cancel(slot);
        // Not behind the hand, which would find it a round later only; not a round ahead.
        let tick = (due_ms.div_ceil(TICK_MS)).clamp(self.tick, self.tick + BUCKETS - 1);
        let bucket = (tick % BUCKETS) as u32;
        let next = self.heads[bucket as usize];
        self.nodes[slot as usize] = Node { due_ms, next, prev: NONE, bucket };
        if next != NONE {
            self.nodes[next as usize].prev = slot;
        }
        self.heads[bucket as usize] = slot;
        self.set += 1;
    }

    /// Takes the timer of a slot away, if it is set.
    pub(super) fn cancel(&mut self, slot: u32) {
        let Node { next, prev, bucket, .. } = self.nodes[slot as usize];
        if bucket == NONE {
            return;
        }
        match prev {
            NONE => self.heads[bucket as usize] = next,
            prev => self.nodes[prev as usize].next = next,
        }
        if next != NONE {
            self.nodes[next as usize].prev = prev;
        }
        self.nodes[slot as usize].bucket = NONE;
        self.set -= 1;
    }

    /// Takes one timer that is due.
    pub(super) fn due(&mut self, now_ms: u64) -> Option<u32> {
        let now_tick = now_ms / TICK_MS;
        if self.set == 0 {
            self.tick = self.tick.max(now_tick);
            return None;
        }
        // After a long sleep one round sees them all.
        self.tick = self.tick.max(now_tick.saturating_sub(BUCKETS - 1));
        while self.tick <= now_tick {
            let slot = self.heads[(self.tick % BUCKETS) as usize];
            if slot == NONE {
                if self.tick == now_tick {
                    return None;
                }
                self.tick += 1;
                continue;
            }
            let due_ms = self.nodes[slot as usize].due_ms;
            if due_ms <= now_ms {
                self.cancel(slot);
                return Some(slot);
            }
            // It was too far ahead for one round: on to its own place, which is behind this one.
            self.schedule(slot, due_ms);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all_due(wheel: &mut Wheel, now_ms: u64) -> Vec<u32> {
        let mut due: Vec<_> = std::iter::from_fn(|| wheel.due(now_ms)).collect();
        due.sort_unstable();
        due
    }

    #[test]
    fn a_timer_is_due_at_its_time_and_not_before() {
        let mut wheel = Wheel::new(4);
        wheel.schedule(0, 1000);
        wheel.schedule(1, 1000);
        wheel.schedule(2, 40_000);
        assert!(all_due(&mut wheel, 999).is_empty());
        assert_eq!(all_due(&mut wheel, 1000 + TICK_MS), [0, 1]);
        wheel.schedule(1, 2000);
        wheel.cancel(1);
        wheel.cancel(1);
        for now in (1100..40_000).step_by(400) {
            assert!(all_due(&mut wheel, now).is_empty(), "{now}");
        }
        assert_eq!(all_due(&mut wheel, 40_000 + TICK_MS), [2]);
    }

    #[test]
    fn a_long_sleep_loses_no_timer() {
        let mut wheel = Wheel::new(3);
        (0..3).for_each(|slot| wheel.schedule(slot, 100 + u64::from(slot) * 9000));
        assert_eq!(all_due(&mut wheel, 10_000_000), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn it_does_what_a_list_does(
            steps in prop::collection::vec(
                (0u32..8, 0u64..40_000, 0u64..9000, any::<bool>()),
                1..200,
            ),
        ) {
            let mut wheel = Wheel::new(8);
            let mut list = [None::<u64>; 8];
            let mut now_ms = 5000;
            for (slot, after, wait, cancel) in steps {
                if cancel {
                    wheel.cancel(slot);
                    list[slot as usize] = None;
                } else {
                    wheel.schedule(slot, now_ms + after);
                    list[slot as usize] = Some(now_ms + after);
                }
                now_ms += wait;
                for slot in all_due(&mut wheel, now_ms) {
                    let due = list[slot as usize].take();
                    prop_assert!(due.is_some_and(|due| due <= now_ms), "slot {slot}: {due:?} at {now_ms}");
                }
                let late = list.iter().flatten().find(|due| **due + TICK_MS <= now_ms);
                prop_assert!(late.is_none(), "{late:?} is late at {now_ms}");
            }
        }
    }
}
