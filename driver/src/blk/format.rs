//! What block requests are made of (virtio 1.4 §5.2.6), for both ends.

/// Bytes of a sector, whatever the device's own block size is (virtio 1.4 §5.2.5).
pub const SECTOR: u32 = 512;

/// Bytes of the device's name: `VIRTIO_BLK_T_GET_ID` (virtio 1.4 §5.2.6).
pub const ID_LEN: u32 = 20;

/// What a request is for: `type` of `struct virtio_blk_req` (virtio 1.4 §5.2.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum RequestType {
    /// `VIRTIO_BLK_T_IN`: a read.
    In = 0,
    /// `VIRTIO_BLK_T_OUT`: a write.
    Out = 1,
    /// `VIRTIO_BLK_T_FLUSH`: earlier writes become stable.
    Flush = 4,
    /// `VIRTIO_BLK_T_GET_ID`: the device's name.
    GetId = 8,
    /// `VIRTIO_BLK_T_DISCARD`: sectors whose contents are not needed.
    Discard = 11,
}

impl RequestType {
    /// The type of this number, if it is one of these.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            0 => Some(Self::In),
            1 => Some(Self::Out),
            4 => Some(Self::Flush),
            8 => Some(Self::GetId),
            11 => Some(Self::Discard),
            _ => None,
        }
    }
}

/// The first fields of `struct virtio_blk_req`; data and status follow (virtio 1.4
/// §5.2.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// `type`, as a [`RequestType`] or what else the driver wrote.
    pub kind: u32,
    /// The first sector of a read or write, else 0.
    pub sector: u64,
}

impl RequestHeader {
    /// Bytes of it.
    pub const LEN: usize = 16;

    /// As it stands in memory: `type`, `reserved`, `sector`.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.kind.to_le_bytes());
        bytes[8..].copy_from_slice(&self.sector.to_le_bytes());
        bytes
    }

    /// The header that these bytes are; `reserved` may be anything.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let [k0, k1, k2, k3, _, _, _, _, s0, s1, s2, s3, s4, s5, s6, s7] = bytes;
        Self {
            kind: u32::from_le_bytes([k0, k1, k2, k3]),
            sector: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        }
    }
}

/// `struct virtio_blk_discard_write_zeroes`: a range of a discard request (virtio
/// 1.4 §5.2.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiscardSegment {
    /// The first sector.
    pub sector: u64,
    /// How many.
    pub sectors: u32,
    /// `unmap` in bit 0, which must be zero for a discard, and reserved bits.
    pub flags: u32,
}

impl DiscardSegment {
    /// Bytes of it.
    pub const LEN: usize = 16;

    /// As it stands in memory.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.sector.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.sectors.to_le_bytes());
        bytes[12..].copy_from_slice(&self.flags.to_le_bytes());
        bytes
    }

    /// The range that these bytes are.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let [
            s0,
            s1,
            s2,
            s3,
            s4,
            s5,
            s6,
            s7,
            n0,
            n1,
            n2,
            n3,
            f0,
            f1,
            f2,
            f3,
        ] = bytes;
        Self {
            sector: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            sectors: u32::from_le_bytes([n0, n1, n2, n3]),
            flags: u32::from_le_bytes([f0, f1, f2, f3]),
        }
    }
}

/// The last byte of a request, written by the device (virtio 1.4 §5.2.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum RequestStatus {
    /// `VIRTIO_BLK_S_OK`.
    Ok = 0,
    /// `VIRTIO_BLK_S_IOERR`: an error of device or driver.
    IoError = 1,
    /// `VIRTIO_BLK_S_UNSUPP`: the device has no such request.
    Unsupported = 2,
}

impl RequestStatus {
    /// The status of this number, if it is one.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Ok),
            1 => Some(Self::IoError),
            2 => Some(Self::Unsupported),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stand_in_memory_as_the_specification_has_them() {
        let header = RequestHeader {
            kind: 0x0403_0201,
            sector: 0x0807_0605_0403_0201,
        };
        let bytes = header.to_bytes();
        assert_eq!(bytes, [1, 2, 3, 4, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(RequestHeader::from_bytes(bytes), header);
        let segment = DiscardSegment {
            sector: 0x0807_0605_0403_0201,
            sectors: 0x0c0b_0a09,
            flags: 0x100f_0e0d,
        };
        let bytes = segment.to_bytes();
        assert_eq!(bytes[..], (1..=16).collect::<Vec<u8>>()[..]);
        assert_eq!(DiscardSegment::from_bytes(bytes), segment);
    }

    #[test]
    fn numbers_are_those_of_the_specification() {
        let types = [
            (RequestType::In, 0),
            (RequestType::Out, 1),
            (RequestType::Flush, 4),
            (RequestType::GetId, 8),
            (RequestType::Discard, 11),
        ];
        for (kind, raw) in types {
            assert_eq!(kind as u32, raw);
            assert_eq!(RequestType::from_raw(raw), Some(kind));
        }
        let known = (0..1000).filter(|raw| RequestType::from_raw(*raw).is_some());
        assert_eq!(known.count(), types.len());
        let statuses: Vec<_> = (0..=255).filter_map(RequestStatus::from_raw).collect();
        let expected = [
            RequestStatus::Ok,
            RequestStatus::IoError,
            RequestStatus::Unsupported,
        ];
        assert_eq!(statuses, expected);
        assert_eq!(expected.map(|status| status as u8), [0, 1, 2]);
    }
}
