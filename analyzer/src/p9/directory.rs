//! The entries an `Rreaddir` holds.

use nom::bytes::complete::take;
use nom::number::complete::u8;
use nom::{IResult, Parser};

use super::Qid;
use super::wire::{eight, qid, two};

/// One name in a directory: `qid[13] offset[8] type[1] name[s]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectoryEntry<'a> {
    /// The file's identity.
    pub qid: Qid,
    /// What a `Treaddir` gives to go on behind this entry.
    pub offset: u64,
    /// The file's type (Linux `DT_*`: 4 directory, 8 file, 10 symbolic link).
    pub kind: u8,
    /// The name: any bytes. Print it through [`sanitize`](crate::sanitize).
    pub name: &'a [u8],
}

/// The whole entries at the start of some bytes; stops before one that is cut.
#[derive(Clone, Debug)]
pub struct DirectoryEntries<'a> {
    rest: &'a [u8],
}

impl<'a> DirectoryEntries<'a> {
    /// Of the data of an `Rreaddir`.
    pub const fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// What has not been read: once the iterator has ended, the bytes of an entry
    /// that is not whole.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for DirectoryEntries<'a> {
    type Item = DirectoryEntry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (rest, entry) = entry(self.rest).ok()?;
        self.rest = rest;
        Some(entry)
    }
}

fn entry(input: &[u8]) -> IResult<&[u8], DirectoryEntry<'_>> {
    let (input, head) = take(13_usize).parse(input)?;
    let (_, qid) = qid(head)?;
    let (input, (offset, kind, length)) = (eight, u8, two).parse(input)?;
    let (input, name) = take(length).parse(input)?;
    Ok((
        input,
        DirectoryEntry {
            qid,
            offset,
            kind,
            name,
        },
    ))
}
