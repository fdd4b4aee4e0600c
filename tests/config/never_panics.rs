//! No file and no flag makes the loader panic, and what it shows of a good one loads again.

use super::{LARGEST, SMALLEST, load};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sipring::config::{self, Config, Flags, Text};

/// What begins a terminal's control sequences.
const ESCAPE: char = '\u{1b}';

/// One edit of a file's bytes.
#[derive(Clone, Debug)]
enum Edit {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index, Index),
    Repeat(Index, Index),
    Word(Index, &'static str),
}

/// Pieces that mean something in TOML or to us.
const WORDS: [&str; 36] = [
    "[",
    "]",
    "[[",
    "]]",
    "=",
    "\"",
    "'",
    "\"\"\"",
    "\n",
    "\r\n",
    "\r",
    "\t",
    ".",
    ",",
    ":",
    "-",
    "#",
    "{",
    "}",
    "\\",
    "\\u0000",
    "\u{0}",
    "\u{1b}[2J",
    "\u{202e}",
    "é",
    "日本",
    "🎈",
    "-1",
    "1e400",
    "0x",
    "99999999999999999999",
    "[[pool]]\n",
    "[[pool.backend]]\n",
    "udp:",
    "1979-05-27",
    "nan",
];

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        any::<(Index, u8)>().prop_map(|(at, byte)| Edit::Replace(at, byte)),
        any::<(Index, u8)>().prop_map(|(at, byte)| Edit::Insert(at, byte)),
        any::<(Index, Index)>().prop_map(|(from, to)| Edit::Remove(from, to)),
        any::<(Index, Index)>().prop_map(|(from, to)| Edit::Repeat(from, to)),
        (any::<Index>(), select(&WORDS[..])).prop_map(|(at, word)| Edit::Word(at, word)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    let stretch = |bytes: &[u8], from: &Index, to: &Index| {
        let (from, to) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
        from.min(to)..from.max(to).min(from.min(to) + 40)
    };
    match edit {
        Edit::Replace(at, byte) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Edit::Replace(..) => {}
        Edit::Insert(at, byte) => bytes.insert(at.index(bytes.len() + 1), *byte),
        Edit::Remove(from, to) => drop(bytes.drain(stretch(bytes, from, to))),
        Edit::Repeat(from, to) => bytes.extend_from_within(stretch(bytes, from, to)),
        Edit::Word(at, word) => {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, word.bytes());
        }
    }
}

/// Loads, draws whatever is said, and loads again what a good one shows.
fn load_all_the_way(bytes: Vec<u8>, flags: &Flags) -> Result<(), TestCaseError> {
    let text = Text { name: "a.toml".to_owned(), bytes };
    let loaded = match config::load(Some(&text), flags) {
        Ok(loaded) => loaded,
        Err(report) => {
            prop_assert!(!report.is_empty());
            prop_assert!(!report.render(false).contains(ESCAPE));
            prop_assert!(!report.render(true).is_empty());
            return Ok(());
        }
    };
    prop_assert!(!loaded.warnings.render(false).contains(ESCAPE));
    let mut config: Config = loaded.config;
    let shown = config.to_string();
    config.cluster.current = None;
    config.cluster.previous = None;
    match load(&shown, &Flags::default()) {
        Ok(again) => prop_assert_eq!(again.config, config),
        Err(report) => prop_assert!(false, "{}\n{}", shown, report.render(false)),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..300)) {
        load_all_the_way(bytes, &Flags::default())?;
    }

    #[test]
    fn random_words_in_a_row(words in vec(select(&WORDS[..]), 0..60)) {
        load_all_the_way(words.concat().into_bytes(), &Flags::default())?;
    }

    #[test]
    fn edits_of_a_good_file(edits in vec(edit(), 0..8)) {
        for file in [SMALLEST, LARGEST] {
            let mut bytes = file.as_bytes().to_vec();
            edits.iter().for_each(|edit| apply(&mut bytes, edit));
            load_all_the_way(bytes, &Flags::default())?;
        }
    }

    #[test]
    fn strings_in_every_place(text in string()) {
        for file in [SMALLEST, LARGEST] {
            let quotes: Vec<usize> = file.match_indices('"').map(|(at, _)| at).collect();
            for pair in quotes.chunks(2) {
                let literal = toml::Value::String(text.clone()).to_string();
                let (before, after) = (&file[..pair[0]], &file[pair[1] + 1..]);
                let changed = format!("{before}{literal}{after}");
                load_all_the_way(changed.into_bytes(), &Flags::default())?;
            }
        }
    }

    #[test]
    fn any_flags(listen in string(), backend in string(), other in string(), policy in string()) {
        let flags = Flags {
            listen: vec![listen],
            backend: vec![backend.clone(), format!("10.0.0.1,{backend}")],
            policy: Some(policy),
            workers: Some(other.clone()),
            admin: Some(other.clone()),
            backend_ports: Some(other),
            no_record_route: true,
            no_health: true,
        };
        load_all_the_way(SMALLEST.as_bytes().to_vec(), &flags)?;
        if let Err(report) = config::load(None, &flags) {
            prop_assert!(!report.render(true).is_empty());
        }
    }
}

/// Texts near to what addresses, durations, ranges and names look like.
fn string() -> impl Strategy<Value = String> {
    let word = select(
        &[
            "udp",
            "tcp",
            ":",
            ":",
            "::",
            "[",
            "]",
            ".",
            ",",
            "=",
            "weight",
            "name",
            "priority",
            "10",
            "0",
            "5060",
            "65536",
            "ffff",
            "fe80",
            "/",
            "/16",
            "-",
            "12h",
            "MiB",
            "é",
            "\n",
            "\u{1b}",
            " ",
            "sip.example.com",
            "255.255.255.255",
            "10.0.0.7",
            "99999999999999999999",
            "listener",
        ][..],
    );
    prop_oneof![vec(word, 0..7).prop_map(|words| words.concat()), ".{0,20}"]
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let deep = format!("x = {}1{}", open.repeat(50_000), close.repeat(50_000));
        assert!(load(&deep, &Flags::default()).is_err());
    }
    assert!(load(&format!("a{} = 1", ".a".repeat(50_000)), &Flags::default()).is_err());
    assert!(load(&format!("[a{}]", ".a".repeat(50_000)), &Flags::default()).is_err());
}
