//! A message of each kind, and how it reads.

use super::*;

/// The messages that the reference driver and its device exchange, with how each
/// reads.
pub(super) fn common_examples() -> Vec<(Vec<u8>, &'static str)> {
    let nofid = u32::MAX;
    let qid = qid_bytes(0x80, 2, 0x10);
    let names = body(&[&u32le(1), &u32le(2), &u16le(2), &text("a"), &text("b c")]);
    let create = body(&[
        &u32le(3),
        &text("new"),
        &u32le(0o101),
        &u32le(0o644),
        &u32le(0),
    ]);
    let entries = body(&[&entry(7, 1, 4, "."), &entry(8, 2, 8, "x")]);
    let mut getattr = body(&[&u64le(0x7ff), &qid, &u32le(0o40755), &u32le(0), &u32le(0)]);
    getattr.extend(u64le(2));
    getattr.extend(u64le(0));
    getattr.extend(u64le(4096));
    getattr.extend([0; 8 * 12]);
    let mut statfs = body(&[&u32le(0x0102_1994), &u32le(4096)]);
    statfs.extend(u64le(100));
    statfs.extend([0; 8]);
    statfs.extend(u64le(50));
    statfs.extend([0; 8 * 3 + 4]);
    vec![
        (
            message(100, 0xffff, &body(&[&u32le(8192), &text("9P2000.L")])),
            "Tversion tag NOTAG msize 8192 version \"9P2000.L\"",
        ),
        (
            message(101, 0xffff, &body(&[&u32le(4096), &text("9P2000.L")])),
            "Rversion tag NOTAG msize 4096 version \"9P2000.L\"",
        ),
        (
            message(
                104,
                1,
                &body(&[
                    &u32le(0),
                    &u32le(nofid),
                    &text("me"),
                    &text(""),
                    &u32le(1000),
                ]),
            ),
            "Tattach tag 1 fid 0 afid NOFID uname \"me\" aname \"\" n_uname 1000",
        ),
        (message(105, 1, &qid), "Rattach tag 1 qid 80.2.10"),
        (
            message(110, 1, &names),
            "Twalk tag 1 fid 1 newfid 2 wname \"a\" \"b c\"",
        ),
        (
            message(111, 1, &body(&[&u16le(1), &qid])),
            "Rwalk tag 1 nwqid 1",
        ),
        (
            message(12, 1, &body(&[&u32le(3), &u32le(0o100_000)])),
            "Tlopen tag 1 fid 3 flags 0100000",
        ),
        (
            message(13, 1, &body(&[&qid, &u32le(4096)])),
            "Rlopen tag 1 qid 80.2.10 iounit 4096",
        ),
        (
            message(14, 1, &create),
            "Tlcreate tag 1 fid 3 name \"new\" flags 0101 mode 0644",
        ),
        (
            message(15, 1, &body(&[&qid, &u32le(0)])),
            "Rlcreate tag 1 qid 80.2.10 iounit 0",
        ),
        (
            tread(3, 7, 4096, 8192),
            "Tread tag 3 fid 7 offset 4096 count 8192",
        ),
        (rread(3, b"data"), "Rread tag 3 count 4"),
        (
            message(118, 1, &body(&[&u32le(3), &u64le(9), &u32le(2), b"hi"])),
            "Twrite tag 1 fid 3 offset 9 count 2",
        ),
        (message(119, 1, &u32le(2)), "Rwrite tag 1 count 2"),
        (
            message(40, 1, &body(&[&u32le(3), &u64le(0), &u32le(512)])),
            "Treaddir tag 1 fid 3 offset 0 count 512",
        ),
        (
            message(41, 1, &body(&[&u32le(entries.len() as u32), &entries])),
            "Rreaddir tag 1 count 50 data 2 entries",
        ),
        (
            message(24, 1, &body(&[&u32le(3), &u64le(0x7ff)])),
            "Tgetattr tag 1 fid 3 request_mask 0x7ff",
        ),
        (
            message(25, 1, &getattr),
            "Rgetattr tag 1 qid 80.2.10 mode 040755 size 4096",
        ),
        (
            message(
                72,
                1,
                &body(&[&u32le(3), &text("d"), &u32le(0o755), &u32le(0)]),
            ),
            "Tmkdir tag 1 dfid 3 name \"d\" mode 0755",
        ),
        (message(73, 1, &qid), "Rmkdir tag 1 qid 80.2.10"),
        (
            message(76, 1, &body(&[&u32le(3), &text("d"), &u32le(0x200)])),
            "Tunlinkat tag 1 dfid 3 name \"d\" flags 0x200",
        ),
        (message(77, 1, &[]), "Runlinkat tag 1"),
        (message(120, 1, &u32le(3)), "Tclunk tag 1 fid 3"),
        (message(121, 1, &[]), "Rclunk tag 1"),
        (message(108, 1, &u16le(9)), "Tflush tag 1 oldtag 9"),
        (message(109, 1, &[]), "Rflush tag 1"),
        (rlerror(3, 2), "Rlerror tag 3 ENOENT (2)"),
        (message(8, 1, &u32le(3)), "Tstatfs tag 1 fid 3"),
        (
            message(9, 1, &statfs),
            "Rstatfs tag 1 bsize 4096 blocks 100 bavail 50",
        ),
        (
            message(50, 1, &body(&[&u32le(3), &u32le(1)])),
            "Tfsync tag 1 fid 3 datasync 1",
        ),
        (message(122, 1, &u32le(3)), "Tremove tag 1 fid 3"),
        (message(22, 1, &u32le(3)), "Treadlink tag 1 fid 3"),
        (message(23, 1, &text("to")), "Rreadlink tag 1 target \"to\""),
    ]
}

