//! A case of the tables: what the device does, which sentence it breaks, and what
//! the driver must answer.

use std::borrow::Cow;

use virtscope_driver::ring::Violation;

use crate::harness::{Lie, Plan, Ring, Shape, When};
use crate::moment::Moment;

/// What is asked of the ring after the lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// `get_buf`.
    Get,
    /// `kick`: was the device notified?
    Kick,
    /// `enable_callbacks`: is nothing pending?
    Enable,
    /// `enable_callbacks_delayed`: is little pending?
    EnableDelayed,
    /// `enable_callbacks_prepare` and `poll`: is anything pending?
    Poll,
    /// An interrupt arrives: is anything pending?
    Interrupt,
    /// `detach_unused_buf`.
    Detach,
    /// `publish`, of what was added and not published.
    Publish,
    /// `reset`.
    Afresh,
    /// The device keeps the rules for once: it returns the first buffer that it has
    /// taken and not returned, wholly used.
    Return,
    /// A buffer with this token goes round by the rules.
    Round(u64),
    /// The device lies again.
    Write(Lie),
    /// The device writes into the device-readable part of this token's buffer.
    Scribble(u64),
}

/// What comes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// The buffer of this token, with this length.
    Used(u64, u32),
    /// No buffer.
    Nothing,
    /// The queue is broken, and the error says by what.
    Breaks(Violation),
    Yes,
    No,
    /// No answer is due.
    Done,
}

/// One case.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Case {
    pub(crate) name: Cow<'static, str>,
    pub(crate) plan: Plan,
    pub(crate) moment: Moment,
    /// When the lies are written: at once, or during what is asked then.
    pub(crate) when: Option<When>,
    pub(crate) lies: Vec<Lie>,
    /// The id of the sentence in docs/conformance/requirements.toml.
    pub(crate) breaks: &'static str,
    pub(crate) then: Vec<(Op, Seen)>,
}

/// A line of a table: one case for each of its rings at each of its moments, all of
/// which end alike.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    name: &'static str,
    plans: &'static [Plan],
    moments: &'static [Moment],
    when: Option<When>,
    lies: &'static [Lie],
    breaks: &'static str,
    then: &'static [(Op, Seen)],
}

/// A line whose lies are written at once.
pub(crate) const fn row(
    name: &'static str,
    plans: &'static [Plan],
    moments: &'static [Moment],
    lies: &'static [Lie],
    breaks: &'static str,
    then: &'static [(Op, Seen)],
) -> Row {
    Row {
        name,
        plans,
        moments,
        when: None,
        lies,
        breaks,
        then,
    }
}

impl Row {
    /// The lies are written while the driver works.
    pub(crate) const fn when(mut self, when: When) -> Self {
        self.when = Some(when);
        self
    }

    /// The cases that it stands for.
    pub(crate) fn cases(self) -> impl Iterator<Item = Case> {
        let each = move |plan| self.moments.iter().map(move |moment| (plan, *moment));
        self.plans
            .iter()
            .flat_map(each)
            .map(move |(plan, moment)| Case {
                name: self.name.into(),
                plan: *plan,
                moment,
                when: self.when,
                lies: self.lies.to_vec(),
                breaks: self.breaks,
                then: self.then.to_vec(),
            })
    }
}

impl Case {
    /// Builds the ring, lies, and looks what the driver makes of it.
    pub(crate) fn run(&self) {
        let mut ring = self.moment.ring(self.plan);
        for lie in &self.lies {
            match self.when {
                None => ring.watch.write(*lie),
                Some(when) => ring.watch.arm(when, *lie),
            }
        }
        let mut breaks = 0;
        for (step, (op, expected)) in self.then.iter().enumerate() {
            let seen = op.run(&mut ring);
            assert_eq!(seen, *expected, "step {step}, {op:?}");
            breaks += usize::from(matches!(seen, Seen::Breaks(_)));
        }
        assert_eq!(ring.watch.disarm(), 0, "lies were never written");
        assert!(breaks <= 1, "a case ends when the queue breaks");
        assert_eq!(ring.broken().is_some(), breaks == 1);
        ring.finish();
    }
}

impl Op {
    /// Whether the device does something by it.
    pub(crate) const fn is_lie(self) -> bool {
        matches!(self, Self::Write(_) | Self::Scribble(_))
    }

    pub(crate) fn run(self, ring: &mut Ring) -> Seen {
        let yes = |yes| if yes { Seen::Yes } else { Seen::No };
        match self {
            Self::Get => match ring.get() {
                Ok(Some((token, written))) => Seen::Used(token, written),
                Ok(None) => Seen::Nothing,
                Err(error) => Seen::Breaks(error.violation),
            },
            Self::Kick => yes(ring.kick()),
            Self::Enable => yes(ring.ask(|ring| ring.driver.enable_callbacks())),
            Self::EnableDelayed => yes(ring.ask(|ring| ring.driver.enable_callbacks_delayed())),
            Self::Poll => yes(ring.ask(|ring| {
                let state = ring.driver.enable_callbacks_prepare();
                ring.driver.handle().poll(state)
            })),
            Self::Interrupt => yes(ring.ask(|ring| ring.driver.handle().interrupt())),
            Self::Detach => match ring.detach() {
                Some(token) => Seen::Used(token, 0),
                None => Seen::Nothing,
            },
            Self::Publish => {
                ring.publish();
                Seen::Done
            }
            Self::Afresh => {
                ring.reset();
                Seen::Done
            }
            Self::Return => {
                ring.give_back(1);
                Seen::Done
            }
            Self::Round(token) => {
                ring.round(token, Shape::PAIR);
                Seen::Done
            }
            Self::Write(lie) => {
                ring.watch.write(lie);
                Seen::Done
            }
            Self::Scribble(token) => {
                ring.scribble(token);
                Seen::Done
            }
        }
    }
}
