//! A program that can be linked only if switched-off instrumentation leaves
//! nothing behind.
//!
//! Its instrument is off, and every one of its methods calls a function that
//! exists nowhere. If one call survived in either half of the ring, the linker
//! would look for that function and fail:
//!
//! ```text
//! cargo build --release -p virtscope-driver --example instrumentation_off
//! ```
//!
//! That the trap would spring is shown by setting
//! `VIRTSCOPE_FORCE_INSTRUMENTATION=1` for the build, which switches the
//! instrument on: then the same command must fail.
//!
//! Without optimisation the function exists and panics, so that a debug build
//! shows at run time that none of the calls happens.

use std::sync::Arc;

use virtscope_device::queue::DeviceQueue;
use virtscope_driver::instrument::{Event, Instrument, Payload};
use virtscope_driver::memory::{
    GuestAddress, GuestMemory, IndirectTables, Segment, SharedQueueMemory,
};
use virtscope_driver::ring::{
    AvailableNotification, Features, Notifier, NotifyError, QueueSize, Virtqueue, packed_layout,
    split_layout,
};
use virtscope_record::{Generation, Layout, Timestamp, Token};

#[cfg(not(debug_assertions))]
unsafe extern "C" {
    // SAFETY: never called, because it can't be linked; if it could, it would
    // take and return nothing.
    safe fn virtscope_instrumentation_was_not_compiled_away();
}

#[cfg(debug_assertions)]
fn virtscope_instrumentation_was_not_compiled_away() {
    panic!("an instrument that is switched off was called");
}

/// Switched off, and impossible to call.
#[derive(Clone)]
struct Off;

impl Instrument for Off {
    const ENABLED: bool = option_env!("VIRTSCOPE_FORCE_INSTRUMENTATION").is_some();

    fn now(&self) -> Timestamp {
        virtscope_instrumentation_was_not_compiled_away();
        Timestamp::default()
    }

    fn emit(&self, _: Event, _: Payload<'_>) {
        virtscope_instrumentation_was_not_compiled_away();
    }

    fn start_generation(&self, _: Generation) {
        virtscope_instrumentation_was_not_compiled_away();
    }
}

struct NoDoorbell;

impl Notifier for NoDoorbell {
    fn notify(&self, _: AvailableNotification) -> Result<(), NotifyError> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for layout in [Layout::Split, Layout::Packed] {
        every_operation(layout)?;
    }
    Ok(())
}

/// Every operation that may be recorded, once.
fn every_operation(layout: Layout) -> Result<(), Box<dyn std::error::Error>> {
    let size = QueueSize::new(4)?;
    let features = Features {
        event_idx: true,
        indirect: true,
        in_order: true,
    };
    let memory = Arc::new(GuestMemory::new(2));
    let areas = match layout {
        Layout::Split => {
            let (addresses, _) = split_layout::contiguous(GuestAddress(0), size);
            SharedQueueMemory::split(memory, addresses, size)?
        }
        Layout::Packed => {
            let (addresses, _) = packed_layout::contiguous(GuestAddress(0), size);
            SharedQueueMemory::packed(memory, addresses, size)?
        }
    };
    let tables = IndirectTables {
        base: GuestAddress(2048),
        count: 1,
        capacity: 4,
    };
    let driver_areas = areas.clone().with_indirect_tables(tables)?;
    let doorbell = Box::new(NoDoorbell);
    let mut driver = Virtqueue::new(layout, driver_areas, size, features, Off, doorbell)?;
    let mut device = DeviceQueue::new(layout, areas, size, features, Off)?;

    let segment = Segment {
        address: GuestAddress(4096),
        len: 64,
    };
    driver.add(&[segment], &[segment], Token(1), "request")?;
    let refused = driver.add(&[segment; 4], &[], Token(2), "too much");
    driver.kick()?;
    device.disable_kicks();
    while let Some(chain) = device.take()? {
        device.put_used(&chain, chain.writable_bytes());
    }
    let interrupted = device.should_interrupt() && driver.handle().interrupt();
    driver.disable_callbacks();
    let used = driver.get_buf()?;
    driver.enable_callbacks();
    driver.enable_callbacks_delayed();
    let state = driver.enable_callbacks_prepare();
    let pending = driver.handle().poll(state);
    device.enable_kicks();
    let unused = driver.detach_unused();
    driver.reset(Generation(1), |_| ());

    println!(
        "{:?}: interrupted {interrupted}, refused {}, left {}, pending {pending}",
        used.map(|used| (used.data, used.written)),
        refused.is_err(),
        unused.is_some(),
    );
    Ok(())
}
