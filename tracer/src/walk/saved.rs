//! What a walk read, kept as text to be walked again elsewhere: without the kernel,
//! without privileges.
//!
//! It holds the structs of the rings, their tables and names; nothing of what the
//! buffers hold. The first line names the format, the second has the offsets as JSON,
//! then come lines `symbol NAME ADDRESS` and lines `ADDRESS BYTES`.

use std::io::{self, BufRead, Write};

use super::{Offsets, Walk};
use crate::kallsyms::Symbols;
use crate::memory::MemoryImage;

const HEADING: &str = "virtscope kernel image 1";
const SYMBOL: &str = "symbol ";
/// Bytes of an image that are read: a thousand full rings of the largest size have less.
const MAX_BYTES: u64 = 1 << 30;

/// All that a walk takes, of a moment that is past.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Saved {
    offsets: Offsets,
    symbols: Symbols,
    memory: MemoryImage,
}

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SavedError {
    /// It is something else.
    #[error("it is no image of a kernel: make one with virtscope inspect --save FILE")]
    Foreign,
    /// A line is not what it should be.
    #[error("line {number} is damaged: {problem}; save it again")]
    Damaged {
        /// Which, the first being 1.
        number: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Reading failed.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
}

impl Saved {
    /// Keeps what was read.
    pub fn new(offsets: Offsets, symbols: Symbols, memory: MemoryImage) -> Self {
        Self {
            offsets,
            symbols,
            memory,
        }
    }

    /// The walk over it.
    pub fn walk(&self) -> Walk<'_> {
        Walk::new(&self.memory, &self.offsets, &self.symbols)
    }

    /// Writes it.
    ///
    /// # Errors
    /// What `to` says.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        writeln!(to, "{HEADING}")?;
        writeln!(to, "{}", serde_json::to_string(&self.offsets)?)?;
        for (name, address) in self.symbols.all() {
            writeln!(to, "{SYMBOL}{name} {address:x}")?;
        }
        for line in self.memory.lines() {
            writeln!(to, "{line}")?;
        }
        Ok(())
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(from: impl BufRead) -> Result<Self, SavedError> {
        let mut lines = from.take(MAX_BYTES).lines();
        let mut next = || match lines.next() {
            // Bytes that are no text.
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Err(SavedError::Foreign)
            }
            Some(line) => Ok(Some(line?)),
            None => Ok(None),
        };
        if next()?.as_deref() != Some(HEADING) {
            return Err(SavedError::Foreign);
        }
        let damaged = |number, problem: &dyn std::fmt::Display| SavedError::Damaged {
            number,
            problem: problem.to_string(),
        };
        let offsets = next()?.ok_or_else(|| damaged(2, &"it is not there"))?;
        let offsets = serde_json::from_str(&offsets).map_err(|error| damaged(2, &error))?;
        let mut symbols = Vec::new();
        let mut memory = MemoryImage::default();
        let mut number = 2;
        while let Some(line) = next()? {
            number += 1;
            if let Some(symbol) = line.strip_prefix(SYMBOL) {
                let symbol = symbol.split_once(' ').and_then(|(name, address)| {
                    Some((name.to_owned(), u64::from_str_radix(address, 16).ok()?))
                });
                symbols.push(symbol.ok_or_else(|| damaged(number, &"no symbol and address"))?);
            } else {
                memory
                    .add_line(&line)
                    .map_err(|error| damaged(number, &error))?;
            }
        }
        Ok(Self::new(offsets, Symbols::of(symbols), memory))
    }
}
