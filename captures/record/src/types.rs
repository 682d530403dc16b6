//! One type per meaning, so that a queue index never passes for a descriptor.

use core::fmt;

/// An instant on `CLOCK_MONOTONIC`, in nanoseconds: the clock that eBPF's
/// `bpf_ktime_get_ns` reads as well.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The instant `ns` nanoseconds after the clock's zero.
    pub const fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the clock's zero.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Nanoseconds from `earlier` to `self`; zero if `earlier` is the later one.
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Which virtqueue: the number of the device (`virtio3` is 3) and the index of
/// the queue on that device (Linux `struct virtqueue::index`).
///
/// Shown as `virtio3.0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct QueueId {
    /// The device's number on its virtio bus.
    pub device: u16,
    /// The queue's index on that device.
    pub index: u16,
}

impl QueueId {
    /// Queue `index` of device `device`.
    pub const fn new(device: u16, index: u16) -> Self {
        Self { device, index }
    }

    pub(crate) const fn to_raw(self) -> u32 {
        ((self.device as u32) << 16) | self.index as u32
    }

    pub(crate) const fn from_raw(raw: u32) -> Self {
        Self {
            device: (raw >> 16) as u16,
            index: raw as u16,
        }
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "virtio{}.{}", self.device, self.index)
    }
}

/// A text that does not name a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a queue is named like `virtio0.1`: device number, dot, queue index")]
pub struct ParseQueueIdError;

impl core::str::FromStr for QueueId {
    type Err = ParseQueueIdError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (device, index) = s
            .strip_prefix("virtio")
            .and_then(|rest| rest.split_once('.'))
            .ok_or(ParseQueueIdError)?;
        Ok(Self {
            device: device.parse().map_err(|_| ParseQueueIdError)?,
            index: index.parse().map_err(|_| ParseQueueIdError)?,
        })
    }
}

/// Which life of a queue: a reset ends one generation and starts the next, and
/// nothing in flight crosses from one to the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Generation(pub u16);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// Who wrote a record, as it stands in the record. [`Producer`] is the readable
/// form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct ProducerId(pub u16);

/// Who wrote a record. Sequence numbers count per queue and producer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Producer {
    /// The driver half of the reference driver.
    DriverHalf,
    /// The device half, where the device is ours.
    DeviceHalf,
    /// The drainer, which writes queue facts and statistics.
    Recorder,
    /// A probe that ran on this CPU.
    Cpu(u16),
    /// A number that this version has no name for.
    Unknown(u16),
}

impl Producer {
    const CPU: u16 = 0x8000;

    /// The number that stands in the record. CPU numbers above 32767 wrap.
    pub const fn id(self) -> ProducerId {
        ProducerId(match self {
            Self::DriverHalf => 0,
            Self::DeviceHalf => 1,
            Self::Recorder => 2,
            Self::Cpu(cpu) => Self::CPU | cpu,
            Self::Unknown(raw) => raw,
        })
    }
}

impl From<ProducerId> for Producer {
    fn from(id: ProducerId) -> Self {
        match id.0 {
            0 => Self::DriverHalf,
            1 => Self::DeviceHalf,
            2 => Self::Recorder,
            raw if raw & Self::CPU != 0 => Self::Cpu(raw & !Self::CPU),
            raw => Self::Unknown(raw),
        }
    }
}

impl From<Producer> for ProducerId {
    fn from(producer: Producer) -> Self {
        producer.id()
    }
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DriverHalf => f.write_str("driver"),
            Self::DeviceHalf => f.write_str("device"),
            Self::Recorder => f.write_str("recorder"),
            Self::Cpu(cpu) => write!(f, "cpu{cpu}"),
            Self::Unknown(raw) => write!(f, "producer {raw}"),
        }
    }
}

/// A record's number among those of its queue and producer, counting from 0 and
/// wrapping at 2³². A hole in the numbers is a record that was lost.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Sequence(pub u32);

impl Sequence {
    /// The 64-bit number nearest to `near` whose low half is this one.
    ///
    /// Undoes the wrap at 2³², as long as records are less than 2³¹ apart.
    pub const fn unwrap_near(self, near: u64) -> u64 {
        let delta = self.0.wrapping_sub(near as u32) as i32;
        near.wrapping_add_signed(delta as i64)
    }
}

