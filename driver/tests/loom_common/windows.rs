//! The windows in which the two halves, or two threads of one, could miss each
//! other. Where one side goes to sleep, the question is always the same: when it has
//! decided to sleep and the other that nobody needs to be woken, is there work left?

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loom::sync::Notify;
use loom::sync::atomic::AtomicBool;
use loom::thread;

use super::{CARRIED, Device, Driver, Plan};

/// The driver makes buffers available, in `groups` of so many at a time with a
/// kick decision behind each, while the device takes them and goes to sleep.
pub(crate) fn kicks(plan: Plan, groups: &'static [u64]) {
    plan.check(move || {
        let (mut driver, mut device) = plan.ring();
        device.queue.disable_kicks();
        let device = thread::spawn(move || {
            loop {
                while device.serve(1) {}
                if device.queue.enable_kicks() {
                    return device;
                }
                device.queue.disable_kicks();
            }
        });
        let mut decisions = Vec::new();
        for count in groups {
            driver.offer(*count);
            decisions.push((driver.offered, driver.queue.kick_prepare()));
        }
        let mut device = device.join().unwrap();
        let asleep_at = device.returned;
        assert!(
            asleep_at == driver.offered || woken(&decisions, asleep_at),
            "a kick was lost: asleep at {asleep_at}, kicks {decisions:?}"
        );
        // What wakes the device finds all its work.
        while device.serve(1) {}
        assert_eq!(device.returned, driver.offered, "work was hidden");
        take_all(&mut driver);
    });
}

/// How the driver goes to sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sleep {
    /// With interrupts all the time, as soon as there is no used buffer.
    CallbacksOn,
    /// Without interrupts until `enable_callbacks` finds no used buffer.
    Enable,
    /// Without interrupts until `poll` after `enable_callbacks_prepare` finds none.
    PrepareAndPoll,
    /// Without interrupts until `enable_callbacks_delayed` finds too few.
    Delayed,
}

impl Sleep {
    /// Whether the driver may sleep now.
    fn try_it(self, driver: &mut Driver) -> bool {
        match self {
            Self::CallbacksOn => true,
            Self::Enable => driver.queue.enable_callbacks(),
            Self::PrepareAndPoll => {
                let since = driver.queue.enable_callbacks_prepare();
                !driver.queue.handle().poll(since)
            }
            Self::Delayed => driver.queue.enable_callbacks_delayed(),
        }
    }
}

/// The device returns what the ring holds, in `groups` with a decision behind
/// each, while the driver takes it and goes to sleep.
pub(crate) fn interrupts(plan: Plan, groups: &'static [u64], sleep: Sleep) {
    plan.check(move || {
        let (mut driver, mut device) = plan.ring();
        driver.offer(groups.iter().sum());
        if sleep != Sleep::CallbacksOn {
            driver.queue.disable_callbacks();
        }
        let device = thread::spawn(move || {
            let mut decisions = Vec::new();
            for count in groups {
                assert!(device.serve(*count), "work was hidden");
                decisions.push((device.returned, device.queue.should_interrupt()));
            }
            decisions
        });
        loop {
            while driver.take() {}
            if sleep.try_it(&mut driver) {
                break;
            }
            driver.queue.disable_callbacks();
        }
        let asleep_at = driver.taken;
        let decisions = device.join().unwrap();
        assert!(
            asleep_at == driver.offered || woken(&decisions, asleep_at),
            "an interrupt was lost: asleep at {asleep_at}, interrupts {decisions:?}"
        );
        take_all(&mut driver);
    });
}

/// Both at once: `buffers` go there and back, one after the other, and each side
/// sleeps for want of work until it is woken. Loom fails when both sleep.
pub(crate) fn conversation(plan: Plan, buffers: u64) {
    plan.check(move || {
        let (mut driver, mut device) = plan.ring();
        let (doorbell, interrupt) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (ring, raise) = (Arc::clone(&doorbell), Arc::clone(&interrupt));
        let last = CARRIED + buffers;
        let device = thread::spawn(move || serve_asleep(&mut device, last, &doorbell, &raise));
        while driver.taken < last {
            driver.offer(1);
            if driver.queue.kick_prepare() {
                ring.notify();
            }
            while !driver.take() {
                if driver.queue.enable_callbacks() {
                    interrupt.wait();
                }
                driver.queue.disable_callbacks();
            }
        }
        device.join().unwrap();
    });
}

