//! Caps of calls, with workers that each have some of the calls: what does not fit overflows.

use crate::balancer::{Balancer, Setup, options};
use crate::stage::{Family, Stage, wait_until};
use sipring_loadtest::{Backend, BackendOptions, Caller, CallerOptions, Pace};
use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// Two capped backends never have more than their cap, but for what the workers may begin within one
/// turn; the backup takes what is left over, and when it is full too, a call gets a 503 that holds back
/// nothing else. After the BYEs new calls fit again.
#[test]
fn capped_backends_overflow_to_the_backup_and_then_to_503() {
    let stage = Stage::new("caps");
    let start = |name: &str| {
        let options = BackendOptions::named(name, Family::V4.free_address());
        Backend::start(options).expect("a backend")
    };
    let [first, second, backup] = ["b1", "b2", "backup"].map(start);
    let all = [&first, &second, &backup];
    let mut setup = Setup::new(&[Family::V4.free_address()], &[]);
    setup.pools = Some(pool_of(&all));
    let mut balancer = Balancer::start_from_file(&stage, "balancer", &setup, WORKERS);
    let to = setup.listeners[0];

    let hold = (Duration::from_secs(6), Duration::from_secs(6));
    let load = CallerOptions {
        pace: Pace::rate(50.0),
        hold,
        calls: Some(OFFERED),
        ..CallerOptions::to(to)
    };
    let caller = Caller::start(load).expect("a caller");
    let through = &caller.report().through;
    let (mut peaks, mut answer) = ([0; 3], None);
    wait_until("all calls have ended", LONG, || {
        let dialogs = all.map(|one| one.report().dialogs.value());
        peaks = [0, 1, 2].map(|place: usize| peaks[place].max(dialogs[place]));
        if backup.report().new_calls.value() == 1 && answer.is_none() {
            assert!(dialogs[0] + TURN >= CAP, "the backup is used with {dialogs:?} calls");
            assert!(dialogs[1] + TURN >= CAP, "the backup is used with {dialogs:?} calls");
        }
        if through.failed_with(503) > 0 && answer.is_none() {
            answer = Some(answer_to_a_call(to));
        }
        caller.wait(Duration::ZERO)
    });

    for (one, peak) in all.iter().zip(peaks) {
        let (name, range) = (one.name(), CAP..=CAP + TURN);
        assert!(range.contains(&peak), "{name} had {peak} calls at once, {range:?} would be right");
        let strangers = one.report().strangers.value();
        assert_eq!(strangers, 0, "{name} got what was not its own");
    }
    let refused = through.failed_with(503);
    assert_eq!(through.lost(), refused, "{}", caller.report().json());
    assert_eq!(through.completed.value() + refused, OFFERED);
    let answer = answer.expect("more calls than fit").to_ascii_lowercase();
    assert!(answer.starts_with("sip/2.0 503 "), "found {answer}");
    assert!(!answer.contains("\nretry-after"), "it would hold back what fits: {answer}");

    for name in ["b1", "b2", "backup"] {
        let none = format!("sipring_backend_calls{{backend=\"{name}\"}} 0");
        wait_until("the calls are over", LONG, || balancer.has(&none));
    }
    let before = all.map(|one| one.report().new_calls.value());
    let few = Some(CAP / 2); // as many as fit at either of them
    let again =
        CallerOptions { pace: Pace::rate(50.0), calls: few, seed: 2, ..CallerOptions::to(to) };
    let caller = Caller::start(again).expect("a caller");
    assert!(caller.wait(LONG), "{}", caller.report().json());
    assert_eq!(caller.report().through.lost(), 0, "{}", caller.report().json());
    let new = [0, 1, 2].map(|place: usize| all[place].report().new_calls.value() - before[place]);
    assert_eq!((new[0] + new[1], new[2]), (CAP / 2, 0), "calls of b1, b2 and the backup: {new:?}");
    balancer.assert_alive();
}

fn pool_of(backends: &[&Backend]) -> String {
    let mut text = "\n[[pool]]\n\n[pool.health]\nenabled = false\n".to_owned();
    for one in backends {
        let (name, address) = (one.name(), one.address());
        let backup = name == "backup";
        let _ = write!(
            text,
            "\n[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"\nbackup = {backup}\n\
             dialogs_max = {CAP}\n"
        );
    }
    text
}

/// The first answer, as it stands, to an INVITE of a caller of its own.
fn answer_to_a_call(to: SocketAddr) -> String {
    let socket = UdpSocket::bind((to.ip(), 0)).expect("a socket of a caller");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a time-out");
    let from = socket.local_addr().expect("its own address");
    let request = options(to, from).replace("OPTIONS sip:", "INVITE sip:callee@");
    let request =
        request.replace("1 OPTIONS", "1 INVITE").replace("Forwards: 1\r", "Forwards: 70\r");
    let (mut answer, mut len) = ([0; 2048], 0);
    wait_until("an INVITE is answered", LONG, || {
        socket.send_to(request.as_bytes(), to).expect("a request");
        len = socket.recv(&mut answer).unwrap_or(0);
        len > 0
    });
    String::from_utf8_lossy(&answer[..len]).into_owned()
}

const WORKERS: usize = 2;

/// Of each backend, the backup too.
const CAP: u64 = 30;

/// What the workers may begin at one backend before they hear of each other, generously: a caller that
/// the machine held up sends what is due in one burst. Workers that know only their own calls would
/// come to twice the cap.
const TURN: u64 = 10;

/// More than fit, also where no worker knew of the other.
const OFFERED: u64 = 150;

const LONG: Duration = Duration::from_secs(60);
