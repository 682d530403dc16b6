//! The life of one request: from the add of its buffer to its return.

use virtscope_record::{
    Context, Generation, NotificationReason, QueueId, RingIndex, Timestamp, Token,
};

use crate::errno::Errno;
use crate::p9;

/// One buffer's way through a queue, as far as the records tell it.
///
/// Moments that were not seen are `None`; nothing in here is estimated.
#[derive(Clone, PartialEq, Debug)]
pub struct Life {
    /// Counts the lives of a stream from 0, in the order their first record came.
    pub number: u64,
    /// The queue it went through.
    pub queue: QueueId,
    /// Which life of that queue.
    pub generation: Generation,
    /// The descriptor or buffer id it stood under.
    pub head: u16,
    /// The data token of the add (of the used record, if no add was seen).
    pub token: Token,
    /// The process that added it (Linux tgid), 0 if unknown.
    pub process: u32,
    /// The thread that added it (Linux pid), 0 if unknown.
    pub thread: u32,
    /// Where the add ran. In interrupt context the thread is merely whoever was
    /// interrupted.
    pub context: Context,
    /// The available index the buffer was given, if the add was seen.
    pub position: Option<RingIndex>,
    /// The index of its used entry, if it was used.
    pub used_position: Option<RingIndex>,
    /// The buffer's segments and bytes.
    pub shape: BufferShape,
    /// When what happened to it.
    pub moments: Moments,
    /// The kick decision that covers it.
    pub kick: Option<KickDecision>,
    /// Whether the device half decided to interrupt for it; `None` if that
    /// decision was not seen.
    pub interrupted: Option<bool>,
    /// Bytes the device says it wrote, once used.
    pub used_length: Option<u32>,
    /// How it ended, or that it has not.
    pub outcome: Outcome,
    /// How long the device provably had the buffer before the kick decision.
    /// Linux publishes a buffer when it is added, so a device that runs anyway
    /// need not wait for the kick. Exact where the device half was seen, else the
    /// least it can have been.
    pub overlap_ns: u64,
    /// Whether the device's half wrote records about this buffer. If not, `taken`
    /// and `returned` are unknown to everyone but the device.
    pub device_half_seen: bool,
    /// What the request was.
    pub operation: Operation,
    /// What a 9P request is about: the paths of its fids, and how it is to be read.
    pub subject: p9::Subject,
    /// Start of the device-readable bytes: the request.
    pub request: Message,
    /// Start of the device-written bytes: the reply; empty until used.
    pub reply: Message,
    /// The error the reply carries (9P `Rlerror`, or `Rerror` of 9P2000.u).
    pub error: Option<Errno>,
    /// Data moved: what an `Rread` or `Rreaddir` returned or an `Rwrite` accepted;
    /// for a queue that is not 9P, all bytes readable and written.
    pub data_bytes: u64,
    /// It was used while a buffer added earlier was still in flight.
    pub out_of_order: bool,
    /// What about it contradicts itself.
    pub anomalies: Vec<Anomaly>,
}

impl Life {
    /// A life of which nothing is known.
    pub(crate) fn nothing_known() -> Self {
        Self {
            number: 0,
            queue: QueueId::default(),
            generation: Generation::default(),
            head: 0,
            token: Token::default(),
            process: 0,
            thread: 0,
            context: Context::Unknown,
            position: None,
            used_position: None,
            shape: BufferShape::default(),
            moments: Moments::default(),
            kick: None,
            interrupted: None,
            used_length: None,
            outcome: Outcome::InFlight,
            overlap_ns: 0,
            device_half_seen: false,
            operation: Operation::Buffer,
            subject: p9::Subject::default(),
            request: Message::default(),
            reply: Message::default(),
            error: None,
            data_bytes: 0,
            out_of_order: false,
            anomalies: Vec::new(),
        }
    }

    /// Makes it a life of which nothing is known again. The room of its messages is kept.
    pub(crate) fn restart(&mut self) {
        let Self {
            number,
            queue,
            generation,
            head,
            token,
            process,
            thread,
            context,
            position,
            used_position,
            shape,
            moments,
            kick,
            interrupted,
            used_length,
            outcome,
            overlap_ns,
            device_half_seen,
            operation,
            subject,
            request,
            reply,
            error,
            data_bytes,
            out_of_order,
            anomalies,
        } = self;
        *number = 0;
        *queue = QueueId::default();
        *generation = Generation::default();
        *head = 0;
        *token = Token::default();
        (*process, *thread) = (0, 0);
        *context = Context::Unknown;
        (*position, *used_position) = (None, None);
        *shape = BufferShape::default();
        *moments = Moments::default();
        *kick = None;
        *interrupted = None;
        *used_length = None;
        *outcome = Outcome::InFlight;
        *overlap_ns = 0;
        *device_half_seen = false;
        *operation = Operation::Buffer;
        *subject = p9::Subject::default();
        for message in [request, reply] {
            message.bytes.clear();
            message.full_length = 0;
        }
        *error = None;
        *data_bytes = 0;
        *out_of_order = false;
        anomalies.clear();
    }

