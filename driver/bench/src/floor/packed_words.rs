//! The words of a packed ring, written down here a second time: the floor uses
//! nothing of the driver that it is the measure of.

/// `VIRTQ_DESC_F_NEXT` (virtio 1.4 §2.8.6).
pub(crate) const F_NEXT: u16 = 1;
/// `VIRTQ_DESC_F_WRITE` (virtio 1.4 §2.8.5).
pub(crate) const F_WRITE: u16 = 2;
/// `VIRTQ_DESC_F_AVAIL` (virtio 1.4 §2.8.1).
const F_AVAIL: u16 = 1 << 7;
/// `VIRTQ_DESC_F_USED` (virtio 1.4 §2.8.1).
const F_USED: u16 = 1 << 15;

/// Offset of `flags` in an event suppression structure (virtio 1.4 §2.8.14).
pub(crate) const EVENT_FLAGS: usize = 2;
/// `RING_EVENT_FLAGS_DISABLE` (virtio 1.4 §2.8.10).
pub(crate) const EVENT_DISABLE: u16 = 1;

/// Bytes of a descriptor.
pub(crate) const DESCRIPTOR_LEN: usize = 16;

/// Offset of `addr`.
#[inline(always)]
pub(crate) const fn address_word(slot: u16) -> usize {
    DESCRIPTOR_LEN * slot as usize
}

/// Offset of `len`, `id` and `flags`, which are one word of 64 bits.
#[inline(always)]
pub(crate) const fn tail_word(slot: u16) -> usize {
    address_word(slot) + 8
}

/// Offset of `id`.
#[inline(always)]
pub(crate) const fn id_word(slot: u16) -> usize {
    address_word(slot) + 12
}

/// Offset of `flags`.
#[inline(always)]
pub(crate) const fn flags_word(slot: u16) -> usize {
    address_word(slot) + 14
}

/// `len`, `id` and `flags` in one word.
#[inline(always)]
pub(crate) const fn tail(len: u32, id: u16, flags: u16) -> u64 {
    len as u64 | (id as u64) << 32 | (flags as u64) << 48
}

/// The flags of an available descriptor in the round of `wrap`.
#[inline(always)]
pub(crate) const fn available_flags(wrap: bool) -> u16 {
    if wrap { F_AVAIL } else { F_USED }
}

/// The flags of a used descriptor in the round of `wrap`.
#[inline(always)]
pub(crate) const fn used_flags(wrap: bool) -> u16 {
    if wrap { F_AVAIL | F_USED } else { 0 }
}
