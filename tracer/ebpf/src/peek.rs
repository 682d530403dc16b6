//! Reads the kernel's memory for a walk in user space: once for each run that user space
//! asks for (`BPF_PROG_TEST_RUN`), and attached to nothing. Two more show whether anything
//! can be attached.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::macros::{fentry, kprobe, map, raw_tracepoint};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::{FEntryContext, ProbeContext, RawTracePointContext};

/// Where what was read is left.
#[map]
static WINDOW: Array<[u8; 4096]> = Array::with_max_entries(1, 0);

/// Reads argument 1 bytes, at most 4095, at the address in argument 0. The result is
/// that of `bpf_probe_read_kernel`: 0, or an error number below 0.
#[raw_tracepoint]
pub fn peek(ctx: RawTracePointContext) -> i32 {
    let address: u64 = ctx.arg(0);
    let mut length: u64 = ctx.arg(1);
    // SAFETY: the instruction changes `length` alone. The verifier must see this bound,
    // which the compiler would leave out where it knows better.
    unsafe { asm!("{0} &= 4095", inout(reg) length) };
    let Some(window) = WINDOW.get_ptr_mut(0) else {
        return -2;
    };
    // SAFETY: the window is longer than `length`, and the helper checks the address.
    unsafe { bpf_probe_read_kernel(window.cast(), length as u32, address as *const _) as i32 }
}

/// Does nothing: whether it can be attached is what is asked.
#[fentry]
pub fn touched(_: FEntryContext) -> i32 {
    0
}

/// The same, for kprobes.
#[kprobe]
pub fn touched_k(_: ProbeContext) -> u32 {
    0
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
