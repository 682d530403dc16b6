//! The maps, and the settings that the loader fills in.
//!
//! A pointer to a map's value stays good until the program ends, even if the entry is
//! removed. Programs on other CPUs, and in what interrupts this one, may hold the same: the
//! driver's lock keeps a queue's operations apart, but not its notifications, interrupts and
//! looks. So values are made of integers, of which any bits are one, and what several
//! programs add to at once is changed by `count` and `take` alone.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use virtscope_tracer_shared::{
    COUNTERS_PER_CPU, Config, Counters, LISTED, PendingAdd, QueueState, SMALL_SNAPLEN,
    SNAPLEN_LIMIT, Segment, Slot, control,
};

/// Read with `read_volatile`, so that the compiler leaves it to the loader.
#[unsafe(no_mangle)]
// SAFETY: it is made of integers, and 0 is one.
static CONFIG: Config = unsafe { core::mem::zeroed() };

/// A setting, or one of several. The verifier knows its value, and drops what it switches
/// off.
macro_rules! config {
    ($field:ident) => {
        $crate::maps::setting(|config| &config.$field)
    };
    ($field:ident[$at:expr]) => {
        $crate::maps::setting(|config| &config.$field[$at])
    };
}
pub(crate) use config;

#[inline(always)]
pub(crate) fn setting<T: Copy + 'static>(field: impl FnOnce(&'static Config) -> &'static T) -> T {
    // SAFETY: a reference can be read, and nobody writes once the programs are loaded.
    unsafe { (&raw const *field(&CONFIG)).read_volatile() }
}

/// Records on their way to user space; the loader sets its size.
#[map]
pub(crate) static RECORDS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// Queues by the address of their `struct virtqueue`; those that a filter leaves out, too.
#[map]
pub(crate) static QUEUES: HashMap<u64, QueueState> =
    HashMap::with_max_entries(4 * COUNTERS_PER_CPU, 0);

/// A queue's place among the counters, its lives and its slots, by its id: they outlive the
/// queue, because its sequences go on, and because there is no end of lives.
#[map]
pub(crate) static NUMBERS: HashMap<u32, Number> = HashMap::with_max_entries(COUNTERS_PER_CPU, 0);

/// See [`NUMBERS`].
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Number {
    pub(crate) number: u32,
    /// Lives it has had: the next one's generation.
    pub(crate) lives: u32,
    /// Where its slots begin.
    pub(crate) slots: u32,
    /// Entries of a ring that there are slots for.
    pub(crate) size: u32,
}

/// Buffers in flight; the loader sets how many.
#[map]
pub(crate) static SLOTS: Array<Slot> = Array::with_max_entries(16384, 0);

/// Counters by a queue's number.
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counters> =
    PerCpuArray::with_max_entries(COUNTERS_PER_CPU, 0);

/// When the first copy of a program ran that has no position to go by, for each such
/// operation, by the queue's number; 0 once the second one has run, too.
#[map]
pub(crate) static MARKS: Array<[u64; 4]> = Array::with_max_entries(COUNTERS_PER_CPU, 0);

/// Single numbers.
#[map]
pub(crate) static CONTROL: Array<u64> = Array::with_max_entries(control::COUNT, 0);

/// What each CPU keeps for itself.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Cpu {
    /// The call whose operation a program's first copy has seen to, for the second one; 0:
    /// none. See `copies`.
    pub(crate) done: u64,
    /// Where its preemption counter is; 0: not looked up yet.
    pub(crate) preempt_count: u64,
}

#[map]
static CPUS: PerCpuArray<Cpu> = PerCpuArray::with_max_entries(1, 0);

/// This CPU's; programs do not move from one to another while they run.
#[inline(always)]
pub(crate) fn this_cpu() -> Option<*mut Cpu> {
    CPUS.get_ptr_mut(0)
}

/// What an add was given, by its stack pointer, until it returns.
#[map]
pub(crate) static PENDING: HashMap<u64, PendingAdd> = HashMap::with_max_entries(4096, 0);

/// Notifications that were decided on and have not come yet, beyond the one that a queue's
/// state has room for: by queue and thread, with the queue's id.
#[map]
pub(crate) static PROMISES: HashMap<u64, u64> = HashMap::with_max_entries(4096, 0);

/// Programs on one CPU that may need scratch memory at once: in a task, softirq and
/// hardirq, and others while that task is preempted.
pub(crate) const DEPTHS: u32 = 4;

/// A frame with room for its payload, and as much again, because the verifier adds the
/// greatest offset and the greatest length.
#[repr(C, align(8))]
pub(crate) struct Scratch {
    /// Not 0: a program is using it.
    pub(crate) taken: u64,
    /// Bytes copied so far.
    pub(crate) at: u32,
    /// Bytes still wanted.
    pub(crate) left: u32,
    /// Whether a segment could not be read.
    pub(crate) unreached: u64,
    pub(crate) frame: [u8; virtscope_record::FRAME_LEN],
    pub(crate) payload: [u8; 2 * SMALL_SNAPLEN as usize],
}

/// Scratch memory by CPU and depth; the loader sets how much.
#[map]
pub(crate) static SCRATCH: Array<Scratch> = Array::with_max_entries(8, 0);

/// All segments of one direction of a buffer, or as many as there is room for.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct List {
    /// The buffer's token.
    pub(crate) token: u64,
    /// How many there are.
    pub(crate) count: u32,
    pub(crate) reserved: u32,
    pub(crate) segments: [Segment; LISTED],
}

/// Bytes that are copied at once into [`Large`].
pub(crate) const PIECE: u32 = 1 << 15;

/// What [`Scratch`] is, for payload that does not fit there. A program takes any that is
/// free; for each depth of each CPU it would be too much.
#[repr(C, align(8))]
pub(crate) struct Large {
    /// Not 0: a program is using it.
    pub(crate) taken: u64,
    /// Bytes copied so far.
    pub(crate) at: u32,
    /// Bytes still wanted.
    pub(crate) left: u32,
    /// The segment that is next, and how much of it has been copied.
    pub(crate) next: u32,
    pub(crate) within: u32,
    /// Where the bytes are.
    pub(crate) list: List,
    pub(crate) frame: [u8; virtscope_record::FRAME_LEN],
    /// The verifier adds the greatest offset and the greatest length.
    pub(crate) payload: [u8; (SNAPLEN_LIMIT + PIECE) as usize],
}

/// The loader sets how many: one, which nobody uses, unless records may be so large.
#[map]
pub(crate) static LARGE: Array<Large> = Array::with_max_entries(1, 0);

/// Device-writable segments of the buffers in flight that have more than a slot keeps, by the
/// slot's number; the loader sets how many, as above.
#[map]
pub(crate) static LISTS: HashMap<u32, List> = HashMap::with_max_entries(1, 0);
