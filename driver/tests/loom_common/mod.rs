//! Both halves of a queue, the real code, over memory that loom watches.

#![allow(dead_code, reason = "each test program uses its part")]

mod memory;
pub(crate) mod windows;

use std::sync::Arc;

use loom::cell::UnsafeCell;
use virtscope_device::queue::{Chain, DeviceQueue};
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::memory::{
    Barrier, GuestAddress, IndirectTables, Order, QueueMemory, RingWords, Segment,
};
use virtscope_driver::ring::packed_layout::{DESC_F_AVAIL, Position, Tail, tail_word};
use virtscope_driver::ring::split_layout::IDX;
use virtscope_driver::ring::{
    AvailableNotification, Context, Features, Notifier, NotifyError, QueueSize, Virtqueue,
};
use virtscope_record::{Layout, Token};

use memory::LoomMemory;

/// Buffers of one model.
const BUFFERS: u64 = 6;
/// Buffers that went there and back before a race begins: event index 0, with which
/// both sides begin, then lies behind and asks for nothing.
pub(crate) const CARRIED: u64 = 1;
/// Where the indirect tables stand; buffers lie below.
const TABLES: u64 = 0x10_0000;

/// How a buffer is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// One device-writable segment.
    Single,
    /// A device-readable segment and a device-writable one.
    List,
    /// The same two, in an indirect table.
    Table,
}

/// What a model is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) layout: Layout,
    pub(crate) entries: u16,
    pub(crate) event_idx: bool,
    pub(crate) in_order: bool,
    pub(crate) shape: Shape,
    /// The barrier that the rings do without.
    pub(crate) without: Option<Barrier>,
    /// At most this many times is a thread interrupted that could go on; `None`
    /// for all interleavings there are.
    pub(crate) preemptions: Option<usize>,
}

impl Plan {
    /// A ring of this size with buffers of one segment, and all interleavings.
    pub(crate) const fn new(layout: Layout, entries: u16, event_idx: bool) -> Self {
        Self {
            layout,
            entries,
            event_idx,
            in_order: false,
            shape: Shape::Single,
            without: None,
            preemptions: None,
        }
    }

    /// The same, within bounds if more than one buffer races.
    pub(crate) fn in_bounds(self, buffers: usize) -> Self {
        Self {
            preemptions: (buffers > 1).then_some(4),
            ..self
        }
    }

    /// Runs `model` in every interleaving, and with every value that a load may
    /// see in it.
    pub(crate) fn check(self, model: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = self.preemptions;
        builder.check(model);
    }

    /// Both halves, after [`CARRIED`] buffers.
    pub(crate) fn ring(self) -> (Driver, Device) {
        let size = QueueSize::new(self.entries).unwrap();
        let features = Features {
            event_idx: self.event_idx,
            indirect: self.shape == Shape::Table,
            in_order: self.in_order,
        };
        let tables = IndirectTables {
            base: GuestAddress(TABLES),
            count: u16::from(features.indirect) * 2,
            capacity: 2,
        };
        let memory = LoomMemory::new(self.layout, size, tables, self.without);
        let buffers = Arc::new(Buffers::new());
        let queue = Virtqueue::new(
            self.layout,
            memory.clone(),
            size,
            features,
            NoInstrument,
            Box::new(Doorbell {
                memory: memory.clone(),
                layout: self.layout,
                size,
            }),
        );
        let mut driver = Driver {
            queue: queue.unwrap(),
            shape: self.shape,
            buffers: Arc::clone(&buffers),
            offered: 0,
            taken: 0,
        };
        let queue = DeviceQueue::new(self.layout, memory, size, features, NoInstrument);
        let mut device = Device {
            queue: queue.unwrap(),
            shape: self.shape,
            buffers,
            returned: 0,
        };
        for _ in 0..CARRIED {
            driver.offer(1);
            driver.queue.kick_prepare();
            assert!(device.serve(1));
            device.queue.should_interrupt();
            assert!(driver.take());
        }
        (driver, device)
    }
}

/// The driver's half, and the buffers as the driver has them.
pub(crate) struct Driver {
    pub(crate) queue: Virtqueue<LoomMemory, NoInstrument, u64>,
    shape: Shape,
    buffers: Arc<Buffers>,
    /// Buffers offered so far, each by its number.
    pub(crate) offered: u64,
    /// Buffers taken back so far.
    pub(crate) taken: u64,
}

impl Driver {
    /// Offers the next `count` buffers, made available all at once.
    pub(crate) fn offer(&mut self, count: u64) {
        for number in self.offered..self.offered + count {
            self.buffers.change(number, UNUSED, REQUEST);
            let (readable, writable) = segments(self.shape, number);
            self.queue
                .add_unpublished(
                    &readable,
                    &writable,
                    Token(number),
                    number,
                    Context::default(),
                )
                .expect("the ring has room");
        }
        self.offered += count;
        self.queue.publish();
    }

