//! A device's half of a virtqueue that goes wrong as planned.

use std::collections::BTreeSet;
use std::time::Duration;

use virtscope_driver::instrument::Instrument;
use virtscope_driver::memory::QueueMemory;

use super::dice::{Dice, Hit};
use super::returns::Returns;
use super::{Clock, FaultKind, FaultLog, Faults};
use crate::queue::{Chain, DeviceQueue, DriverFault};

/// A [`DeviceQueue`] that goes wrong as a plan says. It is used in the same way,
/// and with an empty plan does the same.
///
/// What a device must do beside:
/// - sleep no longer than [`next_due`](Self::next_due) says;
/// - ask [`kicked`](Self::kicked) about each kick, and sleep on if it was lost;
/// - raise an interrupt whenever [`should_interrupt`](Self::should_interrupt)
///   says so, and ask it for as long as
///   [`returned_unsignalled`](Self::returned_unsignalled) is not 0;
/// - look at [`needs_reset`](Self::needs_reset).
#[derive(Debug)]
pub struct FaultyQueue<M, I> {
    pub(super) queue: DeviceQueue<M, I>,
    clock: Box<dyn Clock>,
    dice: Dice,
    pub(super) returns: Returns,
    /// Ids of the buffers that were taken and not returned.
    pub(super) held: BTreeSet<u16>,
    /// Returned once, to be returned again when that has really happened.
    pub(super) twins: Vec<(Chain, u32)>,
    /// Something is in the ring that is not visible yet.
    pub(super) staged: bool,
    /// Interrupts that faults want, now and later.
    interrupts: u32,
    late_interrupts: Vec<Duration>,
    /// The device sleeps, or has just been woken.
    asleep: bool,
    ignores_kick: bool,
    /// It takes no buffers until then.
    stopped: Option<Until>,
    pub(super) needs_reset: bool,
}

#[derive(Clone, Copy, Debug)]
enum Until {
    Time(Duration),
    Reset,
}

impl Until {
    fn of(hit: Hit, now: Duration) -> Self {
        hit.time
            .map_or(Self::Reset, |time| Self::Time(now.saturating_add(time)))
    }
}

impl<M: QueueMemory, I: Instrument> FaultyQueue<M, I> {
    /// `queue`, which has not been used yet, with these faults. The plan begins
    /// afresh with every queue.
    pub fn new(queue: DeviceQueue<M, I>, plan: &Faults, clock: impl Clock + 'static) -> Self {
        let mut dice = Dice::new(plan);
        let now = clock.now();
        let start = dice.occasion(FaultKind::SlowStart, now, None);
        Self {
            queue,
            clock: Box::new(clock),
            dice,
            returns: Returns::default(),
            held: BTreeSet::new(),
            twins: Vec::new(),
            staged: false,
            interrupts: 0,
            late_interrupts: Vec::new(),
            asleep: false,
            ignores_kick: false,
            stopped: start.map(|hit| Until::of(hit, now)),
            needs_reset: false,
        }
    }

    /// The faults that happened so far.
    pub fn log(&self) -> FaultLog {
        self.dice.log().clone()
    }

    /// The queue's memory.
    pub fn memory(&self) -> &M {
        self.queue.memory()
    }

    /// Whether the device is to set `DEVICE_NEEDS_RESET` (virtio 1.4 §2.1.2). The
    /// queue does nothing any more.
    pub fn needs_reset(&self) -> bool {
        self.needs_reset
    }

    /// How long until something is due that was held up; `None` if nothing is. A
    /// device that sleeps must be awake by then.
    pub fn next_due(&self) -> Option<Duration> {
        if self.needs_reset {
            return None;
        }
        let started = match self.stopped {
            Some(Until::Time(time)) => Some(time),
            _ => None,
        };
        let interrupts = self.late_interrupts.iter().copied();
        let due = interrupts.chain(self.returns.next_due()).chain(started);
        Some(due.min()?.saturating_sub(self.clock.now()))
    }

    /// Does what has become due. The other operations begin with it.
    pub fn advance(&mut self) {
        if self.dice.is_empty() || self.needs_reset {
            return;
        }
        let now = self.clock.now();
        let due = self.late_interrupts.extract_if(.., |due| *due <= now);
        self.interrupts = self.interrupts.saturating_add(due.count() as u32);
        if let Some(Until::Time(time)) = self.stopped
            && time <= now
        {
            self.stopped = None;
        }
        // The window first: what comes into it only now waits its own time.
        let mut due = self.returns.window_due(now);
        for back in self.returns.due(now) {
            due.extend(self.pass_window(now, back));
        }
        if !due.is_empty() {
            due.into_iter().for_each(|back| self.emit(back));
            self.publish();
        }
    }

    /// A kick has come: whether the device is to know of it. Counts for
    /// [`FaultKind::LoseKick`].
    pub fn kicked(&mut self) -> bool {
        self.advance();
        !self.needs_reset && self.happens(FaultKind::LoseKick, None).is_none()
    }

