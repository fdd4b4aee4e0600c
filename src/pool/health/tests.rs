//! Both sides of each edge, and a property over all sequences.

use super::*;
use proptest::prelude::*;

const GOOD: Outcome = answered(200);
const MIDDLE: u32 = u32::MAX / 2 + 1;

const fn answered(status: u16) -> Outcome {
    Outcome::Answered { status, retry_after_s: None }
}

fn rules() -> Rules {
    Rules {
        interval_ms: 10_000,
        timeout_ms: 2_000,
        jitter_per_mille: 0,
        rise: 2,
        fall: 3,
        codes: Vec::new(),
        down_interval_max_ms: 30_000,
        retry_after_max_ms: 30_000,
        slow_start_ms: 0,
    }
}

/// A backend with a clock that jumps to its next probe.
struct Probed {
    rules: Rules,
    health: Health,
    now: u64,
}

impl Probed {
    fn new(rules: Rules) -> Self {
        Self { health: Health::new(0, &rules, 0), rules, now: 0 }
    }

    /// Waits for the next probe and ends it at once. Returns the wait and the change.
    fn probe(&mut self, outcome: Outcome) -> (u64, Option<bool>) {
        let wait = self.health.next_ms.saturating_sub(self.now);
        if wait > 0 {
            assert!(!self.health.is_due(self.health.next_ms - 1), "one below");
        }
        self.now += wait;
        assert!(self.health.is_due(self.now), "exactly then");
        self.health.probe_sent(self.now);
        assert!(!self.health.is_due(self.now + 1_000_000), "one at a time");
        let change = self.health.probe_ended(self.now, &self.rules, outcome, MIDDLE);
        (wait, change.map(|change| change.up))
    }

    fn probes(&mut self, outcome: Outcome, times: usize) -> Vec<Option<bool>> {
        (0..times).map(|_| self.probe(outcome).1).collect()
    }

    fn traffic(&mut self, good: u64, bad: u64) -> Option<Change> {
        self.health.traffic(self.now, &self.rules, Traffic { good, bad, ..Traffic::default() })
    }
}

#[test]
fn it_is_up_until_the_contrary_is_proven() {
    let probed = Probed::new(rules());
    assert!(probed.health.is_up());
    assert_eq!(probed.health.why(), Why::Unproven);
    assert!(probed.health.is_due(0));
    let latest = Health::new(7, &rules(), u32::MAX);
    assert!(!latest.is_due(7 + SPREAD_MS - 2) && latest.is_due(7 + SPREAD_MS - 1));
}

#[test]
fn it_falls_with_the_third_bad_probe_in_a_row_and_not_with_the_second() {
    let mut probed = Probed::new(rules());
    assert_eq!(probed.probes(Outcome::Silent, 2), [None, None]);
    assert_eq!(probed.probe(GOOD).1, None);
    assert_eq!(probed.probes(Outcome::Silent, 3), [None, None, Some(false)]);
    let why = Why::Probes { count: 3, last: Outcome::Silent };
    assert_eq!((probed.health.is_up(), probed.health.why()), (false, why));
    assert_eq!(why.to_string(), "3 probes in a row, the last: no answer in time");
}

#[test]
fn it_rises_with_the_second_good_probe_in_a_row_and_not_with_the_first() {
    let mut probed = Probed::new(rules());
    probed.probes(Outcome::Refused, 3);
    assert_eq!(probed.probe(GOOD).1, None);
    assert_eq!(probed.probe(Outcome::Refused).1, None);
    assert_eq!(probed.probes(GOOD, 2), [None, Some(true)]);
    assert_eq!(probed.health.why(), Why::Probes { count: 2, last: GOOD });
}

#[test]
fn every_final_response_but_503_is_a_sign_of_life() {
    for status in [200, 302, 400, 401, 403, 404, 405, 407, 408, 480, 481, 486, 500, 501, 502, 504] {
        assert_eq!(answered(status).is_good(&rules()), Some(true), "{status}");
    }
    for status in [600, 603, 699] {
        assert_eq!(answered(status).is_good(&rules()), Some(true), "{status}");
    }
    for bad in [answered(503), Outcome::Silent, Outcome::Refused, Outcome::Unreachable] {
        assert_eq!(bad.is_good(&rules()), Some(false), "{bad}");
    }
}

