//! A machine for a guest: which kernel on which devices, as QEMU's command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use super::emulator::Emulator;
use super::kernel::Kernel;

/// QEMU's trace events that say what its half of a queue does.
pub(crate) const QUEUE_EVENTS: &[&str] = &[
    "virtqueue_*",
    "virtio_notify",
    "virtio_queue_notify",
    "virtio_set_status",
];

/// A virtio device that a guest can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Device {
    /// The shared folder, over 9P.
    #[value(name = "9p")]
    P9,
    /// A disk of 64 MiB, `/dev/vda`.
    Blk,
    /// A network without an outside: 10.0.2.2 answers pings, and 10.0.2.100 sends
    /// back what port 7 gets.
    Net,
    /// A console, `/dev/hvc0`, whose other end is a socket.
    Console,
    /// A source of entropy, `/dev/hwrng`.
    Rng,
    /// A memory balloon.
    Balloon,
    /// A SCSI controller with a disk of 64 MiB.
    Scsi,
    /// A keyboard.
    Input,
    /// A folder that virtiofsd serves, `fs`: another process, which shares the guest's
    /// memory (vhost-user).
    Fs,
    /// Sockets between guest and host, which vhost-device-vsock serves, another process too.
    Vsock,
}

impl Device {
    /// Whether another process than QEMU serves it, which works on the guest's memory.
    pub(crate) const fn is_elsewhere(self) -> bool {
        matches!(self, Self::Fs | Self::Vsock)
    }
}

/// Busses into each of which a device can be plugged while it runs.
pub(crate) const SPARE: [&str; 2] = ["spare-1", "spare-2"];

/// What to boot.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) kernel: Kernel,
    pub(crate) cpus: u32,
    /// Its clock counts instructions, one a nanosecond.
    pub(crate) counts: bool,
    /// In MiB.
    pub(crate) memory: u32,
    /// Offer `VIRTIO_F_RING_PACKED`.
    pub(crate) packed: bool,
    /// Offer `VIRTIO_F_IN_ORDER`, which takes a newer [`Emulator`] than Debian 12 has.
    pub(crate) in_order: bool,
    /// Take notifications by an eventfd, beside the vCPU: QEMU's default.
    pub(crate) ioeventfd: bool,
    pub(crate) devices: Vec<Device>,
    /// Patterns of QEMU's trace events that go into its log.
    pub(crate) events: Vec<String>,
    /// Whether it has [`SPARE`] busses.
    pub(crate) hotplug: bool,
    /// A disk image for `/dev/sda`, which is no virtio device.
    pub(crate) disk: Option<PathBuf>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            kernel: Kernel::V6_12,
            cpus: 1,
            counts: false,
            memory: 512,
            packed: false,
            in_order: false,
            ioeventfd: true,
            devices: vec![Device::P9, Device::Blk, Device::Net],
            events: Vec::new(),
            hotplug: false,
            disk: None,
        }
    }
}

/// The files that a running guest is about.
#[derive(Debug)]
pub(crate) struct Files<'a> {
    pub(crate) emulator: &'a Emulator,
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// The folder that the guest sees as `/share`.
    pub(crate) share: &'a Path,
    /// A folder for all the rest: disks, sockets, what is printed.
    pub(crate) folder: &'a Path,
}

impl Files<'_> {
    pub(crate) fn agent(&self) -> PathBuf {
        self.folder.join("agent")
    }

    pub(crate) fn qmp(&self) -> PathBuf {
        self.folder.join("qmp")
    }

    /// What the guest's kernel prints.
    pub(crate) fn console(&self) -> PathBuf {
        self.folder.join("console")
    }

    /// QEMU's own log, with what was traced.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The other end of the console.
    pub(crate) fn hvc0(&self) -> PathBuf {
        self.folder.join("hvc0")
    }

    /// Where virtiofsd listens.
    pub(crate) fn fs(&self) -> PathBuf {
        self.folder.join("fs")
    }

    /// The folder that it serves.
    pub(crate) fn served(&self) -> PathBuf {
        self.folder.join("served")
    }

    /// Where vhost-device-vsock listens.
    pub(crate) fn vsock(&self) -> PathBuf {
        self.folder.join("vsock")
    }

    /// What it takes the guest's connections to: this, and a `_` and the port behind it.
    pub(crate) fn ports(&self) -> PathBuf {
        self.folder.join("port")
    }

    /// The disk of a device.
    pub(crate) fn disk(&self, device: Device) -> PathBuf {
        self.folder.join(match device {
            Device::Scsi => "scsi.disk",
            _ => "blk.disk",
        })
    }
}