    /// Takes one used buffer back, if there is one.
    pub(crate) fn take(&mut self) -> bool {
        let Some(used) = self.queue.get_buf().expect("the device keeps the rules") else {
            return false;
        };
        assert_eq!(used.data, self.taken, "the wrong buffer");
        assert_eq!(used.written, 8, "the length was taken unseen");
        self.buffers.change(used.data, REPLY, DONE);
        self.taken += 1;
        true
    }
}

/// The device's half, and the buffers as the device has them.
pub(crate) struct Device {
    pub(crate) queue: DeviceQueue<LoomMemory, NoInstrument>,
    shape: Shape,
    buffers: Arc<Buffers>,
    /// Buffers returned so far.
    pub(crate) returned: u64,
}

impl Device {
    /// Takes `count` buffers, if there is one, and returns them all at once. A
    /// second must be there if the first is.
    pub(crate) fn serve(&mut self, count: u64) -> bool {
        for nth in 0..count {
            let Some(chain) = self.queue.take().expect("the driver keeps the rules") else {
                assert_eq!(nth, 0, "a batch that came in parts");
                return false;
            };
            let number = self.returned + nth;
            self.check(&chain, number);
            self.buffers.change(number, REQUEST, REPLY);
            self.queue.stage_used(&chain, 8);
        }
        self.queue.publish_used();
        self.returned += count;
        true
    }

    /// The chain is what the driver made of buffer `number`.
    fn check(&self, chain: &Chain, number: u64) {
        let (readable, writable) = segments(self.shape, number);
        assert_eq!(chain.readable, readable, "the list was taken unseen");
        assert_eq!(chain.writable, writable, "the list was taken unseen");
    }
}

/// The segments of buffer `number`, device-readable and device-writable.
fn segments(shape: Shape, number: u64) -> (Vec<Segment>, Vec<Segment>) {
    let segment = |at| Segment {
        address: GuestAddress(0x1000 * (number + 1) + at),
        len: 8,
    };
    match shape {
        Shape::Single => (vec![], vec![segment(8)]),
        Shape::List | Shape::Table => (vec![segment(0)], vec![segment(8)]),
    }
}

const UNUSED: u64 = 0;
const REQUEST: u64 = 1;
const REPLY: u64 = 2;
const DONE: u64 = 3;

/// What stands in each buffer. Only the rings' order lets the other side see it:
/// loom fails a model in which two sides touch a buffer with none between them.
struct Buffers(Vec<UnsafeCell<u64>>);

// SAFETY: loom watches every access, and panics before one that races.
unsafe impl Sync for Buffers {}
// SAFETY: as above; plain numbers may go to any thread.
unsafe impl Send for Buffers {}

impl Buffers {
    fn new() -> Self {
        Self((0..BUFFERS).map(|_| UnsafeCell::new(UNUSED)).collect())
    }

    /// The side that has buffer `number` finds one thing in it and leaves another.
    fn change(&self, number: u64, from: u64, to: u64) {
        self.0[number as usize].with_mut(|content| {
            // SAFETY: loom would have panicked if another thread were at it.
            let content = unsafe { &mut *content };
            assert_eq!(*content, from, "buffer {number} changed hands unseen");
            *content = to;
        });
    }
}

/// Looks at the ring as a device does that is told how far it was filled
/// (`VIRTIO_F_NOTIFICATION_DATA`).
struct Doorbell {
    memory: LoomMemory,
    layout: Layout,
    size: QueueSize,
}

impl Notifier for Doorbell {
    fn notify(
        &self,
        AvailableNotification { next }: AvailableNotification,
    ) -> Result<(), NotifyError> {
        let is_there = match self.layout {
            Layout::Split => {
                let index = self.memory.driver_area().load_u16(IDX, Order::Relaxed);
                index.wrapping_sub(next) < 1 << 15
            }
            // The descriptor before it bears the mark of its round.
            Layout::Packed => {
                let Position { offset, wrap } = Position::from_raw(next);
                let (slot, wrap) = match offset.checked_sub(1) {
                    Some(slot) => (slot, wrap),
                    None => (self.size.get() - 1, !wrap),
                };
                let ring = self.memory.descriptor_area();
                let tail = Tail::from_word(ring.load_u64(tail_word(slot), Order::Relaxed));
                (tail.flags & DESC_F_AVAIL != 0) == wrap
            }
        };
        assert!(is_there, "told of what is not to be seen: {next:#x}");
        Ok(())
    }
}
