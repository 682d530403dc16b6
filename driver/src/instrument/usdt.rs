//! Static probes, for tracers outside the process (USDT, provider `virtscope`).
//!
//! Each record passes the probe `virtscope:record` as it is made, with four arguments: the
//! address of its 64 bytes, the address of its payload, how many bytes of payload there
//! are, and the version of the record's format. What a queue is passes `virtscope:queue`,
//! which has the same arguments: a record of its facts, and its name as the payload. It
//! comes before the queue's first record that anybody watches, and again every quarter of
//! a second while there are records, for those who begin to watch later. In the program
//! each is a no-op of five bytes, which Linux from 6.18 on can make a call of where others
//! need a trap.
//!
//! Beside them stands a semaphore: a number that the kernel counts up for whoever attaches
//! with its place (Linux `uprobes`, reference counter), and down again when the tracer
//! ends, however it ends. While it is zero, [`Usdt`] makes no record, reads no clock and
//! counts nothing.
//!
//! What a tracer needs to know of the probes stands in the program's section
//! `.note.stapsdt`, in the form that SystemTap's `sys/sdt.h` gave it.
//!
//! On machines other than x86-64 nobody can watch.

use std::cell::RefCell;
use std::sync::Arc;

use virtscope_record::{Flags, Generation, Producer, QueueFacts, QueueId, Record, Timestamp};

use super::live::{EventWords, Stream, monotonic_now, thread_id};
use super::{Event, Instrument, Payload};

/// Bytes of payload a record carries unless told otherwise.
pub const DEFAULT_SNAPLEN: u32 = 256;

/// Shows the records of one half of one queue to whoever watches the probe, and makes
/// none while nobody does. Clones count as the same producer.
#[derive(Clone, Debug)]
pub struct Usdt {
    stream: Arc<Stream>,
    snaplen: u32,
}

impl Usdt {
    /// An instrument for one half of one queue, whose records carry at most `snaplen`
    /// bytes of payload.
    pub fn new(queue: QueueId, producer: Producer, snaplen: u32) -> Self {
        Self {
            stream: Arc::new(Stream::new(queue, producer)),
            snaplen,
        }
    }

    /// What the queue is, for those who watch: its facts, and as text its name and
    /// `key=value` lines behind it.
    pub fn describe_as(&self, facts: QueueFacts, text: &str) {
        self.stream.describe(facts, Some(text));
    }

    #[cold]
    #[inline(never)]
    fn emit_watched(&self, mut event: Event, payload: Payload<'_>) {
        // Somebody may have begun to watch in the middle of the operation.
        if event.time == Timestamp::default() {
            event.time = monotonic_now();
        }
        let sequence = self.stream.next_sequence();
        show(
            &self.stream,
            sequence,
            &event.into(),
            &payload,
            self.snaplen,
        );
    }
}

impl Instrument for Usdt {
    const ENABLED: bool = true;

    #[inline]
    fn now(&self) -> Timestamp {
        if is_watched() {
            monotonic_now()
        } else {
            Timestamp::default()
        }
    }

    #[inline]
    fn emit(&self, event: Event, payload: Payload<'_>) {
        if is_watched() {
            self.emit_watched(event, payload);
        }
    }

    fn start_generation(&self, generation: Generation) {
        self.stream.start_generation(generation);
    }

    fn describe(&self, facts: QueueFacts) {
        self.stream.describe(facts, None);
    }
}

thread_local! {
    /// Where a record's payload is gathered; keeps its memory for the next.
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Makes the record, and shows it.
#[cold]
#[inline(never)]
pub(super) fn show(
    stream: &Stream,
    sequence: u64,
    event: &EventWords,
    payload: &Payload<'_>,
    snaplen: u32,
) {
    if let Some((facts, text)) = stream.facts_due(event.time) {
        probe::fire_queue(&facts, text.as_bytes());
    }
    let record = |flags| Record::from_words(stream.words(sequence, thread_id(), event, flags));
    let len = payload.len().min(snaplen as usize);
    let shown = GATHERED.try_with(|bytes| {
        let mut bytes = bytes.borrow_mut();
        bytes.clear();
        bytes.resize(len, 0);
        // Zero-filled payload must never pass for content.
        let gathered = payload.copy_to(&mut bytes);
        let kept = if gathered { len } else { 0 };
        let mut flags = event.flags;
        flags.set(Flags::PAYLOAD_UNAVAILABLE, !gathered);
        probe::fire_record(&record(flags), &bytes[..kept]);
    });
    // A thread that is being torn down has no memory for a payload any more.
    if shown.is_err() {
        let flags = event.flags | Flags::PAYLOAD_UNAVAILABLE;
        probe::fire_record(&record(flags), &[]);
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri), not(loom)))]
mod probe {
    use std::sync::atomic::{AtomicU16, Ordering};

    use virtscope_record::{FORMAT_VERSION, Record};

    /// Tracers that watch. Only the kernel writes it.
    #[unsafe(link_section = ".probes")]
    #[used]
    static WATCHING: AtomicU16 = AtomicU16::new(0);

    #[inline(always)]
    pub(super) fn is_watched() -> bool {
        WATCHING.load(Ordering::Relaxed) != 0
    }

    /// The function in which the probe of this name stands. Not inlined, so that a
    /// tracer has one place to attach to.
    macro_rules! probe {
        ($name:literal, $function:ident) => {
            #[inline(never)]
            pub(super) fn $function(record: &Record, payload: &[u8]) {
                // SAFETY: a no-op, whose operands are only looked at by whoever attaches;
                // and notes in a section that is not loaded.
                unsafe {
                    core::arch::asm!(
                        "990: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
                        ".pushsection .note.stapsdt, \"\", \"note\"",
                        ".balign 4",
                        ".4byte 992f-991f, 994f-993f, 3",
                        "991: .asciz \"stapsdt\"",
                        "992: .balign 4",
                        "993: .8byte 990b",
                        ".8byte _.stapsdt.base",
                        ".8byte {watching}",
                        ".asciz \"virtscope\"",
                        concat!(".asciz \"", $name, "\""),
                        ".asciz \"8@%rdi 8@%rsi 8@%rdx 4@${version}\"",
                        "994: .balign 4",
                        ".popsection",
                        ".ifndef _.stapsdt.base",
                        ".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat",
                        ".weak _.stapsdt.base",
                        ".hidden _.stapsdt.base",
                        "_.stapsdt.base: .space 1",
                        ".size _.stapsdt.base, 1",
                        ".popsection",
                        ".endif",
                        watching = sym WATCHING,
                        version = const FORMAT_VERSION,
                        // Where a call has them, too.
                        in("rdi") std::ptr::from_ref(record),
                        in("rsi") payload.as_ptr(),
                        in("rdx") payload.len(),
                        options(att_syntax, nostack, preserves_flags),
                    );
                }
            }
        };
    }

    probe!("record", fire_record);
    probe!("queue", fire_queue);
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri), not(loom))))]
mod probe {
    use virtscope_record::Record;

    #[inline(always)]
    pub(super) const fn is_watched() -> bool {
        false
    }

    pub(super) const fn fire_record(_: &Record, _: &[u8]) {}

    pub(super) const fn fire_queue(_: &Record, _: &[u8]) {}
}

/// Whether anybody watches the probes: a load and a comparison.
#[inline(always)]
pub fn is_watched() -> bool {
    probe::is_watched()
}
