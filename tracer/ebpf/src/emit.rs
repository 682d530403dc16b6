//! A record's way into the buffer: its number, what all records say, its payload.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_probe_read_kernel as read_raw,
};
use virtscope_record::{
    Body, Common, Context, FRAME_LEN, Flags, Producer, PseudoHeader, Record, Token,
};
use virtscope_tracer_shared::{Counters, QueueState, SMALL_SNAPLEN, Segments, control, wake};

use crate::kernel::read;
use crate::maps::{CONTROL, COUNTERS, DEPTHS, RECORDS, SCRATCH, Scratch, config, this_cpu};
use crate::work::Work;

/// How a record is submitted (Linux `BPF_RB_NO_WAKEUP`, `BPF_RB_FORCE_WAKEUP`).
const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;
/// What the kernel tells of a buffer (Linux `BPF_RB_AVAIL_DATA`, `BPF_RB_CONS_POS`).
const AVAIL_DATA: u64 = 0;
const CONS_POS: u64 = 2;

/// How a record is to be submitted for which `more` bytes are still to be reserved: waking the
/// reader for each costs more than the record. It looks by itself now and then, and is woken
/// if by that time there might be no room left.
#[inline(always)]
fn wakeup(more: u64) -> u64 {
    let enough = config!(wake_at);
    if RECORDS.query(AVAIL_DATA) + more < enough {
        return NO_WAKEUP;
    }
    let Some(again) = CONTROL.get_ptr_mut(control::WAKE_AGAIN) else {
        return NO_WAKEUP;
    };
    // Asked for in this order, see `wake`.
    let read = RECORDS.query(CONS_POS);
    let waiting = RECORDS.query(AVAIL_DATA) + more;
    // SAFETY: a map's word, see `maps`; if two wake at once, the lesser position may stand.
    unsafe {
        let Some(next) = wake(read, waiting, again.read_volatile(), enough) else {
            return NO_WAKEUP;
        };
        again.write_volatile(next);
    }
    FORCE_WAKEUP
}

/// Writes a whole frame at once; whether there was room.
#[inline(always)]
pub(crate) fn store(frame: &[u8]) -> bool {
    let wakeup = wakeup(frame.len() as u64);
    let is_stored = RECORDS.output::<[u8]>(frame, wakeup).is_ok();
    if !is_stored
        && wakeup == FORCE_WAKEUP
        && let Some(again) = CONTROL.get_ptr_mut(control::WAKE_AGAIN)
    {
        // Nobody was woken.
        // SAFETY: as above.
        unsafe { again.write_volatile(0) };
    }
    is_stored
}

/// A frame without payload.
#[repr(C, align(8))]
pub(crate) struct Frame {
    pub(crate) header: PseudoHeader,
    pub(crate) record: Record,
}

#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper is given no memory.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
pub(crate) fn cpu() -> u32 {
    // SAFETY: the helper is given no memory.
    unsafe { bpf_get_smp_processor_id() }
}

/// Process and thread that run, or are interrupted.
#[inline(always)]
pub(crate) fn task() -> (u32, u32) {
    let both = bpf_get_current_pid_tgid();
    ((both >> 32) as u32, both as u32)
}

/// Where the program runs, from the preemption counter (Linux `preempt.h`).
#[inline(always)]
pub(crate) fn context() -> Context {
    let Some(at) = preempt_count() else {
        return Context::Unknown;
    };
    let count: u32 = read(at);
    if count & 0x00ff_0000 != 0 {
        Context::HardIrq
    } else if count & 0x100 != 0 {
        Context::SoftIrq
    } else {
        Context::Task
    }
}

/// Where this CPU's preemption counter is, which is looked up once.
#[inline(always)]
fn preempt_count() -> Option<u64> {
    if config!(per_cpu_offset) == 0 {
        return None;
    }
    // SAFETY: a map's value, see `maps`; whoever writes it writes the same.
    let known = unsafe { &mut (*this_cpu()?).preempt_count };
    if *known == 0 {
        let base: u64 = read(config!(per_cpu_offset) + 8 * u64::from(cpu()));
        *known = base.wrapping_add(config!(preempt_count));
    }
    Some(*known)
}

#[inline(always)]
pub(crate) fn counters(state: &QueueState) -> Option<&'static mut Counters> {
    // SAFETY: a map's value, see `maps`; this CPU's own, so that only interrupts share it.
    let counters = unsafe { COUNTERS.get_ptr_mut(state.number)?.as_mut()? };
    counters.queue = (1 << 32) | u64::from(state.id);
    Some(counters)
}

/// Adds to a counter that an interrupt may add to as well.
#[inline(always)]
pub(crate) fn count(counter: &mut u64, by: u64) -> u64 {
    let mut value = by;
    // The compiler knows no such operation for this machine; the kernel does since 5.12.
    // SAFETY: it changes the word that `counter` borrows, and the register `value`.
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_add((u64 *)({counter} + 0), {value})",
            value = inout(reg) value,
            counter = in(reg) counter,
        );
    }
    value
}