    /// See [`DeviceQueue::take`].
    ///
    /// # Errors
    /// The driver broke a rule; the entry stays where it is.
    pub fn take(&mut self) -> Result<Option<Chain>, DriverFault> {
        let mut chain = Chain::default();
        Ok(self.take_into(&mut chain)?.then_some(chain))
    }

    /// See [`DeviceQueue::take_into`].
    ///
    /// # Errors
    /// As for `take`.
    pub fn take_into(&mut self, chain: &mut Chain) -> Result<bool, DriverFault> {
        if self.dice.is_empty() {
            return self.queue.take_into(chain);
        }
        self.advance();
        if std::mem::take(&mut self.asleep) {
            self.ignores_kick = self.happens(FaultKind::IgnoreKick, None).is_some();
        }
        if !self.consumes() || !self.queue.take_into(chain)? {
            return Ok(false);
        }
        self.held.insert(chain.id);
        let number = Some(chain.number);
        if self.happens(FaultKind::SpuriousInterrupt, number).is_some() {
            self.interrupts = self.interrupts.saturating_add(1);
        }
        if let Some(hit) = self.happens(FaultKind::StopConsuming, number) {
            self.stopped = Some(Until::of(hit, self.clock.now()));
        }
        if self.happens(FaultKind::NeedsReset, number).is_some() {
            self.needs_reset = true;
        }
        Ok(true)
    }

    /// See [`DeviceQueue::put_used`].
    pub fn put_used(&mut self, chain: &Chain, written: u32) {
        self.stage_used(chain, written);
        self.publish_used();
    }

    /// See [`DeviceQueue::stage_used`]. A buffer that is lied about is visible at
    /// once, with those before it.
    pub fn stage_used(&mut self, chain: &Chain, written: u32) {
        if self.dice.is_empty() {
            self.queue.stage_used(chain, written);
            return;
        }
        self.advance();
        let number = Some(chain.number);
        if self.needs_reset || self.happens(FaultKind::NeverReturn, number).is_some() {
            return;
        }
        let back = self.twist(chain, written);
        let now = self.clock.now();
        if let Some(hit) = self.happens(FaultKind::Delay, number) {
            if let Some(time) = hit.time {
                self.returns.hold(now.saturating_add(time), back);
            }
            return;
        }
        for back in self.pass_window(now, back) {
            self.emit(back);
        }
    }

    /// See [`DeviceQueue::publish_used`].
    pub fn publish_used(&mut self) {
        if self.dice.is_empty() {
            self.queue.publish_used();
        } else {
            self.publish();
        }
    }

    /// See [`DeviceQueue::should_interrupt`].
    pub fn should_interrupt(&mut self) -> bool {
        if self.dice.is_empty() {
            return self.queue.should_interrupt();
        }
        self.advance();
        if self.needs_reset {
            return false;
        }
        if self.interrupts > 0 && self.queue.returned_unsignalled() == 0 {
            self.interrupts -= 1;
            return true;
        }
        if let Some(hit) = self.happens(FaultKind::StormInterrupts, None) {
            self.interrupts = self.interrupts.saturating_add(hit.amount as u32);
        }
        if !self.queue.should_interrupt() {
            return false;
        }
        let dropped = self.happens(FaultKind::DropInterrupt, None).is_some();
        let late = self.happens(FaultKind::LateInterrupt, None);
        if let Some(hit) = late.filter(|_| !dropped) {
            let now = self.clock.now();
            let due = hit.time.map(|time| now.saturating_add(time));
            self.late_interrupts.extend(due);
        }
        !dropped && late.is_none()
    }

    /// See [`DeviceQueue::returned_unsignalled`]; interrupts that faults want count
    /// as buffers.
    pub fn returned_unsignalled(&self) -> u32 {
        if self.needs_reset {
            return 0;
        }
        let returned = self.queue.returned_unsignalled();
        returned.saturating_add(self.interrupts)
    }

    /// See [`DeviceQueue::disable_kicks`].
    pub fn disable_kicks(&mut self) {
        if !self.needs_reset {
            self.queue.disable_kicks();
        }
    }

    /// See [`DeviceQueue::enable_kicks`]; also `false` if there is an interrupt to
    /// decide on, which may be new: what was held up comes at any time.
    pub fn enable_kicks(&mut self) -> bool {
        if self.dice.is_empty() {
            return self.queue.enable_kicks();
        }
        if self.needs_reset {
            return true;
        }
        self.advance();
        let forgets = self.happens(FaultKind::ForgetKicks, None).is_some();
        let idle = forgets || self.queue.enable_kicks() || !self.consumes();
        if !idle || self.returned_unsignalled() > 0 {
            return false;
        }
        self.asleep = true;
        self.ignores_kick = false;
        true
    }

    pub(super) fn happens(&mut self, kind: FaultKind, buffer: Option<u64>) -> Option<Hit> {
        self.dice.occasion(kind, self.clock.now(), buffer)
    }

    fn consumes(&self) -> bool {
        !self.needs_reset && !self.ignores_kick && self.stopped.is_none()
    }
}
