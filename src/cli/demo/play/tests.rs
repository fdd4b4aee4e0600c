//! The show against a relay in the balancer's place: faults are found out.

use super::super::front::{BackendStanding, Edit, Event, State};
use super::super::scenes::Drain;
use super::*;
use sipring_loadtest::{BackendOptions, BackendReport, Relay, RelayOptions};
use std::net::SocketAddr;
use std::sync::Arc;

const DRAINED: usize = 1;

/// A relay in the balancer's place.
struct Stand {
    relay: Relay,
    obeys: bool,
    /// It says that a drain has ended before it has.
    hasty: bool,
    /// The report of the drained backend.
    drained: Option<Arc<BackendReport>>,
    reports: Vec<Arc<BackendReport>>,
}

impl Front for Stand {
    fn address(&self) -> SocketAddr {
        self.relay.address()
    }

    fn set_drained(&mut self, backend: &str, drained: bool) -> Result<(), Failure> {
        assert_eq!(backend, super::super::BACKENDS[DRAINED]);
        self.drained = drained.then(|| Arc::clone(&self.reports[DRAINED]));
        if self.obeys {
            self.relay.set_drained(DRAINED, drained);
        }
        Ok(())
    }

    fn reload(&mut self, _: Edit<'_>) -> Result<Vec<String>, String> {
        panic!("a relay has no config");
    }

    fn look(&mut self) -> Standing {
        let ends = |report: &mut Arc<BackendReport>| report.dialogs.value() == 0 || self.hasty;
        let event = |_| Event {
            backend: super::super::BACKENDS[DRAINED].to_owned(),
            what: "drained".to_owned(),
            why: "no call is left".to_owned(),
        };
        let state = |name: &&str| BackendStanding { name: (*name).to_owned(), state: State::Up };
        Standing {
            drops: self.relay.dropped(),
            backends: super::super::BACKENDS.iter().map(state).collect(),
            events: self.drained.take_if(ends).map(event).into_iter().collect(),
            ..Standing::default()
        }
    }

    fn failed(&self) -> bool {
        false
    }
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A show of two seconds with a drain, with time-outs after two more; returns the verdict and what
/// was written.
fn shown(
    obeys: bool,
    refuse: Option<&str>,
    with: impl FnOnce(&mut RelayOptions),
) -> (Verdict, String) {
    let start = |name: &str| {
        let refuse = refuse.filter(|_| name == "backend-3").map(str::to_owned);
        Backend::start(BackendOptions { refuse, ..BackendOptions::named(name, any()) }).unwrap()
    };
    let backends: Vec<_> = super::super::BACKENDS.iter().map(|name| start(name)).collect();
    let addresses = backends.iter().map(Backend::address).collect();
    let mut options = RelayOptions::between(any(), addresses);
    with(&mut options);
    let reports = backends.iter().map(|backend| Arc::clone(backend.report())).collect();
    let hasty = !obeys || options.splits_dialogs; // those do not end
    let relay = Relay::start(options).unwrap();
    let front = Stand { relay, obeys, hasty, drained: None, reports };
    let mut cast = Cast { front, backends, baseline: start("baseline") };
    let of_length = Script::of(Duration::from_secs(2), 1);
    let script = Script { rates: (50.0, 100.0), t1: Duration::from_millis(30), ..of_length };
    let (mut written, mut scenes) = (Vec::new(), vec![Box::<Drain>::default() as _]);
    let mut screen = Screen::new(&mut written, false);
    let verdict = play(&mut cast, &script, &mut scenes, &mut screen).unwrap();
    (verdict, String::from_utf8(written).unwrap())
}

#[test]
fn a_show_without_a_fault_is_good() {
    let (verdict, written) = shown(true, None, |_| {});
    assert!(verdict.good(), "{verdict}");
    assert!(verdict.calls > 50, "{verdict}");
    assert!(written.contains("DRAIN: backend-2 gets no new calls"), "{written}");
    assert!(written.contains("backend-2: drained (no call is left)"), "{written}");
    assert!(written.contains("ready again; while drained it got 0 new calls"), "{written}");
    assert!(!written.contains('\x1b'), "no escapes where there is no terminal: {written}");
}

#[test]
fn a_balancer_that_does_not_drain_is_found_out() {
    let (verdict, _) = shown(false, None, |_| {});
    assert!(verdict.to_string().contains(" new calls went to the drained backend"), "{verdict}");
    assert!(!verdict.good());
}

#[test]
fn a_balancer_that_splits_dialogs_is_found_out() {
    let (verdict, _) = shown(true, None, |options| options.splits_dialogs = true);
    assert!(verdict.split > 0 && verdict.astray > 0, "{verdict}");
    assert!(!verdict.good());
}

#[test]
fn a_lost_call_is_not_hidden() {
    let (verdict, _) = shown(true, Some("486 Busy Here"), |_| {});
    assert!(verdict.completed > 0 && verdict.completed < verdict.calls, "{verdict}");
    assert!(!verdict.good());
}
