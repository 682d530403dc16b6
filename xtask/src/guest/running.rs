//! A guest that runs.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::agent::Agent;
use super::emulator::Emulator;
use super::initramfs;
use super::machine::{Device, Files, Machine};
use super::qmp::Qmp;
use super::{virtiofsd, vsock};
use crate::limit::{Background, Deadline};
use crate::steps::Failure;

/// What a boot may take: ten times what it takes on a slow machine.
const BOOT: Duration = Duration::from_secs(180);
/// What turning it off may take.
const POWER_OFF: Duration = Duration::from_secs(60);
const DISK: u64 = 64 << 20;

/// Where guests are made.
#[derive(Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    /// Our program, for guests.
    program: PathBuf,
}

/// A script's end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Done {
    pub(crate) status: i32,
    pub(crate) output: String,
}

/// A guest that is up. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    qemu: Background,
    /// Each serves a device.
    _servers: Vec<Background>,
    agent: Agent,
    qmp: Qmp,
    folder: TempDir,
    /// What `uname -r` says in it.
    pub(crate) release: String,
}

impl Place {
    pub(crate) fn new(root: &Path, program: PathBuf) -> anyhow::Result<Self> {
        let folder = root.join("target/guests");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self { folder, program })
    }

    /// With a program that is there, instead of one that is built.
    pub(crate) fn with_program(program: &Path) -> Result<Self, Failure> {
        Ok(Self::new(&crate::test::root()?, program.to_owned())?)
    }

    /// Boots `machine` and waits until it takes scripts. It has `share` as its
    /// `/share`, and `programs` beside our own in `/bin`.
    pub(crate) fn boot(
        &self,
        machine: &Machine,
        share: &Path,
        programs: &[PathBuf],
        deadline: Deadline,
    ) -> Result<Guest, Failure> {
        let image = machine.kernel.fetch(deadline)?;
        let emulator = match machine.in_order {
            true => Emulator::with_in_order(deadline)?,
            false => Emulator::System,
        };
        let folder = tempfile::Builder::new()
            .prefix("guest-")
            .tempdir()
            .context("making a folder for a guest")?;
        let initramfs = folder.path().join("initramfs");
        let mut all = vec![("virtscope", self.program.as_path())];
        for program in programs {
            let name = program.file_name().and_then(|name| name.to_str());
            let name = name.with_context(|| format!("{} has no name", program.display()))?;
            all.push((name, program));
        }
        initramfs::write(&initramfs, &image.modules()?, &all)?;
        let kernel = image.kernel();
        let files = Files {
            emulator: &emulator,
            kernel: &kernel,
            initramfs: &initramfs,
            share,
            folder: folder.path(),
        };
        for device in [Device::Blk, Device::Scsi] {
            if machine.devices.contains(&device) {
                let disk = File::create(files.disk(device)).context("making a disk")?;
                disk.set_len(DISK).context("making a disk")?;
            }
        }
        let mut servers = Vec::new();
        for device in &machine.devices {
            match device {
                Device::Fs => servers.push(virtiofsd::start(&files, deadline)?),
                Device::Vsock => servers.push(vsock::start(&files, deadline)?),
                _ => {}
            }
        }
        let (qemu, mut agent, qmp) = start(machine, &files)?;
        if let Err(error) = agent.ready(Instant::now() + BOOT) {
            let console = console(&folder);
            return Err(error.context(format!("booting {}:\n{console}", image.release)))?;
        }
        Ok(Guest {
            qemu,
            _servers: servers,
            agent,
            qmp,
            folder,
            release: image.release,
        })
    }

    /// An empty folder for a guest to share.
    pub(crate) fn share(&self) -> anyhow::Result<TempDir> {
        tempfile::Builder::new()
            .prefix("share-")
            .tempdir_in(&self.folder)
            .context("making a folder to share")
    }
}

