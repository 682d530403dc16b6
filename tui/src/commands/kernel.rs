//! What `list` and `inspect` look at: the kernel that runs, or one that was saved.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, bail};
use virtscope_tracer::btf::KernelBtf;
use virtscope_tracer::kallsyms::Symbols;
use virtscope_tracer::memory::{BpfMemory, KernelMemory, Recording};
use virtscope_tracer::trace::QueueChoice;
use virtscope_tracer::walk::{Device, Offsets, Queue, SYMBOLS, Saved, SavedError, Walk, with_bus};

use crate::input::name;

/// What reading a kernel's memory takes.
const PRIVILEGES: &str = "the rings are in the kernel's memory, and reading it takes root, or \
                          CAP_BPF, CAP_PERFMON and CAP_SYSLOG: run it with sudo";

/// A kernel to look at.
pub(crate) enum Kernel {
    /// The one that runs.
    Running {
        offsets: Box<Offsets>,
        symbols: Symbols,
        memory: Box<Recording<BpfMemory>>,
    },
    /// One that was saved.
    Saved(Box<Saved>),
}

impl Kernel {
    /// The kernel that runs, or the one saved in the file `from`.
    pub(crate) fn open(from: Option<&Path>) -> anyhow::Result<Self> {
        match from {
            Some(path) => Self::saved(path),
            None => Self::running(),
        }
    }

    fn running() -> anyhow::Result<Self> {
        let btf = KernelBtf::running()?;
        let offsets = Offsets::of(&btf)?;
        let symbols = Symbols::running(&btf, SYMBOLS).and_then(Symbols::shown);
        let symbols = symbols.context(PRIVILEGES)?;
        let memory = BpfMemory::load().context(PRIVILEGES)?;
        Ok(Self::Running {
            symbols: with_bus(&memory, &offsets, symbols),
            offsets: Box::new(offsets),
            memory: Box::new(Recording::new(memory)),
        })
    }

    fn saved(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", name(path)))?;
        let saved = Saved::read(BufReader::new(file)).map_err(|error| {
            let message = match &error {
                SavedError::Io(source) => format!("{}: {source}", name(path)),
                error => format!("{}: {error}", name(path)),
            };
            anyhow::Error::new(error).context(message)
        })?;
        Ok(Self::Saved(Box::new(saved)))
    }

    /// What reads its devices and rings.
    pub(crate) fn walk(&self) -> Walk<'_> {
        match self {
            Self::Running {
                offsets,
                symbols,
                memory,
            } => Walk::new(&**memory as &dyn KernelMemory, offsets, symbols),
            Self::Saved(saved) => saved.walk(),
        }
    }

    /// Whether it is the kernel that runs.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// All that was read of it so far, to be kept.
    pub(crate) fn into_saved(self) -> Saved {
        match self {
            Self::Running {
                offsets,
                symbols,
                memory,
            } => Saved::new(*offsets, symbols, memory.into_image()),
            Self::Saved(saved) => *saved,
        }
    }
}

/// Which devices and queues are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// A device's name, or its driver's.
    pub(crate) device: Option<&'a str>,
    /// A queue's name, or its number, with its device or without.
    pub(crate) queue: Option<&'a str>,
}

impl Wanted<'_> {
    /// Leaves the wanted ones.
    ///
    /// # Errors
    /// If there is none, naming those there are.
    pub(crate) fn choose(&self, devices: Vec<Device>) -> anyhow::Result<Vec<Device>> {
        let names = join(devices.iter().map(|device| device.name.clone()));
        let mut chosen: Vec<Device> = devices
            .into_iter()
            .filter(|device| self.device.is_none_or(|wanted| is_device(device, wanted)))
            .collect();
        if let (Some(wanted), true) = (self.device, chosen.is_empty()) {
            bail!("there is no device and no driver `{wanted}`; there is {names}");
        }
        let Some(wanted) = self.queue else {
            return Ok(chosen);
        };
        let names = join(chosen.iter().flat_map(|device| {
            let queues = device.queues.iter();
            queues.map(|queue| format!("{}/{}", device.name, queue_name(queue)))
        }));
        for device in &mut chosen {
            let number = device.index;
            device
                .queues
                .retain(|queue| is_queue(number, queue, wanted));
        }
        chosen.retain(|device| !device.queues.is_empty());
        if chosen.is_empty() {
            bail!("there is no queue `{wanted}`; there is {names}");
        }
        Ok(chosen)
    }
}

fn is_device(device: &Device, wanted: &str) -> bool {
    device.name == wanted || device.driver.as_deref() == Some(wanted)
}

fn is_queue(device: u16, queue: &Queue, wanted: &str) -> bool {
    let is_there = |wanted: Option<u16>| wanted.is_none_or(|wanted| wanted == device);
    match wanted.parse() {
        Ok(QueueChoice::Index(wanted)) => is_there(wanted.device) && queue.index == wanted.index,
        Ok(QueueChoice::Name(wanted)) => {
            is_there(wanted.device) && queue.name.as_ref() == Some(&wanted.name)
        }
        Err(_) => false,
    }
}

/// What to call a queue: its driver's name for it, or its number. Safe to print.
pub(crate) fn queue_name(queue: &Queue) -> String {
    match &queue.name {
        Some(name) => virtscope_analyzer::sanitize(name).into_owned(),
        None => queue.index.to_string(),
    }
}

fn join(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}
