//! The buffers in flight: what the driver keeps to itself about each.

use virtscope_record::Token;

use super::Violation;
use super::indirect::{Table, Tables};

/// Extra context for a token (Linux `virtqueue_add_inbuf_ctx`), which comes back
/// with it; zero, like a null pointer, where none was given.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Context(pub u64);

/// A buffer that came back.
#[derive(Debug)]
pub struct UsedBuffer<T> {
    /// What was given with it.
    pub data: T,
    /// The token given with it.
    pub token: Token,
    /// The context given with it (Linux `virtqueue_get_buf_ctx`).
    pub context: Context,
    /// Bytes the device says it wrote; at most the buffer's writable bytes.
    pub written: u32,
}

/// A buffer in flight, as it is put in and taken out.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    pub(super) data: T,
    pub(super) token: Token,
    pub(super) context: Context,
    pub(super) writable_bytes: u32,
    /// Entries of the ring that it takes.
    pub(super) descriptors: u16,
    /// The indirect table it stands in, if any.
    pub(super) table: Option<Table>,
    /// The last of its entries, where ids are chained and it has no table.
    pub(super) last: u16,
}

/// Room for a buffer in flight.
///
/// Its words are written and read one by one, each by its own size, and those
/// that go on together don't stand side by side: a load that spans two stores
/// waits until both have reached the cache, which costs more than everything else
/// here together. None has 16 bits, because compilers read those by 32.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Slot<T> {
    token: Token,
    /// Buffers added before this one: tells one that was never shown to the
    /// device from one that has been with it for long, and the length of a batch.
    pub(super) number: u64,
    context: Context,
    shape: Shape,
    /// `None`: no buffer in flight.
    data: Option<T>,
    /// The one that follows, in a chain or among the free ones.
    next: u32,
}

/// What a buffer is like, in one word: device-writable bytes in bits 0 to 31,
/// entries of the ring in bits 32 to 47, or zero, which is one entry that names an
/// indirect table. From bit 48 on stands that table's number, or the last of the
/// entries.
#[derive(Clone, Copy, Debug)]
struct Shape(u64);

impl Shape {
    #[inline(always)]
    fn new<T>(buffer: &InFlight<T>) -> Self {
        let (middle, high) = match buffer.table {
            Some(table) => (0, table.0),
            None => (buffer.descriptors, buffer.last),
        };
        Self(u64::from(buffer.writable_bytes) | u64::from(middle) << 32 | u64::from(high) << 48)
    }

    #[inline(always)]
    const fn writable_bytes(self) -> u32 {
        self.0 as u32
    }

    /// Entries of the ring.
    #[inline(always)]
    const fn descriptors(self) -> u16 {
        match (self.0 >> 32) as u16 {
            0 => 1,
            entries => entries,
        }
    }

    #[inline(always)]
    const fn table(self) -> Option<Table> {
        match (self.0 >> 32) as u16 {
            0 => Some(Table((self.0 >> 48) as u16)),
            _ => None,
        }
    }

    /// The last of its entries, of a buffer without a table.
    #[inline(always)]
    const fn last(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

impl<T> Slot<T> {
    const fn free(next: u16) -> Self {
        Self {
            token: Token(0),
            number: 0,
            context: Context(0),
            shape: Shape(0),
            data: None,
            next: next as u32,
        }
    }

    #[inline(always)]
    fn take(&mut self) -> Option<InFlight<T>> {
        Some(InFlight {
            data: self.data.take()?,
            token: self.token,
            context: self.context,
            writable_bytes: self.shape.writable_bytes(),
            descriptors: self.shape.descriptors(),
            table: self.shape.table(),
            last: self.shape.last(),
        })
    }
}

/// The buffers in flight, by the id under which the device returns them: split, their
/// first descriptor, whose slot stands for it whether it begins a buffer or not.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Box<[Slot<T>]>,
    /// The first of those that are free. The last given back is the first taken; what
    /// follows as many as are free means nothing.
    free: u32,
    /// Buffers ever added, those that came back used, and those that were detached.
    /// They never wrap; the indices of a split ring are their low halves.
    pub(super) added: u64,
    pub(super) used: u64,
    detached: u64,
    /// Buffers with a smaller number were made available.
    shown_below: u64,
    /// Below this id [`take_any`](Self::take_any) has left none.
    emptied_below: u32,
}

/// Which ids are free again when a buffer is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ids {
    /// One for each of its entries: split.
    Chain,
    /// Its own: packed.
    One,
    /// `VIRTIO_F_IN_ORDER`: they are used as they were taken, in a circle, so nothing
    /// needs to be given back.
    GoRound,
}

