//! From the addresses of names to backends: who is who, with which weight, in which tier.
//!
//! * A backend is called `NAME/ADDRESS:PORT`, so its identity is the same on every node and lasts for
//!   as long as its record does.
//! * Without SRV each has the configured weight. With SRV it has the weight of its record times the
//!   configured one; where that is more than 65 535 all of the name and priority are made smaller by
//!   the same factor. A record of weight 0 gets 1, next to nothing (RFC 2782); where all of a
//!   priority are 0 each has the configured weight.
//! * The priority of its record is added to the configured one.
//!
//! A record that cannot become a backend is left out, with the reason; the others are not touched.

use super::walk::Target;
use super::{Names, Origin};
use crate::config::{BackendConfig, NamedBackends, PoolConfig};
use crate::limits::BACKENDS_MAX;
use crate::pool::{BackendId, BackendSpec};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

/// What names come to.
#[derive(Debug, Default)]
pub(in super::super) struct Spread {
    /// Those of each pool, in the order of the config, then of their addresses.
    pub(in super::super) specs: Vec<Vec<BackendSpec>>,
    /// Where each comes from, by its name.
    pub(in super::super) origins: HashMap<String, Origin>,
    /// Who was left out, and why.
    pub(in super::super) left_out: BTreeMap<String, String>,
}

/// A backend that might be, with the priority of its record.
type Candidate = (BackendConfig, u16);

/// The backends of all names, beside those of each pool with an address. `there` are the names of all
/// backends of the fleet; `judge` says whether one can be reached.
pub(in super::super) fn spread(
    config: &[PoolConfig],
    names: &Names,
    fixed: &[Vec<BackendSpec>],
    there: &HashSet<&str>,
    judge: impl Fn(&BackendConfig) -> Result<BackendSpec, String>,
) -> Spread {
    let mut taken = Taken::new(fixed, there);
    let mut all = Spread::default();
    for (pool, fixed) in config.iter().zip(fixed) {
        taken.enter_pool(fixed);
        let mut specs = Vec::new();
        let of_name = |named| candidates(named, names.targets(&named.host));
        let candidates = pool
            .names
            .iter()
            .flat_map(|named| of_name(named).into_iter().map(move |one| (named, one)));
        for (named, (candidate, priority)) in candidates {
            match taken.check(&candidate).and_then(|()| judge(&candidate)) {
                Ok(mut spec) => {
                    spec.intake.priority = spec.intake.priority.saturating_add(priority);
                    taken.take(&candidate);
                    all.origins.insert(candidate.name, Origin(named.host.to_string()));
                    specs.push(spec);
                }
                Err(why) => drop(all.left_out.insert(candidate.name, why)),
            }
        }
        all.specs.push(specs);
    }
    all
}

/// What no two backends may share.
struct Taken {
    /// Within one pool.
    addresses: HashMap<SocketAddr, String>,
    identities: HashMap<BackendId, String>,
}

impl Taken {
    fn new(fixed: &[Vec<BackendSpec>], there: &HashSet<&str>) -> Self {
        let names =
            fixed.iter().flatten().map(|one| one.name.as_str()).chain(there.iter().copied());
        let identities = names.map(|name| (BackendId::of_name(name), name.to_owned())).collect();
        Self { addresses: HashMap::new(), identities }
    }

    fn enter_pool(&mut self, fixed: &[BackendSpec]) {
        self.addresses = fixed.iter().map(|one| (one.address, one.name.clone())).collect();
    }

    fn check(&self, one: &BackendConfig) -> Result<(), String> {
        if let Some(other) = self.addresses.get(&one.address) {
            return Err(format!("{} is the address of {other:?} already", one.address));
        }
        match self.identities.get(&BackendId::of_name(&one.name)) {
            Some(other) if *other != one.name => {
                Err(format!("{other:?} has the same hash: give one of them another name"))
            }
            None if self.identities.len() >= BACKENDS_MAX => Err(format!(
                "there are {BACKENDS_MAX} backends, those that are leaving counted, and no more \
                 are possible"
            )),
            _ => Ok(()),
        }
    }

