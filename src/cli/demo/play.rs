//! The show: calls ramp up, scenes are played, and every call is followed to its end.

use super::facts::Meter;
use super::front::{Front, Standing};
use super::scenes::{Moment, Scene};
use super::script::Script;
use super::show::Screen;
use super::verdict::Verdict;
use crate::control::Failure;
use sipring_loadtest::{Backend, Caller};
use std::io::Write;
use std::time::{Duration, Instant};

/// From one look to the next at the longest.
const TICK: Duration = Duration::from_millis(20);

/// Who plays.
#[derive(Debug)]
pub(super) struct Cast<F> {
    pub(super) front: F,
    pub(super) backends: Vec<Backend>,
    pub(super) baseline: Backend,
}

/// Runs the show to its end.
pub(super) fn play<F: Front, W: Write>(
    cast: &mut Cast<F>,
    script: &Script,
    scenes: &mut [Box<dyn Scene<F>>],
    screen: &mut Screen<W>,
) -> Result<Verdict, Failure> {
    let options = script.caller(cast.front.address(), cast.baseline.address());
    let caller = Caller::start(options)
        .map_err(|e| Failure::unavailable(format!("the demo's caller needs a UDP port: {e}")))?;
    let (begin, mut meter, mut finished) = (Instant::now(), Meter::default(), false);
    loop {
        let frame_at = Duration::from_secs(meter.second() + 1);
        std::thread::sleep(frame_at.saturating_sub(begin.elapsed()).min(TICK));
        let now = begin.elapsed();
        let standing = cast.front.look();
        for event in &standing.events {
            screen.event(now, &format!("{}: {} ({})", event.backend, event.what, event.why));
        }
        let mut moment = Moment { now, script, cast, standing: &standing, said: Vec::new() };
        scenes.iter_mut().try_for_each(|scene| scene.act(&mut moment))?;
        moment.said.iter().for_each(|text| screen.scene(now, text));
        if now >= frame_at {
            screen.frame(&meter.read(cast, caller.report(), &standing));
        }

        let played = scenes.iter().all(|scene| scene.over()) || now > script.scenes_end();
        if !finished && played && now >= script.last_start() {
            caller.finish();
            finished = true;
        }
        if over(&caller, now, script, finished) || cast.front.failed() {
            return Ok(verdict(cast, &caller, &standing, scenes));
        }
    }
}

fn over(caller: &Caller, now: Duration, script: &Script, finished: bool) -> bool {
    let report = caller.report();
    let open = report.through.open() + report.direct.open();
    finished && (open == 0 || now > script.calls_end())
}

fn verdict<F: Front>(
    cast: &Cast<F>,
    caller: &Caller,
    standing: &Standing,
    scenes: &[Box<dyn Scene<F>>],
) -> Verdict {
    let through = &caller.report().through;
    let mut faults: Vec<_> = scenes.iter().flat_map(|scene| scene.faults()).collect();
    if cast.front.failed() {
        faults.push("a worker of the balancer ended by itself".to_owned());
    }
    Verdict {
        calls: through.started.value(),
        completed: through.completed.value(),
        split: through.split.value(),
        astray: cast.backends.iter().map(|backend| backend.report().strangers.value()).sum(),
        failed_over: standing.failed_over,
        reloads: standing.reloads,
        refused: standing.refused,
        faults,
    }
}

#[cfg(test)]
mod tests;
