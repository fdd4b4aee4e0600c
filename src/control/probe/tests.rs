//! Probes against real sockets on loopback, and what is read of their answers.

use super::super::runtime::Runtime;
use super::*;
use crate::config::HealthConfig;
use std::net::UdpSocket as StdSocket;

fn question(timeout_ms: u64) -> Question {
    let mut health = HealthConfig::default();
    health.rules.timeout_ms = timeout_ms;
    Question::new(&health)
}

fn run(question: &Question, to: SocketAddr) -> Ended {
    Runtime::new().expect("this machine has io_uring").block_on(probe(question, to))
}

fn backend(address: &str) -> (StdSocket, SocketAddr) {
    let socket = StdSocket::bind(address).expect("a free port");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    let address = socket.local_addr().expect("its address");
    (socket, address)
}

/// The next request, and where it came from.
fn request(socket: &StdSocket) -> (String, SocketAddr) {
    let mut bytes = [0; 2048];
    let (len, from) = socket.recv_from(&mut bytes).expect("a request in time");
    (String::from_utf8_lossy(&bytes[..len]).into_owned(), from)
}

fn answer(request: &str, status: &str) -> String {
    let row = |name: &str| {
        let found = request.lines().find(|line| line.starts_with(name));
        found.unwrap_or_else(|| panic!("no {name} in {request}"))
    };
    let rows = ["Via:", "From:", "Call-ID:", "CSeq:", "To:"].map(row).join("\r\n");
    format!("SIP/2.0 {status}\r\n{rows};tag=x\r\nContent-Length: 0\r\n\r\n")
}

/// Answers one probe from another thread.
fn serve(
    socket: StdSocket,
    play: impl FnOnce(&StdSocket) + Send + 'static,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || play(&socket))
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered { status, retry_after_s: None }
}

#[test]
fn a_backend_that_answers_is_heard_over_ipv4_and_ipv6() {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let (socket, address) = backend(local);
        let server = serve(socket, |socket| {
            let (request, from) = request(socket);
            socket.send_to(answer(&request, "404 Not Found").as_bytes(), from).expect("sent");
        });
        let ended = run(&question(5_000), address);
        assert_eq!(ended.outcome, answered(404), "{local}");
        assert!(ended.took < Duration::from_secs(5));
        server.join().expect("the backend");
    }
}

#[test]
fn a_port_without_a_listener_is_refused_and_no_timeout_is_waited_for() {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let (socket, address) = backend(local);
        drop(socket);
        let ended = run(&question(60_000), address);
        assert_eq!(ended.outcome, Outcome::Refused, "{local}");
    }
}

#[test]
fn silence_ends_with_the_timeout() {
    let (_socket, address) = backend("127.0.0.1:0");
    let ended = run(&question(60), address);
    assert_eq!(ended.outcome, Outcome::Silent);
    assert!(ended.took >= Duration::from_millis(60));
}

#[test]
fn a_lost_probe_is_sent_again() {
    let (socket, address) = backend("127.0.0.1:0");
    let server = serve(socket, |socket| {
        let (first, _) = request(socket);
        let (second, from) = request(socket);
        assert_eq!(first, second, "byte for byte");
        socket.send_to(answer(&second, "200 OK").as_bytes(), from).expect("sent");
    });
    assert_eq!(run(&question(20_000), address).outcome, answered(200));
    server.join().expect("the backend");
}

#[test]
fn an_answer_may_come_from_another_address() {
    let (socket, address) = backend("127.0.0.1:0");
    let server = serve(socket, |socket| {
        let (request, from) = request(socket);
        let (other, _) = backend("127.0.0.2:0");
        other.send_to(answer(&request, "200 OK").as_bytes(), from).expect("sent");
    });
    assert_eq!(run(&question(5_000), address).outcome, answered(200));
    server.join().expect("the backend");
}

#[test]
fn provisional_foreign_and_malformed_answers_are_passed_over() {
    let (socket, address) = backend("127.0.0.1:0");
    let server = serve(socket, |socket| {
        let (request, from) = request(socket);
        let send = |text: &str| assert!(socket.send_to(text.as_bytes(), from).is_ok());
        send(&answer(&request, "100 Trying"));
        send("");
        send("\r\n\r\n");
        send("SIP/2.0 200 OK\r\n\r\n");
        send(&answer(&request, "200 OK").replace("z9hG4bK", "z9hG4bKx"));
        send(&request);
        send(&answer(&request, "503 Busy\r\nretry-after : 120 (later);duration=1"));
    });
    let expected = Outcome::Answered { status: 503, retry_after_s: Some(120) };
    assert_eq!(run(&question(5_000), address).outcome, expected);
    server.join().expect("the backend");
}

#[test]
fn the_request_is_whole_and_says_what_the_config_says() {
    let ticket = Ticket { branch: "z9hG4bKb".into(), tag: "t".into(), call: "c".into() };
    let (v4, v6) = ("10.0.0.1:4000".parse().unwrap(), "[2001:db8::1]:4000".parse().unwrap());
    let plain = question(1).request("10.0.0.9:5060".parse().unwrap(), v4, &ticket);
    assert_eq!(
        plain,
        format!(
            "OPTIONS sip:10.0.0.9:5060 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 10.0.0.1:4000;branch=z9hG4bKb;rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:probe@10.0.0.1>;tag=t\r\nTo: <sip:10.0.0.9:5060>\r\n\
             Call-ID: c@10.0.0.1\r\nCSeq: 1 OPTIONS\r\nContact: <sip:10.0.0.1:4000>\r\n\
             Accept: application/sdp\r\nUser-Agent: sipring/{}\r\nContent-Length: 0\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        )
    );
    let own = Question {
        method: "PING".into(),
        from: Some("sip:lb@example.com".into()),
        user: Some("health".into()),
        ..question(1)
    };
    let own = own.request("[2001:db8::9]:5070".parse().unwrap(), v6, &ticket);
    assert!(own.starts_with("PING sip:health@[2001:db8::9]:5070 SIP/2.0\r\n"), "{own}");
    for row in [
        "Via: SIP/2.0/UDP [2001:db8::1]:4000;branch",
        "From: <sip:lb@example.com>;tag=t",
        "Call-ID: c@[2001:db8::1]",
        "CSeq: 1 PING",
    ] {
        assert!(own.contains(&format!("\r\n{row}")), "{row} in {own}");
    }
    let message = Message::parse(own.as_bytes()).expect("a message");
    assert_eq!(message.end(), Ok(own.len()));
}

#[test]
fn errors_blame_the_backend_only_for_what_is_its_own() {
    let outcome = |errno| outcome_of(&io::Error::from_raw_os_error(errno));
    assert_eq!(outcome(libc::ECONNREFUSED), Outcome::Refused);
    for errno in [libc::EHOSTUNREACH, libc::ENETUNREACH, libc::EPERM] {
        assert_eq!(outcome(errno), Outcome::Unreachable, "{errno}");
    }
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL] {
        assert_eq!(outcome(errno), Outcome::NotSent, "{errno}");
    }
}
