//! Reading the kernel's memory, wherever it is: through eBPF in the kernel that runs
//! ([`BpfMemory`]), or from what was read before ([`MemoryImage`]).
//!
//! All walking is done here, in user space, over [`KernelMemory`]. What is read may
//! change meanwhile; a caller that needs it all of one moment reads it again and
//! compares.

mod bpf;
mod image;

pub use bpf::{BpfMemory, PeekError};
pub use image::{ImageError, MemoryImage, Recording};

/// The kernel's memory could not be read at that address.
///
/// An address that is not mapped is an ordinary thing to meet: what was read before may
/// have been freed meanwhile.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot read {length} bytes of the kernel's memory at {address:#x}: {reason}")]
pub struct MemoryError {
    /// Where it begins.
    pub address: u64,
    /// How many bytes were wanted.
    pub length: usize,
    /// What the kernel said.
    pub reason: String,
}

/// The memory of a kernel.
pub trait KernelMemory {
    /// Fills `into` with what stands at `address`.
    ///
    /// # Errors
    /// [`MemoryError`] if any byte of it cannot be read; `into` may then be half filled.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError>;
}

impl<M: KernelMemory + ?Sized> KernelMemory for &M {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        (**self).read(address, into)
    }
}

/// Bytes of a name that are read; Linux' own are shorter.
const MAX_NAME: usize = 128;

/// What is read in one go: bytes of one moment, or nearly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bytes(Vec<u8>);

impl Bytes {
    pub(crate) fn read(
        memory: &dyn KernelMemory,
        address: u64,
        length: usize,
    ) -> Result<Self, MemoryError> {
        let mut bytes = vec![0; length];
        memory.read(address, &mut bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes at `at`; zeros where they end, which the caller has ruled out by
    /// reading enough.
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let found = self.0.get(at..).and_then(|rest| rest.first_chunk());
        found.copied().unwrap_or([0; N])
    }

    pub(crate) fn u8(&self, at: u32) -> u8 {
        self.array::<1>(at as usize)[0]
    }

    pub(crate) fn flag(&self, at: u32) -> bool {
        self.u8(at) != 0
    }

    /// In the machine's byte order, as the kernel keeps its own.
    pub(crate) fn u16(&self, at: u32) -> u16 {
        u16::from_ne_bytes(self.array(at as usize))
    }

    pub(crate) fn u32(&self, at: u32) -> u32 {
        u32::from_ne_bytes(self.array(at as usize))
    }

    pub(crate) fn u64(&self, at: u32) -> u64 {
        u64::from_ne_bytes(self.array(at as usize))
    }

    /// Little-endian, as virtio 1.4 §1.4 has all that both sides share.
    pub(crate) fn le16(&self, at: u32) -> u16 {
        u16::from_le_bytes(self.array(at as usize))
    }

    pub(crate) fn le32(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.array(at as usize))
    }

    /// Pieces of `length` bytes each.
    pub(crate) fn pieces(&self, length: u32) -> impl ExactSizeIterator<Item = Self> + '_ {
        let pieces = self.0.chunks_exact((length as usize).max(1));
        pieces.map(|piece| Self(piece.to_vec()))
    }
}

/// The pointer at `address`.
pub(crate) fn pointer(memory: &dyn KernelMemory, address: u64) -> Result<u64, MemoryError> {
    Ok(Bytes::read(memory, address, 8)?.u64(0))
}

/// The name that ends with a zero byte at `address`: at most 128 bytes, what is not
/// UTF-8 replaced. `None` for a null pointer.
pub(crate) fn name(memory: &dyn KernelMemory, address: u64) -> Result<Option<String>, MemoryError> {
    if address == 0 {
        return Ok(None);
    }
    let mut name = Vec::new();
    // In pieces that end at a multiple of their length: a name may be the last thing on
    // a page before one that cannot be read.
    const PIECE: u64 = 16;
    while name.len() < MAX_NAME {
        let at = address.wrapping_add(name.len() as u64);
        let length = PIECE - at % PIECE;
        let piece = Bytes::read(memory, at, length as usize)?;
        if let Some(end) = piece.0.iter().position(|byte| *byte == 0) {
            name.extend_from_slice(&piece.0[..end]);
            break;
        }
        name.extend_from_slice(&piece.0);
    }
    name.truncate(MAX_NAME);
    Ok(Some(String::from_utf8_lossy(&name).into_owned()))
}