/// Starts QEMU, and waits until it has connected.
fn start(machine: &Machine, files: &Files<'_>) -> anyhow::Result<(Background, Agent, Qmp)> {
    let agent = UnixListener::bind(files.agent()).context("listening for the guest")?;
    let qmp = UnixListener::bind(files.qmp()).context("listening for QEMU")?;
    let qemu = Background::start(&mut machine.command(files))?;
    let agent = accept(&agent, &qemu)?;
    let qmp = accept(&qmp, &qemu)?;
    Ok((qemu, Agent::new(agent)?, Qmp::new(qmp)?))
}

/// The first that connects, unless QEMU ends before.
fn accept(listener: &UnixListener, qemu: &Background) -> anyhow::Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let until = Instant::now() + BOOT;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("waiting for QEMU"),
        }
        ensure!(!qemu.is_over(), "QEMU has ended at once: see above");
        ensure!(Instant::now() < until, "QEMU does not connect");
        sleep(Duration::from_millis(10));
    }
}

fn console(folder: &TempDir) -> String {
    fs::read(folder.path().join("console")).map_or_else(
        |error| format!("(its console can't be read: {error})"),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

impl Guest {
    /// Runs a script in its shell and returns what it printed.
    ///
    /// # Errors
    /// It is not over within `limit`, or the guest is gone.
    pub(crate) fn run(&mut self, script: &str, limit: Duration) -> anyhow::Result<Done> {
        let mut output = Vec::new();
        let status = self.run_to(script, limit, &mut output);
        let output = String::from_utf8_lossy(&output).into_owned();
        let status = status.with_context(|| format!("it printed:\n{output}"))?;
        Ok(Done { status, output })
    }

    /// [`run`](Self::run), and an error if it does not succeed.
    pub(crate) fn succeed(&mut self, script: &str, limit: Duration) -> anyhow::Result<String> {
        let done = self.run(script, limit)?;
        if done.status != 0 {
            bail!(
                "it ended with {} and printed:\n{}",
                done.status,
                done.output
            );
        }
        Ok(done.output)
    }

    /// [`run`](Self::run), with what it prints passed on as it comes.
    pub(crate) fn run_to(
        &mut self,
        script: &str,
        limit: Duration,
        output: &mut dyn Write,
    ) -> anyhow::Result<i32> {
        self.agent
            .run(script, Instant::now() + limit, output)
            .with_context(|| format!("the guest's kernel printed:\n{}", console(&self.folder)))
    }

    /// Gives QEMU a command of its machine protocol.
    pub(crate) fn qmp(&mut self, name: &str, arguments: &Value) -> anyhow::Result<Value> {
        self.qmp.command(name, arguments)
    }

    /// What its kernel has printed.
    pub(crate) fn console(&self) -> String {
        console(&self.folder)
    }

    /// The other end of its console.
    pub(crate) fn hvc0(&self) -> anyhow::Result<UnixStream> {
        let path = self.folder.path().join("hvc0");
        UnixStream::connect(&path).with_context(|| path.display().to_string())
    }

    /// Listens where its connections to this port of the host's come.
    pub(crate) fn port(&self, port: u32) -> anyhow::Result<UnixListener> {
        let path = self.folder.path().join(format!("port_{port}"));
        UnixListener::bind(&path).with_context(|| path.display().to_string())
    }

    /// How much QEMU has written into its log by now. What the guest did before
    /// stands before.
    pub(crate) fn log_length(&self) -> anyhow::Result<u64> {
        let log = self.folder.path().join("log");
        let about = fs::metadata(&log).context("QEMU's log")?;
        Ok(about.len())
    }

    /// Turns it off and hands out QEMU's log.
    ///
    /// # Errors
    /// It does not turn off.
    pub(crate) fn power_off(mut self) -> anyhow::Result<Log> {
        self.agent.send("sync; poweroff -f")?;
        let status = self.qemu.wait(Deadline::after(POWER_OFF))?;
        ensure!(status.success(), "QEMU: {status}");
        Ok(Log {
            folder: self.folder,
        })
    }
}

/// QEMU's log of a guest that is no more.
#[derive(Debug)]
pub(crate) struct Log {
    folder: TempDir,
}

impl Log {
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}
