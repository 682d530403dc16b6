//! A virtio-9p device in this very process, behind a transport of its own: the
//! kick wakes the device's thread, an interrupt is a signal to the driver's.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use virtscope_driver::instrument::Instrument;
use virtscope_driver::memory::{GuestMemory, SharedQueueMemory};
use virtscope_driver::ring::{AvailableNotification, Features, NotifyError, QueueSize};
use virtscope_driver::transport::{ConfigInterrupt, DEVICE_TYPE_9P, QueueSetup, Status, Transport};
use virtscope_record::{FeatureBits, Layout};

use crate::doorbell::Doorbell;
use crate::fault::{FaultLog, Faults, FaultyQueue, RealClock};
use crate::p9::{Access, Delay, FileServer, Pool, ServeError};
use crate::queue::{DeviceQueue, NotificationCheck};
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
    /// The features it offers beside `VERSION_1` and `P9_MOUNT_TAG`: of those that
    /// the rings have, any.
    pub features: FeatureBits,
    /// Threads that serve requests.
    pub workers: usize,
    /// Operations that are made slow on purpose.
    pub delay: Delay,
    /// What goes wrong on the queue on purpose, in each of its lives anew.
    pub faults: Faults,
}

/// A virtio-9p device that serves a directory of this machine.
pub struct InProcess9p<I: Instrument> {
    config: Config,
    config_space: Vec<u8>,
    server: Arc<FileServer>,
    memory: Arc<GuestMemory>,
    instrument: I,
    doorbell: Arc<Doorbell>,
    registers: Arc<Registers>,
    thread: Mutex<Option<Running>>,
}

/// What both the driver and the device's thread may touch.
#[derive(Default)]
struct Registers(Mutex<RegisterState>);

#[derive(Default)]
struct RegisterState {
    /// What a reset of the device forgets.
    driver: DriverState,
    failure: Option<DeviceError>,
    false_notifications: u64,
    fault_log: FaultLog,
}

/// What the driver has told the device since the last reset.
#[derive(Default)]
struct DriverState {
    status: Status,
    features: FeatureBits,
    config_interrupt: Option<ConfigInterrupt>,
    queue: Option<QueueSetup>,
    /// What notifications are held against, while the device works on the queue.
    live: Option<NotificationCheck<SharedQueueMemory>>,
}

impl DriverState {
    fn layout(&self) -> Layout {
        if self.features.contains(FeatureBits::RING_PACKED) {
            Layout::Packed
        } else {
            Layout::Split
        }
    }
}

struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Registers {
    fn lock(&self) -> MutexGuard<'_, RegisterState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device can't go on: it asks for a reset, and says so by a configuration
    /// change notification if its driver is up (virtio 1.4 §2.1.2).
    fn fail(&self, failure: DeviceError) {
        let mut registers = self.lock();
        registers.failure = Some(failure);
        let driver = &mut registers.driver;
        driver.status |= Status::DEVICE_NEEDS_RESET;
        let interrupt = driver.config_interrupt.clone();
        let up = driver.status.contains(Status::DRIVER_OK);
        drop(registers);
        if let (true, Some(interrupt)) = (up, interrupt) {
            interrupt.raise();
        }
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
            doorbell: Arc::default(),
            registers: Arc::default(),
            thread: Mutex::new(None),
            config,
        })
    }

    /// Why the device last asked for a reset, if it ever did.
    pub fn failure(&self) -> Option<DeviceError> {
        self.registers.lock().failure
    }

    /// With `VIRTIO_F_NOTIFICATION_DATA`: how many notifications were not believable.
    pub fn false_notifications(&self) -> u64 {
        self.registers.lock().false_notifications
    }

    /// The faults that were injected in the queue's present life, or in its last one.
    pub fn fault_log(&self) -> FaultLog {
        self.registers.lock().fault_log.clone()
    }

    fn offered(&self) -> FeatureBits {
        self.config
            .features
            .union(FeatureBits::VERSION_1)
            .union(FeatureBits::P9_MOUNT_TAG)
    }

    /// Starts to work on the queue if the driver is up, has set it up, and nobody
    /// works on it yet.
    fn start_if_due(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return;
        }
        let up = Status::FEATURES_OK | Status::DRIVER_OK;
        let registers = self.registers.lock();
        let driver = &registers.driver;
        // A device that has failed does nothing until it is reset (virtio 1.4 §2.1).
        let failed = Status::DEVICE_NEEDS_RESET | Status::FAILED;
        let due = driver.status.contains(up) && !driver.status.intersects(failed);
        let Some(setup) = driver.queue.clone().filter(|_| due) else {
            return;
        };
        let (features, layout) = (driver.features, driver.layout());
        drop(registers);
        match self.start(&setup, features, layout) {
            Ok(running) => *thread = Some(running),
            Err(failure) => self.registers.fail(failure),
        }
    }

    fn start(
        &self,
        setup: &QueueSetup,
        features: FeatureBits,
        layout: Layout,
    ) -> Result<Running, DeviceError> {
        let memory = Arc::clone(&self.memory);
        let queue_memory = match layout {
            Layout::Packed => SharedQueueMemory::packed(memory, setup.addresses, setup.size)?,
            Layout::Split => SharedQueueMemory::split(memory, setup.addresses, setup.size)?,
        };
        let queue = DeviceQueue::new(
            layout,
            queue_memory.clone(),
            setup.size,
            Features::from_bits(features),
            self.instrument.clone(),
        )?;
        let queue = FaultyQueue::new(queue, &self.config.faults, RealClock::new());
        self.registers.lock().fault_log = queue.log();
        let doorbell = Arc::clone(&self.doorbell);
        let wake = {
            let doorbell = Arc::clone(&doorbell);
            move || doorbell.call()
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
        let thread = std::thread::Builder::new()
            .name(format!("{}-dev", self.config.name))
            .spawn({
                let stop = Arc::clone(&stop);
                move || {
                    // The driver hears of a failure before the device is taken
                    // down, which waits for requests that are being served.
                    if let Err(failure) = run(&mut device, &doorbell, &stop) {
                        registers.fail(failure);
                    }
                }
            })
            // Without a thread nobody will ever answer: the device is broken.
            .map_err(|_| DeviceError::NoThread)?;
        self.registers.lock().driver.live = Some(NotificationCheck {
            memory: queue_memory,
            layout,
            size: setup.size,
        });
        Ok(Running { stop, thread })
    }

    /// The device lets go of the queue: when this returns, nobody works on it.
    fn stop(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        self.registers.lock().driver.live = None;
        if let Some(running) = thread.take() {
            running.stop.store(true, Ordering::Release);
            self.doorbell.call();
            // A panic in the device was reported by its hook; the reset goes on.
            let _ = running.thread.join();
        }
    }

    fn reset(&self) {
        self.stop();
        self.registers.lock().driver = DriverState::default();
    }
}

