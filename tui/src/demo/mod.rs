//! The demo: the reference driver mounts a real directory through an in-process
//! virtio-9p device and works on it, and every ring operation is recorded.

mod housekeeping;
mod mounts;
pub mod scenario;
mod scratch;
mod tempo;
mod workload;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use virtscope_analyzer::Options;
use virtscope_device::p9::Access;
use virtscope_driver::instrument::live::{Hub, Probe};
use virtscope_driver::p9::client::{Client, ClientError};
use virtscope_driver::p9::message::Type;

use crate::recorder::{Limits, Output, RecordError, Recorded, Recorder, Shared};
use mounts::{Device, Machine};
use scratch::Scratch;
use tempo::Tempo;
use workload::{Conditions, explore, scribble};

pub(crate) use scratch::remove as remove_scratch;

pub use mounts::{MSIZE, MountError, MountOptions};
pub use workload::{NoWitness, ScribbleError, Witness};

/// How a demo runs.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The directory to mount, read-only.
    pub directory: PathBuf,
    /// How the devices are made.
    pub mount: MountOptions,
    /// Bytes of payload a record carries at most.
    pub snaplen: u32,
    /// Bytes of each thread's ring of records.
    pub ring_bytes: usize,
    /// Requests per second, on average over bursts and pauses.
    pub rate: u64,
    /// Threads that list, stat and read.
    pub readers: u64,
    /// Threads that write and delete.
    pub writers: u64,
}

/// What came of a demo.
pub struct Summary {
    /// What was recorded.
    pub recorded: Recorded,
    /// Requests that the clients sent, by type, both mounts together.
    pub issued: Vec<(Type, u64)>,
    /// Why the workload ended before it was told to, if it did.
    pub trouble: Option<ScribbleError>,
}

/// A demo that could not begin.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A directory can't be mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Recording can't begin.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// There is no room for the scratch directory.
    #[error("no scratch directory can be made in {}: {source}; set TMPDIR to a directory you can write to", std::env::temp_dir().display())]
    Scratch {
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running demo, as whoever waits for its end sees it.
pub struct Running<'a> {
    /// The drainer's public side.
    pub recorder: &'a Arc<Shared>,
    /// Set when the workload is at its end; setting it ends the demo.
    pub stop: &'a AtomicBool,
}

/// Runs a demo until `wait` returns: mounts, works, unmounts, and finishes the
/// capture. Nothing is in flight afterwards and nothing was left out.
///
/// # Errors
/// It could not begin. What goes wrong later stands in the [`Summary`].
pub fn run(
    options: &DemoOptions,
    output: Option<Output>,
    witness: &dyn Witness,
    wait: impl FnOnce(&Running<'_>),
) -> Result<Summary, DemoError> {
    let scratch = Scratch::make().map_err(|source| DemoError::Scratch { source })?;
    let hub = Hub::new(options.ring_bytes, options.snaplen);
    let machine = Machine::new(&hub)?;
    let up =
        |tag, directory: &Path, access| machine.bring_up(tag, directory, access, &options.mount);
    let root = up("root", &options.directory, Access::ReadOnly)?;
    let writable = up("scratch", scratch.path(), Access::ReadWrite)?;
    let notices = [root.notice.clone(), writable.notice.clone()];
    let recorder = Recorder::start(
        Arc::clone(&hub),
        &notices,
        output,
        Limits::default(),
        Some(Options::default()),
    )?;
    let stop = AtomicBool::new(false);
    // However it ends, what was recorded until then is kept.
    let worked = work(options, &root, &writable, witness, &stop, || {
        wait(&Running {
            recorder: recorder.shared(),
            stop: &stop,
        });
    });
    // The devices stop, so that no record is made behind the last statistics.
    machine.remove(&root);
    machine.remove(&writable);
    let recorded = recorder.finish();
    let (issued, trouble) = worked?;
    Ok(Summary {
        recorded,
        issued,
        trouble,
    })
}

type Worked = (Vec<(Type, u64)>, Option<ScribbleError>);

/// Mounts both devices, lets all threads work until `wait` returns, and unmounts.
fn work(
    options: &DemoOptions,
    root: &Device,
    writable: &Device,
    witness: &dyn Witness,
    stop: &AtomicBool,
    wait: impl FnOnce(),
) -> Result<Worked, MountError> {
    let reading = root.mount()?;
    let writing = writable.mount()?;
    let issued = || total(&reading) + total(&writing);
    let tempo = Tempo::new(options.rate);
    let conditions = Conditions {
        stop,
        tempo: &tempo,
        issued: &issued,
    };
    let trouble = Mutex::new(None);
    let note = |result: Result<(), ScribbleError>| {
        if let Err(error) = result {
            let mut trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner);
            trouble.get_or_insert(error);
            stop.store(true, Ordering::Release);
        }
    };
    std::thread::scope(|scope| {
        // First, because the scope joins its threads however it is left: when one
        // can't be started, and when `wait` panics.
        let _stop = StopOnDrop(stop);
        let (reading, writing) = (&reading, &writing);
        let (conditions, note) = (&conditions, &note);
        let thread = |name| std::thread::Builder::new().name(name);
        for seed in 0..options.readers {
            thread(format!("reader-{seed}")).spawn_scoped(scope, move || {
                note(explore(reading, seed + 1, conditions, witness).map_err(ScribbleError::from));
            })?;
        }
        for number in 0..options.writers {
            thread(format!("writer-{number}")).spawn_scoped(scope, move || {
                note(scribble(writing, number, conditions));
            })?;
        }
        wait();
        Ok(())
    })
    .map_err(|source| MountError::Thread { source })?;
    let mut sent: Vec<(Type, u64)> = reading.issued().collect();
    // Each unmount sends one Tclunk more.
    for ((_, count), (kind, more)) in sent.iter_mut().zip(writing.issued()) {
        *count += more + 2 * u64::from(kind == Type::Clunk);
    }
    note(unmount(reading));
    note(unmount(writing));
    let trouble = trouble.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((sent, trouble))
}

/// Sets the flag when it goes.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn unmount(client: Client<Probe>) -> Result<(), ScribbleError> {
    client.unmount().map_err(ScribbleError::from)
}

fn total(client: &Client<Probe>) -> u64 {
    client.issued().map(|(_, count)| count).sum()
}

impl ScribbleError {
    /// Whether the scratch directory's disk is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Client(ClientError::Server(errno))
            if *errno == rustix::io::Errno::NOSPC || *errno == rustix::io::Errno::DQUOT)
    }
}
