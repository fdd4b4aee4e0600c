//! Start, failure, gauges and stop.

use super::*;

#[test]
fn a_second_start_on_the_same_port_fails_and_says_so() {
    let host = host();
    let rig = rig(2, host);
    let again = plan(2, host, 5060, rig.backend.local_addr().unwrap());
    match Workers::start(again).unwrap_err() {
        StartError::Unavailable(text) => {
            assert!(text.contains(&format!("udp:{}", rig.listener)), "{text}");
            assert!(text.contains("another process has this port"), "{text}");
        }
        StartError::Permission(text) => panic!("{text}"),
    }
    assert_eq!(rig.ask(&rig.client(), "x\nwho").len(), 1, "the first goes on");
}

#[test]
fn stop_ends_all_threads_and_frees_the_ports() {
    let host = host();
    let mut rig = rig(2, host);
    let client = rig.client();
    for _ in 0..CONNECT_AFTER + 8 {
        client.send_to(b"x\nout", rig.listener).unwrap();
        receive(&rig.backend);
    }
    assert!(!rig.workers.as_ref().unwrap().failed());
    rig.workers.take().unwrap().stop();
    // Another number of workers can take over at once.
    let again = plan(1, host, 5060, rig.backend.local_addr().unwrap());
    let workers = start::start(again, Script::new).unwrap();
    assert_eq!(rig.ask(&client, "x\nwho"), "0");
    workers.stop();
}

#[test]
fn threads_have_their_names_and_a_dead_worker_is_noticed() {
    let rig = rig(2, host());
    let names = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default()
        };
        tasks.map(name).collect::<HashSet<_>>()
    };
    assert!(names().is_superset(&HashSet::from(["worker-0\n".into(), "worker-1\n".into()])));
    rig.client().send_to(b"x\ndie", rig.listener).unwrap();
    rig.wait_until("noticed", |rig| rig.workers.as_ref().unwrap().failed());
}

#[test]
fn gauges_are_refreshed_without_traffic() {
    let rig = rig(1, host());
    rig.wait_until("gauges", |rig| rig.sum(|cells| &cells.cpu_ns) > 0);
    assert_eq!((rig.sum(|cells| &cells.pins), rig.sum(|cells| &cells.dialogs)), (11, 7));
    let before = rig.sum(|cells| &cells.enters);
    rig.wait_until("ticks", |rig| rig.sum(|cells| &cells.enters) >= before + 2);
}

#[test]
#[should_panic(expected = "worker 1 sends from")]
fn a_worker_does_not_send_from_the_port_of_another() {
    let host = host();
    let mut plan = plan(2, host, 5060, SocketAddr::new(host, 9));
    let mut changed = Settings::clone(&plan.settings[1]);
    changed.sides[0].egress = SocketIndex(1);
    plan.settings[1] = Arc::new(changed);
    let _ = Workers::start(plan);
}

#[test]
fn other_settings_are_taken_over_at_once_and_questions_answered_behind_them() {
    let host = host();
    let rig = rig(2, host);
    let client = rig.client();
    assert_eq!(rig.ask(&client, "x\ndraining"), "false");
    let draining = |number| {
        Arc::new(Settings { draining: true, ..Settings::clone(&settings(number, 2, host, 5060)) })
    };
    let workers = rig.workers.as_ref().unwrap();
    workers.configure(&[draining(0), draining(1)]);
    let (sender, answers) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let answer: Answer = Arc::new(move |pin| sender.lock().unwrap().send(pin).unwrap());
    workers.ask(b"a call", &answer);
    let mut pins: Vec<_> =
        (0..2).map(|_| answers.recv_timeout(PATIENCE).unwrap().unwrap().0).collect();
    pins.sort_unstable();
    assert_eq!(pins, [0, 1], "each answers for itself");
    for call_id in 0..8 {
        assert_eq!(rig.ask(&client, &format!("{call_id}\ndraining")), "true");
    }
    assert_eq!(rig.sum(|cells| &cells.calls), 18, "gauges are fresh");
    workers.ask(b"unknown", &answer);
    assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), None);
}

#[test]
fn calls_of_the_control_thread_are_heard_as_often_as_they_come() {
    let rig = rig(1, host());
    let (sender, answers) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let answer: Answer = Arc::new(move |pin| sender.lock().unwrap().send(pin).unwrap());
    for _ in 0..500 {
        rig.workers.as_ref().unwrap().ask(b"a call", &answer);
        answers.recv_timeout(PATIENCE).unwrap();
    }
}
