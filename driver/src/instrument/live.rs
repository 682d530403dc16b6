//! The live path: probes write records into a byte ring of their thread, one
//! drainer takes them out.
//!
//! ```text
//! thread ── Probe ──► byte ring ─┐
//! thread ── Probe ──► byte ring ─┼─► Hub::drain ─► merge, capture, analyzer
//! thread ── Probe ──► byte ring ─┘
//! ```
//!
//! Every (queue, producer) is a *stream* with its own sequence and counters:
//! what a full byte ring could not take is counted there as lost, exactly.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};
use virtscope_record::{
    Body, Common, Context, Flags, Generation, Kind, Producer, ProducerId, QueueFacts, QueueId,
    Record, Sequence, Timestamp, Token,
};

use super::byte_ring::{Reader, Writer, byte_ring};
use super::{Event, Instrument, Payload, usdt};

/// Bytes of each thread's ring unless told otherwise: some 30,000 records.
pub const DEFAULT_RING_BYTES: usize = 4 << 20;

/// Where all probes' records come together.
#[derive(Debug)]
pub struct Hub {
    id: u64,
    ring_bytes: usize,
    snaplen: u32,
    /// Rings being drained; held for as long as that takes.
    readers: Mutex<Vec<Reader>>,
    /// Rings of threads that are new. A lock of its own and never held for
    /// long, because a producer takes it.
    new_readers: Mutex<Vec<Reader>>,
    streams: Mutex<Vec<Arc<Stream>>>,
}

/// One (queue, producer).
#[derive(Debug)]
pub(super) struct Stream {
    queue: QueueId,
    producer: ProducerId,
    process: u32,
    generation: AtomicU16,
    /// The next sequence number, and so the records emitted.
    emitted: AtomicU64,
    lost: AtomicU64,
    /// What its queue is and in words, if that is known.
    facts: Mutex<Option<(QueueFacts, Arc<str>)>>,
    /// When those who watch were last told.
    told: AtomicU64,
}

/// How often the facts of a queue are told while there are records, ns: somebody may have
/// begun to watch in between.
const REPEAT_NS: u64 = 250_000_000;

/// A stream's counters, taken together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamCounters {
    /// Whose queue.
    pub queue: QueueId,
    /// Whose half.
    pub producer: ProducerId,
    /// Records made, lost ones included.
    pub emitted: u64,
    /// Records that a full byte ring refused.
    pub lost: u64,
}

impl Stream {
    pub(super) fn new(queue: QueueId, producer: Producer) -> Self {
        Self {
            queue,
            producer: producer.id(),
            process: std::process::id(),
            generation: AtomicU16::new(0),
            emitted: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            facts: Mutex::new(None),
            told: AtomicU64::new(0),
        }
    }

    /// What its queue is; without a text, that one stays which was known.
    pub(super) fn describe(&self, facts: QueueFacts, text: Option<&str>) {
        let mut known = lock(&self.facts);
        let text = match (text, known.take()) {
            (Some(text), _) => Arc::from(text),
            (None, Some((_, text))) => text,
            (None, None) => Arc::from(format!("virtio{}.{}", self.queue.device, self.queue.index)),
        };
        *known = Some((facts, text));
        self.told.store(0, Ordering::Relaxed);
    }

    /// The record of its queue's facts and their text, if they are known and were not
    /// told of for a while.
    pub(super) fn facts_due(&self, now: Timestamp) -> Option<(Record, Arc<str>)> {
        let told = self.told.load(Ordering::Relaxed);
        let now_ns = now.as_nanos();
        if told != 0 && now_ns.saturating_sub(told) < REPEAT_NS {
            return None;
        }
        // Of several threads one tells.
        let claimed =
            self.told
                .compare_exchange(told, now_ns.max(1), Ordering::Relaxed, Ordering::Relaxed);
        claimed.ok()?;
        let (facts, text) = lock(&self.facts).clone()?;
        let common = Common {
            time: now,
            queue: self.queue,
            generation: Generation(self.generation.load(Ordering::Relaxed)),
            producer: Producer::Recorder.id(),
            sequence: Sequence(0),
            context: Context::Task,
            process: self.process,
            thread: thread_id(),
            token: Token::default(),
            flags: Flags::empty(),
        };
        Some((Record::new(common, Body::QueueFacts(facts)), text))
    }

