//! What the fields of a message are made of, and how each is read.

use std::fmt;

use nom::bytes::complete::take;
use nom::combinator::map;
use nom::error::{Error, ErrorKind};
use nom::multi::length_data;
use nom::number::complete::u8 as byte;
use nom::{IResult, Parser};

use super::{Dialect, Fid, Qid, Tag};
use crate::errno::Errno;
use crate::text::sanitize;

/// A value as it stands in a message.
pub(super) trait Wire<'a>: Sized {
    fn parse(input: &'a [u8], dialect: Dialect) -> IResult<&'a [u8], Self>;
}

macro_rules! wire {
    ($($type:ty: $parser:expr;)*) => {
        $(impl<'a> Wire<'a> for $type {
            #[inline(always)]
            fn parse(input: &'a [u8], _: Dialect) -> IResult<&'a [u8], Self> {
                $parser.parse(input)
            }
        })*
    };
}

wire! {
    u8: byte;
    u16: two;
    u32: four;
    u64: eight;
    Tag: map(two, Tag);
    Fid: map(four, Fid);
    Errno: map(four, Errno);
    Text<'a>: map(length_data(two), Text);
    Qid: qid;
    Texts<'a>: texts;
    Qids<'a>: qids;
    Data<'a>: data;
}

macro_rules! little_endian {
    ($($name:ident $type:ty;)*) => {
        $(
            /// nom's own parser of integers adds byte by byte; this is one load.
            #[inline(always)]
            pub(super) fn $name(input: &[u8]) -> IResult<&[u8], $type> {
                match input.split_first_chunk() {
                    Some((bytes, rest)) => Ok((rest, <$type>::from_le_bytes(*bytes))),
                    None => Err(nom::Err::Error(Error::new(input, ErrorKind::Eof))),
                }
            }
        )*
    };
}

little_endian! {
    two u16;
    four u32;
    eight u64;
}

/// A string: any bytes, though the protocol wants UTF-8 without zero bytes.
///
/// `Display` is safe to print.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Text<'a>(pub &'a [u8]);

impl<'a> Text<'a> {
    /// The string, if it is what the protocol wants.
    pub fn as_str(self) -> Option<&'a str> {
        let text = std::str::from_utf8(self.0).ok()?;
        (!self.0.contains(&0)).then_some(text)
    }

    /// Whether it is what the protocol wants: UTF-8 without zero bytes.
    pub fn is_sound(self) -> bool {
        self.as_str().is_some()
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sanitize(self.0))
    }
}

/// Strings, one behind the other; all of them are there.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Texts<'a> {
    count: u16,
    bytes: &'a [u8],
}

impl<'a> Texts<'a> {
    /// How many.
    pub const fn len(self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = Text<'a>> + Clone {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let (behind, text) = Text::parse(rest, Dialect::Linux).ok()?;
            rest = behind;
            Some(text)
        })
    }
}

fn texts(input: &[u8]) -> IResult<&[u8], Texts<'_>> {
    let (start, count) = two(input)?;
    let mut rest = start;
    for _ in 0..count {
        (rest, _) = Text::parse(rest, Dialect::Linux)?;
    }
    let bytes = start.get(..start.len() - rest.len()).unwrap_or(start);
    Ok((rest, Texts { count, bytes }))
}

/// Qids, one behind the other; all of them are there.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Qids<'a> {
    bytes: &'a [u8],
}

impl<'a> Qids<'a> {
    /// How many.
    pub const fn len(self) -> usize {
        self.bytes.len() / Qid::LEN
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = Qid> + Clone + use<'a> {
        let chunks = self.bytes.chunks_exact(Qid::LEN);
        chunks.filter_map(|bytes| qid(bytes).ok().map(|(_, qid)| qid))
    }
}

fn qids(input: &[u8]) -> IResult<&[u8], Qids<'_>> {
    let (input, count) = two(input)?;
    map(take(usize::from(count) * Qid::LEN), |bytes| Qids { bytes }).parse(input)
}

/// The bytes at the end of a message, as far as they were captured.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Data<'a> {
    /// How many there are by the message's count.
    pub declared: u32,
    /// What was captured of them.
    pub bytes: &'a [u8],
}

/// Takes no more than is there. Whether the rest was cut by the capture or lies
/// beyond the message's end, whoever knows the message's size must say.
fn data(input: &[u8]) -> IResult<&[u8], Data<'_>> {
    let (input, declared) = four(input)?;
    let length = input.len().min(declared as usize);
    map(take(length), |bytes| Data { declared, bytes }).parse(input)
}

/// A field that only 9P2000.u and 9P2000.L have.
impl<'a, T: Wire<'a>> Wire<'a> for Extended<T> {
    #[inline(always)]
    fn parse(input: &'a [u8], dialect: Dialect) -> IResult<&'a [u8], Self> {
        if dialect == Dialect::Plain {
            return Ok((input, Self(None)));
        }
        let (input, value) = T::parse(input, dialect)?;
        Ok((input, Self(Some(value))))
    }
}

/// A field that only 9P2000.u has.
impl<'a, T: Wire<'a>> Wire<'a> for UnixOnly<T> {
    #[inline(always)]
    fn parse(input: &'a [u8], dialect: Dialect) -> IResult<&'a [u8], Self> {
        if dialect != Dialect::Unix {
            return Ok((input, Self(None)));
        }
        let (input, value) = T::parse(input, dialect)?;
        Ok((input, Self(Some(value))))
    }
}

/// A field of 9P2000.u and 9P2000.L.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Extended<T>(pub Option<T>);

/// A field of 9P2000.u.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct UnixOnly<T>(pub Option<T>);

#[inline(always)]
pub(super) fn qid(input: &[u8]) -> IResult<&[u8], Qid> {
    map((byte, four, eight), |(kind, version, path)| Qid {
        kind,
        version,
        path,
    })
    .parse(input)
}

/// What a parser says of bytes that contradict themselves.
pub(super) fn contradiction<T>(input: &[u8]) -> IResult<&[u8], T> {
    Err(nom::Err::Error(Error::new(input, ErrorKind::Verify)))
}
