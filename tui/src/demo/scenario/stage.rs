//! Where a script is played: a mounted device, and a recorder that watches.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use virtscope_device::fault::Faults;
use virtscope_device::p9::{Access, Delay};
use virtscope_driver::instrument::live::{Hub, Probe};
use virtscope_driver::p9::channel::{Message, Pending};
use virtscope_driver::p9::client::{Client, ClientError};
use virtscope_driver::p9::message::{Fid, GETATTR_BASIC, Request};
use virtscope_driver::ring::QueueSize;
use virtscope_record::FeatureBits;

use crate::demo::mounts::{Device, Machine, MountOptions};

/// How long a script waits while something hangs: half as long again as it takes to
/// count as stuck.
pub(super) const HANGING: Duration = Duration::from_secs(3);
/// Between two requests of a script that wants the device to fall asleep.
pub(super) const PAUSE: Duration = Duration::from_millis(5);
/// How long a thread sleeps before it looks whether to stop.
const NAP: Duration = Duration::from_millis(20);

/// `O_RDONLY` and others of open(2).
pub(super) const O_RDONLY: u32 = 0;
const O_RDWR: u32 = 2;
const O_CREAT: u32 = 0o100;

/// How the device of a scenario is made.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) mount: MountOptions,
}

impl Setup {
    /// A device that does nothing wrong.
    pub(super) fn sound() -> Self {
        Self {
            mount: MountOptions {
                queue_size: QueueSize::new(128).unwrap_or(QueueSize::MAX),
                features: FeatureBits::EVENT_IDX,
                delay: Delay::none(),
                faults: Faults::none(),
                msize: 32 * 1024,
            },
        }
    }

    /// With these faults. The plans are constants, and a test reads them all.
    pub(super) fn faulty(plan: &str) -> Self {
        let mut setup = Self::sound();
        setup.mount.faults = plan.parse().unwrap_or_default();
        setup
    }

    /// Without event indices: notifications are suppressed by flags.
    pub(super) fn by_flags(mut self) -> Self {
        self.mount.features = FeatureBits::default();
        self
    }

    pub(super) fn with(mut self, features: FeatureBits) -> Self {
        self.mount.features = self.mount.features.union(features);
        self
    }

    pub(super) fn size(mut self, entries: u16) -> Self {
        self.mount.queue_size = QueueSize::new(entries).unwrap_or(QueueSize::MAX);
        self
    }

    pub(super) fn msize(mut self, msize: u32) -> Self {
        self.mount.msize = msize;
        self
    }

    /// Reads of so many bytes or more take so long.
    pub(super) fn slow_reads(mut self, bytes: u32, time: Duration) -> Self {
        self.mount.delay = Delay::by(move |operation| (operation.bytes >= bytes).then_some(time));
        self
    }

    pub(super) fn access(&self) -> Access {
        Access::ReadWrite
    }
}

/// A mounted device.
pub(crate) struct Stage<'a> {
    pub(super) client: &'a Client<Probe>,
    pub(super) hub: &'a Arc<Hub>,
    machine: &'a Machine,
    device: &'a Device,
    path: &'a Path,
    stop: &'a AtomicBool,
    removed: AtomicBool,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        client: &'a Client<Probe>,
        machine: &'a Machine,
        device: &'a Device,
        hub: &'a Arc<Hub>,
        path: &'a Path,
        stop: &'a AtomicBool,
    ) -> Self {
        Self {
            client,
            hub,
            machine,
            device,
            path,
            stop,
            removed: AtomicBool::new(false),
        }
    }

    /// Whether to end.
    pub(super) fn over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Lets time pass, unless it is time to end.
    pub(super) fn pass(&self, time: Duration) {
        let began = Instant::now();
        while !self.over() {
            let left = time.saturating_sub(began.elapsed());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    /// Takes the device away: whoever waits for it is let go.
    pub(super) fn remove(&self) {
        self.removed.store(true, Ordering::Release);
        self.machine.remove(self.device);
    }

    pub(super) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// The quickest request there is.
    pub(super) fn ask(&self) -> Result<(), ClientError> {
        self.client.getattr(self.client.root()).map(drop)
    }

    /// So many of them, with a pause behind each, or until it is time to end.
    pub(super) fn ask_often(&self, many: usize, pause: Duration) -> Result<(), ClientError> {
        for _ in 0..many {
            if self.over() {
                break;
            }
            self.ask()?;
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
        Ok(())
    }

    /// Sends a request under a tag of the caller's own; those of the client itself are
    /// the lowest that are free.
    pub(super) fn send(&self, tag: u16, request: &Request<'_>) -> Result<Pending, ClientError> {
        self.send_with_room(tag, request, request.reply_capacity() as usize)
    }

    /// The same, with so much room for the reply.
    pub(super) fn send_with_room(
        &self,
        tag: u16,
        request: &Request<'_>,
        room: usize,
    ) -> Result<Pending, ClientError> {
        let mut bytes = Vec::new();
        request.encode(tag, self.client.msize(), &mut bytes)?;
        Ok(self.client.channel().request(Message {
            request: &bytes,
            reply_capacity: room,
        })?)
    }

    /// What [`ask`](Self::ask) asks, to be sent otherwise.
    pub(super) fn question(&self) -> Request<'static> {
        Request::Getattr {
            fid: self.client.root(),
            request_mask: GETATTR_BASIC,
        }
    }

    /// A file of so many bytes, open for reading.
    pub(super) fn file(&self, name: &str, bytes: usize) -> Result<Fid, ClientError> {
        let content: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
        // On the disk, not through the device: the script begins when it is there.
        if std::fs::write(self.path.join(name), content).is_err() {
            let (fid, _) = self.client.walk(self.client.root(), &[])?;
            self.client
                .create(fid, name.as_bytes(), O_RDWR | O_CREAT, 0o644)?;
            self.client.clunk(fid)?;
        }
        let (fid, _) = self.client.walk(self.client.root(), &[name.as_bytes()])?;
        self.client.open(fid, O_RDONLY)?;
        Ok(fid)
    }
}
