//! What is known of one name, and when it is looked up again.
//!
//! Each answer holds for its TTL, within [`Ttl`]; then it is asked for again, and only it. Where nobody
//! answers, the records of before go on to hold; where the whole comes to nothing, the addresses of
//! before do. Both are tried again after 1 s, then after twice as long each time, at most
//! [`RETRY_MAX_MS`]. Pure: times are arguments.
//!
//! 1. [`Name::ask`] says what to ask; none: go to 3.
//! 2. [`Name::answer`] takes each answer in; then again 1.
//! 3. [`Name::settle`] says what has changed, [`Name::due_ms`] when to begin anew.

use super::record::{Answer, Question, Record};
use super::walk::{Known, Outcome, Step, Target, walk};
use crate::config::Host;
use std::collections::HashMap;

/// From a failure to the next attempt at most, milliseconds.
pub(super) const RETRY_MAX_MS: u64 = 60_000;

/// From the first failure to the next attempt, milliseconds.
const RETRY_MIN_MS: u64 = 1_000;

/// What a TTL is held to, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Ttl {
    pub(in super::super) min_s: u32,
    pub(in super::super) max_s: u32,
}

impl Ttl {
    fn ms(self, ttl_s: u32) -> u64 {
        u64::from(ttl_s.clamp(self.min_s, self.max_s.max(self.min_s))) * 1000
    }
}

/// One name.
#[derive(Clone, Debug)]
pub(in super::super) struct Name {
    host: Host,
    answers: HashMap<Question, Kept>,
    targets: Vec<Target>,
    trouble: Option<String>,
    /// Walks since the last good one: some question failed, or there was no address.
    failures: u32,
    /// A question of the walk under way has failed.
    failed: bool,
    due_ms: u64,
}

/// The last answer to a question.
#[derive(Clone, Debug)]
struct Kept {
    /// `None`: it never had one.
    records: Option<Vec<Record>>,
    /// Why there is no newer one.
    failed: Option<String>,
    until_ms: u64,
}

/// What a walk has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Settled {
    /// The addresses have changed.
    pub(in super::super) changed: bool,
    /// The trouble has begun, ended, or become another.
    pub(in super::super) news: bool,
}

impl Name {
    /// Due at once.
    pub(in super::super) fn new(host: Host) -> Self {
        let (answers, targets) = (HashMap::new(), Vec::new());
        Self { host, answers, targets, trouble: None, failures: 0, failed: false, due_ms: 0 }
    }

    /// As if it had been looked up just now.
    #[cfg(test)]
    pub(super) fn with(host: Host, targets: &[Target]) -> Self {
        Self { targets: targets.to_vec(), ..Self::new(host) }
    }

    pub(in super::super) fn host(&self) -> &Host {
        &self.host
    }

    /// The last good addresses.
    pub(in super::super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Why they are not those of now, if so.
    pub(in super::super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// When it is to be looked up next.
    pub(in super::super) fn due_ms(&self) -> u64 {
        self.due_ms
    }

    /// What to ask next in a walk that began at `began_ms`; nothing: it is over.
    pub(in super::super) fn ask(&self, began_ms: u64) -> Vec<Question> {
        match self.walk(began_ms) {
            Step::Ask(questions) => questions,
            Step::Done(_) => Vec::new(),
        }
    }

    fn walk(&self, began_ms: u64) -> Step {
        walk(&self.host, |question| match self.answers.get(question) {
            Some(kept) if kept.until_ms > began_ms => kept.known(),
            _ => Known::Unknown,
        })
    }

    /// What came back to a question of [`Name::ask`].
    pub(in super::super) fn answer(
        &mut self,
        question: Question,
        answer: Answer,
        ttl: Ttl,
        now_ms: u64,
    ) {
        let (records, ttl_ms) = match answer {
            Answer::Records(records, ttl_s) => (records, ttl.ms(ttl_s)),
            Answer::Nothing(ttl_s) => (Vec::new(), ttl.ms(ttl_s.unwrap_or(0))),
            Answer::Failed(why) => {
                let fresh = Kept { records: None, failed: None, until_ms: 0 };
                let kept = self.answers.entry(question).or_insert(fresh);
                kept.failed = Some(why);
                kept.until_ms = now_ms + retry_ms(self.failures);
                self.failed = true;
                return;
            }
        };
        let kept = Kept { records: Some(records), failed: None, until_ms: now_ms + ttl_ms };
        self.answers.insert(question, kept);
    }

    /// Ends a walk.
    pub(in super::super) fn settle(&mut self, began_ms: u64, now_ms: u64) -> Settled {
        let Outcome { targets, used, trouble } = match self.walk(began_ms) {
            Step::Done(outcome) => outcome,
            Step::Ask(missing) => {
                let trouble = Some(format!("{} was not answered", missing[0]));
                Outcome { trouble, used: missing, ..Outcome::default() }
            }
        };
        self.answers.retain(|question, _| used.contains(question));
        let retry_ms = now_ms + retry_ms(self.failures);
        if targets.is_empty() {
            // All of it is asked again then: what is there now leads nowhere.
            self.answers.values_mut().for_each(|kept| kept.until_ms = kept.until_ms.min(retry_ms));
        }
        let bad = targets.is_empty() || self.failed;
        self.failures = if bad { self.failures.saturating_add(1) } else { 0 };
        self.failed = false;
        let first_ms = self.answers.values().map(|kept| kept.until_ms).min();
        self.due_ms = first_ms.unwrap_or(retry_ms).max(now_ms + 1);
        let changed = !targets.is_empty() && targets != self.targets;
        if changed {
            self.targets = targets;
        }
        let news = trouble != self.trouble;
        self.trouble = trouble;
        Settled { changed, news }
    }
}

impl Kept {
    fn known(&self) -> Known<'_> {
        match (&self.records, &self.failed) {
            (Some(records), Some(why)) => Known::Kept(records, why),
            (Some(records), None) => Known::Records(records),
            (None, Some(why)) => Known::Failed(why),
            (None, None) => Known::Unknown,
        }
    }
}

fn retry_ms(failures: u32) -> u64 {
    RETRY_MAX_MS.min(RETRY_MIN_MS << failures.min(16))
}

#[cfg(test)]
mod tests;
