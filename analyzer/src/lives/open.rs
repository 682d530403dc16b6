//! A life that has not ended yet.

use virtscope_record::{Add, Flags, InFlight, QueueId, Record, RingIndex, Timestamp, Used};

use super::SETTLE_NS;
use super::announcements::Announcements;
use super::holes::{Gap, Holes};
use super::pool::Neighbours;
use crate::index_space::IndexSpace;
use crate::life::{
    Announcement, Anomaly, BufferShape, Incomplete, KickDecision, Life, Moments, Operation,
    Outcome, Phases, Piece,
};
use crate::p9::{self, Conversation};

/// By what a kick decision was joined to a life. Positions of a packed ring come again
/// after two laps: if records were lost between, those may have been the laps, and the
/// decision another's.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum KickJoined {
    /// By a position that comes once; or it was not seen.
    #[default]
    Surely,
    /// By a position that comes again, while the buffer was in flight.
    InFlight,
    /// By such a position, when the buffer had been used.
    AfterUsed,
}

/// A life in the making.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) life: Life,
    /// The latest gap in the driver's half when this was added.
    pub(super) gaps_at_add: Gap,
    /// The same when it was used, or when its kick decision came behind that on a ring
    /// whose positions come again.
    pub(super) gaps_at_used: Gap,
    /// The driver's half lost something during this life.
    pub(super) touched: bool,
    /// The kick decision was seen, or is known to be missing.
    pub(super) kick_settled: bool,
    pub(super) kick_joined: KickJoined,
    pub(super) returned_position: Option<RingIndex>,
    /// Its add lies before the capture.
    pub(super) begun_before: bool,
    /// The clock was set back during it.
    pub(super) set_back: bool,
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
            kick_joined: KickJoined::Surely,
            returned_position: None,
            begun_before: false,
            set_back: false,
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
        // Field by field: a life is large, and most of its fields are set anew here.
        let Self {
            life,
            gaps_at_add,
            gaps_at_used,
            touched,
            kick_settled,
            kick_joined,
            returned_position,
            begun_before,
            set_back,
            neighbours,
            request_9p,
        } = self;
        life.restart();
        life.number = number;
        life.queue = queue;
        life.generation = record.generation();
        life.head = head;
        life.token = record.token();
        life.process = record.process();
        life.thread = record.thread();
        life.context = record.context();
        (*gaps_at_add, *gaps_at_used) = (0, 0);
        (*touched, *begun_before, *set_back) = (false, false, false);
        (*kick_settled, *kick_joined) = (true, KickJoined::Surely);
        *returned_position = None;
        *neighbours = Neighbours::default();
        *request_9p = None;
    }

    /// Its kick decision was made at `time`. `holes`: of a ring whose positions come
    /// again, those that were found so far.
    pub(super) fn kicked(
        &mut self,
        decision: KickDecision,
        time: Timestamp,
        holes: Option<&Holes>,
    ) {
        self.life.kick = Some(decision);
        self.life.moments.kicked = Some(time);
        self.kick_joined = match (holes, self.life.moments.used) {
            (None, _) => KickJoined::Surely,
            (Some(_), None) => KickJoined::InFlight,
            (Some(holes), Some(_)) => {
                self.gaps_at_used = holes.mark();
                self.touched |= holes.is_touched(self.gaps_at_add);
                KickJoined::AfterUsed
            }
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
        // Of a buffer that was added unseen a tracer does not know what room it has.
        let is_room_known = used.writable_bytes > 0 || life.moments.added.is_some();
        if is_room_known && used.used_length > used.writable_bytes {
            life.anomalies.push(Anomaly::UsedLength {
                used: used.used_length,
                writable: used.writable_bytes,
            });
        }
        life.reply.bytes.extend_from_slice(kept);
        life.reply.full_length = if is_room_known {
            used.used_length.min(used.writable_bytes)
        } else {
            used.used_length
        };
        if life.operation == Operation::Buffer {
            life.data_bytes =
                u64::from(life.shape.readable_bytes) + u64::from(life.reply.full_length);
        }
    }

    /// Reads what the request is from what was captured of it, and tells the
    /// conversation. The bytes are those of the record: of what a life keeps there may
    /// be less.
    pub(super) fn decode_request(&mut self, captured: &[u8], conversation: &mut Conversation) {
        let life = &mut self.life;
        life.operation = Operation::Unknown9p;
        let message = match p9::Message::decode(captured, life.request.full_length) {
            Ok(message) if message.kind.is_request() => message,
            bad => {
                conversation.unreadable_request();
                if !matches!(bad, Err(p9::HeaderError::NotCaptured { .. })) {
                    life.anomalies.push(Anomaly::MalformedRequest);
                }
                return;
            }
        };
        let message = message.in_dialect(conversation.dialect_for(&message));
        self.request_9p = Some((message.tag, message.kind));
        // Of a type that is not known the header is sound.
        if message.kind.is_known() {
            life.operation = Operation::P9(message.kind);
        }
        let body = message.body();
        let mut wrong = Vec::new();
        life.subject = conversation.request(&message, body.as_ref().ok(), &mut wrong);
        if matches!(body, Err(p9::End::Malformed { .. })) {
            life.anomalies.push(Anomaly::MalformedRequest);
        }
        life.anomalies
            .extend(wrong.into_iter().map(Anomaly::Protocol));
    }

    /// Reads the reply, holds it against the request and tells the conversation.
    pub(super) fn decode_reply(&mut self, captured: &[u8], conversation: &mut Conversation) {
        use p9::MessageType as M;
        let life = &mut self.life;
        let full_length = life.reply.full_length;
        let reply = p9::Message::decode(captured, full_length);
        if reply.is_err_and(|error| !matches!(error, p9::HeaderError::NotCaptured { .. })) {
            // The buffer of a request that was given up comes back empty.
            if full_length > 0 || !conversation.is_flushed(self.request_9p, &life.subject) {
                life.anomalies.push(Anomaly::MalformedReply);
            }
        }
        let Ok(reply) = reply else {
            self.tell_of_reply(None, conversation);
            return;
        };
        let reply = reply.in_dialect(conversation.dialect_for(&reply));
        let body = reply.body();
        self.tell_of_reply(Some((&reply, body.as_ref().ok())), conversation);
        let life = &mut self.life;
        if reply.is_malformed(&body) {
            life.anomalies.push(Anomaly::MalformedReply);
        }
        match body {
            Ok(p9::Body::Rlerror(body)) => life.error = Some(body.ecode),
            Ok(p9::Body::Rerror(body)) => life.error = body.errno.0,
            Ok(p9::Body::Rwrite(body)) => life.data_bytes = body.count.into(),
            Ok(body) => {
                if let Some(data) = body.data() {
                    life.data_bytes = data.declared.into();
                }
            }
            Err(_) => {}
        }
        let Some((request_tag, request_kind)) = self.request_9p else {
            return;
        };
        if reply.tag != request_tag {
            life.anomalies.push(Anomaly::ReplyTag {
                request: request_tag.0,
                reply: reply.tag.0,
            });
        }
        let kind = reply.kind;
        if kind != request_kind.reply() && !matches!(kind, M::Rlerror | M::Rerror) {
            life.anomalies.push(Anomaly::ReplyType {
                request: request_kind,
                reply: kind,
            });
        }
    }

    fn tell_of_reply(
        &mut self,
        reply: Option<(&p9::Message<'_>, Option<&p9::Body<'_>>)>,
        conversation: &mut Conversation,
    ) {
        let Some((tag, _)) = self.request_9p else {
            return;
        };
        let life = &mut self.life;
        let mut wrong = Vec::new();
        let is_empty = life.reply.full_length == 0;
        conversation.reply(tag, reply, is_empty, &mut life.subject, &mut wrong);
        life.anomalies
            .extend(wrong.into_iter().map(Anomaly::Protocol));
    }

    /// What became of the request is not known, or will never be.
    pub(super) fn abandon(&self, conversation: &mut Conversation) {
        if let Some((tag, _)) = self.request_9p
            && self.life.moments.used.is_none()
        {
            conversation.abandoned(tag, &self.life.subject);
        }
    }

    /// Looks up the interrupt decision of the used entry.
    pub(super) fn interrupt(&mut self, announcements: &Announcements, space: IndexSpace) {
        let position = self.life.used_position.or(self.returned_position);
        let moments = &self.life.moments;
        let not_before = moments.returned.or(moments.added).unwrap_or_default();
        if self.life.interrupted.is_none()
            && let Some((time, needed)) = position
                .and_then(|position| announcements.interrupt_for(space, position, not_before))
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
        if self.touched && self.kick_joined == KickJoined::AfterUsed {
            // It may have been another lap's, and nothing else tells when this one's was.
            (self.life.kick, self.life.moments.kicked) = (None, None);
        }
        let kick_is_sure = !self.touched || self.kick_joined == KickJoined::Surely;
        if !self.set_back && kick_is_sure {
            self.life.overlap_ns = overlap(&self.life.moments);
        }
        self.life.outcome = match phases(&self.life.moments) {
            _ if self.begun_before => Outcome::Incomplete(Incomplete::BegunBefore),
            _ if self.set_back => Outcome::Incomplete(Incomplete::ClockSetBack),
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
