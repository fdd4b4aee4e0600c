//! Why the balancer cannot start or go on: a text for the operator and the exit code.

use super::fleet::{NotAdded, UnknownBackend};
use crate::io::diagnose::{self, Class};
use crate::pool::PoolError;
use crate::worker::StartError;
use std::fmt;

/// Why it ended, as `main` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code: one of the constants of this type.
    pub exit: u8,
    /// What was found, where, and what would be right.
    pub text: String,
}

impl Failure {
    /// Something went wrong while it ran.
    pub const RUN_TIME: u8 = 1;
    /// Something that it needs is not there: a port, a route, a kernel feature (EX_UNAVAILABLE).
    pub const UNAVAILABLE: u8 = 69;
    /// The system forbids it (EX_NOPERM).
    pub const PERMISSION: u8 = 77;
    /// The config contradicts itself or this machine (EX_CONFIG).
    pub const CONFIG: u8 = 78;
    /// A second INT ended it at once (128 + SIGINT).
    pub const INTERRUPTED: u8 = 130;

    /// A run-time failure.
    pub fn run_time(text: impl Into<String>) -> Self {
        Self { exit: Self::RUN_TIME, text: text.into() }
    }

    /// Something needed is missing.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self { exit: Self::UNAVAILABLE, text: text.into() }
    }

    /// The config cannot be carried out.
    pub fn config(text: impl Into<String>) -> Self {
        Self { exit: Self::CONFIG, text: text.into() }
    }

    /// A socket of this program's that could not be bound. `what` names it: "admin 127.0.0.1:9060".
    pub(super) fn bind(what: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
        let (exit, hint) = match error.kind() {
            AddrInUse => {
                (Self::UNAVAILABLE, "another process has this port: stop it, or choose another")
            }
            AddrNotAvailable => (
                Self::UNAVAILABLE,
                "this machine has no such address: choose one that `ip address` lists",
            ),
            PermissionDenied => (Self::PERMISSION, "ports below 1024 need CAP_NET_BIND_SERVICE"),
            _ => (Self::UNAVAILABLE, "choose another address"),
        };
        Self { exit, text: format!("{what}: {error}; {hint}") }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Unavailable(text) => Self { exit: Self::UNAVAILABLE, text },
            StartError::Permission(text) => Self { exit: Self::PERMISSION, text },
        }
    }
}

impl From<diagnose::Failure> for Failure {
    fn from(failure: diagnose::Failure) -> Self {
        let exit = match failure.class {
            Class::Unavailable => Self::UNAVAILABLE,
            Class::Permission => Self::PERMISSION,
        };
        Self { exit, text: failure.text }
    }
}

impl From<UnknownBackend> for Failure {
    fn from(error: UnknownBackend) -> Self {
        Self::config(error.to_string())
    }
}

impl From<NotAdded> for Failure {
    fn from(error: NotAdded) -> Self {
        Self::config(error.to_string())
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::config(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};

    #[test]
    fn a_bind_error_gets_its_exit_code_and_a_hint() {
        let busy = Failure::bind("admin 127.0.0.1:9060", &Error::from(ErrorKind::AddrInUse));
        assert_eq!(busy.exit, 69);
        assert!(busy.text.starts_with("admin 127.0.0.1:9060: "), "{busy}");
        assert!(busy.text.contains("another process"), "{busy}");
        let denied = Failure::bind("udp:0.0.0.0:53", &Error::from(ErrorKind::PermissionDenied));
        assert_eq!(denied.exit, 77);
        assert_eq!(Failure::bind("x", &Error::from(ErrorKind::AddrNotAvailable)).exit, 69);
    }

    #[test]
    fn the_workers_errors_keep_their_text() {
        let text = || "sysctl kernel.io_uring_disabled is 2".to_owned();
        let failure = Failure::from(StartError::Permission(text()));
        assert_eq!(failure, Failure { exit: 77, text: text() });
        assert_eq!(Failure::from(StartError::Unavailable(text())).exit, 69);
    }

    #[test]
    fn a_pool_that_cannot_be_built_is_a_config_error() {
        let failure = Failure::from(PoolError::SameIdentity("a".into(), "b".into()));
        assert_eq!(failure.exit, 78);
        assert!(failure.text.contains("\"a\" and \"b\""), "{failure}");
    }
}