/// "The data token identifying the buffer" (Linux `virtqueue_add_sgs`): what the
/// driver gave with the buffer and gets back when it is used. Some drivers
/// repeat tokens, so it checks a join and never makes one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Token(pub u64);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A free-running 16-bit ring index (virtio 1.4 §2.7.6, `idx`): it wraps at
/// 65536 and is compared by distance only, which is why it has no order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct RingIndex(pub u16);

impl RingIndex {
    /// The index `count` entries on.
    #[must_use]
    pub const fn advance(self, count: u16) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// How many entries from `earlier` up to `self`, modulo 65536.
    pub const fn distance_from(self, earlier: Self) -> u16 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether an event index of `self` is crossed when an index moves from
    /// `old` to `new` (virtio 1.4 §2.7.10; Linux `vring_need_event`).
    pub const fn is_crossed_by(self, old: Self, new: Self) -> bool {
        new.0.wrapping_sub(self.0).wrapping_sub(1) < new.0.wrapping_sub(old.0)
    }

    /// The ring slot of this index in a ring of `size` entries.
    ///
    /// # Panics
    /// If `size` is zero.
    pub const fn slot(self, size: u16) -> u16 {
        self.0 % size
    }
}

impl fmt::Display for RingIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Feature bits 0 to 63 (virtio 1.4 §2.2, §6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct FeatureBits(pub u64);

impl FeatureBits {
    /// `VIRTIO_9P_MOUNT_TAG`: the configuration space holds the mount tag.
    pub const P9_MOUNT_TAG: Self = Self(1 << 0);
    /// `VIRTIO_F_INDIRECT_DESC` (virtio 1.4 §6).
    pub const INDIRECT_DESC: Self = Self(1 << 28);
    /// `VIRTIO_F_EVENT_IDX` (virtio 1.4 §6).
    pub const EVENT_IDX: Self = Self(1 << 29);
    /// `VIRTIO_F_VERSION_1` (virtio 1.4 §6).
    pub const VERSION_1: Self = Self(1 << 32);
    /// `VIRTIO_F_RING_PACKED` (virtio 1.4 §6).
    pub const RING_PACKED: Self = Self(1 << 34);
    /// `VIRTIO_F_IN_ORDER` (virtio 1.4 §6).
    pub const IN_ORDER: Self = Self(1 << 35);
    /// `VIRTIO_F_NOTIFICATION_DATA` (virtio 1.4 §6).
    pub const NOTIFICATION_DATA: Self = Self(1 << 38);
    /// `VIRTIO_F_RING_RESET` (virtio 1.4 §6).
    pub const RING_RESET: Self = Self(1 << 40);

    /// Whether every bit of `other` is set in `self`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits set in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The bits set in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits of `self` that are not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Display for FeatureBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn indices_wrap_at_65535() {
        assert_eq!(RingIndex(65535).advance(1), RingIndex(0));
        assert_eq!(RingIndex(2).distance_from(RingIndex(65534)), 4);
        assert!(RingIndex(65535).is_crossed_by(RingIndex(65535), RingIndex(0)));
        assert!(!RingIndex(0).is_crossed_by(RingIndex(65535), RingIndex(0)));
    }

    #[test]
    fn queue_names_round_trip() {
        let id = QueueId::new(3, 1);
        extern crate std;
        use std::string::ToString;
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("eth0".parse::<QueueId>(), Err(ParseQueueIdError));
    }

    proptest! {
        /// The event index is crossed exactly when it is one of the entries
        /// that were passed.
        #[test]
        fn crossing_is_membership(event: u16, old: u16, moved in 0u16..=1024) {
            let passed = (0..moved).any(|i| old.wrapping_add(i) == event);
            prop_assert_eq!(
                RingIndex(event).is_crossed_by(RingIndex(old), RingIndex(old).advance(moved)),
                passed
            );
        }

        #[test]
        fn sequences_unwrap(near in (1u64 << 32)..(1 << 48), step in -1_000_000i64..1_000_000) {
            let number = near.wrapping_add_signed(step);
            prop_assert_eq!(Sequence(number as u32).unwrap_near(near), number);
        }

        #[test]
        fn producers_round_trip(raw: u16) {
            prop_assert_eq!(Producer::from(ProducerId(raw)).id(), ProducerId(raw));
        }
    }
}
