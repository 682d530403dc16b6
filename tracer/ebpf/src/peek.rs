//! Reads the kernel's memory for a walk in user space, and looks symbols up: once for each
//! run that user space asks for (`BPF_PROG_TEST_RUN`), and attached to nothing. Two more show
//! whether anything can be attached.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use core::arch::asm;
use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_kallsyms_lookup_name, bpf_probe_read_kernel};
use aya_ebpf::macros::{fentry, kprobe, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::{FEntryContext, ProbeContext, RawTracePointContext};

/// Where what was read is left.
#[map]
static WINDOW: Array<[u8; 4096]> = Array::with_max_entries(1, 0);

/// Reads argument 1 bytes, at most 4095, at the address in argument 0. The result is
/// that of `bpf_probe_read_kernel`: 0, or an error number below 0; aya's macro for this
/// section drops what a function returns.
#[unsafe(link_section = "raw_tp")]
#[unsafe(no_mangle)]
pub extern "C" fn peek(ctx: *mut c_void) -> i32 {
    let ctx = RawTracePointContext::new(ctx);
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

/// Words of a symbol's name, filled up with zeros: the last byte is one.
const NAME: usize = 8;

/// Looks up the symbol whose name stands in the first words of the context, and leaves its
/// address in the word behind them. The result is that of `bpf_kallsyms_lookup_name`: 0, or
/// an error number below 0.
///
/// It is loaded as `BPF_PROG_TYPE_SYSCALL`, which alone has that helper and may write into
/// its context. aya knows no section for that type.
#[unsafe(link_section = "raw_tp")]
#[unsafe(no_mangle)]
pub extern "C" fn look_up(context: *mut c_void) -> i32 {
    let context = context.cast::<u64>();
    let mut name = [0u64; NAME];
    for (at, word) in name.iter_mut().enumerate() {
        // SAFETY: whoever runs it gives one word more than the name; the kernel checks that.
        *word = unsafe { context.add(at).read() };
    }
    let mut address = 0;
    let length = size_of_val(&name) as i32;
    // SAFETY: both are on the stack, and the helper is told how long the name is.
    let found = unsafe { bpf_kallsyms_lookup_name(name.as_ptr().cast(), length, 0, &mut address) };
    // SAFETY: as above.
    unsafe { context.add(NAME).write(address) };
    found as i32
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
