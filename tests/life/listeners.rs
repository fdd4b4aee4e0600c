//! Listeners in the file of a running balancer: what `check --diff` says of a change, HUP does.

use crate::stage::{Stage, free_ports};
use std::net::{SocketAddr, UdpSocket};

fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 2], free_ports(1)))
}

#[test]
fn hup_opens_and_closes_listeners_under_load() {
    let stage = Stage::start_apart(2);
    let second = free();
    let steady = stage.caller();
    let one = stage.file().replace("[limits]\n", "[limits]\nremove_timeout = \"4s\"\n");
    let both = format!("{one}[[listener]]\nbind = \"udp:{second}\"\n");
    let generation = |number| {
        stage.wait_until("the reload", || stage.metric("sipring_config_generation") == number);
    };
    stage.write(&both);
    let diff = || stage.sipring(&["check", "--diff", "--config", stage.path()]).1;
    assert!(diff().contains(&format!("reload    listener udp:{second} added\n")), "{}", diff());
    stage.signal("HUP");
    generation(2);
    assert_eq!(diff(), "no difference\n");
    let log = stage.log();
    assert!(log.contains(&format!("listener udp:{second}: every worker receives")), "{log}");
    assert!(log.contains(&format!("reload: listener udp:{second} added")), "{log}");
    assert!(stage.ctl(&["status"]).1.contains(&format!(", udp:{second}")));

    let caller = stage.caller_to(second);
    stage.wait_until("calls", || caller.report().through.started.value() > 30);
    stage.begin_no_more(&caller);
    stage.write(&one);
    assert_eq!(diff(), format!("reload    listener udp:{second} removed\n"));
    stage.signal("HUP");
    generation(3);
    let leaving = format!("leaving    udp:{second}, which takes nothing new");
    assert!(stage.ctl(&["status"]).1.contains(&leaving));
    stage.finish(&caller); // three seconds, and no word of it is lost
    stage.wait_until("it is closed", || UdpSocket::bind(second).is_ok());
    assert!(stage.log().contains(&format!("listener udp:{second} is closed")));
    assert!(!stage.ctl(&["status"]).1.contains("leaving"));

    let taken = UdpSocket::bind(second).unwrap();
    stage.write(&both.replacen("weight = 1", "weight = 5", 1));
    let (code, _, err) = stage.ctl(&["reload"]);
    assert_eq!(code, 78, "{err}");
    assert!(err.contains(&format!("cannot listen on udp:{second} ")), "{err}");
    assert_eq!(stage.metric("sipring_backend_weight{backend=\"b1\"}"), 1);
    drop(taken);
    assert_eq!(stage.ctl(&["reload"]).0, 0);
    assert_eq!(stage.metric("sipring_backend_weight{backend=\"b1\"}"), 5);
    let caller = stage.caller_to(second);
    stage.wait_until("calls", || caller.report().through.started.value() > 10);
    stage.finish(&caller);
    stage.finish(&steady);
}

#[test]
fn what_requests_leave_from_waits_for_a_restart() {
    let stage = Stage::start(1);
    let other = free();
    let bind = stage.file().lines().find(|line| line.starts_with("bind")).unwrap().to_owned();
    stage.write(&stage.file().replace(&bind, &format!("bind = \"udp:{other}\"")));
    let (_, diff, _) = stage.sipring(&["check", "--diff", "--config", stage.path()]);
    assert!(diff.contains(&format!("reload    listener udp:{other} added\n")), "{diff}");
    assert!(diff.contains("removed: requests to backends leave from listeners\n"), "{diff}");
    assert_eq!(stage.ctl(&["reload"]).0, 0);
    let (caller, late) = (stage.caller(), stage.caller_to(other));
    stage.wait_until("calls", || {
        [&caller, &late].iter().all(|caller| caller.report().through.started.value() > 10)
    });
    [caller, late].iter().for_each(|caller| stage.finish(caller));
}
