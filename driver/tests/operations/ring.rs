//! What only a descriptor ring has: memory that the device may still write.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rstest::rstest;
use virtscope_device::requests::{RequestError, Requests};
use virtscope_driver::buffer::BufferPool;
use virtscope_driver::memory::{GuestAddress, GuestMemory};
use virtscope_driver::operations::{AddBufErrorKind, Callbacks, Operations, QueueFailure};
use virtscope_driver::ring::{Features, QueueError, Violation};
use virtscope_record::{Layout, Token};

use crate::support::{self, Ring, RingParts};

/// Pages of the pool.
const PAGES: usize = 24;

struct Rig {
    queue: Ring,
    parts: RingParts,
    pool: BufferPool,
    let_go: Arc<AtomicUsize>,
}

impl Rig {
    fn new(layout: Layout) -> Self {
        let memory = Arc::new(GuestMemory::new(8 + PAGES));
        let let_go = Arc::new(AtomicUsize::new(0));
        let features = Features::default();
        let counter = Arc::clone(&let_go);
        let (queue, parts) = support::ring(layout, features, &memory, GuestAddress(0), counter);
        Self {
            queue,
            parts,
            pool: BufferPool::new(&memory, GuestAddress(8 * 4096)),
            let_go,
        }
    }

    /// Adds and syncs buffers of a byte in each direction, with these tokens.
    fn add(&mut self, tokens: std::ops::Range<u64>) {
        for token in tokens {
            let buffer = self.pool.allocate(1, 1).unwrap();
            self.queue.add_buf(buffer, Token(token)).unwrap();
        }
        self.queue.sync();
    }

    fn refused(&mut self) -> AddBufErrorKind {
        let buffer = self.pool.allocate(1, 1).unwrap();
        self.queue.add_buf(buffer, Token(99)).unwrap_err().kind
    }

    fn let_go(&self) -> usize {
        self.let_go.load(Ordering::Relaxed)
    }
}

// Shows: driver/3.3.1/1, driver/3.3.1/2
#[rstest]
fn the_device_lets_go_before_a_buffer_is_detached(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
) {
    let mut rig = Rig::new(layout);
    rig.add(0..3);
    let mut device = rig.parts.device_queue();
    let chain = device.take().unwrap().unwrap();
    device.put_used(&chain, 1);
    // Buffers that are used or were never there cost nobody a device.
    assert!(rig.queue.detach_buf(Token(0)).is_err());
    assert!(rig.queue.detach_buf(Token(9)).is_err());
    assert_eq!(rig.let_go(), 0);
    drop(rig.queue.detach_buf(Token(2)).unwrap());
    assert_eq!(rig.let_go(), 1);
    // From now on buffers only come out.
    assert_eq!(rig.refused(), AddBufErrorKind::ShutDown);
    rig.queue.sync();
    let (token, returned) = rig.queue.get_buf().unwrap().unwrap();
    assert_eq!((token, returned.written()), (Token(0), 1));
    drop(returned);
    drop(rig.queue.detach_buf(Token(1)).unwrap());
    assert!(rig.queue.get_buf().unwrap().is_none());
    drop(rig.queue);
    assert_eq!(rig.let_go.load(Ordering::Relaxed), 1);
    assert_eq!(rig.pool.available_pages(), PAGES);
}

// Shows: driver/3.3.1/2
#[rstest]
#[case::with_buffers_in_flight(2, 1)]
#[case::with_none(0, 0)]
fn the_device_lets_go_before_the_queue_is_dropped(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[case] buffers: u64,
    #[case] expected: usize,
) {
    let mut rig = Rig::new(layout);
    rig.add(0..buffers);
    assert_eq!(rig.let_go(), 0);
    drop(rig.queue);
    assert_eq!(rig.let_go.load(Ordering::Relaxed), expected);
    assert_eq!(rig.pool.available_pages(), PAGES);
}

