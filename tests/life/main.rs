//! The program as an operator has it: signals, reloads of a real file, `sipring ctl` and the control
//! socket, and calls that go on meanwhile.

mod listeners;
mod message_log;
mod stage;
mod steering;

use stage::{PATIENCE, Stage};
use std::time::Duration;

#[test]
fn hup_reads_the_file_again_and_a_bad_one_changes_nothing() {
    let stage = Stage::start(2);
    assert_eq!(stage.metric("sipring_config_generation"), 1);
    let both = stage.file();
    stage.write(&both.replacen("weight = 1", "weight = 5", 1));
    let (_, diff, _) = stage.sipring(&["check", "--diff", "--config", stage.path()]);
    assert_eq!(diff, "reload    backend \"b1\": weight 1 -> 5\n");
    stage.signal("HUP");
    stage.wait_until("the reload", || stage.metric("sipring_config_generation") == 2);
    assert_eq!(stage.metric("sipring_backend_weight{backend=\"b1\"}"), 5);
    let (_, diff, _) = stage.sipring(&["check", "--diff", "--config", stage.path()]);
    assert_eq!(diff, "no difference\n");

    stage.write(&both.replacen("weight = 1", "weight = 65536", 1));
    stage.signal("HUP");
    let failures = "sipring_config_reloads_total{result=\"failure\"}";
    stage.wait_until("the refusal", || stage.metric(failures) == 1);
    assert_eq!(stage.metric("sipring_config_last_reload_successful"), 0);
    assert_eq!(stage.metric("sipring_backend_weight{backend=\"b1\"}"), 5);
    let log = stage.log();
    assert!(log.contains("everything stays as it was: error: `weight` is out of range"), "{log}");
    assert!(log.contains(&format!("--> {}:", stage.path())), "{log}");
    let (_, status, _) = stage.ctl(&["status"]);
    assert!(status.contains("the last reload was refused: error: `weight`"), "{status}");

    let (code, _, err) = stage.ctl(&["reload"]);
    assert_eq!(code, 78, "{err}");
    assert!(err.contains("weight"), "{err}");
    stage.write(&both.replacen("workers = 2", "workers = 1", 1));
    let (code, out, err) = stage.ctl(&["reload"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("needs a restart: workers 2 -> 1"), "{out}");
    assert_eq!(stage.metric("sipring_config_last_reload_successful"), 1);
    assert_eq!(stage.end_by("TERM"), Some(0));
}

#[test]
fn ctl_drains_and_shows_over_the_control_socket() {
    let stage = Stage::start(2);
    let caller = stage.caller();
    stage.wait_until("calls", || stage.metric("sipring_dialogs") > 3);
    let (code, out, err) = stage.ctl(&["drain", "b1", "--deadline", "60"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("drain*"), "{out}");
    stage.ctl(&["reload"]);
    let (_, backends, _) = stage.ctl(&["backends"]);
    let line = backends.lines().find(|line| line.starts_with("b1 ")).expect("its line");
    assert!(line.contains("drained") && line.contains("by operator"), "{backends}");
    let (_, json, _) = stage.ctl(&["backends", "--json"]);
    assert!(json.starts_with("[{\"name\":\"b1\""), "{json}");
    let (_, status, _) = stage.ctl(&["status"]);
    assert!(status.contains("b1: admin is drain, the config says ready"), "{status}");
    let (_, whither, _) = stage.ctl(&["where", "a call/of nobody@x"]);
    assert!(whither.starts_with("b2   policy: "), "{whither}");
    stage.wait_until("the end of the drain", || {
        let (_, events, _) = stage.ctl(&["events"]);
        events.contains("drained  no call is left  operator")
    });
    assert_eq!(stage.metric("sipring_backend_dialogs{backend=\"b1\"}"), 0);
    for (arguments, words) in [
        (&["ready", "b1"][..], "ready "),
        (&["weight", "b1", "7"], "7 (1)"),
        (&["maint", "b1"], "maint*"),
        (&["clear", "b1"], "ready "),
        (&["pins"], " of "),
        (&["pins", "no such call"], "is not pinned"),
        (&["workers"], "HANDED OVER"),
    ] {
        let (code, out, err) = stage.ctl(arguments);
        assert_eq!(code, 0, "{err}");
        assert!(out.contains(words), "{arguments:?}: {out}");
    }
    stage.finish(&caller);
    let (code, _, err) = stage.ctl(&["drain", "b9"]);
    assert_eq!(code, 1);
    assert!(err.contains("no backend is named \"b9\""), "{err}");
    assert_eq!(stage.end_by("INT"), Some(0));
    assert!(!stage.socket().exists());
    let (code, _, err) = stage.ctl(&["status"]);
    assert_eq!(code, 69);
    assert!(err.contains("is it running?"), "{err}");
}

#[test]
fn the_admin_address_says_the_same_and_a_stranger_is_told_apart() {
    let stage = Stage::start(1);
    let admin = stage.admin().to_string();
    let (code, out, _) = stage.sipring(&["ctl", "--admin", &admin, "backends"]);
    assert_eq!((code, out.lines().count()), (0, 2), "{out}");
    let http = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = http.local_addr().unwrap().to_string();
    let stranger = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut client, _) = http.accept().unwrap();
        // All of it: what is left unread would make the close a reset.
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut bytes = [0; 4096];
            let len = client.read(&mut bytes).unwrap();
            assert!(len > 0);
            request.extend_from_slice(&bytes[..len]);
        }
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    });
    let (code, _, err) = stage.sipring(&["ctl", "--admin", &address, "status"]);
    stranger.join().unwrap();
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("no sipring"), "{err}");
}

