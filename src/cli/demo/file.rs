//! The config file of the demo: what stands in it, and a directory of its own for it.

use super::ports::free_range;
use std::fmt::Write;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// What the file says, but for the backends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    pub(super) seed: u64,
    /// After a recovery and after joining.
    pub(super) slow_start: Duration,
}

impl Wishes {
    /// On free ports, others with each attempt; `None` if they are not to be had.
    pub(super) fn text(self, attempt: u16) -> Option<String> {
        let workers = std::thread::available_parallelism().map_or(1, |n| n.get().min(64));
        let ports = free_range(workers as u16, attempt)?;
        let loopback = Ipv4Addr::LOCALHOST;
        let udp = UdpSocket::bind((loopback, 0)).and_then(|free| free.local_addr()).ok()?;
        let admin = TcpListener::bind((loopback, 0)).and_then(|free| free.local_addr()).ok()?;
        Some(format!(
            "workers = {workers}\nbackend_ports = \"{}-{}\"\n\n[admin]\nlisten = \"{admin}\"\n\n\
             [[listener]]\nbind = \"udp:{udp}\"\n\n[limits]\npins = 100000\n\n\
             [cluster]\nkey = \"{:032x}\"\nhash_seed = {}\n\n[log]\nlevel = \"warn\"\n\n\
             [[pool]]\n\n[pool.health]\ninterval = \"300ms\"\ndown_interval_max = \"300ms\"\n\
             timeout = \"1s\"\nrise = 2\nfall = 3\nslow_start = \"{}ms\"\n",
            ports.start(),
            ports.end(),
            u128::from(self.seed) + 1,
            // TOML's integers have 63 bits and a sign.
            self.seed >> 1,
            self.slow_start.as_millis(),
        ))
    }
}

/// One more backend at the end of a file.
pub(super) fn add_backend(text: &mut String, name: &str, address: SocketAddr) {
    let _ = write!(text, "\n[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n");
}

/// A file that is there only while it is read: whoever ends the demo half-way finds nothing left.
#[derive(Debug)]
pub(super) struct ConfigFile {
    directory: PathBuf,
    path: PathBuf,
}

impl ConfigFile {
    /// A place for it that nobody has.
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NUMBER.fetch_add(1, Relaxed);
            let name = format!("sipring-demo-{}-{number}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            if directory.symlink_metadata().is_err() {
                let path = directory.join("sipring.toml");
                return Self { directory, path };
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Does something while the file is there, with this text, in a directory that nobody else may
    /// look into.
    pub(super) fn with<T>(&self, text: &str, read: impl FnOnce() -> T) -> io::Result<T> {
        DirBuilder::new().mode(0o700).create(&self.directory)?;
        let told = fs::write(&self.path, text).map(|()| read());
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.directory);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Flags};

    #[test]
    fn the_config_is_good_for_every_seed() {
        for seed in [0, 1, u64::MAX] {
            let wishes = Wishes { seed, slow_start: Duration::from_millis(625) };
            let mut text = wishes.text(0).unwrap();
            for n in 1..=4 {
                let address = (Ipv4Addr::LOCALHOST, n).into();
                add_backend(&mut text, &format!("backend-{n}"), address);
            }
            let text = config::Text { name: "demo".to_owned(), bytes: text.into_bytes() };
            let loaded = config::load(Some(&text), &Flags::default()).unwrap();
            assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
            let shown = loaded.config.to_string();
            assert!(shown.contains("name = \"backend-4\""), "{shown}");
            assert!(shown.contains("slow_start = \"625ms\""), "{shown}");
            assert!(loaded.config.cluster.current.is_some(), "a key of its own: no chance");
        }
    }

    #[test]
    fn a_file_is_there_while_it_is_read() {
        let (file, other) = (ConfigFile::new(), ConfigFile::new());
        assert_ne!(file.path(), other.path());
        for text in ["one", "two"] {
            let read = file.with(text, || fs::read_to_string(file.path()).unwrap());
            assert_eq!(read.unwrap(), text);
            assert!(!file.path().parent().unwrap().exists());
        }
    }
}
