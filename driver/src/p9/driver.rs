//! The virtio-9p driver (Linux `p9_virtio_drv`): a channel for each 9P device on
//! the bus.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virtscope_record::{FeatureBits, QueueId};

use super::channel::{Channel, ChannelError, Claim, Pinned, REQUEST_QUEUE};
use crate::bus::{Bound, Device, DeviceMatch, Driver, DriverFeatures, InitError};
use crate::instrument::Instrument;
use crate::transport::DEVICE_TYPE_9P;

/// The driver of all 9P devices on a bus.
pub struct P9Driver<I: Instrument> {
    instruments: Instruments<I>,
    /// Linux `virtio_chan_list`.
    channels: Arc<Channels<I>>,
    pinned: Arc<Pinned>,
}

type Channels<I> = Mutex<Vec<Arc<Channel<I>>>>;

/// An instrument for each queue, which stays the same for all lives of the queue, so
/// that the numbers of its records go on.
struct Instruments<I> {
    make: Box<dyn Fn(QueueId) -> I + Send + Sync>,
    made: Mutex<BTreeMap<QueueId, I>>,
}

impl<I: Clone> Instruments<I> {
    fn of(&self, queue: QueueId) -> I {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.entry(queue)
            .or_insert_with(|| (self.make)(queue))
            .clone()
    }
}

impl<I: Instrument> P9Driver<I> {
    /// A driver whose queues' records go to what `instruments` makes: one for each
    /// queue, however often its device comes back.
    pub fn new(instruments: impl Fn(QueueId) -> I + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            instruments: Instruments {
                make: Box::new(instruments),
                made: Mutex::default(),
            },
            channels: Arc::default(),
            pinned: Arc::default(),
        })
    }

    /// The channels of the devices that are up, oldest first.
    pub fn channels(&self) -> Vec<Arc<Channel<I>>> {
        lock(&self.channels).clone()
    }

    /// Linux `p9_virtio_create`: the first channel with this mount tag that no other
    /// mount has.
    ///
    /// # Errors
    /// [`ChannelError::NoChannel`]: there is none with the tag.
    /// [`ChannelError::Busy`]: all of them are in use.
    pub fn create(&self, tag: &str) -> Result<Claim<I>, ChannelError> {
        let mut error = ChannelError::NoChannel;
        for channel in self.channels() {
            if channel.tag() == tag {
                match channel.claim() {
                    Ok(claim) => return Ok(claim),
                    Err(busy) => error = busy,
                }
            }
        }
        Err(error)
    }
}

impl<I: Instrument> Driver for P9Driver<I> {
    fn name(&self) -> &str {
        "9pnet_virtio"
    }

    fn ids(&self) -> &[DeviceMatch] {
        const { &[DeviceMatch::of_type(DEVICE_TYPE_9P)] }
    }

    fn features(&self) -> DriverFeatures {
        DriverFeatures::all_rings(FeatureBits::P9_MOUNT_TAG)
    }

    fn probe(&self, device: &Device) -> Result<Box<dyn Bound>, InitError> {
        let instrument = self.instruments.of(device.queue_id(REQUEST_QUEUE));
        let channel = Arc::new(Channel::probe(
            device,
            instrument,
            Arc::clone(&self.pinned),
        )?);
        lock(&self.channels).push(Arc::clone(&channel));
        Ok(Box::new(BoundChannel {
            channel,
            channels: Arc::clone(&self.channels),
        }))
    }
}

struct BoundChannel<I: Instrument> {
    channel: Arc<Channel<I>>,
    channels: Arc<Channels<I>>,
}

impl<I: Instrument> Bound for BoundChannel<I> {
    fn failed(&self) {
        self.channel.fail();
    }

    /// Linux `p9_virtio_remove`. A mount that still has the channel finds it closed.
    fn remove(self: Box<Self>) {
        lock(&self.channels).retain(|channel| !Arc::ptr_eq(channel, &self.channel));
        self.channel.remove();
    }
}

fn lock<I: Instrument>(channels: &Channels<I>) -> MutexGuard<'_, Vec<Arc<Channel<I>>>> {
    channels.lock().unwrap_or_else(PoisonError::into_inner)
}
