//! Instrumentation: every ring operation, on either half, becomes a record
//! through one small trait.
//!
//! [`NoInstrument`] compiles to nothing: [`Instrument::ENABLED`] is a constant,
//! and all work for a record stands behind it. [`live`] is the way records leave
//! a running driver: one bounded byte ring per producing thread. [`usdt`] shows them to
//! tracers outside the process.

pub mod byte_ring;
pub mod live;
mod payload;
pub mod usdt;

pub use payload::Payload;
use virtscope_record::{Body, Flags, Generation, QueueFacts, Timestamp, Token};

/// What a half of a queue says of an operation; who says it, of which queue and
/// with which number is the instrument's to add.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// When: see [`Common::time`](virtscope_record::Common).
    pub time: Timestamp,
    /// The buffer's token, where the operation is about one.
    pub token: Token,
    /// What is special about it.
    pub flags: Flags,
    /// What happened.
    pub body: Body,
}

/// Takes the records of one half of one queue.
///
/// A queue's half calls it like this, so that a disabled instrument leaves no
/// code behind:
///
/// ```
/// # use virtscope_driver::instrument::*;
/// # use virtscope_record::*;
/// fn operation<I: Instrument>(instrument: &I) {
///     let time = instrument.stamp();
///     // … the operation …
///     if I::ENABLED {
///         instrument.emit(
///             Event {
///                 time,
///                 token: Token(7),
///                 flags: Flags::empty(),
///                 body: Body::Notify(Notify::default()),
///             },
///             Payload::none(),
///         );
///     }
/// }
/// operation(&NoInstrument);
/// ```
pub trait Instrument: Clone + Send + Sync + 'static {
    /// Whether records are wanted at all.
    const ENABLED: bool;

    /// The time to put into the next record. Called only when enabled.
    fn now(&self) -> Timestamp;

    /// What a half calls for the time: [`now`](Self::now), or nothing at all
    /// when not enabled, so that a clock costs only those who want records.
    #[inline(always)]
    fn stamp(&self) -> Timestamp {
        if Self::ENABLED {
            self.now()
        } else {
            Timestamp::default()
        }
    }

    /// Takes one record. Called only when enabled. Must not block and must not
    /// call back into the queue.
    fn emit(&self, event: Event, payload: Payload<'_>);

    /// A reset: later records belong to this generation.
    fn start_generation(&self, generation: Generation);

    /// What the queue is from now on, for those who can't know it otherwise.
    fn describe(&self, _: QueueFacts) {}
}

/// No records: everything about instrumentation is compiled away.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoInstrument;

impl Instrument for NoInstrument {
    const ENABLED: bool = false;

    #[inline(always)]
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    #[inline(always)]
    fn emit(&self, _: Event, _: Payload<'_>) {}

    #[inline(always)]
    fn start_generation(&self, _: Generation) {}
}
