//! Looks names up on the control thread: all of them at the start, and each one again when it is due.
//!
//! Each look-up of a name is a task; what came of it goes to the balancer in one piece.

use super::super::runtime::{Runtime, spawn};
use super::super::{Balancer, Failure};
use super::Names;
use super::lookup::Resolver;
use super::name::{Name, Settled, Ttl};
use super::record::Answer;
use crate::config::{Config, DnsConfig, Host};
use crate::io::os;
use crate::metrics::Lookups;
use std::collections::HashSet;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// How long the start waits for names.
const START: Duration = Duration::from_secs(3);

/// Until names of a reload are seen, milliseconds at most.
const LOOK_MS: u64 = 250;

/// Questions on their way at a time.
const QUESTIONS_MAX: usize = 32;

/// What came of the look-up of a name.
type Looked = (Name, Settled);

/// Looks up every name of the config, for as long as a start may wait. Those that are not done by then
/// stay due.
///
/// # Errors
/// When there is no ring for it.
pub(in super::super) fn at_start(
    config: &Config,
    lookups: &Arc<Lookups>,
) -> Result<Names, Failure> {
    let mut names = Names::default().following(config);
    let all = names.all.len();
    if all == 0 {
        return Ok(names);
    }
    let mut done = 0;
    let look = async {
        let mut desk = Desk::new(lookups.clone());
        let due: Vec<_> = names.all.values().map(|known| known.name.clone()).collect();
        desk.begin(due.into_iter(), &config.dns);
        while done < all {
            names.insert(desk.next().await.0, SystemTime::now());
            done += 1;
        }
    };
    if Runtime::new()?.block_on(async { timeout(START, look).await }).is_err() {
        let seconds = START.as_secs();
        tracing::warn!(
            "after {seconds} s {done} of {all} names of backends are looked up; starting without the others, \
             which get calls as soon as DNS says where they are"
        );
    }
    Ok(names)
}

/// Looks names up for as long as it is polled.
pub(in super::super) async fn watch(balancer: &Balancer) {
    let mut desk = Desk::new(balancer.lookups.clone());
    loop {
        let now_ms = os::now_ms();
        let (due, next_ms, dns) = balancer.names_due(now_ms, &desk.under_way);
        desk.begin(due.into_iter(), &dns);
        let pause_ms = next_ms.map_or(LOOK_MS, |next_ms| LOOK_MS.min(next_ms - now_ms));
        if let Ok((name, settled)) = timeout(Duration::from_millis(pause_ms), desk.next()).await {
            balancer.resolved(name, settled);
        }
    }
}

/// Where look-ups begin and end.
struct Desk {
    resolver: Option<Rc<Resolver>>,
    permits: Arc<Semaphore>,
    lookups: Arc<Lookups>,
    under_way: HashSet<Host>,
    sender: UnboundedSender<Looked>,
    ended: UnboundedReceiver<Looked>,
}

impl Desk {
    fn new(lookups: Arc<Lookups>) -> Self {
        let (sender, ended) = unbounded_channel();
        let (permits, under_way) = (Arc::new(Semaphore::new(QUESTIONS_MAX)), HashSet::new());
        Self { resolver: None, permits, lookups, under_way, sender, ended }
    }

    fn begin(&mut self, due: impl Iterator<Item = Name>, config: &DnsConfig) {
        let mut due = due.peekable();
        if due.peek().is_none() {
            return;
        }
        let resolver = match self.resolver.take().filter(|resolver| resolver.is_of(config)) {
            Some(resolver) => resolver,
            None => Rc::new(Resolver::new(config)),
        };
        let ttl = Ttl { min_s: config.ttl_min_s, max_s: config.ttl_max_s };
        for name in due {
            self.under_way.insert(name.host().clone());
            let sender = self.sender.clone();
            let (permits, lookups) = (self.permits.clone(), self.lookups.clone());
            let looked = look_up(name, ttl, resolver.clone(), permits, lookups);
            spawn(async move { drop(sender.send(looked.await)) }); // nobody hears it: we end
        }
        self.resolver = Some(resolver);
    }

    /// The next that has ended; it waits for ever if none is under way.
    async fn next(&mut self) -> Looked {
        match self.ended.recv().await {
            Some(looked) => {
                self.under_way.remove(looked.0.host());
                looked
            }
            None => pending().await, // never: we hold a sender
        }
    }
}

/// One look-up of one name.
async fn look_up(
    mut name: Name,
    ttl: Ttl,
    resolver: Rc<Resolver>,
    permits: Arc<Semaphore>,
    lookups: Arc<Lookups>,
) -> Looked {
    let began_ms = os::now_ms();
    loop {
        let questions = name.ask(began_ms);
        if questions.is_empty() {
            let settled = name.settle(began_ms, os::now_ms());
            return (name, settled);
        }
        let (sender, mut answers) = unbounded_channel();
        for question in questions {
            let (resolver, permits, sender) = (resolver.clone(), permits.clone(), sender.clone());
            spawn(async move {
                let _permit = permits.acquire().await;
                let answer = resolver.ask(&question).await;
                let _ = sender.send((question, answer)); // the look-up may have been given up
            });
        }
        drop(sender);
        while let Some((question, answer)) = answers.recv().await {
            match answer {
                Answer::Records(..) => lookups.answered.increment(),
                Answer::Nothing(_) => lookups.negative.increment(),
                Answer::Failed(_) => lookups.failed.increment(),
            }
            name.answer(question, answer, ttl, os::now_ms());
        }
    }
}
