//! What the loader tells the programs before they are loaded.
//!
//! It lies in read-only memory that the verifier knows, so that what is switched off
//! costs nothing.

use zerocopy::{Immutable, IntoBytes};

/// Bytes of `struct vring_virtqueue` that a program reads at once.
pub const WINDOW: usize = 128;
/// Devices a filter may name.
pub const MAX_FILTERED_DEVICES: usize = 16;
/// Queues a filter may name.
pub const MAX_FILTERED_QUEUES: usize = 32;
/// Functions by which transports notify a device and that are hooked.
pub const MAX_NOTIFY: usize = 4;
/// Bytes of a driver's name that a filter compares.
pub const MAX_DRIVER_NAME: usize = 32;

/// How much of a buffer is taken along.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u32)]
pub enum PayloadMode {
    /// Nothing.
    None = 0,
    /// What the protocol on the queue says about its data, and none of the data.
    #[default]
    Headers = 1,
    /// The first *snaplen* bytes, whatever they are.
    Full = 2,
}

/// Offsets of the running kernel, and what was asked for.
///
/// Offsets named `window_…` count from the start of the window, others from the start
/// of their struct.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
pub struct Config {
    /// Address of a pointer-sized variable with the address of the array of all
    /// `struct page`, 0 if unknown (Linux x86 `vmemmap_base`).
    pub vmemmap_base: u64,
    /// Address of the variable with the start of the direct map, 0 if unknown (Linux
    /// x86 `page_offset_base`).
    pub page_offset_base: u64,
    /// Address of the array of per-CPU offsets, 0 if unknown.
    pub per_cpu_offset: u64,
    /// Offset of the preemption counter among the per-CPU variables.
    pub preempt_count: u64,
    /// Addresses of the functions whose calls become *notify* records, 0 if unknown.
    pub notify: [u64; MAX_NOTIFY],
    /// Bytes that wait in the buffer when whoever reads it is woken.
    pub wake_at: u64,

    /// Where the window into `struct vring_virtqueue` begins.
    pub window: u32,
    /// `vq.num_free`, u32.
    pub window_num_free: u32,
    /// `packed_ring`, bool, or `layout`, enum.
    pub window_layout: u32,
    /// Whether it is the enum, which knows in-order rings.
    pub layout_is_enum: u32,
    /// `event`, bool.
    pub window_event: u32,
    /// `broken`, bool.
    pub window_broken: u32,
    /// `free_head`, u32.
    pub window_free_head: u32,
    /// `num_added`, u32.
    pub window_num_added: u32,
    /// `last_used_idx`, u16.
    pub window_last_used_idx: u32,
    /// `batch_last.id`, u32; only where `layout_is_enum`.
    pub window_batch_id: u32,
    /// `batch_last.len`, u32; only where `layout_is_enum`.
    pub window_batch_len: u32,
    /// `split.vring.num`, u32.
    pub window_split_num: u32,
    /// `split.vring.avail`, pointer.
    pub window_split_avail: u32,
    /// `split.vring.used`, pointer.
    pub window_split_used: u32,
    /// `split.avail_flags_shadow`, u16.
    pub window_split_flags: u32,
    /// `split.avail_idx_shadow`, u16.
    pub window_split_idx: u32,
    /// `split.desc_state`, pointer.
    pub window_split_state: u32,
    /// `packed.vring.num`, u32.
    pub window_packed_num: u32,
    /// `packed.vring.desc`, pointer.
    pub window_packed_desc: u32,
    /// `packed.vring.driver`, pointer.
    pub window_packed_driver: u32,
    /// `packed.vring.device`, pointer.
    pub window_packed_device: u32,
    /// `packed.avail_wrap_counter`, bool.
    pub window_packed_wrap: u32,
    /// `packed.next_avail_idx`, u16.
    pub window_packed_next: u32,
    /// `packed.event_flags_shadow`, u16.
    pub window_packed_flags: u32,
    /// `packed.desc_state`, pointer.
    pub window_packed_state: u32,

    /// `struct vring_virtqueue`: `notify`, pointer; 0 if unknown.
    pub vring_notify: u32,
    /// `struct virtqueue`: `vdev`.
    pub vq_vdev: u32,
    /// `struct virtqueue`: `name`, pointer.
    pub vq_name: u32,
    /// `struct virtqueue`: `index`, u32.
    pub vq_index: u32,
    /// `struct virtio_device`: `index`, int.
    pub vdev_index: u32,
    /// `struct virtio_device`: `id.device`, u32.
    pub vdev_type: u32,
    /// `struct virtio_device`: `features`, u64.
    pub vdev_features: u32,
    /// `struct virtio_device`: `dev.driver`, pointer.
    pub vdev_driver: u32,
    /// `struct device_driver`: `name`, pointer.
    pub driver_name: u32,

    /// Bytes of `struct vring_desc_state_split`.
    pub split_state_size: u32,
    /// Its `data`.
    pub split_state_data: u32,
    /// Its `total_in_len`; only where `layout_is_enum`.
    pub split_state_total: u32,
    /// Bytes of `struct vring_desc_state_packed`.
    pub packed_state_size: u32,
    /// Its `data`.
    pub packed_state_data: u32,
    /// Its `num`, u16.
    pub packed_state_num: u32,
    /// Its `total_in_len`; only where `layout_is_enum`.
    pub packed_state_total: u32,

    /// Bytes of `struct scatterlist`.
    pub sg_size: u32,
    /// Binary logarithm of the bytes of `struct page`.
    pub page_shift: u32,

    /// Bytes of payload a record carries at most.
    pub snaplen: u32,
    /// [`PayloadMode`].
    pub payload: u32,
    /// Of every so many requests one is kept; 0 or 1: all.
    pub sample: u32,
    /// Only requests that this process or thread adds; 0: all.
    pub task: u32,
    /// Entries of `devices` that count; 0: all devices.
    pub device_count: u32,
    /// Device numbers.
    pub devices: [u32; MAX_FILTERED_DEVICES],
    /// Entries of `queues` that count; 0: all queues.
    pub queue_count: u32,
    /// Queues: the device's number, or 0xffff for any, times 65536, and the index.
    pub queues: [u32; MAX_FILTERED_QUEUES],
    /// The driver's name, zero behind its end; empty: all drivers.
    pub driver: [u8; MAX_DRIVER_NAME],
    /// Slots there are for buffers in flight, of all queues together.
    pub slots: u32,
    /// CPUs there may be.
    pub cpus: u32,
    /// Whether a record may carry more than [`SMALL_SNAPLEN`](crate::SMALL_SNAPLEN), for
    /// which there are memory and lists of their own then.
    pub whole: u32,
}