    /// Time from add to used, if both were seen.
    pub fn total_ns(&self) -> Option<u64> {
        Some(self.moments.used?.nanos_since(self.moments.added?))
    }

    /// The phases, if the life is complete.
    pub fn phases(&self) -> Option<Phases> {
        match self.outcome {
            Outcome::Complete(phases) => Some(phases),
            Outcome::InFlight | Outcome::Incomplete(_) => None,
        }
    }

    /// Time the device's half worked on it, where that was seen.
    pub fn service_ns(&self) -> Option<u64> {
        Some(self.moments.returned?.nanos_since(self.moments.taken?))
    }

    /// The first moment known of it.
    pub fn began(&self) -> Option<Timestamp> {
        let m = &self.moments;
        m.added.or(m.taken).or(m.returned).or(m.used)
    }

    /// The request as 9P, if the queue is a 9P one and bytes were captured.
    ///
    /// # Errors
    /// Bytes that hold no 9P header.
    pub fn request_9p(&self) -> Option<Result<p9::Message<'_>, p9::HeaderError>> {
        self.decode(&self.request)
    }

    /// The reply as 9P, likewise.
    ///
    /// # Errors
    /// Bytes that hold no 9P header.
    pub fn reply_9p(&self) -> Option<Result<p9::Message<'_>, p9::HeaderError>> {
        self.decode(&self.reply)
    }

    /// What the request does, in the words of 9P: `read /etc/hosts 0..4096`. Safe to
    /// print. `None` if the queue is no 9P one or nothing was captured.
    pub fn describe_request(&self) -> Option<String> {
        Some(match self.request_9p()? {
            Ok(request) => p9::describe_request(&request, &self.subject),
            Err(error) => format!("not 9P: {error}"),
        })
    }

    /// What became of it, likewise: `4096 bytes`, `ENOENT (2)`.
    pub fn describe_reply(&self) -> Option<String> {
        if self.subject.given_up {
            return Some("given up by a Tflush".to_owned());
        }
        let reply = match self.reply_9p()? {
            Ok(reply) => reply,
            Err(error) => return Some(format!("not 9P: {error}")),
        };
        Some(match self.request_9p() {
            Some(Ok(request)) => p9::describe_reply(&request, &reply, &self.subject),
            _ => reply.to_string(),
        })
    }

    fn decode<'a>(&self, message: &'a Message) -> Option<Result<p9::Message<'a>, p9::HeaderError>> {
        let is_9p = matches!(self.operation, Operation::P9(_) | Operation::Unknown9p);
        (is_9p && !message.bytes.is_empty())
            .then(|| p9::Message::decode(&message.bytes, message.full_length))
            .map(|decoded| Ok(decoded?.in_dialect(self.subject.dialect)))
    }
}

/// A buffer's size, as the driver added it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct BufferShape {
    /// Device-readable bytes.
    pub readable_bytes: u32,
    /// Device-writable bytes.
    pub writable_bytes: u32,
    /// Device-readable segments.
    pub readable_segments: u16,
    /// Device-writable segments.
    pub writable_segments: u16,
    /// Ring descriptors taken.
    pub descriptors: u16,
    /// Whether the segments stand in an indirect descriptor table.
    pub indirect: bool,
}

/// When what happened to a buffer. All on the stream's monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Moments {
    /// The driver added it.
    pub added: Option<Timestamp>,
    /// The kick decision that covers it was made.
    pub kicked: Option<Timestamp>,
    /// The device half took it.
    pub taken: Option<Timestamp>,
    /// The device half put it into the used ring.
    pub returned: Option<Timestamp>,
    /// The device half interrupted for it.
    pub interrupt_sent: Option<Timestamp>,
    /// The callback ran that announced it.
    pub callback: Option<Timestamp>,
    /// The driver took it back.
    pub used: Option<Timestamp>,
}

/// The decision whether to notify the device of a batch of buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KickDecision {
    /// The verdict: the device is notified.
    pub needed: bool,
    /// Why, as sampled beside the verdict.
    pub reason: NotificationReason,
    /// Verdict and sampled reason disagree.
    pub raced: bool,
    /// Buffers that the decision covers, this one included.
    pub batch: u16,
}

/// How a life ended, or that it has not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Added, not used when the stream ended (or yet).
    InFlight,
    /// Add, kick decision, used, and callback or "polled" were all seen.
    Complete(Phases),
    /// Something is missing.
    Incomplete(Incomplete),
}

/// The contiguous phases of a complete life. They add up to the total.
///
/// Where the device was ahead of the driver (it may take a buffer before the kick
/// decision, and the driver may even have it back before), the later moment is
/// clamped, so that no phase is negative: see [`Life::overlap_ns`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Phases {
    /// Add → kick decision.
    pub queued_ns: u64,
    /// Kick decision → callback that announces it, or → used if polled.
    pub device_ns: u64,
    /// Callback → used; zero if polled.
    pub harvest_ns: u64,
    /// How the driver learnt of it.
    pub announcement: Announcement,
}

