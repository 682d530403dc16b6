//! What stands before each packet (virtio 1.4 §5.1.9), for both ends.

/// The largest Ethernet frame without offloads: 14 bytes of header and 1500 of
/// payload (virtio 1.4 §5.1.9.3).
pub const MAX_FRAME: usize = 1514;

/// `VIRTIO_NET_HDR_GSO_NONE`: the packet is no larger than it looks.
pub const GSO_NONE: u8 = 0;

/// `struct virtio_net_hdr`, as far as it goes without offloads, hashes and tunnels.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct NetHeader {
    /// `VIRTIO_NET_HDR_F_*`.
    pub flags: u8,
    /// `VIRTIO_NET_HDR_GSO_*`.
    pub gso_type: u8,
    /// A hint, where `gso_type` says what it is for.
    pub hdr_len: u16,
    /// Bytes of each segment, likewise.
    pub gso_size: u16,
    /// Where the checksum begins, if `flags` says that it is needed.
    pub csum_start: u16,
    /// Where it goes, likewise.
    pub csum_offset: u16,
    /// Buffers that a received packet is spread over; 0 in a sent one.
    pub num_buffers: u16,
}

impl NetHeader {
    /// Bytes of it.
    pub const LEN: usize = 12;

    /// As it stands in memory.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let words = [
            self.hdr_len,
            self.gso_size,
            self.csum_start,
            self.csum_offset,
            self.num_buffers,
        ];
        for (place, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The header that these bytes are.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1, n0, n1] = bytes;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_le_bytes([h0, h1]),
            gso_size: u16::from_le_bytes([g0, g1]),
            csum_start: u16::from_le_bytes([s0, s1]),
            csum_offset: u16::from_le_bytes([o0, o1]),
            num_buffers: u16::from_le_bytes([n0, n1]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_stand_in_memory_as_the_specification_has_them() {
        let header = NetHeader {
            flags: 1,
            gso_type: 2,
            hdr_len: 0x0403,
            gso_size: 0x0605,
            csum_start: 0x0807,
            csum_offset: 0x0a09,
            num_buffers: 0x0c0b,
        };
        let bytes = header.to_bytes();
        assert_eq!(bytes[..], (1..=12).collect::<Vec<u8>>()[..]);
        assert_eq!(NetHeader::from_bytes(bytes), header);
    }
}
