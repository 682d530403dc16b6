//! Which fields each 9P2000.L message has, behind size, type and tag.

use super::MessageType as M;

/// How a field stands in a message. Integers are little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    U8,
    U16,
    U32,
    U64,
    /// 2 bytes.
    Tag,
    /// 4 bytes.
    Fid,
    /// 4 bytes, read in octal.
    Octal,
    /// 4 bytes, read in hexadecimal.
    Mask32,
    /// 8 bytes, read in hexadecimal.
    Mask64,
    /// 4 bytes.
    Errno,
    /// A 2-byte length, then the string.
    Text,
    /// 13 bytes.
    Qid,
    /// As many strings as the field before says.
    Texts,
    /// As many qids as the field before says.
    Qids,
    /// As many bytes as the field before says.
    Data,
    /// As many bytes of directory entries as the field before says.
    Directory,
}

/// One field: its name, its shape and whether a one-line summary shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) in_summary: bool,
}

const fn shown(name: &'static str, shape: Shape) -> Spec {
    Spec {
        name,
        shape,
        in_summary: true,
    }
}

const fn hidden(name: &'static str, shape: Shape) -> Spec {
    Spec {
        name,
        shape,
        in_summary: false,
    }
}

use Shape::{
    Data, Directory, Errno, Fid, Mask32, Mask64, Octal, Qid, Qids, Tag, Text, Texts, U8, U16, U32,
    U64,
};

/// The fields of a message, or `None` if this version does not decode it.
pub(super) const fn fields_of(kind: M) -> Option<&'static [Spec]> {
    Some(match kind {
        M::Rlerror => const { &[shown("ecode", Errno)] },
        M::Tstatfs | M::Tremove | M::Tclunk | M::Treadlink => const { &[shown("fid", Fid)] },
        M::Rstatfs => RSTATFS,
        M::Tlopen => const { &[shown("fid", Fid), shown("flags", Octal)] },
        M::Rlopen | M::Rlcreate => const { &[shown("qid", Qid), shown("iounit", U32)] },
        M::Tlcreate => TLCREATE,
        M::Tsymlink => TSYMLINK,
        M::Rsymlink | M::Rmknod | M::Rmkdir | M::Rattach => const { &[shown("qid", Qid)] },
        M::Tmknod => TMKNOD,
        M::Trename => const { &[shown("fid", Fid), shown("dfid", Fid), shown("name", Text)] },
        M::Rreadlink => const { &[shown("target", Text)] },
        M::Tgetattr => const { &[shown("fid", Fid), shown("request_mask", Mask64)] },
        M::Rgetattr => RGETATTR,
        M::Tsetattr => TSETATTR,
        M::Txattrwalk => const { &[shown("fid", Fid), shown("newfid", Fid), shown("name", Text)] },
        M::Rxattrwalk => const { &[shown("size", U64)] },
        M::Txattrcreate => TXATTRCREATE,
        M::Treaddir | M::Tread => TREAD,
        M::Rreaddir => const { &[shown("count", U32), shown("data", Directory)] },
        M::Tfsync => const { &[shown("fid", Fid), shown("datasync", U32)] },
        M::Tlock => TLOCK,
        M::Rlock => const { &[shown("status", U8)] },
        M::Tgetlock => TGETLOCK,
        M::Rgetlock => RGETLOCK,
        M::Tlink => const { &[shown("dfid", Fid), shown("fid", Fid), shown("name", Text)] },
        M::Tmkdir => TMKDIR,
        M::Trenameat => TRENAMEAT,
        M::Tunlinkat => {
            const {
                &[
                    shown("dfid", Fid),
                    shown("name", Text),
                    shown("flags", Mask32),
                ]
            }
        }
        M::Tversion | M::Rversion => const { &[shown("msize", U32), shown("version", Text)] },
        M::Tauth => TAUTH,
        M::Rauth => const { &[shown("aqid", Qid)] },
        M::Tattach => TATTACH,
        M::Tflush => const { &[shown("oldtag", Tag)] },
        M::Twalk => TWALK,
        M::Rwalk => const { &[shown("nwqid", U16), hidden("wqid", Qids)] },
        M::Rread => const { &[shown("count", U32), hidden("data", Data)] },
        M::Twrite => TWRITE,
        M::Rwrite => const { &[shown("count", U32)] },
        M::Rrename
        | M::Rsetattr
        | M::Rxattrcreate
        | M::Rfsync
        | M::Rlink
        | M::Rrenameat
        | M::Runlinkat
        | M::Rflush
        | M::Rclunk
        | M::Rremove => &[],
        _ => return None,
    })
}

