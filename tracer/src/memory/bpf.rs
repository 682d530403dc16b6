//! The memory of the kernel that runs, read by a program in it.

use aya::maps::{Array, MapData, MapError};
use aya_obj::generated::bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT;

use super::{KernelMemory, MemoryError};
use crate::program::Program;

const PROGRAM: &str = "peek";
const WINDOW: &str = "WINDOW";
/// Bytes of the window, of which the last one is never used.
const WINDOW_SIZE: usize = 4096;
/// Bytes read in one go: what the window takes, in whole words.
const STEP: usize = 4088;

/// Why the program that reads could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeekError {
    /// The kernel did not take the program or its map.
    #[error("cannot load the program that reads the kernel's memory")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The object that was built in does not have what it should.
    #[error("the program that reads the kernel's memory is not in its object file")]
    Incomplete,
}

/// The memory of the kernel that runs.
///
/// A program is loaded and run once for each reading (`BPF_PROG_TEST_RUN`); it is
/// attached to nothing, and gone with this. It takes CAP_BPF and CAP_PERFMON, or root,
/// and a kernel that is not locked down for confidentiality.
pub struct BpfMemory {
    program: Program,
    window: Array<MapData, [u8; WINDOW_SIZE]>,
}

impl BpfMemory {
    /// Loads the program.
    ///
    /// # Errors
    /// What the kernel has against it.
    pub fn load() -> Result<Self, PeekError> {
        let mut program = Program::load(PROGRAM, BPF_PROG_TYPE_RAW_TRACEPOINT)
            .map_err(PeekError::Load)?
            .ok_or(PeekError::Incomplete)?;
        let window = program.take_map(WINDOW).ok_or(PeekError::Incomplete)?;
        let window = Array::try_from(window).map_err(|_: MapError| PeekError::Incomplete)?;
        Ok(Self { program, window })
    }

    fn read_step(&self, address: u64, into: &mut [u8]) -> Result<(), String> {
        let mut context = [address, into.len() as u64];
        let run = self.program.run(&mut context);
        match run.map_err(|error| error.to_string())? {
            0 => {}
            error => return Err(std::io::Error::from_raw_os_error(-error).to_string()),
        }
        let bytes = self
            .window
            .get(&0, 0)
            .map_err(|error| with_causes(&error))?;
        into.copy_from_slice(&bytes[..into.len()]);
        Ok(())
    }
}

impl KernelMemory for BpfMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        let mut at = address;
        for step in into.chunks_mut(STEP) {
            self.read_step(at, step).map_err(|reason| MemoryError {
                address: at,
                length: step.len(),
                reason,
            })?;
            at = at.wrapping_add(step.len() as u64);
        }
        Ok(())
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::may_load;

    #[test]
    fn what_cannot_be_read_is_an_error() {
        if !may_load() {
            return;
        }
        let memory = BpfMemory::load().unwrap();
        let mut bytes = [0xff; 16];
        let error = memory.read(8, &mut bytes).unwrap_err();
        assert_eq!((error.address, error.length), (8, 16));
        assert_eq!(bytes, [0xff; 16]);
    }
}
