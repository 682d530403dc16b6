//! The programs that write a record of each operation on a virtqueue.
//!
//! Each operation has one program as fentry or fexit, in two copies, and one as kprobe
//! or kretprobe; the loader attaches what the running kernel can. All of them end in
//! the same functions (`operations`), so the records are the same.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod copies;
mod emit;
mod kernel;
mod maps;
mod missed;
mod operations;
mod payload;
mod queue;
mod whole;
mod work;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_func_arg;
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe, raw_tracepoint};
use aya_ebpf::programs::{
    FEntryContext, FExitContext, ProbeContext, RawTracePointContext, RetProbeContext,
};
use virtscope_tracer_shared::PendingAdd;

use copies::Call;
use maps::PENDING;
use missed::Quiet;

/// A function's argument as a number: what the context itself holds is a pointer with a
/// type to the verifier, which may not be reckoned with.
#[inline(always)]
fn argument(ctx: *mut core::ffi::c_void, n: usize) -> u64 {
    let mut value = 0;
    // SAFETY: the program's own context; the helper writes `value`, and nothing where the
    // function has no such argument.
    unsafe { bpf_get_func_arg(ctx, n as u32, &raw mut value) };
    value
}

/// Programs at a function's entry, by fentry.
macro_rules! fentries {
    ($($name:ident: |$arg:ident| $body:expr;)*) => {$(
        #[fentry]
        pub fn $name(ctx: FEntryContext) -> i32 {
            let $arg = |n: usize| -> u64 { argument(ctx.as_ptr(), n) };
            $body;
            0
        }
    )*};
}

/// The same by kprobe.
macro_rules! kprobes {
    ($($name:ident: |$arg:ident| $body:expr;)*) => {$(
        #[kprobe]
        pub fn $name(ctx: ProbeContext) -> u32 {
            let $arg = |n: usize| -> u64 { ctx.arg(n).unwrap_or(0) };
            $body;
            0
        }
    )*};
}

/// The same in two copies.
macro_rules! fentry_copies {
    ($($a:ident, $b:ident: $call:ident, |$arg:ident, $copy:ident| $body:expr;)*) => {$(
        #[fentry]
        pub fn $a(ctx: FEntryContext) -> i32 {
            let ($arg, $copy) = (|n: usize| -> u64 { argument(ctx.as_ptr(), n) }, 0);
            copies::first(ctx.as_ptr(), Call::$call, || $body);
            0
        }

        #[fentry]
        pub fn $b(ctx: FEntryContext) -> i32 {
            let ($arg, $copy) = (|n: usize| -> u64 { argument(ctx.as_ptr(), n) }, 1);
            copies::second(ctx.as_ptr(), Call::$call, || $body);
            0
        }
    )*};
}

fentries! {
    interrupted_a: |arg| operations::interrupted(arg(1));
    restarting_1: |arg| missed::settle(arg(0), Quiet::Surely);
    restarting_2: |arg| missed::settle(arg(0), Quiet::Surely);
    deleted_a: |arg| queue::delete(arg(0));
}

/// The same for an operation that moves no position.
macro_rules! unplaced_fentry_copies {
    ($($a:ident, $b:ident: $call:ident, |$arg:ident| $body:expr;)*) => {$(
        #[fentry]
        pub fn $a(ctx: FEntryContext) -> i32 {
            let $arg = |n: usize| -> u64 { argument(ctx.as_ptr(), n) };
            copies::first_of_queue(ctx.as_ptr(), Call::$call, || $body);
            0
        }

        #[fentry]
        pub fn $b(ctx: FEntryContext) -> i32 {
            let $arg = |n: usize| -> u64 { argument(ctx.as_ptr(), n) };
            copies::second_of_queue(ctx.as_ptr(), Call::$call, || $body);
            0
        }
    )*};
}

unplaced_fentry_copies! {
    enabling_a, enabling_b: Enabling, |arg| operations::enabling(arg(0));
}

fentry_copies! {
    detached_s_a, detached_s_b: Detach, |arg, _copy| operations::detached(arg(0), arg(1) as u16);
    detached_p_a, detached_p_b: Detach, |arg, _copy| operations::detached(arg(0), arg(1) as u16);
    detached_so_a, detached_so_b: Detach, |arg, _copy| operations::detached(arg(0), arg(1) as u16);
    detached_po_a, detached_po_b: Detach, |arg, _copy| operations::detached(arg(0), arg(1) as u16);
    notified_1_a, notified_1_b: Notify, |arg, copy| operations::notified(arg(0), copy);
    notified_2_a, notified_2_b: Notify, |arg, copy| operations::notified(arg(0), copy);
    notified_3_a, notified_3_b: Notify, |arg, copy| operations::notified(arg(0), copy);
    notified_4_a, notified_4_b: Notify, |arg, copy| operations::notified(arg(0), copy);
}

