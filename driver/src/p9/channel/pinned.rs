//! How many pages of its callers the driver holds for zero-copy requests.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::super::interrupt::Wake;

/// Pages pinned by all channels of a driver (Linux `vp_pinned`), and who waits for some
/// to be let go (`vp_wq`).
#[derive(Debug, Default)]
pub(in super::super) struct Pinned {
    pages: Mutex<usize>,
    changed: Condvar,
}

/// Pages that one request has pinned; dropping it lets them go.
#[derive(Debug)]
pub(super) struct Pin {
    of: Arc<Pinned>,
    pages: usize,
}

impl Pinned {
    /// Pins `pages` once fewer than `limit` are (Linux `p9_get_mapped_pages`): a request
    /// may so go beyond the limit, by itself, but the next one waits. `None` if `go_on`
    /// ends first, which is asked before each sleep.
    pub(super) fn pin(
        self: &Arc<Self>,
        pages: usize,
        limit: usize,
        go_on: impl Fn() -> bool,
    ) -> Option<Pin> {
        let mut pinned = self.lock();
        // A limit of none would let nobody in, ever.
        while *pinned >= limit.max(1) {
            if !go_on() {
                return None;
            }
            pinned = self
                .changed
                .wait(pinned)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *pinned += pages;
        Some(Pin {
            of: Arc::clone(self),
            pages,
        })
    }

    /// How many there are now.
    pub(in super::super) fn pages(&self) -> usize {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Pinned {
    fn wake(&self) {
        let _pinned = self.lock();
        self.changed.notify_all();
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        *self.of.lock() -= self.pages;
        self.of.changed.notify_all();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[rstest]
    #[timeout(std::time::Duration::from_secs(60))]
    fn the_next_one_waits_until_pages_are_let_go() {
        let pinned = Arc::new(Pinned::default());
        let always = || true;
        let first = pinned.pin(3, 4, always).unwrap();
        let beyond = pinned.pin(9, 4, always).unwrap();
        assert_eq!(pinned.pages(), 12);
        assert!(
            pinned.pin(1, 4, || false).is_none(),
            "nobody waits for ever"
        );
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pinned.pin(1, 4, always).unwrap().pages);
            drop(beyond);
            assert_eq!(waiting.join().unwrap(), 1);
        });
        assert_eq!(pinned.pages(), 3);
        drop(first);
        assert_eq!(pinned.pages(), 0);
        assert!(pinned.pin(1, 0, || false).is_some());
    }

    #[rstest]
    #[timeout(std::time::Duration::from_secs(60))]
    fn who_waits_can_be_called_off() {
        let pinned = Arc::new(Pinned::default());
        let _held = pinned.pin(2, 1, || true).unwrap();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pinned.pin(1, 1, || !ended.load(Ordering::SeqCst)));
            ended.store(true, Ordering::SeqCst);
            pinned.wake();
            assert!(waiting.join().unwrap().is_none());
        });
    }
}