impl Phases {
    /// Add → used.
    pub const fn total_ns(&self) -> u64 {
        self.queued_ns + self.device_ns + self.harvest_ns
    }
}

/// How the driver learnt that a buffer was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Announcement {
    /// By a callback.
    Callback,
    /// By looking: no callback announced the entry before it was taken.
    Polled,
}

/// Why a life is not complete.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Incomplete {
    /// It was in flight when the capture began.
    BegunBefore,
    /// A record that belongs to it, or may belong to it, is missing.
    Lost(Piece),
    /// It came back, and the kernel skipped the probe that would have told of it: the
    /// ring's positions do.
    CompletionMissed,
    /// The clock was set back during it, so how long it took is not known.
    ClockSetBack,
    /// The queue was reset while it was in flight.
    QueueReset,
    /// Its id was added again though it never came back, and nothing was lost.
    IdReused,
    /// The driver took it out unused (Linux `virtqueue_detach_unused_buf`).
    Detached,
}

impl Incomplete {
    /// The stable name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BegunBefore => "begun_before",
            Self::Lost(Piece::Add) => "lost_add",
            Self::Lost(Piece::Kick) => "lost_kick",
            Self::Lost(Piece::Callback) => "lost_callback",
            Self::Lost(Piece::Used) => "lost_used",
            Self::CompletionMissed => "completion_missed",
            Self::ClockSetBack => "clock_set_back",
            Self::QueueReset => "queue_reset",
            Self::IdReused => "id_reused",
            Self::Detached => "detached",
        }
    }

    /// One sentence for a reader.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::BegunBefore => "it was in flight before the capture began",
            Self::Lost(Piece::Add) => "the record of its add is missing",
            Self::Lost(Piece::Kick) => "the record of its kick decision is missing",
            Self::Lost(Piece::Callback) => {
                "records were lost during its life, the callback that announced it maybe among them"
            }
            Self::Lost(Piece::Used) => "the record of its return is missing",
            Self::CompletionMissed => {
                "completion missed: it came back, but the kernel skipped the probe that tells when"
            }
            Self::ClockSetBack => {
                "the clock was set back during its life, so how long it took is not known"
            }
            Self::QueueReset => "the queue was reset while it was in flight",
            Self::IdReused => "its id was added again though it never came back",
            Self::Detached => "the driver took it out unused",
        }
    }
}

/// A record that a complete life needs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Piece {
    /// The add.
    Add,
    /// The kick decision.
    Kick,
    /// The callback that announces it, or the proof that there was none.
    Callback,
    /// The used record.
    Used,
}

/// What a request was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Operation {
    /// A 9P request of this (T-message) type.
    P9(p9::MessageType),
    /// On a 9P queue, but the request's header was not captured or is malformed.
    Unknown9p,
    /// The queue is not a 9P one, or it is not known what it is.
    Buffer,
}

impl Operation {
    /// A short name: `read`, `walk`, `unknown`, `buffer`.
    pub fn name(self) -> &'static str {
        match self {
            Self::P9(kind) => kind.operation_name(),
            Self::Unknown9p => "unknown",
            Self::Buffer => "buffer",
        }
    }

    /// The 9P type number of the request.
    pub const fn type_number(self) -> Option<u8> {
        match self {
            Self::P9(kind) => Some(kind.0),
            Self::Unknown9p | Self::Buffer => None,
        }
    }
}

/// The start of what a buffer held.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Message {
    /// The bytes kept: cut to the capture's snaplen and to
    /// [`Options::keep_bytes`](crate::Options::keep_bytes).
    pub bytes: Vec<u8>,
    /// How many bytes there were in the buffer.
    pub full_length: u32,
}

/// What about a life contradicts itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Anomaly {
    /// The reply carries another tag than the request.
    ReplyTag {
        /// The request's tag.
        request: u16,
        /// The reply's tag.
        reply: u16,
    },
    /// The reply's type is neither the request's counterpart nor `Rlerror`.
    ReplyType {
        /// The request's type.
        request: p9::MessageType,
        /// The reply's type.
        reply: p9::MessageType,
    },
    /// The device says it wrote more than the buffer can hold.
    UsedLength {
        /// What it says.
        used: u32,
        /// What the buffer can hold.
        writable: u32,
    },
    /// The request is no well-formed 9P message.
    MalformedRequest,
    /// The reply is no well-formed 9P message.
    MalformedReply,
    /// The request or the reply is against the rules of 9P.
    Protocol(p9::Irregularity),
}

impl std::fmt::Display for Anomaly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ReplyTag { request, reply } => {
                write!(f, "the reply's tag {reply} is not the request's {request}")
            }
            Self::ReplyType { request, reply } => write!(f, "{reply} does not answer {request}"),
            Self::UsedLength { used, writable } => {
                write!(f, "the device says it wrote {used} bytes into {writable}")
            }
            Self::MalformedRequest => f.write_str("the request is malformed"),
            Self::MalformedReply => f.write_str("the reply is malformed"),
            Self::Protocol(irregularity) => irregularity.fmt(f),
        }
    }
}
