//! Reading the kernel's structs.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel as read_raw;
use virtscope_tracer_shared::WINDOW;
use zerocopy::FromBytes;

use crate::maps::config;

/// The value at `address`, or all zero where it cannot be read.
#[inline(always)]
pub(crate) fn read<T: FromBytes>(address: u64) -> T {
    let mut value = T::new_zeroed();
    let to = (&raw mut value).cast();
    // SAFETY: the helper writes so many bytes, of which any make a `T`, and only after it has
    // found out whether there is something at `address`.
    unsafe { read_raw(to, size_of::<T>() as u32, address as *const _) };
    value
}

/// The layouts of a ring, as newer kernels number them.
pub(crate) const PACKED: u8 = 1;
pub(crate) const SPLIT_IN_ORDER: u8 = 2;
pub(crate) const PACKED_IN_ORDER: u8 = 3;

/// What the driver keeps of a ring (Linux `struct vring_virtqueue`).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Ring {
    pub(crate) layout: u8,
    pub(crate) event_idx: u8,
    pub(crate) broken: u8,
    pub(crate) num: u16,
    pub(crate) free: u16,
    pub(crate) free_head: u16,
    pub(crate) num_added: u16,
    pub(crate) last_used: u16,
    pub(crate) batch_id: u32,
    pub(crate) batch_len: u32,
    /// The next available position; packed: offset and wrap.
    pub(crate) avail: u16,
    /// The driver's own event flags.
    pub(crate) flags: u16,
    /// Split: unused. Packed: the descriptor ring.
    pub(crate) desc: u64,
    /// Split: the available ring. Packed: the driver's event suppression.
    pub(crate) driver: u64,
    /// Split: the used ring. Packed: the device's event suppression.
    pub(crate) device: u64,
    /// `desc_state`.
    pub(crate) state: u64,
}

#[repr(C, align(8))]
struct Window([u8; WINDOW]);

/// Bytes of its beginning that have what a notification says, on the kernels there are.
const HEAD: usize = 48;

#[repr(C, align(8))]
struct Head([u8; HEAD]);

/// Where that ends on this kernel.
#[inline(always)]
fn head_ends() -> u32 {
    let ends = config!(window_num_free)
        .max(config!(window_layout))
        .max(config!(window_event))
        .max(config!(window_broken));
    ends + 4
}

macro_rules! at {
    ($window:expr, $field:ident, $ty:ty) => {
        // SAFETY: it begins within the window, and the verifier, which knows the offset,
        // refuses what ends behind it or is not aligned.
        unsafe { core::ptr::read_volatile(member($window, config!($field)).cast::<$ty>()) }
    };
}

/// Where a member is. For what the compiler would make of it, it takes two instructions more.
#[inline(always)]
fn member(window: *const u8, offset: u32) -> *const u8 {
    let mut at = u64::from(offset);
    // SAFETY: it changes a register, `at`.
    unsafe { core::arch::asm!("{0} += {1}", inout(reg) at, in(reg) window) };
    at as *const u8
}

impl Ring {
    /// Reads what the driver keeps of `vq`.
    #[inline(always)]
    pub(crate) fn load(&mut self, vq: u64) {
        load_ring(vq, self);
    }

    /// The same of what a notification says: free descriptors and flags, and nothing else.
    #[inline(always)]
    pub(crate) fn load_head(&mut self, vq: u64) {
        // The verifier knows which of the two it is.
        if head_ends() <= HEAD as u32 {
            load_ring_head(vq, self);
        } else {
            load_ring(vq, self);
        }
    }

    /// Entries of the ring of `vq`, without reading all of it.
    #[inline(always)]
    pub(crate) fn size_of(vq: u64) -> u32 {
        let window = vq + u64::from(config!(window));
        let layout: u8 = read(window + u64::from(config!(window_layout)));
        // Of the enum, which has four values, the first byte is all there is to it.
        let num = if layout == PACKED || layout == PACKED_IN_ORDER {
            config!(window_packed_num)
        } else {
            config!(window_split_num)
        };
        read::<u32>(window + u64::from(num)) & 0xffff
    }

