//! One message: its header at once, its fields as they are asked for.

use std::fmt;

use nom::bytes::streaming::take;
use nom::combinator::map;
use nom::error::Error;
use nom::multi::length_data;
use nom::number::streaming::{le_u16, le_u32, le_u64, u8};
use nom::{Err, IResult, Needed, Parser};

use super::body::{self, Body, fields_of};
use super::end::{End, Problem};
use super::layout::{Shape, Spec};
use super::{
    Dialect, DirectoryEntries, DirectoryEntry, Fid, Field, MessageType, Qid, Tag, Text, Value,
};
use crate::errno::Errno;

/// Bytes of size, type and tag.
const HEADER_LEN: usize = 7;

/// A 9P message in captured bytes.
///
/// `Display` is one line: `Tread tag 3 fid 7 offset 4096 count 8192`, safe to
/// print.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Bytes of the whole message, as its header says.
    pub size: u32,
    /// What kind of message.
    pub kind: MessageType,
    /// What joins request and reply.
    pub tag: Tag,
    /// The captured part of it, header included, at most `size` bytes.
    bytes: &'a [u8],
    /// Bytes of the buffer it stands in.
    full_length: u32,
    /// How it is to be read.
    dialect: Dialect,
}

/// Bytes without a 9P header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// The capture cut the header off.
    #[error(
        "only {captured} bytes were captured, the 9P header has 7: capture with a larger snaplen"
    )]
    NotCaptured {
        /// How many bytes there are.
        captured: usize,
    },
    /// The buffer is too short for a message.
    #[error("a buffer of {length} bytes holds no 9P message: the header alone has 7")]
    TooShort {
        /// Bytes of the buffer.
        length: u32,
    },
    /// The size field is smaller than the header.
    #[error("field `size` at offset 0 says {size}, but the 9P header alone has 7 bytes")]
    Size {
        /// What it says.
        size: u32,
    },
}

impl<'a> Message<'a> {
    /// The message at the start of `bytes`, which are what was captured of a
    /// buffer of `full_length` bytes. It is read as 9P2000.L; see
    /// [`in_dialect`](Self::in_dialect).
    ///
    /// # Errors
    /// Bytes that hold no header.
    pub fn decode(bytes: &'a [u8], full_length: u32) -> Result<Self, HeaderError> {
        let header = (le_u32::<&[u8], Error<&[u8]>>, u8, le_u16).parse(bytes);
        let Ok((_, (size, kind, tag))) = header else {
            return Err(if (full_length as usize) < HEADER_LEN {
                HeaderError::TooShort {
                    length: full_length,
                }
            } else {
                HeaderError::NotCaptured {
                    captured: bytes.len(),
                }
            });
        };
        if (size as usize) < HEADER_LEN {
            return Err(HeaderError::Size { size });
        }
        Ok(Self {
            size,
            kind: MessageType(kind),
            tag: Tag(tag),
            bytes: bytes.get(..size as usize).unwrap_or(bytes),
            full_length: full_length.max(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
            dialect: Dialect::Linux,
        })
    }

    /// The same message, to be read as one of this dialect.
    #[must_use]
    pub const fn in_dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Its bytes, as far as they were captured.
    pub const fn captured(&self) -> &'a [u8] {
        self.bytes
    }

