//! A table of the file, read key by key: types, places, and what nobody asked for.
//!
//! The keys that a table may have are those that were asked for when it is finished: none is listed
//! twice. Every problem is noted and reading goes on, so that one run shows all of them.

use super::report::{Place, Problem, Report, nearest, quoted};
use super::values::{self, Fault};
use std::cell::RefCell;
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> At<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        At { value: change(self.value), place: self.place }
    }
}

/// What is noted while a file is read.
pub(super) struct Notes<'a> {
    text: &'a str,
    /// The whole file.
    file: Place,
    problems: RefCell<Vec<Problem>>,
    secrets: RefCell<Vec<Place>>,
}

/// One table of the file.
pub(super) struct Table<'a> {
    notes: &'a Notes<'a>,
    entries: &'a DeTable<'a>,
    /// As it is written in the file, such as `[[listener]]`.
    name: &'static str,
    place: Place,
    asked: Vec<&'static str>,
}

impl<'a> Notes<'a> {
    /// `file` is the place of the whole `text`.
    pub(super) fn new(text: &'a str, file: Place) -> Self {
        Self { text, file, problems: RefCell::default(), secrets: RefCell::default() }
    }

    /// Hands the problems over and hides the secrets; true if there was no problem.
    pub(super) fn finish(self, report: &mut Report) -> bool {
        let problems = self.problems.into_inner();
        let good = problems.is_empty();
        problems.into_iter().for_each(|problem| report.add(problem));
        self.secrets.into_inner().into_iter().for_each(|place| report.mask(place));
        good
    }

    fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    fn place<T>(&self, value: &Spanned<T>) -> Place {
        self.file.part(value.span())
    }

    /// Where the characters of a string stand: inside its quotes, if they stand there as they are.
    fn inside(&self, value: &Spanned<DeValue<'_>>, text: &str) -> Option<Place> {
        let written = self.text.get(value.span())?;
        let inner = written.get(1..written.len().checked_sub(1)?)?;
        (inner == text).then(|| self.place(value).part(1..1 + inner.len()))
    }
}

impl<'a> Table<'a> {
    pub(super) fn root(notes: &'a Notes<'a>, document: &'a Spanned<DeTable<'a>>) -> Self {
        let place = notes.file.part(0..0);
        let entries = document.get_ref();
        Self { notes, entries, name: "the top level", place, asked: Vec::new() }
    }

