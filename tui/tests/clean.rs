//! A run in which nothing goes wrong raises no finding, on any kind of ring, of our own
//! driver or of a real kernel's.

#[path = "common/program.rs"]
mod program;
#[path = "common/tree.rs"]
#[allow(dead_code, reason = "what is read is compared elsewhere")]
mod tree;

use std::path::Path;
use std::time::Duration;

use program::{number, run as run_program, virtscope};
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
    let report = summary.recorded.report.as_ref().unwrap();
    assert!(report.requests.completed > 0);
    assert_eq!(report.findings, []);
    assert_eq!(report.not_enough_evidence, []);
}

/// Every capture in `captures/samples`, by the report.
#[test]
fn what_real_kernels_drivers_did_raises_no_finding() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../captures/samples");
    let mut samples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "pcapng")
        {
            continue;
        }
        let ended = run_program(virtscope(["report", "--json"]).arg(&path));
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{name}");
        let report = ended.json();
        assert_eq!(report["findings"], serde_json::json!([]), "{name}");
        // In these two a completion was missed, which is told.
        let missed = u64::from(name.starts_with("blk-") && name.ends_with("-6.1.pcapng"));
        let of = |pointer| number(&report, pointer);
        assert_eq!(of("/records/missed"), missed, "{name}");
        assert_eq!(of("/requests/incomplete"), missed, "{name}");
        assert_eq!(of("/requests/completed"), 151 - missed, "{name}");
        assert_eq!(of("/requests/in_flight"), 0, "{name}");
        samples += 1;
    }
    assert!(samples >= 24, "only {samples} samples");
}
