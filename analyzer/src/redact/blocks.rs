//! Buffers of block and network devices: a header, and contents.

/// `struct virtio_blk_req` before its data: type, reserved, sector (virtio 1.4
/// §5.2.6).
const BLOCK_HEADER: usize = 16;
/// `struct virtio_net_hdr` with `num_buffers` (virtio 1.4 §5.1.6).
const NET_HEADER: usize = 12;

/// The device-readable part of a block request: header and what is written.
pub(super) fn request(payload: &mut [u8]) {
    if let Some(data) = payload.get_mut(BLOCK_HEADER..) {
        data.fill(0);
    }
}

/// The device-writable part: what was read, and the status in the last byte.
pub(super) fn reply(payload: &mut [u8], used_length: u32) {
    let is_whole = payload.len() == used_length as usize;
    let kept = usize::from(is_whole);
    let data = payload.len().saturating_sub(kept);
    if let Some(data) = payload.get_mut(..data) {
        data.fill(0);
    }
}

/// A frame behind its header.
pub(super) fn frame(payload: &mut [u8]) {
    if let Some(data) = payload.get_mut(NET_HEADER..) {
        data.fill(0);
    }
}
