//! The file a capture is written to: one that grows while it is recorded
//! ([`create_file`]), or one that is there all at once ([`NewFile`]).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The path is a directory.
    #[error("{} is a directory: name a file in it, like {}", path.display(), path.join("capture.pcapng").display())]
    Directory {
        /// The path.
        path: PathBuf,
    },
    /// The directory the file should be in does not exist.
    #[error("there is no directory {}: create it first", parent.display())]
    NoParent {
        /// The directory that is missing.
        parent: PathBuf,
    },
    /// Writing there is not allowed.
    #[error("not allowed to write {}: choose another place or change its permissions", path.display())]
    Permission {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path is a disk, and a capture would overwrite what is on it.
    #[error("{} is a block device: name a file instead", path.display())]
    BlockDevice {
        /// The path.
        path: PathBuf,
    },
    /// There is a file of this name, and it was not said that it may go.
    #[error("{} exists already: choose another name, or replace it with --force", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot create {}: {source}", path.display())]
    Other {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes the file at `path`, or empties the one that is there, to write a
/// capture to it. A new file can be read by its owner only, because a capture
/// holds what went through the queues. Pipes and character devices are opened as
/// they are; a pipe waits for its reader.
///
/// # Errors
/// A directory, a missing directory, a place where writing is not allowed, a
/// block device.
pub fn create_file(path: impl AsRef<Path>) -> Result<File, CreateError> {
    let path = path.as_ref();
    let other = |source| CreateError::Other {
        path: path.to_owned(),
        source,
    };
    // Not truncated on opening: first it has to be seen what it is.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| not_opened(path, source))?;
    let kind = file.metadata().map_err(other)?.file_type();
    if kind.is_block_device() {
        return Err(CreateError::BlockDevice {
            path: path.to_owned(),
        });
    }
    if kind.is_file() {
        file.set_len(0).map_err(other)?;
    }
    Ok(file)
}

/// A file that appears under its name when it is whole, and not before: until
/// [`keep`](Self::keep) it has a name of its own beside it, and when it is dropped
/// earlier it is gone. Only its owner can read it.
///
/// Pipes and character devices are written as they are.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    force: bool,
    out: Out,
}

#[derive(Debug)]
enum Out {
    Hidden(tempfile::NamedTempFile),
    Open(File),
}

impl NewFile {
    /// Begins the file `path`. One that is there is replaced, with `force`, when
    /// this one is kept.
    ///
    /// # Errors
    /// What [`create_file`] has, and a file that is there already.
    pub fn create(path: impl AsRef<Path>, force: bool) -> Result<Self, CreateError> {
        let path = path.as_ref();
        let there = std::fs::metadata(path).ok();
        if let Some(there) = &there {
            let kind = there.file_type();
            if kind.is_fifo() || kind.is_char_device() || kind.is_dir() || kind.is_block_device() {
                // The others are refused.
                let out = Out::Open(create_file(path)?);
                let path = path.to_owned();
                return Ok(Self { path, force, out });
            }
            if !force {
                return Err(CreateError::Exists {
                    path: path.to_owned(),
                });
            }
        }
        // A link is followed: what it leads to is replaced, not the link.
        let path = match there {
            Some(_) => std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
            None => path.to_owned(),
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(path.file_name().unwrap_or_default());
        // The names of files have an end, and the random part needs room.
        let prefix = if prefix.len() > 200 {
            ".virtscope".into()
        } else {
            prefix
        };
        let hidden = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".part")
            .tempfile_in(parent)
            .map_err(|error| not_opened(&path, io::Error::from(error.kind())))?;
        Ok(Self {
            out: Out::Hidden(hidden),
            path,
            force,
        })
    }

    /// The file is whole: it gets its name.
    ///
    /// # Errors
    /// A file that came to be under this name meanwhile, a disk that does not
    /// take it.
    pub fn keep(self) -> Result<(), CreateError> {
        let Self { path, force, out } = self;
        let Out::Hidden(hidden) = out else {
            return Ok(());
        };
        let other = |source| CreateError::Other {
            path: path.clone(),
            source,
        };
        // A full disk may tell only now.
        hidden.as_file().sync_data().map_err(other)?;
        let kept = if force {
            hidden.persist(&path)
        } else {
            hidden.persist_noclobber(&path)
        };
        kept.map(|_| ()).map_err(|error| match error.error.kind() {
            ErrorKind::AlreadyExists => CreateError::Exists { path: path.clone() },
            _ => other(error.error),
        })
    }
}

impl Write for NewFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Out::Hidden(file) => file.write(buf),
            Out::Open(file) => file.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Hidden(file) => file.flush(),
            Out::Open(file) => file.flush(),
        }
    }
}

fn not_opened(path: &Path, source: io::Error) -> CreateError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::IsADirectory => CreateError::Directory { path },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            CreateError::Permission { path, source }
        }
        ErrorKind::NotFound => match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => CreateError::NoParent {
                parent: parent.to_owned(),
            },
            _ => CreateError::Other { path, source },
        },
        _ => CreateError::Other { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_file_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new.pcapng");
        let file = create_file(&path).unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_old_file_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old.pcapng");
        std::fs::write(&path, "what was there").unwrap();
        create_file(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_whole_file_appears_at_once_and_an_unfinished_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pcapng");
        let names = || std::fs::read_dir(dir.path()).unwrap().count();
        let mut file = NewFile::create(&path, false).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(names(), 0);

        let mut file = NewFile::create(&path, false).unwrap();
        file.write_all(b"whole").unwrap();
        file.keep().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, names()), (0o600, 1));
    }

    #[test]
    fn what_is_there_is_replaced_only_by_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pcapng");
        let raced = NewFile::create(&path, false).unwrap();
        std::fs::write(&path, "old").unwrap();
        let error = NewFile::create(&path, false).unwrap_err();
        assert!(matches!(error, CreateError::Exists { .. }), "{error}");
        let error = raced.keep().unwrap_err();
        assert!(matches!(error, CreateError::Exists { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");

        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut file = NewFile::create(&link, true).unwrap();
        file.write_all(b"new").unwrap();
        file.keep().unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn directories_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = create_file(dir.path()).unwrap_err();
        assert!(matches!(error, CreateError::Directory { .. }), "{error}");
        assert!(error.to_string().contains("name a file in it"), "{error}");

        let error = create_file(dir.path().join("none/x.pcapng")).unwrap_err();
        assert!(matches!(error, CreateError::NoParent { .. }), "{error}");
    }

    #[test]
    fn other_reasons_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let error = create_file(dir.path().join("file/x.pcapng")).unwrap_err();
        assert!(matches!(error, CreateError::Other { .. }), "{error}");

        let denied = not_opened(Path::new("x"), ErrorKind::PermissionDenied.into());
        assert!(matches!(denied, CreateError::Permission { .. }), "{denied}");
        let nowhere = not_opened(Path::new("x"), ErrorKind::NotFound.into());
        assert!(matches!(nowhere, CreateError::Other { .. }), "{nowhere}");
    }
}