#[test]
fn a_received_408_is_an_answer_and_our_own_timeout_is_not() {
    let mut probed = Probed::new(rules());
    assert_eq!(probed.probes(answered(408), 5), [None; 5]);
    assert_eq!(probed.probes(Outcome::Silent, 3)[2], Some(false));
}

#[test]
fn listed_codes_and_no_others_are_good() {
    let rules = Rules { codes: vec![200, 503], ..rules() };
    assert_eq!(answered(200).is_good(&rules), Some(true));
    assert_eq!(answered(503).is_good(&rules), Some(true));
    assert_eq!(answered(404).is_good(&rules), Some(false));
}

#[test]
fn what_this_machine_could_not_send_says_nothing() {
    let mut probed = Probed::new(rules());
    probed.probes(Outcome::Silent, 2);
    assert_eq!(probed.probe(Outcome::NotSent).1, None);
    assert_eq!(probed.health.streak(), 2);
    assert_eq!(probed.probe(Outcome::Silent), (10_000, Some(false)));
}

#[test]
fn a_bad_probe_is_repeated_after_the_timeout_and_a_good_one_after_the_interval() {
    let mut probed = Probed::new(rules());
    probed.probe(GOOD);
    assert_eq!(probed.probe(Outcome::Refused).0, 10_000);
    assert_eq!(probed.probe(Outcome::Refused).0, 2_000);
    assert_eq!(probed.probe(GOOD).0, 2_000);
    assert_eq!(probed.probe(GOOD).0, 10_000);
    let mut eager = Probed::new(Rules { interval_ms: 500, ..rules() });
    eager.probe(Outcome::Silent);
    assert_eq!(eager.probe(Outcome::Silent).0, 500, "never slower than the interval");
}

#[test]
fn who_stays_down_is_asked_less_often_up_to_the_longest_interval() {
    let mut probed = Probed::new(rules());
    probed.probes(Outcome::Silent, 3);
    let waits: Vec<_> = (0..5).map(|_| probed.probe(Outcome::Silent).0).collect();
    assert_eq!(waits, [10_000, 20_000, 30_000, 30_000, 30_000]);
    assert_eq!(probed.probe(GOOD).0, 30_000);
    assert_eq!(probed.probe(Outcome::Silent).0, 10_000, "a sign of life");
    assert_eq!(probed.probe(Outcome::Silent).0, 20_000, "begins anew");
}

#[test]
fn the_longest_interval_is_no_shorter_than_the_interval() {
    let mut probed = Probed::new(Rules { down_interval_max_ms: 1, ..rules() });
    probed.probes(Outcome::Silent, 3);
    let waits: Vec<_> = (0..3).map(|_| probed.probe(Outcome::Silent).0).collect();
    assert_eq!(waits, [10_000; 3]);
}

#[test]
fn retry_after_is_honoured_up_to_its_bound() {
    for (seconds, wait) in [(0, 10_000), (10, 10_000), (29, 29_000), (30, 30_000), (300, 30_000)] {
        let mut probed = Probed::new(rules());
        let busy = Outcome::Answered { status: 503, retry_after_s: Some(seconds) };
        probed.probes(busy, 3);
        assert_eq!(probed.probe(GOOD).0, wait, "{seconds}");
    }
}

#[test]
fn retry_after_of_a_backend_that_is_up_delays_no_probe() {
    let mut probed = Probed::new(rules());
    let busy = Outcome::Answered { status: 503, retry_after_s: Some(20) };
    assert_eq!(probed.probe(busy).1, None);
    assert_eq!(probed.probe(GOOD).0, 2_000);
}

#[test]
fn jitter_goes_both_ways_and_no_further() {
    assert_eq!(jittered(10_000, 100, 0), 9_000);
    assert_eq!(jittered(10_000, 100, u32::MAX), 11_000);
    assert_eq!(jittered(10_000, 100, MIDDLE), 10_000);
    assert_eq!(jittered(10_000, 0, u32::MAX), 10_000);
    assert_eq!(jittered(10_000, 1000, 0), 0);
}

