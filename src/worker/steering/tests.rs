//! The program against its oracle: what `sip::call_key` reads and the shard hash makes of it.
//!
//! The same C runs twice: compiled for the processor, where thousands of messages are cheap, and in the
//! kernel, where its verifier and its compiler have had their say.

use super::*;
use crate::io::socket;
use crate::io::steer::tests::{borrowed, group, may_steer};
use crate::sip;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const KEY: [u64; 3] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, 0x0f1e_2d3c_4b5a_6978];
const WORKERS: usize = 5;

/// The program, compiled for this machine.
struct Host {
    program: PathBuf,
    arguments: Vec<String>,
    _directory: TempDir,
}

impl Host {
    fn build(shard: &Shard) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("steer");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/io/steer/host.c");
        let built = Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(source).output();
        let built = built.expect("a C compiler, which mimalloc needs anyway");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let HashKey { low, high, factor, start } = shard.key();
        let values = [u64::from(low), u64::from(high), factor, start, WORKERS as u64];
        let arguments = values.iter().map(u64::to_string).collect();
        Self { program, arguments, _directory: directory }
    }

    /// For each message the worker that it chooses, if any.
    fn choose(&self, messages: &[Vec<u8>]) -> Vec<Option<usize>> {
        let mut running = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = running.stdin.take().unwrap();
        let mut bytes = Vec::new();
        for message in messages {
            bytes.extend((message.len() as u32).to_le_bytes());
            bytes.extend(message);
        }
        let writer = std::thread::spawn(move || input.write_all(&bytes));
        let output = running.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success(), "{:?}", output.status);
        let lines = String::from_utf8(output.stdout).unwrap();
        let chosen: Vec<_> = lines.lines().map(|line| line.parse().ok()).collect();
        assert_eq!(chosen.len(), messages.len());
        chosen
    }
}

/// The oracle.
fn owner(shard: &Shard, message: &[u8]) -> Option<usize> {
    sip::call_key(message).map(|span| shard.owner(span.of(message)))
}

fn message(before: &str, call_id_row: &str, behind: &str) -> Vec<u8> {
    format!("{before}INVITE sip:a@example.com SIP/2.0\r\n{call_id_row}{behind}").into_bytes()
}

/// What phones and servers send: all of it must be steered.
fn ordinary() -> Vec<Vec<u8>> {
    let long = "a".repeat(128);
    let call_ids =
        ["1", "1234567", "12345678", "123456789", "a84b4c76e66710@pc33.example.com", &long];
    let names = [
        "Call-ID:",
        "Call-ID: ",
        "call-id :",
        "CALL-ID \t : ",
        "i:",
        "I: ",
        "i\t: \t",
        "cAlL-iD:  ",
    ];
    let ends = ["\r\n", "\n", " \r\n", "\t \r\n"];
    let vias = "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds;rport\r\n";
    let mut all = Vec::new();
    for (place, call_id) in call_ids.iter().enumerate() {
        for name in names {
            for end in ends {
                let row = format!("{name}{call_id}{end}");
                // 20 places for the row's first byte among the windows of 64.
                for count in 0..20 {
                    let vias = vias.repeat(count) + &"X: y\r\n".repeat(place);
                    let behind = "Max-Forwards: 70\r\n\r\ni: body\r\n";
                    all.push(message("", &(vias + &row), behind));
                }
            }
        }
    }
    all.push(message("\r\n\r\n", "X: a,\r\n\tb\r\nInfo: x\r\nCall-ID-X: no\r\ni: a@b\r\n", "\r\n"));
    all.push(message("", "Call-Info: <sip:a>\r\nContact: <sip:b>\r\ni: a@b\r\n", "")); // cut off behind it
    all
}

/// Pieces that make Call-IDs, folds, ends of headers and their near misses likely.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        ":",
        "i",
        "I:",
        "Call-ID",
        "Call-ID:",
        "call-id: ",
        "c",
        "x",
        "\r\n ",
        "\r\ni: ",
        "\r\nCall-ID: abc@example.com\r\n",
        "\ni:1\n",
        "\r\n\r\n",
        "Via: a\r\n",
        "        ",
        "12345678",
        "\0",
        "Content-Length: 0\r\n",
    ];
    let long = vec(select(&b"abc @"[..]), 0..150);
    prop_oneof![
        8 => select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
        1 => long,
    ]
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![4 => Just(&b"INVITE sip:a SIP/2.0\r\n"[..]), 1 => Just(&b""[..])];
    (start, vec(piece(), 0..40)).prop_map(|(start, pieces)| [start, &pieces.concat()].concat())
}

