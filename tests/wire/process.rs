//! A child process of a test: its output goes to a log, its life ends with the test.

use crate::stage::{Stage, search_path, wait_until};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The network namespace that a process runs in; `None`: that of the test.
pub(crate) type Namespace<'a> = Option<&'a str>;

/// A running program with its own process group.
pub(crate) struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command` (program and arguments); what it prints goes to `NAME.log`.
    ///
    /// `setpriv --pdeathsig` makes the kernel end it even when the test itself is killed.
    pub(crate) fn start(
        stage: &Stage,
        name: &str,
        namespace: Namespace<'_>,
        command: &[String],
    ) -> Process {
        let log = File::create(stage.path(&format!("{name}.log"))).expect("a log file");
        let mut whole: Vec<String> = Vec::new();
        if let Some(namespace) = namespace {
            whole.extend(["ip", "netns", "exec", namespace].map(str::to_owned));
        }
        whole.extend(["setpriv", "--pdeathsig", "TERM"].map(str::to_owned));
        whole.extend_from_slice(command);
        let child = Command::new(&whole[0])
            .args(&whole[1..])
            .env("PATH", search_path())
            .env("TERM", "dumb")
            .current_dir(stage.path(""))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log file"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: cannot start {}: {error}", whole.join(" ")));
        Process { child, name: name.to_owned() }
    }

    /// Waits until it has bound this UDP port; panics if it ends before.
    pub(crate) fn wait_for_udp_port(&mut self, port: u16) {
        let wanted = format!(":{port:04X} ");
        let pid = self.child.id();
        let what = format!("{} had bound UDP port {port}", self.name);
        wait_until(&what, Duration::from_secs(20), || {
            self.assert_alive();
            ["udp", "udp6"].iter().any(|table| {
                let table = fs::read_to_string(format!("/proc/{pid}/net/{table}"));
                table.is_ok_and(|text| text.contains(&wanted))
            })
        });
    }

    /// Panics if it has ended by itself.
    pub(crate) fn assert_alive(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} ended too early: {status}", self.name);
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end; `None` when `limit` is over first.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal by name (`USR1`, `TERM`, `KILL`).
    pub(crate) fn signal(&self, signal: &str) {
        kill(signal, &self.child.id().to_string());
    }

    /// SIGKILL, as `kill -9` or the kernel's OOM killer does it, and waits until it is gone.
    pub(crate) fn kill_hard(mut self) {
        self.child.kill().expect("SIGKILL to a child");
        self.child.wait().expect("the end of a killed child");
    }
}

impl Drop for Process {
    /// TERM, a short while, then KILL to all of the group (Kamailio has children).
    fn drop(&mut self) {
        if self.wait(Duration::ZERO).is_none() {
            self.signal("TERM");
            self.wait(Duration::from_secs(2));
        }
        kill("KILL", &format!("-{}", self.child.id()));
        let _ = self.child.wait();
    }
}

fn kill(signal: &str, target: &str) {
    let script = format!("kill -s {signal} -- {target}");
    let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
}
