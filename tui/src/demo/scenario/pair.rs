//! A disk with two queues, both halves driven by one thread, step by step.

use std::sync::{Arc, Weak};

use virtscope_analyzer::FindingCode;
use virtscope_device::blk::{BlockConfig, BlockDevice};
use virtscope_device::queue::DeviceQueue;
use virtscope_device::requests::RingRequests;
use virtscope_driver::blk::{Disk, DiskConfig};
use virtscope_driver::buffer::BufferPool;
use virtscope_driver::event::Signal;
use virtscope_driver::instrument::live::Probe;
use virtscope_driver::memory::{GuestAddress, GuestMemory, SharedQueueMemory};
use virtscope_driver::operations::DescriptorRing;
use virtscope_driver::p9::channel::ChannelError;
use virtscope_driver::p9::client::ClientError;
use virtscope_driver::ring::{
    AvailableNotification, Features, Notifier, NotifyError, QueueSize, Virtqueue, split_layout,
};
use virtscope_record::{FeatureBits, Generation, Layout, Producer, QueueFacts, QueueId};

use super::stage::Stage;
use crate::recorder::QueueNotice;

/// Entries of each queue: room for ten requests of three segments.
const ENTRIES: u16 = 32;
/// The device's number: the mounted one is 0.
const DEVICE: u16 = 1;
/// Linux `VIRTIO_ID_BLOCK`.
const DEVICE_TYPE_BLOCK: u16 = 2;
const PAGES: usize = 256;
const SECTORS: u64 = 1024;
/// Times that each queue's part is done.
const ROUNDS: u64 = 100;

type Ring = Disk<DescriptorRing<SharedQueueMemory, Probe>>;
type Other = BlockDevice<RingRequests<SharedQueueMemory, Probe>>;

/// What the recorder must know of the queues, if the scenario has them.
pub(super) fn notices(finding: FindingCode) -> Vec<QueueNotice> {
    if finding != FindingCode::UnbalancedQueues {
        return Vec::new();
    }
    let notice = |index| QueueNotice {
        queue: QueueId::new(DEVICE, index),
        generation: Generation(0),
        facts: QueueFacts {
            size: ENTRIES,
            in_flight: 0,
            device_type: DEVICE_TYPE_BLOCK,
            layout: Layout::Split,
            features: FeatureBits::VERSION_1,
        },
        text: format!("virtio{DEVICE}/req.{index}\ndriver=virtscope"),
        in_flight: Vec::new(),
    };
    vec![notice(0), notice(1)]
}

/// Reads sectors: so many times as `parts` say on either queue, as many at a time as
/// there is room for.
pub(super) fn work(stage: &Stage<'_>, parts: [u64; 2]) -> Result<(), ClientError> {
    let file = tempfile::tempfile().map_err(|_| ClientError::Channel(ChannelError::Closed))?;
    let mut queues = Vec::new();
    for index in 0..2 {
        let file = file
            .try_clone()
            .map_err(|_| ClientError::Channel(ChannelError::Closed))?;
        let queue = queue(stage, index, file);
        queues.push(queue.ok_or(ClientError::Channel(ChannelError::Closed))?);
    }
    for _ in 0..ROUNDS {
        for ((disk, device), part) in queues.iter_mut().zip(parts) {
            if stage.over() {
                return Ok(());
            }
            read(disk, device, part);
        }
    }
    Ok(())
}

/// Both halves of one queue.
fn queue(stage: &Stage<'_>, index: u16, file: std::fs::File) -> Option<(Ring, Other)> {
    let id = QueueId::new(DEVICE, index);
    let memory = Arc::new(GuestMemory::new(PAGES));
    let size = QueueSize::new(ENTRIES).ok()?;
    let (addresses, _) = split_layout::contiguous(GuestAddress(0), size);
    let areas = SharedQueueMemory::split(Arc::clone(&memory), addresses, size).ok()?;
    let (doorbell, interrupt) = (Arc::new(Signal::new()), Arc::new(Signal::new()));
    let features = Features::default();
    let ringer = Box::new(Ringer(Arc::downgrade(&doorbell)));
    let probe = |producer| stage.hub.probe(id, producer);
    let driver = Virtqueue::new(
        Layout::Split,
        areas.clone(),
        size,
        features,
        probe(Producer::DriverHalf),
        ringer,
    )
    .ok()?;
    let device = DeviceQueue::new(
        Layout::Split,
        areas,
        size,
        features,
        probe(Producer::DeviceHalf),
    );
    let pool = BufferPool::new(&memory, GuestAddress(16 * 4096));
    let ring = DescriptorRing::new(driver, Arc::clone(&interrupt), Box::new(|| true));
    let config = DiskConfig {
        capacity: SECTORS,
        seg_max: 8,
        read_only: true,
    };
    let requests = RingRequests::new(device.ok()?, memory, doorbell, interrupt, 4096);
    let backing = BlockConfig {
        capacity: SECTORS,
        read_only: true,
        discard: false,
        id: [b'v'; 20],
    };
    Some((
        Disk::new(ring, pool, config),
        BlockDevice::new(requests, file, backing),
    ))
}

/// So many reads of a sector: the ring is filled, then the device serves it.
fn read(disk: &mut Ring, device: &mut Other, many: u64) {
    let mut left = many;
    while left > 0 {
        let mut added = 0;
        while added < left && disk.read(added % SECTORS, 1).is_ok() {
            added += 1;
        }
        if added == 0 {
            return;
        }
        left -= added;
        disk.sync();
        while matches!(device.step(), Ok(true)) {}
        while matches!(disk.completed(), Ok(Some(_))) {}
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