    fn take(&mut self, one: &BackendConfig) {
        self.addresses.insert(one.address, one.name.clone());
        self.identities.insert(BackendId::of_name(&one.name), one.name.clone());
    }
}

fn candidates(named: &NamedBackends, targets: &[Target]) -> Vec<Candidate> {
    let mut heaviest = BTreeMap::<u16, u16>::new();
    for target in targets {
        let one = heaviest.entry(target.priority).or_default();
        *one = target.weight.unwrap_or_default().max(*one);
    }
    let candidate = |target: &Target| {
        let Target { address, priority, weight } = *target;
        let weight = match weight {
            Some(weight) => scaled(weight, heaviest[&priority], named.like.weight),
            None => named.like.weight,
        };
        let name = format!("{}/{address}", named.like.name);
        (BackendConfig { name, address, weight, ..named.like.clone() }, priority)
    };
    targets.iter().map(candidate).collect()
}

/// The weight of a record, `heaviest` being the highest of its priority.
fn scaled(weight: u16, heaviest: u16, configured: u16) -> u16 {
    if heaviest == 0 || configured == 0 {
        return configured;
    }
    let times = |weight: u16| u64::from(weight) * u64::from(configured);
    let most = u64::from(u16::MAX);
    let scaled = match times(heaviest) {
        highest if highest > most => times(weight) * most / highest,
        _ => times(weight),
    };
    scaled.max(1) as u16 // at most `most`
}

#[cfg(test)]
mod tests {
    use super::super::Known;
    use super::super::name::Name;
    use super::*;
    use crate::config::Host;
    use crate::pool::{Intake, Policy, State};

    fn like(name: &str, weight: u16) -> NamedBackends {
        let host = Host { name: name.to_owned(), port: None, transport: None };
        let address = "0.0.0.0:0".parse().expect("an address");
        let (state, sources) = (State::Ready, Vec::new());
        let intake = Intake::default();
        let like = BackendConfig { name: name.to_owned(), address, weight, state, sources, intake };
        NamedBackends { host, like }
    }

    fn pool(names: &[NamedBackends]) -> PoolConfig {
        let names = names.to_vec();
        PoolConfig { names, ..PoolConfig::new("default", Policy::CALL_ID_HASH, Vec::new()) }
    }

    fn named(all: &[(&Host, &[Target])]) -> Names {
        let known = |(host, targets): &(&Host, &[Target])| {
            ((*host).clone(), Known { name: Name::with((*host).clone(), targets), good: None })
        };
        Names { all: all.iter().map(known).collect(), ..Names::default() }
    }

    fn target(ip: u8, priority: u16, weight: Option<u16>) -> Target {
        Target { address: SocketAddr::from(([10, 0, 0, ip], 5060)), priority, weight }
    }

    fn spec(one: &BackendConfig) -> BackendSpec {
        BackendSpec {
            weight: one.weight,
            state: one.state,
            intake: Intake { priority: 100, ..Intake::default() },
            ..BackendSpec::new(&one.name, one.address)
        }
    }

    fn weights(configured: u16, of_records: &[(u16, u16)]) -> Vec<u16> {
        let one = |(n, &(priority, weight)): (usize, &(u16, u16))| {
            target(n as u8, priority, Some(weight))
        };
        let targets: Vec<_> = of_records.iter().enumerate().map(one).collect();
        candidates(&like("a", configured), &targets).iter().map(|(one, _)| one.weight).collect()
    }

    #[test]
    fn weights_of_records_are_multiplied_and_0_is_next_to_nothing() {
        assert_eq!(weights(1, &[(1, 60), (1, 30), (1, 0)]), [60, 30, 1]);
        assert_eq!(weights(3, &[(1, 60), (1, 30), (1, 0)]), [180, 90, 1]);
        assert_eq!(weights(0, &[(1, 60), (1, 0)]), [0, 0], "none is to take calls");
        assert_eq!(weights(7, &[(1, 0), (1, 0), (2, 5)]), [7, 7, 35], "each priority by itself");
    }

