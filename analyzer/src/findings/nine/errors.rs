//! Errors that the file server answers, by operation.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::errno::Errno;
use crate::findings::case::{Case, Ended};
use crate::findings::finding::{Evidence, Found, Verdict};
use crate::findings::{About, Detector, FindingCode, MOST_EVIDENCE, Severity, Tally, count};
use crate::life::{Life, Operation};

/// Errors that no program asks for: hardware, resources, a server that has lost its
/// files or breaks the protocol. One is enough.
const HARD: [u32; 15] = [
    5,   // EIO
    6,   // ENXIO
    9,   // EBADF
    12,  // ENOMEM
    19,  // ENODEV
    23,  // ENFILE
    24,  // EMFILE
    28,  // ENOSPC
    71,  // EPROTO
    90,  // EMSGSIZE
    105, // ENOBUFS
    110, // ETIMEDOUT
    116, // ESTALE
    121, // EREMOTEIO
    122, // EDQUOT
];
/// Errors which are answers: no such file, no such attribute, not this way. Programs
/// ask for these all day.
const ANSWERS: [u32; 3] = [
    2,  // ENOENT
    61, // ENODATA
    95, // EOPNOTSUPP
];
/// How a server may answer a request that it gave up for a `Tflush`.
const INTERRUPTED: [u32; 2] = [
    4,   // EINTR
    125, // ECANCELED
];
/// The share of an operation's requests, in percent, from which on another error (no
/// permission, exists already) is worth telling.
pub(in crate::findings) const ERROR_PERCENT: u64 = 50;
/// The least number of that operation.
pub(in crate::findings) const LEAST_OF_KIND: u64 = 100;
/// Different errors of different operations counted apart.
const MOST_KINDS: usize = 256;

pub(in crate::findings) const ABOUT: About = About {
    severity: Severity::Warning,
    sentence: "The file server answers requests with errors that a program does not ask for.",
    spec: "9P2000.L (Rlerror), virtio 1.4 §5 (device type 9)",
    advice: "Look the error up on the host: a full or failing disk, too few open files for the \
             server, files that vanished under it, or an identity that may not do what the guest \
             asks.",
};

/// Errors by operation and number.
#[derive(Default, Debug)]
pub(in crate::findings) struct Errors {
    kinds: BTreeMap<(Operation, Errno), Tally>,
    /// Requests by 9P type.
    requests: Vec<u64>,
}

impl Detector for Errors {
    const CODE: FindingCode = FindingCode::NineErrors;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        let life = ended.life;
        if let Some(kind) = super::kind(life) {
            if self.requests.is_empty() {
                self.requests.resize(256, 0);
            }
            if let Some(many) = self.requests.get_mut(usize::from(kind.0)) {
                *many += 1;
            }
            if life.error.is_some() {
                self.error(life);
            }
        }
    }

    fn judge(&self, _: &Case<'_>) -> Verdict {
        let mut telling: Vec<_> = self
            .kinds
            .iter()
            .filter(|((operation, errno), tally)| self.is_telling(*operation, *errno, tally.count))
            .collect();
        telling.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.count));
        let Some(((operation, errno), most)) = telling.first() else {
            return Verdict::Nothing;
        };
        let all: u64 = telling.iter().map(|(_, tally)| tally.count).sum();
        let evidence =
            telling
                .iter()
                .take(MOST_EVIDENCE)
                .flat_map(|((operation, errno), tally)| {
                    let text = format!(
                        "{}: {errno}, {}",
                        operation.name(),
                        super::super::times(tally.count)
                    );
                    let first = tally.evidence.first().cloned();
                    first.map(|piece| Evidence { text, ..piece })
                });
        Verdict::Found(Found {
            summary: format!(
                "{} answered with an error; most often {} with {errno}, {}.",
                count(all, "request was", "requests were"),
                operation.name(),
                super::super::times(most.count)
            ),
            count: all,
            first: telling.iter().filter_map(|(_, tally)| tally.first).min(),
            last: telling.iter().filter_map(|(_, tally)| tally.last).max(),
            evidence: evidence.collect(),
        })
    }
}

impl Errors {
    #[cold]
    fn error(&mut self, life: &Life) {
        let Some(errno) = life.error else { return };
        // That it was interrupted is the answer to a Tflush.
        if life.subject.answered_while_flushed && INTERRUPTED.contains(&errno.0) {
            return;
        }
        let key = (life.operation, errno);
        if self.kinds.len() >= MOST_KINDS && !self.kinds.contains_key(&key) {
            return;
        }
        let ended = life.moments.used.unwrap_or_default();
        self.kinds.entry(key).or_default().add(ended, || {
            Evidence::at(ended, errno.to_string()).of(&Arc::new(life.clone()))
        });
    }

    fn is_telling(&self, operation: Operation, errno: Errno, many: u64) -> bool {
        if HARD.contains(&errno.0) {
            return true;
        }
        let kind = usize::from(operation.type_number().unwrap_or(0));
        let all = self.requests.get(kind).copied().unwrap_or(0);
        !ANSWERS.contains(&errno.0)
            && all >= LEAST_OF_KIND
            && many.saturating_mul(100) >= all.saturating_mul(ERROR_PERCENT)
    }
}
