//! Why the kernel refused, in words that say what to do, and with which exit code the program ends.

use super::driver::Driver;
use super::os::Event;
use super::ring::RingSeed;
use super::{Sizes, socket, steer};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, mpsc};
use std::thread;

/// Which exit code a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Something is missing or busy: exit code 69.
    Unavailable,
    /// Somebody forbids it: exit code 77.
    Permission,
}

/// A failure with its cause and its cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub class: Class,
    /// What was found, and what would be right.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the machine says of itself, read when a ring could not be had.
#[derive(Clone, Debug)]
struct Machine {
    /// `uname -r`.
    release: String,
    /// The sysctl `kernel.io_uring_disabled` (6.6): 0, 1 or 2.
    io_uring_disabled: Option<u8>,
    /// `Seccomp:` of `/proc/self/status`; 2 is a filter, as containers set one.
    seccomp: Option<u8>,
    /// RLIMIT_MEMLOCK, bytes, as `/proc/self/limits` writes it.
    memlock: Option<String>,
}

impl Machine {
    fn read() -> Self {
        let file = |path| std::fs::read_to_string(path).unwrap_or_default();
        let status = file("/proc/self/status");
        let limits = file("/proc/self/limits");
        Self {
            release: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            io_uring_disabled: file("/proc/sys/kernel/io_uring_disabled").trim().parse().ok(),
            seccomp: after(&status, "Seccomp:").and_then(|word| word.parse().ok()),
            memlock: after(&limits, "Max locked memory").map(str::to_owned),
        }
    }

    /// Major and minor number of the kernel.
    fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

/// The first word behind `name` in a file of lines.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

/// The oldest kernel that has all that the workers need (IORING_SETUP_DEFER_TASKRUN).
const OLDEST: (u32, u32) = (6, 1);

/// Says why a ring could not be set up.
pub fn ring_failure(error: &io::Error) -> Failure {
    explain(error, &Machine::read())
}

/// Whether so many workers, each with so many places for files, get the rings that they need: all of them
/// are made, held side by side and given back, for what they lock of memory adds up. Each on a thread of
/// its own, as in the balancer: one thread may register 16 rings.
///
/// # Errors
/// Why not, and what to do.
pub fn try_rings(workers: usize, files: usize) -> Result<(), Failure> {
    let sizes = Sizes::of_a_worker(workers as u32 - 1);
    let ring = || {
        let seed = RingSeed::build(sizes.submissions(), sizes.completions(files as u32))?;
        Driver::start(seed, &sizes, &[], files, Event::new()?.share()?)
    };
    let until_all_are_made = Mutex::new(());
    let (made, results) = mpsc::channel::<io::Result<()>>();
    let tried: io::Result<()> = thread::scope(|scope| {
        let _held = until_all_are_made.lock();
        for _ in 0..workers {
            let (made, gate) = (made.clone(), &until_all_are_made);
            thread::Builder::new().spawn_scoped(scope, move || {
                let (ring, failed) = ring().map_or_else(|e| (None, Err(e)), |r| (Some(r), Ok(())));
                let _ = made.send(failed); // whoever asks has seen another failure
                drop(gate.lock());
                drop(ring);
            })?;
        }
        results.iter().take(workers).collect()
    });
    tried.map_err(|error| ring_failure(&error))
}

/// RLIMIT_MEMLOCK in bytes, for all processes of this user together; `None`: there is none.
pub fn locked_memory_limit() -> Option<u64> {
    Machine::read().memlock.and_then(|limit| limit.parse().ok())
}

/// Whether the kernel can wait for several messages within a time ([`Driver::gather`]).
///
/// # Errors
/// Why not, and what to do.
pub fn try_gathering() -> Result<(), String> {
    let can = RingSeed::build(1, 2).is_ok_and(|seed| seed.can_gather());
    let needed = || format!("Linux 6.12 or newer is needed, this is {}", Machine::read().release);
    can.then_some(()).ok_or_else(needed)
}

/// Whether the kernel gives messages to the workers that own them: it is tried with two sockets.
///
/// # Errors
/// Why not.
pub fn try_steering() -> Result<(), String> {
    steer::try_steering().map_err(|refusal| refusal.to_string())
}

/// The receive buffer that a socket gets when it asks for so many bytes.
///
/// # Errors
/// What the kernel says when no UDP socket can be had.
pub fn granted_receive_buffer(bytes: usize) -> io::Result<usize> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket::receive_buffer(&socket::open_first(any, bytes)?)
}

fn explain(error: &io::Error, machine: &Machine) -> Failure {
    let too_old = machine.version().is_some_and(|version| version < OLDEST);
    let (class, cause) = match error.raw_os_error() {
        _ if too_old => (
            Class::Unavailable,
            format!(
                "Linux {}.{} or newer is needed, this is {}: boot a newer kernel",
                OLDEST.0, OLDEST.1, machine.release
            ),
        ),
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => forbidden(error, machine),
        Some(libc::ENOMEM) => (
            Class::Permission,
            format!(
                "it must lock more memory than it may (limit {} bytes, for all processes of this user \
                 together): raise `ulimit -l`, or LimitMEMLOCK=infinity in the unit, or the memory \
                 limit of the container",
                machine.memlock.as_deref().unwrap_or("unknown")
            ),
        ),
        Some(libc::EMFILE | libc::ENFILE) => {
            (Class::Unavailable, "too many open files: raise `ulimit -n` or LimitNOFILE".to_owned())
        }
        _ => (
            Class::Unavailable,
            format!("the kernel {} lacks a feature that is needed", machine.release),
        ),
    };
    Failure { class, text: format!("io_uring cannot be used ({error}): {cause}") }
}

