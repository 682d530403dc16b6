//! What the model expects to be recorded, against what is.

use std::sync::Arc;

use virtscope_driver::instrument::live::{Hub, monotonic_now};
use virtscope_record::{
    Body, Context, Flags, Generation, Producer, QueueId, Record, Sequence, Timestamp, Token,
};

/// A record that an operation must make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Expected {
    pub(crate) producer: Producer,
    pub(crate) token: Token,
    pub(crate) flags: Flags,
    pub(crate) body: Body,
    /// All the bytes the record is about, of which it carries the first.
    pub(crate) bytes: Vec<u8>,
}

impl Expected {
    /// A record that is about no buffer.
    pub(crate) fn new(producer: Producer, flags: Flags, body: Body) -> Self {
        Self {
            producer,
            token: Token::default(),
            flags,
            body,
            bytes: Vec::new(),
        }
    }
}

/// The records of one queue, as they come out of the hub.
pub(crate) struct Records {
    hub: Arc<Hub>,
    queue: QueueId,
    /// Which life of the queue they must belong to.
    pub(crate) generation: Generation,
    /// The next sequence number of the driver's half and of the device's.
    sequences: [u32; 2],
    since: Timestamp,
    /// Drained and not yet expected.
    drained: Vec<(Expected, Vec<u8>)>,
}

impl Records {
    pub(crate) fn new(hub: Arc<Hub>, queue: QueueId) -> Self {
        Self {
            hub,
            queue,
            generation: Generation(0),
            sequences: [0; 2],
            since: monotonic_now(),
            drained: Vec::new(),
        }
    }

    /// The records since the last call are exactly these.
    pub(crate) fn expect(&mut self, expected: &[Expected]) {
        self.drain();
        let drained = std::mem::take(&mut self.drained);
        assert_eq!(drained.len(), expected.len(), "{drained:?}");
        for ((said, payload), expected) in drained.into_iter().zip(expected) {
            let carried = expected.bytes.len().min(self.hub.snaplen() as usize);
            assert_eq!(payload, expected.bytes[..carried]);
            let bytes = expected.bytes.clone();
            assert_eq!(Expected { bytes, ..said }, *expected);
        }
    }

    /// What the last record says, which is still to be expected.
    pub(crate) fn last(&mut self) -> Option<Body> {
        self.drain();
        self.drained.last().map(|(said, _)| said.body)
    }

    /// Forgets the records since the last call, but for what all of them must say.
    pub(crate) fn skip(&mut self) {
        self.drain();
        self.drained.clear();
    }

    /// Takes every record out, checked for all that does not depend on the
    /// operation.
    fn drain(&mut self) {
        let hub = Arc::clone(&self.hub);
        hub.drain(|record, payload| {
            self.check_common(record);
            let mut said = Expected::new(record.producer(), record.flags(), record.body().unwrap());
            said.token = record.token();
            self.drained.push((said, payload.to_vec()));
        });
    }

    fn check_common(&mut self, record: &Record) {
        let common = record.common();
        assert_eq!(common.queue, self.queue);
        assert_eq!(common.generation, self.generation);
        assert_eq!(common.context, Context::Task);
        assert_eq!(common.process, std::process::id());
        assert_ne!(common.thread, 0);
        let next = &mut self.sequences[usize::from(common.producer.0)];
        assert_eq!(common.sequence, Sequence(*next));
        *next += 1;
        // One thread does everything, so time only goes on.
        assert!(common.time >= self.since);
        assert!(common.time <= monotonic_now());
        self.since = common.time;
    }
}
