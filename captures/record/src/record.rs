//! The 64-byte record: what all kinds share, and the room for what they don't.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    Body, Context, Flags, Generation, Kind, Producer, ProducerId, QueueId, Sequence, Timestamp,
    Token,
};

/// One operation on one virtqueue: 64 bytes, little-endian.
///
/// | bytes | field |
/// |---|---|
/// | 0–7 | time, `CLOCK_MONOTONIC` ns |
/// | 8–15 | token |
/// | 16–19 | sequence, per queue and producer |
/// | 20–21 | queue index |
/// | 22–23 | device number |
/// | 24–27 | process (Linux tgid) |
/// | 28–31 | thread (Linux pid) |
/// | 32–33 | generation |
/// | 34–35 | producer |
/// | 36 | kind |
/// | 37 | context |
/// | 38–39 | flags |
/// | 40–63 | overlaid per kind: see [`Body`] |
///
/// Aligned to 8, so that the eBPF programs may store it by whole words.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct Record {
    time: U64,
    token: U64,
    sequence: U32,
    queue: U32,
    process: U32,
    thread: U32,
    generation: U16,
    producer: U16,
    kind: u8,
    context: u8,
    flags: U16,
    pub(crate) body: [u8; 24],
}

const _: () = {
    assert!(size_of::<Record>() == Record::LEN);
    assert!(align_of::<Record>() == 8);
    assert!(core::mem::offset_of!(Record, time) == 0);
    assert!(core::mem::offset_of!(Record, token) == 8);
    assert!(core::mem::offset_of!(Record, sequence) == 16);
    assert!(core::mem::offset_of!(Record, queue) == 20);
    assert!(core::mem::offset_of!(Record, process) == 24);
    assert!(core::mem::offset_of!(Record, thread) == 28);
    assert!(core::mem::offset_of!(Record, generation) == 32);
    assert!(core::mem::offset_of!(Record, producer) == 34);
    assert!(core::mem::offset_of!(Record, kind) == 36);
    assert!(core::mem::offset_of!(Record, context) == 37);
    assert!(core::mem::offset_of!(Record, flags) == 38);
    assert!(core::mem::offset_of!(Record, body) == Record::BODY_OFFSET);
};

/// What every record says, whatever its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Common {
    /// When: before the effect is visible to the other side for whoever makes
    /// it, after it was seen for whoever observes it.
    pub time: Timestamp,
    /// Which queue.
    pub queue: QueueId,
    /// Which life of that queue.
    pub generation: Generation,
    /// Who wrote the record.
    pub producer: ProducerId,
    /// The record's number among those of its queue and producer.
    pub sequence: Sequence,
    /// Where the operation ran.
    pub context: Context,
    /// The process (Linux tgid), 0 if unknown.
    pub process: u32,
    /// The thread (Linux pid), 0 if unknown.
    pub thread: u32,
    /// The buffer's token, where the operation is about one.
    pub token: Token,
    /// What is special about it.
    pub flags: Flags,
}

/// Bytes that cannot be a record, or a record whose kind has another meaning
/// than its bytes allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadRecord {
    /// Not 64 bytes.
    #[error("{len} bytes where a 64-byte record should stand")]
    Length {
        /// How many there are.
        len: usize,
    },
    /// A kind that this version has no name for.
    #[error("record kind {kind} is unknown to this version")]
    Kind {
        /// The number.
        kind: u8,
    },
    /// Queue facts of a layout that this version has no name for.
    #[error("queue layout {layout} is unknown to this version")]
    Layout {
        /// The number.
        layout: u16,
    },
}

impl Record {
    /// Bytes of a record.
    pub const LEN: usize = 64;
    /// Where the part that is overlaid per kind begins.
    pub const BODY_OFFSET: usize = 40;

    /// The record that says `common` and `body`.
    // Always, because the kernel takes no type information of an enum with fields: in a
    // BPF program no function may be left that has a `Body` for an argument.
    #[inline(always)]
    pub fn new(common: Common, body: Body) -> Self {
        let (kind, bytes) = body.to_raw();
        // Statistics keep their filtered count where other kinds keep the token.
        let token = match body {
            Body::Statistics(statistics) => statistics.filtered,
            _ => common.token.0,
        };
        Self {
            time: U64::new(common.time.as_nanos()),
            token: U64::new(token),
            sequence: U32::new(common.sequence.0),
            queue: U32::new(common.queue.to_raw()),
            process: U32::new(common.process),
            thread: U32::new(common.thread),
            generation: U16::new(common.generation.0),
            producer: U16::new(common.producer.0),
            kind: kind as u8,
            context: common.context as u8,
            flags: U16::new(common.flags.bits()),
            body: bytes,
        }
    }

