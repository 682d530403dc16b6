//! SIGINT, SIGTERM and SIGHUP ask the program to end; a later one insists.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::{demo, screen};

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
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let flag = Arc::clone(&stop);
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
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
    Ok(stop)
}
