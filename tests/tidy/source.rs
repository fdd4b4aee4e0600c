//! Reading Rust without a compiler: what is code, what is comment, what is test, which paths it
//! names.

use std::ops::Range;

/// A file of the tree, and the ways to look at it. All views have the same lines.
pub(crate) struct Source {
    /// From the root of the tree, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// Without the contents of strings.
    pub(crate) words: String,
    /// And without comments.
    pub(crate) code: String,
    /// And without what is compiled for tests only.
    pub(crate) product: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (words, code) = views(text);
        let product = without(&code, &test_ranges(&code));
        Self { path: path.into(), text: text.into(), words, code, product }
    }

    /// True for a file of Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The modules that lead to this file of the library: `src/a/b.rs` is `[a, b]`. None for what
    /// is no part of the library's product, such as `tests.rs`.
    pub(crate) fn modules(&self) -> Option<Vec<&str>> {
        let path = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let mut modules: Vec<&str> = path.split('/').collect();
        if modules.contains(&"tests") {
            return None;
        }
        modules.pop_if(|last| *last == "mod" || *last == "lib");
        Some(modules)
    }

    /// The first of [`Source::modules`].
    pub(crate) fn room(&self) -> Option<&str> {
        self.modules()?.first().copied()
    }

    /// Lines that are no part of a test.
    pub(crate) fn product_lines(&self) -> usize {
        let in_tests = |range: Range<usize>| self.code[range].matches('\n').count() + 1;
        let tests: usize = test_ranges(&self.code).into_iter().map(in_tests).sum();
        self.text.lines().count().saturating_sub(tests)
    }
}

/// The line of a place in a text, from 1.
pub(crate) fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Where a word stands (as a whole word).
pub(crate) fn word_places<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = text[..*at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Every path that begins with this root (`crate`, `std`, ...), groups in braces taken apart: each
/// with its place and the segments behind the root.
pub(crate) fn paths<'a>(
    code: &'a str,
    root: &'a str,
) -> impl Iterator<Item = (usize, Vec<&'a str>)> + 'a {
    word_places(code, root).flat_map(move |at| {
        let rest = code[at + root.len()..].trim_start();
        let trees = rest.strip_prefix("::").map(|rest| tree(rest).0).unwrap_or_default();
        trees.into_iter().map(move |segments| (at, segments))
    })
}

/// Parses `a::b::{c, d::e}`, and returns what is left behind it.
fn tree(mut rest: &str) -> (Vec<Vec<&str>>, &str) {
    let mut segments = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(mut group) = rest.strip_prefix('{') {
            let mut all = Vec::new();
            loop {
                let (trees, behind) = tree(group);
                all.extend(trees.into_iter().map(|tree| [segments.clone(), tree].concat()));
                let behind = behind.find([',', '}']).map_or("", |at| &behind[at..]);
                match behind.strip_prefix(',') {
                    Some(next) => group = next,
                    None => return (all, behind.get(1..).unwrap_or("")),
                }
            }
        }
        let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        if end == 0 {
            let trees = if segments.is_empty() { Vec::new() } else { vec![segments] };
            return (trees, rest);
        }
        segments.push(&rest[..end]);
        rest = rest[end..].trim_start();
        match rest.strip_prefix("::") {
            Some(next) => rest = next,
            None => return (vec![segments], rest),
        }
    }
}

/// How many modules in braces a place stands in.
pub(crate) fn inline_modules(code: &str, at: usize) -> usize {
    let opens = |place: usize| {
        let rest = code[place + "mod".len()..].trim_start();
        let rest = rest.trim_start_matches(is_word).trim_start();
        rest.starts_with('{').then(|| code.len() - rest.len())
    };
    let around = |open: usize| open < at && at < closing(code, open);
    word_places(code, "mod").filter_map(opens).filter(|open| around(*open)).count()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What `#[cfg(test)]` stands before, with the attribute itself.
fn test_ranges(code: &str) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for attribute in ["#[cfg(test)]", "#[cfg(all(test"] {
        for (start, _) in code.match_indices(attribute) {
            if !ranges.iter().any(|range| range.contains(&start)) {
                ranges.push(start..item_end(code, start));
            }
        }
    }
    ranges
}

/// The end of an item that begins with attributes: its semicolon or its last brace.
fn item_end(code: &str, start: usize) -> usize {
    let mut at = start;
    while let Some(open) = code[at..].find(['#', ';', '{']).map(|found| at + found) {
        match code.as_bytes()[open] {
            b'#' => at = code[open..].find('[').map_or(code.len(), |b| closing(code, open + b)),
            b';' => return open + 1,
            _ => return closing(code, open),
        }
    }
    code.len()
}

/// One past the bracket that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

fn without(code: &str, ranges: &[Range<usize>]) -> String {
    let keep = |at: usize, c: char| c == '\n' || !ranges.iter().any(|range| range.contains(&at));
    code.char_indices().map(|(at, c)| if keep(at, c) { c } else { ' ' }).collect()
}

