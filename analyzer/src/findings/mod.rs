//! What is wrong: each detector in a file of its own.
//!
//! A detector is told of the records of one queue and of the lives that end on it,
//! keeps little, and is asked for its verdict at the end, and live whenever a
//! snapshot is made: so what is wrong shows while it is wrong. There are three
//! verdicts. *Nothing*; a [`Finding`], with the records and requests that prove it;
//! and *not enough evidence* ([`Undecided`]): there is a sign of trouble, but records
//! are missing that would prove or refute it, and it says which.
//!
//! What a detector does for each record costs a few nanoseconds while nothing is
//! wrong; most only look at ended lives, or at counters when they are asked.

mod case;
mod code;
mod finding;
mod ring_full;
mod stuck_request;
#[cfg(test)]
mod tests;
mod used_length;

use virtscope_record::{Body, Record, Timestamp};

use crate::life::Life;
use crate::queue::Queue;
use case::{Case, Ended, Seen};
use finding::Verdict;

pub use code::{About, FindingCode};
pub use finding::{Evidence, Finding, Findings, Severity, Undecided};

/// Pieces of evidence that a finding shows at most.
const MOST_EVIDENCE: usize = 8;

/// Looks for one kind of trouble on one queue.
trait Detector: Default {
    /// What it finds.
    const CODE: FindingCode;

    /// Takes note of a record, after it was joined.
    #[inline]
    fn record(&mut self, _: &Seen<'_>) {}

    /// Takes note of a life that has ended.
    #[inline]
    fn life(&mut self, _: &Ended<'_>) {}

    /// What it has found by now.
    fn judge(&self, case: &Case<'_>) -> Verdict;
}

/// Declares the detectors of a queue.
macro_rules! detectors {
    ($($field:ident: $detector:path,)+) => {
        /// All detectors of one queue.
        #[derive(Default, Debug)]
        pub(crate) struct Detectors {
            $($field: $detector,)+
        }

        impl Detectors {
            /// Takes note of a record, after it was joined.
            #[inline]
            pub(crate) fn record(&mut self, record: &Record, body: &Body) {
                let seen = Seen {
                    record,
                    time: record.time(),
                    body,
                };
                $(self.$field.record(&seen);)+
            }

            /// Takes note of a life that has ended.
            #[inline]
            pub(crate) fn life(&mut self, life: &Life) {
                let ended = Ended { life };
                $(self.$field.life(&ended);)+
            }

            fn judge(&self, case: &Case<'_>, into: &mut Findings) {
                $(add(<$detector as Detector>::CODE, self.$field.judge(case), case, into);)+
            }
        }
    };
}

detectors! {
    used_length: used_length::UsedLength,
    stuck_request: stuck_request::StuckRequest,
    ring_full: ring_full::RingFull,
}

fn add(code: FindingCode, verdict: Verdict, case: &Case<'_>, into: &mut Findings) {
    let queue = case.queue;
    match verdict {
        Verdict::Nothing => {}
        Verdict::Found(found) => {
            let finding = found.into_finding(code, Some(queue.id), &queue.name);
            into.found.push(finding);
        }
        Verdict::Undecided(reason) => into.undecided.push(Undecided {
            code,
            queue: Some(queue.id.to_string()),
            name: queue.name.clone(),
            reason: format!("{reason}."),
        }),
    }
}

impl Findings {
    /// What is found by `now` on these queues; each comes with why on it the absence
    /// of a record proves nothing, if so.
    pub(crate) fn of<'a>(
        queues: impl Iterator<Item = (&'a Queue, Option<String>)>,
        now: Timestamp,
    ) -> Self {
        let mut findings = Self::default();
        for (queue, doubt) in queues {
            let case = Case {
                queue,
                now,
                doubt: doubt.as_deref(),
            };
            queue.detectors.judge(&case, &mut findings);
        }
        findings
            .found
            .sort_by_key(|finding| (finding.severity, finding.code));
        findings.undecided.sort_by_key(|undecided| undecided.code);
        findings
    }
}

/// `once`, `twice`, `5 times`.
fn times(many: u64) -> String {
    match many {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{many} times"),
    }
}

/// `1 request`, `5 requests`.
fn count(many: u64, one: &str, more: &str) -> String {
    format!("{many} {}", if many == 1 { one } else { more })
}
