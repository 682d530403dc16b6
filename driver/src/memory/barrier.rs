//! Every memory barrier of the two halves, by name.
//!
//! A barrier is not a number in an argument but a place in the protocol: what is
//! written before it, what is looked at behind it, and which sentence of the
//! specification asks for it. Because each has a name, a model of the memory can
//! leave out one at a time and show that it is missed
//! (`driver/tests/loom_barriers.rs`).

use std::sync::atomic::Ordering;

/// What a barrier orders.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BarrierKind {
    /// A store that is seen only after all stores before it.
    Release,
    /// A load whose sight of a release makes what came before that one seen.
    Acquire,
    /// Stores before it are seen before loads behind it look.
    Full,
}

/// Which half of the queue has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// The driver's.
    Driver,
    /// The device's.
    Device,
}

macro_rules! barriers {
    ($($(#[$doc:meta])* $name:ident: $half:ident, $kind:ident;)*) => {
        /// A memory barrier of the driver's or the device's half.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Barrier {
            $($(#[$doc])* $name,)*
        }

        impl Barrier {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What it orders.
            pub const fn kind(self) -> BarrierKind {
                match self {
                    $(Self::$name => BarrierKind::$kind,)*
                }
            }

            /// Whose it is.
            pub const fn half(self) -> Half {
                match self {
                    $(Self::$name => Half::$half,)*
                }
            }
        }
    };
}

barriers! {
    /// Split, driver: descriptors and the ring entry, before the available index
    /// that makes them available (virtio 1.4 §2.7.13.3.1).
    SplitAvailable: Driver, Release;
    /// Split, driver: the used index, before the used entries and what the device
    /// wrote into their buffers (virtio 1.4 §2.7.14).
    SplitUsed: Driver, Acquire;
    /// Split, driver: the available index, before the device's wish not to be
    /// notified is looked at (virtio 1.4 §2.7.13.4.1).
    SplitKick: Driver, Full;
    /// Split, driver: the wish for an interrupt, before the last look for used
    /// buffers (virtio 1.4 §2.7.14).
    SplitPoll: Driver, Full;
    /// Split, driver: the wish for an interrupt after most buffers, before the look
    /// how many were used (virtio 1.4 §2.7.14; Linux
    /// `virtqueue_enable_cb_delayed_split`).
    SplitDelayed: Driver, Full;
    /// Split, driver: `used_event` as it moves on with each buffer taken, before
    /// the next look for one (Linux `virtqueue_get_buf_ctx_split`).
    SplitHarvest: Driver, Full;
    /// Packed, driver: a list's descriptors, before the flags of its first that
    /// make it available (virtio 1.4 §2.8.21.1.1).
    PackedAvailable: Driver, Release;
    /// Packed, driver: how far used buffers were taken, before a descriptor that
    /// comes into the place of a taken one. Not for the device, but for those beside
    /// the queue who look there for a used one
    /// ([`QueueHandle::interrupt`](crate::ring::QueueHandle::interrupt)).
    PackedRecycle: Driver, Release;
    /// Packed, driver: the flags that mark a descriptor used, before what the
    /// device wrote into the buffer (virtio 1.4 §2.8.22).
    PackedUsed: Driver, Acquire;
    /// Packed, driver: the flags, before the device event suppression is looked
    /// at (virtio 1.4 §2.8.21.3.1).
    PackedKick: Driver, Full;
    /// Packed, driver: the driver event suppression, before the last look for
    /// used buffers (virtio 1.4 §2.8.22).
    PackedPoll: Driver, Full;
    /// Packed, driver: the event offset as it moves on with each buffer taken,
    /// before the next look for one (Linux `virtqueue_get_buf_ctx_packed`).
    PackedHarvest: Driver, Full;
    /// Either layout, driver: what made buffers available, before the place behind them
    /// that a notification names (virtio 1.4 §2.9). For those who notify beside the queue:
    /// they name no place that the device can't see yet.
    NotificationPlace: Driver, Release;
    /// Either layout, driver: the place that a notification names, before the notification.
    NotificationSent: Driver, Acquire;
    /// Split, device: the available index, before the entries and descriptors
    /// behind it.
    DeviceSplitAvailable: Device, Acquire;
    /// Split, device: buffers and used entries, before the used index
    /// (virtio 1.4 §2.7.8.2).
    DeviceSplitUsed: Device, Release;
    /// Split, device: the used index, before the driver's wish not to be
    /// interrupted is looked at (virtio 1.4 §2.7.7.2).
    DeviceSplitInterrupt: Device, Full;
    /// Split, device: the wish for kicks, before the last look for available
    /// buffers (virtio 1.4 §2.7.10).
    DeviceSplitEnableKicks: Device, Full;
    /// Packed, device: the flags that mark a descriptor available, before the
    /// list behind it.
    DevicePackedAvailable: Device, Acquire;
    /// Packed, device: buffers and later used descriptors, before the flags of
    /// the first that mark it used (virtio 1.4 §2.8.6).
    DevicePackedUsed: Device, Release;
    /// Packed, device: the flags, before the driver event suppression is looked
    /// at (virtio 1.4 §2.8.14).
    DevicePackedInterrupt: Device, Full;
    /// Packed, device: the device event suppression, before the last look for
    /// available buffers (virtio 1.4 §2.8.14).
    DevicePackedEnableKicks: Device, Full;
}

/// How a ring word is reached: on its own, or as one end of a [`Barrier`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Only the word itself matters.
    Relaxed,
    /// A store that is this release, or a load that is this acquire.
    Barrier(Barrier),
}

impl Order {
    /// The ordering of a load.
    #[inline(always)]
    pub const fn load(self) -> Ordering {
        match self {
            Self::Relaxed => Ordering::Relaxed,
            Self::Barrier(_) => Ordering::Acquire,
        }
    }

    /// The ordering of a store.
    #[inline(always)]
    pub const fn store(self) -> Ordering {
        match self {
            Self::Relaxed => Ordering::Relaxed,
            Self::Barrier(_) => Ordering::Release,
        }
    }
}
