//! What a finding says, and what is said where there can be none.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use virtscope_record::{QueueId, Timestamp};

use super::FindingCode;
use crate::life::Life;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Requests hang or fail, or a rule of the specification is broken.
    Error,
    /// Requests take longer than they need to.
    Warning,
    /// Work is done that need not be done.
    Notice,
}

impl Severity {
    /// `error`, `warning` or `notice`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// Something that is wrong, and the proof of it.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct Finding {
    /// What kind of trouble it is. Stable, for programs.
    pub code: FindingCode,
    /// How bad it is.
    pub severity: Severity,
    /// The queue it is about, like `virtio0.0`; `null` if it is about several.
    pub queue: Option<String>,
    /// That queue's name, or the device's. Escaped for printing.
    pub name: String,
    /// One sentence, with the numbers. Escaped for printing.
    pub summary: String,
    /// How often it happened.
    pub count: u64,
    /// When it was first seen, ns on the monotonic clock; `null` if it has no moment.
    pub first_ns: Option<u64>,
    /// When it was last seen, likewise.
    pub last_ns: Option<u64>,
    /// The records and requests that prove it, the most telling first; not all of
    /// them, if they are many.
    pub evidence: Vec<Evidence>,
    /// Where the rule stands that is broken, or the mechanism is described.
    pub spec: String,
    /// What to try.
    pub advice: String,
}

/// A piece of a finding's proof.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct Evidence {
    /// What it says. Escaped for printing.
    pub text: String,
    /// When, ns on the monotonic clock, if it is of one moment.
    pub time_ns: Option<u64>,
    /// The number of the request it is about, if it is about one.
    pub request: Option<u64>,
    /// That request, as it was then.
    #[serde(skip)]
    pub life: Option<Arc<Life>>,
}

impl Evidence {
    /// Evidence of no request and no moment.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            time_ns: None,
            request: None,
            life: None,
        }
    }

    /// Evidence of one moment.
    pub(super) fn at(time: Timestamp, text: impl Into<String>) -> Self {
        Self {
            time_ns: Some(time.as_nanos()),
            ..Self::text(text)
        }
    }

    /// The same, about a request.
    pub(super) fn of(self, life: &Arc<Life>) -> Self {
        Self {
            request: Some(life.number),
            life: Some(Arc::clone(life)),
            ..self
        }
    }
}

/// A finding that there may be, and that what was recorded can neither prove nor
/// refute.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct Undecided {
    /// Which finding.
    pub code: FindingCode,
    /// The queue in question, like `virtio0.0`; `null` if it is about several.
    pub queue: Option<String>,
    /// That queue's name, or the device's. Escaped for printing.
    pub name: String,
    /// What was seen, and what is missing: one sentence. Escaped for printing.
    pub reason: String,
}

/// All findings at one moment.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Findings {
    /// What is wrong, the worst first.
    pub found: Vec<Finding>,
    /// What may be wrong, for which there is not enough evidence.
    pub undecided: Vec<Undecided>,
}

/// What a detector has found on one queue.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing wrong.
    Nothing,
    /// This.
    Found(Found),
    /// There is a sign of it, but no proof: not enough evidence, and why.
    Undecided(String),
}

/// The part of a finding that differs each time.
#[derive(Clone, Default, Debug)]
pub(super) struct Found {
    pub(super) summary: String,
    pub(super) count: u64,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    pub(super) evidence: Vec<Evidence>,
}

impl Found {
    /// The whole of it.
    pub(super) fn into_finding(
        self,
        code: FindingCode,
        queue: Option<QueueId>,
        name: &str,
    ) -> Finding {
        let about = code.about();
        Finding {
            code,
            severity: about.severity,
            queue: queue.map(|queue| queue.to_string()),
            name: name.to_owned(),
            summary: self.summary,
            count: self.count,
            first_ns: self.first.map(Timestamp::as_nanos),
            last_ns: self.last.map(Timestamp::as_nanos),
            evidence: self.evidence,
            spec: about.spec.to_owned(),
            advice: about.advice.to_owned(),
        }
    }
}
