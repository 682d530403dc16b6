//! A virtio-9p device in this very process, behind a transport of its own: the
//! kick wakes the device's thread, an interrupt is a signal to the driver's.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use virtscope_driver::event::Signal;
use virtscope_driver::instrument::Instrument;
use virtscope_driver::memory::{GuestMemory, SharedQueueMemory};
use virtscope_driver::ring::{AvailableNotification, Features, NotifyError, QueueSize};
use virtscope_driver::transport::{DEVICE_TYPE_9P, QueueSetup, Status, Transport};
use virtscope_record::{FeatureBits, Layout};

use crate::p9::{Access, Delay, FileServer, Pool, ServeError};
use crate::queue::DeviceQueue;
use crate::virtio9p::{DeviceError, Step, Virtio9p};

/// How an in-process 9P device is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// The device's name, for its threads: `virtio0`.
    pub name: String,
    /// Its mount tag.
    pub tag: String,
    /// Whether files can be changed.
    pub access: Access,
    /// Pages of guest memory: ring and buffers.
    pub memory_pages: usize,
    /// The largest queue it offers.
    pub max_queue_size: QueueSize,
    /// The features it offers beside `VERSION_1` and `P9_MOUNT_TAG`.
    pub features: FeatureBits,
    /// Threads that serve requests.
    pub workers: usize,
    /// Operations that are made slow on purpose.
    pub delay: Delay,
}

/// A virtio-9p device that serves a directory of this machine.
pub struct InProcess9p<I: Instrument> {
    config: Config,
    config_space: Vec<u8>,
    server: Arc<FileServer>,
    memory: Arc<GuestMemory>,
    instrument: I,
    doorbell: Arc<Signal>,
    registers: Arc<Registers>,
    thread: Mutex<Option<Running>>,
}

/// What both the driver and the device's thread may touch.
#[derive(Default)]
struct Registers(Mutex<RegisterState>);

#[derive(Default)]
struct RegisterState {
    status: Status,
    driver_features: FeatureBits,
    queue: Option<QueueSetup>,
    failure: Option<DeviceError>,
}

struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Registers {
    fn lock(&self) -> MutexGuard<'_, RegisterState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I: Instrument> InProcess9p<I> {
    /// A device that serves `root`. `instrument` takes the device half's
    /// records.
    ///
    /// # Errors
    /// The directory is missing or can't be read.
    pub fn new(root: &Path, config: Config, instrument: I) -> Result<Self, ServeError> {
        let server = FileServer::new(root, config.access)?;
        let tag = config.tag.as_bytes();
        let len = u16::try_from(tag.len()).unwrap_or(u16::MAX);
        // `struct virtio_9p_config`: the tag's length, then its bytes.
        let mut config_space = len.to_le_bytes().to_vec();
        config_space.extend_from_slice(&tag[..usize::from(len)]);
        Ok(Self {
            config_space,
            server: Arc::new(server),
            memory: Arc::new(GuestMemory::new(config.memory_pages)),
            instrument,
            doorbell: Arc::new(Signal::new()),
            registers: Arc::default(),
            thread: Mutex::new(None),
            config,
        })
    }

    /// Why the device stopped and asks for a reset, if it did.
    pub fn failure(&self) -> Option<DeviceError> {
        self.registers.lock().failure
    }

    fn offered(&self) -> FeatureBits {
        self.config
            .features
            .union(FeatureBits::VERSION_1)
            .union(FeatureBits::P9_MOUNT_TAG)
    }

    fn start(&self, setup: &QueueSetup, features: FeatureBits) -> Result<Running, DeviceError> {
        let memory = Arc::clone(&self.memory);
        let (layout, queue_memory) = if features.contains(FeatureBits::RING_PACKED) {
            let memory = SharedQueueMemory::packed(memory, setup.addresses, setup.size)?;
            (Layout::Packed, memory)
        } else {
            let memory = SharedQueueMemory::split(memory, setup.addresses, setup.size)?;
            (Layout::Split, memory)
        };
        let queue = DeviceQueue::new(
            layout,
            queue_memory,
            setup.size,
            Features::from_bits(features),
            self.instrument.clone(),
        )?;
        let doorbell = Arc::clone(&self.doorbell);
        let wake = {
            let doorbell = Arc::clone(&doorbell);
            move || doorbell.set()
        };
        let pool = Pool::with_delay(
            Arc::clone(&self.server),
            self.config.workers,
            wake,
            self.config.delay.clone(),
        )
        .map_err(|_| DeviceError::NoThread)?;
        let mut device = Virtio9p::new(
            queue,
            Arc::clone(&self.memory),
            pool,
            Arc::clone(&setup.interrupt),
        );
        let stop = Arc::new(AtomicBool::new(false));
        let registers = Arc::clone(&self.registers);
        let interrupt = Arc::clone(&setup.interrupt);
        let thread = std::thread::Builder::new()
            .name(format!("{}-dev", self.config.name))
            .spawn({
                let stop = Arc::clone(&stop);
                move || {
                    // The driver hears of a failure before the device is taken
                    // down, which waits for requests that are being served.
                    if let Err(failure) = run(&mut device, &doorbell, &stop) {
                        let mut registers = registers.lock();
                        registers.failure = Some(failure);
                        registers.status |= Status::DEVICE_NEEDS_RESET;
                        // The configuration change interrupt of virtio 1.4 §2.1.2.
                        interrupt.set();
                    }
                }
            });
        match thread {
            Ok(thread) => Ok(Running { stop, thread }),
            // Without a thread nobody will ever answer: the device is broken.
            Err(_) => Err(DeviceError::NoThread),
        }
    }

    fn reset(&self) {
        let running = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(running) = running {
            running.stop.store(true, Ordering::Release);
            self.doorbell.set();
            // A panic in the device was reported by its hook; the reset goes on.
            let _ = running.thread.join();
        }
        *self.registers.lock() = RegisterState::default();
    }
}

