//! What may be asked of the running balancer from outside, by signal or by API, done and logged.

use super::Balancer;
use super::reload::Reloaded;
use crate::config::Loaded;
use crate::pool::BackendId;
use crate::worker::Answer;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Loads the configuration again, the flags of the command line included; or says why not, in words
/// for the log.
pub type Loader = Box<dyn Fn() -> Result<Loaded, String> + Send + Sync>;

/// How long the workers have to say whether there is a pin.
const PATIENCE: Duration = Duration::from_secs(2);

/// A balancer and how to load its configuration again.
pub(super) struct Operator {
    pub(super) balancer: Balancer,
    load: Loader,
}

impl Operator {
    pub(super) fn new(balancer: Balancer, load: Loader) -> Self {
        Self { balancer, load }
    }

    /// Loads the configuration again and takes it over.
    ///
    /// # Errors
    /// Why everything stays as it was; the log has it already.
    pub(super) fn reload(&self) -> Result<Reloaded, String> {
        self.balancer.load_again(&self.load)
    }

    /// The backend of a Call-ID's pin, asked of the worker that owns it. `Err`: a worker does not
    /// answer.
    pub(super) async fn pinned(&self, call_id: &[u8]) -> Result<Option<BackendId>, ()> {
        let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
        let answer: Answer = Arc::new(move |pin| {
            let _ = sender.send(pin); // who asked may have gone
        });
        self.balancer.ask(call_id, &answer);
        drop(answer);
        let first = async {
            for _ in 0..self.balancer.cells().len() {
                if let Some(pin) = answers.recv().await.ok_or(())? {
                    return Ok(Some(pin));
                }
            }
            Ok(None)
        };
        tokio::time::timeout(PATIENCE, first).await.unwrap_or(Err(()))
    }
}

impl Balancer {
    /// Loads the configuration again and takes it over: what HUP and `ctl reload` do.
    ///
    /// # Errors
    /// Why everything stays as it was; the log has it already.
    pub fn load_again(&self, load: &Loader) -> Result<Reloaded, String> {
        let loaded = load().inspect_err(|text| self.refuse_reload(text));
        let result = loaded.and_then(|loaded| {
            if !loaded.warnings.is_empty() {
                tracing::warn!("{}", loaded.warnings.render(false).trim_end());
            }
            self.reload(&loaded.config).map_err(|failure| failure.text)
        });
        match &result {
            Ok(reloaded) => say(reloaded),
            Err(text) => {
                tracing::error!("reload refused, everything stays as it was: {}", text.trim_end());
            }
        }
        result
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator").field("balancer", &self.balancer).finish_non_exhaustive()
    }
}

fn say(Reloaded { diff, generation, warnings }: &Reloaded) {
    let changes = diff.live.len();
    tracing::info!("reloaded: {changes} changes; this is configuration {generation}");
    diff.live.iter().for_each(|change| tracing::info!("reload: {change}"));
    for change in &diff.restart {
        tracing::warn!("reload: left as it was, for it needs a restart: {change}");
    }
    warnings.iter().for_each(|warning| tracing::warn!("reload: {warning}"));
}
