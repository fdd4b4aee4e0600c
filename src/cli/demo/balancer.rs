//! The balancer of the demo: the product itself, in this process, on a config file of its own.

use super::file::{ConfigFile, Wishes, add_backend};
use super::front::{BackendStanding, Edit, Event, Front, Standing, State};
use crate::cli::Arguments;
use crate::control::fleet::{Fleet, Member};
use crate::control::{Admin, Balancer, Failure, Loader, Prober};
use crate::metrics::{Cell, Cells};
use crate::pool::health::FULL_SHARE;
use std::net::SocketAddr;
use std::sync::Arc;

/// Starts, each with other ports: somebody may take one between the look and the start.
const STARTS: u16 = 3;

/// The mistake of the broken file.
const MISTAKE: &str = "wieght = 2\n";

/// A balancer in this process.
pub(super) struct RealBalancer {
    /// Ends before the balancer does.
    prober: Prober,
    balancer: Arc<Balancer>,
    address: SocketAddr,
    load: Loader,
    file: ConfigFile,
    /// The good text of the file.
    text: String,
    /// Events that have been told.
    told: u64,
}

impl RealBalancer {
    /// Starts it on free loopback ports.
    pub(super) fn start(pool: &[(String, SocketAddr)], wishes: Wishes) -> Result<Self, Failure> {
        let file = ConfigFile::new();
        let mut failure = Failure::unavailable("no free UDP ports on 127.0.0.1");
        for attempt in 0..STARTS {
            let Some(mut text) = wishes.text(attempt) else { continue };
            pool.iter().for_each(|(name, address)| add_backend(&mut text, name, *address));
            // As `sipring run --config` does.
            let arguments = Arguments::of_file(file.path().to_owned());
            let loaded = file.with(&text, || arguments.reload()).map_err(|e| no_file(&e))?;
            let loaded = loaded.map_err(Failure::config)?;
            match Balancer::start(loaded.config) {
                Ok(balancer) => return Self::of(balancer, arguments, file, text),
                Err(e) if e.exit == Failure::UNAVAILABLE => failure = e,
                Err(e) => return Err(e),
            }
        }
        Err(failure)
    }

    fn of(
        balancer: Balancer,
        arguments: Arguments,
        file: ConfigFile,
        text: String,
    ) -> Result<Self, Failure> {
        let address = balancer.listeners().first().copied();
        let address = address.ok_or_else(|| Failure::run_time("the balancer listens nowhere"))?;
        let balancer = Arc::new(balancer);
        let prober = Prober::start(balancer.clone())?;
        let load: Loader = Box::new(move || arguments.reload());
        Ok(Self { prober, balancer, address, load, file, text, told: 0 })
    }

    /// One line: where it listens and forwards.
    pub(super) fn summary(&self) -> String {
        self.balancer.summary()
    }

    /// Ends it.
    pub(super) fn stop(self) {
        drop(self.prober);
        if let Some(balancer) = Arc::into_inner(self.balancer) {
            balancer.stop();
        }
    }
}

impl Front for RealBalancer {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn set_drained(&mut self, backend: &str, drained: bool) -> Result<(), Failure> {
        let admin = if drained { Admin::Drain } else { Admin::Ready };
        self.balancer.set_admin(backend, admin, "the demo's script")
    }

    /// Through the door of HUP.
    fn reload(&mut self, edit: Edit<'_>) -> Result<Vec<String>, String> {
        let text = match edit {
            Edit::Add(name, address) => {
                add_backend(&mut self.text, name, address);
                self.text.clone()
            }
            Edit::Break => format!("{}{MISTAKE}", self.text),
        };
        let reloaded = self.file.with(&text, || self.balancer.load_again(&self.load));
        let reloaded = reloaded.map_err(|e| no_file(&e).text)??;
        Ok(reloaded.diff.to_string().lines().map(str::to_owned).collect())
    }

    fn look(&mut self) -> Standing {
        self.balancer.look();
        let reloads = self.balancer.reloads();
        let cells = self.balancer.cells();
        let sum = |of: fn(&Cells) -> u64| cells.iter().map(|cells| of(cells)).sum();
        Standing {
            drops: sum(drops),
            failed_over: sum(|cells| cells.failovers.iter().map(Cell::value).sum()),
            reloads: reloads.succeeded.value(),
            refused: reloads.failed.value(),
            generation: reloads.generation.value(),
            backends: self.balancer.with_fleet(backends),
            events: self.balancer.with_fleet(|fleet| events(fleet, &mut self.told)),
        }
    }

    fn failed(&self) -> bool {
        self.balancer.failed()
    }
}

/// Whatever was thrown away, by the core or because something was full.
fn drops(cells: &Cells) -> u64 {
    let full = [&cells.truncated, &cells.handoff_full, &cells.send_errors, &cells.send_full];
    let by_reason: u64 = cells.dropped.iter().map(Cell::value).sum();
    by_reason + full.into_iter().map(Cell::value).sum::<u64>()
}

fn backends(fleet: &Fleet) -> Vec<BackendStanding> {
    let state = |member: &Member| match (member.up.value, member.admin.value) {
        (false, _) => State::Down,
        (true, Admin::Drain | Admin::Maint) => State::Drained,
        (true, Admin::Ready) if member.share() < FULL_SHARE => State::SlowStart,
        (true, Admin::Ready) => State::Up,
    };
    let members = fleet.members().iter().filter(|member| member.leaving.is_none());
    let standing =
        |member: &Member| BackendStanding { name: member.spec.name.clone(), state: state(member) };
    members.map(standing).collect()
}

/// Those that have not been told; they are now.
fn events(fleet: &Fleet, told: &mut u64) -> Vec<Event> {
    let noted = fleet.noted();
    let new = (noted - std::mem::replace(told, noted)) as usize;
    let mut events: Vec<_> = fleet.events().rev().take(new).collect();
    events.reverse();
    let event = |event: &crate::control::fleet::Event| Event {
        backend: event.backend.clone(),
        what: event.what.clone(),
        why: format!("{}, by {}", event.reason, event.who),
    };
    events.into_iter().map(event).collect()
}

fn no_file(error: &std::io::Error) -> Failure {
    let place = std::env::temp_dir();
    let place = place.display();
    Failure::unavailable(format!("the demo's config file needs a directory under {place}: {error}"))
}