/// The others of 9P2000.L.
pub(super) fn linux_examples() -> Vec<(Vec<u8>, &'static str)> {
    let qid = qid_bytes(2, 2, 0x10);
    let lock = |flags: Option<u32>| {
        let flags = flags.map(u32::to_le_bytes);
        body(&[
            &u32le(3),
            &[1],
            flags.as_ref().map_or(&[][..], |flags| flags),
            &u64le(10),
            &u64le(20),
            &u32le(77),
            &text("host"),
        ])
    };
    vec![
        (
            message(
                16,
                1,
                &body(&[&u32le(3), &text("l"), &text("to"), &u32le(0)]),
            ),
            "Tsymlink tag 1 fid 3 name \"l\" symtgt \"to\"",
        ),
        (message(17, 1, &qid), "Rsymlink tag 1 qid 02.2.10"),
        (
            message(
                18,
                1,
                &body(&[
                    &u32le(3),
                    &text("null"),
                    &u32le(0o20666),
                    &u32le(1),
                    &u32le(3),
                    &u32le(0),
                ]),
            ),
            "Tmknod tag 1 dfid 3 name \"null\" mode 020666 major 1 minor 3",
        ),
        (message(19, 1, &qid), "Rmknod tag 1 qid 02.2.10"),
        (
            message(20, 1, &body(&[&u32le(3), &u32le(4), &text("new")])),
            "Trename tag 1 fid 3 dfid 4 name \"new\"",
        ),
        (message(21, 1, &[]), "Rrename tag 1"),
        (
            message(
                26,
                1,
                &body(&[&u32le(3), &u32le(8), &[0; 12], &u64le(5), &[0; 32]]),
            ),
            "Tsetattr tag 1 fid 3 valid 0x8",
        ),
        (message(27, 1, &[]), "Rsetattr tag 1"),
        (
            message(30, 1, &body(&[&u32le(3), &u32le(9), &text("user.x")])),
            "Txattrwalk tag 1 fid 3 newfid 9 name \"user.x\"",
        ),
        (message(31, 1, &u64le(12)), "Rxattrwalk tag 1 size 12"),
        (
            message(
                32,
                1,
                &body(&[&u32le(3), &text("user.x"), &u64le(12), &u32le(1)]),
            ),
            "Txattrcreate tag 1 fid 3 name \"user.x\" attr_size 12 flags 0x1",
        ),
        (message(33, 1, &[]), "Rxattrcreate tag 1"),
        (message(51, 1, &[]), "Rfsync tag 1"),
        (
            message(52, 1, &lock(Some(1))),
            "Tlock tag 1 fid 3 type 1 flags 0x1 start 10 length 20",
        ),
        (message(53, 1, &[2]), "Rlock tag 1 status 2"),
        (
            message(54, 1, &lock(None)),
            "Tgetlock tag 1 fid 3 type 1 start 10 length 20",
        ),
        (
            message(55, 1, &lock(None)[4..]),
            "Rgetlock tag 1 type 1 start 10 length 20",
        ),
        (
            message(70, 1, &body(&[&u32le(3), &u32le(4), &text("n")])),
            "Tlink tag 1 dfid 3 fid 4 name \"n\"",
        ),
        (message(71, 1, &[]), "Rlink tag 1"),
        (
            message(
                74,
                1,
                &body(&[&u32le(3), &text("a"), &u32le(4), &text("b")]),
            ),
            "Trenameat tag 1 olddirfid 3 oldname \"a\" newdirfid 4 newname \"b\"",
        ),
        (message(75, 1, &[]), "Rrenameat tag 1"),
        (
            message(
                102,
                1,
                &body(&[&u32le(9), &text("me"), &text("/"), &u32le(7)]),
            ),
            "Tauth tag 1 afid 9 uname \"me\" aname \"/\" n_uname 7",
        ),
        (message(103, 1, &qid), "Rauth tag 1 aqid 02.2.10"),
        (message(123, 1, &[]), "Rremove tag 1"),
    ]
}

