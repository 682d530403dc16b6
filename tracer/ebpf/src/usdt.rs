//! Takes the records that the reference driver shows at its own probes
//! (`virtscope:record`, `virtscope:queue`), byte for byte.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use core::arch::asm;
use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::{map, uprobe};
use aya_ebpf::maps::{Array, HashMap, RingBuf};
use aya_ebpf::programs::ProbeContext;
use virtscope_record::{PseudoHeader, Record};
use virtscope_tracer_shared::{LostKey, LostRecords, PROBE_PAYLOAD_LIMIT};

/// The reader looks often enough by itself: waking it for each record costs more than
/// the record.
const NO_WAKEUP: u64 = 1;
/// Create a map's entry, or leave the one that is there: `BPF_NOEXIST`.
const NOEXIST: u64 = 1;

/// Where the low byte of a record's flags is, and `Flags::PAYLOAD_UNAVAILABLE` in it.
const FLAGS: usize = 38;
const PAYLOAD_UNAVAILABLE: u8 = 1 << 6;

/// Bytes of payload that are kept at most; the loader fills it in.
#[unsafe(no_mangle)]
static SNAPLEN: u32 = 0;

/// Frames on their way to user space; the loader sets its size.
#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// Records for which the buffer had no room, by process, queue and producer.
#[map]
static LOST: HashMap<LostKey, LostRecords> = HashMap::with_max_entries(8192, 0);

/// Hits of which not even that could be read, or for which `LOST` had no room.
#[map]
static UNREADABLE: Array<u64> = Array::with_max_entries(1, 0);

/// A frame with room for so many bytes of payload.
#[repr(C, align(8))]
struct Frame<const ROOM: usize> {
    header: PseudoHeader,
    record: Record,
    payload: [u8; ROOM],
}

/// Bytes of the text of a queue's facts that are kept at most, whatever is kept of
/// buffers.
const FACTS: u64 = 1024;

/// What a queue is: a record with its name behind it.
#[uprobe]
pub fn queue(ctx: ProbeContext) -> u32 {
    let record = ctx.arg::<u64>(0).unwrap_or(0);
    let text = ctx.arg::<u64>(1).unwrap_or(0);
    let len = ctx.arg::<u64>(2).unwrap_or(0);
    let len = if len < FACTS { len } else { FACTS };
    store::<{ FACTS as usize }>(record, text, len);
    0
}

/// The room in which a record's payload is kept is one of a few sizes, because the
/// kernel's verifier wants to know how much a program reserves.
#[uprobe]
pub fn record(ctx: ProbeContext) -> u32 {
    // The probes stand in functions with these arguments, in the registers of a call.
    let record = ctx.arg::<u64>(0).unwrap_or(0);
    let payload = ctx.arg::<u64>(1).unwrap_or(0);
    let len = ctx.arg::<u64>(2).unwrap_or(0);
    // SAFETY: a constant that the loader wrote before the program was there.
    let snaplen = u64::from(unsafe { (&raw const SNAPLEN).read_volatile() });
    let len = if len < snaplen { len } else { snaplen };
    match len {
        0 => store::<0>(record, payload, len),
        1..=64 => store::<64>(record, payload, len),
        65..=256 => store::<256>(record, payload, len),
        257..=1024 => store::<1024>(record, payload, len),
        1025..=4096 => store::<4096>(record, payload, len),
        _ => store::<{ PROBE_PAYLOAD_LIMIT as usize }>(record, payload, len),
    }
    0
}

/// Puts the frame into the buffer, or counts it as lost.
#[inline(always)]
fn store<const ROOM: usize>(record: u64, payload: u64, len: u64) {
    let Some(mut entry) = RECORDS.reserve::<Frame<ROOM>>(0) else {
        lose(record);
        return;
    };
    let frame = entry.as_mut_ptr();
    // SAFETY: `frame` has room for all of it; the helper checks addresses of the process.
    unsafe {
        let at = (&raw mut (*frame).record).cast::<c_void>();
        if bpf_probe_read_user(at, size_of::<Record>() as u32, record as *const _) != 0 {
            entry.discard(NO_WAKEUP);
            unreadable();
            return;
        }
        let mut kept = len;
        if ROOM > 0 {
            // The verifier must see this bound, which the compiler would leave out.
            asm!(
                "if {0} <= {room} goto +1",
                "{0} = 0",
                inout(reg) kept,
                room = const ROOM,
            );
            let at = (&raw mut (*frame).payload).cast::<c_void>();
            if bpf_probe_read_user(at, kept as u32, payload as *const _) != 0 {
                // Nothing that was not read may pass for content.
                kept = 0;
                let flags = (&raw mut (*frame).record).cast::<u8>().add(FLAGS);
                *flags |= PAYLOAD_UNAVAILABLE;
            }
        }
        (&raw mut (*frame).header).write(PseudoHeader::new(kept as u32));
    }
    entry.submit(NO_WAKEUP);
}

/// Counts a record that was not stored.
#[cold]
#[inline(never)]
fn lose(at: u64) {
    let mut words = [0u32; size_of::<Record>() / 4];
    // SAFETY: there is room for it; the helper checks addresses of the process.
    let read = unsafe {
        bpf_probe_read_user(
            words.as_mut_ptr().cast(),
            size_of::<Record>() as u32,
            at as *const _,
        )
    };
    if read != 0 {
        unreadable();
        return;
    }
    // Offsets as in `Record`.
    let sequence = words[4];
    let key = LostKey {
        queue: words[5],
        process: words[6],
        producer: words[8] >> 16,
    };
    if LOST.get_ptr_mut(&key).is_none() {
        let first = LostRecords {
            count: 0,
            first: sequence,
            last: sequence,
        };
        // Of two that come first, one finds it there.
        let _ = LOST.insert(&key, &first, NOEXIST);
    }
    let Some(lost) = LOST.get_ptr_mut(&key) else {
        unreadable();
        return;
    };
    // SAFETY: an entry of the map.
    unsafe {
        if (sequence.wrapping_sub((*lost).first) as i32) < 0 {
            (*lost).first = sequence;
        }
        if (sequence.wrapping_sub((*lost).last) as i32) > 0 {
            (*lost).last = sequence;
        }
        count(&raw mut (*lost).count);
    }
}

#[cold]
#[inline(never)]
fn unreadable() {
    if let Some(counter) = UNREADABLE.get_ptr_mut(0) {
        count(counter);
    }
}

/// Adds one to a counter that others may be adding to.
#[inline(always)]
fn count(counter: *mut u64) {
    // SAFETY: the caller's counter is a word of a map.
    unsafe {
        asm!(
            "lock *(u64 *)({counter} + 0) += {one}",
            counter = in(reg) counter,
            one = in(reg) 1u64,
        );
    }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
