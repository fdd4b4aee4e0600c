//! Each scene against a front that says what the test wants, with moments that the test makes.

use super::super::front::{BackendStanding, Edit, Event, State};
use super::*;
use sipring_loadtest::{Backend, BackendOptions, Caller, CallerOptions};
use std::net::SocketAddr;

/// Does nothing, and says what it was told to say.
#[derive(Default)]
struct Puppet {
    drained: Vec<bool>,
    added: Vec<String>,
    refuses_the_good: bool,
    takes_the_broken: bool,
}

impl Front for Puppet {
    fn address(&self) -> SocketAddr {
        any()
    }

    fn set_drained(&mut self, _: &str, drained: bool) -> Result<(), Failure> {
        self.drained.push(drained);
        Ok(())
    }

    fn reload(&mut self, edit: Edit<'_>) -> Result<Vec<String>, String> {
        match edit {
            Edit::Add(..) if self.refuses_the_good => Err("error: no".to_owned()),
            Edit::Break if !self.takes_the_broken => Err("error: bad\n --> here\n".to_owned()),
            Edit::Break => Ok(Vec::new()),
            Edit::Add(name, _) => {
                self.added.push(name.to_owned());
                Ok(vec![format!("reload    backend {name:?} added")])
            }
        }
    }

    fn look(&mut self) -> Standing {
        Standing::default()
    }

    fn failed(&self) -> bool {
        false
    }
}

/// One scene, its cast, and all that was said.
struct Test<S> {
    scene: S,
    script: Script,
    cast: Cast<Puppet>,
    standing: Standing,
    said: String,
}

impl<S: Scene<Puppet> + Default> Test<S> {
    fn new(front: Puppet) -> Self {
        let start = |name: &&str| Backend::start(BackendOptions::named(name, any())).unwrap();
        let backends: Vec<_> = super::super::BACKENDS.iter().map(start).collect();
        let standing = |backend: &Backend| BackendStanding {
            name: backend.name().to_owned(),
            state: State::Up,
        };
        Self {
            scene: S::default(),
            script: Script::of(Duration::from_secs(10), 1),
            standing: Standing {
                backends: backends.iter().map(standing).collect(),
                ..Standing::default()
            },
            cast: Cast { front, backends, baseline: start(&"baseline") },
            said: String::new(),
        }
    }

    fn at(&mut self, now: Duration) {
        let Self { scene, script, cast, standing, said } = self;
        let mut moment = Moment { now, script, cast, standing, said: Vec::new() };
        scene.act(&mut moment).unwrap();
        said.push_str(&moment.said.join("\n"));
        standing.events.clear();
    }

    fn is(&mut self, place: usize, state: State) {
        self.standing.backends[place].state = state;
    }