    /// The number of the record that is made now.
    #[inline(always)]
    pub(super) fn next_sequence(&self) -> u64 {
        self.emitted.fetch_add(1, Ordering::AcqRel)
    }

    pub(super) fn start_generation(&self, generation: Generation) {
        self.generation.store(generation.0, Ordering::Relaxed);
    }

    /// The record of `event`, made by `thread`, as [`Record::words`].
    #[inline(always)]
    pub(super) fn words(
        &self,
        sequence: u64,
        thread: u32,
        event: &EventWords,
        flags: Flags,
    ) -> [u64; 8] {
        let common = Common {
            time: event.time,
            queue: self.queue,
            generation: Generation(self.generation.load(Ordering::Relaxed)),
            producer: self.producer,
            sequence: Sequence(sequence as u32),
            context: Context::Task,
            process: self.process,
            thread,
            token: event.token,
            flags,
        };
        Record::words(&common, event.kind, event.body)
    }
}

/// An [`Event`] whose body is words already.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventWords {
    pub(super) time: Timestamp,
    pub(super) token: Token,
    pub(super) flags: Flags,
    kind: Kind,
    body: [u64; 3],
}

impl From<Event> for EventWords {
    #[inline(always)]
    fn from(event: Event) -> Self {
        Self {
            time: event.time,
            token: event.token,
            flags: event.flags,
            kind: event.body.kind(),
            body: event.body.to_words(),
        }
    }
}

