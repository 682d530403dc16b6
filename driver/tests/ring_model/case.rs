//! What is done to a ring.

use super::common::Plan;

/// One run: a ring and what is done to it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) plan: Plan,
    /// Buffers that go through the ring first, to bring the indices somewhere.
    pub(crate) rounds: u32,
    pub(crate) operations: Vec<Operation>,
}

/// One of several, whatever their number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick(pub(crate) usize);

impl Pick {
    /// The first.
    pub(crate) const FIRST: Self = Self(0);
    /// The last of any.
    pub(crate) const LAST: Self = Self(usize::MAX);

    /// One of `count`, which is not zero.
    pub(crate) fn of(self, count: usize) -> usize {
        self.0.min(count - 1)
    }
}

/// How much of a buffer the device fills.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Written {
    Nothing,
    /// This many of the device-writable bytes; if there are fewer, what remains of it.
    Part(u32),
    Everything,
}

/// A segment to add.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece {
    /// This many bytes of its own. None must be refused.
    Bytes(u32),
    /// A byte of the ring itself, which must be refused: this one, counted round.
    InRing(u32),
}

/// One step of either half.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Add {
        readable: Vec<Piece>,
        writable: Vec<Piece>,
        publish: bool,
    },
    Publish,
    KickPrepare,
    Kick,
    Notify,
    /// The same while the device is gone.
    NotifyNobody,
    GetBuf,
    Interrupt,
    DisableCallbacks,
    EnableCallbacks,
    EnableCallbacksPrepare,
    EnableCallbacksDelayed,
    Poll,
    Take,
    /// One of those that the device holds.
    Finish {
        which: Pick,
        written: Written,
        publish: bool,
    },
    PublishUsed,
    ShouldInterrupt,
    DisableKicks,
    EnableKicks,
    /// The device asks to be kicked once this many more were published.
    AskForKickAfter(u16),
    /// The device writes this into what the driver must ignore.
    Noise(u16),
    /// The driver gives the queue up and takes out a buffer; from then on, until a
    /// reset, the device does nothing and the driver can neither add nor show anything.
    Detach,
    Reset,
}

impl Operation {
    /// A published buffer of so many readable and writable segments.
    pub(crate) fn add(readable: usize, writable: usize) -> Self {
        Self::Add {
            readable: vec![Piece::Bytes(7); readable],
            writable: vec![Piece::Bytes(9); writable],
            publish: true,
        }
    }

    /// The device finishes the buffer that it has had longest, wholly, and shows it.
    pub(crate) const FINISH: Self = Self::Finish {
        which: Pick::FIRST,
        written: Written::Everything,
        publish: true,
    };
}