/// The text without what stands in strings, and that again without comments. Each character that
/// falls away becomes a space, so that lines stay where they are.
fn views(text: &str) -> (String, String) {
    let (mut words, mut code) = (String::new(), String::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (kind, length) = next_piece(rest, code.chars().next_back());
        let (piece, behind) = rest.split_at(length);
        let blank: String = piece.chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        words += if kind == Kind::Text { &blank } else { piece };
        code += if kind == Kind::Code { piece } else { &blank };
        rest = behind;
    }
    (words, code)
}

#[derive(PartialEq)]
enum Kind {
    Code,
    Comment,
    /// A string or a character.
    Text,
}

/// What the text begins with, and its length in bytes.
fn next_piece(text: &str, before: Option<char>) -> (Kind, usize) {
    if text.starts_with("//") {
        return (Kind::Comment, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return (Kind::Comment, block_comment(text));
    }
    let prefix = text.len() - text.trim_start_matches(['b', 'r', 'c']).len();
    let after_word = before.is_some_and(is_word);
    if prefix <= 2 && !(after_word && prefix > 0) {
        let (prefixes, literal) = text.split_at(prefix);
        let hashes = literal.len() - literal.trim_start_matches('#').len();
        if prefixes.contains('r') && literal[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let found = literal[hashes + 1..].find(&end);
            let length = found.map(|at| prefix + hashes + 1 + at + end.len());
            return (Kind::Text, length.unwrap_or(text.len()));
        }
        if literal.starts_with('"') {
            return (Kind::Text, prefix + quoted(literal, '"'));
        }
        if literal.starts_with('\'') && is_character(literal) {
            return (Kind::Text, prefix + quoted(literal, '\''));
        }
    }
    (Kind::Code, text.chars().next().map_or(0, char::len_utf8))
}

/// A character and no lifetime.
fn is_character(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    chars.next() == Some('\\') || chars.next() == Some('\'')
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let (step, change) = match rest {
            _ if rest.starts_with("/*") => (2, 1),
            _ if rest.starts_with("*/") => (2, -1),
            _ => (rest.chars().next().map_or(1, char::len_utf8), 0),
        };
        (depth, at) = (depth + change, at + step);
        if depth == 0 {
            break;
        }
    }
    at
}

mod self_test {
    use super::*;

    fn code(text: &str) -> String {
        Source::new("src/a.rs", text).code
    }

    #[test]
    fn strings_characters_and_comments_are_no_code() {
        assert_eq!(code("a // b\nc"), "a     \nc");
        assert_eq!(code("a /* b /* c */ d */ e").replace(' ', ""), "ae");
        assert_eq!(code(r#"f("x // \" y") + 1"#).replace(' ', ""), "f()+1");
        assert_eq!(
            code("f(r#\"x \" y\"#, br\"z\\\", b'\"', '\\'', '{')").replace(' ', ""),
            "f(,,,,)"
        );
        assert_eq!(code("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
        assert_eq!(code("bar(\"x\")").replace(' ', ""), "bar()");
        assert_eq!(code("//! ünï\nx"), "       \nx");
    }

    #[test]
    fn what_is_compiled_for_tests_only_is_no_product() {
        let text =
            "a;\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n  { b }\n}\nc;\n#[cfg(test)]\nuse d;\ne";
        let source = Source::new("src/a.rs", text);
        assert_eq!(source.product.replace([' ', '\n'], ""), "a;c;e");
        assert_eq!(source.product_lines(), 3);
        let not = Source::new("src/a.rs", "#[cfg(not(test))]\nmod a {}");
        assert_eq!(not.product, not.code);
    }

    #[test]
    fn paths_are_taken_apart() {
        let code = "use crate::{a::{b, c::d}, e}; x = crate::f::g(1); $crate::h!(); mycrate::i::j";
        let found: Vec<_> = paths(code, "crate").map(|(_, path)| path.join("::")).collect();
        assert_eq!(found, ["a::b", "a::c::d", "e", "f::g", "h"]);
        let found: Vec<_> = paths("use std::{\n fs,\n io::Read };", "std").map(|p| p.1).collect();
        assert_eq!(found, [vec!["fs"], vec!["io", "Read"]]);
    }

    #[test]
    fn files_know_their_modules() {
        let modules = |path| Source::new(path, "").modules().map(|modules| modules.join("::"));
        assert_eq!(modules("src/a/mod.rs").as_deref(), Some("a"));
        assert_eq!(modules("src/a/b.rs").as_deref(), Some("a::b"));
        assert_eq!(modules("src/lib.rs").as_deref(), Some(""));
        assert_eq!(modules("src/a/tests.rs"), None);
        assert_eq!(modules("tests/a.rs"), None);
    }
}
