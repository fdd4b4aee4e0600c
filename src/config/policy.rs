//! `policy`, `hash`, `header` and `bound` of a pool: how its new calls are spread.

use super::PoolConfig;
use super::file::RawPool;
use super::reader::At;
use super::report::{Place, Problem, Report};
use super::values::{Fault, one_of};
use crate::pool::{HashKey, HashTable, Policy};

/// Every policy by its name; those by hash with the table that is the default.
const POLICIES: [(&str, Policy); 10] = [
    ("call-id-hash", by_hash(HashKey::CallId)),
    ("source-hash", by_hash(HashKey::Source)),
    ("aor-hash", by_hash(HashKey::Aor)),
    ("header-hash", by_hash(HashKey::Header)),
    ("round-robin", Policy::RoundRobin),
    ("random", Policy::Random),
    ("least-dialogs", Policy::LeastDialogs),
    ("least-transactions", Policy::LeastTransactions),
    ("least-work", Policy::LeastWork),
    ("latency", Policy::Latency),
];

const TABLES: [(&str, HashTable); 2] =
    [("rendezvous", HashTable::Rendezvous), ("maglev", HashTable::Maglev)];

const fn by_hash(key: HashKey) -> Policy {
    Policy::Hash { key, table: HashTable::Rendezvous }
}

/// `policy`, of the file or the flag.
pub(super) fn policy(text: &str) -> Result<Policy, Fault> {
    one_of("policy", text, &POLICIES)
}

/// `hash`.
pub(super) fn table(text: &str) -> Result<HashTable, Fault> {
    one_of("hash", text, &TABLES)
}

/// The name of a policy, and of the table of one by hash.
pub(super) fn name(policy: Policy) -> (&'static str, Option<&'static str>) {
    let (plain, table) = match policy {
        Policy::Hash { key, table } => (by_hash(key), Some(table)),
        other => (other, None),
    };
    let word = POLICIES.iter().find(|(_, known)| *known == plain).map_or("", |(word, _)| word);
    let of = |table| TABLES.iter().find(|(_, known)| *known == table).map(|(word, _)| *word);
    (word, table.and_then(of))
}

impl PoolConfig {
    /// Its policy, with what goes with it.
    pub fn policy_in_words(&self) -> String {
        let (name, table) = name(self.policy);
        let header = self.hash_header.as_ref().map(|header| format!(" of {header}"));
        let table = table.map(|table| format!(" ({table})"));
        [name, &header.unwrap_or_default(), &table.unwrap_or_default()].concat()
    }
}

/// The policy of a pool; notes what does not go with it.
pub(super) fn of_pool(pool: &RawPool, report: &mut Report) -> Policy {
    let named = pool.policy.map_or(Policy::CALL_ID_HASH, |at| at.value);
    let beside = [
        ("hash", pool.hash.map(|at| at.place), named.is_hash(), "the policies by hash"),
        ("bound", pool.bound_percent.map(|at| at.place), named.is_hash(), "the policies by hash"),
        ("header", pool.header.as_ref().map(|at| at.place), goes_by_header(named), "header-hash"),
    ];
    for (key, place, fits, with) in beside {
        if let (Some(place), false) = (place, fits) {
            report.add(without_use(key, place, with, pool, report));
        }
    }
    if goes_by_header(named) && pool.header.is_none() {
        report.add(
            Problem::error("header-hash goes by a header field, and none is named")
                .at(pool.policy.map(|at| at.place), "which one?")
                .help("add a line such as: header = \"X-Tenant\""),
        );
    }
    match (named, pool.hash) {
        (Policy::Hash { key, .. }, Some(At { value: table, .. })) => Policy::Hash { key, table },
        (policy, _) => policy,
    }
}

pub(super) fn goes_by_header(policy: Policy) -> bool {
    matches!(policy, Policy::Hash { key: HashKey::Header, .. })
}

/// A key that this policy makes no use of.
fn without_use(key: &str, place: Place, with: &str, pool: &RawPool, report: &Report) -> Problem {
    let title = format!("`{key}` goes with {with} only");
    // A flag tries another policy on a file that is right by itself.
    let overridden = pool.policy.is_some_and(|policy| report.is_flag(policy.place));
    let problem = if overridden { Problem::warning(title) } else { Problem::error(title) };
    let problem =
        problem.at(place, if overridden { "without effect" } else { "remove it, or the policy" });
    let named = pool.policy.map_or(Policy::CALL_ID_HASH, |at| at.value);
    match pool.policy {
        Some(policy) => problem.at(policy.place, format!("the policy is {}", name(named).0)),
        None => problem.help(format!("the policy is {} by default", name(named).0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_shown_as_it_is_read() {
        for (word, read) in POLICIES {
            assert_eq!((policy(word), name(read).0), (Ok(read), word));
        }
        let maglev = Policy::Hash { key: HashKey::Aor, table: HashTable::Maglev };
        assert_eq!(name(maglev), ("aor-hash", Some("maglev")));
        assert_eq!(name(Policy::Random), ("random", None));
    }

    #[test]
    fn a_misspelt_policy_is_told_the_nearest() {
        let help = |text| policy(text).unwrap_err().help.expect("a help");
        assert!(help("least-dialog").starts_with("did you mean \"least-dialogs\"? they are "));
        assert!(help("weighted").starts_with("they are \"call-id-hash\", "));
    }
}
