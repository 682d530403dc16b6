//! What was looked up last, so that hardly a record has to look for its own.

use virtscope_record::{ProducerId, QueueId};

/// What was last found for producers of queues: one for each place, and those that
/// share one take turns.
#[derive(Debug)]
pub(crate) struct Recent<T>([(u64, T); LEN]);

const LEN: usize = 64;

/// No queue's producer.
const NOBODY: u64 = u64::MAX;

impl<T: Copy> Recent<T> {
    /// Nothing was looked up yet; `nothing` stands for it.
    pub(crate) const fn new(nothing: T) -> Self {
        Self([(NOBODY, nothing); LEN])
    }

    /// What was found, if it was among the last.
    #[inline]
    pub(crate) fn get(&self, queue: QueueId, producer: ProducerId) -> Option<T> {
        let (key, found) = self.0[place(queue, producer)];
        (key == self::key(queue, producer)).then_some(found)
    }

    /// This was found.
    #[inline]
    pub(crate) fn put(&mut self, queue: QueueId, producer: ProducerId, found: T) {
        self.0[place(queue, producer)] = (key(queue, producer), found);
    }
}

/// A number that each producer of a queue has to itself.
#[inline]
fn key(queue: QueueId, producer: ProducerId) -> u64 {
    u64::from(queue.device) << 32 | u64::from(queue.index) << 16 | u64::from(producer.0)
}

#[inline]
fn place(queue: QueueId, producer: ProducerId) -> usize {
    // Producers are 0, 1, 2 or a CPU's number; queues and devices count up.
    let mixed = producer.0 ^ (queue.index << 2) ^ (queue.device << 4);
    usize::from(mixed) % LEN
}
