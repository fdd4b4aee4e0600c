//! From a file's bytes and the flags to a [`Config`], or to a report of what is wrong.

use super::file::{self, Raw};
use super::report::{Problem, Report};
use super::validate::validate;
use super::{Config, Flags, flags};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A config file, read.
#[derive(Clone, Debug)]
pub struct Text {
    /// Its path, as errors are to name it.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// A configuration and what is questionable in it.
#[derive(Debug)]
pub struct Loaded {
    /// Good, but perhaps not what was meant.
    pub warnings: Report,
    /// The configuration.
    pub config: Config,
}

/// Reads a config file. More than [`FILE_SIZE_MAX`] bytes are an error, as is what cannot be read.
///
/// # Errors
/// Those of the file system; `FileTooLarge`.
pub fn read(path: &Path) -> io::Result<Text> {
    let mut bytes = Vec::new();
    let most = FILE_SIZE_MAX as u64;
    let file = File::open(path)?;
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_SIZE_MAX {
        let text = format!("it has more than {FILE_SIZE_MAX} bytes: not a config file");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(Text { name: path.display().to_string(), bytes })
}

/// Makes a configuration out of a file (or none) and flags; see [`Flags`] for who wins.
///
/// # Errors
/// A report of every problem found. No input makes it panic.
pub fn load(text: Option<&Text>, flags: &Flags) -> Result<Loaded, Report> {
    let mut report = Report::default();
    let mut raw = Raw::default();
    let mut good = true;
    if let Some(text) = text {
        match from_file(text, &mut report) {
            Some(read) => raw = read,
            None => good = false,
        }
    }
    flags::apply(flags, &mut raw, &mut report);
    good &= !report.has_errors();
    // Relations between values mean something only once every value does.
    let config = good.then(|| validate(raw, &mut report));
    report.sort();
    let (errors, warnings) = report.split();
    match config {
        Some(config) if errors.is_empty() => Ok(Loaded { warnings, config }),
        _ => Err(warnings.of(errors)),
    }
}

fn from_file(text: &Text, report: &mut Report) -> Option<Raw> {
    match std::str::from_utf8(&text.bytes) {
        Ok(utf8) => {
            let place = report.file(&text.name, utf8);
            file::read(utf8, place, report)
        }
        Err(error) => {
            let place = report.file(&text.name, &String::from_utf8_lossy(&text.bytes));
            let at = error.valid_up_to();
            let byte = text.bytes.get(at).copied().unwrap_or_default();
            report.add(
                Problem::error("this is not UTF-8")
                    .at(place.part(at..at + 1), format!("a byte 0x{byte:02x} here"))
                    .help("TOML files are UTF-8: save it in that encoding"),
            );
            None
        }
    }
}

/// Bytes of a config file: some 2 KiB for each of the most backends that a pool may have.
pub const FILE_SIZE_MAX: usize = 8 << 20;
