//! The 24 bytes of a record that are overlaid per kind, each through its view.
//!
//! Every view is a plain struct of native integers; the wire form beside it
//! says which byte holds what.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{
    BadRecord, FeatureBits, Kind, Layout, NotificationReason, ProducerId, Record, RingIndex,
};

/// What a record says beyond [`Common`](crate::Common), by kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// [`Kind::Add`].
    Add(Add),
    /// [`Kind::AddFailed`]: what was asked for, and the error.
    AddFailed(Add),
    /// [`Kind::Kick`].
    Kick(Notification),
    /// [`Kind::Notify`].
    Notify(Notify),
    /// [`Kind::Callback`].
    Callback(Callback),
    /// [`Kind::Used`].
    Used(Used),
    /// [`Kind::CallbacksDisabled`].
    CallbacksDisabled(CallbackSwitch),
    /// [`Kind::CallbacksEnabled`].
    CallbacksEnabled(CallbackSwitch),
    /// [`Kind::Detach`].
    Detach(Detach),
    /// [`Kind::QueueFacts`].
    QueueFacts(QueueFacts),
    /// [`Kind::Reset`].
    Reset(Reset),
    /// [`Kind::Statistics`].
    Statistics(Statistics),
    /// [`Kind::Missed`].
    Missed(Missed),
    /// [`Kind::InFlight`].
    InFlight(InFlight),
    /// [`Kind::Taken`].
    Taken(Taken),
    /// [`Kind::Returned`].
    Returned(Returned),
    /// [`Kind::InterruptSent`].
    InterruptSent(Notification),
}

/// How a field's type stands in a record.
trait OnWire: Copy {
    type Raw;
    fn to_raw(self) -> Self::Raw;
    fn from_raw(raw: Self::Raw) -> Self;
}

macro_rules! on_wire {
    ($ty:ty = $raw:ty: $to:expr, $from:expr) => {
        impl OnWire for $ty {
            type Raw = $raw;
            #[inline]
            fn to_raw(self) -> $raw {
                ($to)(self)
            }
            #[inline]
            fn from_raw(raw: $raw) -> Self {
                ($from)(raw)
            }
        }
    };
}

on_wire!(u16 = U16: U16::new, |raw: U16| raw.get());
on_wire!(u32 = U32: U32::new, |raw: U32| raw.get());
on_wire!(u64 = U64: U64::new, |raw: U64| raw.get());
on_wire!(RingIndex = U16: |index: RingIndex| U16::new(index.0), |raw: U16| RingIndex(raw.get()));
on_wire!(ProducerId = U16: |id: ProducerId| U16::new(id.0), |raw: U16| ProducerId(raw.get()));
on_wire!(FeatureBits = U64: |bits: FeatureBits| U64::new(bits.0), |raw: U64| FeatureBits(raw.get()));
on_wire!(NotificationReason = u8: |reason| reason as u8, NotificationReason::from_raw);
// An unknown layout is refused before the view is made: see `Body::from_raw`.
on_wire!(Layout = U16: |layout| U16::new(layout as u16), |raw: U16| {
    Layout::from_raw(raw.get()).unwrap_or_default()
});

