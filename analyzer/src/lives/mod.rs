//! Joins the records of one queue into [`Life`]s.
//!
//! Records are joined by generation and id, with the token as a check. What
//! belongs to a life is decided as follows.
//!
//! - **Kick decision**: the one whose range of available indices holds the
//!   buffer's. One that begins beyond it proves that its own is missing.
//! - **Callback**: the first whose used index lies beyond the buffer's used entry.
//!   If the used record comes and no such callback has, the buffer was *polled*;
//!   so was one taken in a driver's loop after the callback looked at the index,
//!   unless a later callback announced it before it was taken. A packed ring has no
//!   used index: there a callback speaks of the entry that was next, and of those
//!   behind it that the device half says it had returned before.
//! - **The device's half**: taken by available index, returned by used index,
//!   interrupt decision by its range of used indices. They may be missing without
//!   making a life incomplete: they are detail inside its device phase.
//!
//! A life during which the driver's half lost a record is incomplete even if all
//! its pieces seem to be there: the missing record may have been an earlier
//! callback, or the return of an earlier buffer of the same id. A hole in the
//! sequence may yet be filled, so a used life waits until that is known. With several
//! driver-side producers (one a CPU) such a loss shows only with that producer's
//! next record, so the stream must be merged with a window that covers it.
//!
//! Records of different producers may come a little out of time. What the device
//! half says too early waits in a small side table; a life that is used waits a
//! moment for what the device half and the kick decision have still to say.

mod announcements;
mod device;
mod early;
mod holes;
mod open;
mod pool;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use virtscope_record::{
    Add, Callback, Detach, Flags, Generation, InFlight, Kind, Missed, Notification, QueueFacts,
    QueueId, Record, RingIndex, Timestamp, Used,
};

use crate::budget::Budget;
use crate::index_space::IndexSpace;
use crate::life::{Incomplete, KickDecision, Life, Operation, Piece};
use crate::p9::{self, Conversation};
use crate::paged::Paged;
use announcements::Announcements;
use early::Early;
use holes::{Gap, Holes};
use pool::{Id, Pool};
use settle::Settling;

/// How long a used life waits for its kick decision, and for what the device half
/// has still to say. If the record of either was lost, no other record may tell.
const SETTLE_NS: u64 = 10_000_000;

/// The lives of one queue that have begun and not ended, and those just ending.
#[derive(Debug)]
pub(crate) struct Lives {
    queue: QueueId,
    generation: Option<Generation>,
    space: IndexSpace,
    size: u16,
    keep_bytes: usize,
    /// What is said on a 9P queue.
    conversation: Option<Box<Conversation>>,
    budget: Budget,
    /// The position of the next add, if none is missing.
    next_add: Option<RingIndex>,
    /// The latest gap that the conversation was told of.
    told_gap: Gap,
    pool: Pool,
    /// The lives in flight by id.
    heads: Paged<Id>,
    /// Open or settling lives that no kick decision covers, in order of position.
    unkicked: VecDeque<Unkicked>,
    /// The position behind the last add, and how many entries or descriptors were
    /// made available up to it, from wherever was begun to count.
    next_available: RingIndex,
    available: i64,
    announcements: Announcements,
    early: VecDeque<Early>,
    /// Used, and waiting for pieces of their own.
    settling: Settling,
    /// Used, and waiting for holes to be filled or confirmed.
    undecided: VecDeque<Id>,
    holes: Holes,
    /// Whether anything of this generation was seen.
    begun: bool,
    /// Buffers that were in flight when the capture began and have not ended.
    begun_before: u16,
    facts_seen: bool,
    /// How many buffers may have been in flight when the capture began, of which nobody
    /// has told, because its producers had been at work before.
    unknown_before: u16,
    device_half_seen: bool,
    /// Completions that were missed, of which it is not known whose they were.
    nameless: u32,
    /// Lives that ended, for the caller to look at.
    ended: Vec<Id>,
}