/// A `stat` structure with its two lengths in front.
pub(super) fn stat_bytes(name: &str, unix: bool) -> Vec<u8> {
    let mut stat = body(&[
        &u16le(0),
        &u32le(0),
        &qid_bytes(0, 1, 7),
        &u32le(0o644),
        &u32le(11),
        &u32le(12),
        &u64le(99),
        &text(name),
        &text("glenda"),
        &text("sys"),
        &text("glenda"),
    ]);
    if unix {
        stat.extend(body(&[&text("to"), &u32le(1), &u32le(2), &u32le(3)]));
    }
    let inner = body(&[&u16le(stat.len() as u16), &stat]);
    body(&[&u16le(inner.len() as u16), &inner])
}

/// What only 9P2000 and 9P2000.u have, in the dialect given.
pub(super) fn old_examples() -> Vec<(Dialect, Vec<u8>, &'static str)> {
    let (plain, unix) = (Dialect::Plain, Dialect::Unix);
    let qid = qid_bytes(0, 2, 0x10);
    let names = body(&[&text("me"), &text("/")]);
    let create = body(&[&u32le(3), &text("new"), &u32le(0o644), &[1]]);
    vec![
        (
            plain,
            message(107, 1, &text("no such file")),
            "Rerror tag 1 ename \"no such file\"",
        ),
        (
            unix,
            message(107, 1, &body(&[&text("no such file"), &u32le(2)])),
            "Rerror tag 1 ename \"no such file\" ENOENT (2)",
        ),
        (
            plain,
            message(102, 1, &body(&[&u32le(9), &names])),
            "Tauth tag 1 afid 9 uname \"me\" aname \"/\"",
        ),
        (
            plain,
            message(104, 1, &body(&[&u32le(0), &u32le(9), &names])),
            "Tattach tag 1 fid 0 afid 9 uname \"me\" aname \"/\"",
        ),
        (
            unix,
            message(104, 1, &body(&[&u32le(0), &u32le(9), &names, &u32le(5)])),
            "Tattach tag 1 fid 0 afid 9 uname \"me\" aname \"/\" n_uname 5",
        ),
        (
            plain,
            message(112, 1, &body(&[&u32le(3), &[0x11]])),
            "Topen tag 1 fid 3 mode 0x11",
        ),
        (
            plain,
            message(113, 1, &body(&[&qid, &u32le(0)])),
            "Ropen tag 1 qid 00.2.10 iounit 0",
        ),
        (
            plain,
            message(114, 1, &create),
            "Tcreate tag 1 fid 3 name \"new\" perm 0644 mode 0x1",
        ),
        (
            unix,
            message(114, 1, &body(&[&create, &text("to")])),
            "Tcreate tag 1 fid 3 name \"new\" perm 0644 mode 0x1 extension \"to\"",
        ),
        (
            plain,
            message(115, 1, &body(&[&qid, &u32le(0)])),
            "Rcreate tag 1 qid 00.2.10 iounit 0",
        ),
        (plain, message(124, 1, &u32le(3)), "Tstat tag 1 fid 3"),
        (
            plain,
            message(125, 1, &stat_bytes("f", false)),
            "Rstat tag 1 qid 00.1.7 mode 0644 length 99 name \"f\" uid \"glenda\"",
        ),
        (
            unix,
            message(125, 1, &stat_bytes("f", true)),
            "Rstat tag 1 qid 00.1.7 mode 0644 length 99 name \"f\" uid \"glenda\" extension \"to\"",
        ),
        (
            unix,
            message(126, 1, &body(&[&u32le(3), &stat_bytes("g", true)])),
            "Twstat tag 1 fid 3 qid 00.1.7 mode 0644 length 99 name \"g\" uid \"glenda\" extension \"to\"",
        ),
        (plain, message(127, 1, &[]), "Rwstat tag 1"),
    ]
}

/// All of them, each in its dialect.
pub(super) fn examples() -> Vec<(Dialect, Vec<u8>, &'static str)> {
    let linux = common_examples().into_iter().chain(linux_examples());
    let linux = linux.map(|(bytes, reads)| (Dialect::Linux, bytes, reads));
    linux.chain(old_examples()).collect()
}
