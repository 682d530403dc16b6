//! Requests of a block device (virtio 1.4 §5.2.6).

use virtscope_analyzer::Life;
use virtscope_record::{FeatureBits, QueueFacts};

use super::Words;

/// The block device's type (virtio 1.4 §5).
const BLOCK_DEVICE: u16 = 2;
/// Bytes in front of the data: type, reserved, sector.
const HEADER: u32 = 16;

/// A block device's request in words; `None` if its header was not captured whole, or
/// stands in an order of bytes that is the guest's own.
pub(super) fn words(life: &Life, facts: &QueueFacts) -> Option<Words> {
    let is_known =
        facts.device_type == BLOCK_DEVICE && facts.features.contains(FeatureBits::VERSION_1);
    let header = life
        .request
        .bytes
        .first_chunk::<16>()
        .filter(|_| is_known)?;
    let (kind, rest) = header.split_first_chunk::<4>()?;
    let sector = u64::from_le_bytes(*rest.last_chunk::<8>()?);
    let shape = &life.shape;
    let written = shape.readable_bytes.saturating_sub(HEADER);
    let read = shape.writable_bytes.saturating_sub(1);
    let mut detail = match u32::from_le_bytes(*kind) {
        0 => format!("read sector {sector}, {read} bytes"),
        1 => format!("write sector {sector}, {written} bytes"),
        4 => "flush".to_owned(),
        8 => "get the device's id".to_owned(),
        10 => "get the lifetime".to_owned(),
        11 => "discard".to_owned(),
        13 => "write zeroes".to_owned(),
        14 => "secure erase".to_owned(),
        15 => format!("append to the zone of sector {sector}, {written} bytes"),
        16 => format!("report zones from sector {sector}, {read} bytes"),
        18 => format!("open the zone of sector {sector}"),
        20 => format!("close the zone of sector {sector}"),
        22 => format!("finish the zone of sector {sector}"),
        24 => format!("reset the zone of sector {sector}"),
        26 => "reset all zones".to_owned(),
        other => format!("type {other}, {written} bytes readable, {read} writable"),
    };
    let status = match status(life) {
        Some(0) => {
            detail.push_str(" → ok");
            String::new()
        }
        Some(1) => "IOERR".to_owned(),
        Some(2) => "UNSUPP".to_owned(),
        Some(3) => "ZONE_INVALID_CMD".to_owned(),
        Some(4) => "ZONE_UNALIGNED_WP".to_owned(),
        Some(5) => "ZONE_OPEN_RESOURCE".to_owned(),
        Some(6) => "ZONE_ACTIVE_RESOURCE".to_owned(),
        Some(other) => format!("status {other}"),
        None => String::new(),
    };
    Some(Words { status, detail })
}

/// The status: the last byte that the device may write. Of a long read it lies behind
/// what a capture keeps.
fn status(life: &Life) -> Option<u8> {
    let reply = &life.reply;
    let is_whole = usize::try_from(life.shape.writable_bytes) == Ok(reply.bytes.len());
    reply.bytes.last().copied().filter(|_| is_whole)
}
