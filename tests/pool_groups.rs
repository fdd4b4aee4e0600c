//! Groups of a pool from outside: tiers, caps, bounded load, several groups in one snapshot.

use sipring::pool::{
    BackendSlot, BackendSpec, CallHash, Choice, GroupIndex, GroupSpec, HashKey, HashTable, Intake,
    Load, Policy, Pool, PoolError, Rule, State, Turn,
};

const FIRST: GroupIndex = GroupIndex(0);

fn spec(i: u16, intake: Intake) -> BackendSpec {
    BackendSpec {
        intake,
        ..BackendSpec::new(
            &format!("b{i}"),
            format!("10.0.0.{}:5060", i + 1).parse().expect("an address"),
        )
    }
}

fn tiers(priorities: &[Intake]) -> Vec<BackendSpec> {
    (0..).zip(priorities).map(|(i, intake)| spec(i, *intake)).collect()
}

fn priority(priority: u16) -> Intake {
    Intake { priority, ..Intake::default() }
}

const BACKUP: Intake =
    Intake { priority: 0, backup: true, calls_max: None, calls_per_second_max: None };

const ALL: [Policy; 8] = [
    Policy::CALL_ID_HASH,
    Policy::CALL_ID_HASH_MAGLEV,
    Policy::RoundRobin,
    Policy::Random,
    Policy::LeastDialogs,
    Policy::LeastTransactions,
    Policy::LeastWork,
    Policy::Latency,
];

