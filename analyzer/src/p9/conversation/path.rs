//! A path as far as it is known.

use std::fmt;

use crate::text::sanitize;

/// What a fid stood for when a request named it, below the root that was attached.
///
/// `Display` is safe to print: `/etc/hosts` where all of it is known, `?/hosts`
/// where only its end is, `?` where nothing is. Nothing in it is guessed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// The names that are known, each behind a `/`; `/` alone for the root.
    pub(super) bytes: Box<[u8]>,
    pub(super) beginning: Beginning,
    /// The name was removed while the fid still stood for the file.
    pub(super) removed: bool,
    /// The fid stands for this extended attribute of the file (empty: for the list of
    /// their names).
    pub(super) attribute: Option<Box<[u8]>>,
}

/// Where a path begins.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Beginning {
    /// At the root of the tree that was attached first.
    Root,
    /// At the root of another tree, of this name.
    OtherRoot(Box<[u8]>),
    /// What stands before it is not known.
    Unknown,
    /// The file is no part of a tree: it serves authentication.
    Authentication,
}

impl Path {
    pub(super) fn unknown() -> Self {
        Self {
            bytes: Box::default(),
            beginning: Beginning::Unknown,
            removed: false,
            attribute: None,
        }
    }

    pub(super) fn authentication() -> Self {
        Self {
            beginning: Beginning::Authentication,
            ..Self::unknown()
        }
    }

    /// The path from the root, if all of it is known: bytes, as the names of files are.
    pub fn known(&self) -> Option<&[u8]> {
        match self.beginning {
            Beginning::Root | Beginning::OtherRoot(_) => Some(&self.bytes),
            Beginning::Unknown | Beginning::Authentication => None,
        }
    }

    /// What is known of it, from the end: all of it, or `/hosts` of `?/hosts`.
    pub fn known_end(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the file's name is known to have been removed.
    pub const fn is_removed(&self) -> bool {
        self.removed
    }

    /// The extended attribute of the file that the fid stands for, if it does.
    pub fn attribute(&self) -> Option<&[u8]> {
        self.attribute.as_deref()
    }

    /// The path of what is called `name` in this directory.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        let mut joined = Self {
            attribute: None,
            removed: false,
            ..self.clone()
        };
        match name {
            b"." => return joined,
            _ if !is_plain(name) => return Self::unknown(),
            _ => {}
        }
        let mut bytes = match &*joined.bytes {
            b"/" => Vec::with_capacity(name.len() + 1),
            bytes => bytes.to_vec(),
        };
        if name == b".." {
            match (bytes.iter().rposition(|byte| *byte == b'/'), joined.known()) {
                (Some(0) | None, Some(_)) => bytes = b"/".to_vec(),
                (Some(at), _) => bytes.truncate(at),
                (None, None) => {}
            }
        } else {
            bytes.push(b'/');
            bytes.extend_from_slice(name);
        }
        joined.bytes = bytes.into();
        joined
    }
}

/// Whether a name can stand between slashes and be read back.
pub(super) fn is_plain(name: &[u8]) -> bool {
    !name.is_empty() && !name.contains(&b'/') && !name.contains(&0)
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.beginning {
            Beginning::Root => {}
            Beginning::OtherRoot(name) => write!(f, "{}:", sanitize(name))?,
            Beginning::Unknown => f.write_str("?")?,
            Beginning::Authentication => f.write_str("(authentication)")?,
        }
        f.write_str(&sanitize(&self.bytes))?;
        match self.attribute.as_deref() {
            Some(b"") => f.write_str(" (attributes)")?,
            Some(name) => write!(f, " (attribute {})", sanitize(name))?,
            None => {}
        }
        if self.removed {
            f.write_str(" (removed)")?;
        }
        Ok(())
    }
}
