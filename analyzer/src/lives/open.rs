//! A life that has not ended yet.

use virtscope_record::{Add, Flags, InFlight, QueueId, Record, RingIndex, Timestamp, Used};

use super::SETTLE_NS;
use super::announcements::Announcements;
use super::holes::Gap;
use super::pool::Neighbours;
use crate::index_space::IndexSpace;
use crate::life::{
    Announcement, Anomaly, BufferShape, Incomplete, Life, Message, Moments, Operation, Outcome,
    Phases, Piece,
};
use crate::p9;

/// A life in the making.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) life: Life,
    /// The latest gap in the driver's half when this was added.
    pub(super) gaps_at_add: Gap,
    /// The same when it was used.
    pub(super) gaps_at_used: Gap,
    /// The driver's half lost something during this life.
    pub(super) touched: bool,
    /// The kick decision was seen, or is known to be missing.
    pub(super) kick_settled: bool,
    pub(super) returned_position: Option<RingIndex>,
    /// Its add lies before the capture.
    pub(super) begun_before: bool,
    /// Lives in flight before and behind it, while it is in flight.
    pub(super) neighbours: Neighbours,
    /// Tag and type of the request, if its header was captured.
    request_9p: Option<(p9::Tag, p9::MessageType)>,
}

impl Default for Open {
    fn default() -> Self {
        Self {
            life: Life::nothing_known(),
            gaps_at_add: 0,
            gaps_at_used: 0,
            touched: false,
            kick_settled: true,
            returned_position: None,
            begun_before: false,
            neighbours: Neighbours::default(),
            request_9p: None,
        }
    }
}

impl Open {
    /// Begins a life with its add.
    pub(super) fn added(
        &mut self,
        number: u64,
        queue: QueueId,
        record: &Record,
        add: &Add,
        gaps: Gap,
    ) {
        self.unknown(number, queue, record, add.head);
        self.gaps_at_add = gaps;
        self.kick_settled = false;
        self.life.moments.added = Some(record.time());
        self.life.position = Some(add.position);
        self.life.shape = BufferShape {
            readable_bytes: add.readable_bytes,
            writable_bytes: add.writable_bytes,
            readable_segments: add.readable_segments,
            writable_segments: add.writable_segments,
            descriptors: add.descriptors,
            indirect: record.flags().contains(Flags::INDIRECT),
        };
        self.life.request.full_length = add.readable_bytes;
    }

    /// The buffer was in flight when tracing began.
    pub(super) fn found(&mut self, record: &Record, found: &InFlight) {
        self.begun_before = true;
        self.life.shape = BufferShape {
            readable_bytes: found.readable_bytes,
            writable_bytes: found.writable_bytes,
            readable_segments: found.readable_segments,
            writable_segments: found.writable_segments,
            descriptors: found.descriptors,
            indirect: record.flags().contains(Flags::INDIRECT),
        };
        self.life.process = 0;
        self.life.thread = 0;
    }

    /// Begins a life of which only its end is known.
    pub(super) fn unknown(&mut self, number: u64, queue: QueueId, record: &Record, head: u16) {
        // Only the room of the messages is kept from the life before.
        let message = |old: &mut Message| {
            let mut bytes = std::mem::take(&mut old.bytes);
            bytes.clear();
            Message {
                bytes,
                full_length: 0,
            }
        };
        let (request, reply) = (
            message(&mut self.life.request),
            message(&mut self.life.reply),
        );
        *self = Self {
            life: Life {
                number,
                queue,
                generation: record.generation(),
                head,
                token: record.token(),
                process: record.process(),
                thread: record.thread(),
                context: record.context(),
                request,
                reply,
                ..Life::nothing_known()
            },
            ..Self::default()
        };
    }

    /// Keeps the start of the request.
    pub(super) fn keep_request(&mut self, bytes: &[u8]) {
        self.life.request.bytes.extend_from_slice(bytes);
    }

    /// The buffer came back.
    pub(super) fn used(
        &mut self,
        record: &Record,
        used: &Used,
        callback: Option<Timestamp>,
        kept: &[u8],
    ) {
        let life = &mut self.life;
        // A return that speaks of another entry was another buffer's.
        if self.returned_position.is_some_and(|p| p != used.position) {
            life.moments.returned = None;
        }
        life.moments.callback = callback;
        life.moments.used = Some(record.time());
        life.used_position = Some(used.position);
        life.used_length = Some(used.used_length);
        if used.used_length > used.writable_bytes {
            life.anomalies.push(Anomaly::UsedLength {
                used: used.used_length,
                writable: used.writable_bytes,
            });
        }
        life.reply.bytes.extend_from_slice(kept);
        life.reply.full_length = used.used_length.min(used.writable_bytes);
        if life.operation == Operation::Buffer {
            life.data_bytes =
                u64::from(life.shape.readable_bytes) + u64::from(life.reply.full_length);
        }
    }

