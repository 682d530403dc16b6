//! The attributes of 9P2000 and 9P2000.u, as `Rstat`, `Twstat` and the reading of a
//! directory carry them.

use nom::bytes::complete::take;
use nom::number::complete::le_u16;
use nom::{IResult, Parser};

use super::wire::{UnixOnly, Wire, contradiction};
use super::{Dialect, Qid, Text};

/// A file's attributes: `size[2] type[2] dev[4] qid[13] mode[4] atime[4] mtime[4]
/// length[8] name[s] uid[s] gid[s] muid[s]`, and in 9P2000.u `extension[s] n_uid[4]
/// n_gid[4] n_muid[4]`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stat<'a> {
    /// Bytes behind this field.
    pub size: u16,
    /// The server's type.
    pub kind: u16,
    /// The server's subtype.
    pub dev: u32,
    /// The file's identity.
    pub qid: Qid,
    /// Permissions, and flags in the upper bits (`DMDIR` 0x80000000).
    pub mode: u32,
    /// Last read, seconds since 1970.
    pub atime: u32,
    /// Last change, seconds since 1970.
    pub mtime: u32,
    /// The file's length in bytes; 0 for directories.
    pub length: u64,
    /// Its last name; `/` for the root.
    pub name: Text<'a>,
    /// Its owner.
    pub uid: Text<'a>,
    /// Its group.
    pub gid: Text<'a>,
    /// Who changed it last.
    pub muid: Text<'a>,
    /// Of 9P2000.u: what a symbolic link or a device is.
    pub extension: UnixOnly<Text<'a>>,
    /// Of 9P2000.u: the owner's number.
    pub n_uid: UnixOnly<u32>,
    /// Of 9P2000.u: the group's number.
    pub n_gid: UnixOnly<u32>,
    /// Of 9P2000.u: the number of who changed it last.
    pub n_muid: UnixOnly<u32>,
}

impl<'a> Stat<'a> {
    pub(super) fn texts(&self) -> impl Iterator<Item = (&'static str, Text<'a>)> + use<'a> {
        let names = [
            ("name", Some(self.name)),
            ("uid", Some(self.uid)),
            ("gid", Some(self.gid)),
            ("muid", Some(self.muid)),
            ("extension", self.extension.0),
        ];
        names
            .into_iter()
            .filter_map(|(name, text)| Some((name, text?)))
    }
}

impl<'a> Wire<'a> for Stat<'a> {
    /// One structure, which must fill exactly the bytes that its size says.
    fn parse(input: &'a [u8], dialect: Dialect) -> IResult<&'a [u8], Self> {
        let (input, size) = le_u16(input)?;
        let (behind, body) = take(size).parse(input)?;
        let (body, (kind, dev, qid)) = fields(body, dialect)?;
        let (body, (mode, atime, mtime)) = fields(body, dialect)?;
        let (body, (length, name, uid)) = fields(body, dialect)?;
        let (body, (gid, muid, extension)) = fields(body, dialect)?;
        let (body, (n_uid, n_gid, n_muid)) = fields(body, dialect)?;
        if !body.is_empty() {
            return contradiction(body);
        }
        let stat = Self {
            size,
            kind,
            dev,
            qid,
            mode,
            atime,
            mtime,
            length,
            name,
            uid,
            gid,
            muid,
            extension,
            n_uid,
            n_gid,
            n_muid,
        };
        Ok((behind, stat))
    }
}

fn fields<'a, A: Wire<'a>, B: Wire<'a>, C: Wire<'a>>(
    input: &'a [u8],
    dialect: Dialect,
) -> IResult<&'a [u8], (A, B, C)> {
    let (input, a) = A::parse(input, dialect)?;
    let (input, b) = B::parse(input, dialect)?;
    let (input, c) = C::parse(input, dialect)?;
    Ok((input, (a, b, c)))
}

/// A structure with its length in front, as `Rstat` and `Twstat` have it: `nstat[2]
/// stat[nstat]`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CountedStat<'a> {
    /// The attributes.
    pub stat: Stat<'a>,
}

impl<'a> Wire<'a> for CountedStat<'a> {
    fn parse(input: &'a [u8], dialect: Dialect) -> IResult<&'a [u8], Self> {
        let (input, length) = le_u16(input)?;
        let (input, bytes) = take(length).parse(input)?;
        let (rest, stat) = Stat::parse(bytes, dialect)?;
        if !rest.is_empty() {
            return contradiction(rest);
        }
        Ok((input, Self { stat }))
    }
}

/// The whole structures at the start of some bytes: what an `Rread` of a directory
/// holds in 9P2000 and 9P2000.u. Stops before one that is cut or wrong.
#[derive(Clone, Debug)]
pub struct Stats<'a> {
    rest: &'a [u8],
    dialect: Dialect,
}

impl<'a> Stats<'a> {
    /// Of the data of an `Rread`.
    pub const fn new(data: &'a [u8], dialect: Dialect) -> Self {
        Self {
            rest: data,
            dialect,
        }
    }

    /// What has not been read: once the iterator has ended, the bytes that are no
    /// whole structure.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Stats<'a> {
    type Item = Stat<'a>;

    fn next(&mut self) -> Option<Stat<'a>> {
        let (rest, stat) = Stat::parse(self.rest, self.dialect).ok()?;
        self.rest = rest;
        Some(stat)
    }
}
