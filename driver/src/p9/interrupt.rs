//! Ending a wait from outside, as a signal does to a thread in the kernel.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What a thread may be asleep at.
pub(super) trait Wake: Send + Sync {
    /// Has all who sleep here look again whether they should.
    fn wake(&self);
}

/// Interrupts requests (Linux: a signal, `-ERESTARTSYS`). Clones are the same one; any
/// thread may raise it, before or during the wait.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Shared>);

#[derive(Default)]
struct Shared {
    raised: AtomicBool,
    sleeping: Mutex<Vec<Weak<dyn Wake>>>,
}

impl Interrupt {
    /// One that was not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the waits of those who were given it, and of those who will be.
    pub fn raise(&self) {
        self.0.raised.store(true, Ordering::SeqCst);
        // Outside the lock: who is woken may want it to sign off.
        let sleeping = self.sleeping().clone();
        for place in sleeping.iter().filter_map(Weak::upgrade) {
            place.wake();
        }
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::SeqCst)
    }

    /// Has raising it wake who sleeps at `place`, as long as what this returns lives.
    /// Whoever sleeps there looks at [`is_raised`](Self::is_raised) under that place's
    /// lock before each sleep.
    pub(super) fn attend(&self, place: Weak<dyn Wake>) -> Attendance<'_> {
        self.sleeping().push(Weak::clone(&place));
        Attendance { of: self, place }
    }

    fn sleeping(&self) -> MutexGuard<'_, Vec<Weak<dyn Wake>>> {
        self.0
            .sleeping
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupt")
            .field("raised", &self.is_raised())
            .finish_non_exhaustive()
    }
}

/// See [`Interrupt::attend`].
pub(super) struct Attendance<'a> {
    of: &'a Interrupt,
    place: Weak<dyn Wake>,
}

impl Drop for Attendance<'_> {
    fn drop(&mut self) {
        let mut sleeping = self.of.sleeping();
        if let Some(at) = sleeping.iter().position(|each| each.ptr_eq(&self.place)) {
            sleeping.swap_remove(at);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::completion::Completion;
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[timeout(std::time::Duration::from_secs(60))]
    fn whoever_waits_or_will_wait_is_woken() {
        let interrupt = Interrupt::new();
        let place: Arc<Completion<u32>> = Arc::new(Completion::new());
        let wait = || {
            let weak = Arc::downgrade(&place) as Weak<dyn Wake>;
            let _attendance = interrupt.attend(weak);
            place.wait_while(|| !interrupt.is_raised())
        };
        std::thread::scope(|scope| {
            let waiting = scope.spawn(wait);
            interrupt.raise();
            assert_eq!(waiting.join().unwrap(), None);
        });
        assert_eq!(wait(), None, "it stays raised");
        place.complete(7);
        assert_eq!(wait(), Some(7), "an end that is known is no wait");
        assert!(interrupt.sleeping().is_empty(), "all have signed off");
    }
}
