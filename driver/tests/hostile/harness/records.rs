//! An instrument that reads all it is given, as one would that writes a capture.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use virtscope_driver::instrument::{Event, Instrument, Payload};
use virtscope_record::{Body, Flags, Generation, Timestamp};

/// Counts the used entries that broke a queue, by their records.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    broken: Arc<AtomicUsize>,
}

impl Tally {
    /// How many there were since the last reset.
    pub(crate) fn broken(&self) -> usize {
        self.broken.load(Ordering::Relaxed)
    }

    /// A reset made the queue whole.
    pub(crate) fn mend(&self) {
        self.broken.store(0, Ordering::Relaxed);
    }
}

impl Instrument for Tally {
    const ENABLED: bool = true;

    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn emit(&self, event: Event, payload: Payload<'_>) {
        let mut bytes = [0; 64];
        let len = payload.len().min(bytes.len());
        assert!(
            payload.copy_to(&mut bytes[..len]),
            "a payload outside guest memory"
        );
        if matches!(event.body, Body::Used(_)) && event.flags.contains(Flags::BROKEN) {
            self.broken.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn start_generation(&self, _: Generation) {}
}
