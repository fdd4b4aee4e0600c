//! The pool from outside: who moves when the pool changes, shares by weight, look-ups, and the
//! values that may never change.

use sipring::pool::{
    BackendId, BackendSlot, BackendSpec, CallHash, GroupIndex, GroupSpec, Policy, Pool, PoolError,
    State, Turn,
};
use std::net::SocketAddr;

const SEED: u64 = 42;
const HASH_POLICIES: [Policy; 2] = [Policy::CALL_ID_HASH, Policy::CALL_ID_HASH_MAGLEV];
const ALL_POLICIES: [Policy; 8] = [
    Policy::CALL_ID_HASH,
    Policy::CALL_ID_HASH_MAGLEV,
    Policy::RoundRobin,
    Policy::Random,
    Policy::LeastDialogs,
    Policy::LeastTransactions,
    Policy::LeastWork,
    Policy::Latency,
];
const SIZES: [usize; 6] = [3, 16, 17, 26, 100, 1000];

/// What Maglev may move beside the share of the backend that went, as a part of all calls.
const MAGLEV_EXTRA_MAX: f64 = 0.01;

/// Two names with one identity, found by trying.
const TWINS: (&str, &str) = ("twin-171324", "twin-186928");

fn spec(i: usize) -> BackendSpec {
    BackendSpec::new(
        &format!("proxy-{i}"),
        format!("10.{}.{}.{}:5060", i >> 16, i >> 8 & 255, i & 255).parse().unwrap(),
    )
}

fn specs(count: usize) -> Vec<BackendSpec> {
    (0..count).map(spec).collect()
}

fn weighted(weights: &[u16]) -> Vec<BackendSpec> {
    let spec = |(i, weight): (usize, &u16)| BackendSpec { weight: *weight, ..spec(i) };
    weights.iter().enumerate().map(spec).collect()
}

/// `count` backends with weights from 1 to 7.
fn mixed(count: usize) -> Vec<BackendSpec> {
    weighted(&(0..count).map(|i| (i * 5 % 7 + 1) as u16).collect::<Vec<_>>())
}

/// Every size with equal and with mixed weights.
fn pools() -> impl Iterator<Item = Vec<BackendSpec>> {
    SIZES.into_iter().flat_map(|size| [specs(size), mixed(size)])
}

fn build(specs: &[BackendSpec], policy: Policy) -> Pool {
    Pool::build(specs.to_vec(), policy, SEED).unwrap()
}

fn build_with_leaving(
    all: &[BackendSpec],
    leaving: &BackendSpec,
    policy: Policy,
) -> Result<Pool, PoolError> {
    let group = GroupSpec::new("default", policy, all.to_vec());
    Pool::build_groups(&[GroupSpec { leaving: vec![leaving.clone()], ..group }], Vec::new(), SEED)
}

fn choose(
    pool: &Pool,
    call: CallHash,
    excluded: &[BackendSlot],
    turn: &mut Turn,
) -> Option<BackendSlot> {
    pool.choose(GroupIndex(0), call, excluded, &(), turn).slot()
}

fn call_ids(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|i| format!("{i:08x}-a84b4c76e66710@198.51.100.7"))
}

/// Where the calls with these Call-IDs go.
fn placed(pool: &Pool, count: usize) -> Vec<BackendId> {
    let mut turn = Turn::default();
    let place = |call_id: String| {
        let slot = choose(pool, pool.call_hash(call_id.as_bytes()), &[], &mut turn).unwrap();
        pool.backend(slot).id
    };
    call_ids(count).map(place).collect()
}

/// Calls to check with: fewer where each of them asks a thousand backends.
fn calls_for(backends: &[BackendSpec]) -> usize {
    if backends.len() < 1000 { 20_000 } else { 6_000 }
}

