//! Faults, injected by name.
//!
//! A device half that goes wrong on purpose: [`FaultyQueue`] stands where a
//! [`DeviceQueue`](crate::queue::DeviceQueue) would and does what a plan of
//! [`Faults`] says. A plan is text, faults separated by `;`, their parameters by
//! `,`:
//!
//! ```
//! use virtscope_device::fault::{Faults, PlanError};
//!
//! # fn main() -> Result<(), PlanError> {
//! let text = "seed=7; delay:p=0.1,ms=5; drop-interrupt:every=7; return-twice:at=20";
//! let faults: Faults = text.parse()?;
//! assert_eq!(faults.faults().len(), 3);
//! assert_eq!(faults.to_string().parse(), Ok(faults));
//! # Ok(())
//! # }
//! ```
//!
//! **Which faults there are** is listed by [`Faults::names`], each with a
//! sentence; [`FaultKind`] says what each counts and takes.
//!
//! **When**: each kind of fault has its [`Occasion`], such as a buffer that is
//! returned, and numbers them from 1. A fault happens on every occasion for which
//! all its conditions hold:
//!
//! | condition | the fault happens |
//! |---|---|
//! | `at=20` | on the 20th occasion |
//! | `every=7` | on each 7th |
//! | `from=5`, `until=9` | from the 5th, up to the 9th |
//! | `p=0.1` | with this probability |
//! | `times=3` | at most three times |
//!
//! What takes time takes `ms=` milliseconds, or with `ms=forever` until the next reset.
//!
//! **Together**: faults in one plan do not know of each other. A reply can be
//! held back, overtaken, returned twice and never announced. Where two would
//! change the same word, the one that [`FaultKind::ALL`] names later has its
//! way; of two clauses of one kind that meet, the first.
//!
//! **Again**: whether a fault happens on its n-th occasion depends on the seed and
//! the plan alone; so with the same seed, plan and steps the same happens. Each
//! clause has its own random numbers, and one more at the end of a plan changes
//! nothing in those before it. Where time matters, as for a delay, it comes from
//! a [`Clock`], which a test moves by hand.
//!
//! **Afterwards**: a [`FaultLog`] says which faults happened, and when.

mod clock;
mod dice;
mod kind;
mod log;
mod parse;
mod plan;
mod queue;
mod returns;
mod scribble;
mod twist;

pub use clock::{Clock, RealClock, SteppedClock};
pub use kind::{Amount, FaultKind, Occasion};
pub use log::{FaultLog, Injected};
pub use parse::PlanError;
pub use plan::{Fault, Faults, Trigger};
pub use queue::FaultyQueue;
