//! The pseudo-header in front of every record.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The version of the record's format that this crate writes.
///
/// A record is extended by meaning given to bytes that were zero; a change that
/// an old reader would misread raises this number.
pub const FORMAT_VERSION: u16 = 1;

const MAGIC: [u8; 2] = *b"VQ";

/// Magic, format version and payload length: 8 bytes.
///
/// | bytes | field |
/// |---|---|
/// | 0–1 | magic, `VQ` |
/// | 2–3 | format version, little-endian |
/// | 4–7 | bytes of payload behind the record, little-endian |
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PseudoHeader {
    magic: [u8; 2],
    version: U16,
    payload_len: U32,
}

const _: () = assert!(size_of::<PseudoHeader>() == PseudoHeader::LEN);

/// Bytes that are not the head of a record of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Fewer bytes than a pseudo-header has.
    #[error("only {len} bytes where the 8-byte pseudo-header should stand")]
    Short {
        /// How many there are.
        len: usize,
    },
    /// The magic is another.
    #[error("no record of virtscope's: magic is {found:02x?}, not \"VQ\"")]
    Magic {
        /// What stands there.
        found: [u8; 2],
    },
    /// Written by a newer virtscope.
    #[error(
        "record format version {found} is newer than {FORMAT_VERSION}, the newest this virtscope reads: update virtscope"
    )]
    Version {
        /// The record's version.
        found: u16,
    },
}

impl PseudoHeader {
    /// Bytes of a pseudo-header.
    pub const LEN: usize = 8;

    /// The header of a record of this version with `payload_len` bytes of payload.
    pub const fn new(payload_len: u32) -> Self {
        Self {
            magic: MAGIC,
            version: U16::new(FORMAT_VERSION),
            payload_len: U32::new(payload_len),
        }
    }

    /// Reads and checks the header at the start of `bytes`.
    ///
    /// # Errors
    /// Too few bytes, another magic, a newer version (or version 0, which never
    /// was).
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let (header, _) =
            Self::read_from_prefix(bytes).map_err(|_| HeaderError::Short { len: bytes.len() })?;
        if header.magic != MAGIC {
            return Err(HeaderError::Magic {
                found: header.magic,
            });
        }
        match header.version.get() {
            1..=FORMAT_VERSION => Ok(header),
            found => Err(HeaderError::Version { found }),
        }
    }

    /// The record's format version.
    pub const fn version(&self) -> u16 {
        self.version.get()
    }

    /// Bytes of payload behind the record.
    pub const fn payload_len(&self) -> u32 {
        self.payload_len.get()
    }

    /// The eight bytes as one word in memory order.
    #[inline]
    pub const fn to_word(self) -> u64 {
        zerocopy::transmute!(self)
    }

    /// The eight bytes as they stand in a packet.
    pub fn as_bytes(&self) -> &[u8] {
        IntoBytes::as_bytes(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_ours() {
        assert_eq!(
            PseudoHeader::parse(b"VQ\x01").unwrap_err(),
            HeaderError::Short { len: 3 }
        );
        assert_eq!(
            PseudoHeader::parse(b"QV\x01\0\0\0\0\0").unwrap_err(),
            HeaderError::Magic { found: *b"QV" }
        );
        assert_eq!(
            PseudoHeader::parse(b"VQ\x02\0\0\0\0\0").unwrap_err(),
            HeaderError::Version { found: 2 }
        );
    }

    #[test]
    fn bytes_are_little_endian() {
        let header = PseudoHeader::new(0x0102);
        assert_eq!(header.as_bytes(), b"VQ\x01\x00\x02\x01\x00\x00");
        assert_eq!(
            PseudoHeader::parse(header.as_bytes())
                .unwrap()
                .payload_len(),
            0x0102
        );
    }
}
