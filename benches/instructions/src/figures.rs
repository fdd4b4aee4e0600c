//! The accepted figures, and what is said when measured ones differ.

use std::fmt::Write;

/// How much more than its accepted figure a count of instructions may be, in per cent. The same binary takes the
/// same in every run; this is for what a change elsewhere makes the compiler do otherwise.
pub(crate) const GROWTH_MAX: f64 = 1.5;

/// The same for lines of code: where functions begin moves them.
pub(crate) const LINES_GROWTH_MAX: f64 = 5.0;

/// How much less than its figure a count may be before somebody is asked to accept the new one, in per
/// cent: a figure far above the truth would let through as much growth.
pub(crate) const SLACK_MAX: f64 = 2.0;

/// How to accept what was measured.
pub(crate) const ACCEPT: &str = "cargo bench -p sipring-instructions -- --accept";

/// How a name ends that stands for lines of code, not for instructions.
pub(crate) const LINES: &str = "_lines";

/// Names and counts, in the order in which they are shown.
pub(crate) type Figures = Vec<(String, u64)>;

/// Reads the file of accepted figures.
///
/// # Errors
/// Which line is none.
pub(crate) fn parse(text: &str) -> Result<Figures, String> {
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            let figure = line.split_once(" = ").and_then(|(name, instructions)| {
                Some((name.to_owned(), instructions.replace('_', "").parse().ok()?))
            });
            figure.ok_or_else(|| format!("line {}: `{line}` is not `name = number`", number + 1))
        })
        .collect()
}

/// The file with those of `measured` in place of the accepted ones; what was not measured stays, in the
/// order of `names`, and a name that is none any more goes.
pub(crate) fn render(names: &[String], accepted: &Figures, measured: &Figures) -> String {
    let mut text = format!(
        "# Instructions that the core may take, as callgrind counts them (rustc as in rust-toolchain.toml), \
         and {LINES}\n\
         # of code, 64 bytes each, that they may lie in: the instruction cache holds 512, and a message that needs\n\
         # more waits for memory.\n\
         # `cargo bench -p sipring-instructions` fails if one grows by more than {GROWTH_MAX} %, \
         lines {LINES_GROWTH_MAX} %. Accept\n\
         # new ones, and say in the commit why: {ACCEPT}\n\n"
    );
    for name in names {
        if let Some(count) = of(measured, name).or_else(|| of(accepted, name)) {
            let _ = writeln!(text, "{name} = {count}");
        }
    }
    text
}

/// What is to be said of one count.
#[derive(Debug, PartialEq)]
pub(crate) enum Judgement {
    /// Near its figure.
    Good(String),
    /// Less than its figure: the figure is to follow.
    Lower(String),
    /// More than it may be, or without a figure.
    Bad(String),
}

/// Judges a count by its accepted figure.
pub(crate) fn judge(name: &str, accepted: &Figures, count: u64) -> Judgement {
    let Some(figure) = of(accepted, name) else {
        return Judgement::Bad(format!(
            "{name}: {count}, and no figure to hold it against. Accept: {ACCEPT}"
        ));
    };
    let change = 100.0 * (count as f64 - figure as f64) / figure as f64;
    let (unit, growth_max) = match name.ends_with(LINES) {
        true => ("cache lines of code", LINES_GROWTH_MAX),
        false => ("instructions", GROWTH_MAX),
    };
    let line = format!("{name}: {count} {unit}, {figure} accepted, {change:+.1} %");
    if change > growth_max {
        Judgement::Bad(format!(
            "{line}: {} more than accepted, {growth_max} % is the most. Find what grew with \
             callgrind_annotate, or, if it is worth it, accept it and say why: {ACCEPT}",
            count - figure
        ))
    } else if change < -SLACK_MAX {
        Judgement::Lower(format!("{line}. Keep the figure true: {ACCEPT}"))
    } else {
        Judgement::Good(line)
    }
}

fn of(figures: &Figures, name: &str) -> Option<u64> {
    figures.iter().find(|(other, _)| other == name).map(|(_, instructions)| *instructions)
}
