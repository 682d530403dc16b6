//! What travels on a [`StreamSocket`](super::StreamSocket): frames, one behind the
//! other, little-endian like everything in virtio.
//!
//! The driver sends each buffer as a [`Submission`], followed by the
//! device-readable bytes:
//!
//! | bytes | |
//! |---|---|
//! | 0–3 | `id`: below the queue's capacity, and not in use by another buffer |
//! | 4–7 | `readable`: how many bytes follow |
//! | 8–11 | `writable`: how many bytes may be answered |
//!
//! The device answers each, in any order, when it has received it whole, with a
//! [`Completion`], followed by what is to stand in the device-writable part:
//!
//! | bytes | |
//! |---|---|
//! | 0–3 | `id`: of a buffer not yet answered |
//! | 4–7 | `written`: how many bytes follow, no more than `writable` |
//!
//! An end that closes its socket is gone. Whoever sends a frame that the rules
//! above forbid has no place from which the stream goes on, so it is not read any
//! further.

/// The head of a frame to the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Submission {
    /// The buffer's id, which the answer names.
    pub id: u32,
    /// Device-readable bytes: they follow.
    pub readable: u32,
    /// Device-writable bytes.
    pub writable: u32,
}

impl Submission {
    /// Bytes of the head.
    pub const LEN: usize = 12;

    /// The head as it is sent.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.id.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.readable.to_le_bytes());
        bytes[8..].copy_from_slice(&self.writable.to_le_bytes());
        bytes
    }

    /// The head that these bytes are.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let [i0, i1, i2, i3, r0, r1, r2, r3, w0, w1, w2, w3] = bytes;
        Self {
            id: u32::from_le_bytes([i0, i1, i2, i3]),
            readable: u32::from_le_bytes([r0, r1, r2, r3]),
            writable: u32::from_le_bytes([w0, w1, w2, w3]),
        }
    }
}

/// The head of a frame to the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completion {
    /// The buffer's id.
    pub id: u32,
    /// Bytes written into it: they follow.
    pub written: u32,
}

impl Completion {
    /// Bytes of the head.
    pub const LEN: usize = 8;

    /// The head as it is sent.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.id.to_le_bytes());
        bytes[4..].copy_from_slice(&self.written.to_le_bytes());
        bytes
    }

    /// The head that these bytes are.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let [i0, i1, i2, i3, w0, w1, w2, w3] = bytes;
        Self {
            id: u32::from_le_bytes([i0, i1, i2, i3]),
            written: u32::from_le_bytes([w0, w1, w2, w3]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_little_endian() {
        let submission = Submission {
            id: 0x0403_0201,
            readable: 0x0807_0605,
            writable: 0x0c0b_0a09,
        };
        let bytes = submission.to_bytes();
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(Submission::from_bytes(bytes), submission);
        let completion = Completion {
            id: 0x0403_0201,
            written: 0x0807_0605,
        };
        let bytes = completion.to_bytes();
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Completion::from_bytes(bytes), completion);
    }
}