/// More than there will ever be.
const ALL: u64 = u64::MAX;

impl<T> Slots<T> {
    pub(super) fn new(size: u16) -> Self {
        Self {
            // In a circle: with `VIRTIO_F_IN_ORDER` it stays like this.
            slots: (1..=size)
                .map(|next| Slot::free(if next == size { 0 } else { next }))
                .collect(),
            free: 0,
            added: 0,
            used: 0,
            detached: 0,
            shown_below: 0,
            emptied_below: 0,
        }
    }

    #[inline(always)]
    pub(super) const fn in_flight(&self) -> u16 {
        (self.added - self.used - self.detached) as u16
    }

    /// Buffers ever made available, of a queue that says so of each by
    /// [`show_all`](Self::show_all).
    #[inline(always)]
    pub(super) const fn shown(&self) -> u64 {
        self.shown_below
    }

    /// Those of them that are in flight.
    #[inline(always)]
    pub(super) const fn shown_in_flight(&self) -> u16 {
        // Saturating: one that was detached may never have been made available.
        self.shown_below.saturating_sub(self.used + self.detached) as u16
    }

    /// The free ids, from the next one to take on. There must be as many as are taken.
    #[inline(always)]
    pub(super) fn free_ids(&mut self) -> FreeIds<'_, T> {
        FreeIds {
            first: self.free as u16,
            number: self.added,
            slots: &mut self.slots,
            free: &mut self.free,
            added: &mut self.added,
        }
    }

    /// The ids from `first` to `last`, as they follow each other, are free again.
    #[inline(always)]
    fn give_back(&mut self, first: u32, last: u16) {
        self.slots[usize::from(last)].next = self.free;
        self.free = first;
    }

    /// Checks a used entry's every word, and takes its buffer out if they are all
    /// believable. If not, [`check_used`](Self::check_used) says why.
    #[inline(always)]
    pub(super) fn take_used(
        &mut self,
        id: u32,
        written: u32,
        ids: Ids,
        tables: &mut Tables,
    ) -> Option<InFlight<T>> {
        let slot = self.slots.get_mut(id as usize)?;
        // What was added and not made available is not the device's to return.
        if slot.number >= self.shown_below || written > slot.shape.writable_bytes() {
            return None;
        }
        let buffer = slot.take()?;
        match (buffer.table, ids) {
            (table, Ids::GoRound) => tables.give_back(table),
            (None, Ids::Chain) => self.give_back(id, buffer.last),
            (table, Ids::Chain | Ids::One) => {
                slot.next = self.free;
                self.free = id;
                tables.give_back(table);
            }
        }
        self.used += 1;
        Some(buffer)
    }

    /// `VIRTIO_F_IN_ORDER`: the same, if `id` is that of the buffer which is in flight for
    /// longest. If not, or if something in the entry is not to be believed, nothing is
    /// taken.
    #[inline(always)]
    pub(super) fn take_oldest(
        &mut self,
        id: u32,
        written: u32,
        tables: &mut Tables,
    ) -> Option<InFlight<T>> {
        let slot = self.slots.get_mut(id as usize)?;
        // All that were added before it came back, unless some were detached.
        if slot.number != self.used
            || self.used >= self.shown_below
            || written > slot.shape.writable_bytes()
        {
            return None;
        }
        let buffer = slot.take()?;
        tables.give_back(buffer.table);
        self.used += 1;
        Some(buffer)
    }

    /// Whether `id` is that of the buffer which is in flight for longest, if it is one in
    /// flight at all and none was detached: all that were added before it came back.
    #[inline(always)]
    pub(super) fn is_oldest(&self, id: u32) -> bool {
        self.slots
            .get(id as usize)
            .is_some_and(|slot| slot.number == self.used)
    }

    /// `VIRTIO_F_IN_ORDER`: the id of the buffer which is in flight for longest, or was
    /// until it was detached. Those in flight take `ids` of the ids, which go round.
    pub(super) fn oldest(&self, ids: u16) -> Option<u16> {
        if self.detached > 0 {
            // The ids taken do not tell any more; the numbers stay.
            let oldest = self.slots.iter().position(|slot| slot.number == self.used);
            return oldest.map(|id| id as u16);
        }
        let size = self.slots.len() as u32;
        let oldest = (self.free + size - u32::from(ids)) % size;
        Some(oldest as u16)
    }

    /// What can be written into the buffer under `id`.
    #[inline(always)]
    pub(super) fn writable_bytes(&self, id: u16) -> u32 {
        self.slots
            .get(usize::from(id))
            .map_or(0, |slot| slot.shape.writable_bytes())
    }

    /// The buffer in flight that a used entry names, if its every word is
    /// believable.
    pub(super) fn check_used(&self, id: u32, written: u32) -> Result<&Slot<T>, Violation> {
        let slot = self.get_used(id)?;
        if written > slot.shape.writable_bytes() {
            return Err(Violation::UsedLengthTooLong {
                used_length: written,
                writable: slot.shape.writable_bytes(),
            });
        }
        Ok(slot)
    }

    /// The buffer in flight that `id`, as the device wrote it, names.
    pub(super) fn get_used(&self, id: u32) -> Result<&Slot<T>, Violation> {
        match self.slots.get(id as usize) {
            Some(slot) if slot.data.is_some() && slot.number < self.shown_below => Ok(slot),
            // Below the size, which is no more than 32768.
            Some(_) => Err(Violation::IdNotInFlight { id: id as u16 }),
            None => Err(Violation::IdOutOfRange {
                id,
                size: self.slots.len() as u16,
            }),
        }
    }

    /// Takes any buffer out, as a driver does that shuts down. From then on the caller
    /// adds and publishes nothing.
    pub(super) fn take_any(&mut self) -> Option<(u16, InFlight<T>)> {
        if self.in_flight() == 0 {
            return None;
        }
        // Nothing is added any more, so nobody looks twice where nothing was found.
        let from = self.emptied_below as usize;
        let rest = self.slots.get(from..)?;
        let id = from + rest.iter().position(|slot| slot.data.is_some())?;
        let buffer = self.slots.get_mut(id)?.take()?;
        self.emptied_below = id as u32 + 1;
        self.detached += 1;
        Some((id as u16, buffer))
    }

    /// All buffers so far were made available.
    #[inline(always)]
    pub(super) const fn show_all(&mut self) {
        self.shown_below = self.added;
    }

    /// The same, and all that come, until one is withheld: then nothing has to be kept
    /// account of.
    #[inline(always)]
    pub(super) const fn show_from_now_on(&mut self) {
        self.shown_below = ALL;
    }

    /// The buffer added last, and what comes behind it, is not made available yet.
    #[inline(always)]
    pub(super) const fn withhold_last(&mut self) {
        if self.shown_below == ALL {
            self.shown_below = self.added - 1;
        }
    }

    pub(super) fn data(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.data.as_ref())
    }
}

