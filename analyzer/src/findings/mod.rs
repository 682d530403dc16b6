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
mod chain_too_long;
mod code;
mod device_not_consuming;
mod finding;
mod head_of_line_blocking;
mod index_jump;
mod interrupt_storm;
mod kicks_without_batching;
mod latency_outliers;
mod lost_interrupt;
mod lost_kick;
mod nine;
mod reset_in_flight;
mod ring_full;
mod signs;
mod spurious_interrupts;
mod stuck_request;
mod tally;
#[cfg(test)]
mod tests;
mod token_never_returned;
mod unbalanced_queues;
mod unknown_or_repeated_id;
mod used_length;
mod window;

use virtscope_record::{Body, Record, Timestamp};

use crate::life::Life;
use crate::lives::Lives;
use crate::queue::Queue;
use case::{Case, Ended, Seen};
use finding::Verdict;
use signs::Signs;
use tally::Tally;
use window::{Passed, Window};

pub(crate) use signs::Still;

pub use code::{About, FindingCode};
pub use finding::{Evidence, Finding, Findings, Severity, Undecided};

/// Pieces of evidence that a finding shows at most.
const MOST_EVIDENCE: usize = 8;

/// Looks for one kind of trouble on one queue.
trait Detector: Default {
    /// What it finds.
    const CODE: FindingCode;

    /// Takes note of a record, after it was joined.
    #[inline(always)]
    fn record(&mut self, _: &Seen<'_>) {}

    /// Takes note of a life that has ended.
    #[inline]
    fn life(&mut self, _: &Ended<'_>) {}

    /// Takes note of the lives that are in flight after one has ended.
    #[inline]
    fn others(&mut self, _: &Lives) {}

    /// What it has found by now.
    fn judge(&self, case: &Case<'_>) -> Verdict;
}

/// Declares the detectors of a queue.
macro_rules! detectors {
    ($($field:ident: $detector:path,)+) => {
        /// All detectors of one queue.
        #[derive(Default, Debug)]
        pub(crate) struct Detectors {
            signs: Signs,
            $($field: $detector,)+
        }

        impl Detectors {
            /// The device's half makes records too.
            pub(crate) fn device_half_known(&mut self) {
                self.signs.device_half = true;
            }

            /// Nothing tells of this stretch of time.
            pub(crate) fn stood_still(&mut self, still: Still) {
                self.signs.still = Some(still);
            }

            /// Takes note of a record of a ring of `size` entries, after it was joined;
            /// `lives` are in flight. `body` makes what it says.
            #[inline(always)]
            pub(crate) fn record(
                &mut self,
                record: &Record,
                body: impl Fn() -> Body,
                size: u16,
                lives: &Lives,
            ) {
                let time = record.time();
                self.signs.record(time, record.flags(), &body(), size);
                $(self.$field.record(&Seen {
                    record,
                    time,
                    body: &body(),
                    size,
                    lives,
                });)+
            }

            /// Takes note of a life that has ended.
            #[inline]
            pub(crate) fn life(&mut self, life: &Life) {
                let Self { signs, $($field,)+ } = self;
                let ended = Ended { life, signs };
                $($field.life(&ended);)+
            }

            /// Takes note of the lives that are in flight after some have ended.
            #[inline]
            pub(crate) fn others(&mut self, lives: &Lives) {
                $(self.$field.others(lives);)+
            }

            fn judge(&self, case: &Case<'_>, into: &mut Findings) {
                $(add(<$detector as Detector>::CODE, self.$field.judge(case), case, into);)+
            }
        }
    };
}

detectors! {
    lost_kick: lost_kick::LostKick,
    lost_interrupt: lost_interrupt::LostInterrupt,
    device_not_consuming: device_not_consuming::DeviceNotConsuming,
    token_never_returned: token_never_returned::TokenNeverReturned,
    index_jump: index_jump::IndexJump,
    unknown_or_repeated_id: unknown_or_repeated_id::UnknownOrRepeatedId,
    used_length: used_length::UsedLength,
    stuck_request: stuck_request::StuckRequest,
    reset_in_flight: reset_in_flight::ResetInFlight,
    ring_full: ring_full::RingFull,
    chain_too_long: chain_too_long::ChainTooLong,
    head_of_line_blocking: head_of_line_blocking::HeadOfLineBlocking,
    latency_outliers: latency_outliers::LatencyOutliers,
    interrupt_storm: interrupt_storm::InterruptStorm,
    spurious_interrupts: spurious_interrupts::SpuriousInterrupts,
    kicks_without_batching: kicks_without_batching::KicksWithoutBatching,
    errors: nine::errors::Errors,
    flush_storm: nine::flush_storm::FlushStorm,
    tag_reuse: nine::tag_reuse::TagReuse,
    msize: nine::msize::Msize,
    fid_leak: nine::fid_leak::FidLeak,
    metadata_storm: nine::metadata_storm::MetadataStorm,
    small_reads: nine::small_reads::SmallReads,
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

/// A queue on which something may be wrong.
pub(crate) struct Suspect<'a> {
    pub(crate) queue: &'a Queue,
    /// Why on it the absence of a record proves nothing, if so.
    pub(crate) doubt: Option<String>,
    /// Its records stand in another order than they were made in, so that what they seem
    /// to prove is none.
    pub(crate) is_disordered: bool,
}

impl Findings {
    /// Nothing is known, of anything.
    pub(crate) fn not_looked_for() -> Self {
        let undecided = FindingCode::ALL.iter().map(|code| Undecided {
            code: *code,
            queue: None,
            name: String::new(),
            reason: "It was not looked for.".to_owned(),
        });
        Self {
            found: Vec::new(),
            undecided: undecided.collect(),
        }
    }

    /// What is found by `now` on these queues.
    pub(crate) fn of<'a>(queues: impl Iterator<Item = Suspect<'a>>, now: Timestamp) -> Self {
        let mut findings = Self::default();
        let mut all = Vec::new();
        for suspect in queues {
            let Suspect { queue, doubt, .. } = suspect;
            let case = Case {
                queue,
                now,
                doubt: doubt.as_deref(),
                signs: &queue.detectors.signs,
            };
            let others = findings.found.len();
            queue.detectors.judge(&case, &mut findings);
            if suspect.is_disordered {
                let found = findings.found.drain(others..);
                findings.undecided.extend(found.map(|finding| {
                    Undecided {
                        code: finding.code,
                        queue: finding.queue,
                        name: finding.name,
                        reason:
                            "There is a sign of it, but the records of this queue do not stand in \
                             the order in which they were made."
                                .to_owned(),
                    }
                }));
            }
            all.push(queue);
        }
        unbalanced_queues::judge(&all, now, &mut findings.found);
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

/// The same with a capital letter.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// `1 request`, `5 requests`.
fn count(many: u64, one: &str, more: &str) -> String {
    format!("{many} {}", if many == 1 { one } else { more })
}