    /// The record of this kind that says `common` and has a body of these words
    /// ([`Body::to_words`]), as eight words in memory order: the same bytes as
    /// [`new`](Self::new) makes. For who stores it at once, by words: a record put
    /// together from its fields in memory, and copied from there, waits for its own
    /// stores.
    ///
    /// Not for statistics, which have no token.
    #[inline(always)]
    pub fn words(common: &Common, kind: Kind, body: [u64; 3]) -> [u64; 8] {
        debug_assert_ne!(kind, Kind::Statistics);
        let pair = |low: u32, high: u32| (u64::from(low) | u64::from(high) << 32).to_le();
        let halves = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
        let what = u16::from(kind as u8) | u16::from(common.context as u8) << 8;
        let [first, second, third] = body;
        [
            common.time.as_nanos().to_le(),
            common.token.0.to_le(),
            pair(common.sequence.0, common.queue.to_raw()),
            pair(common.process, common.thread),
            pair(
                halves(common.generation.0, common.producer.0),
                halves(what, common.flags.bits()),
            ),
            first,
            second,
            third,
        ]
    }

    /// The record's bytes as eight words in memory order.
    #[inline]
    pub fn to_words(&self) -> [u64; 8] {
        zerocopy::transmute!(*self)
    }

    /// The record whose bytes are these words, in memory order.
    #[inline]
    pub fn from_words(words: [u64; 8]) -> Self {
        zerocopy::transmute!(words)
    }

    /// The record in `bytes`, which must be exactly 64. Any 64 bytes pass: a
    /// kind or a flag of a later version is kept as it is.
    ///
    /// # Errors
    /// Another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadRecord> {
        Self::read_from_bytes(bytes).map_err(|_| BadRecord::Length { len: bytes.len() })
    }

    /// The 64 bytes as they stand in a packet.
    pub fn as_bytes(&self) -> &[u8] {
        IntoBytes::as_bytes(self)
    }

    /// What the record says beside its body.
    pub fn common(&self) -> Common {
        Common {
            time: self.time(),
            queue: self.queue(),
            generation: self.generation(),
            producer: ProducerId(self.producer.get()),
            sequence: self.sequence(),
            context: self.context(),
            process: self.process(),
            thread: self.thread(),
            token: self.token(),
            flags: self.flags(),
        }
    }

    /// The part that depends on the kind.
    ///
    /// # Errors
    /// A kind or a layout that this version has no name for.
    #[inline]
    pub fn body(&self) -> Result<Body, BadRecord> {
        Body::from_raw(self.kind()?, self)
    }

    /// What happened.
    ///
    /// # Errors
    /// A kind that this version has no name for.
    #[inline]
    pub fn kind(&self) -> Result<Kind, BadRecord> {
        Kind::from_raw(self.kind).ok_or(BadRecord::Kind { kind: self.kind })
    }

    /// When it happened.
    #[inline]
    pub fn time(&self) -> Timestamp {
        Timestamp::from_nanos(self.time.get())
    }

    /// Which queue it happened on.
    #[inline]
    pub fn queue(&self) -> QueueId {
        QueueId::from_raw(self.queue.get())
    }

    /// Which life of that queue.
    #[inline]
    pub fn generation(&self) -> Generation {
        Generation(self.generation.get())
    }

    /// Who wrote it.
    #[inline]
    pub fn producer(&self) -> Producer {
        ProducerId(self.producer.get()).into()
    }

    /// The same record at another time: what a capture needs that is brought onto
    /// another clock.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = U64::new(time.as_nanos());
        self
    }

    /// The same record of another queue: what a capture needs whose queues are
    /// numbered anew.
    #[must_use]
    pub fn of_queue(mut self, queue: QueueId) -> Self {
        self.queue = U32::new(queue.to_raw());
        self
    }

    /// Its number among those of its queue and producer.
    #[inline]
    pub fn sequence(&self) -> Sequence {
        Sequence(self.sequence.get())
    }

    /// Where it ran.
    #[inline]
    pub fn context(&self) -> Context {
        Context::from_raw(self.context)
    }

    /// The process (Linux tgid), 0 if unknown.
    #[inline]
    pub fn process(&self) -> u32 {
        self.process.get()
    }

    /// The thread (Linux pid), 0 if unknown; in interrupt context whoever was
    /// interrupted.
    #[inline]
    pub fn thread(&self) -> u32 {
        self.thread.get()
    }

    /// The buffer's token, where the operation is about one.
    #[inline]
    pub fn token(&self) -> Token {
        match self.kind() {
            Ok(Kind::Statistics) => Token::default(),
            _ => Token(self.token.get()),
        }
    }

    /// What is special about it. Bits of a later version are kept.
    #[inline]
    pub fn flags(&self) -> Flags {
        Flags::from_bits_retain(self.flags.get())
    }

    pub(crate) fn raw_token(&self) -> u64 {
        self.token.get()
    }

    /// How many bytes the buffer held for this record's direction, of which the
    /// payload is the first *snaplen*: device-readable bytes for an add, used
    /// length for a used buffer. `None` for kinds that carry no buffer.
    pub fn full_payload_len(&self) -> Option<u32> {
        match self.body() {
            Ok(Body::Add(add)) => Some(add.readable_bytes),
            Ok(Body::Used(used)) => Some(used.used_length.min(used.writable_bytes)),
            _ => None,
        }
    }
}

impl core::fmt::Debug for Record {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Record")
            .field("common", &self.common())
            .field("body", &self.body())
            .finish()
    }
}