kprobes! {
    detached_k: |arg| operations::detached(arg(0), arg(1) as u16);
    notified_k: |arg| operations::notified(arg(0), 0);
    interrupted_k: |arg| operations::interrupted(arg(1));
    deleted_k: |arg| queue::delete(arg(0));
}

/// An add's arguments: an array of scatter lists (Linux `virtqueue_add_sgs`).
macro_rules! add_sgs {
    ($arg:ident) => {
        PendingAdd {
            vq: $arg(0),
            lists: $arg(1),
            readable: $arg(2) as u32,
            writable: $arg(3) as u32,
            token: $arg(4),
            is_array: 1,
            reserved: 0,
        }
    };
}

/// The same with one list (Linux `virtqueue_add_outbuf`, `virtqueue_add_inbuf`).
macro_rules! add_one {
    ($arg:ident, $readable:literal) => {
        PendingAdd {
            vq: $arg(0),
            lists: $arg(1),
            readable: $readable,
            writable: 1 - $readable,
            token: $arg(3),
            is_array: 0,
            reserved: 0,
        }
    };
}

macro_rules! adds {
    ($($a:ident, $b:ident: |$arg:ident| $add:expr, result $result:literal;)*) => {$(
        #[fexit]
        pub fn $a(ctx: FExitContext) -> i32 {
            let $arg = |n: usize| -> u64 { argument(ctx.as_ptr(), n) };
            copies::first(ctx.as_ptr(), Call::Add, || {
                operations::added($add, ctx.arg::<u64>($result) as i32, 0);
            });
            0
        }

        #[fexit]
        pub fn $b(ctx: FExitContext) -> i32 {
            let $arg = |n: usize| -> u64 { argument(ctx.as_ptr(), n) };
            copies::second(ctx.as_ptr(), Call::Add, || {
                operations::added($add, ctx.arg::<u64>($result) as i32, 1);
            });
            0
        }
    )*};
}

adds! {
    add_sgs_a, add_sgs_b: |arg| add_sgs!(arg), result 6;
    add_out_a, add_out_b: |arg| add_one!(arg, 1), result 5;
    add_in_a, add_in_b: |arg| add_one!(arg, 0), result 5;
    add_in_ctx_a, add_in_ctx_b: |arg| add_one!(arg, 0), result 6;
    add_out_p_a, add_out_p_b: |arg| add_one!(arg, 1), result 5;
    add_in_p_a, add_in_p_b: |arg| add_one!(arg, 0), result 6;
    add_in_c_a, add_in_c_b: |arg| add_one!(arg, 0), result 5;
}

macro_rules! add_entries {
    ($($name:ident: |$arg:ident| $add:expr;)*) => {$(
        #[kprobe]
        pub fn $name(ctx: ProbeContext) -> u32 {
            let $arg = |n: usize| -> u64 { ctx.arg(n).unwrap_or(0) };
            pending(stack(ctx.as_ptr()), &$add);
            0
        }
    )*};
}

add_entries! {
    add_sgs_k: |arg| add_sgs!(arg);
    add_out_k: |arg| add_one!(arg, 1);
    add_in_k: |arg| add_one!(arg, 0);
    add_in_ctx_k: |arg| add_one!(arg, 0);
}

/// The stack pointer at a probe, by which its entry and its return find each other.
#[inline(always)]
fn stack(regs: *mut core::ffi::c_void) -> u64 {
    // SAFETY: a probe's context is Linux `struct pt_regs`, of 21 words on x86-64; `sp` is the
    // twentieth.
    unsafe { regs.cast::<u64>().add(19).read() }
}

#[inline(always)]
fn pending(stack: u64, add: &PendingAdd) {
    let _ = PENDING.insert(stack, add, 0);
}

/// What the entry with the stack pointer of this return was given. The return has
/// popped its own address.
#[inline(always)]
fn take_pending(stack: u64) -> Option<PendingAdd> {
    let stack = stack - 8;
    // SAFETY: a map's value, see `maps`; nobody else has this stack.
    let add = unsafe { *PENDING.get_ptr(stack)? };
    let _ = PENDING.remove(stack);
    Some(add)
}

#[kretprobe]
pub fn added_r(ctx: RetProbeContext) -> u32 {
    if let Some(add) = take_pending(stack(ctx.as_ptr())) {
        operations::added(add, ctx.ret::<u64>() as i32, 0);
    }
    0
}

/// Keeps a queue for the return of a function.
#[inline(always)]
fn keep(ctx: &ProbeContext) {
    let add = PendingAdd {
        vq: ctx.arg(0).unwrap_or(0),
        ..PendingAdd::default()
    };
    // Odd: no stack pointer is, so it meets no add.
    pending(stack(ctx.as_ptr()) | 1, &add);
}

#[inline(always)]
fn kept(ctx: &RetProbeContext) -> Option<u64> {
    let key = (stack(ctx.as_ptr()) | 1) - 8;
    // SAFETY: a map's value, see `maps`; nobody else has this stack.
    let vq = unsafe { (*PENDING.get_ptr(key)?).vq };
    let _ = PENDING.remove(key);
    Some(vq)
}