#[derive(Clone, Copy, Debug)]
struct Unkicked {
    /// How many entries or descriptors were made available before it.
    total: i64,
    id: Id,
    number: u64,
}

impl Lives {
    pub(crate) fn new(queue: QueueId, keep_bytes: usize, budget: Budget) -> Self {
        Self {
            queue,
            generation: None,
            space: IndexSpace::default(),
            size: 0,
            keep_bytes,
            conversation: None,
            budget,
            next_add: None,
            told_gap: 0,
            pool: Pool::default(),
            heads: Paged::default(),
            unkicked: VecDeque::new(),
            next_available: RingIndex::default(),
            available: 0,
            announcements: Announcements::default(),
            early: VecDeque::new(),
            settling: Settling::default(),
            undecided: VecDeque::new(),
            holes: Holes::default(),
            begun: false,
            begun_before: 0,
            facts_seen: false,
            unknown_before: 0,
            device_half_seen: false,
            nameless: 0,
            ended: Vec::new(),
        }
    }

    /// Begins `generation`: what was in flight ended with the one before.
    pub(crate) fn begin_generation(&mut self, generation: Generation) {
        self.reset();
        if self.generation.is_some() {
            self.unknown_before = 0;
        }
        self.generation = Some(generation);
        self.begun = false;
        self.begun_before = 0;
        self.facts_seen = false;
        self.device_half_seen = false;
    }

    /// How the ring's positions are counted.
    #[inline]
    pub(crate) fn space(&self) -> IndexSpace {
        self.space
    }

    /// The generation being followed.
    pub(crate) fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// Buffers in flight, those begun before the capture included.
    pub(crate) fn in_flight(&self) -> u32 {
        self.pool.in_flight() as u32 + u32::from(self.begun_before)
    }

    /// Lives added and not used.
    pub(crate) fn open_count(&self) -> u64 {
        self.pool.in_flight() as u64
    }

    /// Whether lives have ended that were not shown yet.
    #[inline]
    pub(crate) fn any_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Shows the lives that have ended since this was called last, in the order in
    /// which they ended.
    #[inline]
    pub(crate) fn drain_ended(&mut self, mut each: impl FnMut(&Life)) {
        for id in self.ended.drain(..) {
            each(&self.pool.at(id).life);
            self.pool.give_back(id);
        }
    }

    /// The life in flight under this id.
    pub(crate) fn in_flight_under(&self, head: u16) -> Option<&Life> {
        self.heads.get(head).map(|id| &self.pool.at(id).life)
    }

