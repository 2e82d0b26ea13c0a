//! What is outlived, and what it costs.

use super::*;

#[test]
fn survival() {
    // One domain a letter, the primary first: is it outlived with this k, and what would help?
    let check = |domains: &str, k: u32, mend: Option<&str>, waits: bool| {
        let letters: String = ('a'..).take(domains.len()).collect();
        let mut registration = registration(&letters, k);
        registration.policy.survive = Survive::Region;
        for (spec, domain) in registration.instances.values_mut().zip(domains.chars()) {
            spec.region = domain.to_string().as_str().into();
        }
        let report = lint(&Subject::registration(&registration), &BTreeMap::new());
        let of = |rule: &str| report.findings.iter().find(|f| f.rule == rule);
        let found = of("survive").map(|finding| finding.mend.as_str());
        match (found, mend) {
            (None, None) => {}
            (Some(found), Some(mend)) => assert!(found.contains(mend), "{domains}: {found}"),
            other => panic!("{domains} k={k}: {other:?}"),
        }
        assert_eq!(of("survive_writes").is_some(), waits, "{domains} k={k}");
    };
    // Each in its own: whoever is primary, every acker is left.
    check("xyz", 1, None, false);
    check("xyz", 2, None, true);
    // An acker goes with the primary: with k = 1 it may have been the only one that had a write.
    check("xxy", 1, Some("k 2 "), false);
    check("xxy", 2, None, true);
    check("xxyz", 1, Some("k 2 "), false);
    check("xxyz", 2, None, false);
    check("xxxy", 2, Some("k 3 "), false);
    check("xx", 1, Some("add ackers outside that region"), false);

    let mut case = healthy();
    case.registration.policy.survive = Survive::Zone;
    let report = case.report();
    assert!(
        report
            .findings
            .iter()
            .all(|f| f.rule == "survive" && f.mend.contains("zone"))
    );
    assert_eq!(report.findings.len(), 3);
    // Instances of one machine fail together, and so do those of one address.
    for set in [
        |spec: &mut InstanceSpec| spec.machine = "m".into(),
        |spec: &mut InstanceSpec| spec.host = "p.example".into(),
    ] {
        let mut registration = registration("pab", 1);
        for letter in ["p", "a"] {
            set(registration
                .instances
                .get_mut(&instance(letter))
                .expect("an instance"));
        }
        let report = lint(&Subject::registration(&registration), &BTreeMap::new());
        assert!(report.findings.iter().any(|f| f.rule == "survive"));
    }
    breaks(
        Rule::Candidate,
        "no acker may be promoted",
        "promotion",
        |case| {
            for letter in ["a", "b"] {
                let spec = case.registration.instances.get_mut(&instance(letter));
                spec.expect("an instance").promotion = PromotionRule::Never;
            }
        },
    );
}

#[test]
fn a_commit_costs_the_round_trip_to_the_kth_acker() {
    let mut case = healthy();
    assert!(case.report().costs[0].contains("not measured"));
    case.facts("p").round_trips_us =
        BTreeMap::from([(instance("a"), 40_000), (instance("b"), 700)]);
    assert!(case.report().costs[0].contains("the nearest decides, b, one round trip of 0.7 ms"));
    case.registration.k = 2;
    assert!(
        case.report().costs[0].contains("the 2nd nearest decides, a, one round trip of 40.0 ms")
    );
}

#[test]
fn zones_are_domains_where_they_are_stated() {
    let of = |zones: [&str; 3]| {
        let mut case = healthy();
        case.registration.policy.survive = Survive::Zone;
        for (letter, zone) in ["p", "a", "b"].into_iter().zip(zones) {
            let spec = case.registration.instances.get_mut(&instance(letter));
            spec.expect("an instance").zone = zone.into();
        }
        case.report().findings
    };
    assert_eq!(of(["1", "2", "3"]), []);
    assert_eq!(of(["1", "1", "2"]).len(), 1, "a goes with p");
    // Nothing is said of what is lost together while that is not known of everybody.
    let found = of(["1", "1", ""]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].instance, Some(instance("b")));
}