/// The device of a conversation, until it has returned `last` buffers.
fn serve_asleep(device: &mut Device, last: u64, doorbell: &Notify, raise: &Notify) {
    loop {
        while device.serve(1) {
            if device.queue.should_interrupt() {
                raise.notify();
            }
        }
        if device.returned == last {
            return;
        }
        if device.queue.enable_kicks() {
            doorbell.wait();
        }
        device.queue.disable_kicks();
    }
}

/// The handler of interrupts asks for no more of them, beside the queue, and has the
/// driver look; the driver meanwhile takes buffers and goes to sleep. Whichever
/// wish is the last to reach memory, there is a look after it.
pub(crate) fn disabled_beside(plan: Plan, groups: &'static [u64], sleep: Sleep) {
    plan.check(move || {
        let (mut driver, mut device) = plan.ring();
        driver.offer(groups.iter().sum());
        let handle = driver.queue.handle();
        let look = Arc::new(AtomicBool::new(false));
        let have_it_look = Arc::clone(&look);
        let device = thread::spawn(move || {
            for count in groups {
                assert!(device.serve(*count), "work was hidden");
                if device.queue.should_interrupt() {
                    handle.disable_callbacks();
                    have_it_look.swap(true, Ordering::AcqRel);
                }
            }
        });
        loop {
            look.swap(false, Ordering::AcqRel);
            while driver.take() {}
            if sleep.try_it(&mut driver) && !look.load(Ordering::Acquire) {
                break;
            }
        }
        device.join().unwrap();
        assert!(
            driver.taken == driver.offered || look.swap(false, Ordering::AcqRel),
            "an interrupt was lost: asleep at {}",
            driver.taken
        );
        take_all(&mut driver);
    });
}

/// The driver takes buffers and offers new ones in their place, while the device
/// returns them, in `groups`, and says so each time to whoever handles interrupts.
/// That one is told that an interrupt was spurious only if really nothing was left.
pub(crate) fn spurious(plan: Plan, groups: &'static [u64]) {
    plan.check(move || {
        let (mut driver, mut device) = plan.ring();
        driver.offer(groups.iter().sum());
        let handle = driver.queue.handle();
        // Buffers that the driver has taken or is just taking. No part of the model:
        // loom does not watch it, and nothing depends on it.
        let taken = Arc::new(AtomicU64::new(driver.taken));
        let taken_there = Arc::clone(&taken);
        let device = thread::spawn(move || {
            for count in groups {
                assert!(device.serve(*count), "work was hidden");
                if !handle.interrupt() {
                    let taken = taken_there.load(Ordering::SeqCst);
                    assert!(
                        device.returned <= taken,
                        "called spurious with {} returned, {taken} taken",
                        device.returned
                    );
                }
            }
        });
        for _ in 0..2 {
            taken.fetch_add(1, Ordering::SeqCst);
            if driver.take() {
                driver.offer(1);
            } else {
                taken.fetch_sub(1, Ordering::SeqCst);
            }
        }
        device.join().unwrap();
    });
}

/// Once something was used, `poll` says so beside a driver that takes it and offers
/// a new buffer in its place.
pub(crate) fn polled_beside(plan: Plan) {
    plan.check(move || {
        let (mut driver, mut device) = plan.ring();
        driver.offer(1);
        let handle = driver.queue.handle();
        let since = driver.queue.enable_callbacks_prepare();
        let device = thread::spawn(move || {
            assert!(device.serve(1), "work was hidden");
            assert!(handle.poll(since), "a used buffer was not seen");
        });
        if driver.take() {
            driver.offer(1);
        }
        device.join().unwrap();
    });
}

/// Someone notifies beside the driver that makes buffers available, in `groups`: what the
/// notification says was made available, the device sees.
pub(crate) fn notified_beside(plan: Plan, groups: &'static [u64]) {
    plan.check(move || {
        let (mut driver, device) = plan.ring();
        let handle = driver.queue.handle();
        let notifier = thread::spawn(move || {
            for _ in groups {
                handle.notify().expect("the device is there");
            }
        });
        for count in groups {
            driver.offer(*count);
        }
        notifier.join().unwrap();
        drop(device);
    });
}

/// Whether a decision to notify came behind any buffer from number `from` on.
fn woken(decisions: &[(u64, bool)], from: u64) -> bool {
    decisions
        .iter()
        .any(|(behind, notify)| *behind > from && *notify)
}

fn take_all(driver: &mut Driver) {
    while driver.take() {}
    assert_eq!(driver.taken, driver.offered, "work was hidden");
}