impl Machine {
    /// The command line. QEMU connects to the two sockets, which must be listened
    /// on.
    pub(crate) fn command(&self, files: &Files<'_>) -> Command {
        let mut qemu = files.emulator.command();
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        // All processors in one thread of ours, one after the other. In a thread each, one
        // that was about to run an instruction which another has just replaced, as a kernel
        // does to attach and detach, may run the old one all the same: "Oops: int3".
        qemu.args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=single",
            "-no-reboot",
        ]);
        qemu.args(["-m", &self.memory.to_string()]);
        qemu.args(["-smp", &self.cpus.to_string()]);
        if self.counts {
            qemu.args(["-icount", "shift=0,sleep=on"]);
        }
        qemu.arg("-kernel").arg(files.kernel);
        qemu.arg("-initrd").arg(files.initramfs);
        qemu.args([
            "-append",
            "console=ttyS0 panic=-1 reboot=t quiet ipv6.disable=1",
        ]);

        let console = format!("file,id=console,path={}", value(&files.console()));
        qemu.args(["-chardev", &console, "-serial", "chardev:console"]);
        let agent = format!("socket,id=agent,path={}", value(&files.agent()));
        qemu.args(["-chardev", &agent, "-serial", "chardev:agent"]);
        let qmp = format!("socket,id=qmp,path={}", value(&files.qmp()));
        qemu.args(["-chardev", &qmp, "-mon", "chardev=qmp,mode=control"]);

        qemu.arg("-D").arg(files.log());
        if !self.events.is_empty() {
            qemu.args(["-msg", "timestamp=on"]);
        }
        for events in &self.events {
            qemu.args(["-trace", events]);
        }
        if self.devices.iter().any(|device| device.is_elsewhere()) {
            let memory = format!(
                "memory-backend-memfd,id=memory,size={}M,share=on",
                self.memory
            );
            qemu.args(["-object", &memory, "-numa", "node,memdev=memory"]);
        }
        for device in &self.devices {
            self.add(*device, files, &mut qemu);
        }
        if self.hotplug {
            for (number, bus) in SPARE.iter().enumerate() {
                let number = number + 1;
                let port = format!("pcie-root-port,id={bus},chassis={number},slot={number}");
                qemu.args(["-device", &port]);
            }
        }
        if let Some(disk) = &self.disk {
            let drive = format!("if=none,id=sda,format=raw,snapshot=on,file={}", value(disk));
            qemu.args(["-drive", &drive, "-device", "ide-hd,drive=sda"]);
        }
        qemu
    }

    fn add(&self, device: Device, files: &Files<'_>, qemu: &mut Command) {
        let disk = |id: &str| {
            let file = value(&files.disk(device));
            format!("if=none,id={id},format=raw,file={file}")
        };
        match device {
            Device::P9 => {
                let share = value(files.share);
                let share =
                    format!("local,id=share,path={share},security_model=none,multidevs=remap");
                qemu.args(["-fsdev", &share]);
                self.plug(qemu, "virtio-9p-pci,fsdev=share,mount_tag=share");
            }
            Device::Blk => {
                qemu.args(["-drive", &disk("vda")]);
                self.plug(qemu, "virtio-blk-pci,drive=vda");
            }
            Device::Net => {
                // Restricted: nothing of the host's network is there.
                let network = "user,id=eth0,restrict=on,guestfwd=tcp:10.0.2.100:7-cmd:cat";
                qemu.args(["-netdev", network]);
                self.plug(qemu, "virtio-net-pci,netdev=eth0");
            }
            Device::Console => {
                let path = value(&files.hvc0());
                let socket = format!("socket,id=hvc0,server=on,wait=off,path={path}");
                qemu.args(["-chardev", &socket]);
                self.plug(qemu, "virtio-serial-pci");
                qemu.args(["-device", "virtconsole,chardev=hvc0"]);
            }
            Device::Rng => self.plug(qemu, "virtio-rng-pci"),
            Device::Balloon => self.plug(qemu, "virtio-balloon-pci,id=balloon"),
            Device::Scsi => {
                qemu.args(["-drive", &disk("scsi")]);
                self.plug(qemu, "virtio-scsi-pci");
                qemu.args(["-device", "scsi-hd,drive=scsi"]);
            }
            Device::Input => self.plug(qemu, "virtio-keyboard-pci"),
            Device::Fs => {
                let socket = format!("socket,id=fs,path={}", value(&files.fs()));
                qemu.args(["-chardev", &socket]);
                self.plug(qemu, "vhost-user-fs-pci,chardev=fs,tag=fs");
            }
            Device::Vsock => {
                let socket = format!("socket,id=vsock,path={}", value(&files.vsock()));
                qemu.args(["-chardev", &socket]);
                self.plug(qemu, "vhost-user-vsock-pci,chardev=vsock");
            }
        }
    }

    fn plug(&self, qemu: &mut Command, device: &str) {
        let on_off = |on: bool| if on { "on" } else { "off" };
        let kind = device.split(',').next().unwrap_or_default();
        let mut options = device.to_owned();
        // QEMU would offer these without asking the process that serves the device, and the
        // one for vsock knows neither.
        if kind != "vhost-user-vsock-pci" {
            options.push_str(",packed=");
            options.push_str(on_off(self.packed));
        }
        if self.in_order && !kind.starts_with("vhost-user-") {
            options.push_str(",in_order=on");
        }
        // These are no older than virtio 1.0, and have no choice.
        let modern = [
            "virtio-keyboard-pci",
            "vhost-user-fs-pci",
            "vhost-user-vsock-pci",
        ];
        if !modern.contains(&kind) {
            options.push_str(",disable-legacy=on");
        }
        // These take their notifications on the vCPU in any case; the last two where their
        // other process is.
        let no_choice = [
            "virtio-keyboard-pci",
            "virtio-rng-pci",
            "virtio-balloon-pci",
            "vhost-user-fs-pci",
            "vhost-user-vsock-pci",
        ];
        if !no_choice.contains(&kind) {
            options.push_str(",ioeventfd=");
            options.push_str(on_off(self.ioeventfd));
        }
        qemu.args(["-device", &options]);
    }
}