#[test]
fn the_third_bad_request_in_a_row_takes_it_down_and_a_probe_starts_at_once() {
    let mut probed = Probed::new(rules());
    probed.probe(GOOD);
    assert_eq!(probed.traffic(0, 2), None);
    assert_eq!(probed.traffic(1, 9), None, "one good one among them");
    assert_eq!(probed.traffic(0, 2), None);
    let change = Change { up: false, why: Why::Traffic { count: 3 } };
    assert_eq!(probed.traffic(0, 1), Some(change));
    assert_eq!(probed.probe(GOOD), (0, None));
    assert_eq!(probed.probe(GOOD), (10_000, Some(true)));
}

#[test]
fn it_counts_as_up_since_it_is_watched_or_came_up_last() {
    let mut probed = Probed::new(rules());
    assert_eq!((probed.health.up_since_ms(), Health::new(7, &rules(), 3).up_since_ms()), (0, 7));
    probed.probes(Outcome::Silent, 3);
    assert_eq!(probed.health.up_since_ms(), 0, "going down changes nothing");
    assert_eq!(probed.probe(GOOD).1, None);
    assert_eq!(probed.health.up_since_ms(), 0);
    assert_eq!(probed.probe(GOOD).1, Some(true));
    assert_eq!(probed.health.up_since_ms(), probed.now);
    let came_up = probed.now;
    probed.probe(GOOD);
    assert_eq!(probed.health.up_since_ms(), came_up, "a good probe more is no news");
}

#[test]
fn the_first_bad_request_brings_the_next_probe_forward() {
    let mut probed = Probed::new(rules());
    probed.probe(GOOD);
    probed.now += 5_000;
    probed.traffic(0, 1);
    assert_eq!(probed.probe(GOOD).0, 0);
    probed.traffic(0, 1);
    assert_eq!(probed.probe(GOOD).0, 2_000, "but not one for each");
}

#[test]
fn retry_after_of_a_request_holds_within_its_bound() {
    let mut one = Probed::new(rules());
    let bound_ms = one.rules.retry_after_max_ms;
    let asks = |one: &mut Probed, retry_after_s| {
        let met = Traffic { bad: 1, retry_after_s, ..Traffic::default() };
        one.health.traffic(one.now, &one.rules, met)
    };
    assert_eq!(asks(&mut one, 2), None, "no fall");
    assert!(one.health.is_up());
    assert!(one.health.is_held(one.now + 1999) && !one.health.is_held(one.now + 2000));
    assert_eq!(asks(&mut one, 1), None);
    assert!(one.health.is_held(one.now + 1999), "a shorter one does not shorten it");
    asks(&mut one, u32::MAX);
    assert!(one.health.is_held(one.now + bound_ms - 1) && !one.health.is_held(one.now + bound_ms));
}

#[test]
fn traffic_neither_raises_nor_lowers_one_that_is_down() {
    let mut probed = Probed::new(rules());
    probed.probes(Outcome::Silent, 3);
    assert_eq!(probed.traffic(1_000, 0), None);
    assert_eq!(probed.traffic(0, 1_000), None);
    assert!(!probed.health.is_up());
    assert_eq!(probed.probes(GOOD, 2), [None, Some(true)]);
}

#[test]
fn a_probe_that_was_sent_before_traffic_took_it_down_proves_nothing() {
    let mut probed = Probed::new(Rules { rise: 1, ..rules() });
    probed.health.probe_sent(0);
    assert!(probed.traffic(0, 3).is_some());
    let ended = probed.health.probe_ended(5, &probed.rules, GOOD, 0);
    assert_eq!((ended, probed.health.is_up()), (None, false));
    assert!(probed.health.is_due(5), "asked again at once");
    assert_eq!(probed.probe(GOOD).1, Some(true));
}

#[test]
fn good_probes_with_bad_traffic_are_believed_later_each_time() {
    let mut probed = Probed::new(rules());
    let mut waits = Vec::new();
    for _ in 0..5 {
        assert!(probed.traffic(0, 3).is_some());
        waits.push(probed.probe(GOOD).0);
        assert_eq!(probed.probe(GOOD), (10_000, Some(true)));
    }
    assert_eq!(waits, [0, 10_000, 20_000, 30_000, 30_000]);
    probed.traffic(1, 0);
    assert!(probed.traffic(0, 3).is_some());
    assert_eq!(probed.probe(GOOD).0, 0, "good traffic is a fresh start");
}