/// Puts `new` where `old` stands; what stood there.
#[inline(always)]
pub(crate) fn exchange_if(word: &mut u64, old: u64, new: u64) -> u64 {
    let mut found = old;
    // As above. It is the register that the instruction compares with and answers in.
    // SAFETY: it changes the word that `word` borrows, and the register `found`.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            inout("r0") found,
            word = in(reg) word,
            new = in(reg) new,
        );
    }
    found
}

/// A record that a filter leaves out: it takes its number.
#[inline(always)]
pub(crate) fn filtered(state: &QueueState) {
    if let Some(counters) = counters(state) {
        count(&mut counters.emitted, 1);
        count(&mut counters.filtered, 1);
    }
}

/// A record for which there is no memory to make it in: it takes its number.
#[inline(always)]
pub(crate) fn lost(state: &QueueState) {
    if let Some(counters) = counters(state) {
        count(&mut counters.emitted, 1);
        count(&mut counters.lost, 1);
    }
}

/// Operations found to have left no record.
#[inline(always)]
pub(crate) fn missed(state: &QueueState, how_many: u64) {
    if let Some(counters) = counters(state) {
        count(&mut counters.missed, how_many);
    }
}

/// A record that says what is special about it, and not yet what all records of one
/// place say.
#[inline(always)]
pub(crate) fn draft(token: u64, flags: Flags, body: Body) -> Record {
    let common = Common {
        token: Token(token),
        flags,
        ..Common::default()
    };
    Record::new(common, body)
}

/// Says the rest: when, where, who, in the order of the record's bytes. `record` is in a
/// frame of the caller's, and has been written.
#[inline(always)]
pub(crate) fn complete(record: *mut Record, state: &QueueState, sequence: u64) {
    let (process, thread) = task();
    let at = record.cast::<u8>();
    // SAFETY: all of it is within a record's 64 bytes, and aligned as the record is.
    unsafe {
        at.cast::<u64>().write(now());
        at.add(16).cast::<u32>().write(sequence as u32);
        at.add(20).cast::<u32>().write(state.id);
        at.add(24).cast::<u32>().write(process);
        at.add(28).cast::<u32>().write(thread);
        at.add(32).cast::<u16>().write(state.generation);
        at.add(34)
            .cast::<u16>()
            .write(Producer::Cpu(cpu() as u16 & 0x7fff).id().0);
        let known = at.add(37);
        if known.read() == Context::Unknown as u8 {
            known.write(context() as u8);
        }
    }
}

/// Marks that payload was wanted and could not be reached. `record` is in a frame of the
/// caller's, and has been written.
#[inline(always)]
pub(crate) fn mark_unreached(record: *mut Record) {
    // SAFETY: the flags are within a record's 64 bytes.
    unsafe {
        let flags = record.cast::<u8>().add(38).cast::<u16>();
        flags.write(flags.read() | Flags::PAYLOAD_UNAVAILABLE.bits());
    }
}

/// Emits a record without payload.
#[inline(always)]
pub(crate) fn emit(work: &mut Work, state: &QueueState, token: u64, flags: Flags, body: Body) {
    work.draft = draft(token, flags, body);
    // SAFETY: within a record's 64 bytes; 0 where it is not known yet.
    unsafe {
        let context = (&raw mut work.draft).cast::<u8>().add(37);
        context.write(work.context as u8);
    }
    emit_plain(state, &work.draft);
}

/// Emits a draft without payload.
///
/// This and other functions with C's calling convention are verified once, by
/// themselves, and not again with each of their callers; that is why they check their
/// pointers, which the callers make of references.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn emit_plain(state: *const QueueState, draft: *const Record) -> i32 {
    // SAFETY: null, or a caller's reference.
    let (Some(state), Some(draft)) = (unsafe { (state.as_ref(), draft.as_ref()) }) else {
        return 0;
    };
    let Some(counters) = counters(state) else {
        return 0;
    };
    let sequence = count(&mut counters.emitted, 1);
    let Some(mut entry) = RECORDS.reserve::<Frame>(0) else {
        count(&mut counters.lost, 1);
        return 0;
    };
    let frame = entry.as_mut_ptr();
    // SAFETY: reserved for this frame, and nobody else's before it is submitted.
    unsafe {
        (&raw mut (*frame).header).write(PseudoHeader::new(0));
        (&raw mut (*frame).record).write(*draft);
        complete(&raw mut (*frame).record, state, sequence);
    }
    entry.submit(wakeup(0));
    0
}

/// Emits a draft with the first `want` bytes of `segments`.
#[inline(always)]
pub(crate) fn emit_draft(state: &QueueState, draft: &Record, segments: &Segments, want: u32) {
    if want == 0 {
        emit_plain(state, draft);
    } else {
        emit_loaded(state, draft, segments, want);
    }
}

