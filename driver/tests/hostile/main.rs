//! What one half does when the other keeps no rules.
//!
//! The misbehaving side writes into the shared areas directly, at any moment and
//! between any two accesses. The driver must name the rule that was broken, refuse
//! everything from then on, and still give every token back exactly once; the device
//! half must name what a driver did wrong and stay where it is.

mod accesses;
mod case;
mod conversation;
mod detached;
mod harness;
mod lying_driver;
mod moment;
mod random;
mod sentence;
mod tables;
mod transport;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use case::Case;
use moment::Moment;
use sentence::sentence;
use virtscope_record::Layout;

/// Runs the cases of rings of this layout. All that fail are named.
fn run(layout: Layout) {
    let cases = tables::cases().filter(|case| case.plan.layout == layout);
    // Miri is slow: it does without the 65534 rounds.
    let cases = cases.filter(|case| !cfg!(miri) || case.moment != Moment::Edge);
    let mut failed = Vec::new();
    for case in cases {
        if catch_unwind(AssertUnwindSafe(|| case.run())).is_err() {
            let text = sentence(case.breaks).unwrap_or("no such sentence");
            eprintln!("^ {case:#?}\n{}: {text}\n", case.breaks);
            failed.push(format!("{}: {:?}, {}", case.name, case.moment, case.plan));
        }
    }
    assert!(
        failed.is_empty(),
        "{} failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn split_rings_survive_every_lie() {
    run(Layout::Split);
}

#[test]
fn packed_rings_survive_every_lie() {
    run(Layout::Packed);
}

#[test]
fn every_case_differs_and_names_its_sentence() {
    if cfg!(miri) {
        return; // No ring is touched, and Miri would compare for minutes.
    }
    let mut seen = BTreeSet::new();
    let mut twice = Vec::new();
    let (mut cases, mut breaks) = (0, 0);
    for case in tables::cases() {
        assert!(
            sentence(case.breaks).is_some(),
            "{}: {}",
            case.name,
            case.breaks
        );
        // What is done after the lie tells cases apart only where that is the lie.
        let Case {
            plan,
            moment,
            when,
            lies,
            then,
            ..
        } = &case;
        let what = if lies.is_empty() || then.iter().any(|(op, _)| op.is_lie()) {
            format!("{then:?}")
        } else {
            String::new()
        };
        let key = format!("{plan:?} {moment:?} {when:?} {lies:?} {what}");
        if !seen.insert(key) {
            twice.push(format!("{}, {moment:?}, {plan}", case.name));
        }
        cases += 1;
        let ends = then
            .iter()
            .any(|(_, seen)| matches!(seen, case::Seen::Breaks(_)));
        breaks += usize::from(ends);
    }
    assert_eq!(twice, Vec::<String>::new());
    assert!(cases >= 300, "only {cases} cases");
    assert!(breaks >= 200, "only {breaks} of {cases} break the queue");
    println!("{cases} cases, {breaks} of which break the queue");
}
