//! The file a capture is written to.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
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
