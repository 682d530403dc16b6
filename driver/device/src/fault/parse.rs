//! Plans from text.

use std::str::FromStr;
use std::time::Duration;

use super::plan::FOR_GOOD;
use super::{Fault, FaultKind, Faults, Trigger};

/// The longest time a fault may take, in milliseconds: an hour.
const MOST_MS: f64 = 3_600_000.0;

/// Why a text is no plan.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A name that no fault has.
    #[error("there is no fault `{name}`; there are {}", all_names())]
    UnknownFault {
        /// The name.
        name: String,
    },
    /// A parameter that this fault does not take.
    #[error("`{kind}` has no parameter `{name}`; it takes {}", parameters(*kind))]
    UnknownParameter {
        /// The fault.
        kind: FaultKind,
        /// The parameter.
        name: String,
    },
    /// A parameter without `=` and a value.
    #[error("`{text}` is no parameter: write name=value")]
    NoValue {
        /// What stands there.
        text: String,
    },
    /// A value that the parameter can't have.
    #[error("`{name}={value}` does not work: {name} is {wanted}")]
    BadValue {
        /// The parameter.
        name: String,
        /// What it was given.
        value: String,
        /// What it can be.
        wanted: String,
    },
    /// A parameter given twice.
    #[error("`{name}` is given twice")]
    Repeated {
        /// The parameter.
        name: String,
    },
}

fn all_names() -> String {
    list(FaultKind::ALL.iter().map(|kind| kind.name()))
}

fn parameters(kind: FaultKind) -> String {
    let time = kind.takes_time().then_some("ms");
    let amount = kind.amount().map(|amount| amount.name);
    list(Trigger::NAMES.into_iter().chain(time).chain(amount))
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

impl FromStr for Faults {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let mut plan = Self::none();
        let mut seed = None;
        for clause in text.split(';').map(str::trim) {
            if clause.is_empty() {
                continue;
            }
            match clause.split_once('=') {
                Some((name, value)) if name.trim() == "seed" => {
                    let wanted = "a whole number below 2^64";
                    set(&mut seed, "seed", number("seed", value.trim(), wanted)?)?;
                }
                _ => plan.faults.push(clause.parse()?),
            }
        }
        plan.seed = seed.unwrap_or_default();
        Ok(plan)
    }
}

impl FromStr for Fault {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let name = name.trim();
        let kind = FaultKind::from_name(name).ok_or_else(|| PlanError::UnknownFault {
            name: name.to_owned(),
        })?;
        let mut fault = Self::new(kind);
        let (mut time, mut amount) = (None, None);
        if !rest.trim().is_empty() {
            for parameter in rest.split(',') {
                fault.parameter(parameter.trim(), &mut time, &mut amount)?;
            }
        }
        fault.time = time.unwrap_or(fault.time);
        fault.amount = amount.unwrap_or(fault.amount);
        Ok(fault)
    }
}

impl Fault {
    fn parameter(
        &mut self,
        text: &str,
        time: &mut Option<Option<Duration>>,
        amount: &mut Option<u64>,
    ) -> Result<(), PlanError> {
        let (name, value) = text.split_once('=').ok_or_else(|| PlanError::NoValue {
            text: text.to_owned(),
        })?;
        let (name, value) = (name.trim(), value.trim());
        let trigger = &mut self.trigger;
        match name {
            "p" => return set(&mut trigger.probability, name, probability(value)?),
            "at" => return set(&mut trigger.at, name, count(name, value)?),
            "every" => return set(&mut trigger.every, name, count(name, value)?),
            "from" => return set(&mut trigger.from, name, count(name, value)?),
            "until" => return set(&mut trigger.until, name, count(name, value)?),
            "times" => return set(&mut trigger.times, name, count(name, value)?),
            "ms" if self.kind.takes_time() => return set(time, name, milliseconds(value)?),
            _ => {}
        }
        let known = self.kind.amount().filter(|known| known.name == name);
        let known = known.ok_or_else(|| PlanError::UnknownParameter {
            kind: self.kind,
            name: name.to_owned(),
        })?;
        let (least, most) = (known.range.start(), known.range.end());
        let wanted = format!("a whole number from {least} to {most}");
        let given = number(name, value, &wanted)?;
        if !known.range.contains(&given) {
            return Err(bad(name, value, &wanted));
        }
        set(amount, name, given)
    }
}

fn set<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), PlanError> {
    if place.is_some() {
        return Err(PlanError::Repeated {
            name: name.to_owned(),
        });
    }
    *place = Some(value);
    Ok(())
}

fn bad(name: &str, value: &str, wanted: &str) -> PlanError {
    PlanError::BadValue {
        name: name.to_owned(),
        value: value.to_owned(),
        wanted: wanted.to_owned(),
    }
}

fn number(name: &str, value: &str, wanted: &str) -> Result<u64, PlanError> {
    value.parse().map_err(|_| bad(name, value, wanted))
}

fn count(name: &str, value: &str) -> Result<u64, PlanError> {
    let wanted = "a whole number from 1";
    match number(name, value, wanted)? {
        0 => Err(bad(name, value, wanted)),
        count => Ok(count),
    }
}

fn decimal(name: &str, value: &str, most: f64, wanted: &str) -> Result<f64, PlanError> {
    // Digits and a point only: no signs, exponents, "inf" or "nan".
    let plain = value.chars().all(|c| c.is_ascii_digit() || c == '.');
    match value.parse() {
        Ok(number) if plain && number <= most => Ok(number),
        _ => Err(bad(name, value, wanted)),
    }
}

fn probability(value: &str) -> Result<f64, PlanError> {
    decimal("p", value, 1.0, "a probability from 0 to 1")
}

