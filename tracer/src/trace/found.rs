//! The queues there are, found without waiting for an event.

use virtscope_record::{FeatureBits, Generation, InFlight, Layout, QueueFacts, QueueId, Token};

use super::kernel::Kernel;
use super::options::TraceOptions;
use crate::kallsyms::Symbols;
use crate::memory::BpfMemory;
use crate::walk::{Device, Offsets, Queue, Walk, with_bus};

/// A queue as it was when it was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Which.
    pub id: QueueId,
    /// Which life of it.
    pub generation: Generation,
    /// Where the kernel has it.
    pub address: u64,
    /// The driver's own name for it, if it has one.
    pub name: Option<String>,
    /// What it is, and how much was in flight.
    pub facts: QueueFacts,
    /// What was in flight.
    pub in_flight: Vec<(Token, InFlight)>,
}

/// What finds them, in the memory of the running kernel.
pub(super) struct Finder {
    offsets: Offsets,
    symbols: Symbols,
    memory: BpfMemory,
}

impl Finder {
    /// # Errors
    /// What stands in the way, in words.
    pub(super) fn new(kernel: &Kernel) -> Result<Self, String> {
        if let Some(error) = &kernel.unreadable {
            return Err(error.to_string());
        }
        let offsets = Offsets::of(&kernel.btf).map_err(|error| error.to_string())?;
        let memory = BpfMemory::load().map_err(|error| error.to_string())?;
        Ok(Self {
            symbols: with_bus(&memory, &offsets, kernel.symbols.clone()),
            offsets,
            memory,
        })
    }

    fn walk(&self) -> Walk<'_> {
        Walk::new(&self.memory, &self.offsets, &self.symbols)
    }

    /// All devices with their queues, as they are now.
    ///
    /// # Errors
    /// What stands in the way, in words.
    pub(super) fn devices(&self) -> Result<Vec<Device>, String> {
        self.walk().devices().map_err(|error| error.to_string())
    }

    /// All queues that `options` let through, as they are now.
    ///
    /// # Errors
    /// What stands in the way, in words: tracing goes on without it, and such queues are
    /// known with their first event.
    pub(super) fn queues(&self, options: &TraceOptions) -> Result<Vec<Found>, String> {
        let walk = self.walk();
        let devices = self.devices()?;
        let mut found = Vec::new();
        for device in &devices {
            for queue in &device.queues {
                let id = QueueId::new(device.index, queue.index);
                if options.wants(id, device.driver.as_deref()) {
                    found.push(look_at(&walk, device, queue, id));
                }
            }
        }
        Ok(found)
    }
}

fn look_at(walk: &Walk<'_>, device: &Device, queue: &Queue, id: QueueId) -> Found {
    let mut facts = QueueFacts {
        size: queue.size,
        in_flight: 0,
        device_type: device.device_type as u16,
        layout: if queue.layout.is_packed() {
            Layout::Packed
        } else {
            Layout::Split
        },
        features: FeatureBits(device.features),
    };
    let mut in_flight = Vec::new();
    // One that cannot be read now, because it is just being removed, is known by its
    // facts alone.
    if let Ok(inspection) = walk.inspect(queue) {
        facts.in_flight = inspection.in_flight.len() as u16;
        for buffer in &inspection.in_flight {
            let bytes = |count: Option<u64>| count.unwrap_or(0).min(u32::MAX.into()) as u32;
            in_flight.push((
                Token(buffer.token),
                InFlight {
                    free: inspection.free as u16,
                    error: 0,
                    readable_bytes: bytes(buffer.readable),
                    writable_bytes: bytes(buffer.writable),
                    head: buffer.head,
                    readable_segments: 0,
                    writable_segments: 0,
                    descriptors: buffer.descriptors.unwrap_or(0),
                },
            ));
        }
    }
    Found {
        id,
        generation: Generation(0),
        address: queue.address,
        name: queue.name.clone(),
        facts,
        in_flight,
    }
}
