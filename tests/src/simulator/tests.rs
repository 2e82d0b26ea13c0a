use super::{Options, run};

#[test]
fn one_seed_gives_one_trace() {
    for seed in [0, 1, 7, 23] {
        let options = Options {
            seed,
            trace: true,
            ..Options::default()
        };
        let (one, other) = (run(options), run(options));
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert!(
            one.trace.lines().count() > 100,
            "seed {seed} says too little"
        );
    }
}

#[test]
fn a_primary_that_loses_power_is_replaced() {
    let report = run(Options {
        seed: 1,
        calm: true,
        ..Options::default()
    });
    assert_eq!(report.violation, None);
    assert_eq!(report.counts.failovers, 1);
    assert!(report.counts.acknowledged > 100);
}
