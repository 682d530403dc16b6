//! Each finding on composed streams: what raises it, and what comes near and does
//! not. The same on a real ring is tested where all crates meet.

mod rings;

use crate::findings::{Finding, FindingCode, Findings};
use crate::testing::{Stream, analyze};

/// Milliseconds as nanoseconds.
const fn ms(ms: u64) -> u64 {
    ms * 1_000_000
}

/// What is found in a stream that was seen to its end.
fn findings(stream: &mut Stream) -> Findings {
    stream.final_statistics();
    analyze(&stream.records).0.findings_at(None, true)
}

/// The only finding there is.
#[track_caller]
fn only(stream: &mut Stream, code: FindingCode) -> Finding {
    let mut findings = findings(stream);
    assert_eq!(findings.undecided, []);
    assert_eq!(findings.found.len(), 1, "{findings:#?}");
    let finding = findings.found.remove(0);
    assert_eq!(finding.code, code);
    assert!(!finding.evidence.is_empty(), "{finding:?}");
    finding
}

#[track_caller]
fn none(stream: &mut Stream) {
    assert_eq!(findings(stream), Findings::default());
}
