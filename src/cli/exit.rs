//! How the program ends: the exit codes, all in one place.

use std::process::ExitCode;

/// The exit codes, after BSD's sysexits where those have one. A supervisor should restart on
/// `Failure` and perhaps `Unavailable`, never on `Usage` and `Config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or ended as asked.
    Success = 0,
    /// Failed while running.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A port is busy, or the kernel lacks something.
    Unavailable = 69,
    /// The system forbids it.
    Permission = 77,
    /// The config file is wrong.
    Config = 78,
    /// A second SIGINT ended it at once.
    Interrupted = 130,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The exit of this number; a number that is none of ours is a failure.
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Success,
            2 => Self::Usage,
            69 => Self::Unavailable,
            77 => Self::Permission,
            78 => Self::Config,
            130 => Self::Interrupted,
            _ => Self::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_that_are_documented_and_read_back() {
        let codes = [0, 1, 2, 69, 77, 78, 130];
        assert_eq!(codes.map(|code| Exit::from_code(code).code()), codes);
        assert_eq!(Exit::from_code(3), Exit::Failure);
    }
}