/// Who gets calls, of many.
fn users(pool: &Pool, loads: impl Fn(BackendSlot) -> Load) -> Vec<u16> {
    let mut turn = Turn(5);
    let mut users: Vec<u16> = (0..400u64)
        .filter_map(|i| {
            let call = CallHash(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            pool.choose(FIRST, call, &[], &|slot| loads(slot), &mut turn).slot()
        })
        .map(|slot| slot.0)
        .collect();
    users.sort_unstable();
    users.dedup();
    users
}

fn idle(_: BackendSlot) -> Load {
    Load::default()
}

#[test]
fn a_tier_is_used_when_nobody_before_it_takes_calls() {
    for policy in ALL {
        let mut all = tiers(&[priority(10), priority(20), priority(10), BACKUP, priority(20)]);
        let build = |all: &[BackendSpec]| Pool::build(all.to_vec(), policy, 1).expect("a pool");
        assert_eq!(users(&build(&all), idle), [0, 2], "{policy:?}");
        all[0].state = State::Down;
        assert_eq!(users(&build(&all), idle), [2], "{policy:?}");
        all[2].state = State::Drained;
        assert_eq!(users(&build(&all), idle), [1, 4], "{policy:?}");
        (all[1].weight, all[4].state) = (0, State::Down);
        assert_eq!(users(&build(&all), idle), [3], "{policy:?}: the backup of last resort");
        all[3].state = State::Down;
        let nobody = build(&all).choose(FIRST, CallHash(1), &[], &idle, &mut Turn(0));
        assert_eq!(nobody, Choice::Nobody, "{policy:?}");
    }
}

#[test]
fn what_needs_no_memory_walks_the_tiers_too() {
    for policy in ALL {
        let all = tiers(&[priority(1), priority(0), BACKUP]);
        let pool = Pool::build(all, policy, 1).expect("a pool");
        let by_hash = |excluded: &[u16]| {
            let excluded: Vec<_> = excluded.iter().copied().map(BackendSlot).collect();
            pool.choose_by_hash(FIRST, CallHash(77), &excluded).map(|slot| slot.0)
        };
        assert_eq!(by_hash(&[]), Some(1));
        assert_eq!(by_hash(&[1]), Some(0));
        assert_eq!(by_hash(&[0, 1]), Some(2));
        assert_eq!(by_hash(&[0, 1, 2]), None);
    }
}

#[test]
fn a_full_backend_is_passed_over_and_a_full_tier_overflows_into_the_next() {
    for policy in ALL {
        let capped = Intake { calls_max: Some(10), ..priority(0) };
        let pool = Pool::build(tiers(&[capped, capped, BACKUP]), policy, 1).expect("a pool");
        let calls = |of: [u32; 3]| {
            move |slot: BackendSlot| Load { calls: of[usize::from(slot.0)], ..Load::default() }
        };
        assert_eq!(users(&pool, calls([9, 9, 0])), [0, 1], "{policy:?}");
        assert_eq!(users(&pool, calls([10, 9, 0])), [1], "{policy:?}");
        assert_eq!(users(&pool, calls([10, 11, 0])), [2], "{policy:?}");
    }
}

#[test]
fn when_all_are_full_it_says_so_and_not_that_nobody_is_there() {
    for policy in ALL {
        let paced = Intake { calls_per_second_max: Some(3), ..Intake::default() };
        let pool = Pool::build(tiers(&[paced, paced]), policy, 1).expect("a pool");
        let begun = |calls_begun| move |_: BackendSlot| Load { calls_begun, ..Load::default() };
        let choose = |excluded: &[BackendSlot], begun_now: u32| {
            pool.choose(FIRST, CallHash(9), excluded, &begun(begun_now), &mut Turn(0))
        };
        assert!(matches!(choose(&[], 2), Choice::Backend(_)), "{policy:?}");
        assert_eq!(choose(&[], 3), Choice::Full, "{policy:?}");
        assert_eq!(choose(&[BackendSlot(0), BackendSlot(1)], 0), Choice::Nobody, "{policy:?}");
    }
}

/// Places `calls` calls of a hot key and counts what each backend has.
fn hot(pool: &Pool, backends: usize, calls: u32) -> Vec<u32> {
    let mut counts = vec![0u32; backends];
    for _ in 0..calls {
        let now = counts.clone();
        let load = |slot: BackendSlot| Load { calls: now[usize::from(slot.0)], ..Load::default() };
        let slot = pool.choose(FIRST, CallHash(4711), &[], &load, &mut Turn(0)).slot();
        counts[usize::from(slot.expect("somebody").0)] += 1;
    }
    counts
}

#[test]
fn a_bounded_hash_spreads_a_hot_key_and_an_unbounded_one_does_not() {
    for table in [HashTable::Rendezvous, HashTable::Maglev] {
        let policy = Policy::Hash { key: HashKey::Source, table };
        let mut all = tiers(&[Intake::default(); 4]);
        all[1].weight = 3;
        let group = |bound_percent| GroupSpec {
            bound_percent,
            ..GroupSpec::new("default", policy, all.clone())
        };
        let build = |bound| Pool::build_groups(&[group(bound)], Vec::new(), 1).expect("a pool");
        let free = hot(&build(None), 4, 600);
        assert_eq!(free.iter().filter(|count| **count > 0).count(), 1, "{table:?}");
        let bounded = hot(&build(Some(125)), 4, 600);
        // A fair share is 100, of the heavy one 300; a quarter more is allowed, rounded up.
        for (count, fair) in bounded.iter().zip([100, 300, 100, 100]) {
            assert!(*count <= fair * 5 / 4 + 1, "{table:?}: {bounded:?}");
        }
        assert_eq!(bounded.iter().sum::<u32>(), 600);
    }
}

#[test]
fn a_bounded_hash_moves_nobody_who_is_within_the_bound() {
    let group = |bound_percent| GroupSpec {
        bound_percent,
        ..GroupSpec::new("default", Policy::CALL_ID_HASH, tiers(&[Intake::default(); 8]))
    };
    let build = |bound| Pool::build_groups(&[group(bound)], Vec::new(), 1).expect("a pool");
    let (free, bounded) = (build(None), build(Some(150)));
    for i in 0..1000u64 {
        let call = CallHash(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let one = free.choose(FIRST, call, &[], &(), &mut Turn(0));
        let even = |_: BackendSlot| Load { calls: 10, ..Load::default() };
        assert_eq!(bounded.choose(FIRST, call, &[], &even, &mut Turn(0)), one);
    }
}

#[test]
fn groups_have_policies_and_backends_of_their_own_in_one_snapshot() {
    let mut phones = tiers(&[Intake::default(); 2]);
    phones.iter_mut().for_each(|one| one.name = format!("phones-{}", one.name));
    let specs = [
        GroupSpec::new("trunks", Policy::RoundRobin, tiers(&[Intake::default(); 3])),
        GroupSpec::new("phones", Policy::CALL_ID_HASH, phones.clone()),
    ];
    let rule = Rule { group: GroupIndex(1), methods: vec!["REGISTER".into()], ..Rule::default() };
    let pool = Pool::build_groups(&specs, vec![rule], 1).expect("a pool");
    assert_eq!(pool.groups().len(), 2);
    for call in (0..200).map(CallHash) {
        let slot = pool.choose(GroupIndex(1), call, &[], &(), &mut Turn(0)).slot();
        let backend = pool.backend(slot.expect("somebody"));
        assert_eq!(
            (backend.group, backend.spec.name.starts_with("phones-")),
            (GroupIndex(1), true)
        );
    }
    // The same server may be in two groups; by its address it is the first group's.
    let shared = pool.by_address(phones[0].address).expect("it is there");
    assert_eq!(pool.backend(shared).group, FIRST);
    // But a name is an identity.
    let twice = [specs[0].clone(), GroupSpec { name: "more".into(), ..specs[0].clone() }];
    let refused = Pool::build_groups(&twice, Vec::new(), 1).expect_err("names twice");
    assert_eq!(refused, PoolError::SameName("b0".into()));
    assert_eq!(Pool::build_groups(&[], Vec::new(), 1).expect_err("none"), PoolError::Groups(0));
}

#[test]
fn the_layout_is_equal_when_the_slots_are() {
    let all = tiers(&[Intake::default(); 3]);
    let layout = |all: &[BackendSpec]| {
        Pool::build(all.to_vec(), Policy::RoundRobin, 1).expect("a pool").layout()
    };
    let mut changed = all.clone();
    (changed[1].state, changed[2].weight) = (State::Down, 9);
    assert_eq!(layout(&all), layout(&changed));
    changed.swap(0, 1);
    assert_ne!(layout(&all), layout(&changed));
    assert_ne!(layout(&all), layout(&all[..2]));
    assert_ne!(layout(&[]), layout(&all[..1]));
}
