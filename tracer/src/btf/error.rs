//! What can go wrong with type information, for whoever has to act on it.

use std::io;
use std::path::PathBuf;

/// Why type information could not be had, or could not be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BtfError {
    /// The kernel has none.
    #[error(
        "this kernel ({kernel}) has no type information (BTF) in {}: run a kernel built with \
         CONFIG_DEBUG_INFO_BTF=y (Debian's, Ubuntu's and Fedora's are), or mount /sys if it is not \
         mounted",
        .path.display()
    )]
    Missing {
        /// The kernel's release.
        kernel: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It is there and could not be read.
    #[error("cannot read the kernel's type information (BTF) in {}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("the type information (BTF) of {of} is damaged or newer than this program: {problem}")]
    Malformed {
        /// `vmlinux` or a module, and the kernel.
        of: String,
        /// What was found, and where.
        #[source]
        problem: Malformed,
    },
    /// A struct or union is not there.
    #[error("this kernel ({kernel}) has no `struct {name}` in its type information; {SUPPORT}")]
    NoStruct {
        /// The kernel's release.
        kernel: String,
        /// Which.
        name: String,
    },
    /// A struct lacks a member.
    #[error("this kernel's `{name}` has no member `{member}` (kernel {kernel}); {SUPPORT}")]
    NoMember {
        /// The kernel's release.
        kernel: String,
        /// The struct.
        name: String,
        /// The member, with a dot for each step down.
        member: String,
    },
    /// There is more than one struct of that name, and they differ.
    #[error(
        "this kernel ({kernel}) has several `struct {name}` that disagree about `{member}`; {SUPPORT}"
    )]
    Ambiguous {
        /// The kernel's release.
        kernel: String,
        /// The struct.
        name: String,
        /// The member.
        member: String,
    },
    /// A member is of another kind than expected.
    #[error(
        "this kernel's `{name}` has a member `{member}` that is {found} (kernel {kernel}); {SUPPORT}"
    )]
    Unexpected {
        /// The kernel's release.
        kernel: String,
        /// The struct.
        name: String,
        /// The member.
        member: String,
        /// What it is instead.
        found: String,
    },
}

/// What a user can do about a kernel that nobody has met yet.
const SUPPORT: &str = "this version of virtscope doesn't know this kernel: look for a newer one";

/// What is wrong with the bytes of one BTF.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Not the magic number.
    #[error("it begins with {0:#06x} instead of 0xeb9f")]
    Magic(u16),
    /// Written for a machine of the other byte order.
    #[error("it is in the other byte order")]
    ByteOrder,
    /// A version that is not known.
    #[error("it is of version {0}, and only version 1 is known")]
    Version(u8),
    /// It ends too early.
    #[error("it ends within the {what} at byte {at}")]
    Short {
        /// Within what.
        what: &'static str,
        /// Where that began.
        at: usize,
    },
    /// A kind of type that is not known, and whose length isn't either.
    #[error("type {id} is of kind {kind}, which is not known")]
    Kind {
        /// The type's number.
        id: u32,
        /// Its kind.
        kind: u8,
    },
    /// More types than can be numbered.
    #[error("it has too many types")]
    TooMany,
}