    /// What stands at the window's beginning, into its place.
    #[inline(always)]
    fn fill_head(&mut self, window: *const u8) {
        self.layout = if config!(layout_is_enum) != 0 {
            (at!(window, window_layout, u32) & 3) as u8
        } else {
            (at!(window, window_layout, u8) != 0) as u8
        };
        self.event_idx = at!(window, window_event, u8);
        self.broken = at!(window, window_broken, u8);
        self.free = at!(window, window_num_free, u32) as u16;
    }

    /// Each member into its place.
    #[inline(always)]
    fn fill(&mut self, window: *const u8) {
        self.fill_head(window);
        self.free_head = at!(window, window_free_head, u32) as u16;
        self.num_added = at!(window, window_num_added, u32) as u16;
        self.last_used = at!(window, window_last_used_idx, u16);
        if config!(layout_is_enum) != 0 {
            self.batch_id = at!(window, window_batch_id, u32);
            self.batch_len = at!(window, window_batch_len, u32);
        } else {
            self.batch_id = 0;
            self.batch_len = 0;
        }
        if self.is_packed() {
            let wrap = (at!(window, window_packed_wrap, u8) != 0) as u16;
            self.num = at!(window, window_packed_num, u32) as u16;
            self.avail = (at!(window, window_packed_next, u16) & 0x7fff) | (wrap << 15);
            self.flags = at!(window, window_packed_flags, u16);
            self.desc = at!(window, window_packed_desc, u64);
            self.driver = at!(window, window_packed_driver, u64);
            self.device = at!(window, window_packed_device, u64);
            self.state = at!(window, window_packed_state, u64);
        } else {
            self.num = at!(window, window_split_num, u32) as u16;
            self.avail = at!(window, window_split_idx, u16);
            self.flags = at!(window, window_split_flags, u16);
            self.desc = 0;
            self.driver = at!(window, window_split_avail, u64);
            self.device = at!(window, window_split_used, u64);
            self.state = at!(window, window_split_state, u64);
        }
    }

    #[inline(always)]
    pub(crate) fn is_packed(&self) -> bool {
        self.layout == PACKED || self.layout == PACKED_IN_ORDER
    }

    #[inline(always)]
    pub(crate) fn is_in_order(&self) -> bool {
        self.layout == SPLIT_IN_ORDER || self.layout == PACKED_IN_ORDER
    }

    #[inline(always)]
    pub(crate) fn is_packed_in_order(&self) -> bool {
        self.layout == PACKED_IN_ORDER
    }

    /// Whether the driver is about to take back a buffer of which no used entry tells but
    /// that of a later one.
    #[inline(always)]
    pub(crate) fn is_in_batch(&self) -> bool {
        self.is_in_order() && self.batch_id < u32::from(self.num)
    }

    /// The token that the driver keeps for `head`; 0 if nothing is in flight there.
    #[inline(always)]
    pub(crate) fn token(&self, head: u16) -> u64 {
        let head = u64::from(head);
        if self.is_packed() {
            let size = u64::from(config!(packed_state_size));
            read(self.state + head * size + u64::from(config!(packed_state_data)))
        } else {
            let size = u64::from(config!(split_state_size));
            read(self.state + head * size + u64::from(config!(split_state_data)))
        }
    }

    /// Bytes that the device can have written at most into the buffer `head` of a ring
    /// whose device uses buffers in order.
    #[inline(always)]
    pub(crate) fn total_in_len(&self, head: u16) -> u32 {
        let head = u64::from(head);
        if self.is_packed() {
            let size = u64::from(config!(packed_state_size));
            read(self.state + head * size + u64::from(config!(packed_state_total)))
        } else {
            let size = u64::from(config!(split_state_size));
            read(self.state + head * size + u64::from(config!(split_state_total)))
        }
    }

    /// Ring entries that the buffer `head` of a packed ring takes.
    #[inline(always)]
    pub(crate) fn packed_num(&self, head: u16) -> u16 {
        let size = u64::from(config!(packed_state_size));
        read(self.state + u64::from(head) * size + u64::from(config!(packed_state_num)))
    }

    /// The used index that the device has published (split).
    #[inline(always)]
    pub(crate) fn used_idx(&self) -> u16 {
        read(self.device + 2)
    }

    /// The head in the available entry at `position` (split).
    #[inline(always)]
    pub(crate) fn split_avail(&self, position: u16) -> u16 {
        let slot = u64::from(position & self.num.wrapping_sub(1));
        read(self.driver + 4 + 2 * slot)
    }

