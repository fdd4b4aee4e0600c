//! The message log of `[log]`: which final responses it has a line of, and where.

use super::health::show_share;
use super::reader::{At, Table};
use super::report::{Problem, Report, quoted};
use super::values::{Fault, one_of};
use std::fmt::{self, Formatter};
use std::path::PathBuf;

/// The message log, where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLogConfig {
    /// `messages = "errors"`: failures only, challenges not among them.
    pub errors_only: bool,
    /// The share of Call-IDs that have lines, thousandths.
    pub sample_per_mille: u16,
    /// Where the lines go.
    pub file: PathBuf,
}

/// The keys as they stand there.
#[derive(Debug, Default)]
pub(super) struct RawMessages {
    messages: Option<At<Messages>>,
    sample_per_mille: Option<u16>,
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Messages {
    Off,
    Errors,
    All,
}

/// Reads the keys out of `[log]`.
pub(super) fn messages(log: &mut Table<'_>) -> RawMessages {
    let words = [("off", Messages::Off), ("errors", Messages::Errors), ("all", Messages::All)];
    RawMessages {
        messages: log.parsed("messages", "\"errors\"", |text| one_of("messages", text, &words)),
        sample_per_mille: log.share("sample").map(|at| at.value),
        file: log.parsed("file", EXAMPLE, path).map(|at| at.value),
    }
}

/// The log that follows from the keys.
pub(super) fn agree(raw: RawMessages, report: &mut Report) -> Option<MessageLogConfig> {
    let at = raw.messages.filter(|at| at.value != Messages::Off)?;
    let Some(file) = raw.file else {
        report.add(
            Problem::error("messages are to be logged, but nowhere")
                .at(at.place, "`file` is missing")
                .help(format!("such as file = {EXAMPLE}")),
        );
        return None;
    };
    let errors_only = at.value == Messages::Errors;
    Some(MessageLogConfig {
        errors_only,
        sample_per_mille: raw.sample_per_mille.unwrap_or(1000),
        file,
    })
}

/// As [`messages`] reads it.
pub(super) fn show(f: &mut Formatter<'_>, log: Option<&MessageLogConfig>) -> fmt::Result {
    let Some(log) = log else { return writeln!(f, "messages = \"off\"") };
    writeln!(f, "messages = \"{}\"", which(log))?;
    writeln!(f, "sample = {}", show_share(log.sample_per_mille))?;
    writeln!(f, "file = {}", toml::Value::from(log.file.display().to_string()))
}

/// What differs is one text.
pub(super) fn in_words(log: Option<&MessageLogConfig>) -> String {
    log.map_or("off".to_owned(), |log| {
        let share = show_share(log.sample_per_mille);
        format!("{} ({share} of the calls, {})", which(log), log.file.display())
    })
}

fn which(log: &MessageLogConfig) -> &'static str {
    if log.errors_only { "errors" } else { "all" }
}

fn path(text: &str) -> Result<PathBuf, Fault> {
    if !text.starts_with('/') || text.ends_with('/') || text.contains(char::is_control) {
        let title = format!("{} is no path of a file", quoted(text));
        return Err(Fault::new(0..text.len(), title, "not a whole path")
            .help(format!("write a path from the root, such as {EXAMPLE}")));
    }
    Ok(PathBuf::from(text))
}

const EXAMPLE: &str = "\"/var/log/sipring/messages.json\"";
