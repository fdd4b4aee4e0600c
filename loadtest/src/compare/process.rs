//! A process that is measured: started on one core, and ended with all that descend from it.

use super::rivals::{LISTEN, backends};
use crate::load::processes::family;
use std::fs::{self, File};
use std::io;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to start, and to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(10);
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// A running process. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

/// A command that runs on one core.
pub(super) fn on_core(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

impl Running {
    /// Starts it; what it says goes into the log.
    pub(super) fn start(
        program: &Path,
        args: &[String],
        core: usize,
        log: &Path,
    ) -> io::Result<Self> {
        wait_until_free()?;
        let output = File::create(log)?;
        let child = on_core(core, program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self { child, log: log.to_owned() })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a request that is sent to it comes out at a backend.
    pub(super) fn wait_until_it_forwards(&mut self) -> io::Result<()> {
        let sockets: io::Result<Vec<_>> = backends().into_iter().map(UdpSocket::bind).collect();
        let sockets = sockets?;
        sockets.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
        let caller = UdpSocket::bind("127.0.0.1:0")?;
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE && self.child.try_wait()?.is_none() {
            // It is not there yet: the kernel says so at the next send.
            let _ = caller.send_to(&ping(&caller)?, LISTEN);
            std::thread::sleep(Duration::from_millis(20));
            let mut bytes = [0; 4096];
            let came = |socket: &UdpSocket| {
                // Not a probe of the balancer's own.
                socket.recv(&mut bytes).is_ok_and(|length| bytes[..length].starts_with(b"MESSAGE"))
            };
            if sockets.iter().any(came) {
                return Ok(());
            }
        }
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        Err(io::Error::other(format!("it forwards nothing; what it said:\n{log}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let family = family(self.child.id());
        signal("-TERM", &family[..1]);
        let begin = Instant::now();
        while begin.elapsed() < LAST_PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Whoever is left, descendants too.
        let is_there = |id: &&u32| Path::new("/proc").join(id.to_string()).exists();
        let left: Vec<u32> = family[1..].iter().filter(is_there).copied().collect();
        signal("-KILL", &left);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The kernel closes the sockets of an io_uring some time after its process has ended.
fn wait_until_free() -> io::Result<()> {
    let begin = Instant::now();
    loop {
        match UdpSocket::bind(LISTEN) {
            Ok(_) => return Ok(()),
            Err(e) if begin.elapsed() > PATIENCE => {
                return Err(io::Error::new(e.kind(), format!("{LISTEN}: {e}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn ping(caller: &UdpSocket) -> io::Result<Vec<u8>> {
    let from = caller.local_addr()?;
    Ok(format!(
        "MESSAGE sip:ready@{LISTEN} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKready;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:ready@{from}>;tag=r\r\nTo: <sip:ready@{LISTEN}>\r\n\
         Call-ID: ready@{from}\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes())
}

fn signal(which: &str, processes: &[u32]) {
    if processes.is_empty() {
        return;
    }
    let ids = processes.iter().map(ToString::to_string);
    let _ = Command::new("kill").arg(which).args(ids).stderr(Stdio::null()).status();
}