const RSTATFS: &[Spec] = &[
    hidden("type", Mask32),
    shown("bsize", U32),
    shown("blocks", U64),
    hidden("bfree", U64),
    shown("bavail", U64),
    hidden("files", U64),
    hidden("ffree", U64),
    hidden("fsid", Mask64),
    hidden("namelen", U32),
];

const TLCREATE: &[Spec] = &[
    shown("fid", Fid),
    shown("name", Text),
    shown("flags", Octal),
    shown("mode", Octal),
    hidden("gid", U32),
];

const TSYMLINK: &[Spec] = &[
    shown("fid", Fid),
    shown("name", Text),
    shown("symtgt", Text),
    hidden("gid", U32),
];

const TMKNOD: &[Spec] = &[
    shown("dfid", Fid),
    shown("name", Text),
    shown("mode", Octal),
    shown("major", U32),
    shown("minor", U32),
    hidden("gid", U32),
];

const RGETATTR: &[Spec] = &[
    hidden("valid", Mask64),
    shown("qid", Qid),
    shown("mode", Octal),
    hidden("uid", U32),
    hidden("gid", U32),
    hidden("nlink", U64),
    hidden("rdev", Mask64),
    shown("size", U64),
    hidden("blksize", U64),
    hidden("blocks", U64),
    hidden("atime_sec", U64),
    hidden("atime_nsec", U64),
    hidden("mtime_sec", U64),
    hidden("mtime_nsec", U64),
    hidden("ctime_sec", U64),
    hidden("ctime_nsec", U64),
    hidden("btime_sec", U64),
    hidden("btime_nsec", U64),
    hidden("gen", U64),
    hidden("data_version", U64),
];

const TSETATTR: &[Spec] = &[
    shown("fid", Fid),
    shown("valid", Mask32),
    hidden("mode", Octal),
    hidden("uid", U32),
    hidden("gid", U32),
    hidden("size", U64),
    hidden("atime_sec", U64),
    hidden("atime_nsec", U64),
    hidden("mtime_sec", U64),
    hidden("mtime_nsec", U64),
];

const TXATTRCREATE: &[Spec] = &[
    shown("fid", Fid),
    shown("name", Text),
    shown("attr_size", U64),
    shown("flags", Mask32),
];

const TREAD: &[Spec] = &[shown("fid", Fid), shown("offset", U64), shown("count", U32)];

const TWRITE: &[Spec] = &[
    shown("fid", Fid),
    shown("offset", U64),
    shown("count", U32),
    hidden("data", Data),
];

const TLOCK: &[Spec] = &[
    shown("fid", Fid),
    shown("type", U8),
    shown("flags", Mask32),
    shown("start", U64),
    shown("length", U64),
    hidden("proc_id", U32),
    hidden("client_id", Text),
];

const TGETLOCK: &[Spec] = &[
    shown("fid", Fid),
    shown("type", U8),
    shown("start", U64),
    shown("length", U64),
    hidden("proc_id", U32),
    hidden("client_id", Text),
];

const RGETLOCK: &[Spec] = &[
    shown("type", U8),
    shown("start", U64),
    shown("length", U64),
    hidden("proc_id", U32),
    hidden("client_id", Text),
];

const TMKDIR: &[Spec] = &[
    shown("dfid", Fid),
    shown("name", Text),
    shown("mode", Octal),
    hidden("gid", U32),
];

const TRENAMEAT: &[Spec] = &[
    shown("olddirfid", Fid),
    shown("oldname", Text),
    shown("newdirfid", Fid),
    shown("newname", Text),
];

const TAUTH: &[Spec] = &[
    shown("afid", Fid),
    shown("uname", Text),
    shown("aname", Text),
    shown("n_uname", U32),
];

const TATTACH: &[Spec] = &[
    shown("fid", Fid),
    shown("afid", Fid),
    shown("uname", Text),
    shown("aname", Text),
    shown("n_uname", U32),
];

const TWALK: &[Spec] = &[
    shown("fid", Fid),
    shown("newfid", Fid),
    hidden("nwname", U16),
    shown("wname", Texts),
];
