//! Whom to trace: a process, or a program whenever it runs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object::ReadCache;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use virtscope_record::FORMAT_VERSION;

use super::error::UsdtError;
use super::notes::{self, Note, NotesError};

/// Who provides the probes, and their names: of facts, of records.
const PROVIDER: &str = "virtscope";
const QUEUE: &str = "queue";
const RECORD: &str = "record";

/// Whom to trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// The process of this number, all its threads.
    Process(u32),
    /// Every process that runs this file, now or later.
    Program(PathBuf),
}

/// The probes of one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probes {
    /// A path by which the kernel finds the file.
    pub path: PathBuf,
    /// Facts before records, so that nobody's first record comes before what it is of.
    pub notes: Vec<Note>,
}

impl Target {
    /// Its probes, file by file; never none.
    ///
    /// # Errors
    /// No such process, one that may not be looked at, a file that is none, no probes.
    pub fn probes(&self) -> Result<Vec<Probes>, UsdtError> {
        match self {
            Self::Program(path) => {
                let path = std::fs::canonicalize(path).map_err(|source| UsdtError::Read {
                    path: path.clone(),
                    source,
                })?;
                let probes = in_file(&path)?.ok_or_else(|| UsdtError::NoProbes {
                    what: path.display().to_string(),
                })?;
                Ok(vec![probes])
            }
            Self::Process(pid) => of_process(*pid),
        }
    }

    /// The process, to be told when it ends; none of a program.
    ///
    /// # Errors
    /// There is no such process, or it is a thread.
    pub(super) fn open(&self) -> Result<Option<OwnedFd>, UsdtError> {
        let Self::Process(pid) = *self else {
            return Ok(None);
        };
        let gone = || UsdtError::NoProcess { pid };
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        match pidfd_open(number.ok_or_else(gone)?, PidfdFlags::empty()) {
            Ok(process) => Ok(Some(process)),
            Err(_) => Err(match process_of(pid) {
                Some(process) if process != pid => UsdtError::Thread { pid, process },
                _ => gone(),
            }),
        }
    }
}

/// The process that the thread `pid` belongs to.
fn process_of(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok()
}

/// The probes in the program of a process and in what else it has mapped to be run.
fn of_process(pid: u32) -> Result<Vec<Probes>, UsdtError> {
    let refused = |error: &io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => UsdtError::NotAllowed { pid },
        _ => UsdtError::NoProcess { pid },
    };
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let program = folder.join("exe");
    let maps = std::fs::read_to_string(folder.join("maps")).map_err(|error| refused(&error))?;
    let name = std::fs::read_link(&program).map_err(|error| refused(&error))?;
    // The program under a name that leads to it even when it was replaced or deleted.
    let mut paths = vec![program];
    for library in mapped(&maps) {
        let library = library.strip_prefix("/").unwrap_or(library);
        paths.push(folder.join("root").join(library));
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let mut stripped = None;
    for path in paths {
        let Ok(file) = std::fs::metadata(&path) else {
            continue;
        };
        if !seen.insert((file.dev(), file.ino())) {
            continue;
        }
        match in_file(&path) {
            Ok(Some(probes)) => found.push(probes),
            Err(error @ UsdtError::Version { .. }) => return Err(error),
            Err(UsdtError::Stripped { .. }) if stripped.is_none() => stripped = Some(path),
            // Libraries without probes, and what is mapped and is no ELF file.
            Ok(None) | Err(_) => {}
        }
    }
    match (found.is_empty(), stripped) {
        (false, _) => Ok(found),
        (true, Some(path)) => Err(UsdtError::Stripped {
            path: std::fs::read_link(&path).unwrap_or(path),
        }),
        (true, None) => Err(UsdtError::NoProbes {
            what: format!("process {pid} ({})", name.display()),
        }),
    }
}

/// The files in a process's memory map that may be run.
fn mapped(maps: &str) -> impl Iterator<Item = &Path> {
    maps.lines().filter_map(|line| {
        // Addresses, permissions, offset, device, inode, path.
        let mut fields = line.splitn(6, ' ');
        let permissions = fields.nth(1)?;
        let path = fields.nth(3)?.trim_start();
        let is_code = permissions.contains('x') && path.starts_with('/');
        is_code.then(|| Path::new(path))
    })
}

/// The probes of ours in the file `path`, if it has any.
fn in_file(path: &Path) -> Result<Option<Probes>, UsdtError> {
    let path = path.to_owned();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(source) => return Err(UsdtError::Read { path, source }),
    };
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => {
            let reason = "it is no file".to_owned();
            return Err(UsdtError::NotElf { path, reason });
        }
        Err(source) => return Err(UsdtError::Read { path, source }),
    }
    let cache = ReadCache::new(file);
    let mut notes = match notes::read(&cache) {
        Ok(notes) => notes,
        Err(NotesError::NoSections) => return Err(UsdtError::Stripped { path }),
        Err(NotesError::NotElf(reason)) => return Err(UsdtError::NotElf { path, reason }),
    };
    notes.retain(|note| note.provider == PROVIDER && (note.name == QUEUE || note.name == RECORD));
    let arguments = format!("8@%rdi 8@%rsi 8@%rdx 4@${FORMAT_VERSION}");
    if let Some(other) = notes.iter().find(|note| note.arguments != arguments) {
        let arguments = other.arguments.clone();
        return Err(UsdtError::Version { path, arguments });
    }
    notes.sort_by_key(|note| note.name == RECORD);
    notes.dedup();
    let has_records = notes.iter().any(|note| note.name == RECORD);
    Ok(has_records.then_some(Probes { path, notes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mapped_to_be_run_is_found() {
        let maps = "\
            55d0-55d1 r--p 00000000 fe:00 123                        /usr/bin/a program\n\
            55d1-55d2 r-xp 00001000 fe:00 123                        /usr/bin/a program\n\
            7f00-7f01 r-xp 00000000 fe:00 9    /lib/x.so\n\
            7f01-7f02 rw-p 00000000 00:00 0\n\
            7ffd-7ffe r-xp 00000000 00:00 0                          [vdso]\n";
        let found: Vec<_> = mapped(maps).collect();
        assert_eq!(
            found,
            [Path::new("/usr/bin/a program"), Path::new("/lib/x.so")]
        );
    }

    #[test]
    fn a_process_that_is_none_and_a_thread_are_told_apart() {
        let gone = Target::Process(u32::MAX).open().unwrap_err();
        assert!(matches!(gone, UsdtError::NoProcess { .. }), "{gone}");
        let done = std::sync::Barrier::new(2);
        let (told, number) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                told.send(rustix::thread::gettid().as_raw_nonzero().get())
                    .unwrap();
                done.wait();
            });
            let thread = number.recv().unwrap().cast_unsigned();
            let error = Target::Process(thread).open().unwrap_err();
            done.wait();
            assert!(
                matches!(error, UsdtError::Thread { process, .. } if process == std::process::id()),
                "{error}"
            );
        });
        assert!(
            Target::Process(std::process::id())
                .open()
                .unwrap()
                .is_some()
        );
    }
}