/// The device's thread: steps while there is something to do, sleeps until the
/// doorbell rings.
fn run<I: Instrument>(
    device: &mut Virtio9p<I>,
    doorbell: &Doorbell,
    stop: &AtomicBool,
) -> Result<(), DeviceError> {
    while !stop.load(Ordering::Acquire) {
        device.begin_work();
        while device.step()? != Step::Idle {}
        if device.may_sleep() {
            doorbell.sleep(device);
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
        let mut registers = self.registers.lock();
        // What was agreed on stands until the next reset (virtio 1.4 §2.2).
        if !registers.driver.status.contains(Status::FEATURES_OK) {
            registers.driver.features = features;
        }
    }

    fn status(&self) -> Status {
        self.registers.lock().driver.status
    }

    fn set_status(&self, status: Status) {
        if status.is_empty() {
            self.reset();
            return;
        }
        let mut registers = self.registers.lock();
        let driver = &mut registers.driver;
        // Only a reset takes back that the device needs one.
        let failed = driver.status & Status::DEVICE_NEEDS_RESET;
        driver.status = status | failed;
        // Features we did not offer, or no VERSION_1: the bit does not stick
        // (virtio 1.4 §3.1.1, step 6).
        let accepted = driver.features;
        let sound = self.offered().contains(accepted) && accepted.contains(FeatureBits::VERSION_1);
        if !sound {
            driver.status.remove(Status::FEATURES_OK);
        }
        drop(registers);
        self.start_if_due();
    }

    fn config_len(&self) -> usize {
        self.config_space.len()
    }

    fn read_config(&self, offset: usize, into: &mut [u8]) {
        into.fill(0);
        let held = self.config_space.get(offset..).unwrap_or_default();
        let count = held.len().min(into.len());
        into[..count].copy_from_slice(&held[..count]);
    }

    /// Nothing in it can be written.
    fn write_config(&self, _: usize, _: &[u8]) {}

    fn config_generation(&self) -> u32 {
        // The tag never changes.
        0
    }

    fn set_config_interrupt(&self, interrupt: ConfigInterrupt) {
        self.registers.lock().driver.config_interrupt = Some(interrupt);
    }

    fn max_queue_size(&self, index: u16) -> Option<QueueSize> {
        (index == 0).then_some(self.config.max_queue_size)
    }

    fn enable_queue(&self, index: u16, setup: QueueSetup) {
        if index != 0 {
            return;
        }
        let mut registers = self.registers.lock();
        self.instrument.start_generation(setup.generation);
        registers.driver.queue = Some(setup);
        drop(registers);
        self.start_if_due();
    }

    fn queue_enabled(&self, index: u16) -> bool {
        index == 0 && self.registers.lock().driver.queue.is_some()
    }

    fn reset_queue(&self, index: u16) {
        let negotiated = FeatureBits::RING_RESET;
        let allowed = self.registers.lock().driver.features.contains(negotiated);
        if index == 0 && allowed {
            self.stop();
            self.registers.lock().driver.queue = None;
        }
    }

    fn notify(&self, index: u16, notification: AvailableNotification) -> Result<(), NotifyError> {
        let registers = self.registers.lock();
        let driver = &registers.driver;
        if index != 0 || !driver.status.contains(Status::DRIVER_OK) {
            return Err(NotifyError);
        }
        let with_data = driver.features.contains(FeatureBits::NOTIFICATION_DATA);
        let live = driver.live.clone().filter(|_| with_data);
        drop(registers);
        // It is an aid and no more: the ring itself says what is available.
        if live.is_some_and(|live| live.check(notification).is_err()) {
            self.registers.lock().false_notifications += 1;
        }
        self.doorbell.kick();
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