#[test]
fn slow_start_ramps_after_recovery_and_after_joining_and_not_at_process_start() {
    let rules = Rules { slow_start_ms: 1_000, rise: 1, ..rules() };
    let mut probed = Probed::new(rules.clone());
    assert_eq!(probed.health.share(0, &rules), FULL_SHARE);
    probed.probes(Outcome::Silent, 3);
    assert_eq!(probed.probe(GOOD).1, Some(true));
    let share = |ms| probed.health.share(probed.now + ms, &rules);
    assert_eq!([share(0), share(500), share(999), share(1_000)], [26, 141, 255, 256]);
    let joining = Health::joining(50, &rules, 0);
    assert!(joining.is_up());
    assert_eq!([joining.share(50, &rules), joining.share(1_050, &rules)], [26, 256]);
    let off = Rules { slow_start_ms: 0, ..rules };
    assert_eq!(joining.share(50, &off), FULL_SHARE);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Send,
    End(Outcome, u32),
    Traffic(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        3 => Just(GOOD),
        2 => Just(Outcome::Silent),
        1 => Just(Outcome::Refused),
        1 => Just(Outcome::NotSent),
        1 => any::<u32>().prop_map(|s| Outcome::Answered { status: 503, retry_after_s: Some(s) }),
    ];
    prop_oneof![
        1 => (0..40_000_u64).prop_map(Step::Wait),
        3 => Just(Step::Send),
        3 => (outcome, any::<u32>()).prop_map(|(outcome, random)| Step::End(outcome, random)),
        1 => (0..2_u64, 0..4_u64).prop_map(|(good, bad)| Step::Traffic(good, bad)),
    ]
}

proptest! {
    /// The oracle keeps plain runs of what has happened since the last flip.
    #[test]
    fn nothing_flips_faster_than_the_rules_allow_and_every_state_has_its_reason(
        steps in proptest::collection::vec(step(), 0..400),
        rise in 1..4_u32,
        fall in 1..4_u32,
        jitter in 0..=1000_u16,
    ) {
        let rules = Rules { rise, fall, jitter_per_mille: jitter, ..rules() };
        let mut health = Health::new(0, &rules, 0);
        let (mut now, mut out) = (0, false);
        let (mut good_run, mut bad_run, mut signals) = (0_u32, 0_u32, 0_u64);
        for step in steps {
            let was_up = health.is_up();
            let change = match step {
                Step::Wait(ms) => { now += ms; None }
                Step::Send => {
                    if health.is_due(now) {
                        prop_assert!(!out);
                        health.probe_sent(now);
                        out = true;
                    }
                    None
                }
                Step::End(..) if !out => None,
                Step::End(outcome, random) => {
                    out = false;
                    match outcome.is_good(&rules) {
                        Some(true) => (good_run, bad_run) = (good_run + 1, 0),
                        Some(false) => (good_run, bad_run) = (0, bad_run + 1),
                        None => {}
                    }
                    health.probe_ended(now, &rules, outcome, random)
                }
                Step::Traffic(good, bad) => {
                    signals = if good > 0 { 0 } else { signals + bad };
                    health.traffic(now, &rules, Traffic { good, bad, ..Traffic::default() })
                }
            };
            prop_assert_eq!(change.map(|change| change.up), (health.is_up() != was_up).then_some(!was_up));
            if let Some(change) = change {
                prop_assert_eq!(change.why, health.why());
                let allowed = match change.up {
                    true => good_run >= rise,
                    false => bad_run >= fall || signals >= u64::from(fall),
                };
                prop_assert!(allowed, "{change:?} {good_run} {bad_run} {signals}");
                (good_run, bad_run, signals) = (0, 0, 0);
            }
            let explained = match health.why() {
                Why::Unproven => health.is_up(),
                Why::Probes { count, last } => {
                    last.is_good(&rules) == Some(health.is_up())
                        && count >= if health.is_up() { rise } else { fall }
                }
                Why::Traffic { count } => !health.is_up() && count >= fall,
            };
            prop_assert!(explained, "{health:?}");
            // It is always asked again within a bounded time.
            prop_assert!(health.out || health.next_ms <= now + 60_000, "{health:?}");
            prop_assert!((1..=FULL_SHARE).contains(&health.share(now, &rules)));
        }
    }
}
