//! Results go to standard output, everything else to standard error; colours to terminals only.

use super::Exit;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Whether standard error takes colours: a terminal, and NO_COLOR (no-color.org) not set.
pub(super) fn colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !refused && !dumb && io::stderr().is_terminal()
}

/// Says something to the user. If even that fails there is nobody left to tell.
pub(super) fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Says what went wrong, in the form of all our errors.
pub(super) fn error(text: &str) {
    let (start, end) = if colour() { ("\x1b[1m\x1b[91m", "\x1b[0m") } else { ("", "") };
    say(&format!("{start}error{end}: {}\n", text.trim_end()));
}

/// Writes a result. A reader that has seen enough (`| head`) is no error.
pub(super) fn result(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Success,
        Err(failure) if failure.kind() == ErrorKind::BrokenPipe => Exit::Success,
        Err(failure) => {
            error(&format!("cannot write to standard output: {failure}"));
            Exit::Failure
        }
    }
}
