//! A limit on the descriptors that clients can make the server hold.
//!
//! Every fid that is walked to and every file that is opened costs the process
//! a descriptor. Without a limit a client could take them all, and then the
//! rest of the program could not open so much as its capture file.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// The most descriptors a server holds by itself, however many the process may.
const CEILING: usize = 65_536;

/// Descriptors that may still be taken.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicUsize,
}

/// The right to hold one descriptor; gives it back when dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<Budget>);

impl Budget {
    /// A budget of `limit` descriptors.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(limit),
        })
    }

    /// A quarter of what the process may open (`RLIMIT_NOFILE`): two servers
    /// in one program still leave it half.
    pub(super) fn of_process() -> usize {
        getrlimit(Resource::Nofile)
            .current
            .and_then(|soft| usize::try_from(soft / 4).ok())
            .map_or(CEILING, |quarter| quarter.min(CEILING))
    }

    /// Takes one descriptor's worth.
    ///
    /// # Errors
    /// `EMFILE` when none is left.
    pub(super) fn take(self: &Arc<Self>) -> Result<Permit, Errno> {
        // Relaxed: the count guards no other memory.
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .map(|_| Permit(Arc::clone(self)))
            .map_err(|_| Errno::MFILE)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.left.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_comes_back_when_it_is_dropped() {
        let budget = Budget::new(2);
        let first = budget.take().expect("two left");
        let second = budget.take().expect("one left");
        assert_eq!(budget.take().err(), Some(Errno::MFILE));
        drop(first);
        let third = budget.take().expect("one came back");
        assert_eq!(budget.take().err(), Some(Errno::MFILE));
        drop((second, third));
        assert_eq!(budget.left.load(Ordering::Relaxed), 2);
    }
}