thread_local! {
    static THREAD: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// This thread's number, which the kernel is asked for once.
pub(super) fn thread_id() -> u32 {
    let ask = || gettid().as_raw_nonzero().get().cast_unsigned();
    THREAD
        .try_with(|known| {
            if known.get() == 0 {
                known.set(ask());
            }
            known.get()
        })
        .unwrap_or_else(|_| ask())
}

thread_local! {
    /// This thread's writers. A thread rarely knows more than one hub.
    static WRITERS: RefCell<Vec<ThreadWriter>> = const { RefCell::new(Vec::new()) };
}

/// Where one thread writes one hub's records.
struct ThreadWriter {
    hub: u64,
    thread: u32,
    writer: Writer,
}

/// What `CLOCK_MONOTONIC` says now.
pub fn monotonic_now() -> Timestamp {
    let now = clock_gettime(ClockId::Monotonic);
    Timestamp::from_nanos(now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned())
}

impl Hub {
    /// A hub whose threads have rings of `ring_bytes` and whose records carry at
    /// most `snaplen` bytes of payload.
    pub fn new(ring_bytes: usize, snaplen: u32) -> Arc<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            ring_bytes,
            snaplen,
            readers: Mutex::new(Vec::new()),
            new_readers: Mutex::new(Vec::new()),
            streams: Mutex::new(Vec::new()),
        })
    }

    /// An instrument for one half of one queue. Clones count as the same
    /// producer.
    pub fn probe(self: &Arc<Self>, queue: QueueId, producer: Producer) -> Probe {
        let stream = Arc::new(Stream::new(queue, producer));
        lock(&self.streams).push(Arc::clone(&stream));
        Probe {
            hub: Arc::clone(self),
            stream,
        }
    }

    /// What `queue` is, for tracers outside the process: its facts, and as text its name
    /// and `key=value` lines behind it.
    pub fn describe(&self, queue: QueueId, facts: QueueFacts, text: &str) {
        for stream in lock(&self.streams).iter() {
            if stream.queue == queue {
                stream.describe(facts, Some(text));
            }
        }
    }

    /// Bytes of payload a record carries at most.
    pub fn snaplen(&self) -> u32 {
        self.snaplen
    }

    /// Hands every record written up to now to `take`, thread by thread, each
    /// thread's in the order it wrote them. Returns how many there were.
    ///
    /// Threads don't wait for each other, so the caller puts them in order.
    pub fn drain(&self, mut take: impl FnMut(&Record, &[u8])) -> usize {
        let mut readers = lock(&self.readers);
        readers.append(&mut lock(&self.new_readers));
        let mut frames = 0;
        readers.retain_mut(|reader| {
            // Ask first: what was written before closing is drained below.
            let closed = reader.is_closed();
            frames += reader.drain(&mut take);
            !closed
        });
        frames
    }

    /// The counters of every stream.
    ///
    /// A record is counted as emitted before it is written or counted as lost,
    /// so while producers run `emitted` may be ahead of what was drained.
    pub fn counters(&self) -> Vec<StreamCounters> {
        lock(&self.streams)
            .iter()
            .map(|stream| {
                // Lost first: it never exceeds emitted.
                let lost = stream.lost.load(Ordering::Acquire);
                StreamCounters {
                    queue: stream.queue,
                    producer: stream.producer,
                    emitted: stream.emitted.load(Ordering::Acquire),
                    lost,
                }
            })
            .collect()
    }

    /// Calls `use_it` with this thread's id and writer.
    fn with_writer<R>(&self, use_it: impl FnOnce(u32, &mut Writer) -> R) -> Option<R> {
        // A probe that fires while the thread is torn down finds no writer.
        WRITERS
            .try_with(|writers| {
                let mut writers = writers.borrow_mut();
                let known = writers.iter().position(|writer| writer.hub == self.id);
                let index = known.unwrap_or_else(|| self.add_writer(&mut writers));
                let ThreadWriter { thread, writer, .. } = &mut writers[index];
                use_it(*thread, writer)
            })
            .ok()
    }

    #[cold]
    fn add_writer(&self, writers: &mut Vec<ThreadWriter>) -> usize {
        // Rings to hubs that are gone end here.
        writers.retain(|known| known.writer.has_reader());
        let (writer, reader) = byte_ring(self.ring_bytes);
        lock(&self.new_readers).push(reader);
        writers.push(ThreadWriter {
            hub: self.id,
            thread: gettid().as_raw_nonzero().get().cast_unsigned(),
            writer,
        });
        writers.len() - 1
    }
}

/// The lists behind these locks are whole at every moment, so a panic elsewhere
/// spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes the records of one half of one queue to its hub.
#[derive(Clone, Debug)]
pub struct Probe {
    hub: Arc<Hub>,
    stream: Arc<Stream>,
}

