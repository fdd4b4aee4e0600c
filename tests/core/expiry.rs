//! What runs out together is not freed together: no turn waits for it.

use crate::world::{LISTENER, Request, World, backends, settings};

const CALLS: usize = 2000;

/// What one turn may free of a table.
const FREED_MAX: usize = 256;

#[test]
fn calls_that_run_out_in_one_second_are_freed_turn_by_turn_and_without_traffic_too() {
    let mut settings = settings();
    (settings.pins_max, settings.transactions_max) = (2 * CALLS, 2 * CALLS);
    let mut world = World::with(settings, backends());
    for number in 0..CALLS {
        let call_id = format!("call-{number}");
        let request = Request { call_id: &call_id, ..Request::default() };
        world.push("192.0.2.9:40000", LISTENER, request.to_string());
    }
    assert_eq!((world.proxy.calls(), world.proxy.transactions()), (CALLS, CALLS));
    world.proxy.handle_timeout(world.now);
    world.now = world.now.after_ms(202_000); // longer than an INVITE is kept
    let (mut turns, mut stopped) = (0, 0);
    while world.proxy.calls() + world.proxy.transactions() > 0 {
        let before = (world.proxy.calls(), world.proxy.transactions());
        world.proxy.handle_timeout(world.now);
        let freed = (before.0 - world.proxy.calls(), before.1 - world.proxy.transactions());
        assert!(freed.0 <= FREED_MAX && freed.1 <= FREED_MAX, "{freed:?} at once");
        if freed.0 == FREED_MAX || freed.1 == FREED_MAX {
            assert!(world.proxy.is_behind(), "there is more to do");
            stopped += 1;
        }
        world.now = world.now.after_ms(if world.proxy.is_behind() { 0 } else { 10 });
        turns += 1;
        assert!(turns < 2000, "{:?} are left", world.proxy.calls());
    }
    assert!(stopped > 3, "nothing was held back: {stopped} of {turns} turns");
    world.proxy.check_invariants();
}

#[test]
fn what_is_due_after_a_rest_is_done_in_parts_and_is_two_rounds_at_most() {
    let mut settings = settings();
    settings.pins_max = 1_000_000;
    let mut world = World::with(settings, backends());
    let parts_after = |world: &mut World, ms: u64| {
        world.now = world.now.after_ms(ms);
        let mut parts = 1;
        world.proxy.handle_timeout(world.now);
        while world.proxy.is_behind() {
            world.proxy.handle_timeout(world.now);
            parts += 1;
        }
        parts
    };
    assert_eq!(parts_after(&mut world, 3_600_000), 1, "there is nothing to sweep");
    world.push("192.0.2.9:40000", LISTENER, Request::default().to_string());
    // Two million slots in ten seconds, 3072 at once, by whole milliseconds.
    for (ms, parts) in [(1, 1), (15, 1), (16, 2), (1000, 67), (10_000, 667), (25_000, 1334)] {
        assert_eq!(parts_after(&mut world, ms), parts, "{ms}");
    }
    assert!(parts_after(&mut world, 3_600_000) <= 667, "all has run out: nothing is left to sweep");
    assert_eq!(parts_after(&mut world, 3_600_000), 1);
}
