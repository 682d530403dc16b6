//! File names, checked before any file system sees them.

use rustix::io::Errno;

/// A name that stays inside the directory it is looked up in: not empty, no
/// `/`, no NUL, neither `.` nor `..`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChildName<'a>(&'a [u8]);

/// One step of a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step<'a> {
    /// `..`: where we came from, never asked of the kernel.
    Up,
    /// A name in the directory.
    Down(ChildName<'a>),
}

impl<'a> ChildName<'a> {
    /// Checks a name that a client sent.
    ///
    /// # Errors
    /// `EINVAL` for a name that could mean anything but an entry of the
    /// directory at hand.
    pub(super) fn new(name: &'a [u8]) -> Result<Self, Errno> {
        match name {
            b"" | b"." | b".." => Err(Errno::INVAL),
            _ if name.contains(&b'/') || name.contains(&0) => Err(Errno::INVAL),
            _ => Ok(Self(name)),
        }
    }

    /// The name as the kernel takes it.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Step<'a> {
    /// Reads one name of a walk; `..` is a step of its own, anything else must
    /// be a [`ChildName`].
    ///
    /// # Errors
    /// `EINVAL`, as [`ChildName::new`].
    pub(super) fn new(name: &'a [u8]) -> Result<Self, Errno> {
        match name {
            b".." => Ok(Self::Up),
            _ => ChildName::new(name).map(Self::Down),
        }
    }
}

/// The name of an extended attribute that clients may see and set: one of the users'.
/// The others (`security.`, `system.`, `trusted.`) mean something to the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AttributeName(Vec<u8>);

impl AttributeName {
    /// What the users' names begin with (xattr(7)).
    pub(super) const PREFIX: &'static [u8] = b"user.";

    /// Checks a name that a client sent.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a name of another kind, `EINVAL` for one that no file can have.
    pub(super) fn new(name: &[u8]) -> Result<Self, Errno> {
        let rest = name.strip_prefix(Self::PREFIX).ok_or(Errno::OPNOTSUPP)?;
        if rest.is_empty() || rest.contains(&0) {
            return Err(Errno::INVAL);
        }
        Ok(Self(name.to_vec()))
    }

    /// The name as the kernel takes it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        let bad: [&[u8]; 10] = [
            b"", b".", b"..", b"/", b"/etc", b"a/b", b"a/../..", b"a/", b"a\0b", b"\0",
        ];
        for name in bad {
            assert_eq!(ChildName::new(name), Err(Errno::INVAL), "{name:?}");
        }
    }

    #[test]
    fn ordinary_names_pass_unchanged() {
        let good: [&[u8]; 6] = [b"a", b"...", b"..a", b".hidden", b" ", b"\xff\xfe"];
        for name in good {
            assert_eq!(ChildName::new(name).map(ChildName::bytes), Ok(name));
            assert_eq!(Step::new(name), Ok(Step::Down(ChildName(name))));
        }
    }

    #[test]
    fn only_the_users_attributes_have_names() {
        for (name, expected) in [
            (&b"user.a"[..], Ok(())),
            (b"user.", Err(Errno::INVAL)),
            (b"user.a\0b", Err(Errno::INVAL)),
            (b"", Err(Errno::OPNOTSUPP)),
            (b"User.a", Err(Errno::OPNOTSUPP)),
            (b"security.selinux", Err(Errno::OPNOTSUPP)),
            (b"trusted.overlay.opaque", Err(Errno::OPNOTSUPP)),
        ] {
            assert_eq!(AttributeName::new(name).map(drop), expected, "{name:?}");
        }
    }

    #[test]
    fn only_two_dots_go_up() {
        assert_eq!(Step::new(b".."), Ok(Step::Up));
        assert_eq!(Step::new(b"."), Err(Errno::INVAL));
        assert_eq!(Step::new(b"../.."), Err(Errno::INVAL));
    }
}
