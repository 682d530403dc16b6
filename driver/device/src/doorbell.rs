//! What wakes a device's thread.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use virtscope_driver::event::Signal;
use virtscope_driver::instrument::Instrument;

use crate::virtio9p::Virtio9p;

/// The driver's kicks and the calls of the device's own threads. They ring the
/// same bell and are told apart, because a fault can make a kick get lost.
#[derive(Default, Debug)]
pub(crate) struct Doorbell {
    signal: Signal,
    kicks: AtomicU32,
    called: AtomicBool,
}

impl Doorbell {
    /// A kick of the driver's.
    pub(crate) fn kick(&self) {
        self.kicks.fetch_add(1, Ordering::Relaxed);
        // What was counted is seen by whom this wakes: it goes through a mutex.
        self.signal.set();
    }

    /// There is something to do that no driver kicks for.
    pub(crate) fn call(&self) {
        self.called.store(true, Ordering::Relaxed);
        self.signal.set();
    }

    /// Sleeps until there is a call, a kick that reaches the device, or something
    /// that a fault held up is due.
    pub(crate) fn sleep<I: Instrument>(&self, device: &mut Virtio9p<I>) {
        loop {
            match device.next_due() {
                None => self.signal.wait(),
                Some(longest) => {
                    if !self.signal.wait_timeout(longest) {
                        return;
                    }
                }
            }
            // Each is told to the device, also those behind the first it hears.
            let mut heard = self.called.swap(false, Ordering::Relaxed);
            for _ in 0..self.kicks.swap(0, Ordering::Relaxed) {
                heard |= device.kicked();
            }
            if heard {
                return;
            }
        }
    }
}