/// Ids that are free, in the order in which they are taken. What it knows it was told
/// once: a compiler has to believe that a word of the queue may change whenever one of
/// guest memory is written, and would read it again.
pub(super) struct FreeIds<'a, T> {
    slots: &'a mut [Slot<T>],
    pub(super) first: u16,
    /// That of the next buffer.
    pub(super) number: u64,
    free: &'a mut u32,
    added: &'a mut u64,
}

impl<T> FreeIds<'_, T> {
    /// The one behind `id`.
    #[inline(always)]
    pub(super) fn behind(&self, id: u16) -> u16 {
        self.slots[usize::from(id)].next as u16
    }

    /// Puts a buffer under the first, which, with all up to `behind`, is free no more.
    #[inline(always)]
    pub(super) fn put(self, buffer: InFlight<T>, behind: u16) {
        let slot = &mut self.slots[usize::from(self.first)];
        slot.token = buffer.token;
        slot.number = self.number;
        slot.context = buffer.context;
        slot.shape = Shape::new(&buffer);
        slot.data = Some(buffer.data);
        *self.added = self.number + 1;
        *self.free = u32::from(behind);
    }
}

/// What is left of a batch for which the device wrote one used entry (virtio 1.4
/// §2.7.9, §2.8.8).
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Batch {
    /// Buffers not yet taken, the last included.
    pub(super) left: u32,
    /// What was written into the last; the others were used wholly.
    pub(super) last_written: u32,
}

impl<T> InFlight<T> {
    #[inline(always)]
    pub(super) fn into_used(self, written: u32) -> UsedBuffer<T> {
        UsedBuffer {
            data: self.data,
            token: self.token,
            context: self.context,
            written,
        }
    }
}
