//! Every kind of queue with both its ends, so that one test runs on all of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use virtscope_device::queue::DeviceQueue;
use virtscope_device::requests::{RingRequests, SocketRequests};
use virtscope_driver::buffer::BufferPool;
use virtscope_driver::event::Signal;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::memory::{GuestAddress, GuestMemory, IndirectTables, SharedQueueMemory};
use virtscope_driver::operations::{DescriptorRing, StreamSocket};
use virtscope_driver::ring::{
    AvailableNotification, Features, Notifier, NotifyError, QueueSize, Virtqueue, packed_layout,
    split_layout,
};
use virtscope_record::Layout;

/// Buffers that every queue has room for at least, if they have one segment.
pub(crate) const ENTRIES: u16 = 16;

/// The most device-readable bytes that the device's end takes.
pub(crate) const LIMIT: u32 = 1 << 20;

/// Pages of each world's pool.
pub(crate) const POOL_PAGES: usize = 256;

/// Pages that a ring and its tables get.
const RING_PAGES: u64 = 8;

/// Rings that a world has room for at a time.
const RINGS: u64 = 4;

pub(crate) type Ring = DescriptorRing<SharedQueueMemory, NoInstrument>;
pub(crate) type RingEnd = RingRequests<SharedQueueMemory, NoInstrument>;

/// What a queue is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Ring(Layout, Features),
    Socket,
}

impl Kind {
    /// Rings of each layout with all combinations of features, and the socket.
    pub(crate) fn all() -> Vec<Self> {
        let mut kinds = vec![Self::Socket];
        for layout in [Layout::Split, Layout::Packed] {
            for bits in 0..8 {
                let features = Features {
                    event_idx: bits & 1 != 0,
                    indirect: bits & 2 != 0,
                    in_order: bits & 4 != 0,
                };
                kinds.push(Self::Ring(layout, features));
            }
        }
        kinds
    }

    /// Whether buffers come back in the order they were added.
    pub(crate) fn is_in_order(self) -> bool {
        matches!(self, Self::Ring(_, features) if features.in_order)
    }
}

/// Queues of one kind, with both ends, and memory for their buffers.
pub(crate) struct World<Q, R> {
    pub(crate) kind: Kind,
    pub(crate) pool: BufferPool,
    make: Box<dyn FnMut() -> (Q, R)>,
}

impl<Q, R> World<Q, R> {
    /// A new queue: the driver's end and the device's. Of those before, only the last
    /// three may still be in use.
    pub(crate) fn connect(&mut self) -> (Q, R) {
        (self.make)()
    }

    /// Whether all memory has come back.
    pub(crate) fn assert_nothing_leaked(&self) {
        assert_eq!(self.pool.available_pages(), POOL_PAGES, "{:?}", self.kind);
    }
}

/// Rings the doorbell of a device as long as there is one.
struct Ringer(Weak<Signal>);

impl Notifier for Ringer {
    fn notify(&self, _: AvailableNotification) -> Result<(), NotifyError> {
        self.0.upgrade().ok_or(NotifyError)?.set();
        Ok(())
    }
}

/// What a ring consists of beside its driver's half.
pub(crate) struct RingParts {
    layout: Layout,
    features: Features,
    areas: SharedQueueMemory,
    memory: Arc<GuestMemory>,
    doorbell: Arc<Signal>,
    interrupt: Arc<Signal>,
}

impl RingParts {
    /// The device's half.
    pub(crate) fn device_queue(&self) -> DeviceQueue<SharedQueueMemory, NoInstrument> {
        let size = QueueSize::new(ENTRIES).unwrap();
        let areas = self.areas.clone();
        DeviceQueue::new(self.layout, areas, size, self.features, NoInstrument).unwrap()
    }

    /// How the device interrupts the driver.
    pub(crate) fn interrupt(&self) -> Arc<Signal> {
        Arc::clone(&self.interrupt)
    }

    /// The device's end: it is gone when it is dropped with these parts.
    pub(crate) fn into_requests(self, limit: u32) -> RingEnd {
        let queue = self.device_queue();
        RingRequests::new(queue, self.memory, self.doorbell, self.interrupt, limit)
    }
}

