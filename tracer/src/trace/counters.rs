//! What the programs count, by queue and CPU.

use aya::maps::{MapData, PerCpuArray};
use virtscope_record::{Producer, ProducerId, QueueId, Record};
use virtscope_tracer_shared::{COUNTERS_PER_CPU, Counters};

/// One CPU's counters as the map has them: [`Counters`], which is nothing but words.
pub(super) type RawCounters = [u64; 5];

const _: () = assert!(size_of::<RawCounters>() == size_of::<Counters>());

/// One producer's counters of one queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamCounters {
    /// Whose queue.
    pub queue: QueueId,
    /// Which CPU.
    pub producer: ProducerId,
    /// Records made, lost and filtered ones included.
    pub emitted: u64,
    /// Records for which the buffer had no room.
    pub lost: u64,
    /// Records left out because a filter said so.
    pub filtered: u64,
    /// Operations found to have left no record.
    pub missed: u64,
}

/// The counters of every queue and CPU that has any.
pub(super) fn read(
    counters: &PerCpuArray<MapData, RawCounters>,
    queues: u64,
) -> Vec<StreamCounters> {
    let mut found = Vec::new();
    for number in 0..queues.min(COUNTERS_PER_CPU.into()) as u32 {
        let Ok(cpus) = counters.get(&number, 0) else {
            break;
        };
        for (cpu, words) in cpus.iter().enumerate() {
            let [emitted, lost, filtered, missed, queue] = *words;
            if queue == 0 {
                continue;
            }
            found.push(StreamCounters {
                queue: queue_of(queue),
                producer: Producer::Cpu(cpu as u16 & 0x7fff).id(),
                emitted,
                lost,
                filtered,
                missed,
            });
        }
    }
    found
}

/// Whether a record was made when tracing had ended, with these counters.
pub(super) fn is_after(last: Option<&[StreamCounters]>, record: &Record) -> bool {
    last.is_some_and(|last| {
        let mut streams = last.iter();
        let stream = streams.find(|stream| {
            stream.queue == record.queue() && stream.producer == record.producer().id()
        });
        // Sequences are the lower half of what is counted.
        stream
            .is_none_or(|stream| record.sequence().0.wrapping_sub(stream.emitted as u32) < 1 << 31)
    })
}

/// The queue that the programs call this.
pub(super) const fn queue_of(id: u64) -> QueueId {
    let id = id as u32;
    QueueId::new((id >> 16) as u16, id as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_while_detaching_is_left_out() {
        use virtscope_record::{Body, Common, Notify, Sequence};
        let (queue, producer) = (QueueId::new(1, 0), Producer::Cpu(2).id());
        let record = |sequence, producer| {
            let common = Common {
                queue,
                producer,
                sequence: Sequence(sequence),
                ..Common::default()
            };
            Record::new(common, Body::Notify(Notify::default()))
        };
        let last = |emitted| {
            [StreamCounters {
                queue,
                producer,
                emitted,
                lost: 0,
                filtered: 0,
                missed: 0,
            }]
        };
        let is_after =
            |emitted, sequence| super::is_after(Some(&last(emitted)), &record(sequence, producer));
        assert!(!is_after(10, 9) && is_after(10, 10));
        assert!(!is_after((1 << 32) + 2, 1) && is_after((1 << 32) + 2, 2));
        assert!(!is_after(1 << 32, u32::MAX) && is_after(1 << 32, 0));
        let other = Producer::Cpu(3).id();
        assert!(super::is_after(Some(&last(10)), &record(0, other)));
        assert!(!super::is_after(None, &record(99, producer)));
    }
}
