//! Each finding on composed streams: what raises it, and what comes near and does
//! not. The same on a real ring is tested where all crates meet.

mod book;
mod delays;
mod hangs;
mod nine;
mod rings;
mod traffic;

use crate::findings::{Finding, FindingCode, Findings};
use crate::testing::{Stream, analyze, rread, tread};
use crate::{Analyzer, Options};

/// Milliseconds as nanoseconds.
const fn ms(ms: u64) -> u64 {
    ms * 1_000_000
}

/// What is found in a stream that was seen to its end, whether or not messages are kept.
#[track_caller]
fn findings(stream: &mut Stream) -> Findings {
    stream.final_statistics();
    let kept = analyze(&stream.records).0.findings_at(None, true);
    let mut bare = Analyzer::new(Options {
        recent_lives: 0,
        keep_bytes: 0,
        draw_rings: false,
        ..Options::default()
    });
    for (record, payload) in &stream.records {
        bare.push(record, payload);
    }
    bare.finish();
    let said = |findings: &Findings| serde_json::to_value(&findings.found).unwrap();
    let bare = bare.findings_at(None, true);
    assert_eq!(said(&kept), said(&bare));
    assert_eq!(kept.undecided, bare.undecided);
    kept
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

/// The codes of what is found, the worst first; nothing is undecided.
#[track_caller]
fn codes(stream: &mut Stream) -> Vec<FindingCode> {
    let findings = findings(stream);
    assert_eq!(findings.undecided, []);
    findings.found.iter().map(|finding| finding.code).collect()
}

/// A request and what became of it: `ticks` are when it was added, returned and taken
/// back.
fn request(s: &mut Stream, id: u16, position: u16, [added, returned, used]: [u64; 3]) {
    s.at(added)
        .add_message(id, position, &tread(1 + id, 2, 0, 100))
        .kick(position, position.wrapping_add(1))
        .taken(id, position);
    give_back(s, id, position, returned, used);
}

/// The end of a request that the device has.
fn give_back(s: &mut Stream, id: u16, position: u16, returned: u64, used: u64) {
    let next = position.wrapping_add(1);
    s.at(returned)
        .returned(id, position)
        .interrupt(position, next, true);
    s.at(used)
        .callback(next, position)
        .used_message(id, position, &rread(1 + id, &[0; 100]));
}
