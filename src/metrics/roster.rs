//! A pool, and what each worker counts of its backends: published as one.
//!
//! The control thread makes it whole. So a worker takes over another one by its pointer, however many
//! backends there are, and has cells for each of them at once.

use super::BackendCells;
use crate::pool::{BackendId, BackendSlot, Pool};
use std::sync::Arc;

/// A pool, and the cells of its backends in each worker.
#[derive(Debug)]
pub struct Roster {
    pool: Arc<Pool>,
    /// By worker, and then by slot.
    cells: Vec<Vec<Arc<BackendCells>>>,
}

impl Roster {
    /// The first one: all counts are 0.
    pub fn new(pool: Pool, workers: usize) -> Self {
        let of_worker = |_| pool.backends().iter().map(|_| Arc::default()).collect();
        let cells = (0..workers).map(of_worker).collect();
        Self { pool: Arc::new(pool), cells }
    }

    /// The next one. A backend that stays, by its identity, keeps its counts; one that is not in this
    /// pool is forgotten, and a worker that still has the roster before counts it unseen.
    #[must_use]
    pub fn followed_by(&self, pool: Pool) -> Self {
        let slots: Vec<_> =
            pool.backends().iter().map(|backend| self.pool.by_id(backend.id)).collect();
        let of_worker = |before: &Vec<Arc<BackendCells>>| {
            let kept = |slot: &BackendSlot| before.get(usize::from(slot.0)).cloned();
            slots.iter().map(|slot| slot.as_ref().and_then(kept).unwrap_or_default()).collect()
        };
        let cells = self.cells.iter().map(of_worker).collect();
        Self { pool: Arc::new(pool), cells }
    }

    /// The pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// How many workers count.
    pub fn workers(&self) -> usize {
        self.cells.len()
    }

    /// What a worker counts of a backend; `None` for a slot of another pool.
    #[inline]
    pub fn cells(&self, worker: usize, slot: BackendSlot) -> Option<&BackendCells> {
        self.cells.get(worker)?.get(usize::from(slot.0)).map(AsRef::as_ref)
    }

    /// What all workers count of a backend, in their order.
    pub fn all(&self, slot: BackendSlot) -> impl Iterator<Item = &BackendCells> + Clone {
        (0..self.workers()).filter_map(move |worker| self.cells(worker, slot))
    }

    /// The same of an identity; of one that is not in the pool there is nothing.
    pub fn of(&self, id: BackendId) -> impl Iterator<Item = &BackendCells> + Clone {
        self.pool.by_id(id).into_iter().flat_map(|slot| self.all(slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{BackendSpec, Policy};

    fn pool(names: &[&str]) -> Pool {
        let spec =
            |(name, port): (&&str, u16)| BackendSpec::new(name, ([127, 0, 0, 1], port).into());
        let specs = names.iter().zip(7001..).map(spec).collect();
        Pool::build(specs, Policy::CALL_ID_HASH, 0).expect("a good pool")
    }

    fn requests(roster: &Roster, name: &str) -> Vec<u64> {
        roster.of(BackendId::of_name(name)).map(|cells| cells.requests.value()).collect()
    }

    #[test]
    fn a_backend_keeps_its_counts_while_others_come_and_go() {
        let first = Roster::new(pool(&["a", "b"]), 2);
        for (worker, slot, n) in [(0, 0, 1), (0, 1, 2), (1, 0, 3), (1, 1, 4)] {
            first.cells(worker, BackendSlot(slot)).expect("its cells").requests.add(n);
        }
        let second = first.followed_by(pool(&["c", "b"]));
        first.cells(1, BackendSlot(1)).expect("its cells").requests.add(10); // has not looked yet
        assert_eq!(requests(&second, "b"), [2, 14]);
        assert_eq!(requests(&second, "c"), [0, 0]);
        assert!(requests(&second, "a").is_empty());
        let third = second.followed_by(pool(&["a", "b"]));
        assert_eq!(requests(&third, "a"), [0, 0], "it begins anew");
        assert_eq!(requests(&third, "b"), [2, 14]);
    }

    #[test]
    fn a_slot_of_another_pool_has_no_cells() {
        let roster = Roster::new(pool(&["a"]), 2);
        assert!(roster.cells(1, BackendSlot(0)).is_some());
        assert!(roster.cells(0, BackendSlot(1)).is_none(), "not those of the next worker");
        assert_eq!(roster.all(BackendSlot(1)).count(), 0);
    }
}