    /// Reads what the request is from what was captured of it. The bytes are those
    /// of the record: of what a life keeps there may be less.
    pub(super) fn decode_request(&mut self, captured: &[u8]) {
        let life = &mut self.life;
        let decoded = p9::Message::decode(captured, life.request.full_length);
        self.request_9p = decoded.map(|message| (message.tag, message.kind)).ok();
        let (operation, malformed) = match decoded {
            Ok(message) if message.kind.is_request() && message.kind.is_known() => {
                let malformed = matches!(message.end(), p9::End::Malformed { .. });
                (Operation::P9(message.kind), malformed)
            }
            // A message of a type that is not known: its header is sound.
            Ok(message) => (Operation::Unknown9p, !message.kind.is_request()),
            Err(p9::HeaderError::NotCaptured { .. }) => (Operation::Unknown9p, false),
            Err(_) => (Operation::Unknown9p, true),
        };
        life.operation = operation;
        if malformed {
            life.anomalies.push(Anomaly::MalformedRequest);
        }
    }

    /// Reads the reply and holds it against the request.
    pub(super) fn decode_reply(&mut self, captured: &[u8]) {
        use p9::MessageType as M;
        let life = &mut self.life;
        let reply = match p9::Message::decode(captured, life.reply.full_length) {
            Ok(reply) => reply,
            Err(p9::HeaderError::NotCaptured { .. }) => return,
            Err(_) => {
                life.anomalies.push(Anomaly::MalformedReply);
                return;
            }
        };
        if matches!(reply.end(), p9::End::Malformed { .. }) {
            life.anomalies.push(Anomaly::MalformedReply);
        }
        let (kind, tag) = (reply.kind, reply.tag);
        let (error, count) = (reply.errno(), reply.count());
        life.error = error;
        if matches!(kind, M::Rread | M::Rwrite | M::Rreaddir) {
            life.data_bytes = count.unwrap_or(0).into();
        }
        let Some((request_tag, request_kind)) = self.request_9p else {
            return;
        };
        if tag != request_tag {
            life.anomalies.push(Anomaly::ReplyTag {
                request: request_tag.0,
                reply: tag.0,
            });
        }
        if kind != request_kind.reply() && kind != M::Rlerror {
            life.anomalies.push(Anomaly::ReplyType {
                request: request_kind,
                reply: kind,
            });
        }
    }

    /// Looks up the interrupt decision of the used entry.
    pub(super) fn interrupt(&mut self, announcements: &Announcements, space: IndexSpace) {
        let position = self.life.used_position.or(self.returned_position);
        if self.life.interrupted.is_none()
            && let Some((time, needed)) =
                position.and_then(|position| announcements.interrupt_for(space, position))
        {
            self.life.interrupted = Some(needed);
            self.life.moments.interrupt_sent = needed.then_some(time);
        }
    }

    /// Whether a used life should wait for a piece that may still come.
    pub(super) fn waits(&self, device_half_seen: bool, now: Timestamp) -> bool {
        let moments = &self.life.moments;
        let waited = moments.used.map_or(0, |used| now.nanos_since(used));
        let detail_missing = moments.taken.is_none()
            || moments.returned.is_none()
            || self.life.interrupted.is_none();
        let piece_missing = !self.kick_settled || (device_half_seen && detail_missing);
        piece_missing && waited < SETTLE_NS
    }

    /// The life as it stands, in flight.
    pub(super) fn as_it_stands(&self, announcements: &Announcements, space: IndexSpace) -> Life {
        let mut open = self.clone();
        open.interrupt(announcements, space);
        open.note_device_half();
        open.life
    }

    pub(super) fn end_incomplete(&mut self, reason: Incomplete) {
        self.note_device_half();
        self.life.outcome = Outcome::Incomplete(reason);
    }

    /// Ends a life that was used.
    pub(super) fn end(&mut self) {
        self.note_device_half();
        self.life.overlap_ns = overlap(&self.life.moments);
        self.life.outcome = match phases(&self.life.moments) {
            _ if self.begun_before => Outcome::Incomplete(Incomplete::BegunBefore),
            None => Outcome::Incomplete(Incomplete::Lost(Piece::Kick)),
            Some(_) if self.touched => Outcome::Incomplete(Incomplete::Lost(Piece::Callback)),
            Some(phases) => Outcome::Complete(phases),
        };
    }

    fn note_device_half(&mut self) {
        let moments = &self.life.moments;
        self.life.device_half_seen = moments.taken.is_some() || moments.returned.is_some();
    }
}

/// The phases of a life whose add, kick decision and return were seen.
///
/// Later moments are clamped between those around them, so that the phases are
/// contiguous, never negative, and add up to the total.
fn phases(moments: &Moments) -> Option<Phases> {
    let added = moments.added?;
    let used = moments.used?.max(added);
    let kicked = moments.kicked?.clamp(added, used);
    let (announced, announcement) = match moments.callback {
        Some(callback) => (callback.clamp(kicked, used), Announcement::Callback),
        None => (used, Announcement::Polled),
    };
    Some(Phases {
        queued_ns: kicked.nanos_since(added),
        device_ns: announced.nanos_since(kicked),
        harvest_ns: used.nanos_since(announced),
        announcement,
    })
}

/// How long the device provably had the buffer before the kick decision.
fn overlap(moments: &Moments) -> u64 {
    let Some(kicked) = moments.kicked else {
        return 0;
    };
    [
        moments.taken,
        moments.returned,
        moments.callback,
        moments.used,
    ]
    .into_iter()
    .flatten()
    .min()
    .map_or(0, |had| kicked.nanos_since(had))
}