fn milliseconds(value: &str) -> Result<Option<Duration>, PlanError> {
    if value == FOR_GOOD {
        return Ok(None);
    }
    let wanted = "a time in milliseconds, at most an hour, or forever";
    let ms = decimal("ms", value, MOST_MS, wanted)?;
    Ok(Some(Duration::from_micros((ms * 1000.0).round() as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[test]
    fn a_plan_says_what_when_and_how_much() {
        let plan: Faults =
            " delay : p=0.25 , ms = 0.5,every=3 ;; seed=9; index-jump:by=2; reorder "
                .parse()
                .unwrap();
        assert_eq!(plan.seed(), 9);
        let [delay, jump, reorder] = plan.faults() else {
            panic!("three clauses: {plan}");
        };
        assert_eq!(delay.kind, FaultKind::Delay);
        assert_eq!(delay.trigger.probability, Some(0.25));
        assert_eq!(delay.trigger.every, Some(3));
        assert_eq!(delay.time, Some(Duration::from_micros(500)));
        assert_eq!((jump.kind, jump.amount), (FaultKind::IndexJump, 2));
        assert_eq!(*reorder, Fault::new(FaultKind::Reorder));
        assert_eq!(
            plan.to_string(),
            "seed=9;delay:p=0.25,every=3,ms=0.5;index-jump:by=2;reorder"
        );
    }

    #[test]
    fn an_empty_text_is_the_empty_plan() {
        assert_eq!("".parse(), Ok(Faults::none()));
        assert_eq!(" ; ;".parse(), Ok(Faults::none()));
        assert!(Faults::none().is_empty());
        assert_eq!(Faults::none().to_string(), "");
    }

    #[rstest]
    #[case(
        "lag:p=0.1",
        "there is no fault `lag`; there are slow-start, lose-kick, ignore-kick, forget-kicks, stop-consuming, needs-reset, delay, reorder, never-return, return-twice, short-length, wrong-length, wrong-id, id-not-in-flight, id-out-of-range, scribble, index-jump, index-back, wrap-lie, drop-interrupt, late-interrupt, storm-interrupts, spurious-interrupt"
    )]
    #[case(
        "drop-interrupt:ms=5",
        "`drop-interrupt` has no parameter `ms`; it takes p, at, every, from, until, times"
    )]
    #[case(
        "delay:by=5",
        "`delay` has no parameter `by`; it takes p, at, every, from, until, times, ms"
    )]
    #[case("delay:5", "`5` is no parameter: write name=value")]
    #[case("delay:ms=1,", "`` is no parameter: write name=value")]
    #[case("delay:p=1.5", "`p=1.5` does not work: p is a probability from 0 to 1")]
    #[case("delay:p=nan", "`p=nan` does not work: p is a probability from 0 to 1")]
    #[case(
        "delay:p=-0.1",
        "`p=-0.1` does not work: p is a probability from 0 to 1"
    )]
    #[case("delay:p=", "`p=` does not work: p is a probability from 0 to 1")]
    #[case(
        "delay:ms=1e9",
        "`ms=1e9` does not work: ms is a time in milliseconds, at most an hour, or forever"
    )]
    #[case(
        "delay:ms=3600001",
        "`ms=3600001` does not work: ms is a time in milliseconds, at most an hour, or forever"
    )]
    #[case(
        "delay:every=0",
        "`every=0` does not work: every is a whole number from 1"
    )]
    #[case("delay:at=x", "`at=x` does not work: at is a whole number from 1")]
    #[case(
        "reorder:window=1",
        "`window=1` does not work: window is a whole number from 2 to 32768"
    )]
    #[case(
        "seed=-1",
        "`seed=-1` does not work: seed is a whole number below 2^64"
    )]
    #[case("seed=1;seed=1", "`seed` is given twice")]
    #[case("delay:at=1,at=2", "`at` is given twice")]
    fn what_is_wrong_is_said(#[case] text: &str, #[case] message: &str) {
        let error = text.parse::<Faults>().unwrap_err();
        assert_eq!(error.to_string(), message);
    }

    fn condition(most: u64) -> impl Strategy<Value = Option<u64>> {
        proptest::option::of(1..=most)
    }

    prop_compose! {
        fn any_fault()(
            kind in proptest::sample::select(FaultKind::ALL),
            probability in proptest::option::of(0.0..=1.0),
            counts in proptest::array::uniform5(condition(u64::MAX)),
            // Not given, for good, or so long.
            micros in proptest::option::of(proptest::option::of(0..=3_600_000_000u64)),
            amount in proptest::option::of(any::<proptest::sample::Index>()),
        ) -> Fault {
            let [at, every, from, until, times] = counts;
            let mut fault = Fault::new(kind);
            fault.trigger = Trigger { probability, at, every, from, until, times };
            if let Some(micros) = micros.filter(|_| kind.takes_time()) {
                fault.time = micros.map(Duration::from_micros);
            }
            if let (Some(known), Some(index)) = (kind.amount(), amount) {
                let span = (known.range.end() - known.range.start() + 1) as usize;
                fault.amount = known.range.start() + index.index(span) as u64;
            }
            fault
        }
    }

    proptest! {
        #[test]
        fn plans_come_back_from_their_text(
            seed: u64, faults in proptest::collection::vec(any_fault(), 0..6)
        ) {
            let plan = Faults { seed, faults };
            prop_assert_eq!(plan.to_string().parse(), Ok(plan));
        }

        #[test]
        fn no_text_is_too_odd(text in "[a-z:;,=. 0-9\\-]{0,40}|.*") {
            if let Ok(plan) = text.parse::<Faults>() {
                prop_assert_eq!(plan.to_string().parse(), Ok(plan));
            }
        }
    }
}
