//! Which byte of which of the kernel's structs is what, on the kernel at hand.

use serde::{Deserialize, Serialize};

use crate::btf::{BtfError, KernelBtf};

/// All that the walk needs to know about a kernel's structs, in bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Offsets {
    /// The kernel, as `uname -r` has it.
    pub kernel: String,
    /// From the bus to its devices.
    pub bus: BusOffsets,
    /// Linux `struct virtio_device` and what it contains.
    pub device: DeviceOffsets,
    /// Linux `struct vring_virtqueue`, what both layouts have.
    pub queue: QueueOffsets,
    /// Linux `struct vring_virtqueue_split`, from the beginning of the queue.
    pub split: SplitOffsets,
    /// Linux `struct vring_virtqueue_packed`, from the beginning of the queue.
    pub packed: PackedOffsets,
}

/// From Linux' list of busses to the devices of one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BusOffsets {
    /// `kset.list`.
    pub busses: u32,
    /// `subsys_private.subsys.kobj.entry`: where a bus hangs in that list.
    pub entry: u32,
    /// `subsys_private.bus`.
    pub bus: u32,
    /// `subsys_private.klist_devices.k_list`.
    pub devices: u32,
    /// `device_private.knode_bus.n_node`: where a device hangs in it.
    pub node: u32,
    /// `device_private.device`.
    pub device: u32,
}

/// Linux `struct virtio_device`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceOffsets {
    /// `sizeof(struct virtio_device)`.
    pub size: u32,
    /// `index`.
    pub index: u32,
    /// `dev`.
    pub dev: u32,
    /// `dev.kobj.name`.
    pub name: u32,
    /// `dev.parent`.
    pub parent: u32,
    /// `dev.driver`.
    pub driver: u32,
    /// `device_driver.name`.
    pub driver_name: u32,
    /// `device.kobj.name`, of a parent.
    pub parent_name: u32,
    /// `id.device`.
    pub id: u32,
    /// `id.vendor`.
    pub vendor: u32,
    /// `features`.
    pub features: u32,
    /// `features_array[1]`, on kernels that have more than 64 features.
    pub more_features: Option<u32>,
    /// `vqs`.
    pub vqs: u32,
}

/// Linux `struct vring_virtqueue` and the `struct virtqueue` in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QueueOffsets {
    /// `sizeof(struct vring_virtqueue)`.
    pub size: u32,
    /// `vq`.
    pub vq: u32,
    /// `vq.list`.
    pub list: u32,
    /// `vq.callback`.
    pub callback: u32,
    /// `vq.name`.
    pub name: u32,
    /// `vq.vdev`.
    pub vdev: u32,
    /// `vq.index`.
    pub index: u32,
    /// `vq.num_free`.
    pub free: u32,
    /// Where the ring's layout is told.
    pub layout: LayoutOffset,
    /// `broken`.
    pub broken: u32,
    /// `indirect`.
    pub indirect: u32,
    /// `event`.
    pub event: u32,
    /// `free_head`.
    pub free_head: u32,
    /// `num_added`.
    pub added: u32,
    /// `last_used_idx`.
    pub last_used: u32,
    /// `event_triggered`, on kernels that have it.
    pub event_triggered: Option<u32>,
    /// `use_dma_api`, or `use_map_api` on newer kernels.
    pub maps: Option<u32>,
    /// `batch_last.id`, on kernels that know buffers which are used in order. Images that
    /// were saved before it was looked at have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
}

/// How a kernel says which layout a ring has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayoutOffset {
    /// `bool packed_ring`, at this offset.
    PackedRing(u32),
    /// `enum vq_layout layout`, with its values by name.
    Layout {
        /// Where it is.
        at: u32,
        /// `VQ_LAYOUT_SPLIT`.
        split: u32,
        /// `VQ_LAYOUT_PACKED`.
        packed: u32,
        /// `VQ_LAYOUT_SPLIT_IN_ORDER`.
        split_in_order: Option<u32>,
        /// `VQ_LAYOUT_PACKED_IN_ORDER`.
        packed_in_order: Option<u32>,
    },
}