/// Declares a view, its wire form of exactly 24 bytes and the way between them,
/// so that the order of the bytes stands in one place. The number at the end is
/// what is reserved: zero when written, ignored when read.
macro_rules! view {
    (
        $(#[$doc:meta])*
        $vis:vis struct $name:ident / $wire:ident {
            $( $(#[$fdoc:meta])* $field:ident : $ty:ty, )*
        }
        reserved $pad:literal
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        $vis struct $name { $( $(#[$fdoc])* $vis $field: $ty, )* }

        #[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        struct $wire { $( $field: <$ty as OnWire>::Raw, )* reserved: [u8; $pad] }

        const _: () = assert!(size_of::<$wire>() == Record::LEN - Record::BODY_OFFSET);

        impl $name {
            #[inline(always)]
            fn to_wire(self) -> [u8; 24] {
                let wire = $wire { $( $field: self.$field.to_raw(), )* reserved: [0; $pad] };
                zerocopy::transmute!(wire)
            }

            #[inline]
            fn from_wire(bytes: [u8; 24]) -> Self {
                let wire: $wire = zerocopy::transmute!(bytes);
                Self { $( $field: <$ty as OnWire>::from_raw(wire.$field), )* }
            }
        }
    };
}

view! {
    /// A buffer was added, or was to be.
    pub struct Add / AddWire {
        /// Free descriptors (packed: ring entries) after the operation.
        free: u16,
        /// The errno of a failed add (`ENOSPC`, `ENOMEM`, `EIO`), else 0.
        error: u16,
        /// Device-readable bytes.
        readable_bytes: u32,
        /// Device-writable bytes.
        writable_bytes: u32,
        /// The descriptor or buffer id under which the device will return it.
        head: u16,
        /// The available index this buffer was given; packed: offset and wrap.
        position: RingIndex,
        /// Device-readable segments.
        readable_segments: u16,
        /// Device-writable segments.
        writable_segments: u16,
        /// Ring descriptors taken: all segments, or 1 if indirect.
        descriptors: u16,
    }
    reserved 2
}

view! {
    /// The decision whether to notify the other side: a kick, or an interrupt.
    /// The verdict is [`Flags::NOTIFICATION_NEEDED`](crate::Flags); what stands
    /// here is the range it was about and a sample of why.
    pub struct Notification / NotificationWire {
        /// Free descriptors (packed: ring entries) after the operation; 0 where
        /// the device half decides.
        free: u16,
        /// An errno, else 0.
        error: u16,
        /// The published index at the decision before this one.
        old: RingIndex,
        /// The published index at this decision.
        new: RingIndex,
        /// The other side's event index as sampled (`avail_event` for a kick,
        /// `used_event` for an interrupt); packed: its event offset and wrap.
        event: RingIndex,
        /// The other side's flags as sampled.
        event_flags: u16,
        /// Why, as sampled.
        reason: NotificationReason,
    }
    reserved 11
}

view! {
    /// The device was notified.
    pub struct Notify / NotifyWire {
        /// Free descriptors (packed: ring entries) after the operation.
        free: u16,
        /// An errno if the notification failed, else 0.
        error: u16,
    }
    reserved 20
}

view! {
    /// A used buffer notification reached the driver.
    pub struct Callback / CallbackWire {
        /// Free descriptors (packed: ring entries).
        free: u16,
        /// An errno, else 0.
        error: u16,
        /// The device's used index as seen: buffers before it are announced.
        used_index: RingIndex,
        /// The next used entry the driver will take.
        last_used: RingIndex,
        /// The driver's own `used_event`; packed: its event offset and wrap.
        used_event: RingIndex,
        /// The driver's own flags (`avail.flags`; packed: event flags).
        event_flags: u16,
    }
    reserved 12
}

view! {
    /// A used buffer was taken back.
    pub struct Used / UsedWire {
        /// Free descriptors (packed: ring entries) after the operation.
        free: u16,
        /// `EIO` if the used entry broke the queue, else 0.
        error: u16,
        /// "Total length of the descriptor chain which was written to" (virtio
        /// 1.4 §2.7.8), as the device says it.
        used_length: u32,
        /// Device-writable bytes the buffer had.
        writable_bytes: u32,
        /// The descriptor or buffer id the device returned.
        head: u16,
        /// The used index of this entry; packed: offset and wrap.
        position: RingIndex,
        /// The device's used index as seen.
        used_index: RingIndex,
        /// Ring descriptors given back.
        descriptors: u16,
    }
    reserved 4
}

view! {
    /// Used buffer notifications were switched off or on.
    pub struct CallbackSwitch / CallbackSwitchWire {
        /// Free descriptors (packed: ring entries).
        free: u16,
        /// An errno, else 0.
        error: u16,
        /// The next used entry the driver will take.
        last_used: RingIndex,
        /// The `used_event` written, where event indices are in use.
        used_event: RingIndex,
        /// The flags written (`avail.flags`; packed: event flags).
        event_flags: u16,
    }
    reserved 14
}

view! {
    /// An unused buffer was taken out at shutdown.
    pub struct Detach / DetachWire {
        /// Free descriptors (packed: ring entries) after the operation.
        free: u16,
        /// An errno, else 0.
        error: u16,
        /// The descriptor or buffer id it stood under.
        head: u16,
    }
    reserved 18
}

view! {
    /// What the queue is. The payload is UTF-8: the interface's name
    /// (`virtio0/requests`), then `key=value` lines of what else is known.
    pub struct QueueFacts / QueueFactsWire {
        /// Entries of the ring (virtio 1.4 §2.6, Queue Size).
        size: u16,
        /// Buffers in flight when these facts were taken.
        in_flight: u16,
        /// The device's type (virtio 1.4 §5: 9 is the 9P transport).
        device_type: u16,
        /// Split or packed.
        layout: Layout,
        /// The features negotiated.
        features: FeatureBits,
    }
    reserved 8
}

view! {
    /// The queue was reset.
    pub struct Reset / ResetWire {
        /// Free descriptors (packed: ring entries) after the operation.
        free: u16,
        /// An errno, else 0.
        error: u16,
        /// Buffers that were in flight.
        in_flight: u16,
    }
    reserved 18
}

/// A producer's counters for this queue, since the producer began. They count up
/// to the moment the record was written, and the last of them tells what the
/// tail of the capture lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Whose counters these are.
    pub about: ProducerId,
    /// Whether these are the last of this producer.
    pub is_final: bool,
    /// Operations that happened but whose probe was skipped.
    pub missed: u32,
    /// Records the producer made, lost and filtered ones included.
    pub emitted: u64,
    /// Records the producer made and could not hand on.
    pub lost: u64,
    /// Records left out because a filter said so.
    pub filtered: u64,
}

view! {
    /// [`Statistics`], less the filtered count, which stands where other kinds
    /// have their token.
    struct StatisticsBody / StatisticsWire {
        /// Whose counters these are.
        about: ProducerId,
        /// 1 in the last statistics of this producer, else 0.
        is_final: u16,
        /// Operations that happened but whose probe was skipped.
        missed: u32,
        /// Records the producer made.
        emitted: u64,
        /// Records the producer made and could not hand on.
        lost: u64,
    }
    reserved 0
}

impl Statistics {
    #[inline(always)]
    fn to_wire(self) -> [u8; 24] {
        StatisticsBody {
            about: self.about,
            is_final: self.is_final.into(),
            missed: self.missed,
            emitted: self.emitted,
            lost: self.lost,
        }
        .to_wire()
    }

    #[inline]
    fn from_wire(bytes: [u8; 24], filtered: u64) -> Self {
        let body = StatisticsBody::from_wire(bytes);
        Self {
            about: body.about,
            is_final: body.is_final != 0,
            missed: body.missed,
            emitted: body.emitted,
            lost: body.lost,
            filtered,
        }
    }
}

view! {
    /// Operations that happened and left no record: the kernel skipped their probe
    /// (a probe does not nest in another on the same CPU), and the ring's own
    /// positions or the kernel's counters tell of it.
    ///
    /// A missed completion stands in a record of its own, with the buffer's token
    /// where it is known. The record's time, context and thread are those of the
    /// operation that found out.
    pub struct Missed / MissedWire {
        /// Free descriptors (packed: ring entries) when it was found out.
        free: u16,
        /// An errno, else 0.
        error: u16,
        /// How many operations, at least; exactly, for completions.
        count: u32,
        /// Which operation: the number of its [`Kind`]. See [`Missed::operation`].
        operation: u16,
        /// The ring position before the missed operations: available index of an
        /// add or kick, used index of a completion; packed: offset and wrap. Equal
        /// to `new` where the operation moves no position.
        old: RingIndex,
        /// The ring position after them.
        new: RingIndex,
        /// The descriptor or buffer id of a single missed completion or add,
        /// [`Missed::NO_HEAD`] if not known.
        head: u16,
        /// What the device says it wrote, if a single completion was missed and
        /// its used entry could still be read, else 0.
        used_length: u32,
    }
    reserved 4
}

impl Missed {
    /// No ring has a descriptor of this number.
    pub const NO_HEAD: u16 = u16::MAX;

    /// Which operation was missed, if this version knows it.
    pub fn operation(&self) -> Option<Kind> {
        Kind::from_raw(u8::try_from(self.operation).ok()?)
    }

    /// The descriptor or buffer id, if it is known.
    pub const fn head(&self) -> Option<u16> {
        if self.head == Self::NO_HEAD {
            None
        } else {
            Some(self.head)
        }
    }
}

view! {
    /// A buffer that was in flight when tracing began, as the driver's own
    /// bookkeeping has it. Its add lies before the capture: when it was, who made
    /// it and which kick decision covers it is not known.
    pub struct InFlight / InFlightWire {
        /// Free descriptors (packed: ring entries) when it was found.
        free: u16,
        /// An errno, else 0.
        error: u16,
        /// Device-readable bytes; 0 if not known, as the segments then are.
        readable_bytes: u32,
        /// Device-writable bytes; 0 if not known.
        writable_bytes: u32,
        /// The descriptor or buffer id under which the device will return it.
        head: u16,
        /// Device-readable segments, 0 if not known.
        readable_segments: u16,
        /// Device-writable segments, 0 if not known.
        writable_segments: u16,
        /// Ring descriptors it occupies.
        descriptors: u16,
    }
    reserved 4
}

view! {
    /// The device took an available buffer.
    pub struct Taken / TakenWire {
        /// Zero: what is free is the driver's to know.
        free: u16,
        /// An errno, else 0.
        error: u16,
        /// Device-readable bytes.
        readable_bytes: u32,
        /// Device-writable bytes.
        writable_bytes: u32,
        /// The descriptor or buffer id.
        head: u16,
        /// The available index it was taken from; packed: offset and wrap.
        position: RingIndex,
        /// The driver's available index as seen.
        avail_index: RingIndex,
        /// Device-readable segments.
        readable_segments: u16,
        /// Device-writable segments.
        writable_segments: u16,
    }
    reserved 2
}

view! {
    /// The device put a buffer into the used ring.
    pub struct Returned / ReturnedWire {
        /// Zero: what is free is the driver's to know.
        free: u16,
        /// An errno, else 0.
        error: u16,
        /// The length written, as told to the driver.
        used_length: u32,
        /// The descriptor or buffer id.
        head: u16,
        /// The used index of this entry; packed: offset and wrap.
        position: RingIndex,
    }
    reserved 12
}

impl Body {
    /// Which kind of record has this body.
    #[inline(always)]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Add(_) => Kind::Add,
            Self::AddFailed(_) => Kind::AddFailed,
            Self::Kick(_) => Kind::Kick,
            Self::Notify(_) => Kind::Notify,
            Self::Callback(_) => Kind::Callback,
            Self::Used(_) => Kind::Used,
            Self::CallbacksDisabled(_) => Kind::CallbacksDisabled,
            Self::CallbacksEnabled(_) => Kind::CallbacksEnabled,
            Self::Detach(_) => Kind::Detach,
            Self::QueueFacts(_) => Kind::QueueFacts,
            Self::Reset(_) => Kind::Reset,
            Self::Statistics(_) => Kind::Statistics,
            Self::Missed(_) => Kind::Missed,
            Self::InFlight(_) => Kind::InFlight,
            Self::Taken(_) => Kind::Taken,
            Self::Returned(_) => Kind::Returned,
            Self::InterruptSent(_) => Kind::InterruptSent,
        }
    }

    #[inline(always)]
    pub(crate) fn to_raw(self) -> (Kind, [u8; 24]) {
        (self.kind(), self.to_wire(|bytes| bytes))
    }

    /// The bytes behind [`Record::BODY_OFFSET`] as three words in memory order.
    // They are made words of before the kinds come together, so that a compiler may
    // keep them in registers.
    #[inline(always)]
    pub fn to_words(self) -> [u64; 3] {
        self.to_wire(|bytes| zerocopy::transmute!(bytes))
    }

    #[inline(always)]
    fn to_wire<W>(self, wire: impl Fn([u8; 24]) -> W) -> W {
        match self {
            Self::Add(view) | Self::AddFailed(view) => wire(view.to_wire()),
            Self::Kick(view) | Self::InterruptSent(view) => wire(view.to_wire()),
            Self::Notify(view) => wire(view.to_wire()),
            Self::Callback(view) => wire(view.to_wire()),
            Self::Used(view) => wire(view.to_wire()),
            Self::CallbacksDisabled(view) | Self::CallbacksEnabled(view) => wire(view.to_wire()),
            Self::Detach(view) => wire(view.to_wire()),
            Self::QueueFacts(view) => wire(view.to_wire()),
            Self::Reset(view) => wire(view.to_wire()),
            Self::Statistics(view) => wire(view.to_wire()),
            Self::Missed(view) => wire(view.to_wire()),
            Self::InFlight(view) => wire(view.to_wire()),
            Self::Taken(view) => wire(view.to_wire()),
            Self::Returned(view) => wire(view.to_wire()),
        }
    }

    #[inline]
    pub(crate) fn from_raw(kind: Kind, record: &Record) -> Result<Self, BadRecord> {
        let bytes = record.body;
        Ok(match kind {
            Kind::Add => Self::Add(Add::from_wire(bytes)),
            Kind::AddFailed => Self::AddFailed(Add::from_wire(bytes)),
            Kind::Kick => Self::Kick(Notification::from_wire(bytes)),
            Kind::Notify => Self::Notify(Notify::from_wire(bytes)),
            Kind::Callback => Self::Callback(Callback::from_wire(bytes)),
            Kind::Used => Self::Used(Used::from_wire(bytes)),
            Kind::CallbacksDisabled => Self::CallbacksDisabled(CallbackSwitch::from_wire(bytes)),
            Kind::CallbacksEnabled => Self::CallbacksEnabled(CallbackSwitch::from_wire(bytes)),
            Kind::Detach => Self::Detach(Detach::from_wire(bytes)),
            Kind::QueueFacts => {
                let layout = u16::from_le_bytes([bytes[6], bytes[7]]);
                Layout::from_raw(layout).ok_or(BadRecord::Layout { layout })?;
                Self::QueueFacts(QueueFacts::from_wire(bytes))
            }
            Kind::Reset => Self::Reset(Reset::from_wire(bytes)),
            Kind::Statistics => Self::Statistics(Statistics::from_wire(bytes, record.raw_token())),
            Kind::Missed => Self::Missed(Missed::from_wire(bytes)),
            Kind::InFlight => Self::InFlight(InFlight::from_wire(bytes)),
            Kind::Taken => Self::Taken(Taken::from_wire(bytes)),
            Kind::Returned => Self::Returned(Returned::from_wire(bytes)),
            Kind::InterruptSent => Self::InterruptSent(Notification::from_wire(bytes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Common, Flags, Token};
    use proptest::prelude::*;

    #[test]
    fn an_add_stands_where_the_table_says() {
        let record = Record::new(
            Common {
                token: Token(0x1122),
                flags: Flags::EVENT_IDX,
                ..Common::default()
            },
            Body::Add(Add {
                free: 0x0a0b,
                error: 28,
                readable_bytes: 0x0102_0304,
                writable_bytes: 0x0506_0708,
                head: 0x1314,
                position: RingIndex(0xffff),
                readable_segments: 2,
                writable_segments: 3,
                descriptors: 5,
            }),
        );
        let bytes = record.as_bytes();
        assert_eq!(bytes[8..10], [0x22, 0x11]);
        assert_eq!(bytes[36], 1);
        assert_eq!(
            bytes[40..64],
            [
                0x0b, 0x0a, 28, 0, 4, 3, 2, 1, 8, 7, 6, 5, 0x14, 0x13, 0xff, 0xff, 2, 0, 3, 0, 5,
                0, 0, 0
            ]
        );
    }

    #[test]
    fn an_unknown_layout_is_refused() {
        let mut record = Record::new(
            Common::default(),
            Body::QueueFacts(QueueFacts {
                size: 8,
                ..QueueFacts::default()
            }),
        );
        record.body[6] = 7;
        assert_eq!(record.body(), Err(BadRecord::Layout { layout: 7 }));
    }

    #[test]
    fn statistics_keep_their_filtered_count_and_have_no_token() {
        let statistics = Statistics {
            about: ProducerId(1),
            is_final: true,
            missed: 2,
            emitted: u64::MAX,
            lost: 3,
            filtered: 4,
        };
        let record = Record::new(Common::default(), Body::Statistics(statistics));
        assert_eq!(record.body(), Ok(Body::Statistics(statistics)));
        assert_eq!(record.token(), Token(0));
    }

    /// A body without padding survives as bytes; with padding, its view does.
    fn any_body() -> impl Strategy<Value = (Kind, [u8; 24])> {
        (proptest::sample::select(&Kind::ALL[..]), any::<[u8; 24]>())
    }

    proptest! {
        /// Whatever the bytes say, reading them, writing what was read and
        /// reading again says the same.
        #[test]
        fn every_kind_round_trips((kind, body) in any_body(), head: [u8; 36], tail: [u8; 3]) {
            let mut bytes = [0; 64];
            bytes[..36].copy_from_slice(&head);
            bytes[36] = kind as u8;
            bytes[37..40].copy_from_slice(&tail);
            bytes[37] &= 3;
            bytes[40..].copy_from_slice(&body);
            let record = Record::from_bytes(&bytes).unwrap();
            match record.body() {
                Ok(body) => {
                    let again = Record::new(record.common(), body);
                    prop_assert_eq!(again.body(), Ok(body));
                    prop_assert_eq!(again.common(), record.common());
                    prop_assert_eq!(again.kind(), Ok(kind));
                    let twice = Record::new(again.common(), again.body().unwrap());
                    prop_assert_eq!(twice.as_bytes(), again.as_bytes());
                    if kind != Kind::Statistics {
                        let words = Record::words(&again.common(), kind, body.to_words());
                        prop_assert_eq!(Record::from_words(words), again);
                        prop_assert_eq!(words, again.to_words());
                    }
                }
                Err(error) => prop_assert!(matches!(error, BadRecord::Layout { .. }), "{}", error),
            }
        }

        #[test]
        fn unknown_kinds_are_named(kind in 19u8..) {
            let mut bytes = [0; 64];
            bytes[36] = kind;
            let record = Record::from_bytes(&bytes).unwrap();
            prop_assert_eq!(record.body(), Err(BadRecord::Kind { kind }));
        }
    }
}
