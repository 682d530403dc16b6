//! A plan: which faults, on which occasions.

use std::fmt;
use std::time::Duration;

use super::FaultKind;

/// What a device is to do wrong, and when. Read from text (see the
/// [module](super)); the text comes back by `to_string`.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Faults {
    pub(super) seed: u64,
    pub(super) faults: Vec<Fault>,
}

/// One clause of a plan.
#[derive(Clone, PartialEq, Debug)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// On which of its occasions.
    pub trigger: Trigger,
    /// How long it lasts, where it takes time; `None` also for good: until the next
    /// reset, at which whatever is held up is forgotten.
    pub time: Option<Duration>,
    /// How much of it ([`FaultKind::amount`]); 1 where there is no such thing.
    pub amount: u64,
}

/// On which occasions a fault happens: on those for which all conditions given
/// hold. Occasions are numbered from 1.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Trigger {
    /// `p`: with this probability, from 0 to 1.
    pub probability: Option<f64>,
    /// `at`: on this one alone.
    pub at: Option<u64>,
    /// `every`: on its multiples.
    pub every: Option<u64>,
    /// `from`: on this one and later ones.
    pub from: Option<u64>,
    /// `until`: on this one and earlier ones.
    pub until: Option<u64>,
    /// `times`: at most so often.
    pub times: Option<u64>,
}

impl Faults {
    /// The plan in which nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The name of every fault, with a sentence about it.
    pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
        FaultKind::ALL
            .iter()
            .map(|kind| (kind.name(), kind.about()))
    }

    /// Whether nothing will go wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// The clauses, as they were written.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The seed of its random numbers; 0 unless the plan says otherwise.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The same plan with other random numbers.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

impl Fault {
    /// This fault on every occasion, with the amounts it has of its own.
    #[must_use]
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            trigger: Trigger::default(),
            time: kind.default_time(),
            amount: kind.amount().map_or(1, |amount| amount.default),
        }
    }
}

impl Trigger {
    /// The names of the conditions.
    pub const NAMES: [&'static str; 6] = ["p", "at", "every", "from", "until", "times"];

    /// Whether a fault that has happened `times` times does so on `occasion`, for
    /// which chance has drawn `chance`, at least 0 and less than 1.
    pub(super) fn holds(&self, occasion: u64, times: u64, chance: f64) -> bool {
        self.probability.is_none_or(|p| chance < p)
            && self.at.is_none_or(|at| occasion == at)
            && self
                .every
                .is_none_or(|every| occasion.is_multiple_of(every))
            && self.from.is_none_or(|from| occasion >= from)
            && self.until.is_none_or(|until| occasion <= until)
            && self.times.is_none_or(|most| times < most)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if self.seed != 0 {
            write!(f, "seed={}", self.seed)?;
            separator = ";";
        }
        for fault in &self.faults {
            write!(f, "{separator}{fault}")?;
            separator = ";";
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        let mut separator = ":";
        let mut parameter = |name: &str, value: Option<&dyn fmt::Display>| {
            let Some(value) = value else { return Ok(()) };
            write!(f, "{separator}{name}={value}")?;
            separator = ",";
            Ok(())
        };
        let Trigger {
            probability,
            at,
            every,
            from,
            until,
            times,
        } = &self.trigger;
        parameter("p", probability.as_ref().map(|p| p as _))?;
        for (name, value) in [
            ("at", at),
            ("every", every),
            ("from", from),
            ("until", until),
            ("times", times),
        ] {
            parameter(name, value.as_ref().map(|value| value as _))?;
        }
        if self.time != self.kind.default_time() {
            match self.time {
                Some(time) => parameter("ms", Some(&Milliseconds(time)))?,
                None => parameter("ms", Some(&FOR_GOOD))?,
            }
        }
        if let Some(amount) = self.kind.amount()
            && self.amount != amount.default
        {
            parameter(amount.name, Some(&self.amount))?;
        }
        Ok(())
    }
}

/// What stands for a time without an end.
pub(super) const FOR_GOOD: &str = "forever";

/// A time in milliseconds, to the microsecond.
struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}", micros / 1000)?;
        match micros % 1000 {
            0 => Ok(()),
            rest => write!(f, ".{}", format!("{rest:03}").trim_end_matches('0')),
        }
    }
}
