//! Listeners that come and go under load.

use crate::stage::{Stage, free_ports, load};
use sipring::control::Failure;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

fn free(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), free_ports(1))
}

/// The text with more listeners.
fn with(text: String, listeners: &[SocketAddr]) -> String {
    let blocks = listeners.iter().map(|bind| format!("[[listener]]\nbind = \"udp:{bind}\"\n"));
    text + &blocks.collect::<String>()
}

#[test]
fn calls_go_on_while_listeners_come_and_go() {
    let stage = Stage::start_apart(3, "");
    let names = ["b1", "b2", "b3"];
    let text = |names: &[&str], listeners: &[SocketAddr]| with(stage.text(names, ""), listeners);
    let steady = stage.caller(60.0);
    let (second, third) = (free("127.0.0.2"), free("127.0.0.1"));
    let taken = UdpSocket::bind("127.0.0.3:0").unwrap();
    let refused = |result: Result<_, Failure>| assert!(result.is_err());
    let mut callers = Vec::new();
    // 30 reloads; where the machine is not very slow that takes some ten seconds.
    for _ in 0..6 {
        let reload = |text: &str| stage.balancer.reload(&load(text).unwrap());
        reload(&text(&names, &[second, third])).unwrap();
        assert_eq!(stage.balancer.listeners().len(), 3);
        let on = [second, third].map(|listener| stage.caller_to(listener, 40.0));
        std::thread::sleep(Duration::from_millis(300));
        refused(reload(&text(&["b3"], &[third, taken.local_addr().unwrap()])));
        reload(&text(&["b3", "b1", "b2"], &[third, second])).unwrap(); // in another order
        std::thread::sleep(Duration::from_millis(300));
        on.iter().for_each(|caller| stage.begin_no_more(caller));
        reload(&text(&names, &[second])).unwrap();
        reload(&text(&names, &[])).unwrap();
        assert_eq!(stage.balancer.listeners(), [stage.listener]);
        stage.balancer.look();
        callers.extend(on);
        std::thread::sleep(Duration::from_millis(200));
    }
    for caller in callers {
        stage.finish(&caller);
    }
    stage.finish(&steady);
}

#[test]
fn a_leaving_listener_refuses_new_calls_and_no_others() {
    let stage = Stage::start_apart(2, "");
    let second = free("127.0.0.2");
    let names = ["b1", "b2"];
    let both = with(stage.text(&names, ""), &[second]);
    stage.balancer.reload(&load(&both).unwrap()).unwrap();
    let caller = stage.caller_to(second, 50.0);
    stage.wait_until("calls", || caller.report().through.started.value() > 20);
    stage.begin_no_more(&caller);
    stage.balancer.reload(&load(&stage.text(&names, "")).unwrap()).unwrap();
    let late = stage.caller_to(second, 50.0);
    stage.wait_until("a refusal", || late.report().through.failed_with(503) > 3);
    assert_eq!(late.report().through.completed.value(), 0);
    drop(late);
    stage.finish(&caller);
    // Back in time: it was open all along.
    stage.balancer.reload(&load(&both).unwrap()).unwrap();
    let caller = stage.caller_to(second, 50.0);
    stage.wait_until("calls", || caller.report().through.started.value() > 20);
    stage.finish(&caller);
}

#[test]
fn a_listener_that_is_closed_at_once_can_come_back() {
    let limits = "[limits]\nremove_timeout = \"0s\"\n";
    let stage = Stage::start_apart(1, limits);
    let second = free("127.0.0.2");
    let steady = stage.caller(50.0);
    let one = stage.text(&["b1"], limits);
    let both = with(one.clone(), &[second]);
    for _ in 0..3 {
        stage.balancer.reload(&load(&both).unwrap()).unwrap();
        let caller = stage.caller_to(second, 100.0);
        stage.wait_until("calls", || caller.report().through.started.value() > 10);
        stage.finish(&caller);
        stage.balancer.reload(&load(&one).unwrap()).unwrap();
        stage.balancer.look();
        stage.wait_until("it is closed", || UdpSocket::bind(second).is_ok());
    }
    stage.finish(&steady);
}

#[test]
fn another_advertise_moves_no_dialog() {
    let stage = Stage::start_apart(2, "");
    let caller = stage.caller(60.0);
    let bind = format!("bind = \"udp:{}\"\n", stage.listener);
    let text = stage.text(&["b1", "b2"], "");
    // Its own address as a name makes the Record-Route double; without one it is single again.
    let advertised = text.replace(&bind, &format!("{bind}advertise = \"{}\"\n", stage.listener));
    for text in [&advertised, &text].into_iter().cycle().take(12) {
        let reloaded = stage.balancer.reload(&load(text).unwrap()).unwrap();
        assert!(reloaded.diff.live[0].contains(" advertise "), "{:?}", reloaded.diff);
        std::thread::sleep(Duration::from_millis(300));
    }
    stage.finish(&caller);
}

#[test]
fn rules_by_listener_hold_while_the_order_of_listeners_changes() {
    let stage = Stage::start_apart(2, "");
    let (first, second) = (stage.listener, free("127.0.0.2"));
    let rule = format!(
        "[[pool]]\nname = \"two\"\n[[pool.backend]]\nname = \"b2\"\naddress = \"{}\"\n\
         [[route]]\npool = \"two\"\nlistener = [\"udp:{second}\"]\n",
        stage.backends[1].address()
    );
    let both = with(stage.text(&["b1"], ""), &[second]);
    let [first, second] = [first, second].map(|address| format!("udp:{address}\""));
    let turned = both.replace(&first, "other").replace(&second, &first).replace("other", &second);
    let texts = [both, turned].map(|text| text + &rule);
    stage.balancer.reload(&load(&texts[0]).unwrap()).unwrap();
    let callers = stage.balancer.listeners();
    let callers = [callers[0], callers[1]].map(|listener| stage.caller_to(listener, 100.0));
    for text in texts.iter().cycle().take(60) {
        stage.balancer.reload(&load(text).unwrap()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    callers.iter().for_each(|caller| stage.finish(caller));
    for (caller, backend) in callers.iter().zip(&stage.backends) {
        let started = caller.report().through.started.value();
        assert_eq!(backend.report().new_calls.value(), started, "{}", backend.name());
    }
}
