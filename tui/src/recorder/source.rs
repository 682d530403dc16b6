//! Where records come from.

use std::sync::Arc;
use std::time::Duration;

use virtscope_captures::Selection;
use virtscope_driver::instrument::live::Hub;
use virtscope_record::{
    Generation, InFlight, ProducerId, QueueFacts, QueueId, Record, Timestamp, Token,
};
use virtscope_tracer::trace::StreamCounters;

/// How long the drainer rests between two looks at rings that can't call it.
pub(super) const INTERVAL: Duration = Duration::from_millis(5);

/// Where records come from.
pub trait Source: Send {
    /// Bytes of payload a record carries at most.
    fn snaplen(&self) -> u32;

    /// What is left out of the stream on purpose.
    fn selection(&self) -> Selection {
        Selection::WHOLE
    }

    /// Hands every record made up to now to `take`, each producer's in the order of
    /// their numbers.
    fn drain(&mut self, take: &mut dyn FnMut(&Record, &[u8]));

    /// Rests between two [drains](Self::drain), for no longer than there is room for what is
    /// made meanwhile.
    fn rest(&self) {
        std::thread::sleep(INTERVAL);
    }

    /// What is said of the queues from the start.
    fn describe(&mut self, _: &[QueueNotice]) {}

    /// Producers that were at work before somebody looked, and the number with which
    /// their records begin: none has been handed out yet.
    fn begun(&mut self) -> Vec<Begun> {
        Vec::new()
    }

    /// Queues that have become known by other means than their own records.
    fn notices(&mut self) -> Vec<QueueNotice> {
        Vec::new()
    }

    /// Has records made of what only looking shows; once for each heartbeat.
    fn look(&mut self) {}

    /// The counters of every producer of every queue.
    fn counters(&self) -> Vec<StreamCounters>;

    /// Times that the kernel has skipped a program which makes records.
    fn programs_skipped(&self) -> u64 {
        0
    }

    /// Makes no more records; those made before are still drained.
    fn stop(&mut self) {}

    /// When it had stopped, if that was earlier than when [`stop`](Self::stop) was done.
    fn ended(&self) -> Option<Timestamp> {
        None
    }
}

/// A producer whose records begin with another number than 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begun {
    /// Whose queue.
    pub queue: QueueId,
    /// Who.
    pub producer: ProducerId,
    /// The number of its first record.
    pub number: u64,
}

impl Source for Arc<Hub> {
    fn snaplen(&self) -> u32 {
        Hub::snaplen(self)
    }

    fn describe(&mut self, notices: &[QueueNotice]) {
        for QueueNotice {
            queue, facts, text, ..
        } in notices
        {
            Hub::describe(self, *queue, *facts, text);
        }
    }

    fn drain(&mut self, take: &mut dyn FnMut(&Record, &[u8])) {
        Hub::drain(self, take);
    }

    fn counters(&self) -> Vec<StreamCounters> {
        Hub::counters(self)
            .into_iter()
            .map(|stream| StreamCounters {
                queue: stream.queue,
                producer: stream.producer,
                emitted: stream.emitted,
                lost: stream.lost,
                filtered: 0,
                missed: 0,
            })
            .collect()
    }
}

/// What is said of a queue before its first record.
#[derive(Clone, Debug)]
pub struct QueueNotice {
    /// Which queue.
    pub queue: QueueId,
    /// Which life of it.
    pub generation: Generation,
    /// What it is.
    pub facts: QueueFacts,
    /// Its name, then `key=value` lines: the payload of the facts' record.
    pub text: String,
    /// What is in flight already, where that is known.
    pub in_flight: Vec<(Token, InFlight)>,
}