impl Probe {
    /// Writes the record of an event that comes in registers: read back from memory,
    /// its fields would wait for the stores that put them there.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "a structure would be memory")]
    fn emit_words(
        &self,
        time: Timestamp,
        token: Token,
        flags: Flags,
        kind: Kind,
        first: u64,
        second: u64,
        third: u64,
        payload: &Payload<'_>,
    ) {
        let event = EventWords {
            time,
            token,
            flags,
            kind,
            body: [first, second, third],
        };
        let stream = &*self.stream;
        let sequence = stream.next_sequence();
        // Before the byte ring, which may be full: that is its own loss.
        if usdt::is_watched() {
            self.show(sequence, event, payload);
        }
        let len = payload.len().min(self.hub.snaplen as usize);
        let written = self.hub.with_writer(|thread, writer| {
            writer.write_with(len, |into| {
                // Zero-filled payload must never pass for content, so it is dropped
                // and the record says so.
                let gathered = payload.copy_to(into);
                let mut flags = event.flags;
                flags.set(Flags::PAYLOAD_UNAVAILABLE, !gathered);
                let record = stream.words(sequence, thread, &event, flags);
                (record, if gathered { len } else { 0 })
            })
        });
        if !matches!(written, Some(Ok(()))) {
            stream.lost.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The record passes the static probe too. By value: so only who is watched pays
    /// for an event in memory.
    #[cold]
    #[inline(never)]
    fn show(&self, sequence: u64, event: EventWords, payload: &Payload<'_>) {
        usdt::show(&self.stream, sequence, &event, payload, self.hub.snaplen);
    }
}

impl Instrument for Probe {
    const ENABLED: bool = true;

    #[inline]
    fn now(&self) -> Timestamp {
        monotonic_now()
    }

    #[inline(always)]
    fn emit(&self, event: Event, payload: Payload<'_>) {
        let EventWords {
            time,
            token,
            flags,
            kind,
            body: [first, second, third],
        } = event.into();
        self.emit_words(time, token, flags, kind, first, second, third, &payload);
    }

    fn start_generation(&self, generation: Generation) {
        self.stream.start_generation(generation);
    }

    fn describe(&self, facts: QueueFacts) {
        self.stream.describe(facts, None);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use virtscope_record::{Body, Notify, Token};

    fn event() -> Event {
        Event {
            time: monotonic_now(),
            token: Token(1),
            flags: Flags::empty(),
            body: Body::Notify(Notify::default()),
        }
    }

    #[test]
    fn every_record_is_stored_or_counted_as_lost() {
        let hub = Hub::new(4096, 64);
        let probe = hub.probe(QueueId::new(0, 0), Producer::DriverHalf);
        let rounds = if cfg!(miri) { 50 } else { 5_000 };
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let probe = probe.clone();
                std::thread::spawn(move || {
                    for _ in 0..rounds {
                        probe.emit(event(), Payload::none());
                    }
                })
            })
            .collect();
        let mut seen = std::collections::HashSet::new();
        let mut take = |record: &Record, _: &[u8]| {
            assert!(seen.insert(record.sequence().0), "a sequence came twice");
        };
        while !threads.iter().all(std::thread::JoinHandle::is_finished) {
            hub.drain(&mut take);
            std::thread::yield_now();
        }
        for thread in threads {
            thread.join().unwrap();
        }
        hub.drain(&mut take);
        let counters = hub.counters()[0];
        assert_eq!(counters.emitted, 3 * rounds);
        assert_eq!(seen.len() as u64 + counters.lost, counters.emitted);
        assert!(
            lock(&hub.readers).is_empty(),
            "finished threads leave rings"
        );
    }

    #[test]
    fn a_thread_keeps_no_ring_of_a_hub_that_is_gone() {
        for _ in 0..3 {
            let hub = Hub::new(4096, 64);
            let probe = hub.probe(QueueId::new(0, 0), Producer::DriverHalf);
            probe.emit(event(), Payload::none());
            assert_eq!(hub.drain(|_, _| ()), 1);
            assert_eq!(WRITERS.with_borrow(Vec::len), 1);
        }
    }

    #[test]
    fn payload_that_cannot_be_reached_is_said_so() {
        let hub = Hub::new(4096, 64);
        let probe = hub.probe(QueueId::new(0, 0), Producer::DriverHalf);
        let segments = [crate::memory::Segment {
            address: crate::memory::GuestAddress(0),
            len: 100,
        }];
        probe.emit(event(), Payload::segments(&segments, 100, &|_, _| false));
        probe.emit(
            event(),
            Payload::segments(&segments, 100, &|_, into| {
                into.fill(7);
                true
            }),
        );
        let mut seen = Vec::new();
        hub.drain(|record, payload| seen.push((record.flags(), payload.to_vec())));
        assert_eq!(seen[0], (Flags::PAYLOAD_UNAVAILABLE, vec![]));
        assert_eq!(seen[1], (Flags::empty(), vec![7; 64]));
    }
}
