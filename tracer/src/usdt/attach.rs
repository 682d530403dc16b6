//! Attaching to a probe so that its semaphore is counted.
//!
//! aya attaches uprobes, and cannot say where a semaphore is. So the event is opened
//! here: Linux' PMU `uprobe` (`perf_event_open(2)`), which takes the place of the
//! semaphore in the upper half of its configuration.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya_obj::generated::{
    PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF, PERF_FLAG_FD_CLOEXEC, perf_event_attr,
};

use super::error::UsdtError;
use super::notes::Note;

const PMU: &str = "/sys/bus/event_source/devices/uprobe";

/// The kernel's PMU for uprobes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pmu {
    kind: u32,
    /// Where in `config` the place of the semaphore begins.
    shift: u32,
}

impl Pmu {
    /// What this kernel says of it.
    pub(super) fn of_this_kernel() -> Result<Self, UsdtError> {
        let read = |file: &str| {
            let path = format!("{PMU}/{file}");
            fs::read_to_string(&path).map_err(|error| UsdtError::NoUprobes {
                problem: format!("{path}: {error}"),
            })
        };
        let strange = |file: &str, text: &str| UsdtError::NoUprobes {
            problem: format!("{PMU}/{file} says `{}`", text.trim()),
        };
        let kind = read("type")?;
        let format = read("format/ref_ctr_offset")?;
        let shift = format
            .trim()
            .strip_prefix("config:")
            .and_then(|bits| bits.split('-').next()?.parse().ok())
            .filter(|shift| *shift < 64);
        Ok(Self {
            kind: kind.trim().parse().map_err(|_| strange("type", &kind))?,
            shift: shift.ok_or_else(|| strange("format/ref_ctr_offset", &format))?,
        })
    }

    /// Attaches `program` to the probe `note` in the file `path`, of the process `pid` or
    /// of all. It is detached when the descriptor is closed, also by the process's end.
    pub(super) fn attach(
        self,
        path: &Path,
        note: &Note,
        pid: Option<u32>,
        program: impl AsFd,
    ) -> io::Result<OwnedFd> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let pid = match pid {
            Some(pid) => i32::try_from(pid).map_err(|_| invalid())?,
            None => -1,
        };
        // One event on one CPU stands for all: the program runs wherever it is hit.
        let cpu = if pid == -1 { 0 } else { -1 };
        let semaphore = note.semaphore.unwrap_or(0);
        if semaphore >> (64 - self.shift) != 0 && self.shift > 0 {
            return Err(invalid());
        }
        // SAFETY: numbers alone, for all of which zero is a value.
        let mut attr: perf_event_attr = unsafe { std::mem::zeroed() };
        attr.type_ = self.kind;
        attr.size = size_of::<perf_event_attr>() as u32;
        attr.config = semaphore << self.shift;
        attr.__bindgen_anon_3.uprobe_path = name.as_ptr() as u64;
        attr.__bindgen_anon_4.probe_offset = note.offset;
        // SAFETY: `attr` and the path in it live until the call is over, and the kernel
        // writes neither.
        let event = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attr,
                pid,
                cpu,
                -1,
                PERF_FLAG_FD_CLOEXEC,
            )
        };
        let event = i32::try_from(event).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it, for us alone.
        let event = unsafe { OwnedFd::from_raw_fd(event) };
        control(&event, PERF_EVENT_IOC_SET_BPF, program.as_fd().as_raw_fd())?;
        control(&event, PERF_EVENT_IOC_ENABLE, 0)?;
        Ok(event)
    }
}

/// `ioctl` on a performance event, with a number as its argument.
fn control(event: &OwnedFd, request: u32, argument: i32) -> io::Result<()> {
    #[allow(
        clippy::cast_lossless,
        reason = "the C libraries do not agree on the type"
    )]
    let request = request as libc::Ioctl;
    // SAFETY: neither request has the kernel write to memory of ours.
    let done = unsafe { libc::ioctl(event.as_raw_fd(), request, argument) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
