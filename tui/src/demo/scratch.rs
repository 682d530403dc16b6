//! The scratch directory, and where it is for whoever ends the program in a hurry.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

static DIRECTORY: Mutex<Option<PathBuf>> = Mutex::new(None);

/// The scratch directory of a demo, removed when this goes.
pub(super) struct Scratch {
    // Fields go in this order: it is known until it is gone, because its removal
    // may be what takes too long.
    directory: TempDir,
    _known: Known,
}

impl Scratch {
    pub(super) fn make() -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("virtscope-scratch-")
            .tempdir()?;
        let _known = Known::at(directory.path());
        Ok(Self { directory, _known })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// While this lives, the directory is known to [`remove`].
struct Known;

impl Known {
    fn at(path: &Path) -> Self {
        set(Some(path.to_owned()));
        Self
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        set(None);
    }
}

fn set(path: Option<PathBuf>) {
    *DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner) = path;
}

/// Removes the scratch directory of a demo that can't do so itself, as far as it
/// goes: threads may be making files in it at this moment.
pub(crate) fn remove() {
    let directory = DIRECTORY
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(directory) = directory {
        for _ in 0..5 {
            if std::fs::remove_dir_all(&directory).is_ok() {
                return;
            }
        }
    }
}