/// Programs at the return of a function with one argument, the queue, by fexit in two
/// copies.
macro_rules! fexits {
    ($($a:ident, $b:ident: $call:ident, |$vq:ident, $result:ident, $copy:ident| $body:expr;)*) => {$(
        #[fexit]
        pub fn $a(ctx: FExitContext) -> i32 {
            let ($vq, $result, $copy): (u64, u64, u8) = (argument(ctx.as_ptr(), 0), ctx.arg(1), 0);
            copies::first_of_queue(ctx.as_ptr(), Call::$call, || $body);
            0
        }

        #[fexit]
        pub fn $b(ctx: FExitContext) -> i32 {
            let ($vq, $result, $copy): (u64, u64, u8) = (argument(ctx.as_ptr(), 0), ctx.arg(1), 1);
            copies::second_of_queue(ctx.as_ptr(), Call::$call, || $body);
            0
        }
    )*};
}

fexits! {
    kicked_s_a, kicked_s_b: Kick, |vq, result, copy| operations::kicked(vq, result & 0xff != 0, copy);
    kicked_p_a, kicked_p_b: Kick, |vq, result, copy| operations::kicked(vq, result & 0xff != 0, copy);
    enabled_a, enabled_b: Enable, |vq, result, copy| operations::enabled(vq, result & 0xff != 0, copy);
    delayed_a, delayed_b: Enable, |vq, result, copy| operations::enabled(vq, result & 0xff != 0, copy);
}

/// The same, where what is returned says nothing: it is not looked at, since a function
/// that returns nothing has no such argument.
macro_rules! void_fexits {
    ($($a:ident, $b:ident: $call:ident, |$vq:ident, $copy:ident| $body:expr;)*) => {$(
        #[fexit]
        pub fn $a(ctx: FExitContext) -> i32 {
            let ($vq, $copy): (u64, u8) = (argument(ctx.as_ptr(), 0), 0);
            copies::first_of_queue(ctx.as_ptr(), Call::$call, || $body);
            0
        }

        #[fexit]
        pub fn $b(ctx: FExitContext) -> i32 {
            let ($vq, $copy): (u64, u8) = (argument(ctx.as_ptr(), 0), 1);
            copies::second_of_queue(ctx.as_ptr(), Call::$call, || $body);
            0
        }
    )*};
}

void_fexits! {
    prepared_a, prepared_b: Prepare, |vq, copy| operations::prepared(vq, copy);
    disabled_a, disabled_b: Disable, |vq, copy| operations::disabled(vq, copy);
}

/// The same, in one copy, at the return of functions after which a queue begins anew.
macro_rules! ends {
    ($($name:ident)*) => {$(
        #[fexit]
        pub fn $name(ctx: FExitContext) -> i32 {
            queue::end(argument(ctx.as_ptr(), 0));
            0
        }
    )*};
}

ends! { restarted_1 restarted_2 }

/// The same by kretprobe, with what the entry has kept.
macro_rules! kretprobes {
    ($($name:ident: |$vq:ident, $result:ident| $body:expr;)*) => {$(
        #[kretprobe]
        pub fn $name(ctx: RetProbeContext) -> u32 {
            if let Some($vq) = kept(&ctx) {
                let $result: u64 = ctx.ret();
                let _ = $body;
            }
            0
        }
    )*};
}

kretprobes! {
    kicked_r: |vq, result| operations::kicked(vq, result & 0xff != 0, 0);
    enabled_r: |vq, result| operations::enabled(vq, result & 0xff != 0, 0);
    prepared_r: |vq, _result| operations::prepared(vq, 0);
    disabled_r: |vq, _result| operations::disabled(vq, 0);
    restarted_r: |vq, _result| queue::end(vq);
}

/// The entry of a function that returns to one of the programs above.
#[kprobe]
pub fn keep_k(ctx: ProbeContext) -> u32 {
    keep(&ctx);
    0
}

/// The same, where the entry says something by itself.
#[kprobe]
pub fn keep_enabling_k(ctx: ProbeContext) -> u32 {
    let _ = operations::enabling(ctx.arg(0).unwrap_or(0));
    keep(&ctx);
    0
}

/// The same again: what is about to be forgotten is told before.
#[kprobe]
pub fn keep_restarting_k(ctx: ProbeContext) -> u32 {
    missed::settle(ctx.arg(0).unwrap_or(0), Quiet::Surely);
    keep(&ctx);
    0
}

/// Looks at the queue in argument 0, once for each run that user space asks for
/// (`BPF_PROG_TEST_RUN`); attached to nothing.
#[raw_tracepoint]
pub fn look(ctx: RawTracePointContext) -> i32 {
    missed::settle(ctx.arg(0), Quiet::IfUnmoved);
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lets only programs under the GPL use what these need.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