    /// How it is read.
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// All it says, if it is whole. Of data at its end (of a read, a write, a
    /// directory) some or all may have been cut by the capture.
    ///
    /// # Errors
    /// How far the fields go, and why no further.
    pub fn body(&self) -> Result<Body<'a>, End> {
        // In one piece: each step on the way would move what was decoded.
        let input = self.bytes.get(HEADER_LEN..).unwrap_or_default();
        match body::parse(self.kind, input, self.dialect) {
            Some(Ok((rest, body))) if self.is_whole(rest, &body) => Ok(body),
            _ => Err(self.end_by_fields()),
        }
    }

    /// Whether `body`, behind which comes `rest`, is all that the message should say.
    #[inline(always)]
    fn is_whole(&self, rest: &[u8], body: &Body<'_>) -> bool {
        let missing = match body.data() {
            Some(data) => u64::from(data.declared) - data.bytes.len() as u64,
            None => 0,
        };
        let end = (self.bytes.len() - rest.len()) as u64 + missing;
        rest.is_empty() && end == u64::from(self.size) && self.size <= self.full_length
    }

    /// Everything that can be said of its soundness: all its fields, the entries of a
    /// directory, and whether its strings are what the protocol wants.
    pub fn check(&self) -> Check {
        self.full().1
    }

    /// The full decode: all it says, and whether that is sound, in one pass.
    pub fn full(&self) -> (Result<Body<'a>, End>, Check) {
        let body = match self.body() {
            Ok(body) => body,
            Err(end) => {
                let check = Check {
                    end,
                    unsound_text: None,
                };
                return (Err(end), check);
            }
        };
        let mut unsound_text = None;
        let mut look = |name, text: Text<'_>| {
            if unsound_text.is_none() && !text.is_sound() {
                unsound_text = Some(name);
            }
        };
        body.each_text(&mut look);
        let end = self.end_with(&body, |entry| look("name", Text(entry.name)));
        (Ok(body), Check { end, unsound_text })
    }

    /// Size, type and tag as fields, for a detailed view.
    pub fn header_fields(&self) -> [Field<'a>; 3] {
        let field = |name, value, range| Field {
            name,
            index: None,
            value,
            range,
        };
        [
            field("size", Value::Number(self.size.into()), 0..4),
            field("type", Value::Type(self.kind), 4..5),
            field("tag", Value::Tag(self.tag), 5..7),
        ]
    }

    /// The fields behind the header, in order, as far as they go;
    /// [`Fields::end`] says how far that was.
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self)
    }

    /// How decoding ends.
    pub fn end(&self) -> End {
        match self.body() {
            Ok(body) => self.end_of(&body),
            Err(end) => end,
        }
    }

    /// Whether `body`, which is what [`body`](Self::body) said, contradicts the protocol.
    pub(crate) fn is_malformed(&self, body: &Result<Body<'_>, End>) -> bool {
        let end = match body {
            Ok(body) => self.end_of(body),
            Err(end) => *end,
        };
        matches!(end, End::Malformed { .. })
    }

    /// How decoding ends where the fields themselves are sound.
    fn end_of(&self, body: &Body<'_>) -> End {
        self.end_with(body, |_| {})
    }

    /// The same, with each entry of a directory shown to `each`.
    fn end_with<'b>(&self, body: &Body<'b>, each: impl FnMut(DirectoryEntry<'b>)) -> End {
        let Some(data) = body.data() else {
            return End::Whole;
        };
        let is_cut = data.bytes.len() < data.declared as usize;
        if let Body::Rreaddir(_) = body {
            let mut entries = DirectoryEntries::new(data.bytes);
            entries.by_ref().for_each(each);
            let rest = entries.rest().len();
            if rest > 0 && !is_cut {
                return End::Malformed {
                    field: "data",
                    offset: self.bytes.len() - rest,
                    problem: Problem::NotAnEntry,
                };
            }
        }
        if is_cut {
            return End::Truncated { field: "data" };
        }
        End::Whole
    }

    fn end_by_fields(&self) -> End {
        let mut fields = self.fields();
        fields.by_ref().for_each(drop);
        match fields.end() {
            // Every field is there: what is wrong is how they fit together.
            End::Whole if fields_of(self.kind).is_some() => self.end_of_stat(),
            end => end,
        }
    }

    /// What is wrong with a message whose `stat` structure does not fill the bytes
    /// that its sizes say.
    fn end_of_stat(&self) -> End {
        for name in ["nstat", "size"] {
            if let Some(field) = self.fields().find(|field| field.name == name)
                && let Value::Number(says) = field.value
                && let follow = u64::from(self.size) - field.range.end as u64
                && says != follow
            {
                return End::Malformed {
                    field: name,
                    offset: field.range.start,
                    problem: Problem::Size { says, follow },
                };
            }
        }
        End::Whole
    }

    /// The value of the first field called `name`, if it was captured.
    pub fn value(&self, name: &str) -> Option<Value<'a>> {
        self.fields()
            .find(|field| field.name == name)
            .map(|field| field.value)
    }

    /// The fid this message is about first: `fid`, `dfid`, `afid` or `olddirfid`.
    pub fn fid(&self) -> Option<Fid> {
        self.fields().find_map(|field| match field.value {
            Value::Fid(fid) => Some(fid),
            _ => None,
        })
    }

    /// The error of an `Rlerror`, or of an `Rerror` of 9P2000.u.
    pub fn errno(&self) -> Option<Errno> {
        if !matches!(self.kind, MessageType::Rlerror | MessageType::Rerror) {
            return None;
        }
        self.fields().find_map(|field| match field.value {
            Value::Errno(errno) => Some(errno),
            _ => None,
        })
    }

    /// Whether it answers any request, by saying that it failed.
    pub const fn is_error(&self) -> bool {
        matches!(self.kind, MessageType::Rlerror | MessageType::Rerror)
    }

    /// The `count` field: bytes asked for, moved or that follow.
    pub fn count(&self) -> Option<u32> {
        match self.value("count") {
            Some(Value::Number(count)) => u32::try_from(count).ok(),
            _ => None,
        }
    }
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tag {}", self.kind, self.tag)?;
        let mut fields = self.fields();
        while let Some((field, in_summary)) = fields.next_with_summary() {
            if !in_summary {
                continue;
            }
            match field.value {
                Value::Errno(_) => write!(f, " {}", field.value)?,
                _ if field.index.is_some_and(|index| index > 0) => write!(f, " {}", field.value)?,
                _ => write!(f, " {} {}", field.name, field.value)?,
            }
        }
        match fields.end() {
            End::Whole => Ok(()),
            // That the data of a read or write was not kept is the rule.
            End::Truncated { field: "data" } => Ok(()),
            end => write!(f, " ({end})"),
        }
    }
}

