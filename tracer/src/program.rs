//! A program that runs when it is asked to, and is attached to nothing.
//!
//! aya reads all of the kernel's type information before it loads anything, which takes a
//! hundred times as long as loading one of these and is of no use to it.

use std::collections::HashMap;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use aya::include_bytes_aligned;
use aya::maps::{Map, MapData};
use aya_obj::Object;
use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_type};

/// `tracer/ebpf/src/peek.rs`, as `cargo xtask bpf` builds it.
pub(crate) const OBJECT: &[u8] = include_bytes_aligned!("../virtscope-peek.bpf.o");

/// `BPF_F_SLEEPABLE`.
const SLEEPABLE: u32 = 1 << 4;
/// Bytes of what the verifier says where it refuses a program.
const LOG: usize = 1 << 20;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What the verifier has against a program.
#[derive(Debug, thiserror::Error)]
#[error("the kernel's verifier refuses it: {log}")]
struct Refused {
    log: String,
    #[source]
    source: io::Error,
}

/// A program of the object that has been loaded, and its maps.
#[derive(Debug)]
pub(crate) struct Program {
    program: OwnedFd,
    maps: HashMap<String, MapData>,
}

impl Program {
    /// Loads the program `name` as one of type `kind`; `None` where the object has none.
    ///
    /// # Errors
    /// What the kernel has against it.
    pub(crate) fn load(name: &str, kind: bpf_prog_type) -> Result<Option<Self>, Error> {
        let mut object = Object::parse(OBJECT)?;
        let described: Vec<(String, aya_obj::Map)> = object.maps.drain().collect();
        let mut maps = HashMap::new();
        for (name, map) in &described {
            maps.insert(name.clone(), MapData::create(map.clone(), name, None)?);
        }
        let places = described
            .iter()
            .map(|(name, map)| (name.as_str(), maps[name].fd().as_fd().as_raw_fd(), map));
        let text = object.functions.keys().map(|(section, _)| *section);
        let text = text.collect();
        object.relocate_maps(places, &text)?;
        object.relocate_calls(&text)?;
        let Some(program) = object.programs.get(name) else {
            return Ok(None);
        };
        let Some(function) = object.functions.get(&program.function_key()) else {
            return Ok(None);
        };

        // SAFETY: numbers alone, for all of which zero is a value.
        let mut attr: bpf_attr = unsafe { zeroed() };
        // SAFETY: the same.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = kind as u32;
        load.insns = function.instructions.as_ptr().expose_provenance() as u64;
        load.insn_cnt = function.instructions.len() as u32;
        load.license = program.license.as_ptr().expose_provenance() as u64;
        if kind == bpf_prog_type::BPF_PROG_TYPE_SYSCALL {
            load.prog_flags = SLEEPABLE;
        }
        let places = load.prog_name.iter_mut().rev().skip(1).rev();
        for (place, byte) in places.zip(name.bytes()) {
            *place = byte.cast_signed();
        }
        // SAFETY: the instructions and the licence live as long as `object`.
        let program = match unsafe { call(bpf_cmd::BPF_PROG_LOAD, &mut attr) } {
            Ok(number) => number,
            Err(error) => return Err(why(error, &mut attr)),
        };
        Ok(Some(Self {
            // SAFETY: the kernel has just made it, for us alone.
            program: unsafe { OwnedFd::from_raw_fd(program) },
            maps,
        }))
    }

    /// Takes the map `name` out, if there is one.
    pub(crate) fn take_map(&mut self, name: &str) -> Option<Map> {
        Map::from_map_data(self.maps.remove(name)?).ok()
    }

    /// Runs it once; what it returns. One of type `BPF_PROG_TYPE_SYSCALL` may write into
    /// `context`.
    ///
    /// # Errors
    /// It could not be run.
    pub(crate) fn run(&self, context: &mut [u64]) -> io::Result<i32> {
        // SAFETY: numbers alone, for all of which zero is a value.
        let mut attr: bpf_attr = unsafe { zeroed() };
        attr.test.prog_fd = self.program.as_raw_fd().cast_unsigned();
        attr.test.ctx_in = context.as_mut_ptr().expose_provenance() as u64;
        attr.test.ctx_size_in = size_of_val(context) as u32;
        // SAFETY: the kernel reads the context and may write it, and no more than that.
        unsafe { call(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr) }?;
        // SAFETY: the member that was written.
        Ok(unsafe { attr.test.retval }.cast_signed())
    }
}

/// Why a program was not loaded: it is loaded again for what the verifier says.
fn why(error: io::Error, attr: &mut bpf_attr) -> Error {
    let mut log = vec![0u8; LOG];
    // SAFETY: numbers alone.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.log_level = 1;
    load.log_buf = log.as_mut_ptr().expose_provenance() as u64;
    load.log_size = log.len() as u32;
    // SAFETY: as before, and the log lives until the call is over.
    if let Ok(program) = unsafe { call(bpf_cmd::BPF_PROG_LOAD, attr) } {
        // SAFETY: the kernel has just made it, for us alone.
        drop(unsafe { OwnedFd::from_raw_fd(program) });
    }
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
    match end {
        0 => error.into(),
        _ => Box::new(Refused {
            log: String::from_utf8_lossy(&log[..end]).into_owned(),
            source: error,
        }),
    }
}

/// The system call; what it returns.
///
/// # Safety
/// All that `attr` points to must live until the call is over, and be as long as it says.
unsafe fn call(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the caller's business.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    match i32::try_from(done) {
        Ok(done) if done >= 0 => Ok(done),
        _ => Err(io::Error::last_os_error()),
    }
}
