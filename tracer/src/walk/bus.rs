//! From the list of busses to the virtio devices.

use super::{BUSSES, Device, Offsets, SYMBOLS, VIRTIO_BUS, Walk, WalkError, settled};
use crate::kallsyms::Symbols;
use crate::memory::{Bytes, KernelMemory, name, pointer};

/// Links followed in one list before it is taken for one that leads nowhere.
const MAX_LINKS: usize = 65_536;

/// `symbols` of the running kernel, if they lead to the virtio bus. The kernel may have told
/// the first address of each name alone, and what it is the address of may be something else
/// that has the bus' name: then they are all that the kernel lists under those names.
pub fn with_bus(memory: &dyn KernelMemory, offsets: &Offsets, symbols: Symbols) -> Symbols {
    match settled(|| Walk::new(memory, offsets, &symbols).virtio_bus()) {
        Err(WalkError::NoBus) => Symbols::listed(SYMBOLS).unwrap_or(symbols),
        _ => symbols,
    }
}

impl Walk<'_> {
    /// All virtio devices that are registered, with their queues, in the order of their
    /// numbers.
    ///
    /// # Errors
    /// Why they cannot be read. A device that comes or goes meanwhile is no error: then
    /// all is read again.
    pub fn devices(&self) -> Result<Vec<Device>, WalkError> {
        settled(|| {
            let bus = self.virtio_bus()?;
            let mut devices = Vec::new();
            for node in self.list(bus + u64::from(self.offsets.bus.devices), "virtio devices")? {
                let offsets = &self.offsets.bus;
                let private = node.wrapping_sub(offsets.node.into());
                let device = pointer(self.memory, private + u64::from(offsets.device))?;
                devices.push(self.device(device.wrapping_sub(self.offsets.device.dev.into()))?);
            }
            devices.sort_by_key(|device| device.index);
            Ok(devices)
        })
    }

    /// Linux `bus_to_subsys`: where the virtio bus' `struct subsys_private` is.
    fn virtio_bus(&self) -> Result<u64, WalkError> {
        let offsets = &self.offsets.bus;
        let wanted = self.symbols.addresses(VIRTIO_BUS);
        if wanted.is_empty() {
            self.symbols.address(VIRTIO_BUS)?;
        }
        let busses = pointer(self.memory, self.symbols.address(BUSSES)?)?;
        for entry in self.list(busses + u64::from(offsets.busses), "busses")? {
            let private = entry.wrapping_sub(offsets.entry.into());
            let bus = pointer(self.memory, private + u64::from(offsets.bus))?;
            if wanted.contains(&bus) {
                return Ok(private);
            }
        }
        Err(WalkError::NoBus)
    }

    /// The addresses of all links of the list whose head is at `head`. Each link must
    /// point back to the one before it, or the list has changed.
    pub(super) fn list(&self, head: u64, what: &'static str) -> Result<Vec<u64>, WalkError> {
        let mut links = Vec::new();
        // Linux `struct list_head`: next, then prev.
        let mut link = pointer(self.memory, head)?;
        let mut before = head;
        loop {
            if pointer(self.memory, link.wrapping_add(8))? != before || links.len() == MAX_LINKS {
                return Err(WalkError::Moving(what));
            }
            if link == head {
                return Ok(links);
            }
            links.push(link);
            before = link;
            link = pointer(self.memory, link)?;
        }
    }

    /// The `struct virtio_device` at `address`.
    fn device(&self, address: u64) -> Result<Device, WalkError> {
        let at = &self.offsets.device;
        let bytes = Bytes::read(self.memory, address, at.size as usize)?;
        let nonsense = |why: String| WalkError::Nonsense {
            what: "virtio device",
            address,
            why,
        };
        let index = u16::try_from(bytes.u32(at.index))
            .map_err(|_| nonsense(format!("its number is {}", bytes.u32(at.index))))?;
        let called = name(self.memory, bytes.u64(at.name))?;
        let expected = format!("virtio{index}");
        if called.as_ref() != Some(&expected) {
            let called = match called {
                Some(called) => format!("its name {called:?}"),
                None => "it has no name".to_owned(),
            };
            return Err(nonsense(format!("its number is {index}, {called}")));
        }
        let name_of = |object: u64, offset: u32| match object {
            0 => Ok(None),
            object => name(
                self.memory,
                pointer(self.memory, object + u64::from(offset))?,
            ),
        };
        let features = bytes.u64(at.features);
        let mut queues = Vec::new();
        for link in self.list(address + u64::from(at.vqs), "virtqueues")? {
            let queue = link.wrapping_sub(self.offsets.queue.list.into());
            queues.push(self.queue(queue, address)?);
        }
        queues.sort_by_key(|queue| queue.index);
        Ok(Device {
            name: expected,
            index,
            driver: name_of(bytes.u64(at.driver), at.driver_name)?,
            parent: name_of(bytes.u64(at.parent), at.parent_name)?,
            device_type: bytes.u32(at.id),
            vendor: bytes.u32(at.vendor),
            features,
            more_features: at.more_features.map_or(0, |more| bytes.u64(more)),
            address,
            queues,
        })
    }
}