/// Emits a draft with payload.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn emit_loaded(
    state: *const QueueState,
    draft: *const Record,
    segments: *const Segments,
    want: u32,
) -> i32 {
    // SAFETY: null, or a caller's reference.
    let (Some(state), Some(draft), Some(segments)) =
        (unsafe { (state.as_ref(), draft.as_ref(), segments.as_ref()) })
    else {
        return 0;
    };
    let Some(counters) = counters(state) else {
        return 0;
    };
    let scratch = claim();
    let sequence = count(&mut counters.emitted, 1);
    let stored = match scratch {
        Some(scratch) => {
            gather(scratch, segments, want);
            // SAFETY: a map's value that this program has claimed. A frame fits, and is
            // aligned: three words of 8 bytes are before it.
            let len = unsafe {
                let len = (*scratch).at;
                let frame = (&raw mut (*scratch).frame).cast::<Frame>();
                (&raw mut (*frame).header).write(PseudoHeader::new(len));
                (&raw mut (*frame).record).write(*draft);
                complete(&raw mut (*frame).record, state, sequence);
                if (*scratch).unreached != 0 {
                    mark_unreached(&raw mut (*frame).record);
                }
                len
            };
            let len = bounded(FRAME_LEN as u32 + len);
            // SAFETY: payload follows the frame, with room for more than `bounded` lets
            // through; a map's memory always holds something.
            let bytes = unsafe {
                let start = (&raw const (*scratch).frame).cast::<u8>();
                core::slice::from_raw_parts(start, len as usize)
            };
            let stored = store(bytes);
            // SAFETY: a map's word, claimed until this.
            unsafe { (&raw mut (*scratch).taken).write_volatile(0) };
            stored
        }
        None => false,
    };
    if !stored {
        count(&mut counters.lost, 1);
    }
    0
}

/// Scratch memory of this CPU that no other program is using. Programs that nest end in
/// turn, but tasks that preempt each other do not: each takes what is free.
#[inline(always)]
fn claim() -> Option<*mut Scratch> {
    let first = cpu() * DEPTHS;
    let mut at = 0;
    while at < DEPTHS {
        let scratch = SCRATCH.get_ptr_mut(first + at)?;
        // SAFETY: a map's value, see `maps`; of those that try at once, `take` lets one.
        if take(unsafe { &mut (*scratch).taken }) {
            break;
        }
        at += 1;
    }
    if at == DEPTHS {
        return None;
    }
    SCRATCH.get_ptr_mut(first + at)
}

/// Sets `mark`; whether it was free.
#[inline(always)]
pub(crate) fn take(mark: &mut u64) -> bool {
    let mut value = 1_u64;
    // SAFETY: it changes the word that `mark` borrows, and the register `value`.
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_or((u64 *)({mark} + 0), {value})",
            value = inout(reg) value,
            mark = in(reg) mark,
        );
    }
    value == 0
}

/// Copies the first `want` bytes into the scratch memory, which this program has claimed.
///
/// How far it is stands in that memory, too: what is read from there is any number to
/// the verifier, so that it follows each segment once and not in every combination.
#[inline(always)]
fn gather(scratch: *mut Scratch, segments: &Segments, want: u32) {
    // SAFETY: places in a map's value; claimed, so that nobody else writes them.
    let (payload, at, left) = unsafe {
        let payload = (&raw mut (*scratch).payload).cast::<u8>();
        let (at, left) = (&raw mut (*scratch).at, &raw mut (*scratch).left);
        at.write_volatile(0);
        left.write_volatile(want);
        (*scratch).unreached = 0;
        (payload, at, left)
    };
    for segment in &segments.0 {
        // SAFETY: the place from above.
        let rest = unsafe { left.read_volatile() };
        if rest == 0 || segment.len == 0 {
            break;
        }
        let len = chunk(segment.len.min(rest));
        // SAFETY: the places from above. Offset and length are at most half of the payload's
        // room each, and the helper fails where there is nothing to read.
        unsafe {
            let offset = at.read_volatile();
            let to = payload.add(chunk(offset) as usize);
            // Nothing is at address 0, either.
            if read_raw(to.cast(), len, segment.address as *const _) != 0 {
                (*scratch).unreached = 1;
                break;
            }
            at.write_volatile(offset + len);
            left.write_volatile(rest - len);
        }
    }
}

/// `value`, which is at most [`SMALL_SNAPLEN`], in a way that the verifier sees it.
#[inline(always)]
fn chunk(mut value: u32) -> u32 {
    const { assert!(SMALL_SNAPLEN == 16384) };
    // One less than twice the limit: as a mask it bounds, and lets the limit through.
    // SAFETY: it changes a register, `value`.
    unsafe { core::arch::asm!("{0} &= 32767", inout(reg) value) };
    if value > SMALL_SNAPLEN {
        SMALL_SNAPLEN
    } else {
        value
    }
}

#[inline(always)]
fn bounded(mut value: u32) -> u32 {
    // SAFETY: it changes a register, `value`.
    unsafe { core::arch::asm!("{0} &= 32767", inout(reg) value) };
    value
}
