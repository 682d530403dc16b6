//! What is told while tracing begins, and to whom.

use virtscope_tracer::trace::{Found, Progress};

use crate::commands::complain;
use crate::screen;

/// Whoever is told how it goes, by several threads.
pub(in crate::commands) trait Listener: Sync {
    /// These queues are there. Nothing is attached yet.
    fn found(&self, queues: &[Found]);

    /// So many programs are loaded or attached.
    fn progress(&self, _: Progress) {}

    /// All is attached, and these queues were there when that was done.
    fn attached(&self, _: &[Found]) {}

    /// What the user has to know, in one line.
    fn say(&self, message: &str);
}

/// Standard error, where no screen is shown.
pub(in crate::commands) struct OnStderr;

impl Listener for OnStderr {
    fn found(&self, queues: &[Found]) {
        let mut devices: Vec<u16> = queues.iter().map(|queue| queue.id.device).collect();
        devices.dedup();
        // Where there is none, that is said when all is attached: some may come meanwhile.
        if !queues.is_empty() {
            let found = screen::counted(queues.len(), devices.len());
            complain(&format!("{found} found; attaching the programs"));
        }
    }

    fn say(&self, message: &str) {
        complain(message);
    }
}