/// ENOSYS is here too: container runtimes answer it for what their filter does not know.
fn forbidden(error: &io::Error, machine: &Machine) -> (Class, String) {
    match (machine.io_uring_disabled, machine.seccomp) {
        (Some(level @ 1..), _) if error.raw_os_error() != Some(libc::ENOSYS) => (
            Class::Permission,
            format!(
                "the sysctl kernel.io_uring_disabled is {level}: `sysctl kernel.io_uring_disabled=0`{}",
                if level == 1 { ", or run as a member of kernel.io_uring_group" } else { "" }
            ),
        ),
        (_, Some(2)) => (
            Class::Permission,
            "a seccomp filter forbids it (as the default profile of container runtimes does): \
             allow io_uring_setup, io_uring_enter and io_uring_register in the profile"
                .to_owned(),
        ),
        _ if error.raw_os_error() == Some(libc::ENOSYS) => (
            Class::Unavailable,
            format!("the kernel {} was built without CONFIG_IO_URING", machine.release),
        ),
        _ => (
            Class::Permission,
            "a security module forbids it: look for io_uring in `journalctl -k`".to_owned(),
        ),
    }
}

/// Says why a UDP socket could not be opened.
pub fn socket_failure(address: SocketAddr, error: &io::Error) -> Failure {
    let port = address.port();
    let (class, cause) = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => (
            Class::Unavailable,
            format!(
                "another process has this port (a second balancer, or a SIP server?): \
                 `ss -ulpn 'sport = :{port}'` names it; stop it or choose another port"
            ),
        ),
        Some(libc::EACCES | libc::EPERM) => (
            Class::Permission,
            if port < 1024 {
                "ports under 1024 need root or CAP_NET_BIND_SERVICE".to_owned()
            } else {
                "a security module forbids it".to_owned()
            },
        ),
        Some(libc::EADDRNOTAVAIL) => (
            Class::Unavailable,
            "this machine has no such address: `ip address` shows those that it has".to_owned(),
        ),
        Some(libc::EAFNOSUPPORT) => (
            Class::Unavailable,
            "this machine has no such address family: IPv6 is switched off".to_owned(),
        ),
        Some(libc::EMFILE | libc::ENFILE) => {
            (Class::Unavailable, "too many open files: raise `ulimit -n` or LimitNOFILE".to_owned())
        }
        _ => (Class::Unavailable, "the kernel refuses the socket".to_owned()),
    };
    Failure { class, text: format!("cannot listen on udp:{address} ({error}): {cause}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            release: "6.18.0-generic".to_owned(),
            io_uring_disabled: Some(0),
            seccomp: Some(0),
            memlock: Some("8388608".to_owned()),
        }
    }

    fn says(errno: i32, machine: &Machine, class: Class, words: &str) {
        let failure = explain(&io::Error::from_raw_os_error(errno), machine);
        assert_eq!(failure.class, class, "{failure}");
        assert!(failure.text.contains(words), "{failure}");
    }

    #[test]
    fn an_old_kernel_is_named_with_the_one_that_is_needed() {
        let old = Machine { release: "6.0.19".to_owned(), ..machine() };
        says(
            libc::EINVAL,
            &old,
            Class::Unavailable,
            "Linux 6.1 or newer is needed, this is 6.0.19",
        );
        let oldest = Machine { release: "6.1.0-26-amd64".to_owned(), ..machine() };
        says(libc::EINVAL, &oldest, Class::Unavailable, "lacks a feature");
    }

    #[test]
    fn the_sysctl_is_named_with_its_value() {
        for (level, words) in [(1, "kernel.io_uring_group"), (2, "io_uring_disabled is 2")] {
            let off = Machine { io_uring_disabled: Some(level), ..machine() };
            says(libc::EPERM, &off, Class::Permission, words);
        }
    }

    #[test]
    fn a_seccomp_filter_is_named_whether_it_says_eperm_or_enosys() {
        let filtered = Machine { seccomp: Some(2), ..machine() };
        says(libc::EPERM, &filtered, Class::Permission, "seccomp");
        says(libc::ENOSYS, &filtered, Class::Permission, "seccomp");
    }

    #[test]
    fn what_is_left_of_eperm_and_enosys_has_its_own_words() {
        says(libc::EPERM, &machine(), Class::Permission, "security module");
        says(libc::ENOSYS, &machine(), Class::Unavailable, "CONFIG_IO_URING");
    }

    #[test]
    fn the_limits_are_named() {
        says(libc::ENOMEM, &machine(), Class::Permission, "limit 8388608 bytes");
        says(libc::EMFILE, &machine(), Class::Unavailable, "ulimit -n");
    }

    #[test]
    fn rings_of_several_workers_can_be_had_side_by_side() {
        assert_eq!(try_rings(3, 200), Ok(()), "the tests need io_uring");
        if locked_memory_limit().is_none_or(|limit| limit >= 8 << 20) {
            assert_eq!(try_rings(20, 200), Ok(()), "one thread would be refused the 17th");
        }
    }

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::read();
        assert!(machine.version().unwrap() >= (5, 0));
        assert!(machine.seccomp.is_some() && machine.memlock.is_some());
    }

    #[test]
    fn a_busy_port_and_a_forbidden_one_are_told_apart() {
        let address = "192.0.2.1:5060".parse().unwrap();
        let busy = socket_failure(address, &io::Error::from_raw_os_error(libc::EADDRINUSE));
        assert_eq!(busy.class, Class::Unavailable);
        assert!(busy.text.contains("udp:192.0.2.1:5060") && busy.text.contains(":5060'"));
        let low = "192.0.2.1:506".parse().unwrap();
        let forbidden = socket_failure(low, &io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!(forbidden.class, Class::Permission);
        assert!(forbidden.text.contains("CAP_NET_BIND_SERVICE"));
    }
}