/// Linux `struct vring_virtqueue_split`, and what it points to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SplitOffsets {
    /// `split.vring.num`.
    pub num: u32,
    /// `split.vring.desc`.
    pub desc: u32,
    /// `split.vring.avail`.
    pub avail: u32,
    /// `split.vring.used`.
    pub used: u32,
    /// `split.avail_flags_shadow`.
    pub flags_shadow: u32,
    /// `split.avail_idx_shadow`.
    pub idx_shadow: u32,
    /// `split.desc_state`.
    pub state: u32,
    /// `split.desc_extra`.
    pub extra: u32,
    /// `split.queue_dma_addr`.
    pub dma: u32,
    /// `sizeof(struct vring_desc_state_split)`.
    pub state_size: u32,
    /// `vring_desc_state_split.data`.
    pub data: u32,
    /// `vring_desc_state_split.indir_desc`.
    pub table: u32,
    /// `vring_desc_extra`.
    pub extras: ExtraOffsets,
}

/// Linux `struct vring_virtqueue_packed`, and what it points to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PackedOffsets {
    /// `packed.vring.num`.
    pub num: u32,
    /// `packed.vring.desc`.
    pub desc: u32,
    /// `packed.vring.driver`.
    pub driver: u32,
    /// `packed.vring.device`.
    pub device: u32,
    /// `packed.avail_wrap_counter`.
    pub wrap: u32,
    /// `packed.used_wrap_counter`, on kernels before it moved into `last_used_idx`.
    pub used_wrap: Option<u32>,
    /// `packed.next_avail_idx`.
    pub next: u32,
    /// `packed.event_flags_shadow`.
    pub flags_shadow: u32,
    /// `packed.desc_state`.
    pub state: u32,
    /// `packed.desc_extra`.
    pub extra: u32,
    /// `packed.ring_dma_addr`.
    pub ring_dma: u32,
    /// `packed.driver_event_dma_addr`.
    pub driver_dma: u32,
    /// `packed.device_event_dma_addr`.
    pub device_dma: u32,
    /// `sizeof(struct vring_desc_state_packed)`.
    pub state_size: u32,
    /// `vring_desc_state_packed.data`.
    pub data: u32,
    /// `vring_desc_state_packed.indir_desc`.
    pub table: u32,
    /// `vring_desc_state_packed.num`.
    pub count: u32,
    /// `vring_desc_extra`.
    pub extras: ExtraOffsets,
}

/// Linux `struct vring_desc_extra`: the driver's own copy of a descriptor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExtraOffsets {
    /// `sizeof(struct vring_desc_extra)`.
    pub size: u32,
    /// `len`.
    pub len: u32,
    /// `flags`.
    pub flags: u32,
    /// `next`.
    pub next: u32,
}

const RING: &str = "vring_virtqueue";

impl Offsets {
    /// Looks all of them up.
    ///
    /// # Errors
    /// Which struct or member this kernel lacks.
    pub fn of(btf: &KernelBtf) -> Result<Self, BtfError> {
        Ok(Self {
            kernel: btf.release().to_owned(),
            bus: BusOffsets::of(btf)?,
            device: DeviceOffsets::of(btf)?,
            queue: QueueOffsets::of(btf)?,
            split: SplitOffsets::of(btf)?,
            packed: PackedOffsets::of(btf)?,
        })
    }
}

impl BusOffsets {
    fn of(btf: &KernelBtf) -> Result<Self, BtfError> {
        Ok(Self {
            busses: btf.offset("kset", "list")?,
            entry: btf.offset("subsys_private", "subsys.kobj.entry")?,
            bus: btf.offset("subsys_private", "bus")?,
            devices: btf.offset("subsys_private", "klist_devices.k_list")?,
            node: btf.offset("device_private", "knode_bus.n_node")?,
            device: btf.offset("device_private", "device")?,
        })
    }
}

impl DeviceOffsets {
    fn of(btf: &KernelBtf) -> Result<Self, BtfError> {
        const NAME: &str = "virtio_device";
        let offset = |member| btf.offset(NAME, member);
        let more = btf.find_member(NAME, "features_array")?;
        Ok(Self {
            size: btf.size_of(NAME)?,
            index: offset("index")?,
            dev: offset("dev")?,
            name: offset("dev.kobj.name")?,
            parent: offset("dev.parent")?,
            driver: offset("dev.driver")?,
            driver_name: btf.offset("device_driver", "name")?,
            parent_name: offset("dev.kobj.name")? - offset("dev")?,
            id: offset("id.device")?,
            vendor: offset("id.vendor")?,
            features: offset("features")?,
            more_features: more
                .filter(|array| array.size >= 16)
                .map(|array| array.offset + 8),
            vqs: offset("vqs")?,
        })
    }
}

