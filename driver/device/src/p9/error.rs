//! Why a directory cannot be served.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

/// Why a [`FileServer`](super::FileServer) could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// There is nothing at the path.
    #[error("cannot serve {}: it does not exist; name an existing directory", path.display())]
    Missing {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The path is a file of another kind.
    #[error("cannot serve {}: it is not a directory; name the directory that holds it", path.display())]
    NotADirectory {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The directory, or one on the way to it, may not be read.
    #[error("cannot serve {}: it cannot be read; make it readable, or name another directory", path.display())]
    Unreadable {
        /// The path as it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing was asked for, but the directory may not be written to.
    #[error("cannot serve {} for writing: it is not writable; serve it read-only, or name another directory", path.display())]
    NotWritable {
        /// The path as it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server opens files through `/proc/self/fd`, and it is not there.
    #[error("cannot serve files without /proc/self/fd; mount procfs at /proc")]
    NoProc {
        /// What the system said.
        source: io::Error,
    },
}

impl ServeError {
    /// What it means that `path` could not be opened as a directory.
    pub(super) fn opening(path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::NOENT => Self::Missing { path },
            Errno::NOTDIR => Self::NotADirectory { path },
            _ => Self::Unreadable {
                path,
                source: errno.into(),
            },
        }
    }

    /// What it means that `path` failed the check for write access.
    pub(super) fn writing(path: &Path, errno: Errno) -> Self {
        Self::NotWritable {
            path: path.to_owned(),
            source: errno.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_path_and_the_way_out() {
        let path = Path::new("/some/where");
        for (error, advice) in [
            (
                ServeError::opening(path, Errno::NOENT),
                "name an existing directory",
            ),
            (
                ServeError::opening(path, Errno::NOTDIR),
                "name the directory that holds it",
            ),
            (
                ServeError::opening(path, Errno::ACCESS),
                "make it readable, or name another",
            ),
            (
                ServeError::writing(path, Errno::ROFS),
                "serve it read-only, or name another",
            ),
        ] {
            let text = error.to_string();
            assert!(text.contains("/some/where"), "{text}");
            assert!(text.contains(advice), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }
}