    /// Where the table begins.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// A string that `parse` understands.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<At<T>> {
        let value = self.ask(key)?;
        self.parse(key, value, example, parse)
    }

    /// A string that must not be missing.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<At<T>> {
        if !self.entries.contains_key(key) {
            self.notes.add(
                Problem::error(format!("`{key}` is missing"))
                    .at(self.place, format!("this {} has none", self.name))
                    .help(format!("add a line such as: {key} = {example}")),
            );
        }
        self.parsed(key, example, parse)
    }

    /// A string that is never shown.
    pub(super) fn secret<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<At<T>> {
        if let Some(value) = self.entries.get(key) {
            let place = match value.get_ref() {
                DeValue::String(text) => self.notes.inside(value, text),
                _ => None,
            };
            self.notes.secrets.borrow_mut().push(place.unwrap_or(self.notes.place(value)));
        }
        self.parsed(key, "\"<32 hex digits>\"", parse)
    }

    /// A string, or an array of strings.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Vec<At<T>> {
        match self.ask(key) {
            None => Vec::new(),
            Some(value) => match value.get_ref() {
                DeValue::Array(items) => {
                    items.iter().filter_map(|item| self.parse(key, item, example, &parse)).collect()
                }
                _ => self.parse(key, value, example, parse).into_iter().collect(),
            },
        }
    }

    /// The same, but not an empty array: who leaves out a condition does not write it.
    pub(super) fn filled_list<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Vec<At<T>> {
        if let Some(value) = self.entries.get(key)
            && value.get_ref().as_array().is_some_and(|items| items.is_empty())
        {
            self.notes.add(
                Problem::error(format!("`{key}` lists nothing"))
                    .at(self.notes.place(value), "expected one entry at least")
                    .help(format!("remove the line, or write such as: {key} = {example}")),
            );
        }
        self.list(key, example, parse)
    }

    /// A whole number.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<u64>,
    ) -> Option<At<u64>> {
        let value = self.ask(key)?;
        match value.get_ref() {
            DeValue::Integer(number) => {
                let number = i128::from_str_radix(number.as_str(), number.radix());
                self.within(key, value, number.unwrap_or(i128::MAX), allowed)
            }
            _ => {
                self.wrong_type(key, value, "a whole number", &allowed.start().to_string());
                None
            }
        }
    }

    /// An array of whole numbers.
    pub(super) fn integers(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<u64>,
    ) -> Vec<At<u64>> {
        let Some(value) = self.ask(key) else { return Vec::new() };
        let example = format!("[{}]", allowed.start());
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, "a list of whole numbers", &example);
            return Vec::new();
        };
        let item = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::Integer(number) => {
                let number = i128::from_str_radix(number.as_str(), number.radix());
                self.within(key, item, number.unwrap_or(i128::MAX), allowed.clone())
            }
            _ => {
                self.wrong_type(key, item, "a whole number", &example);
                None
            }
        };
        items.iter().filter_map(item).collect()
    }

    /// A number from 0 to 1, in thousandths, rounded.
    pub(super) fn share(&mut self, key: &'static str) -> Option<At<u16>> {
        self.decimal(key, 1000, 0..=1000)
    }

    /// A number counted in parts of 1, rounded.
    pub(super) fn decimal(
        &mut self,
        key: &'static str,
        parts: u16,
        allowed: RangeInclusive<u16>,
    ) -> Option<At<u16>> {
        let value = self.ask(key)?;
        let [least, most] =
            [*allowed.start(), *allowed.end()].map(|edge| f64::from(edge) / f64::from(parts));
        let text = match value.get_ref() {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) => number.as_str(),
            _ => {
                let middle = format!("{:?}", (least + most) / 2.0);
                self.wrong_type(key, value, &format!("a number from {least} to {most}"), &middle);
                return None;
            }
        };
        let place = self.notes.place(value);
        match text.parse::<f64>() {
            Ok(number) if (least..=most).contains(&number) => {
                Some(At { value: (number * f64::from(parts)).round() as u16, place })
            }
            _ => {
                let title = format!("`{key}` is out of range: {}", quoted(text));
                let label = format!("expected {least:?} to {most:?}");
                self.notes.add(Problem::error(title).at(place, label));
                None
            }
        }
    }

    /// Bytes: a whole number, or a string such as "4MiB".
    pub(super) fn size(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<u64>,
    ) -> Option<At<u64>> {
        let value = self.ask(key)?;
        match value.get_ref() {
            DeValue::Integer(_) => self.integer(key, allowed),
            _ => {
                let size = self.parse(key, value, "\"4MiB\"", values::size)?;
                self.within(key, value, size.value.into(), allowed)
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<At<bool>> {
        let value = self.ask(key)?;
        match value.get_ref() {
            DeValue::Boolean(boolean) => {
                Some(At { value: *boolean, place: self.notes.place(value) })
            }
            _ => {
                self.wrong_type(key, value, "true or false", "true");
                None
            }
        }
    }

    /// A `[table]`.
    pub(super) fn table(&mut self, key: &'static str, name: &'static str) -> Option<Table<'a>> {
        let value = self.ask(key)?;
        match value.get_ref() {
            DeValue::Table(entries) => Some(self.below(value, entries, name)),
            _ => {
                self.misshapen(key, value, name);
                None
            }
        }
    }

    /// All `[[tables]]` of one name.
    pub(super) fn tables(&mut self, key: &'static str, name: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.ask(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.misshapen(key, value, name);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(entries) => tables.push(self.below(item, entries, name)),
                _ => self.misshapen(key, item, name),
            }
        }
        tables
    }

    /// Complains of every key that nobody asked for. `later` are keys of later versions.
    pub(super) fn finish(self, later: &[&str]) {
        for (key, _) in self.entries.iter() {
            let word = key.get_ref().as_ref();
            if self.asked.contains(&word) {
                continue;
            }
            let place = self.notes.place(key);
            if later.contains(&word) {
                let title = format!("{} comes with a later version", quoted(word));
                let label = format!("not yet a key of {}", self.name);
                self.notes.add(Problem::error(title).at(place, label));
                continue;
            }
            let mut known = self.asked.clone();
            known.sort_unstable();
            let mut problem = Problem::error(format!("unknown key {}", quoted(word)))
                .at(place, format!("not a key of {}", self.name));
            if let Some(near) = nearest(word, known.iter().copied()) {
                problem = problem.help(format!("did you mean `{near}`?"));
            }
            self.notes.add(problem.help(format!("keys here: {}", known.join(", "))));
        }
    }

    fn ask(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.entries.get(key)
    }

    fn below(
        &self,
        value: &Spanned<DeValue<'a>>,
        entries: &'a DeTable<'a>,
        name: &'static str,
    ) -> Table<'a> {
        let place = self.notes.place(value);
        Table { notes: self.notes, entries, name, place, asked: Vec::new() }
    }

    fn parse<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<At<T>> {
        let place = self.notes.place(value);
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(key, value, "a string", example);
            return None;
        };
        let fault = match parse(text) {
            Ok(value) => return Some(At { value, place }),
            Err(fault) => fault,
        };
        // With escapes in the string, the place within it is not known: show all of it.
        let exact = self.notes.inside(value, text).map(|inner| inner.part(fault.range));
        let problem = Problem::error(fault.title).at(exact.unwrap_or(place), fault.label);
        self.notes.add(match fault.help {
            Some(help) => problem.help(help),
            None => problem,
        });
        None
    }

    fn within(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        number: i128,
        allowed: RangeInclusive<u64>,
    ) -> Option<At<u64>> {
        let place = self.notes.place(value);
        match u64::try_from(number) {
            Ok(number) if allowed.contains(&number) => Some(At { value: number, place }),
            _ => {
                let found = self.notes.text.get(value.span()).unwrap_or_default();
                let label = format!("expected {} to {}", allowed.start(), allowed.end());
                let title = format!("`{key}` is out of range: {}", quoted(found));
                self.notes.add(Problem::error(title).at(place, label));
                None
            }
        }
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str, example: &str) {
        let found = value.get_ref().type_str();
        let article = if found.starts_with(['a', 'i']) { "an" } else { "a" };
        self.notes.add(
            Problem::error(format!("`{key}` is {article} {found}"))
                .at(self.notes.place(value), format!("expected {expected}"))
                .help(format!("such as: {key} = {example}")),
        );
    }

    /// A table where several may stand, or the other way round, or a plain value.
    fn misshapen(&self, key: &str, value: &Spanned<DeValue<'_>>, name: &str) {
        let found = match value.get_ref() {
            DeValue::Table(_) => "a single table".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            other => format!("no table but a value ({})", other.type_str()),
        };
        self.notes.add(
            Problem::error(format!("`{key}` is {found}"))
                .at(self.notes.place(value), format!("expected {name}"))
                .help(format!("write {name} on a line of its own, and its keys below it")),
        );
    }
}
