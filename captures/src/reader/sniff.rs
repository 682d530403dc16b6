//! What a file that is no capture of ours may be.

use std::fmt;

/// The first bytes of every pcapng file.
pub(super) const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// What input that is not pcapng looks like, by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LooksLike {
    /// Compressed by gzip.
    Gzip,
    /// Compressed by zstd.
    Zstd,
    /// Compressed by xz.
    Xz,
    /// Compressed by bzip2.
    Bzip2,
    /// A classic pcap file.
    Pcap,
    /// Text.
    Text,
    /// Nothing known; its first bytes, zeros behind the end.
    Unknown([u8; 4]),
}

impl LooksLike {
    /// What `start`, the first bytes of the input, look like; `None` if they may
    /// begin a pcapng file.
    pub(super) fn of(start: &[u8]) -> Option<Self> {
        let begins = |magic: &[u8]| start.starts_with(magic);
        let known = start.len().min(PCAPNG.len());
        if start.get(..known) == PCAPNG.get(..known) {
            return None;
        }
        Some(if begins(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if begins(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Zstd
        } else if begins(&[0xfd, b'7', b'z', b'X']) {
            Self::Xz
        } else if begins(b"BZh") {
            Self::Bzip2
        } else if [
            [0xa1, 0xb2, 0xc3, 0xd4],
            [0xd4, 0xc3, 0xb2, 0xa1],
            [0xa1, 0xb2, 0x3c, 0x4d],
            [0x4d, 0x3c, 0xb2, 0xa1],
        ]
        .iter()
        .any(|magic| begins(magic))
        {
            Self::Pcap
        } else if start
            .iter()
            .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
        {
            Self::Text
        } else {
            let mut bytes = [0; 4];
            for (to, from) in bytes.iter_mut().zip(start) {
                *to = *from;
            }
            Self::Unknown(bytes)
        })
    }
}

impl fmt::Display for LooksLike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unpack = |f: &mut fmt::Formatter<'_>, what, by| {
            write!(
                f,
                "it looks compressed by {what}: unpack it with {by} first"
            )
        };
        match self {
            Self::Gzip => unpack(f, "gzip", "gunzip"),
            Self::Zstd => unpack(f, "zstd", "unzstd"),
            Self::Xz => unpack(f, "xz", "unxz"),
            Self::Bzip2 => unpack(f, "bzip2", "bunzip2"),
            Self::Pcap => f.write_str(
                "it looks like a classic pcap file, which virtscope never writes: name a capture made by `virtscope … -w`",
            ),
            Self::Text => f.write_str("it looks like text: name a capture made by `virtscope … -w`"),
            Self::Unknown([a, b, c, d]) => write!(
                f,
                "it begins with {a:02x} {b:02x} {c:02x} {d:02x}: name a capture made by `virtscope … -w`"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(b"\x0a\x0d\x0d\x0a", None)]
    #[case(b"\x0a\x0d", None)]
    #[case(b"\x1f\x8b\x08\x00", Some(LooksLike::Gzip))]
    #[case(b"\x28\xb5\x2f\xfd", Some(LooksLike::Zstd))]
    #[case(b"\xfd7zX", Some(LooksLike::Xz))]
    #[case(b"BZh9", Some(LooksLike::Bzip2))]
    #[case(b"\xd4\xc3\xb2\xa1", Some(LooksLike::Pcap))]
    #[case(b"\xa1\xb2\x3c\x4d", Some(LooksLike::Pcap))]
    #[case(b"[pac", Some(LooksLike::Text))]
    #[case(b"\x7fELF", Some(LooksLike::Unknown(*b"\x7fELF")))]
    #[case(b"\x00", Some(LooksLike::Unknown([0; 4])))]
    fn recognises(#[case] start: &[u8], #[case] expected: Option<LooksLike>) {
        assert_eq!(LooksLike::of(start), expected);
    }
}
