//! Open flags: those of the protocol, and what the kernel is told of them.

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Linux `P9_DOTL_*`: the protocol's own numbers, whatever the machine's are.
mod dotl {
    pub(super) const ACCESS_MODE: u32 = 0o3;
    pub(super) const READ_ONLY: u32 = 0o0;
    pub(super) const WRITE_ONLY: u32 = 0o1;
    pub(super) const READ_WRITE: u32 = 0o2;
    pub(super) const EXCLUSIVE: u32 = 0o200;
    pub(super) const TRUNCATE: u32 = 0o1000;
    pub(super) const APPEND: u32 = 0o2000;
    pub(super) const DSYNC: u32 = 0o10000;
    pub(super) const DIRECTORY: u32 = 0o200_000;
    pub(super) const SYNC: u32 = 0o4_000_000;
}

/// How a client wants a file opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OpenFlags {
    kernel: OFlags,
    writes: bool,
    exclusive: bool,
    directory: bool,
}

impl OpenFlags {
    /// Takes over what is on the list of flags that are safe to hand on, and
    /// drops the rest: `O_DIRECT` for example would ask for aligned buffers
    /// that no client can promise, `O_NOATIME` for a right that is not theirs.
    /// (`O_NOFOLLOW` goes without saying here.)
    ///
    /// With `O_APPEND` the kernel writes at the end whatever the offset, which
    /// is what makes appends of several clients safe from each other.
    ///
    /// # Errors
    /// `EINVAL` for an access mode that does not exist.
    pub(super) fn new(wire: u32) -> Result<Self, Errno> {
        let mode = match wire & dotl::ACCESS_MODE {
            dotl::READ_ONLY => OFlags::RDONLY,
            dotl::WRITE_ONLY => OFlags::WRONLY,
            dotl::READ_WRITE => OFlags::RDWR,
            _ => return Err(Errno::INVAL),
        };
        let passed_on = [
            (dotl::TRUNCATE, OFlags::TRUNC),
            (dotl::APPEND, OFlags::APPEND),
            (dotl::DSYNC, OFlags::DSYNC),
            (dotl::SYNC, OFlags::SYNC),
        ];
        let kernel = passed_on
            .into_iter()
            .filter(|(bit, _)| wire & bit != 0)
            .fold(mode, |flags, (_, flag)| flags | flag);
        Ok(Self {
            kernel,
            writes: mode != OFlags::RDONLY || wire & dotl::TRUNCATE != 0,
            exclusive: wire & dotl::EXCLUSIVE != 0,
            directory: wire & dotl::DIRECTORY != 0,
        })
    }

    /// What `openat` is told.
    pub(super) fn kernel(self) -> OFlags {
        self.kernel
    }

    /// Whether the file can change by opening it, or through it.
    pub(super) fn writes(self) -> bool {
        self.writes
    }

    /// Whether creating must fail if the name is taken.
    pub(super) fn exclusive(self) -> bool {
        self.exclusive
    }

    /// Whether only a directory will do.
    pub(super) fn directory(self) -> bool {
        self.directory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_flags_reach_the_kernel() {
        let all =
            OpenFlags::new(!dotl::ACCESS_MODE | dotl::READ_WRITE).expect("a mode that exists");
        let expected = OFlags::RDWR | OFlags::TRUNC | OFlags::APPEND | OFlags::DSYNC | OFlags::SYNC;
        assert_eq!(all.kernel(), expected);
        assert!(all.exclusive() && all.directory() && all.writes());
    }

    #[test]
    fn truncating_is_writing() {
        let writes = |wire| OpenFlags::new(wire).map(OpenFlags::writes);
        assert_eq!(writes(0), Ok(false));
        assert_eq!(writes(dotl::TRUNCATE), Ok(true));
        assert_eq!(writes(dotl::WRITE_ONLY), Ok(true));
        assert_eq!(writes(dotl::APPEND), Ok(false));
    }

    #[test]
    fn the_fourth_access_mode_does_not_exist() {
        assert_eq!(OpenFlags::new(3), Err(Errno::INVAL));
    }
}