#[test]
fn term_lets_calls_end_and_takes_no_new_ones() {
    let stage = Stage::start(2);
    let caller = stage.caller();
    stage.wait_until("calls", || stage.metric("sipring_dialogs") > 10);
    assert!(stage.options().starts_with("SIP/2.0 200 "));
    // Those that are on their way when the door closes are refused, not lost: none is, here.
    caller.finish();
    std::thread::sleep(Duration::from_millis(100));
    stage.signal("TERM");
    stage.wait_until("503", || stage.options().starts_with("SIP/2.0 503 "));
    assert!(stage.options().contains("\r\nRetry-After: "));
    assert_eq!(stage.get("/ready").0, 503);
    assert_eq!(stage.get("/live").0, 200);
    stage.signal("HUP"); // has no effect any more
    let late = stage.caller();
    stage.wait_until("a refusal", || late.report().through.failed_with(503) > 0);
    drop(late);
    stage.finish(&caller);
    assert_eq!(stage.ended(PATIENCE), Some(0));
    assert!(stage.log().contains("no call is left: stopping"), "{}", stage.log());
}

#[test]
fn the_drain_has_a_deadline_and_a_second_term_does_not_wait() {
    for (second, log) in [(false, "the time to drain is over"), (true, "TERM: ended at once")] {
        let stage = Stage::start(1);
        let timeout = if second { "1h" } else { "1s" };
        stage.write(
            &stage
                .file()
                .replace("[limits]\n", &format!("[limits]\ndrain_timeout = \"{timeout}\"\n")),
        );
        stage.ctl(&["reload"]);
        let caller = stage.long_calls();
        stage.wait_until("calls", || stage.metric("sipring_dialogs") > 3);
        stage.signal("TERM");
        if second {
            stage.wait_until("the drain", || stage.get("/ready").0 == 503);
            stage.signal("TERM");
        }
        assert_eq!(stage.ended(PATIENCE), Some(0));
        assert!(stage.log().contains(log), "{}", stage.log());
        drop(caller);
    }
}

#[test]
fn a_second_int_exits_130() {
    let stage = Stage::start(1);
    let caller = stage.long_calls();
    stage.wait_until("calls", || stage.metric("sipring_dialogs") > 3);
    stage.signal("QUIT");
    stage.wait_until("the drain", || stage.get("/ready").0 == 503);
    stage.signal("QUIT");
    stage.signal("INT"); // gives the drain a deadline
    stage.wait_until("it is heard", || stage.log().contains("INT: no new calls"));
    stage.signal("INT");
    assert_eq!(stage.ended(PATIENCE), Some(130));
    drop(caller);
}

#[test]
fn winch_closes_the_door_and_hup_opens_it() {
    let stage = Stage::start(1);
    stage.signal("WINCH");
    stage.wait_until("503", || stage.options().starts_with("SIP/2.0 503 "));
    assert_eq!(stage.get("/ready").0, 503);
    stage.signal("USR1"); // no message log: nothing happens
    stage.signal("HUP");
    stage.wait_until("200", || stage.options().starts_with("SIP/2.0 200 "));
    assert_eq!(stage.get("/ready").0, 200);
    assert_eq!(stage.end_by("QUIT"), Some(0), "without calls it ends at once");
}