    /// Id and length in the used entry at `position` (split).
    #[inline(always)]
    pub(crate) fn split_used(&self, position: u16) -> (u32, u32) {
        let slot = u64::from(position & self.num.wrapping_sub(1));
        let entry: [u32; 2] = read(self.device + 4 + 8 * slot);
        (entry[0], entry[1])
    }

    /// Length, id and flags in the descriptor at `position` (packed).
    #[inline(always)]
    pub(crate) fn packed_desc(&self, position: u16) -> (u32, u16, u16) {
        let slot = u64::from(position & 0x7fff);
        let desc: [u32; 4] = read(self.desc + 16 * slot);
        (desc[2], desc[3] as u16, (desc[3] >> 16) as u16)
    }

    /// Whether the device has used the entry at `position` that the driver would take
    /// next (virtio 1.4 §2.8.1; Linux `more_used`).
    #[inline(always)]
    pub(crate) fn is_used(&self, position: u16) -> bool {
        if self.is_packed() {
            let (_, _, flags) = self.packed_desc(position);
            is_used_by(flags, position)
        } else {
            self.used_idx() != position
        }
    }

    /// Where the driver's own count of adds says that the last kick decision was.
    #[inline(always)]
    pub(crate) fn decided(&self) -> u16 {
        self.back(self.avail, self.num_added)
    }

    /// `position` moved on by `by` entries.
    #[inline(always)]
    pub(crate) fn advance(&self, position: u16, by: u16) -> u16 {
        if !self.is_packed() {
            return position.wrapping_add(by);
        }
        let offset = (position & 0x7fff).wrapping_add(by);
        if offset >= self.num {
            (offset - self.num) | ((position & 0x8000) ^ 0x8000)
        } else {
            offset | (position & 0x8000)
        }
    }

    /// `position` moved back by `by` entries.
    #[inline(always)]
    pub(crate) fn back(&self, position: u16, by: u16) -> u16 {
        if !self.is_packed() {
            return position.wrapping_sub(by);
        }
        let offset = position & 0x7fff;
        if offset < by {
            offset.wrapping_add(self.num).wrapping_sub(by) | ((position & 0x8000) ^ 0x8000)
        } else {
            (offset - by) | (position & 0x8000)
        }
    }

    /// Entries from `old` up to `new`.
    #[inline(always)]
    pub(crate) fn distance(&self, old: u16, new: u16) -> u16 {
        if self.is_packed() {
            virtscope_tracer_shared::packed_distance(old, new, self.num)
        } else {
            new.wrapping_sub(old)
        }
    }
}

/// The same of a packed ring's descriptor with these flags.
#[inline(always)]
pub(crate) fn is_used_by(flags: u16, position: u16) -> bool {
    let avail = flags & (1 << 7) != 0;
    let used = flags & (1 << 15) != 0;
    avail == used && used == (position & 0x8000 != 0)
}

/// In a function of its own, because the window takes much of the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn load_ring(vq: u64, ring: *mut Ring) -> i32 {
    // SAFETY: null, or a caller's reference.
    let Some(ring) = (unsafe { ring.as_mut() }) else {
        return 0;
    };
    let mut window = MaybeUninit::<Window>::uninit();
    // SAFETY: the helper writes all of the window, zeroes if it cannot read.
    unsafe {
        read_raw(
            window.as_mut_ptr().cast(),
            WINDOW as u32,
            (vq + u64::from(config!(window))) as *const _,
        );
        ring.fill(window.as_ptr().cast());
    }
    0
}

/// See [`Ring::load_head`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn load_ring_head(vq: u64, ring: *mut Ring) -> i32 {
    // SAFETY: null, or a caller's reference.
    let Some(ring) = (unsafe { ring.as_mut() }) else {
        return 0;
    };
    if head_ends() > HEAD as u32 {
        return 0;
    }
    let mut head = MaybeUninit::<Head>::uninit();
    // SAFETY: the helper writes all of the head, zeroes if it cannot read.
    unsafe {
        read_raw(
            head.as_mut_ptr().cast(),
            HEAD as u32,
            (vq + u64::from(config!(window))) as *const _,
        );
    }
    ring.fill_head(head.as_ptr().cast());
    0
}