/// What was returned before the device went away comes back, then the error.
#[rstest]
fn a_device_that_is_gone_is_noticed(#[values(Layout::Split, Layout::Packed)] layout: Layout) {
    let mut rig = Rig::new(layout);
    rig.add(0..1);
    let mut device = rig.parts.device_queue();
    let chain = device.take().unwrap().unwrap();
    device.put_used(&chain, 1);
    drop((device, rig.parts));
    let buffer = rig.pool.allocate(1, 1).unwrap();
    rig.queue.add_buf(buffer, Token(1)).unwrap();
    rig.queue.sync();
    assert!(!rig.queue.restart());
    assert!(rig.queue.wait(std::time::Duration::ZERO));
    assert_eq!(rig.queue.get_buf().unwrap().unwrap().0, Token(0));
    let failure = rig.queue.get_buf().unwrap_err();
    assert_eq!(failure, QueueFailure::DeviceGone);
    assert!(rig.queue.detach_buf(Token(1)).is_ok());
    assert_eq!(rig.pool.available_pages(), PAGES);
}

#[rstest]
fn a_broken_ring_gives_every_buffer_back_once(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
) {
    let mut rig = Rig::new(layout);
    rig.add(0..4);
    let mut device = rig.parts.device_queue();
    let chain = device.take().unwrap().unwrap();
    // A device that returns a buffer twice.
    device.put_used(&chain, 1);
    device.put_used(&chain, 1);
    assert_eq!(rig.queue.get_buf().unwrap().unwrap().0, Token(0));
    let violation = Violation::IdNotInFlight { id: chain.id };
    let failure = QueueFailure::Ring(QueueError { violation });
    assert_eq!(rig.queue.get_buf().unwrap_err(), failure);
    assert!(!rig.queue.restart());
    assert_eq!(rig.refused(), AddBufErrorKind::Failed(failure));
    for token in 1..4 {
        assert!(rig.queue.detach_buf(Token(token)).is_ok());
        assert!(rig.queue.detach_buf(Token(token)).is_err());
    }
    assert_eq!(rig.queue.get_buf().unwrap_err(), failure);
    assert_eq!(rig.pool.available_pages(), PAGES);
}

/// A restart that comes too late leaves the device asked for no interrupts.
#[rstest]
fn callbacks_are_not_restarted_while_buffers_are_pending(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
) {
    let mut rig = Rig::new(layout);
    rig.add(0..3);
    let mut device = rig.parts.device_queue();
    rig.queue.stop_callbacks();
    for _ in 0..2 {
        let chain = device.take().unwrap().unwrap();
        device.put_used(&chain, 1);
        assert!(!device.should_interrupt());
        assert!(!rig.queue.restart());
    }
    while rig.queue.get_buf().unwrap().is_some() {}
    assert!(rig.queue.restart());
    let chain = device.take().unwrap().unwrap();
    device.put_used(&chain, 1);
    assert!(device.should_interrupt());
}

/// Interrupts with nothing behind them neither call the driver nor keep it longer
/// than it wanted to wait.
#[test]
fn a_storm_of_interrupts_is_no_callback() {
    let mut rig = Rig::new(Layout::Split);
    rig.add(0..1);
    let interrupt = rig.parts.interrupt();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                interrupt.set();
            }
        });
        let called = rig
            .queue
            .dispatch(std::time::Duration::from_millis(5), |_| true);
        stop.store(true, Ordering::Relaxed);
        assert!(!called);
    });
}

#[test]
fn a_device_takes_no_request_longer_than_it_wants() {
    let mut rig = Rig::new(Layout::Split);
    let buffer = rig.pool.allocate(5000, 0).unwrap();
    rig.queue.add_buf(buffer, Token(0)).unwrap();
    rig.queue.sync();
    let refused = rig.parts.into_requests(4999).take().unwrap_err();
    let expected = RequestError::TooLong {
        readable: 5000,
        limit: 4999,
    };
    assert_eq!(refused, expected);
}
