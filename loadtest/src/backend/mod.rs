//! The answering backend: a user agent server that takes every call, and names itself.

mod agent;
mod leg;
mod manner;
mod service;

pub use manner::Manner;
pub use service::Service;

use crate::engine::{self, Engine, Halted};
use crate::report::BackendReport;
use agent::BackendAgent;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a backend does. Start from [`BackendOptions::named`].
#[derive(Clone, Debug)]
pub struct BackendOptions {
    /// A concrete address (it stands in Contact); port 0: a free one.
    pub listen: SocketAddr,
    /// In Server of every response and User-Agent of every request.
    pub name: String,
    /// Decides To tags, drops and answer times.
    pub seed: u64,
    /// Shortest and longest time from the INVITE to its 200, during which it rings.
    pub ring: (Duration, Duration),
    /// Of 1000 datagrams in dialogs that are to be sent, how many are not.
    pub drop_per_mille: u16,
    /// Refuse every INVITE with this status, such as "486 Busy Here".
    pub refuse: Option<String>,
    /// T1 of RFC 3261 17.1.1.1 (500 ms there).
    pub t1: Duration,
    /// Calls known at once at most, ended ones (kept for 64*T1) included; more are answered 503.
    pub calls_max: usize,
    /// What INVITE and BYE cost; `None`: nothing, they are answered at once.
    pub service: Option<Service>,
}

impl BackendOptions {
    /// A backend that answers at once and loses nothing.
    pub fn named(name: &str, listen: SocketAddr) -> Self {
        Self {
            listen,
            name: name.to_owned(),
            seed: 1,
            ring: (Duration::ZERO, Duration::ZERO),
            drop_per_mille: 0,
            refuse: None,
            t1: Duration::from_millis(500),
            calls_max: 1_000_000,
            service: None,
        }
    }

    /// # Errors
    /// `InvalidInput`, with what was found and what would be right.
    fn check(&self) -> io::Result<()> {
        let wrong = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if self.listen.ip().is_unspecified() {
            return wrong(format!("{}: Contact needs a concrete address", self.listen));
        }
        let line = |text: &str| !text.is_empty() && !text.contains(char::is_control);
        if !line(&self.name) {
            return wrong(format!("{:?}: a name is one line", self.name));
        }
        let refusal = |text: &str| {
            let code = text.split(' ').next().and_then(|code| code.parse::<u16>().ok());
            line(text) && code.is_some_and(|code| (300..700).contains(&code))
        };
        if let Some(refuse) = self.refuse.as_deref().filter(|text| !refusal(text)) {
            return wrong(format!("{refuse:?}: a status of 300 to 699, such as \"486 Busy Here\""));
        }
        if self.ring.0 > self.ring.1 {
            return wrong(format!(
                "ring {:?} to {:?}: the shortest first",
                self.ring.0, self.ring.1
            ));
        }
        if self.t1 < Duration::from_millis(1) || self.t1 > Duration::from_secs(10) {
            return wrong(format!("T1 {:?}: 1 ms to 10 s would be right", self.t1));
        }
        self.service.map_or(Ok(()), |service| service.check())
    }
}

/// A running backend. Dropping it ends it at once.
#[derive(Debug)]
pub struct Backend {
    life: Life,
    report: Arc<BackendReport>,
    address: SocketAddr,
    name: String,
}

#[derive(Debug)]
enum Life {
    Running(Engine<BackendAgent>),
    Killed(Box<Halted<BackendAgent>>),
    /// It could not be brought back.
    Over,
}

impl Backend {
    /// Opens the socket and answers from then on.
    ///
    /// # Errors
    /// `InvalidInput` for options out of their range; else what the kernel said of the socket or
    /// the threads.
    pub fn start(options: BackendOptions) -> io::Result<Self> {
        options.check()?;
        let socket = engine::open(options.listen)?;
        let address = socket.local_addr()?;
        let (report, name) = (Arc::new(BackendReport::default()), options.name.clone());
        let agent = BackendAgent::new(options, address, Arc::clone(&report));
        let life = Life::Running(Engine::start(&name, socket, agent)?);
        Ok(Self { life, report, address, name })
    }

    /// Closes its socket, with all that was not read yet: what is sent there is refused from now on,
    /// as after `kill -9`. Its calls are kept, as a database outside of it would keep them, until
    /// [`Backend::start_again`]. Without effect on one that does not run.
    pub fn kill(&mut self) {
        self.life = match std::mem::replace(&mut self.life, Life::Over) {
            Life::Running(engine) => {
                engine.halt().map_or(Life::Over, |halted| Life::Killed(Box::new(halted)))
            }
            other => other,
        };
    }

    /// Goes on after [`Backend::kill`], at the same address and with the calls of before. Without
    /// effect on one that runs.
    ///
    /// # Errors
    /// When the port has been taken meanwhile, and this can be tried again; when there are no
    /// threads, and it cannot.
    pub fn start_again(&mut self) -> io::Result<()> {
        if matches!(self.life, Life::Running(_)) {
            return Ok(());
        }
        let socket = engine::open(self.address)?;
        let Life::Killed(halted) = std::mem::replace(&mut self.life, Life::Over) else {
            return Err(io::Error::other(format!(
                "{} could not be brought back before",
                self.name
            )));
        };
        self.life = Life::Running(Engine::resume(&self.name, socket, *halted)?);
        Ok(())
    }

    /// Meets new calls in this manner from now on; calls that it has go on. Without effect on one that
    /// does not run.
    pub fn turn(&self, manner: Manner) {
        if let Life::Running(engine) = &self.life {
            engine.with(|agent| agent.turn(manner));
        }
    }

    /// The live report.
    pub fn report(&self) -> &Arc<BackendReport> {
        &self.report
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True if an INVITE with this Call-ID came here; forgotten 64*T1 after the end of the call.
    pub fn saw(&self, call_id: &str) -> bool {
        match &self.life {
            Life::Running(engine) => engine.with(|agent| agent.saw(call_id)),
            Life::Killed(halted) => halted.agent.saw(call_id),
            Life::Over => false,
        }
    }
}