/// A ring in `memory` at `base`. `let_go` counts how often its device was made to let
/// go of it; the tests step the device, so it does nothing by itself.
pub(crate) fn ring(
    layout: Layout,
    features: Features,
    memory: &Arc<GuestMemory>,
    base: GuestAddress,
    let_go: Arc<AtomicUsize>,
) -> (Ring, RingParts) {
    let size = QueueSize::new(ENTRIES).unwrap();
    let shared = Arc::clone(memory);
    let (areas, bytes) = match layout {
        Layout::Split => {
            let (addresses, bytes) = split_layout::contiguous(base, size);
            (SharedQueueMemory::split(shared, addresses, size), bytes)
        }
        Layout::Packed => {
            let (addresses, bytes) = packed_layout::contiguous(base, size);
            (SharedQueueMemory::packed(shared, addresses, size), bytes)
        }
    };
    let areas = areas.unwrap();
    let tables = IndirectTables {
        base: GuestAddress((base.0 + bytes).next_multiple_of(16)),
        count: ENTRIES,
        capacity: 8,
    };
    let driver_areas = areas.clone().with_indirect_tables(tables).unwrap();
    let (doorbell, interrupt) = (Arc::new(Signal::new()), Arc::new(Signal::new()));
    let ringer = Box::new(Ringer(Arc::downgrade(&doorbell)));
    let queue = Virtqueue::new(layout, driver_areas, size, features, NoInstrument, ringer).unwrap();
    let count = move || {
        let_go.fetch_add(1, Ordering::Relaxed);
        true
    };
    let driver = DescriptorRing::new(queue, Arc::clone(&interrupt), Box::new(count));
    let parts = RingParts {
        layout,
        features,
        areas,
        memory: Arc::clone(memory),
        doorbell,
        interrupt,
    };
    (driver, parts)
}

/// A world of rings.
pub(crate) fn rings(layout: Layout, features: Features) -> World<Ring, RingEnd> {
    let pool_start = GuestAddress(RINGS * RING_PAGES * 4096);
    let memory = Arc::new(GuestMemory::new(pool_start.0 as usize / 4096 + POOL_PAGES));
    let pool = BufferPool::new(&memory, pool_start);
    let mut next = 0;
    let make = move || {
        let base = GuestAddress(next % RINGS * RING_PAGES * 4096);
        next += 1;
        let zeroes = vec![0; RING_PAGES as usize * 4096];
        memory.write(base, &zeroes).unwrap();
        let (driver, parts) = ring(layout, features, &memory, base, Arc::default());
        (driver, parts.into_requests(LIMIT))
    };
    World {
        kind: Kind::Ring(layout, features),
        pool,
        make: Box::new(make),
    }
}

/// A world of sockets.
pub(crate) fn sockets() -> World<StreamSocket, SocketRequests> {
    let memory = Arc::new(GuestMemory::new(POOL_PAGES));
    let make = || {
        let size = QueueSize::new(ENTRIES).unwrap();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let driver = StreamSocket::new(ours, size).unwrap();
        let device = SocketRequests::new(theirs, size, LIMIT).unwrap();
        (driver, device)
    };
    World {
        kind: Kind::Socket,
        pool: BufferPool::new(&memory, GuestAddress(0)),
        make: Box::new(make),
    }
}

/// A test that runs on queues of every kind: the very same code, which knows of them
/// only what the traits say.
macro_rules! on_every_queue {
    ($(#[$meta:meta])* fn $name:ident($world:ident) $body:block) => {
        $(#[$meta])*
        #[test]
        fn $name() {
            #[allow(unused_mut, reason = "not every test needs it")]
            fn exercise<Q, R>(mut $world: $crate::support::World<Q, R>)
            where
                Q: virtscope_driver::operations::Callbacks + Send,
                R: virtscope_device::requests::Requests + Send,
            $body
            for kind in $crate::support::Kind::all() {
                println!("{kind:?}");
                match kind {
                    $crate::support::Kind::Ring(layout, features) => {
                        exercise($crate::support::rings(layout, features));
                    }
                    $crate::support::Kind::Socket => exercise($crate::support::sockets()),
                }
            }
        }
    };
}
pub(crate) use on_every_queue;