    /// A call for the backend at this place alone, from its begin to its end.
    fn call(&self, place: usize, seed: u64) {
        let to = self.cast.backends[place].address();
        let hold = (Duration::ZERO, Duration::ZERO);
        let options = CallerOptions { calls: Some(1), hold, seed, ..CallerOptions::to(to) };
        assert!(Caller::start(options).unwrap().wait(Duration::from_secs(60)));
    }
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn drained(backend: &str) -> Event {
    let (what, why) = ("drained".to_owned(), String::new());
    Event { backend: backend.to_owned(), what, why }
}

#[test]
fn what_was_not_played_is_a_fault() {
    for scene in all::<Puppet>() {
        assert!(!scene.over());
        assert!(!scene.faults().is_empty());
    }
}

#[test]
fn a_drain_lasts_until_the_balancer_says_that_it_has_ended() {
    let mut test = Test::<Drain>::new(Puppet::default());
    let begin = test.script.drain_at();
    test.at(begin - Duration::from_millis(1));
    assert!(test.cast.front.drained.is_empty());
    test.at(begin);
    assert_eq!(test.cast.front.drained, [true]);
    test.call(1, 1); // was on its way
    test.at(test.script.settled_at(begin));
    test.standing.events = vec![drained("backend-1")];
    test.at(test.script.ready_at(begin));
    assert_eq!(test.cast.front.drained, [true], "that was another backend");
    test.standing.events = vec![drained("backend-2")];
    test.at(test.script.ready_at(begin));
    assert_eq!(test.cast.front.drained, [true, false]);
    assert!(Scene::<Puppet>::over(&test.scene));
    assert_eq!(Scene::<Puppet>::faults(&test.scene), [""; 0]);
}

#[test]
fn a_call_to_the_drained_backend_is_a_fault() {
    let mut test = Test::<Drain>::new(Puppet::default());
    let begin = test.script.drain_at();
    test.at(begin);
    test.at(test.script.settled_at(begin));
    test.call(1, 1);
    test.standing.events = vec![drained("backend-2")];
    test.at(test.script.ready_at(begin));
    let faults = Scene::<Puppet>::faults(&test.scene);
    assert_eq!(faults, ["1 new calls went to the drained backend"]);
}

/// Until the dead backend is started again.
fn until_it_is_back() -> Test<Death> {
    let mut test = Test::<Death>::new(Puppet::default());
    let begin = test.script.kill_at();
    test.at(begin);
    assert!(test.said.contains("backend-3 is killed"), "{}", test.said);
    test.standing.failed_over = 7;
    test.at(test.script.restart_at(begin));
    assert!(!test.said.contains("starts again"), "it is not known to be down yet");
    test.is(2, State::Down);
    test.at(test.script.restart_at(begin));
    test.at(test.script.restart_at(begin));
    assert!(test.said.contains("backend-3 starts again"), "{}", test.said);
    test
}

#[test]
fn a_death_ends_with_calls_on_the_backend_that_is_back() {
    let mut test = until_it_is_back();
    let now = test.script.reload_at();
    test.at(now);
    test.is(2, State::SlowStart);
    test.at(now);
    test.at(now);
    assert!(!Scene::<Puppet>::over(&test.scene));
    test.call(2, 1);
    test.at(now);
    assert!(Scene::<Puppet>::over(&test.scene));
    assert!(test.said.contains("7 had failed over"), "{}", test.said);
    assert_eq!(Scene::<Puppet>::faults(&test.scene), [""; 0]);
}

#[test]
fn calls_for_a_backend_that_is_not_known_to_be_up_are_a_fault() {
    let mut test = until_it_is_back();
    let now = test.script.reload_at();
    test.call(2, 1);
    test.at(now);
    test.at(now);
    test.is(2, State::Up);
    test.at(now);
    test.call(2, 2);
    test.at(now);
    let faults = Scene::<Puppet>::faults(&test.scene);
    assert_eq!(faults, ["1 new calls went to the dead backend"]);
}

#[test]
fn a_death_without_failover_is_a_fault() {
    let mut test = until_it_is_back();
    test.standing.failed_over = 0;
    test.at(test.script.reload_at());
    let faults = Scene::<Puppet>::faults(&test.scene);
    assert_eq!(faults[0], "nothing failed over");
}

/// Both files given, with calls in between and, if wanted, after them.
fn reloaded(front: Puppet, goes_on: impl FnOnce(&mut Test<Reload>)) -> Test<Reload> {
    let mut test = Test::<Reload>::new(front);
    test.at(test.script.reload_at());
    test.call(4, 1);
    test.at(test.script.reload_at());
    test.at(test.script.refuse_at());
    goes_on(&mut test);
    test.at(test.script.refuse_at());
    test
}

#[test]
fn a_good_and_a_refused_reload_are_shown() {
    let test = reloaded(Puppet::default(), |test| test.call(0, 2));
    assert_eq!(test.cast.front.added, ["backend-5"]);
    for part in ["reload    backend \"backend-5\" added", "error: bad\n --> here", "calls go on"] {
        assert!(test.said.contains(part), "{part}: {}", test.said);
    }
    assert!(Scene::<Puppet>::over(&test.scene));
    assert_eq!(Scene::<Puppet>::faults(&test.scene), [""; 0]);
}

#[test]
fn reloads_that_go_another_way_are_faults() {
    let refuses = Puppet { refuses_the_good: true, ..Puppet::default() };
    let takes = Puppet { takes_the_broken: true, ..Puppet::default() };
    let quiet = |_: &mut Test<Reload>| {};
    for (test, fault) in [
        (reloaded(refuses, |test| test.call(0, 2)), "a good file was refused: error: no"),
        (reloaded(takes, |test| test.call(0, 2)), "a broken file was taken over"),
        (reloaded(Puppet::default(), quiet), "no calls came after the refused file"),
    ] {
        assert_eq!(Scene::<Puppet>::faults(&test.scene), [fault]);
    }
    let changed = |test: &mut Test<Reload>| {
        test.call(0, 2);
        test.standing.generation += 1;
    };
    let test = reloaded(Puppet::default(), changed);
    assert_eq!(Scene::<Puppet>::faults(&test.scene), ["a refused file changed something"]);
}
