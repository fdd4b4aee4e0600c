//! The message log: a thread that takes the workers' lines out of their rings and writes them to a file,
//! one object of JSON each.
//!
//! It never holds anybody up. The file is written without waiting (a pipe whose reader hangs says so);
//! what cannot be written stays, so the rings fill, and the workers drop and count what finds no room.

use super::{Balancer, Failure};
use crate::config::{Config, MessageLogConfig};
use crate::io::os;
use crate::metrics::Roster;
use crate::worker::{Line, Lines, LogRule, Workers, log_pen};
use arc_swap::ArcSwap;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// From one look into the rings to the next.
const PAUSE: Duration = Duration::from_millis(20);

/// Written at once: a pipe takes so much whole or not at all (PIPE_BUF).
const CHUNK_SIZE_MAX: usize = 4096;

/// A file that cannot be written is warned of this often.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How long the last lines get to be written.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// The log's thread, once there was something to log.
#[derive(Debug, Default)]
pub(super) struct MessageLog(Option<Thread>);

#[derive(Debug)]
struct Thread {
    orders: Sender<Order>,
    /// Nothing comes; it ends with the thread.
    end: Receiver<()>,
}

#[derive(Debug)]
enum Order {
    /// To read from these rings too, one for each worker.
    Read(Vec<Lines>),
    /// To write into this file from now on.
    Into(File),
    /// To write what is there, and end.
    End,
}

/// A change of the log that is about to be made.
#[derive(Debug)]
pub(super) struct LogChange {
    /// `None`: no lines any more. `Some(None)`: lines as before.
    rule: Option<Option<LogRule>>,
    file: Option<File>,
}

impl LogChange {
    /// What is to be done so that `new` holds after `old`; its file is opened.
    ///
    /// # Errors
    /// When it cannot be.
    pub(super) fn of(
        old: Option<&MessageLogConfig>,
        new: Option<&MessageLogConfig>,
    ) -> Result<Option<Self>, Failure> {
        if old == new {
            return Ok(None);
        }
        let Some(new) = new else { return Ok(Some(Self { rule: None, file: None })) };
        let same_file = old.is_some_and(|old| old.file == new.file);
        let file = if same_file { None } else { Some(open(&new.file)?) };
        let rule = |log: &MessageLogConfig| LogRule {
            errors_only: log.errors_only,
            sample_per_mille: log.sample_per_mille,
        };
        let same_rule = old.is_some_and(|old| rule(old) == rule(new));
        Ok(Some(Self { rule: Some((!same_rule).then(|| rule(new))), file }))
    }
}

/// Opens the log for writing at its end, without ever waiting for a reader.
fn open(path: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).custom_flags(libc::O_NONBLOCK);
    options.open(path).map_err(|error| {
        let hint = match error.raw_os_error() {
            Some(libc::ENXIO) => "it is a pipe, and nobody reads from it",
            Some(libc::EACCES) => "this user may not write there",
            Some(libc::ENOENT) => "its directory does not exist",
            _ => "name another file in [log]",
        };
        Failure::unavailable(format!("message log {}: {error}: {hint}", path.display()))
    })
}

impl MessageLog {
    /// Does what was found to be changed.
    pub(super) fn change(
        &mut self,
        change: LogChange,
        workers: &Workers,
        roster: &Arc<ArcSwap<Roster>>,
    ) {
        let thread = match &self.0 {
            Some(thread) => thread,
            None => match start(Arc::clone(roster)) {
                Ok(thread) => self.0.insert(thread),
                Err(error) => {
                    tracing::error!("no message log: its thread cannot be started: {error}");
                    return;
                }
            },
        };
        if let Some(file) = change.file {
            thread.order(Order::Into(file));
        }
        match change.rule {
            None => workers.log_messages(|| None),
            Some(None) => {}
            Some(Some(rule)) => {
                let mut all = Vec::new();
                workers.log_messages(|| {
                    let (pen, lines) = log_pen(rule);
                    all.push(lines);
                    Some(pen)
                });
                thread.order(Order::Read(all));
            }
        }
    }

    /// Writes what the workers, which have ended, have left.
    pub(super) fn end(&mut self) {
        if let Some(thread) = self.0.take() {
            thread.order(Order::End);
            let _ = thread.end.recv_timeout(END_PATIENCE); // a disk that hangs is not waited for
        }
    }
}

impl Thread {
    fn order(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::error!("the message log's thread has ended");
        }
    }
}

impl Balancer {
    /// Opens the message log's file again: it was renamed, and the next line begins a new one.
    pub(super) fn reopen_message_log(&self) {
        let path = self.live().config.message_log.as_ref().map(|log| log.file.clone());
        let Some(path) = path else {
            tracing::debug!("there is no message log to open again");
            return;
        };
        match open(&path) {
            Ok(file) => {
                if let Some(thread) = &self.message_log().0 {
                    thread.order(Order::Into(file));
                    tracing::info!("message log {} opened again", path.display());
                }
            }
            Err(failure) => tracing::error!("the message log goes on where it was: {failure}"),
        }
    }

    /// The log as the configuration wants it at the start.
    pub(super) fn begin_message_log(&self, config: &Config) -> Result<(), Failure> {
        let change = LogChange::of(None, config.message_log.as_ref())?;
        self.change_message_log(change);
        Ok(())
    }

    pub(super) fn change_message_log(&self, change: Option<LogChange>) {
        if let (Some(change), Some(workers)) = (change, &*self.workers()) {
            self.message_log().change(change, workers, self.shared_roster());
        }
    }

