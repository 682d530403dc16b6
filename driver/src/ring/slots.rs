//! The buffers in flight: what the driver keeps to itself about each.

use virtscope_record::Token;

use super::Violation;

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

/// A buffer in flight.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    pub(super) data: T,
    pub(super) token: Token,
    pub(super) context: Context,
    /// Buffers added before this one: tells one that was never shown to the
    /// device from one that has been with it for long, and the length of a batch.
    pub(super) number: u64,
    pub(super) writable_bytes: u32,
    /// Entries of the ring that it takes.
    pub(super) descriptors: u16,
    /// The indirect table it stands in, if any.
    pub(super) table: Option<u16>,
}

/// The buffers in flight, by the id under which the device returns them.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Box<[Option<InFlight<T>>]>,
    count: u16,
    /// Buffers ever added, and those of them that were made available.
    pub(super) added: u64,
    pub(super) announced: u64,
}

impl<T> Slots<T> {
    pub(super) fn new(size: u16) -> Self {
        Self {
            slots: (0..size).map(|_| None).collect(),
            count: 0,
            added: 0,
            announced: 0,
        }
    }

    pub(super) const fn in_flight(&self) -> u16 {
        self.count
    }

    /// Buffers in flight that the device knows of.
    pub(super) const fn announced_in_flight(&self) -> u16 {
        // Saturating: one that was detached may never have been made available.
        self.count
            .saturating_sub((self.added - self.announced) as u16)
    }

    /// Puts a buffer, whose number must be `self.added`, under `id`, which is free.
    #[inline(always)]
    pub(super) fn insert(&mut self, id: u16, buffer: InFlight<T>) {
        self.slots[usize::from(id)] = Some(buffer);
        self.added += 1;
        self.count += 1;
    }

    /// Checks a used entry's every word, and takes its buffer out if they are all
    /// believable.
    #[inline(always)]
    pub(super) fn take_used(&mut self, id: u16, written: u32) -> Result<InFlight<T>, Violation> {
        self.get_used(id)?.check_length(written)?;
        self.take(id).ok_or(Violation::IdNotInFlight { id })
    }

    /// The buffer in flight that `id`, as the device wrote it, names.
    #[inline(always)]
    pub(super) fn get_used(&self, id: u16) -> Result<&InFlight<T>, Violation> {
        // What was added and not made available is not the device's to return.
        match self.slots.get(usize::from(id)) {
            Some(Some(buffer)) if buffer.number < self.announced => Ok(buffer),
            Some(_) => Err(Violation::IdNotInFlight { id }),
            None => Err(Violation::IdOutOfRange {
                id: u32::from(id),
                size: self.slots.len() as u16,
            }),
        }
    }

    /// Takes the buffer under `id` out, used or not.
    #[inline(always)]
    pub(super) fn take(&mut self, id: u16) -> Option<InFlight<T>> {
        let buffer = self.slots.get_mut(usize::from(id))?.take()?;
        self.count -= 1;
        Some(buffer)
    }

    /// Takes any buffer out, as a driver does that shuts down. The caller forgets
    /// what it had not made available.
    pub(super) fn take_any(&mut self) -> Option<(u16, InFlight<T>)> {
        if self.count == 0 {
            return None;
        }
        let id = self.slots.iter().position(Option::is_some)? as u16;
        Some((id, self.take(id)?))
    }

    /// Nothing that was added waits to be made available any more.
    #[inline(always)]
    pub(super) const fn announce_all(&mut self) {
        self.announced = self.added;
    }

    pub(super) fn data(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten().map(|buffer| &buffer.data)
    }
}

/// What is left of a batch for which the device wrote one used entry (virtio 1.4
/// §2.7.9, §2.8.8).
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Batch {
    /// Buffers not yet taken, the last included.
    pub(super) left: u16,
    /// What was written into the last; the others were used wholly.
    pub(super) last_written: u32,
}

impl<T> InFlight<T> {
    /// Whether the device can have written this much into it.
    #[inline(always)]
    pub(super) const fn check_length(&self, written: u32) -> Result<(), Violation> {
        if written > self.writable_bytes {
            return Err(Violation::UsedLengthTooLong {
                used_length: written,
                writable: self.writable_bytes,
            });
        }
        Ok(())
    }

    pub(super) fn into_used(self, written: u32) -> UsedBuffer<T> {
        UsedBuffer {
            data: self.data,
            token: self.token,
            context: self.context,
            written,
        }
    }
}
