//! Why the kernel does not steer, and what to do.

use aya::EbpfError;
use std::error::Error;
use std::{fmt, io, iter};

/// Capabilities by bit (linux/capability.h), any of which opens what it is for.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// What was found, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A socket was refused already.
impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self(format!("no sockets to steer between: {error}"))
    }
}

impl Refusal {
    pub(super) fn of(error: &EbpfError) -> Self {
        let first: &(dyn Error + 'static) = error;
        let causes = iter::successors(Some(first), |&cause| cause.source());
        let errno = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).last();
        let errno = errno.and_then(io::Error::raw_os_error);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self(explain(errno, &error.to_string(), &status))
    }
}

/// `status` is `/proc/self/status`.
fn explain(errno: Option<i32>, error: &str, status: &str) -> String {
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let held = field("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let has = |capability: u32| held >> capability & 1 == 1;
    let error = error.lines().next().unwrap_or_default();
    match (has(CAP_BPF) || has(CAP_SYS_ADMIN), has(CAP_PERFMON) || has(CAP_SYS_ADMIN)) {
        (false, false) => "CAP_BPF and CAP_PERFMON are missing".to_owned(),
        (false, true) => "CAP_BPF is missing".to_owned(),
        (true, false) => "CAP_PERFMON is missing".to_owned(),
        (true, true) => match errno {
            Some(libc::ENOSYS) => {
                "bpf() is not in this kernel, or a seccomp filter hides it".to_owned()
            }
            Some(libc::EPERM) => format!(
                "bpf() is forbidden, by {}",
                match field("Seccomp:") {
                    Some("2") => "a seccomp filter (as in containers)",
                    _ => "lockdown or a security module: look for bpf in `journalctl -k`",
                }
            ),
            _ => format!("the kernel does not take the program: {error}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(errno: i32, capabilities: u64, seccomp: u8) -> String {
        let status = format!("Name:\tx\nCapEff:\t{capabilities:016x}\nSeccomp:\t{seccomp}\n");
        explain(Some(errno), "refused\nand a long log", &status)
    }

    #[test]
    fn missing_capabilities_are_named_whatever_the_errno() {
        for errno in [libc::EPERM, libc::EACCES, libc::EINVAL] {
            assert_eq!(says(errno, 0, 0), "CAP_BPF and CAP_PERFMON are missing");
            assert_eq!(says(errno, 1 << CAP_PERFMON, 0), "CAP_BPF is missing");
            assert_eq!(says(errno, 1 << CAP_BPF, 0), "CAP_PERFMON is missing");
        }
    }

    #[test]
    fn with_both_or_the_one_above_them_something_else_forbids_it() {
        for capabilities in [1 << CAP_BPF | 1 << CAP_PERFMON, 1 << CAP_SYS_ADMIN] {
            assert!(says(libc::EPERM, capabilities, 2).contains("seccomp"));
            assert!(says(libc::EPERM, capabilities, 0).contains("journalctl"));
            assert!(says(libc::ENOSYS, capabilities, 0).contains("not in this kernel"));
            let refused = says(libc::EINVAL, capabilities, 0);
            assert_eq!(refused, "the kernel does not take the program: refused");
        }
    }
}
