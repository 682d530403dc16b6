//! A device that writes down what its driver does, and can be made to misbehave.

use std::sync::{Arc, Mutex, MutexGuard};

use virtscope_driver::memory::GuestMemory;
use virtscope_driver::ring::{AvailableNotification, NotifyError, QueueSize};
use virtscope_driver::transport::{ConfigInterrupt, QueueSetup, Status, Transport};
use virtscope_record::FeatureBits;

use crate::rules;

/// What a driver did.
#[expect(dead_code, reason = "some fields are only printed")]
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Reset,
    ReadStatus(Status),
    WriteStatus(Status),
    ReadFeatures,
    WriteFeatures(FeatureBits),
    ReadConfig(usize, usize),
    WriteConfig(usize, Vec<u8>),
    SetConfigInterrupt,
    EnableQueue(u16, QueueSetup),
    ResetQueue(u16),
    ReadQueueEnabled(u16, bool),
    Notify(u16, AvailableNotification),
}

/// How the device behaves, and what it has been told.
pub(crate) struct State {
    pub(crate) device_type: u16,
    pub(crate) vendor: u32,
    pub(crate) offered: FeatureBits,
    pub(crate) transport_features: FeatureBits,
    /// `FEATURES_OK` does not stick.
    pub(crate) refuses: bool,
    /// How many reads it takes until a reset shows; `None`: it never does.
    pub(crate) reset_reads: Option<u32>,
    /// `DRIVER_OK` makes it ask for a reset.
    pub(crate) breaks_down: bool,
    pub(crate) config: Vec<u8>,
    pub(crate) generation: u32,
    /// So many reads of the configuration are overtaken by a change of every byte.
    pub(crate) overtaken: u32,
    /// The largest size of each queue.
    pub(crate) queues: Vec<u16>,
    /// How many reads it takes until a reset of a queue shows; `None`: it never does.
    pub(crate) queue_reset_reads: Option<u32>,
    /// The device is unplugged.
    pub(crate) gone: bool,
    pub(crate) status: Status,
    resetting: u32,
    enabled: Vec<u16>,
    resetting_queue: u32,
    interrupt: Option<ConfigInterrupt>,
    steps: Vec<Step>,
}

/// The device.
pub(crate) struct Recording {
    state: Mutex<State>,
    memory: Arc<GuestMemory>,
}

/// A type that no real device has.
pub(crate) const TYPE: u16 = 0x3f;
pub(crate) const VENDOR: u32 = 0x1af4;

impl Recording {
    /// A device with one queue of 16 that offers `VERSION_1` and these features.
    pub(crate) fn new(offered: FeatureBits) -> Arc<Self> {
        Self::with(|state| state.offered = offered.union(FeatureBits::VERSION_1))
    }