/// A path as the value of an option: a comma in it is doubled.
fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_stays_in_the_path() {
        assert_eq!(value(Path::new("/a,b/c")), "/a,,b/c");
    }

    #[test]
    fn every_device_offers_what_is_wanted_if_its_process_knows_it() {
        let machine = Machine {
            devices: Device::value_variants().to_vec(),
            packed: true,
            in_order: true,
            ioeventfd: false,
            ..Machine::default()
        };
        let nowhere = Path::new("/nowhere");
        let command = machine.command(&Files {
            emulator: &Emulator::System,
            kernel: nowhere,
            initramfs: nowhere,
            share: nowhere,
            folder: nowhere,
        });
        let virtio: Vec<_> = command
            .get_args()
            .filter_map(|argument| argument.to_str())
            .filter(|argument| {
                argument.starts_with("virtio-") || argument.starts_with("vhost-user-")
            })
            .collect();
        assert_eq!(virtio.len(), machine.devices.len());
        for device in virtio {
            let is_vsock = device.starts_with("vhost-user-vsock-");
            assert_eq!(device.contains(",packed=on"), !is_vsock, "{device}");
            let is_elsewhere = device.starts_with("vhost-user-");
            assert_eq!(device.contains(",in_order=on"), !is_elsewhere, "{device}");
            assert!(!device.contains("ioeventfd=on"), "{device}");
        }
    }
}