    fn message_log(&self) -> std::sync::MutexGuard<'_, MessageLog> {
        self.message_log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the log, behind the workers.
    pub(super) fn end_message_log(&self) {
        self.message_log().end();
    }
}

fn start(roster: Arc<ArcSwap<Roster>>) -> io::Result<Thread> {
    let (sender, orders) = channel();
    let (ending, end) = channel();
    let node = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut writer = Writer {
        node: node.trim().to_owned(),
        roster,
        rings: Vec::new(),
        file: None,
        chunk: Vec::with_capacity(CHUNK_SIZE_MAX),
        written: 0,
        line: Vec::new(),
        warned: None,
    };
    let thread = std::thread::Builder::new().name("message-log".to_owned());
    os::with_signals_blocked(|| {
        thread.spawn(move || {
            writer.run(&orders);
            drop(ending);
        })
    })?;
    Ok(Thread { orders: sender, end })
}

/// What the thread has.
struct Writer {
    node: String,
    /// For the backends' names.
    roster: Arc<ArcSwap<Roster>>,
    /// With the number of the worker.
    rings: Vec<(usize, Lines)>,
    file: Option<File>,
    /// Whole lines on their way, of which so many bytes are `written`.
    chunk: Vec<u8>,
    written: usize,
    /// One that had no room in it.
    line: Vec<u8>,
    warned: Option<Instant>,
}

impl Writer {
    fn run(&mut self, orders: &Receiver<Order>) {
        loop {
            let idle = self.rings.is_empty() && self.chunk.is_empty();
            let order = match idle {
                true => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => orders.recv_timeout(PAUSE),
            };
            match order {
                Ok(Order::Read(rings)) => self.rings.extend(rings.into_iter().enumerate()),
                Ok(Order::Into(file)) => self.begin(file),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return self.drain(),
            }
            self.drain();
        }
    }

    /// Another file; of a line that is half in the old one the rest goes nowhere.
    fn begin(&mut self, file: File) {
        self.file = Some(file);
        let begun = self.written > 0 && self.chunk[self.written - 1] != b'\n';
        if begun {
            let rest = &self.chunk[self.written..];
            let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
            self.written += end;
        }
    }

    /// Writes what is there, as far as the file takes it.
    fn drain(&mut self) {
        let since_start = Duration::from_nanos(os::now_ns());
        let started = SystemTime::now() - since_start; // of the workers' clock
        while self.write() && self.fill(started) {}
        self.rings.retain(|(_, lines)| !lines.is_over());
    }

    /// Gathers lines until a chunk is full. False: there are none.
    fn fill(&mut self, started: SystemTime) -> bool {
        self.chunk.append(&mut self.line);
        loop {
            let next = self
                .rings
                .iter_mut()
                .find_map(|(worker, lines)| Some((*worker, lines.next_line()?)));
            let Some((worker, line)) = next else { return !self.chunk.is_empty() };
            self.render(worker, &line, started);
            if self.chunk.len() + self.line.len() > CHUNK_SIZE_MAX {
                return true;
            }
            self.chunk.append(&mut self.line);
        }
    }

    fn render(&mut self, worker: usize, line: &Line, started: SystemTime) {
        let at = started + Duration::from_micros(line.us);
        let roster = self.roster.load();
        let pool = roster.pool();
        let backend = line.backend.and_then(|id| pool.by_id(id)).map(|slot| pool.backend(slot));
        let shown = Shown {
            ts: at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64 / 1000.0,
            node: &self.node,
            worker,
            method: line.method.label(),
            call_id: &String::from_utf8_lossy(line.call_id()),
            src: line.peer.to_string(),
            transport: "udp",
            by: match (line.own, line.backend) {
                (true, _) => "balancer",
                (false, Some(_)) => "backend",
                (false, None) => "client",
            },
            backend: backend.map(|backend| backend.spec.name.as_str()),
            code: line.status,
            t_first_ms: line.timing.map(|timing| f64::from(timing.heard_us) / 1000.0),
            t_final_ms: line.timing.map(|timing| f64::from(timing.total_us) / 1000.0),
            retrans: line.timing.map(|timing| timing.retransmissions),
        };
        // Into memory, and of strings and numbers: neither can fail.
        let _ = serde_json::to_writer(&mut self.line, &shown);
        self.line.push(b'\n');
    }

    /// Writes the chunk. False: some of it is left.
    fn write(&mut self) -> bool {
        while self.written < self.chunk.len() {
            let Some(file) = &mut self.file else { return false };
            match file.write(&self.chunk[self.written..]) {
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => {
                    self.warn(&error);
                    return false;
                }
            }
        }
        self.chunk.clear();
        self.written = 0;
        true
    }

    fn warn(&mut self, error: &io::Error) {
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            tracing::warn!("the message log cannot be written, its lines are lost: {error}");
        }
    }
}

/// A line as it is written; names of fields are for ever.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    /// Unix seconds.
    ts: f64,
    /// The machine's name.
    node: &'a str,
    worker: usize,
    method: &'static str,
    /// The first 128 bytes of a longer one.
    call_id: &'a str,
    /// Where the request came from, and the response goes.
    src: String,
    transport: &'static str,
    /// Who has answered: "backend", "client", "balancer".
    by: &'static str,
    /// Null: another has answered, or it has left the pool.
    backend: Option<&'a str>,
    code: u16,
    /// Milliseconds from when the request came until its first response, and until this one.
    t_first_ms: Option<f64>,
    t_final_ms: Option<f64>,
    /// Retransmissions of the request until then.
    retrans: Option<u8>,
}

#[cfg(test)]
mod tests;
