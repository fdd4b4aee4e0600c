//! An INVITE that two callees answer: the second dialog is acknowledged and ended, along its own route
//! set (RFC 3261 13.2.2.4), whether or not the first one is over; the call itself completes.

use sipring_loadtest::{Caller, CallerOptions, Pace};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Stands for a forking proxy and all its callees.
struct Fork {
    socket: UdpSocket,
    caller: SocketAddr,
    invite: String,
}

impl Fork {
    /// Takes the INVITE of the only call.
    fn take(socket: UdpSocket) -> Self {
        let (invite, caller) = receive(&socket);
        assert!(invite.starts_with("INVITE "), "{invite}");
        Self { socket, caller, invite }
    }

    /// A 200 of the callee of this name.
    fn answer(&self, name: &str) {
        let here = self.socket.local_addr().unwrap();
        let fields = format!(
            "Record-Route: <sip:{here};lr;{name}=2>\r\nRecord-Route: <sip:{here};lr;{name}=1>\r\n\
             Contact: <sip:{name}@192.0.2.1>\r\nServer: {name}\r\n"
        );
        self.send(&respond(&self.invite, name, &fields));
    }

    fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.caller).unwrap();
    }

    /// The next message to the callee of this name, which must be of this method.
    #[track_caller]
    fn next(&self, method: &str, name: &str) -> String {
        let (text, _) = receive(&self.socket);
        let here = self.socket.local_addr().unwrap();
        let routes: Vec<_> = text.lines().filter(|line| line.starts_with("Route: ")).collect();
        let expected = [1, 2].map(|n| format!("Route: <sip:{here};lr;{name}={n}>"));
        assert!(text.starts_with(&format!("{method} sip:{name}@192.0.2.1 SIP/2.0\r\n")), "{text}");
        assert_eq!(routes, expected, "{text}");
        assert!(row(&text, "To").ends_with(&format!(";tag={name}")), "{text}");
        text
    }
}

fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut bytes = [0; 4096];
    let (len, from) = socket.recv_from(&mut bytes).expect("a message in time");
    (String::from_utf8(bytes[..len].to_vec()).unwrap(), from)
}

fn row<'a>(text: &'a str, name: &str) -> &'a str {
    let prefix = format!("{name}: ");
    text.lines().find_map(|line| line.strip_prefix(&prefix)).expect("a mandatory field")
}

/// A 200 to this request; it adds a tag to a To without one.
fn respond(request: &str, tag: &str, fields: &str) -> String {
    let to = row(request, "To");
    let to = if to.contains(";tag=") { to.to_owned() } else { format!("{to};tag={tag}") };
    let [via, from, call_id, cseq] = ["Via", "From", "Call-ID", "CSeq"].map(|n| row(request, n));
    format!(
        "SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq}\r\n{fields}Content-Length: 0\r\n\r\n"
    )
}

/// One call, held for so long, and where it arrives.
fn call(hold_ms: u64) -> (Caller, Fork) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let hold = Duration::from_millis(hold_ms);
    let caller = Caller::start(CallerOptions {
        calls: Some(1),
        pace: Pace::Closed { concurrent: 1 },
        hold: (hold, hold),
        ..CallerOptions::to(socket.local_addr().unwrap())
    });
    (caller.unwrap(), Fork::take(socket))
}

fn assert_whole(caller: &Caller, extra: u64) {
    assert!(caller.wait(LIMIT), "{}", caller.report().json());
    let (report, json) = (caller.report(), caller.report().json());
    let through = &report.through;
    assert_eq!((through.completed.value(), through.lost()), (1, 0), "{json}");
    let extras = (report.extra_dialogs.value(), report.extra_dialogs_ended.value());
    assert_eq!((extras, report.strays.value()), ((extra, extra), 0), "{json}");
}

#[test]
fn a_second_dialog_is_acknowledged_and_ended_while_the_first_goes_on() {
    let (caller, fork) = call(1500);
    fork.answer("one");
    fork.next("ACK", "one");
    fork.answer("two");
    let ack = fork.next("ACK", "two");
    assert_eq!(row(&ack, "CSeq").split(' ').next(), row(&fork.invite, "CSeq").split(' ').next());
    let bye = fork.next("BYE", "two");
    // The ACK is lost, so the 200 comes again; the BYE is lost, and sent again by timer E.
    fork.answer("two");
    assert_eq!(fork.next("ACK", "two"), ack);
    assert_eq!(fork.next("BYE", "two"), bye);
    fork.send(&respond(&bye, "", ""));
    let bye = fork.next("BYE", "one");
    fork.send(&respond(&bye, "", ""));
    assert_whole(&caller, 1);
}

#[test]
fn a_second_dialog_is_ended_though_the_first_is_over() {
    let (caller, fork) = call(10);
    fork.answer("one");
    fork.next("ACK", "one");
    let bye = fork.next("BYE", "one");
    fork.send(&respond(&bye, "", ""));
    assert_whole(&caller, 0);
    for name in ["two", "three"] {
        fork.answer(name);
        fork.next("ACK", name);
        let bye = fork.next("BYE", name);
        fork.send(&respond(&bye, "", ""));
    }
    assert_whole(&caller, 2);
}

#[test]
fn a_callee_that_hangs_up_at_the_same_time_is_answered() {
    let (caller, fork) = call(800);
    fork.answer("one");
    fork.next("ACK", "one");
    fork.answer("two");
    fork.next("ACK", "two");
    let bye = fork.next("BYE", "two");
    let here = fork.socket.local_addr().unwrap();
    let [from, to, call_id] = ["To", "From", "Call-ID"].map(|name| row(&bye, name));
    fork.send(&format!(
        "BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKtheirs\r\nFrom: {from}\r\n\
         To: {to}\r\nCall-ID: {call_id}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
    ));
    assert!(receive(&fork.socket).0.starts_with("SIP/2.0 200 OK\r\n"));
    fork.send(&respond(&bye, "", ""));
    let bye = fork.next("BYE", "one");
    fork.send(&respond(&bye, "", ""));
    assert_whole(&caller, 1);
}
