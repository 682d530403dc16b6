//! SIGINT, SIGTERM and SIGHUP ask the program to end; a later one insists.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use virtscope_tracer::trace::drop_privileges;

use crate::{demo, screen};

/// What asks the program to end.
const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];
/// The exit code when a second signal insists: 128 + SIGINT, as shells have it.
const INSISTED: i32 = 130;
/// Signals closer together are one wish: a shell or `timeout` may send one to
/// the process and one to its group.
const ONE_WISH: Duration = Duration::from_millis(500);

/// A flag that the first signal sets. A later one ends the program at once, for
/// when a file system or the reader of a pipe never answers; a capture then ends
/// where it is, and can be read up to there.
///
/// # Errors
/// What the system says to the handlers or to the thread that waits for them.
pub(crate) fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    stop_flag_after(|| Ok(()))
}

/// The same, where this process is about to give up its privileges: the thread that waits
/// for signals does at once.
///
/// # Errors
/// As for [`stop_flag`], or the thread cannot give them up.
pub(crate) fn stop_flag_without_privileges() -> io::Result<Arc<AtomicBool>> {
    stop_flag_after(|| drop_privileges(false))
}

fn stop_flag_after(
    prepare: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let mut signals = Signals::new(SIGNALS)?;
    let (prepared, is_prepared) = mpsc::channel();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let outcome = prepare();
            let failed = outcome.is_err();
            if prepared.send(outcome).is_err() || failed {
                return;
            }
            let mut first: Option<Instant> = None;
            for _ in signals.forever() {
                flag.store(true, Ordering::Release);
                if first.get_or_insert_with(Instant::now).elapsed() > ONE_WISH {
                    screen::give_back();
                    demo::remove_scratch();
                    std::process::exit(INSISTED);
                }
            }
        })?;
    is_prepared.recv().map_err(io::Error::other)??;
    // By the handler itself, too: what a signal interrupts sees at once that there was one.
    for signal in SIGNALS {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_keeps_its_privileges_is_an_error() {
        let refuse = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let error = stop_flag_after(refuse).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
