//! What happened, where it ran, and what was special about it.

use core::fmt;

/// What a record reports. Kinds below 16 are the driver's half and the
/// recorder's; from 16 on they are the device's half, where it is ours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// A buffer was added to the ring (Linux `virtqueue_add_sgs` and kin).
    Add = 1,
    /// An add was refused; the record's error says why.
    AddFailed = 2,
    /// It was decided whether the device needs an available buffer notification
    /// (Linux `virtqueue_kick_prepare`). [`Flags::NOTIFICATION_NEEDED`] is the
    /// verdict.
    Kick = 3,
    /// The device was notified (Linux `virtqueue_notify`).
    Notify = 4,
    /// A used buffer notification reached the driver (Linux `vring_interrupt`).
    Callback = 5,
    /// A used buffer was taken back (Linux `virtqueue_get_buf`).
    Used = 6,
    /// The driver asked for no used buffer notifications (Linux
    /// `virtqueue_disable_cb`).
    CallbacksDisabled = 7,
    /// The driver asked for them again (Linux `virtqueue_enable_cb` and kin).
    CallbacksEnabled = 8,
    /// An unused buffer was taken out at shutdown (Linux
    /// `virtqueue_detach_unused_buf`).
    Detach = 9,
    /// What the queue is; stands before the first record of a generation.
    QueueFacts = 10,
    /// The queue was reset; its generation ends here.
    Reset = 11,
    /// A producer's counters, written regularly and at the end.
    Statistics = 12,
    /// Operations that happened and left no record, because the kernel skipped
    /// their probe.
    Missed = 13,
    /// A buffer that was in flight when tracing began: its add was before the
    /// capture.
    InFlight = 14,
    /// The device took an available buffer.
    Taken = 16,
    /// The device put a buffer into the used ring.
    Returned = 17,
    /// It was decided whether the driver needs a used buffer notification; sent
    /// when [`Flags::NOTIFICATION_NEEDED`] is set.
    InterruptSent = 18,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 17] = [
        Self::Add,
        Self::AddFailed,
        Self::Kick,
        Self::Notify,
        Self::Callback,
        Self::Used,
        Self::CallbacksDisabled,
        Self::CallbacksEnabled,
        Self::Detach,
        Self::QueueFacts,
        Self::Reset,
        Self::Statistics,
        Self::Missed,
        Self::InFlight,
        Self::Taken,
        Self::Returned,
        Self::InterruptSent,
    ];

    /// The kind with this number, if this version knows it.
    #[inline]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        // Every record is asked for its kind: one look instead of a search.
        const BY_NUMBER: [Option<Kind>; 256] = {
            let mut kinds = [None; 256];
            let mut at = 0;
            while at < Kind::ALL.len() {
                kinds[Kind::ALL[at] as usize] = Some(Kind::ALL[at]);
                at += 1;
            }
            kinds
        };
        BY_NUMBER[raw as usize]
    }

    /// The lower-case name used in text and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::AddFailed => "add failed",
            Self::Kick => "kick",
            Self::Notify => "notify",
            Self::Callback => "callback",
            Self::Used => "used",
            Self::CallbacksDisabled => "callbacks disabled",
            Self::CallbacksEnabled => "callbacks enabled",
            Self::Detach => "detach",
            Self::QueueFacts => "queue facts",
            Self::Reset => "reset",
            Self::Statistics => "statistics",
            Self::Missed => "missed",
            Self::InFlight => "in flight",
            Self::Taken => "taken",
            Self::Returned => "returned",
            Self::InterruptSent => "interrupt sent",
        }
    }

    /// Whether the operation moves data or notice from the driver towards the
    /// device. pcapng calls that *outbound*.
    pub const fn is_towards_device(self) -> bool {
        matches!(
            self,
            Self::Add | Self::AddFailed | Self::Kick | Self::Notify | Self::Taken
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where the operation ran.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[repr(u8)]
pub enum Context {
    /// Not known.
    #[default]
    Unknown = 0,
    /// In the thread that the record names.
    Task = 1,
    /// In a softirq: the record's thread is whoever was interrupted.
    SoftIrq = 2,
    /// In a hardirq: the record's thread is whoever was interrupted.
    HardIrq = 3,
}

impl Context {
    /// The context with this number; numbers without a name are `Unknown`.
    pub const fn from_raw(raw: u8) -> Self {
        match raw {
            1 => Self::Task,
            2 => Self::SoftIrq,
            3 => Self::HardIrq,
            _ => Self::Unknown,
        }
    }

    /// Whether the record's process and thread are merely who was interrupted.
    pub const fn is_interrupt(self) -> bool {
        matches!(self, Self::SoftIrq | Self::HardIrq)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "unknown",
            Self::Task => "task",
            Self::SoftIrq => "softirq",
            Self::HardIrq => "hardirq",
        })
    }
}