    /// A device that offers `VERSION_1`, adjusted.
    pub(crate) fn with(adjust: impl FnOnce(&mut State)) -> Arc<Self> {
        let mut state = State {
            device_type: TYPE,
            vendor: VENDOR,
            offered: FeatureBits::VERSION_1,
            transport_features: FeatureBits::NOTIFICATION_DATA.union(FeatureBits::RING_RESET),
            refuses: false,
            reset_reads: Some(0),
            breaks_down: false,
            config: (0..64).collect(),
            generation: 0,
            overtaken: 0,
            queues: vec![16],
            queue_reset_reads: Some(0),
            gone: false,
            status: Status::empty(),
            resetting: 0,
            enabled: Vec::new(),
            resetting_queue: 0,
            interrupt: None,
            steps: Vec::new(),
        };
        adjust(&mut state);
        Arc::new(Self {
            state: Mutex::new(state),
            memory: Arc::new(GuestMemory::new(16)),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What was done so far. The rules that hold at every moment are checked.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let steps = self.state().steps.clone();
        rules::check(&steps);
        steps
    }

    /// What the driver was told of its queue, at the last enabling.
    pub(crate) fn last_setup(&self) -> QueueSetup {
        let steps = self.steps();
        let setups = steps.into_iter().filter_map(|step| match step {
            Step::EnableQueue(_, setup) => Some(setup),
            _ => None,
        });
        setups.last().unwrap()
    }

    /// The notifications so far.
    pub(crate) fn notifications(&self) -> Vec<(u16, AvailableNotification)> {
        let steps = self.steps().into_iter();
        let notifications = steps.filter_map(|step| match step {
            Step::Notify(index, notification) => Some((index, notification)),
            _ => None,
        });
        notifications.collect()
    }

    /// Sends a configuration change notification, after a change if there is one.
    pub(crate) fn interrupt(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let interrupt = state.interrupt.clone();
        drop(state);
        interrupt.unwrap().raise();
    }
}

impl Transport for Recording {
    fn device_type(&self) -> u16 {
        self.state().device_type
    }
    fn vendor(&self) -> u32 {
        self.state().vendor
    }
    fn transport_features(&self) -> FeatureBits {
        self.state().transport_features
    }
    fn device_features(&self) -> FeatureBits {
        let mut state = self.state();
        state.steps.push(Step::ReadFeatures);
        state.offered
    }
    fn set_driver_features(&self, features: FeatureBits) {
        self.state().steps.push(Step::WriteFeatures(features));
    }
    fn status(&self) -> Status {
        let mut state = self.state();
        if state.resetting > 0 {
            state.resetting -= 1;
            if state.resetting == 0 {
                state.status = Status::empty();
            }
        }
        let status = state.status;
        state.steps.push(Step::ReadStatus(status));
        status
    }
    fn set_status(&self, status: Status) {
        let mut state = self.state();
        if status.is_empty() {
            state.steps.push(Step::Reset);
            state.enabled.clear();
            state.interrupt = None;
            match state.reset_reads {
                Some(0) => state.status = status,
                Some(reads) => state.resetting = reads,
                None => {}
            }
            return;
        }
        state.steps.push(Step::WriteStatus(status));
        state.status = status;
        if state.refuses {
            state.status.remove(Status::FEATURES_OK);
        }
        if state.breaks_down && status.contains(Status::DRIVER_OK) {
            state.status |= Status::DEVICE_NEEDS_RESET;
        }
    }
    fn config_len(&self) -> usize {
        self.state().config.len()
    }
    fn read_config(&self, offset: usize, into: &mut [u8]) {
        let mut state = self.state();
        state.steps.push(Step::ReadConfig(offset, into.len()));
        // Byte by byte, as on a bus that has no wider accesses.
        for (i, byte) in into.iter_mut().enumerate() {
            if i > 0 && state.overtaken > 0 {
                state.overtaken -= 1;
                state.generation += 1;
                for byte in &mut state.config {
                    *byte = byte.wrapping_add(1);
                }
            }
            *byte = state.config.get(offset + i).copied().unwrap_or(0);
        }
    }
    fn write_config(&self, offset: usize, from: &[u8]) {
        let mut state = self.state();
        state.steps.push(Step::WriteConfig(offset, from.to_vec()));
        state.config[offset..offset + from.len()].copy_from_slice(from);
    }
    fn config_generation(&self) -> u32 {
        self.state().generation
    }
    fn set_config_interrupt(&self, interrupt: ConfigInterrupt) {
        let mut state = self.state();
        state.steps.push(Step::SetConfigInterrupt);
        state.interrupt = Some(interrupt);
    }
    fn max_queue_size(&self, index: u16) -> Option<QueueSize> {
        let state = self.state();
        let size = *state.queues.get(usize::from(index))?;
        Some(QueueSize::new(size).unwrap())
    }
    fn enable_queue(&self, index: u16, setup: QueueSetup) {
        let mut state = self.state();
        state.steps.push(Step::EnableQueue(index, setup));
        state.enabled.push(index);
    }
    fn queue_enabled(&self, index: u16) -> bool {
        let mut state = self.state();
        if state.resetting_queue > 0 {
            state.resetting_queue -= 1;
            if state.resetting_queue == 0 {
                state.enabled.retain(|enabled| *enabled != index);
            }
        }
        let enabled = state.enabled.contains(&index);
        state.steps.push(Step::ReadQueueEnabled(index, enabled));
        enabled
    }
    fn reset_queue(&self, index: u16) {
        let mut state = self.state();
        state.steps.push(Step::ResetQueue(index));
        match state.queue_reset_reads {
            Some(0) => state.enabled.retain(|enabled| *enabled != index),
            Some(reads) => state.resetting_queue = reads,
            None => {}
        }
    }
    fn notify(&self, index: u16, notification: AvailableNotification) -> Result<(), NotifyError> {
        let mut state = self.state();
        if state.gone {
            return Err(NotifyError);
        }
        state.steps.push(Step::Notify(index, notification));
        Ok(())
    }
    fn memory(&self) -> &Arc<GuestMemory> {
        &self.memory
    }
}