/// Reads a message's fields one after the other.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    size: usize,
    buffer: u32,
    bytes: &'a [u8],
    offset: usize,
    dialect: Dialect,
    specs: &'static [Spec],
    /// The number just read: how much of the next field there is.
    count: u64,
    /// Which one of a repeated field comes next.
    index: u64,
    end: Option<End>,
}

impl<'a> Fields<'a> {
    fn new(message: &Message<'a>) -> Self {
        let specs = fields_of(message.kind);
        Self {
            size: message.size as usize,
            buffer: message.full_length,
            bytes: message.bytes,
            offset: HEADER_LEN,
            dialect: message.dialect,
            specs: specs.unwrap_or_default(),
            count: 0,
            index: 0,
            end: specs.is_none().then_some(End::NotDecoded),
        }
    }

    /// How the decoding ended; meaningful once the iterator has.
    pub fn end(&self) -> End {
        self.end.unwrap_or(End::Whole)
    }

    fn next_with_summary(&mut self) -> Option<(Field<'a>, bool)> {
        loop {
            if self.end.is_some() {
                return None;
            }
            let Some((spec, later)) = self.specs.split_first() else {
                self.end = Some(self.end_behind_last());
                return None;
            };
            if !spec.when.is_in(self.dialect) {
                self.specs = later;
                continue;
            }
            let repeats = matches!(spec.shape, Shape::Texts | Shape::Qids);
            if repeats && self.index >= self.count {
                self.specs = later;
                continue;
            }
            let field = self.read(spec, repeats)?;
            if repeats {
                self.index += 1;
            } else {
                self.specs = later;
                self.index = 0;
            }
            return Some((field, spec.in_summary));
        }
    }