    /// The lives in flight, oldest first.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Life> {
        self.pool.oldest_first().map(|id| &self.pool.at(id).life)
    }

    /// The oldest lives in flight, oldest first, as they stand.
    pub(crate) fn open_lives(&self, most: usize) -> Vec<Life> {
        self.pool
            .oldest_first()
            .take(most)
            .map(|id| {
                self.pool
                    .at(id)
                    .as_it_stands(&self.announcements, self.space)
            })
            .collect()
    }

    /// The producers had been at work before: of what they added then there is no record,
    /// and nothing was lost of it.
    pub(crate) fn began_later(&mut self, in_other_files: bool) {
        if self.begun && in_other_files {
            // Of files that were joined, one is not there.
            self.gap();
        } else {
            self.unknown_before = self.size;
        }
    }

    pub(crate) fn facts(&mut self, facts: &QueueFacts) {
        self.space = IndexSpace::new(facts.size, facts.layout);
        self.size = facts.size;
        if facts.device_type != crate::queue::DEVICE_TYPE_9P {
            self.conversation = None;
        } else if self.conversation.is_none() {
            self.conversation = Some(Box::new(Conversation::new(&self.budget)));
        }
        // Facts are repeated when a capture goes on in another file; only what
        // was in flight before the first record began before the capture.
        if !self.begun && !self.facts_seen {
            self.begun_before = facts.in_flight;
        }
        self.facts_seen = true;
    }

    pub(crate) fn add(&mut self, record: &Record, add: &Add, payload: &[u8], numbers: &mut u64) {
        self.begun = true;
        let head = add.head;
        if let Some(old) = self.close(head) {
            let reason = if self.nameless > 0 && self.pool.at(old).gaps_at_add < self.holes.mark() {
                // Its id was free again: it was one of those.
                self.nameless -= 1;
                Incomplete::CompletionMissed
            } else if self.holes.is_doubtful(self.pool.at(old).gaps_at_add) {
                Incomplete::Lost(Piece::Used)
            } else {
                Incomplete::IdReused
            };
            self.end_incomplete(old, reason);
        }
        self.follow_adds(record, add);
        let number = next(numbers);
        let gaps = self.holes.mark_at_add();
        let id = self.pool.take();
        let open = self.pool.at_mut(id);
        open.added(number, self.queue, record, add, gaps);
        open.keep_request(cut(payload, self.keep_bytes));
        if let Some(conversation) = &mut self.conversation {
            open.decode_request(payload, conversation);
        }
        if !self.early.is_empty() {
            self.early.retain(|early| !early.apply(open));
        }
        let total = self.total_at(add.position);
        let places = if self.space.is_packed() {
            add.descriptors
        } else {
            1
        };
        self.next_available = self.space.advance(add.position, places);
        self.available = total + i64::from(places);
        self.unkicked.push_back(Unkicked { total, id, number });
        // More than the ring holds are waiting only if kicks are missing.
        if self.unkicked.len() > 1 << 16 {
            self.unkicked.pop_front();
        }
        self.pool.link(id);
        self.heads.insert(head, id);
        self.settle(record.time());
    }

    /// Tells the conversation of what it did not hear.
    fn follow_adds(&mut self, record: &Record, add: &Add) {
        let Some(conversation) = &mut self.conversation else {
            return;
        };
        let gap = self.holes.mark();
        let any_lost = std::mem::replace(&mut self.told_gap, gap) != gap;
        let packed = record.flags().contains(Flags::PACKED);
        // Without the ring's size a packed ring's positions tell nothing.
        let next = match (packed, self.space.is_packed()) {
            (false, _) => Some(add.position.advance(1)),
            (true, true) => Some(self.space.advance(add.position, add.descriptors)),
            (true, false) => None,
        };
        let requests_lost = match (self.next_add, next) {
            (Some(expected), Some(_)) => expected != add.position,
            (_, None) => any_lost,
            (None, Some(_)) => false,
        };
        self.next_add = next;
        if requests_lost {
            conversation.requests_lost();
        } else if any_lost {
            conversation.replies_lost();
        }
    }

    pub(crate) fn kick(&mut self, record: &Record, kick: &Notification) {
        self.begun = true;
        let flags = record.flags();
        let decision = KickDecision {
            needed: flags.contains(Flags::NOTIFICATION_NEEDED),
            reason: kick.reason,
            raced: is_raced(flags, kick),
            batch: self.batch(flags, kick),
        };
        let new = self.total_at(kick.new);
        let old = new - i64::from(self.space.ahead(kick.old, kick.new));
        let holes = self.space.is_packed().then_some(&self.holes);
        while let Some(waiting) = self.unkicked.front().copied() {
            if waiting.total >= new {
                break;
            }
            let covered = waiting.total >= old;
            self.unkicked.pop_front();
            let open = self.pool.at_mut(waiting.id);
            if open.life.number != waiting.number {
                // That life is over, and another stands in its place.
                continue;
            }
            if covered {
                open.kicked(decision, record.time(), holes);
            }
            open.kick_settled = true;
            if open.life.moments.used.is_some() {
                self.settling.look_again();
            }
        }
        self.settle(record.time());
    }

    /// How many buffers a kick decision is about.
    fn batch(&self, flags: Flags, kick: &Notification) -> u16 {
        let count = self.space.ahead(kick.old, kick.new);
        let count = if flags.contains(Flags::PACKED) {
            // Its positions count descriptors.
            let new = self.total_at(kick.new);
            let covered = new - i64::from(count)..new;
            let waiting = self.unkicked.iter();
            waiting
                .filter(|waiting| covered.contains(&waiting.total))
                .count()
        } else {
            count as usize
        };
        u16::try_from(count).unwrap_or(u16::MAX)
    }

    /// How many entries or descriptors were made available up to `index`, which lies
    /// near the last add. Positions come again, on a packed ring soon; this number
    /// does not.
    fn total_at(&self, index: RingIndex) -> i64 {
        self.available + self.space.distance(self.next_available, index)
    }

    pub(crate) fn callback(&mut self, record: &Record, callback: &Callback) {
        self.begun = true;
        let (flags, time) = (record.flags(), record.time());
        if !flags.contains(Flags::PACKED) {
            self.announcements
                .callback(self.space, callback.used_index, time);
        } else if !flags.contains(Flags::SPURIOUS) {
            self.announcements.packed_callback(callback.last_used, time);
        }
    }

    pub(crate) fn used(&mut self, record: &Record, used: &Used, payload: &[u8], numbers: &mut u64) {
        self.begun = true;
        // An entry that broke the queue ended nothing.
        if used.error != 0 {
            return;
        }
        let (callback, is_unclear) = self.announced(record, used);
        let oldest = self.pool.oldest();
        let Some(id) = self.close(used.head) else {
            self.used_without_add(record, used, payload, numbers);
            return;
        };
        if self.pool.at(id).life.token != record.token() {
            // The records of a return and of an add lie between: whose this was
            // is not known.
            self.end_incomplete(id, Incomplete::Lost(Piece::Used));
            self.used_without_add(record, used, payload, numbers);
            return;
        }
        let kept = cut(payload, self.keep_bytes);
        let open = self.pool.at_mut(id);
        open.life.out_of_order = oldest != Some(id);
        open.gaps_at_used = self.holes.mark();
        open.touched = is_unclear || self.holes.is_touched(open.gaps_at_add);
        open.used(record, used, callback, kept);
        if let Some(conversation) = &mut self.conversation {
            open.decode_reply(payload, conversation);
        }
        open.interrupt(&self.announcements, self.space);
        self.settling.push(id, open);
        self.settle(record.time());
    }

    /// When the entry that is taken was announced, and whether that is in doubt.
    fn announced(&mut self, record: &Record, used: &Used) -> (Option<Timestamp>, bool) {
        let position = used.position;
        if !record.flags().contains(Flags::PACKED) {
            let callback = self.announcements.callback_for(self.space, position);
            return (callback, false);
        }
        let open = self.heads.get(used.head).map(|id| self.pool.at(id));
        // Moments before the clock was set back can't be compared with those after.
        let moments = open
            .filter(|open| !open.set_back)
            .map(|open| open.life.moments)
            .unwrap_or_default();
        let found = self.announcements.packed_callback_for(
            self.space,
            position,
            moments.added,
            moments.returned,
        );
        // Where there is a device half, its word is missing. Where there is none,
        // nobody knows, and a harvest that can't be told apart is the device's.
        (found.callback, found.is_unclear && self.device_half_seen)
    }

    fn used_without_add(
        &mut self,
        record: &Record,
        used: &Used,
        payload: &[u8],
        numbers: &mut u64,
    ) {
        let reason = if self.begun_before > 0 {
            self.begun_before -= 1;
            Incomplete::BegunBefore
        } else if !self.holes.is_doubtful(0) && (!self.facts_seen || self.unknown_before > 0) {
            self.unknown_before = self.unknown_before.saturating_sub(1);
            Incomplete::BegunBefore
        } else {
            Incomplete::Lost(Piece::Add)
        };
        let id = self.pool.take();
        let open = self.pool.at_mut(id);
        open.unknown(next(numbers), self.queue, record, used.head);
        if let Some(conversation) = &mut self.conversation {
            open.life.operation = Operation::Unknown9p;
            let length = used.used_length.min(used.writable_bytes);
            let reply = p9::Message::decode(payload, length).ok();
            conversation.unexpected_reply(reply.as_ref());
        }
        open.used(record, used, None, cut(payload, self.keep_bytes));
        self.end_incomplete(id, reason);
    }

    pub(crate) fn detach(&mut self, detach: &Detach) {
        match self.close(detach.head) {
            Some(id) => self.end_incomplete(id, Incomplete::Detached),
            None => self.begun_before = self.begun_before.saturating_sub(1),
        }
    }

    /// Operations left no record. Of a completion whose buffer is known, the life
    /// ends here; which lives the others were about is not known.
    pub(crate) fn missed(&mut self, missed: &Missed) {
        self.begun = true;
        if missed.operation() != Some(Kind::Used) {
            return;
        }
        match missed.head() {
            Some(head) => match self.close(head) {
                Some(id) => self.end_incomplete(id, Incomplete::CompletionMissed),
                None => self.begun_before = self.begun_before.saturating_sub(1),
            },
            None => self.nameless = self.nameless.saturating_add(missed.count),
        }
    }

    /// A buffer whose add lies before the capture: it is one of those that the
    /// facts count, and will end as one begun before.
    pub(crate) fn found_in_flight(&mut self, record: &Record, found: &InFlight, numbers: &mut u64) {
        if self.heads.get(found.head).is_some() {
            return;
        }
        let id = self.pool.take();
        let open = self.pool.at_mut(id);
        open.unknown(next(numbers), self.queue, record, found.head);
        open.found(record, found);
        open.gaps_at_add = self.holes.mark_at_add();
        if self.conversation.is_some() {
            open.life.operation = Operation::Unknown9p;
        }
        self.begun_before = self.begun_before.saturating_sub(1);
        self.pool.link(id);
        self.heads.insert(found.head, id);
    }

    /// The queue was reset: nothing in flight survives it.
    pub(crate) fn reset(&mut self) {
        self.flush_settling();
        while let Some(id) = self.pool.oldest() {
            self.pool.unlink(id);
            self.heads.remove(self.pool.at(id).life.head);
            self.end_incomplete(id, Incomplete::QueueReset);
        }
        self.unkicked.clear();
        self.announcements = Announcements::default();
        self.early.clear();
        self.begun_before = 0;
        self.nameless = 0;
        self.next_add = None;
        if let Some(conversation) = &mut self.conversation {
            conversation.reset();
        }
    }

    /// How the conversation on a 9P queue stands.
    pub(crate) fn conversation(&self) -> Option<p9::ConversationView> {
        Some(self.conversation.as_ref()?.view())
    }

    /// What became of the fids of a 9P queue.
    pub(crate) fn fid_account(&self) -> p9::FidAccount {
        let conversation = self.conversation.as_ref();
        conversation.map_or_else(Default::default, |it| it.fid_account())
    }

    /// Takes a life out of those in flight.
    fn close(&mut self, head: u16) -> Option<Id> {
        let id = self.heads.remove(head)?;
        self.pool.unlink(id);
        Some(id)
    }

    /// Ends a life that is in no list any more.
    fn end_incomplete(&mut self, id: Id, reason: Incomplete) {
        let open = self.pool.at_mut(id);
        open.interrupt(&self.announcements, self.space);
        open.end_incomplete(reason);
        if let Some(conversation) = &mut self.conversation {
            open.abandon(conversation);
        }
        self.ended.push(id);
    }
}

fn cut(payload: &[u8], most: usize) -> &[u8] {
    payload.get(..most).unwrap_or(payload)
}

/// The next life's number.
fn next(numbers: &mut u64) -> u64 {
    let number = *numbers;
    *numbers += 1;
    number
}

/// Whether the sample beside a verdict speaks against it.
pub(crate) fn is_raced(flags: Flags, decision: &Notification) -> bool {
    let needed = flags.contains(Flags::NOTIFICATION_NEEDED);
    flags.contains(Flags::RACED)
        || decision
            .reason
            .verdict()
            .is_some_and(|verdict| verdict != needed)
}
