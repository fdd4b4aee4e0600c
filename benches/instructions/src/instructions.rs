//! How many instructions does the core take for one message, and for whole calls, and in how many lines of code
//! does the way of a message lie? The same in every run and on every machine, nearly, so that a change of one per
//! cent shows, and growth fails in `./test.sh`. Time goes by the lines: a message hardly loops, and what does not
//! fit into the instruction cache is fetched again for each (`benches/results/2026-11-core.md`).
//!
//! `cargo bench -p sipring-instructions` counts and judges (needs valgrind, nothing else), `... -- handle` only what
//! has `handle` in its name, `... -- --accept` makes what was counted the accepted figures in `figures.toml`. The
//! profiles stay: `callgrind_annotate target/tmp/instructions/handle_ok.callgrind` says where they went.

mod callgrind;
mod figures;
#[path = "../../setup/mod.rs"]
mod setup;
mod turns;

extern crate sipring_instructions as sipring; // what is shared with other benches and tests names it so

use figures::{Figures, Judgement};
use setup::world::{LISTENER, PORT};
use setup::{CLIENT, Case, ok_with_sdp, within_dialog};
use sipring::proxy::Verdict;
use sipring::sip::{Message, call_key};
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use turns::Turns;

const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/figures.toml");

/// What is counted: run once.
type Work = Box<dyn FnMut()>;
/// What makes it, which is not counted.
type Make = fn() -> Work;

/// By name.
const WORKS: &[(&str, Make)] = &[
    ("call_key_invite", || {
        let case = Case::invite();
        Box::new(move || {
            black_box(call_key(black_box(&case.message)));
        })
    }),
    ("parse_invite", || {
        let case = Case::invite();
        Box::new(move || {
            black_box(Message::parse(black_box(&case.message)).and_then(|message| message.body));
        })
    }),
    ("handle_invite_new", || handle(new_call())),
    ("handle_invite_pinned", || handle(Case::invite())),
    ("handle_reinvite", || handle(in_dialog(reinvite))),
    ("handle_bye", || handle(in_dialog(bye))),
    ("handle_ok", || handle(Case::ok())),
    ("turns_of_calls", || {
        let mut turns = Turns::new();
        Box::new(move || turns.run())
    }),
];

fn new_call() -> Case {
    let mut case = Case::invite();
    case.next_call();
    case
}

/// A request of the caller in a confirmed dialog, as most are: it comes for the first time. `request` makes
/// it from the one before and from the 200.
fn in_dialog(request: fn(&str, &str) -> String) -> Case {
    let mut case = Case::in_dialog();
    let invite = case.push(CLIENT, LISTENER, &Case::invite_text());
    let ok = ok_with_sdp(&invite.text());
    case.push(&invite.forwarded_to().to_string(), PORT, &ok).forwarded_to();
    let before = String::from_utf8_lossy(&case.message);
    case.message = request(&before, &ok).into_bytes();
    case
}

fn reinvite(before: &str, _: &str) -> String {
    before.replace("CSeq: 103 ", "CSeq: 104 ")
}

fn bye(_: &str, ok: &str) -> String {
    within_dialog("BYE", 104, ok)
}

fn handle(mut case: Case) -> Work {
    Box::new(move || {
        let verdict = black_box(case.handle());
        debug_assert!(matches!(verdict, Verdict::Forward { .. }));
    })
}

/// Where callgrind begins and stops to count.
#[inline(never)]
fn counted_work(work: &mut dyn FnMut()) {
    work();
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name] = &arguments[..]
        && flag == "--run"
    {
        let make = WORKS.iter().find(|(other, _)| other == name).map(|(_, make)| make);
        counted_work(&mut *make.expect("a name of WORKS")());
        return ExitCode::SUCCESS;
    }
    match count_and_judge(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// True if nothing is worse than accepted.
fn count_and_judge(arguments: &[String]) -> Result<bool, String> {
    let accept = arguments.iter().any(|argument| argument == "--accept");
    let filters: Vec<_> = arguments.iter().filter(|one| !one.starts_with("--")).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|one| name.contains(*one));
    let accepted = figures::parse(&std::fs::read_to_string(FIGURES).unwrap_or_default())
        .map_err(|error| format!("{FIGURES}: {error}"))?;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    std::fs::create_dir_all(&directory).map_err(|error| format!("{directory:?}: {error}"))?;
    let mut measured = Figures::new();
    for (name, _) in WORKS.iter().filter(|(name, _)| wanted(name)) {
        let counts = callgrind::count(name, "counted_work", &["--run", name], &directory)?;
        measured.push(((*name).to_owned(), counts.instructions));
        measured.extend(lines_of(name).map(|name| (name, counts.lines)));
    }
    let mut good = true;
    for (name, count) in &measured {
        match figures::judge(name, &accepted, *count) {
            Judgement::Good(line) => println!("{line}"),
            Judgement::Lower(line) => println!("RESULT {line}"),
            Judgement::Bad(line) => {
                println!("error: {line}");
                good = false;
            }
        }
    }
    if accept {
        let names = WORKS.iter().flat_map(|(name, _)| [Some((*name).to_owned()), lines_of(name)]);
        let names: Vec<String> = names.flatten().collect();
        std::fs::write(FIGURES, figures::render(&names, &accepted, &measured))
            .map_err(|error| format!("{FIGURES}: {error}"))?;
        println!("accepted in {FIGURES}");
    }
    Ok(good || accept)
}

/// The name of the lines of code, where they are held too: those of one message.
fn lines_of(name: &str) -> Option<String> {
    name.starts_with("handle").then(|| format!("{name}{}", figures::LINES))
}
