//! The policies that compete, as a pool's lines in the balancer's config file.

/// One policy, with what it needs.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    /// In tables and charts.
    pub(super) name: &'static str,
    /// Behind `[[pool]]`.
    pub(super) pool: &'static str,
    /// Worker threads: some policies keep their counts by worker.
    pub(super) workers: usize,
}

/// All of them, in the order of the tables.
pub(super) fn all() -> Vec<Contender> {
    let one = |name, pool| Contender { name, pool, workers: 1 };
    vec![
        one("call-id-hash", "policy = \"call-id-hash\""),
        one("call-id-hash/maglev", "policy = \"call-id-hash\"\nhash = \"maglev\""),
        one("call-id-hash/bound-1.25", "policy = \"call-id-hash\"\nbound = 1.25"),
        one("source-hash", "policy = \"source-hash\""),
        one("aor-hash", "policy = \"aor-hash\""),
        one("header-hash", "policy = \"header-hash\"\nheader = \"From\""),
        one("random", "policy = \"random\""),
        one("round-robin", "policy = \"round-robin\""),
        one("least-dialogs", "policy = \"least-dialogs\""),
        one("least-transactions", "policy = \"least-transactions\""),
        one("least-work", "policy = \"least-work\""),
        one("latency", "policy = \"latency\""),
        Contender { name: "least-work/4-workers", pool: "policy = \"least-work\"", workers: 4 },
    ]
}

/// Where this policy stands in the tables.
pub(super) fn place(name: &str) -> Option<usize> {
    all().iter().position(|contender| contender.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<&str> = all().iter().map(|c| c.name).collect();
        assert_eq!(names.len(), all().len());
    }
}
