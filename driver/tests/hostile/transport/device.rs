//! A device that answers what it likes, behind a transport that writes down what it
//! is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virtscope_driver::bus::{Bound, Device, DeviceMatch, Driver, DriverFeatures, InitError, Queue};
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::memory::{GuestAddress, GuestMemory, Segment};
use virtscope_driver::ring::{AvailableNotification, NotifyError, QueueSize};
use virtscope_driver::transport::{ConfigInterrupt, QueueSetup, Status, Transport};
use virtscope_record::{FeatureBits, Token};

use super::PLAN;

/// How the device answers; what is not said here it does by the rules.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    pub(crate) offered: FeatureBits,
    /// The status reads as this, from one read on and before another.
    pub(crate) status: Option<(Status, usize, usize)>,
    /// `DRIVER_OK` makes it ask for a reset, and say so.
    pub(crate) fails: bool,
    /// Bytes of configuration, at each look.
    pub(crate) config_len: [usize; 2],
    /// So many reads of the configuration are overtaken by a change, at this byte.
    pub(crate) overtaken: (usize, usize),
    /// The largest size of its queue, at the first look and at later ones.
    pub(crate) queue: [Option<u16>; 2],
    /// So many notifications reach it.
    pub(crate) notifications: usize,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            offered: FeatureBits::VERSION_1,
            status: None,
            fails: false,
            config_len: [8, 8],
            overtaken: (0, 0),
            queue: [Some(8), Some(8)],
            notifications: usize::MAX,
        }
    }
}

/// What it has seen.
#[derive(Default)]
pub(crate) struct Seen {
    status: Status,
    needs_reset: bool,
    pub(crate) accepted: Option<FeatureBits>,
    pub(crate) written: Vec<Status>,
    status_reads: usize,
    config_looks: usize,
    config_reads: usize,
    generation: u32,
    queue_looks: usize,
    pub(crate) setups: Vec<QueueSetup>,
    pub(crate) notified: usize,
    pub(crate) notified_early: bool,
    interrupt: Option<ConfigInterrupt>,
}

/// A device without manners.
pub(crate) struct Rude {
    manners: Manners,
    seen: Mutex<Seen>,
    memory: Arc<GuestMemory>,
}

impl Rude {
    pub(crate) fn new(manners: Manners) -> Arc<Self> {
        Arc::new(Self {
            manners,
            seen: Mutex::default(),
            memory: Arc::new(GuestMemory::new(8)),
        })
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Rude {
    fn device_type(&self) -> u16 {
        0x3f
    }
    fn device_features(&self) -> FeatureBits {
        self.manners.offered
    }
    fn set_driver_features(&self, features: FeatureBits) {
        self.seen().accepted = Some(features);
    }
    fn status(&self) -> Status {
        let mut seen = self.seen();
        let read = seen.status_reads;
        seen.status_reads += 1;
        match self.manners.status {
            Some((lie, from, before)) if (from..before).contains(&read) => lie,
            _ if seen.needs_reset => seen.status | Status::DEVICE_NEEDS_RESET,
            _ => seen.status,
        }
    }
    fn set_status(&self, status: Status) {
        let mut seen = self.seen();
        seen.written.push(status);
        // That one is its own to set, and only a reset clears it.
        seen.status = status.difference(Status::DEVICE_NEEDS_RESET);
        if status.is_empty() {
            seen.needs_reset = false;
            seen.interrupt = None;
        }
        if self.manners.fails && status.contains(Status::DRIVER_OK) {
            seen.needs_reset = true;
        }
    }
    fn config_len(&self) -> usize {
        let mut seen = self.seen();
        seen.config_looks += 1;
        self.manners.config_len[usize::from(seen.config_looks > 1)]
    }
    fn read_config(&self, offset: usize, into: &mut [u8]) {
        let mut seen = self.seen();
        let (reads, at) = self.manners.overtaken;
        for (byte, place) in into.iter_mut().zip(offset..) {
            if seen.config_reads < reads && place == at {
                seen.generation += 1;
            }
            // Every byte says the same, whichever generation it is of.
            *byte = seen.generation as u8;
        }
        seen.config_reads += 1;
    }
    fn write_config(&self, _: usize, _: &[u8]) {}
    fn config_generation(&self) -> u32 {
        self.seen().generation
    }
    fn set_config_interrupt(&self, interrupt: ConfigInterrupt) {
        self.seen().interrupt = Some(interrupt);
    }
    fn max_queue_size(&self, index: u16) -> Option<QueueSize> {
        let mut seen = self.seen();
        seen.queue_looks += 1;
        let size = self.manners.queue[usize::from(seen.queue_looks > 1)]?;
        (index == 0).then(|| QueueSize::new(size).unwrap())
    }
    fn enable_queue(&self, _: u16, setup: QueueSetup) {
        self.seen().setups.push(setup);
    }
    fn queue_enabled(&self, _: u16) -> bool {
        false
    }
    fn reset_queue(&self, _: u16) {}
    fn notify(&self, _: u16, _: AvailableNotification) -> Result<(), NotifyError> {
        let mut seen = self.seen();
        seen.notified_early |= !seen.status.contains(Status::DRIVER_OK);
        if seen.notified == self.manners.notifications {
            return Err(NotifyError);
        }
        seen.notified += 1;
        Ok(())
    }
    fn memory(&self) -> &Arc<GuestMemory> {
        &self.memory
    }
}

/// A driver that reads four bytes of configuration, sets up a queue, gives it a
/// buffer and kicks.
#[derive(Default)]
pub(crate) struct Polite {
    pub(crate) config: Mutex<Option<[u8; 4]>>,
    /// Buffers given, and those that came back.
    pub(crate) buffers: Arc<Mutex<[usize; 2]>>,
}

impl Driver for Polite {
    fn name(&self) -> &str {
        "polite"
    }
    fn ids(&self) -> &[DeviceMatch] {
        const IDS: [DeviceMatch; 1] = [DeviceMatch::of_type(0x3f)];
        &IDS
    }
    fn features(&self) -> DriverFeatures {
        DriverFeatures::all_rings(FeatureBits::default())
    }
    fn probe(&self, device: &Device) -> Result<Box<dyn Bound>, InitError> {
        let mut config = [0; 4];
        device.read_config(2, &mut config)?;
        *self.config.lock().unwrap() = Some(config);
        let mut queue = device.queue(PLAN, NoInstrument)?;
        let segment = Segment {
            address: GuestAddress(7 * 4096),
            len: 16,
        };
        queue.ring.add_inbuf(&[segment], Token(1), 1).unwrap();
        self.buffers.lock().unwrap()[0] += 1;
        // Before DRIVER_OK: it is held back.
        queue.ring.kick().unwrap();
        Ok(Box::new(Having {
            queue,
            device: device.clone(),
            buffers: Arc::clone(&self.buffers),
        }))
    }
}

struct Having {
    queue: Queue<NoInstrument, u8>,
    device: Device,
    buffers: Arc<Mutex<[usize; 2]>>,
}

impl Bound for Having {
    fn failed(&self) {}
    fn remove(mut self: Box<Self>) {
        // What a device does that does not let go is not waited for.
        let _ = self.device.reset();
        while self.queue.ring.detach_unused().is_some() {
            self.buffers.lock().unwrap()[1] += 1;
        }
    }
}
