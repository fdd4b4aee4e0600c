//! What is wrong with a configuration, as pictures: where it stands, a caret, what would be right.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use std::ops::Range;

/// Problems of one attempt to load a configuration, in the order in which they stand in it.
#[derive(Debug, Default)]
pub struct Report {
    sources: Vec<Source>,
    problems: Vec<Problem>,
}

/// Something wrong, or worth a warning.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    severity: Severity,
    title: String,
    marks: Vec<Mark>,
    helps: Vec<String>,
}

/// A stretch of a source, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    source: usize,
    start: usize,
    end: usize,
}

/// A text that configuration came from.
#[derive(Debug)]
struct Source {
    /// The file's path, or the flag.
    name: String,
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Flag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
}

#[derive(Clone, Debug)]
struct Mark {
    place: Place,
    label: String,
}

impl Report {
    /// The pictures of all problems, one after the other, each ended by a newline; with colours for
    /// a terminal or without. Empty if there is no problem. Keys are masked in the lines shown.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for problem in self.problems.iter().take(SHOWN_MAX) {
            out.push_str(&renderer.render(&[problem.group(&self.sources)]));
            out.push_str("\n\n");
        }
        match self.problems.len().saturating_sub(SHOWN_MAX) {
            0 => {}
            more => out.push_str(&format!("and {more} more like these\n\n")),
        }
        if out.ends_with("\n\n") {
            out.pop();
        }
        out
    }

    /// Whether a file is to blame (and not the flags alone).
    pub fn blames_file(&self) -> bool {
        let file = |source: &Source| source.kind == Kind::File;
        self.problems.iter().any(|problem| match problem.marks.first() {
            Some(mark) => file(&self.sources[mark.place.source]),
            None => self.sources.iter().any(file),
        })
    }

    /// True if there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Number of problems.
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// Adds the text of the config file; `name` is its path.
    pub(super) fn file(&mut self, name: &str, text: &str) -> Place {
        self.source(name, text, Kind::File)
    }

    /// Adds the value of a flag; `name` is the flag with its dashes.
    pub(super) fn flag(&mut self, name: &str, text: &str) -> Place {
        self.source(name, text, Kind::Flag)
    }

    pub(super) fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Hides a secret in everything that is shown from now on.
    pub(super) fn mask(&mut self, place: Place) {
        let text = &mut self.sources[place.source].text;
        let hide = |byte| if matches!(byte, b'\r' | b'\n') { char::from(byte) } else { 'x' };
        let hidden: String = text[place.start..place.end].bytes().map(hide).collect();
        text.replace_range(place.start..place.end, &hidden);
    }

    /// Puts the problems into the order of their places; those without a place come last.
    pub(super) fn sort(&mut self) {
        self.problems.sort_by_key(|problem| {
            let place = problem.marks.first().map(|mark| mark.place);
            (place.is_none(), place)
        });
    }

    /// Splits the warnings off: (errors, warnings).
    pub(super) fn split(mut self) -> (Vec<Problem>, Report) {
        let errors;
        (errors, self.problems) =
            self.problems.into_iter().partition(|problem| problem.severity == Severity::Error);
        (errors, self)
    }

    /// The report with these problems in place of its own.
    pub(super) fn of(self, problems: Vec<Problem>) -> Report {
        Report { problems, ..self }
    }

    /// Whether a place is in a flag's value.
    pub(super) fn is_flag(&self, place: Place) -> bool {
        self.sources[place.source].kind == Kind::Flag
    }

    pub(super) fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    fn source(&mut self, name: &str, text: &str, kind: Kind) -> Place {
        self.sources.push(Source { name: printable(name), text: text.to_owned(), kind });
        Place { source: self.sources.len() - 1, start: 0, end: text.len() }
    }
}

impl Problem {
    pub(super) fn error(title: impl Into<String>) -> Self {
        Self::new(Severity::Error, title.into())
    }

    pub(super) fn warning(title: impl Into<String>) -> Self {
        Self::new(Severity::Warning, title.into())
    }

    /// Marks a place; the first one gets the carets. No place (a default): no mark.
    pub(super) fn at(mut self, place: impl Into<Option<Place>>, label: impl Into<String>) -> Self {
        if let Some(place) = place.into() {
            self.marks.push(Mark { place, label: printable(&label.into()) });
        }
        self
    }