#[test]
fn every_ordinary_message_is_given_to_its_owner() {
    let shard = Shard::new(KEY, WORKERS);
    let messages = ordinary();
    let chosen = Host::build(&shard).choose(&messages);
    for (message, chosen) in messages.iter().zip(chosen) {
        let expected = owner(&shard, message);
        assert!(expected.is_some());
        assert_eq!(chosen, expected, "{}", message.escape_ascii());
    }
}

#[test]
fn the_messages_of_rfc_4475_are_given_to_their_owners_or_to_nobody() {
    let shard = Shard::new(KEY, WORKERS);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rfc4475");
    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let messages: Vec<_> = files.map(|path| std::fs::read(path).unwrap()).collect();
    assert!(messages.len() > 40);
    let chosen = Host::build(&shard).choose(&messages);
    let mut steered = 0;
    for (message, chosen) in messages.iter().zip(chosen) {
        assert!(chosen.is_none() || chosen == owner(&shard, message), "{}", message.escape_ascii());
        steered += usize::from(chosen.is_some());
    }
    assert!(steered * 10 > messages.len() * 9, "{steered} of {}", messages.len());
}

#[test]
fn nothing_is_ever_given_to_another_than_its_owner() {
    let shard = Shard::new(KEY, WORKERS);
    let host = Host::build(&shard);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(100));
    let batch = vec(any_message(), 100);
    let result = runner.run(&batch, |messages| {
        for (message, chosen) in messages.iter().zip(host.choose(&messages)) {
            let right = chosen.is_none() || chosen == owner(&shard, message);
            prop_assert!(right, "{:?}: {}", chosen, message.escape_ascii());
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn what_is_not_followed_is_left_to_the_kernel() {
    let shard = Shard::new(KEY, WORKERS);
    let far = "X: y\r\n".repeat(400);
    let messages = [
        message("", "Call-ID:\r\n a@b\r\n", "\r\n"),
        message("", "Call-ID: a\r\n b\r\n", "\r\n"),
        message("", "Call-ID:\r\ni: a@b\r\n", "\r\n"),
        message("", &format!("Call-ID: {}\r\n", "a".repeat(129)), "\r\n"),
        message("", &format!("Call-ID{}: a@b\r\n", " ".repeat(8)), "\r\n"),
        message("", &format!("{far}Call-ID: a@b\r\n"), "\r\n"),
        message("\r\n\r\n\r\n\r\n", "Call-ID: a@b\r\n", "\r\n"),
        message("", "\r\ni: body\r\n", ""),
        message("", "Call-ID: cut off", ""),
        b"\r\n\r\n".to_vec(),
        Vec::new(),
    ];
    let chosen = Host::build(&shard).choose(&messages);
    assert_eq!(chosen, [None; 11]);
}

#[test]
fn the_kernel_chooses_what_the_program_chooses_here() {
    if may_steer("the_kernel_chooses_what_the_program_chooses_here").is_none() {
        return;
    }
    let shard = Shard::new(KEY, WORKERS);
    let sockets = group(WORKERS);
    let steering = Steering::begin(true, &shard, &[borrowed(&sockets)]);
    assert_eq!(steering.off(), None);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let random = (0..1000).map(|_| any_message().new_tree(&mut runner).unwrap().current());
    let numbered = (0..500).map(|n| message("", &format!("Call-ID: {n}@example.com\r\n"), "\r\n"));
    let others = ordinary().into_iter().step_by(7).chain(random);
    let messages: Vec<_> = numbered.chain(others).collect();
    let chosen = Host::build(&shard).choose(&messages);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut counted = [0; WORKERS];
    for (place, (message, chosen)) in messages.iter().zip(chosen).enumerate() {
        sender.send_to(message, sockets[0].local_addr().unwrap()).unwrap();
        let mut bytes = [0; 1];
        let came_to = sockets.iter().position(|one| socket::drain(one, &mut bytes).is_some());
        let came_to = came_to.expect("loopback delivers before the send returns");
        assert_eq!(came_to, chosen.unwrap_or(came_to), "{}", message.escape_ascii());
        counted[came_to] += usize::from(place < 500);
    }
    // 100 each; the standard deviation is 9.
    assert!(counted.iter().all(|count| (50..150).contains(count)), "from one port: {counted:?}");
}

#[test]
fn it_says_why_it_is_off() {
    let off = |wanted, workers| Steering::begin(wanted, &Shard::new(KEY, workers), &[]).off();
    assert_eq!(off(false, 2).as_deref(), Some("the configuration says so"));
    assert_eq!(off(true, 1).as_deref(), Some("one worker needs none"));
    let sockets = group(2);
    let steering = Steering::begin(true, &Shard::new(KEY, 2), &[]);
    if may_steer("it_says_why_it_is_off").is_some() {
        steering.join(&[borrowed(&sockets)]);
        assert_eq!(steering.off(), None);
        steering.join(&[borrowed(&sockets)]);
        assert!(steering.off().is_some(), "a socket is in one array only");
    }
}