/// One hash in each of 65 537 equal parts of the range, so that no Maglev entry is left out.
fn placed_evenly(pool: &Pool) -> Vec<BackendId> {
    let step = u64::MAX / 65_537;
    let mut turn = Turn::default();
    let mut place = |i| choose(pool, CallHash(i * step + step / 2), &[], &mut turn).unwrap();
    (0..65_537).map(|i| pool.backend(place(i)).id).collect()
}

/// Some places in a list: the ends, and some between.
fn samples(backends: &[BackendSpec]) -> Vec<usize> {
    let count = backends.len();
    let mut samples = vec![0, count / 3, count / 2, count - 1];
    samples.dedup();
    samples
}

fn id(spec: &BackendSpec) -> BackendId {
    BackendId::of_name(&spec.name)
}

/// Calls that changed hands though `gone` had no part in it.
fn moved_besides(gone: BackendId, before: &[BackendId], after: &[BackendId]) -> usize {
    assert!(!after.contains(&gone), "calls still go to the backend that is gone");
    before.iter().zip(after).filter(|(old, new)| old != new && **old != gone).count()
}

#[test]
fn rendezvous_moves_only_the_calls_of_a_removed_backend() {
    for all in pools() {
        let before = placed(&build(&all, Policy::CALL_ID_HASH), calls_for(&all));
        for removed in samples(&all) {
            let mut rest = all.clone();
            let gone = id(&rest.remove(removed));
            let after = placed(&build(&rest, Policy::CALL_ID_HASH), calls_for(&all));
            assert_eq!(moved_besides(gone, &before, &after), 0, "N={}, {removed}", all.len());
        }
    }
}

#[test]
fn maglev_moves_at_most_one_percent_beside_the_share_of_a_removed_backend() {
    for all in pools() {
        let before = placed_evenly(&build(&all, Policy::CALL_ID_HASH_MAGLEV));
        for removed in samples(&all) {
            let mut rest = all.clone();
            let gone = id(&rest.remove(removed));
            let after = placed_evenly(&build(&rest, Policy::CALL_ID_HASH_MAGLEV));
            let part = moved_besides(gone, &before, &after) as f64 / before.len() as f64;
            assert!(part <= MAGLEV_EXTRA_MAX, "N={} without {removed}: {part:.4}", all.len());
        }
    }
}

#[test]
fn maglev_without_its_heaviest_backend_moves_little_else() {
    let mut all = weighted(&[1, 2, 500, 3, 1, 2, 3, 4]);
    let before = placed_evenly(&build(&all, Policy::CALL_ID_HASH_MAGLEV));
    let gone = id(&all.remove(2));
    let after = placed_evenly(&build(&all, Policy::CALL_ID_HASH_MAGLEV));
    let part = moved_besides(gone, &before, &after) as f64 / before.len() as f64;
    assert!(part <= MAGLEV_EXTRA_MAX, "{part:.4}");
}

#[test]
fn draining_or_losing_a_backend_moves_only_its_own_calls() {
    for (policy, all) in HASH_POLICIES.iter().flat_map(|p| pools().map(move |all| (*p, all))) {
        let before = placed(&build(&all, policy), calls_for(&all));
        for (i, state) in samples(&all).into_iter().zip([State::Drained, State::Down].repeat(2)) {
            let mut changed = all.clone();
            changed[i].state = state;
            let after = placed(&build(&changed, policy), calls_for(&all));
            assert_eq!(moved_besides(id(&all[i]), &before, &after), 0, "{policy:?}, {}", all.len());
        }
    }
}

#[test]
fn a_second_drained_backend_moves_only_its_own_calls() {
    for policy in HASH_POLICIES {
        let mut all = mixed(16);
        all[3].state = State::Drained;
        let before = placed_evenly(&build(&all, policy));
        all[9].state = State::Down;
        let after = placed_evenly(&build(&all, policy));
        assert_eq!(moved_besides(id(&all[9]), &before, &after), 0, "{policy:?}");
    }
}