    /// Says what would be right.
    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.helps.push(printable(&text.into()));
        self
    }

    fn new(severity: Severity, title: String) -> Self {
        Self { severity, title: printable(&title), marks: Vec::new(), helps: Vec::new() }
    }

    fn group<'a>(&'a self, sources: &'a [Source]) -> Group<'a> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(self.title.as_str()));
        let mut drawn: Vec<usize> = Vec::new();
        for mark in &self.marks {
            if !drawn.contains(&mark.place.source) {
                drawn.push(mark.place.source);
                group = group.element(self.snippet(sources, mark.place.source));
            }
        }
        if self.marks.is_empty()
            && let Some(source) = sources.iter().find(|source| source.kind == Kind::File)
        {
            group = group.element(Origin::path(source.name.as_str()));
        }
        for help in &self.helps {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        group
    }

    fn snippet<'a>(
        &'a self,
        sources: &'a [Source],
        source: usize,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let Source { name, text, kind } = &sources[source];
        let marks = self.marks.iter().enumerate();
        let annotations = marks.filter(|(_, mark)| mark.place.source == source).map(|(i, mark)| {
            let kind = if i == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            kind.span(visible(text, mark.place)).label(mark.label.as_str())
        });
        Snippet::source(masked(text))
            .path(name.as_str())
            .line_numbering(*kind == Kind::File)
            .annotations(annotations.collect::<Vec<_>>())
    }
}

impl Place {
    /// A stretch of the same source; offsets count from the start of this one.
    pub(super) fn part(self, range: Range<usize>) -> Self {
        Self { source: self.source, start: self.start + range.start, end: self.start + range.end }
    }
}

/// The part of a place that a caret can stand under: on characters' borders, and one line of a
/// longer stretch.
fn visible(text: &str, place: Place) -> Range<usize> {
    let border = |at: &usize| text.is_char_boundary(*at);
    let start = (0..=place.start.min(text.len())).rev().find(border).unwrap_or(0);
    let end = (place.end.max(start)..text.len()).find(border).unwrap_or(text.len());
    let line = text[start..end].find(['\r', '\n']).map_or(end, |at| start + at);
    start..line
}

/// The text with every long run of hex digits hidden: a key may stand anywhere in a broken file.
/// A long decimal number is most likely none.
fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut start = 0;
    for run in text.as_bytes().split_inclusive(|byte| !byte.is_ascii_hexdigit()) {
        let digits = run.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let decimal = run[..digits].iter().all(u8::is_ascii_digit);
        if digits >= if decimal { 2 * SECRET_DIGITS_MIN } else { SECRET_DIGITS_MIN } {
            bytes[start..start + digits].fill(b'x');
        }
        start += run.len();
    }
    String::from_utf8(bytes).unwrap_or_default() // ASCII was replaced by ASCII
}

/// The text without anything that could move a terminal's cursor or turn the direction of writing.
fn printable(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect();
    annotate_snippets::normalize_untrusted_str(&escaped)
}

/// What was found, fit for a title: in backquotes, and not longer than a line can hold.
pub(super) fn quoted(found: &str) -> String {
    let shown: String = found.chars().take(FOUND_CHARS_MAX).collect();
    let dots = if shown.len() < found.len() { "..." } else { "" };
    format!("`{shown}{dots}`")
}

/// The one of `known` that `found` was most likely meant to be.
pub(super) fn nearest<'a>(
    found: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if found.len() > FOUND_CHARS_MAX {
        return None; // the distance takes quadratic time
    }
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let found = plain(found);
    let distance = |word: &str| strsim::damerau_levenshtein(&found, &plain(word));
    let near = known.into_iter().map(|word| (distance(word), word)).min();
    near.filter(|(distance, word)| *distance <= (word.len() / 3).max(1)).map(|(_, word)| word)
}

/// Problems drawn; the rest is counted.
const SHOWN_MAX: usize = 20;

/// Characters of a found word that a title repeats.
const FOUND_CHARS_MAX: usize = 60;

/// Half a cluster key: nothing else in a config has as many hex digits in a row.
const SECRET_DIGITS_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_word_is_found_over_a_typo_and_not_over_another_word() {
        let known = ["address", "weight", "name"];
        assert_eq!(nearest("adress", known), Some("address"));
        assert_eq!(nearest("Weight", known), Some("weight"));
        assert_eq!(nearest("wieght", known), Some("weight"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"a".repeat(100_000), known), None);
    }

    #[test]
    fn long_hex_runs_are_hidden_and_short_ones_are_not() {
        let fifteen = "key = \"0123456789abcde\"";
        assert_eq!(masked(fifteen), fifteen);
        assert_eq!(masked("key = \"0123456789abcdef\" # é"), "key = \"xxxxxxxxxxxxxxxx\" # é");
        assert_eq!(masked("0123456789abcdef"), "xxxxxxxxxxxxxxxx");
        let number = "9".repeat(31);
        assert_eq!(masked(&number), number);
        assert_eq!(masked(&"9".repeat(32)), "x".repeat(32));
    }

    #[test]
    fn problems_beyond_the_shown_are_counted() {
        let mut report = Report::default();
        for _ in 0..SHOWN_MAX {
            report.add(Problem::error("wrong"));
        }
        assert!(!report.render(false).contains("more like these"));
        report.add(Problem::error("wrong"));
        assert!(report.render(false).ends_with("\nand 1 more like these\n"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut report = Report::default();
        let place = report.file("a\u{1b}[2J", "x = \u{1b}[31m");
        report.add(Problem::error("\u{1b}[1m").at(place, "\u{1b}[1m").help("\u{1b}[1m"));
        assert!(!report.render(false).contains('\u{1b}'));
    }
}