    fn read(&mut self, spec: &Spec, repeats: bool) -> Option<Field<'a>> {
        let start = self.offset;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let (value, length) = match parse(spec.shape, self.count, rest) {
            Ok((behind, value)) => (value, rest.len() - behind.len()),
            Err(Err::Incomplete(Needed::Size(more)))
                if self.size - self.bytes.len() >= more.get() =>
            {
                self.end = Some(
                    self.larger_than_buffer()
                        .unwrap_or(End::Truncated { field: spec.name }),
                );
                // Of data the length is known though the bytes are not.
                (self.cut_data(spec.shape, rest)?, rest.len())
            }
            Err(_) => {
                self.end = Some(End::Malformed {
                    field: spec.name,
                    offset: start,
                    problem: Problem::BeyondEnd,
                });
                return None;
            }
        };
        if let Value::Number(number) = value {
            self.count = number;
        }
        self.offset = start + length;
        Some(Field {
            name: spec.name,
            // The count of a repeated field has two bytes.
            index: repeats.then(|| u16::try_from(self.index).unwrap_or(u16::MAX)),
            value,
            range: start..start + length,
        })
    }

    fn cut_data(&self, shape: Shape, bytes: &'a [u8]) -> Option<Value<'a>> {
        let declared = u32::try_from(self.count).ok()?;
        match shape {
            Shape::Data => Some(Value::Data { declared, bytes }),
            Shape::Directory => Some(Value::Directory { declared, bytes }),
            _ => None,
        }
    }

    fn larger_than_buffer(&self) -> Option<End> {
        (self.size > self.buffer as usize).then_some(End::Malformed {
            field: "size",
            offset: 0,
            problem: Problem::LargerThanBuffer {
                buffer: self.buffer,
            },
        })
    }

    fn end_behind_last(&self) -> End {
        if let Some(end) = self.larger_than_buffer() {
            return end;
        }
        match self.size - self.offset {
            0 => End::Whole,
            bytes => End::Malformed {
                field: "end",
                offset: self.offset,
                problem: Problem::Trailing { bytes },
            },
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        self.next_with_summary().map(|(field, _)| field)
    }
}

fn parse(shape: Shape, count: u64, input: &[u8]) -> IResult<&[u8], Value<'_>> {
    match shape {
        Shape::U8 => map(u8, |n| Value::Number(n.into())).parse(input),
        Shape::U16 => map(le_u16, |n| Value::Number(n.into())).parse(input),
        Shape::U32 => map(le_u32, |n| Value::Number(n.into())).parse(input),
        Shape::U64 => map(le_u64, Value::Number).parse(input),
        Shape::Tag => map(le_u16, |n| Value::Tag(Tag(n))).parse(input),
        Shape::Fid => map(le_u32, |n| Value::Fid(Fid(n))).parse(input),
        Shape::Octal => map(le_u32, Value::Octal).parse(input),
        Shape::Mask8 => map(u8, |n| Value::Mask(n.into())).parse(input),
        Shape::Mask32 => map(le_u32, |n| Value::Mask(n.into())).parse(input),
        Shape::Mask64 => map(le_u64, Value::Mask).parse(input),
        Shape::Errno => map(le_u32, |n| Value::Errno(Errno(n))).parse(input),
        Shape::Text | Shape::Texts => map(length_data(le_u16), Value::Text).parse(input),
        Shape::Qid | Shape::Qids => map(qid, Value::Qid).parse(input),
        Shape::Data => map(take(count), |bytes| Value::Data {
            declared: declared(bytes),
            bytes,
        })
        .parse(input),
        Shape::Directory => map(take(count), |bytes| Value::Directory {
            declared: declared(bytes),
            bytes,
        })
        .parse(input),
    }
}

/// What can be said of a message's soundness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Check {
    /// How the decoding of its fields ended.
    pub end: End,
    /// The first field with a string that is not UTF-8 or has a zero byte in it. Linux
    /// allows both but the zero byte in names, the protocol neither.
    pub unsound_text: Option<&'static str>,
}

/// The length of data that was captured whole; its count has four bytes.
fn declared(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn qid(input: &[u8]) -> IResult<&[u8], Qid> {
    map((u8, le_u32, le_u64), |(kind, version, path)| Qid {
        kind,
        version,
        path,
    })
    .parse(input)
}