#[test]
fn the_calls_of_a_drained_maglev_backend_spread_over_the_others_by_weight() {
    let mut all = weighted(&[6, 1, 2, 3, 4]);
    let before = placed_evenly(&build(&all, Policy::CALL_ID_HASH_MAGLEV));
    all[0].state = State::Drained;
    let after = placed_evenly(&build(&all, Policy::CALL_ID_HASH_MAGLEV));
    let moved: Vec<_> =
        before.iter().zip(&after).filter(|(a, b)| a != b).map(|(_, new)| *new).collect();
    for other in &all[1..] {
        let calls = moved.iter().filter(|new| **new == id(other)).count();
        let tenths = calls as f64 / moved.len() as f64 * 10.0;
        assert!((tenths - f64::from(other.weight)).abs() < 0.2, "{}: {tenths}", other.name);
    }
}

#[test]
fn a_reordered_list_moves_none() {
    for policy in HASH_POLICIES {
        for all in SIZES.map(mixed) {
            let before = placed(&build(&all, policy), 5_000);
            let mut other = all.clone();
            other.reverse();
            assert!(before == placed(&build(&other, policy), 5_000), "{policy:?} reversed");
            other.rotate_left(all.len() / 3);
            assert!(before == placed(&build(&other, policy), 5_000), "{policy:?} rotated");
        }
    }
}

#[test]
fn a_new_address_moves_none() {
    for policy in HASH_POLICIES {
        let mut all = specs(16);
        let before = placed(&build(&all, policy), 5_000);
        all[3].address = "192.0.2.1:5080".parse().unwrap();
        assert!(before == placed(&build(&all, policy), 5_000), "{policy:?}");
    }
}

/// The sum over the backends of (calls - due)^2 / due: about the number of backends less one,
/// where chance spreads the calls in the due proportion.
fn chi_square(all: &[BackendSpec], calls: &[BackendId]) -> f64 {
    let sum: f64 = all.iter().map(|spec| f64::from(spec.weight)).sum();
    let term = |spec: &BackendSpec| {
        let due = calls.len() as f64 * f64::from(spec.weight) / sum;
        let got = calls.iter().filter(|call| **call == id(spec)).count() as f64;
        (got - due).powi(2) / due
    };
    all.iter().map(term).sum()
}

#[test]
fn weights_give_proportional_shares() {
    let cases: [&[u16]; 6] = [
        &[1; 3],
        &[1; 16],
        &[9; 100],
        &[1, 2, 3, 4],
        &[100, 100, 1, 50],
        &[65_535, 30_000, 65_535, 20_000, 1_000, 7_000, 60_000],
    ];
    for (policy, weights) in HASH_POLICIES.iter().flat_map(|p| cases.map(|weights| (*p, weights))) {
        let all = weighted(weights);
        let freedom = (weights.len() - 1) as f64;
        let bound = freedom + 4.0 * (2.0 * freedom).sqrt();
        let chi_square = chi_square(&all, &placed(&build(&all, policy), 200_000));
        assert!(chi_square < bound, "{policy:?} {weights:?}: {chi_square:.1} over {bound:.1}");
    }
}

#[test]
fn round_robin_is_exact_over_a_whole_row() {
    let all = weighted(&[3, 1, 0, 2]);
    let calls = placed(&build(&all, Policy::RoundRobin), 600);
    for spec in &all {
        let got = calls.iter().filter(|call| **call == id(spec)).count();
        assert_eq!(got, usize::from(spec.weight) * 100);
    }
}