impl QueueOffsets {
    fn of(btf: &KernelBtf) -> Result<Self, BtfError> {
        let offset = |member| btf.offset(RING, member);
        let maybe =
            |member| Ok::<_, BtfError>(btf.find_member(RING, member)?.map(|found| found.offset));
        Ok(Self {
            size: btf.size_of(RING)?,
            vq: offset("vq")?,
            list: offset("vq.list")?,
            callback: offset("vq.callback")?,
            name: offset("vq.name")?,
            vdev: offset("vq.vdev")?,
            index: offset("vq.index")?,
            free: offset("vq.num_free")?,
            layout: LayoutOffset::of(btf)?,
            broken: offset("broken")?,
            indirect: offset("indirect")?,
            event: offset("event")?,
            free_head: offset("free_head")?,
            added: offset("num_added")?,
            last_used: offset("last_used_idx")?,
            event_triggered: maybe("event_triggered")?,
            maps: match maybe("use_dma_api")? {
                Some(at) => Some(at),
                None => maybe("use_map_api")?,
            },
            batch: maybe("batch_last.id")?,
        })
    }
}

impl LayoutOffset {
    fn of(btf: &KernelBtf) -> Result<Self, BtfError> {
        const ENUM: &str = "vq_layout";
        let Some(layout) = btf.find_member(RING, "layout")? else {
            return Ok(Self::PackedRing(btf.offset(RING, "packed_ring")?));
        };
        let value = |name: &str| {
            let value = btf.enum_value(ENUM, name);
            value.and_then(|value| u32::try_from(value).ok())
        };
        let needed = |name: &str| {
            value(name).ok_or_else(|| BtfError::NoMember {
                kernel: btf.release().to_owned(),
                name: ENUM.to_owned(),
                member: name.to_owned(),
            })
        };
        Ok(Self::Layout {
            at: layout.offset,
            split: needed("VQ_LAYOUT_SPLIT")?,
            packed: needed("VQ_LAYOUT_PACKED")?,
            split_in_order: value("VQ_LAYOUT_SPLIT_IN_ORDER"),
            packed_in_order: value("VQ_LAYOUT_PACKED_IN_ORDER"),
        })
    }
}

impl SplitOffsets {
    fn of(btf: &KernelBtf) -> Result<Self, BtfError> {
        const STATE: &str = "vring_desc_state_split";
        let offset = |member| btf.offset(RING, member);
        Ok(Self {
            num: offset("split.vring.num")?,
            desc: offset("split.vring.desc")?,
            avail: offset("split.vring.avail")?,
            used: offset("split.vring.used")?,
            flags_shadow: offset("split.avail_flags_shadow")?,
            idx_shadow: offset("split.avail_idx_shadow")?,
            state: offset("split.desc_state")?,
            extra: offset("split.desc_extra")?,
            dma: offset("split.queue_dma_addr")?,
            state_size: btf.size_of(STATE)?,
            data: btf.offset(STATE, "data")?,
            table: btf.offset(STATE, "indir_desc")?,
            extras: ExtraOffsets::of(btf)?,
        })
    }
}

impl PackedOffsets {
    fn of(btf: &KernelBtf) -> Result<Self, BtfError> {
        const STATE: &str = "vring_desc_state_packed";
        let offset = |member| btf.offset(RING, member);
        let used_wrap = btf.find_member(RING, "packed.used_wrap_counter")?;
        Ok(Self {
            num: offset("packed.vring.num")?,
            desc: offset("packed.vring.desc")?,
            driver: offset("packed.vring.driver")?,
            device: offset("packed.vring.device")?,
            wrap: offset("packed.avail_wrap_counter")?,
            used_wrap: used_wrap.map(|found| found.offset),
            next: offset("packed.next_avail_idx")?,
            flags_shadow: offset("packed.event_flags_shadow")?,
            state: offset("packed.desc_state")?,
            extra: offset("packed.desc_extra")?,
            ring_dma: offset("packed.ring_dma_addr")?,
            driver_dma: offset("packed.driver_event_dma_addr")?,
            device_dma: offset("packed.device_event_dma_addr")?,
            state_size: btf.size_of(STATE)?,
            data: btf.offset(STATE, "data")?,
            table: btf.offset(STATE, "indir_desc")?,
            count: btf.offset(STATE, "num")?,
            extras: ExtraOffsets::of(btf)?,
        })
    }
}

impl ExtraOffsets {
    fn of(btf: &KernelBtf) -> Result<Self, BtfError> {
        const NAME: &str = "vring_desc_extra";
        Ok(Self {
            size: btf.size_of(NAME)?,
            len: btf.offset(NAME, "len")?,
            flags: btf.offset(NAME, "flags")?,
            next: btf.offset(NAME, "next")?,
        })
    }
}
