//! The three dialects of 9P.

use std::fmt;

/// Which 9P the two sides speak: what a message holds depends on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum Dialect {
    /// 9P2000, as Plan 9 has it: errors are text, attributes are `stat`.
    Plain,
    /// 9P2000.u: the same with numbers for errors and users beside the text.
    Unix,
    /// 9P2000.L: made for Linux, with its own messages for most operations. What a
    /// virtio 9P device speaks unless told otherwise.
    #[default]
    Linux,
}

impl Dialect {
    /// The dialect of a version string: what stands before its first full stop must
    /// be `9P` and a number from 2000 up, what stands behind names the dialect. One
    /// that is not known means the plain protocol, as version(5) has it.
    /// `None` for `unknown` and for everything else that is no version of 9P.
    ///
    /// ```
    /// # use virtscope_analyzer::p9::Dialect;
    /// assert_eq!(Dialect::of_version(b"9P2000.L"), Some(Dialect::Linux));
    /// assert_eq!(Dialect::of_version(b"9P2000.xyz"), Some(Dialect::Plain));
    /// assert_eq!(Dialect::of_version(b"unknown"), None);
    /// ```
    pub fn of_version(version: &[u8]) -> Option<Self> {
        let mut parts = version.splitn(2, |byte| *byte == b'.');
        let digits = parts.next()?.strip_prefix(b"9P")?;
        let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        if number < 2000 {
            return None;
        }
        Some(match parts.next() {
            Some(b"L") => Self::Linux,
            Some(b"u") => Self::Unix,
            _ => Self::Plain,
        })
    }

    /// Its version string.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "9P2000",
            Self::Unix => "9P2000.u",
            Self::Linux => "9P2000.L",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
