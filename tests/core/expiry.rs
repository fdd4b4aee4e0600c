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
    world.now = world.now.after_ms(202_000); // longer than an INVITE is kept
    let (mut turns, mut stopped) = (0, 0);
    while world.proxy.calls() + world.proxy.transactions() > 0 {
        let before = (world.proxy.calls(), world.proxy.transactions());
        world.proxy.handle_timeout(world.now);
        let freed = (before.0 - world.proxy.calls(), before.1 - world.proxy.transactions());
        assert!(freed.0 <= FREED_MAX && freed.1 <= FREED_MAX, "{freed:?} at once");
        if freed.0 == FREED_MAX || freed.1 == FREED_MAX {
            assert_eq!(world.proxy.sweep_pause_ms(), 1, "there is more to do");
            stopped += 1;
        }
        world.now = world.now.after_ms(world.proxy.sweep_pause_ms().min(10));
        turns += 1;
        assert!(turns < 2000, "{:?} are left", world.proxy.calls());
    }
    assert!(stopped > 3, "nothing was held back: {stopped} of {turns} turns");
    world.proxy.check_invariants();
}