    #[test]
    fn weights_stay_in_proportion_at_the_edge() {
        assert_eq!(weights(1, &[(1, 65_535), (1, 1)]), [65_535, 1]);
        assert_eq!(weights(5, &[(1, 13_107), (1, 1)]), [65_535, 5]);
        assert_eq!(weights(5, &[(1, 13_108), (1, 6_554), (1, 1)]), [65_535, 32_767, 4]);
        assert_eq!(weights(65_535, &[(1, 65_535), (1, 2), (1, 1)]), [65_535, 2, 1]);
    }

    #[test]
    fn records_are_backends_with_lasting_names() {
        let config = [like("a.example.com", 2), like("b.example.com", 1)];
        let names = named(&[
            (&config[0].host, &[target(2, 0, None), target(3, 0, None)]),
            (&config[1].host, &[target(1, 7, Some(5)), target(3, 7, Some(5))]),
        ]);
        let pools = [pool(&config)];
        let all = spread(&pools, &names, &[vec![]], &HashSet::new(), |one| Ok(spec(one)));
        let shown =
            |one: &BackendSpec| format!("{} {} {}", one.name, one.weight, one.intake.priority);
        let shown: Vec<_> = all.specs[0].iter().map(shown).collect();
        assert_eq!(
            shown,
            [
                "a.example.com/10.0.0.2:5060 2 100",
                "a.example.com/10.0.0.3:5060 2 100",
                "b.example.com/10.0.0.1:5060 5 107",
            ]
        );
        let why = &all.left_out["b.example.com/10.0.0.3:5060"];
        assert!(why.contains("\"a.example.com/10.0.0.3:5060\""), "{why}");
        assert_eq!(all.origins["b.example.com/10.0.0.1:5060"], Origin("b.example.com".to_owned()));
    }

    #[test]
    fn who_cannot_be_a_backend_is_left_out_and_the_others_stay() {
        let config = [like("a", 1)];
        let targets = [target(1, 0, None), target(2, 0, None), target(3, 0, None)];
        let names = named(&[(&config[0].host, &targets)]);
        let mut fixed = spec(&config[0].like);
        (fixed.name, fixed.address) = ("b1".to_owned(), targets[0].address);
        let judge = |one: &BackendConfig| match one.address == targets[1].address {
            true => Err("no route".to_owned()),
            false => Ok(spec(one)),
        };
        let pools = [pool(&config), pool(&config[..0])];
        let all = spread(&pools, &names, &[vec![fixed], vec![]], &HashSet::new(), judge);
        assert_eq!((all.specs[0].len(), all.specs[1].len()), (1, 0));
        assert_eq!(
            all.left_out["a/10.0.0.1:5060"],
            "10.0.0.1:5060 is the address of \"b1\" already"
        );
        assert_eq!(all.left_out["a/10.0.0.2:5060"], "no route");
    }

    #[test]
    fn there_are_so_many_backends_and_no_more() {
        let config = [like("a", 1)];
        let names = named(&[(&config[0].host, &[target(1, 0, None), target(2, 0, None)])]);
        let there = |count: usize| (0..count).map(|n| format!("b{n}")).collect::<Vec<_>>();
        let spread = |there: &[String]| {
            let there = there.iter().map(String::as_str).collect();
            spread(&[pool(&config)], &names, &[vec![]], &there, |one| Ok(spec(one)))
        };
        assert_eq!(spread(&there(BACKENDS_MAX - 2)).specs[0].len(), 2);
        let all = spread(&there(BACKENDS_MAX - 1));
        assert_eq!(all.specs[0].len(), 1);
        assert!(all.left_out["a/10.0.0.2:5060"].contains("no more are possible"));
        let mut full = there(BACKENDS_MAX - 2);
        full.extend(["a/10.0.0.1:5060".to_owned(), "a/10.0.0.2:5060".to_owned()]);
        assert_eq!(spread(&full).specs[0].len(), 2, "who is there already takes no more room");
    }
}
