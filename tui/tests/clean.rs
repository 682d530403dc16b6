//! A run in which nothing goes wrong raises no finding, on any kind of ring.

#[path = "common/tree.rs"]
#[allow(dead_code, reason = "what is read is compared elsewhere")]
mod tree;

use std::time::Duration;

use rstest::rstest;
use tree::{assert_sound, generate, options, until};
use virtscope::demo::{NoWitness, run};
use virtscope_record::FeatureBits as F;

#[rstest]
fn a_clean_run_raises_no_finding(
    #[values(F::default(), F::RING_PACKED)] layout: F,
    #[values(F::default(), F::EVENT_IDX)] suppression: F,
    #[values(F::default(), F::INDIRECT_DESC)] table: F,
    #[values(F::default(), F::IN_ORDER)] order: F,
) {
    let directory = tempfile::tempdir().unwrap();
    generate(directory.path());
    let mut options = options(directory.path());
    options.rate = 4000;
    options.mount.features = layout.union(suppression).union(table).union(order);
    let summary = run(&options, None, &NoWitness, |running| {
        until(running, Duration::from_millis(1500), || true);
    })
    .unwrap();
    assert_sound(&summary);
    let report = &summary.recorded.report;
    assert!(report.requests.completed > 0);
    assert_eq!(report.findings, []);
    assert_eq!(report.not_enough_evidence, []);
}
