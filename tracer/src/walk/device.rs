//! What is found: devices, their queues, and what stands in a ring.

use serde::Serialize;

/// A virtio device of this kernel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Device {
    /// Its name, like `virtio0`.
    pub name: String,
    /// The number in its name.
    pub index: u16,
    /// The driver that is bound to it, like `9pnet_virtio`.
    pub driver: Option<String>,
    /// What it hangs on: a PCI device, like `0000:00:02.0`, or a platform device.
    pub parent: Option<String>,
    /// Its type (virtio 1.4 §5), like 2 for a block device.
    pub device_type: u32,
    /// Its vendor, as the transport has it.
    pub vendor: u32,
    /// The negotiated features, bits 0 to 63.
    pub features: u64,
    /// The negotiated features from bit 64 on, where the kernel has any.
    pub more_features: u64,
    /// Where its `struct virtio_device` is.
    pub address: u64,
    /// Its queues, in the order of their indices.
    pub queues: Vec<Queue>,
}

/// A virtqueue of this kernel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Queue {
    /// Its number on its device.
    pub index: u16,
    /// Its driver's name for it, like `requests`.
    pub name: Option<String>,
    /// How many descriptors it has.
    pub size: u16,
    /// How its ring is laid out.
    pub layout: RingLayout,
    /// Whether indirect tables are used.
    pub indirect: bool,
    /// Whether event indices are used.
    pub event_idx: bool,
    /// Whether its driver wants to be called back at all.
    pub has_callback: bool,
    /// Where its `struct virtqueue` is: what the kernel's functions are called with.
    pub address: u64,
    /// Where its `struct vring_virtqueue` is.
    pub vring: u64,
    /// Where its areas are.
    pub areas: Areas,
}

/// Where a ring's three areas are (virtio 1.4 §2.6): the kernel's addresses, and the
/// ones the device was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Areas {
    /// The descriptor area.
    pub descriptors: Area,
    /// The driver area: the available ring, or the driver's event suppression.
    pub driver: Area,
    /// The device area: the used ring, or the device's event suppression.
    pub device: Area,
}

/// Where one area is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Area {
    /// The kernel's address.
    pub kernel: u64,
    /// The device's address: guest-physical, unless an IOMMU is between. 0 if the
    /// kernel keeps none, as for rings that a driver has laid out itself.
    pub device: u64,
}

/// How a ring is laid out: Linux `enum vq_layout`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RingLayout {
    /// virtio 1.4 §2.7.
    Split,
    /// virtio 1.4 §2.8.
    Packed,
    /// Split, and used in the order of being made available (virtio 1.4 §2.7.9).
    SplitInOrder,
    /// Packed, and used in the order of being made available (virtio 1.4 §2.8.8).
    PackedInOrder,
}

impl RingLayout {
    /// Whether it is a packed one.
    pub const fn is_packed(self) -> bool {
        matches!(self, Self::Packed | Self::PackedInOrder)
    }
}

impl std::fmt::Display for RingLayout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Split => "split",
            Self::Packed => "packed",
            Self::SplitInOrder => "split in-order",
            Self::PackedInOrder => "packed in-order",
        })
    }
}

/// A ring as it is at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Inspection {
    /// The queue.
    pub queue: Queue,
    /// Whether all was read of one moment.
    pub stability: Stability,
    /// Whether the driver has given the ring up: Linux `broken`.
    pub broken: bool,
    /// Descriptors that are free: Linux `num_free`.
    pub free: u32,
    /// Head of the list of free descriptors, or the next free id: Linux `free_head`.
    pub free_head: u32,
    /// Buffers added since the last kick decision: Linux `num_added`.
    pub added: u32,
    /// Whether an interrupt has come since callbacks were last enabled, where the kernel
    /// keeps that: Linux `event_triggered`.
    pub event_triggered: Option<bool>,
    /// What the layout has of its own.
    pub ring: Ring,
    /// The buffers that were added and not taken back.
    pub in_flight: Vec<InFlight>,
    /// Whether `in_flight` and the number of free descriptors add up to the ring's size;
    /// `None` where a buffer's descriptors could not be counted.
    pub adds_up: Option<bool>,
}

/// Whether what was read is of one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stability {
    /// Reading it again showed the same.
    Stable,
    /// It changed each time it was read: parts may be of different moments.
    Moving,
}

/// What a ring's layout has of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "layout")]
pub enum Ring {
    /// virtio 1.4 §2.7.
    Split(SplitRing),
    /// virtio 1.4 §2.8.
    Packed(PackedRing),
}

/// The positions and flags of a split ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct SplitRing {
    /// The available ring's `idx`: how many buffers were made available, modulo 65536.
    pub avail_idx: u16,
    /// The driver's own copy of it: Linux `avail_idx_shadow`.
    pub avail_idx_shadow: u16,
    /// The available ring's `flags`: 1 asks for no interrupts.
    pub avail_flags: u16,
    /// Up to where the driver wants no interrupt, where event indices are used.
    pub used_event: u16,
    /// The used ring's `idx`: how many buffers the device has returned, modulo 65536.
    pub used_idx: u16,
    /// The used ring's `flags`: 1 asks for no kicks.
    pub used_flags: u16,
    /// Up to where the device wants no kick, where event indices are used.
    pub avail_event: u16,
    /// How many buffers the driver has taken back, modulo 65536: Linux `last_used_idx`.
    pub last_used_idx: u16,
}

/// The positions and flags of a packed ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct PackedRing {
    /// Where the driver makes the next buffer available: Linux `next_avail_idx`.
    pub next_avail: u16,
    /// The driver's wrap counter: Linux `avail_wrap_counter`.
    pub avail_wrap: bool,
    /// Where the driver expects the next used buffer: Linux `last_used_idx`.
    pub next_used: u16,
    /// The wrap counter it expects there.
    pub used_wrap: bool,
    /// What the driver asks of the device.
    pub driver_event: EventSuppression,
    /// What the device asks of the driver.
    pub device_event: EventSuppression,
}

/// An event suppression area (virtio 1.4 §2.8.14).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct EventSuppression {
    /// The position in the ring that it is about.
    pub offset: u16,
    /// The wrap counter that it is about.
    pub wrap: bool,
    /// 0 all notifications, 1 none, 2 at that position.
    pub flags: u16,
}

/// A buffer that was added and not taken back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct InFlight {
    /// Its first descriptor in a split ring, its buffer id in a packed one.
    pub head: u16,
    /// The data token that identifies it to its driver.
    pub token: u64,
    /// Where it is.
    pub whereabouts: Whereabouts,
    /// How many descriptors of the ring it takes; `None` if that could not be followed.
    pub descriptors: Option<u16>,
    /// How many entries its indirect table has, if it has one.
    pub indirect: Option<u32>,
    /// Bytes that the device may read; `None` if they could not be counted.
    pub readable: Option<u64>,
    /// Bytes that the device may write; `None` if they could not be counted.
    pub writable: Option<u64>,
}

/// Where a buffer in flight is, as far as a guest can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Whereabouts {
    /// The device has not returned it. Whether it has looked at it cannot be seen.
    Device,
    /// The device has returned it, and the driver has not taken it back.
    Returned,
}
