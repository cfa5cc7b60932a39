use homing_simulation::{Ended, run};

/// As many as pass in a few seconds; `make simulate` runs a million.
const SEEDS: u64 = 20_000;

fn ended(seeds: std::ops::Range<u64>) -> Ended {
    seeds.fold(Ended::default(), |sum, seed| match run(seed, None, None) {
        Ok(ended) => sum.and(ended),
        Err(broken) => panic!("seed {seed}: {broken}; simulate --seed {seed} --trace"),
    })
}

#[test]
fn whatever_breaks_nothing_is_lost_doubled_or_changed() {
    let sum = ended(0..SEEDS);

    // And it was not for want of trying.
    assert!(sum.faults > 2 * SEEDS, "{sum:?}");
    assert!(sum.executions > sum.tasks, "{sum:?}");
    assert!(sum.absorbed > SEEDS / 10, "{sum:?}");
}

#[test]
fn a_seed_is_the_same_world_every_time() {
    for seed in 0..100 {
        assert_eq!(run(seed, None, None), run(seed, None, None));
    }
}
