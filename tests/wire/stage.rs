//! Where a test plays: its directory, its address family, its ports, and who must be there.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// The address family that a test runs over, on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// 127.0.0.1
    V4,
    /// ::1
    V6,
}

impl Family {
    /// The families of this machine; says so aloud when IPv6 is not among them.
    pub(crate) fn all() -> Vec<Family> {
        if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            return vec![Family::V4, Family::V6];
        }
        skipped("the IPv6 half: [::1] cannot be bound here");
        vec![Family::V4]
    }

    /// The loopback address.
    pub(crate) fn ip(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// A loopback address with a port that nobody uses.
    pub(crate) fn free_address(self) -> SocketAddr {
        SocketAddr::new(self.ip(), free_ports(1))
    }
}

/// The directory of one test run. It is emptied at the start and kept for reading; on failure the
/// ends of its logs are printed.
pub(crate) struct Stage {
    dir: PathBuf,
    _turn: Turn,
}

/// Most tests play side by side; one that needs the whole machine plays alone.
enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

static TURNS: RwLock<()> = RwLock::new(());

impl Stage {
    /// An empty directory under cargo's directory for test files.
    pub(crate) fn new(name: &str) -> Stage {
        let guard = TURNS.read().unwrap_or_else(PoisonError::into_inner);
        Stage { dir: empty_directory(name), _turn: Turn::Shared { _guard: guard } }
    }

    /// The same, and no other stage exists as long as this one.
    pub(crate) fn alone(name: &str) -> Stage {
        let guard = TURNS.write().unwrap_or_else(PoisonError::into_inner);
        Stage { dir: empty_directory(name), _turn: Turn::Alone { _guard: guard } }
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// Writes a file in it.
    pub(crate) fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.path(file);
        fs::write(&path, text).expect("a file of the test");
        path
    }

    fn print_logs(&self) {
        eprintln!("files of this test: {}", self.dir.display());
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut logs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.sort();
        for path in logs {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            let lines: Vec<String> =
                lines.map(|line| line.chars().take(LOG_COLUMNS_SHOWN).collect()).collect();
            let tail = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("--- the end of {}\n{}", path.display(), tail.join("\n"));
        }
    }
}

fn empty_directory(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wire").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a directory for the files of the test");
    dir
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
    }
}

/// The first of `count` neighbouring ports that are free on both loopback addresses. They lie below
/// the kernel's ephemeral range, and each process of this test begins elsewhere.
pub(crate) fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 97) as u16 * 120;
    loop {
        let offset = NEXT.fetch_add(count, Ordering::Relaxed);
        let first = 20_000 + (start + offset) % 12_000;
        if (first..first + count).all(is_free) {
            return first;
        }
    }
}

/// A free port of four digits, for sipsak, which loses the fifth.
pub(crate) fn free_short_port() -> u16 {
    (6_000..10_000).find(|port| is_free(*port)).expect("a free port below 10000")
}

fn is_free(port: u16) -> bool {
    let v4 = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let v6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, port));
    v4 && !v6.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

/// True when all these programs are installed. When one is missing it says SKIPPED aloud, or fails
/// if `SIPRING_REQUIRE_PEERS=1` (as `test.sh` sets it).
pub(crate) fn have(programs: &[&str]) -> bool {
    for program in programs {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .env("PATH", search_path())
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !found {
            let required = std::env::var("SIPRING_REQUIRE_PEERS").is_ok_and(|value| value == "1");
            assert!(!required, "{program} is not installed, and SIPRING_REQUIRE_PEERS=1 wants it");
            skipped(&format!("{program} is not installed"));
            return false;
        }
    }
    true
}

/// Says that something was left out, past the test runner's capture of output.
pub(crate) fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("wire").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

/// `PATH` with the directories of system daemons, which ordinary users lack.
pub(crate) fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Waits until `done` says yes; panics with `what` after `limit`.
pub(crate) fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "waited {} s in vain until {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(10));
    }
}

const LOG_LINES_SHOWN: usize = 40;
const LOG_COLUMNS_SHOWN: usize = 300;