/// The device's thread: steps while there is something to do, sleeps until the
/// doorbell rings.
fn run<I: Instrument>(
    device: &mut Virtio9p<I>,
    doorbell: &Signal,
    stop: &AtomicBool,
) -> Result<(), DeviceError> {
    while !stop.load(Ordering::Acquire) {
        device.begin_work();
        while device.step()? != Step::Idle {}
        if device.may_sleep() {
            doorbell.wait();
        }
    }
    Ok(())
}

impl<I: Instrument> Transport for InProcess9p<I> {
    fn device_type(&self) -> u16 {
        DEVICE_TYPE_9P
    }

    fn device_features(&self) -> FeatureBits {
        self.offered()
    }

    fn set_driver_features(&self, features: FeatureBits) {
        self.registers.lock().driver_features = features;
    }

    fn status(&self) -> Status {
        self.registers.lock().status
    }

    fn set_status(&self, status: Status) {
        if status.is_empty() {
            self.reset();
            return;
        }
        let mut registers = self.registers.lock();
        let was = registers.status;
        registers.status = status;
        // Features we did not offer, or no VERSION_1: the bit does not stick
        // (virtio 1.4 §3.1.1, step 6).
        let accepted = registers.driver_features;
        let sound = self.offered().contains(accepted) && accepted.contains(FeatureBits::VERSION_1);
        if !sound {
            registers.status.remove(Status::FEATURES_OK);
        }
        let starts = registers
            .status
            .contains(Status::FEATURES_OK | Status::DRIVER_OK)
            && !was.contains(Status::DRIVER_OK);
        let setup = registers.queue.clone();
        drop(registers);
        if let (true, Some(setup)) = (starts, setup) {
            match self.start(&setup, accepted) {
                Ok(running) => {
                    *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
                }
                Err(failure) => {
                    let mut registers = self.registers.lock();
                    registers.failure = Some(failure);
                    registers.status |= Status::DEVICE_NEEDS_RESET;
                    setup.interrupt.set();
                }
            }
        }
    }

    fn read_config(&self, offset: usize, into: &mut [u8]) {
        into.fill(0);
        let held = self.config_space.get(offset..).unwrap_or_default();
        let count = held.len().min(into.len());
        into[..count].copy_from_slice(&held[..count]);
    }

    fn config_generation(&self) -> u32 {
        // The tag never changes.
        0
    }

    fn max_queue_size(&self, index: u16) -> Option<QueueSize> {
        (index == 0).then_some(self.config.max_queue_size)
    }

    fn enable_queue(&self, index: u16, setup: QueueSetup) {
        if index == 0 {
            self.registers.lock().queue = Some(setup);
        }
    }

    fn notify(&self, index: u16, _: AvailableNotification) -> Result<(), NotifyError> {
        let status = self.registers.lock().status;
        if index != 0 || !status.contains(Status::DRIVER_OK) {
            return Err(NotifyError);
        }
        self.doorbell.set();
        Ok(())
    }

    fn memory(&self) -> &Arc<GuestMemory> {
        &self.memory
    }
}

impl<I: Instrument> Drop for InProcess9p<I> {
    fn drop(&mut self) {
        self.reset();
    }
}
