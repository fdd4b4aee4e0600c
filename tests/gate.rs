//! The gate on instructions and lines of code (`benches/instructions/`): growth fails, and says what to do.

#[path = "../benches/instructions/src/figures.rs"]
mod figures;

use figures::{Judgement, judge, parse, render};

const NAME: &str = "handle_ok";

fn judged(instructions: u64) -> Judgement {
    judge(NAME, &vec![(NAME.to_owned(), 10_000)], instructions)
}

#[test]
fn a_count_that_grew_beyond_its_tolerance_is_refused_with_what_to_do() {
    let Judgement::Bad(said) = judged(10_151) else { panic!("1.51 % more passed") };
    for part in [NAME, "10151", "10000", "+1.5 %", "151 more", "-- --accept"] {
        assert!(said.contains(part), "`{part}` is missing in: {said}");
    }
    assert!(matches!(judged(10_150), Judgement::Good(_)), "exactly 1.5 % is allowed");
    assert!(matches!(judged(9_800), Judgement::Good(_)));
}

#[test]
fn lines_of_code_are_held_as_instructions_are_and_called_so() {
    let accepted = vec![("handle_ok_lines".to_owned(), 300)];
    let Judgement::Bad(said) = judge("handle_ok_lines", &accepted, 316) else { panic!("passed") };
    assert!(said.contains("316 cache lines of code, 300 accepted"), "{said}");
    assert!(matches!(judge("handle_ok_lines", &accepted, 315), Judgement::Good(_)));
}

#[test]
fn a_figure_above_the_truth_is_told() {
    let Judgement::Lower(said) = judged(9_799) else { panic!("2.01 % less was not told") };
    assert!(said.contains("-- --accept"), "{said}");
}

#[test]
fn a_count_without_a_figure_is_refused() {
    assert!(matches!(judge("handle_new", &Vec::new(), 1), Judgement::Bad(_)));
}

#[test]
fn what_is_accepted_is_read_again_and_what_was_not_measured_stays() {
    let figures = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    let accepted = figures(&[("gone", 1), ("b", 2), ("a", 3)]);
    let names = ["a", "b", "c"].map(str::to_owned);
    let text = render(&names, &accepted, &figures(&[("b", 20), ("c", 30)]));
    assert_eq!(parse(&text), Ok(figures(&[("a", 3), ("b", 20), ("c", 30)])));
}

#[test]
fn a_broken_line_is_named() {
    let error = parse("# head\na = 1\nb: 2\n").expect_err("no figure");
    assert!(error.contains("line 3") && error.contains("b: 2"), "{error}");
}

#[test]
fn the_accepted_figures_can_be_read() {
    let text = include_str!("../benches/instructions/figures.toml");
    let figures = parse(text).expect("good figures");
    for name in ["turns_of_calls", "handle_invite_new_lines"] {
        assert!(figures.iter().any(|(other, _)| other == name), "{name} is missing in: {text}");
    }
    let names: Vec<_> = figures.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(render(&names, &figures, &figures), text, "what --accept would make of it");
}