bitflags::bitflags! {
    /// What is special about a record.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
    pub struct Flags: u16 {
        /// The buffer stands in an indirect descriptor table.
        const INDIRECT = 1 << 0;
        /// The verdict of a kick or of an interrupt decision: notify.
        const NOTIFICATION_NEEDED = 1 << 1;
        /// A callback that found nothing used.
        const SPURIOUS = 1 << 2;
        /// The queue was found or marked broken.
        const BROKEN = 1 << 3;
        /// Verdict and sampled reason disagree: the other side changed its mind
        /// in between.
        const RACED = 1 << 4;
        /// Positions are packed ones: offset in bits 0–14, wrap counter in 15.
        const PACKED = 1 << 5;
        /// Payload was wanted and could not be reached.
        const PAYLOAD_UNAVAILABLE = 1 << 6;
        /// Enabling callbacks found used buffers pending already.
        const PENDING = 1 << 7;
        /// Suppression goes by event index: the event fields are meaningful.
        const EVENT_IDX = 1 << 8;
        /// Stands at the beginning or at the end of one file of several, so that each can
        /// be read by itself. It says again what other files say, has no number in its
        /// producer's sequence, and counts nowhere.
        const REPEATED = 1 << 9;
    }
}

/// Why a notification was or was not needed, as *sampled* beside the verdict.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[repr(u8)]
pub enum NotificationReason {
    /// Not sampled, or a reason that this version has no name for.
    #[default]
    Unknown = 0,
    /// The other side's flag asks for notifications.
    FlagClear = 1,
    /// The other side's flag asks for none (`VIRTQ_USED_F_NO_NOTIFY`,
    /// `VIRTQ_AVAIL_F_NO_INTERRUPT`).
    FlagSet = 2,
    /// The event index lies in the range that was published.
    EventCrossed = 3,
    /// The event index lies outside it.
    EventNotCrossed = 4,
    /// Nothing was added since the last decision.
    NothingAdded = 5,
}

impl NotificationReason {
    /// The reason with this number; numbers without a name are `Unknown`.
    pub const fn from_raw(raw: u8) -> Self {
        match raw {
            1 => Self::FlagClear,
            2 => Self::FlagSet,
            3 => Self::EventCrossed,
            4 => Self::EventNotCrossed,
            5 => Self::NothingAdded,
            _ => Self::Unknown,
        }
    }

    /// The verdict this reason leads to, if it leads to one.
    pub const fn verdict(self) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::FlagClear | Self::EventCrossed => Some(true),
            Self::FlagSet | Self::EventNotCrossed | Self::NothingAdded => Some(false),
        }
    }
}

impl fmt::Display for NotificationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "reason unknown",
            Self::FlagClear => "flag clear",
            Self::FlagSet => "flag set",
            Self::EventCrossed => "event index crossed",
            Self::EventNotCrossed => "event index not crossed",
            Self::NothingAdded => "nothing added",
        })
    }
}

/// The layout of a virtqueue (virtio 1.4 §2.7, §2.8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[repr(u16)]
pub enum Layout {
    /// Descriptor table, available ring, used ring (§2.7).
    #[default]
    Split = 0,
    /// One ring of descriptors with wrap counters (§2.8).
    Packed = 1,
}

impl Layout {
    /// The layout with this number, if this version knows it.
    pub const fn from_raw(raw: u16) -> Option<Self> {
        match raw {
            0 => Some(Self::Split),
            1 => Some(Self::Packed),
            _ => None,
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Split => "split",
            Self::Packed => "packed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_number() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_raw(kind as u8), Some(kind));
        }
        assert_eq!(Kind::from_raw(0), None);
        assert_eq!(Kind::from_raw(255), None);
    }
}
