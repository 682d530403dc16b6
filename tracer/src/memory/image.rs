//! What was read of a kernel's memory, kept to be read again elsewhere.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{KernelMemory, MemoryError};

/// Bytes of a kernel's memory, by address: of a moment that is past, or made up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryImage {
    /// By their first address; none reaches into another.
    pieces: BTreeMap<u64, Vec<u8>>,
}

/// A line of an image that is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no piece of memory: it should be an address and bytes, all in hexadecimal")]
pub struct ImageError(String);

impl MemoryImage {
    /// Puts `bytes` at `address`, over what may be there.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        let end = address.saturating_add(bytes.len() as u64);
        // All pieces that the new one touches become one with it.
        let touched: Vec<u64> = self
            .pieces
            .range(..=end)
            .filter(|(start, piece)| *start + piece.len() as u64 >= address)
            .map(|(start, _)| *start)
            .collect();
        let first = touched
            .first()
            .map_or(address, |first| (*first).min(address));
        let mut whole = Vec::new();
        let pieces = touched.iter().filter_map(|at| self.pieces.remove_entry(at));
        for (start, piece) in pieces.chain([(address, bytes.to_vec())]) {
            let at = usize::try_from(start - first).unwrap_or(usize::MAX);
            let needed = at.saturating_add(piece.len());
            if whole.len() < needed {
                whole.resize(needed, 0);
            }
            whole[at..needed].copy_from_slice(&piece);
        }
        self.pieces.insert(first, whole);
    }

    /// One line a piece: its address and its bytes.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.pieces.iter().map(|(address, bytes)| {
            let mut line = format!("{address:016x} ");
            for byte in bytes {
                // A string takes everything.
                let _ = write!(line, "{byte:02x}");
            }
            line
        })
    }

    /// Adds a piece as [`lines`](Self::lines) writes it.
    ///
    /// # Errors
    /// The line, if it is none.
    pub fn add_line(&mut self, line: &str) -> Result<(), ImageError> {
        let (address, bytes) = parse(line).ok_or_else(|| {
            let start: String = line.chars().take(40).collect();
            ImageError(start)
        })?;
        self.write(address, &bytes);
        Ok(())
    }
}

fn parse(line: &str) -> Option<(u64, Vec<u8>)> {
    let (address, digits) = line.split_once(' ')?;
    let address = u64::from_str_radix(address, 16).ok()?;
    let bytes: Option<Vec<u8>> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = str::from_utf8(pair).ok()?;
            let is_hex = pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit());
            is_hex.then(|| u8::from_str_radix(pair, 16).ok())?
        })
        .collect();
    let bytes = bytes?;
    address.checked_add(bytes.len() as u64)?;
    Some((address, bytes))
}

impl KernelMemory for MemoryImage {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        let found = self.pieces.range(..=address).next_back();
        let bytes = found.and_then(|(start, piece)| {
            let at = usize::try_from(address - start).ok()?;
            piece.get(at..at.checked_add(into.len())?)
        });
        match bytes {
            Some(bytes) => into.copy_from_slice(bytes),
            None if into.is_empty() => {}
            None => {
                return Err(MemoryError {
                    address,
                    length: into.len(),
                    reason: "the image does not have it".to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// Memory that keeps all that is read of it. What is read twice is kept as it was last.
#[derive(Debug)]
pub struct Recording<M> {
    memory: M,
    image: RefCell<MemoryImage>,
}

impl<M: KernelMemory> Recording<M> {
    /// Records what is read of `memory`.
    pub fn new(memory: M) -> Self {
        Self {
            memory,
            image: RefCell::default(),
        }
    }

    /// What has been read.
    pub fn into_image(self) -> MemoryImage {
        self.image.into_inner()
    }
}

impl<M: KernelMemory> KernelMemory for Recording<M> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        self.memory.read(address, into)?;
        self.image.borrow_mut().write(address, into);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// As a map of single bytes would have it, also after writing and reading lines.
        #[test]
        fn an_image_is_a_map_of_bytes(
            writes in proptest::collection::vec(
                (0u64..200, proptest::collection::vec(any::<u8>(), 0..20)), 0..20),
            reads in proptest::collection::vec((0u64..220, 0usize..30), 20),
        ) {
            const BASE: u64 = 0xffff_8880_0000_0000;
            let mut image = MemoryImage::default();
            let mut model: HashMap<u64, u8> = HashMap::new();
            for (at, bytes) in &writes {
                image.write(BASE + at, bytes);
                model.extend((BASE + at..).zip(bytes.iter().copied()));
            }
            let mut again = MemoryImage::default();
            for line in image.lines() {
                again.add_line(&line).unwrap();
            }
            prop_assert_eq!(&again, &image);
            for (at, length) in reads {
                let expected: Option<Vec<u8>> = (BASE + at..BASE + at + length as u64)
                    .map(|at| model.get(&at).copied())
                    .collect();
                let mut bytes = vec![0; length];
                let found = image.read(BASE + at, &mut bytes).ok().map(|()| bytes);
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn any_line_is_a_piece_or_an_error(line in "[0-9a-fx ]{0,40}") {
            let mut image = MemoryImage::default();
            if image.add_line(&line).is_err() {
                prop_assert_eq!(image, MemoryImage::default());
            }
        }
    }

    #[test]
    fn what_was_read_is_kept() {
        let mut image = MemoryImage::default();
        image.write(100, b"abcdef");
        let recording = Recording::new(image);
        let mut two = [0; 2];
        recording.read(102, &mut two).unwrap();
        assert_eq!(&two, b"cd");
        assert!(recording.read(105, &mut two).is_err());
        let kept = recording.into_image();
        assert_eq!(kept.lines().collect::<Vec<_>>(), ["0000000000000066 6364"]);
    }

    #[test]
    fn what_is_no_piece_is_refused() {
        let mut image = MemoryImage::default();
        for bad in ["", "12", "x 00", "12 0", "12 +1", "ffffffffffffffff 0000"] {
            assert!(image.add_line(bad).is_err(), "{bad:?}");
        }
    }
}