#[test]
fn round_robin_with_equal_weights_rotates_in_the_order_of_the_config() {
    let pool = build(&specs(3), Policy::RoundRobin);
    let mut turn = Turn(0);
    let call = pool.call_hash(b"any");
    let row: Vec<_> = (0..7).map(|_| choose(&pool, call, &[], &mut turn).unwrap().0).collect();
    assert_eq!(row, [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn round_robin_goes_on_behind_the_one_it_chose() {
    let pool = build(&specs(4), Policy::RoundRobin);
    let (call, mut turn) = (pool.call_hash(b"any"), Turn(0));
    let mut next = |excluded: &[BackendSlot]| choose(&pool, call, excluded, &mut turn).unwrap().0;
    assert_eq!(next(&[BackendSlot(0), BackendSlot(1)]), 2);
    assert_eq!(next(&[]), 3);
    assert_eq!(next(&[]), 0);
}

#[test]
fn a_turn_of_a_longer_row_is_taken_over() {
    let pool = build(&specs(5), Policy::RoundRobin);
    let mut turn = Turn(u64::MAX);
    let slot = choose(&pool, pool.call_hash(b"any"), &[], &mut turn).unwrap();
    assert_eq!(u64::from(slot.0), u64::MAX % 5);
}

#[test]
fn weight_zero_drained_and_down_take_no_new_calls() {
    for policy in ALL_POLICIES {
        let mut all = weighted(&[0, 1, 1, 1]);
        all[1].state = State::Drained;
        all[2].state = State::Down;
        let calls = placed(&build(&all, policy), 1000);
        assert!(calls.iter().all(|call| *call == id(&all[3])), "{policy:?}");
        all[3].state = State::Drained;
        let pool = build(&all, policy);
        assert_eq!(choose(&pool, pool.call_hash(b"x"), &[], &mut Turn(0)), None, "{policy:?}");
        assert!(!pool.backends().iter().any(|backend| backend.takes_new_calls()));
    }
}

#[test]
fn an_empty_pool_has_nobody() {
    for policy in ALL_POLICIES {
        let pool = build(&[], policy);
        assert_eq!(choose(&pool, pool.call_hash(b"x"), &[], &mut Turn(0)), None);
        assert_eq!(pool.by_id(BackendId(0)), None);
        assert_eq!(pool.by_source("127.0.0.1:5060".parse().unwrap()), None);
    }
}

#[test]
fn excluded_backends_are_passed_over() {
    for policy in ALL_POLICIES {
        let pool = build(&mixed(5), policy);
        let slots: Vec<_> = (0..5).map(BackendSlot).collect();
        for call_id in call_ids(500) {
            let call = pool.call_hash(call_id.as_bytes());
            for count in 0..5 {
                let slot = choose(&pool, call, &slots[..count], &mut Turn(7)).unwrap();
                assert!(usize::from(slot.0) >= count, "{policy:?} chose {slot:?}");
            }
            assert_eq!(choose(&pool, call, &slots, &mut Turn(7)), None, "{policy:?}");
        }
    }
}

#[test]
fn excluding_others_leaves_a_call_where_it_was() {
    for policy in HASH_POLICIES {
        let pool = build(&specs(16), policy);
        for call_id in call_ids(500) {
            let call = pool.call_hash(call_id.as_bytes());
            let slot = choose(&pool, call, &[], &mut Turn(0)).unwrap();
            let others: Vec<_> = (0..16).map(BackendSlot).filter(|other| *other != slot).collect();
            assert_eq!(choose(&pool, call, &others[..5], &mut Turn(0)), Some(slot));
            assert_eq!(choose(&pool, call, &others, &mut Turn(0)), Some(slot));
        }
    }
}

#[test]
fn an_exclusion_named_twice_counts_once() {
    for policy in ALL_POLICIES {
        let pool = build(&specs(2), policy);
        let twice = [BackendSlot(0), BackendSlot(0)];
        let slot = choose(&pool, pool.call_hash(b"x"), &twice, &mut Turn(0));
        assert_eq!(slot, Some(BackendSlot(1)), "{policy:?}");
    }
}

#[test]
fn another_seed_places_calls_elsewhere() {
    let [one, two] = [1, 2].map(|seed| Pool::build(specs(16), Policy::CALL_ID_HASH, seed).unwrap());
    let same = placed(&one, 4000).iter().zip(placed(&two, 4000)).filter(|(a, b)| *a == b).count();
    assert!((150..350).contains(&same), "{same} of 4000, by chance 250");
}

#[test]
fn backends_are_found_by_identity_and_address() {
    let pool = build(&specs(26), Policy::CALL_ID_HASH);
    for (i, backend) in pool.backends().iter().enumerate() {
        let slot = BackendSlot(i as u16);
        assert_eq!(pool.by_id(BackendId::of_name(&format!("proxy-{i}"))), Some(slot));
        assert_eq!(pool.by_address(backend.spec.address), Some(slot));
        assert_eq!(pool.backend(slot).id, backend.id);
    }
    assert_eq!(pool.by_id(BackendId::of_name("stranger")), None);
    assert_eq!(pool.by_address("10.0.0.1:5061".parse().unwrap()), None);
}

#[test]
fn a_source_is_the_exact_address_first_and_then_the_first_network_of_the_config() {
    let networks: [&[&str]; 5] = [
        &["10.0.0.0/8"],
        &["192.0.2.7/32", "2001:db8::/32"],
        &["192.0.2.0/24"],
        &["192.0.2.7/32"],
        &[],
    ];
    let with_sources = |(i, sources): (usize, &&[&str])| BackendSpec {
        sources: sources.iter().map(|network| network.parse().unwrap()).collect(),
        ..spec(i)
    };
    let all: Vec<_> = networks.iter().enumerate().map(with_sources).collect();
    let find = |all: &[BackendSpec], source: &str| {
        let source: SocketAddr = source.parse().unwrap();
        build(all, Policy::CALL_ID_HASH).by_source(source).map(|slot| slot.0)
    };
    assert_eq!(find(&all, "10.0.0.4:5060"), Some(4), "the address itself");
    assert_eq!(find(&all, "10.0.0.4:5061"), Some(0), "another port is in the network only");
    assert_eq!(find(&all, "192.0.2.7:9"), Some(1), "the single address comes first here");
    assert_eq!(find(&all, "192.0.2.8:9"), Some(2));
    assert_eq!(find(&all, "[2001:db8::9]:5060"), Some(1));
    assert_eq!(find(&all, "203.0.113.1:5060"), None);
    assert_eq!(find(&all[2..], "192.0.2.7:9"), Some(0), "and here the network");
}

#[test]
fn pools_that_cannot_be_are_refused() {
    let refuse = |all: Vec<BackendSpec>| Pool::build(all, Policy::RoundRobin, SEED).unwrap_err();
    assert_eq!(refuse(specs(4097)), PoolError::TooMany(4097));
    assert!(Pool::build(specs(4096), Policy::RoundRobin, SEED).is_ok());

    let mut all = specs(3);
    all[2].name = "proxy-0".into();
    assert_eq!(refuse(all), PoolError::SameName("proxy-0".into()));

    let mut all = specs(3);
    all[2].address = all[1].address;
    assert_eq!(refuse(all), PoolError::SameAddress("proxy-1".into(), "proxy-2".into()));

    let mut all = specs(2);
    (all[0].name, all[1].name) = (TWINS.0.into(), TWINS.1.into());
    assert_eq!(refuse(all), PoolError::SameIdentity(TWINS.0.into(), TWINS.1.into()));
}

#[test]
fn a_leaving_backend_is_found_by_its_identity_and_by_nothing_new() {
    for policy in ALL_POLICIES {
        let mut all = specs(4);
        let gone = all.pop().expect("four");
        let without = build(&all, policy);
        let pool = build_with_leaving(&all, &gone, policy).expect("a good pool");
        let slot = pool.by_id(id(&gone)).expect("its dialogs go on");
        assert_eq!(pool.backend(slot).spec.address, gone.address);
        assert_eq!(pool.by_address(gone.address), Some(slot));
        // Whoever has lost it already chooses alike.
        assert_eq!(placed(&pool, 500), placed(&without, 500));
    }
}

#[test]
fn a_leaving_backend_may_have_the_address_of_one_that_stays() {
    let all = specs(2);
    let renamed = BackendSpec { name: "an earlier name".into(), ..all[0].clone() };
    let pool = build_with_leaving(&all, &renamed, Policy::CALL_ID_HASH).expect("a good pool");
    let by_name = |spec| pool.backend(pool.by_id(id(spec)).expect("it is there")).spec.address;
    assert_eq!(by_name(&renamed), by_name(&all[0]));
    let by_address = pool.by_address(all[0].address).expect("it is there");
    assert_eq!(pool.backend(by_address).spec.name, all[0].name);
    assert_eq!(pool.by_source(all[0].address), Some(by_address));
    assert!(build_with_leaving(&all, &all[0], Policy::CALL_ID_HASH).is_err(), "same name");
}

#[test]
fn a_debug_print_does_not_tell_the_seed() {
    const SECRET: u64 = 0x5eed_5eed_5eed_5eed;
    let text = format!("{:?}", Pool::build(specs(2), Policy::CALL_ID_HASH, SECRET).unwrap());
    assert!(text.contains("proxy-1") && !text.contains(&SECRET.to_string()));
}

/// These hold for ever. If one fails, nodes of two versions would disagree about running calls:
/// undo the change, never the test.
mod golden {
    use super::*;

    #[test]
    fn identities() {
        let names = ["proxy-1", "10.0.0.11:5060", "", "Größe"];
        assert_eq!(
            names.map(|name| BackendId::of_name(name).0),
            [3_090_350_714, 639_184_873, 1_705_326_995, 3_432_266_462]
        );
    }

    #[test]
    fn call_hashes() {
        let pool = build(&[], Policy::CALL_ID_HASH);
        let calls: [&[u8]; 3] = [b"a84b4c76e66710@pc33.atlanta.example.com", b"1", b""];
        assert_eq!(
            calls.map(|call| pool.call_hash(call).0),
            [2_100_801_488_666_938_512, 16_181_450_241_171_914_449, 2_809_051_044_559_677_345,]
        );
    }

    fn choices(all: &[BackendSpec], policy: Policy) -> [u16; 16] {
        let pool = build(all, policy);
        let mut call_ids = call_ids(16);
        let mut next = || pool.call_hash(call_ids.next().unwrap().as_bytes());
        std::array::from_fn(|_| choose(&pool, next(), &[], &mut Turn(0)).unwrap().0)
    }

    #[test]
    fn rendezvous() {
        let policy = Policy::CALL_ID_HASH;
        assert_eq!(
            choices(&specs(16), policy),
            [0, 4, 11, 4, 15, 5, 5, 12, 12, 5, 9, 15, 1, 9, 11, 14]
        );
        assert_eq!(
            choices(&weighted(&[1, 2, 3, 4, 9]), policy),
            [0, 4, 4, 4, 4, 2, 4, 2, 4, 2, 3, 2, 3, 3, 1, 1]
        );
    }

    #[test]
    fn maglev() {
        let policy = Policy::CALL_ID_HASH_MAGLEV;
        assert_eq!(
            choices(&specs(16), policy),
            [9, 7, 14, 12, 7, 11, 14, 0, 7, 7, 6, 4, 5, 8, 0, 12]
        );
        assert_eq!(
            choices(&weighted(&[1, 2, 3, 4, 9]), policy),
            [3, 4, 2, 3, 4, 2, 4, 0, 4, 3, 1, 4, 2, 4, 1, 4]
        );
        assert_eq!(
            choices(&specs(1000), policy),
            [811, 689, 722, 296, 574, 176, 460, 825, 875, 25, 505, 906, 898, 770, 550, 973]
        );
    }
}
