//! What can be wrong with what the program is given: each time one line on
//! standard error that says what to do, exit code 2, no panic, and what could be
//! read or written until then is there.

#[path = "common/program.rs"]
mod program;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use program::*;
use rstest::rstest;
use tempfile::TempDir;
use virtscope_record::{FORMAT_VERSION, PseudoHeader};

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

// Directories and files that can't be had.

#[rstest]
#[case("missing", "name a directory that exists")]
#[case("file", "name the directory that holds it")]
#[case("file/below", "name the directory that holds it")]
#[case("broken\nname", "name a directory that exists")]
fn directories_that_are_none(#[case] name: &str, #[case] hint: &str) {
    let (dir, _) = file("file", b"");
    let kept = dir.path().join("kept.pcapng");
    fs::write(&kept, sample()).unwrap();
    let mut command = demo(&dir.path().join(name));
    let ended = run(command.arg("-w").arg(&kept));
    ended.assert_refused(&["cannot mount", hint]);
    assert_eq!(ended.text(), "");
    assert!(
        fs::read(&kept).unwrap() == sample(),
        "an older capture is not emptied for nothing"
    );
}

/// The program as somebody whom permissions bind, and to whom `public` is open.
fn unprivileged(public: &Path) -> Command {
    fs::set_permissions(public, Permissions::from_mode(0o777)).unwrap();
    // The one that was built may lie where only its owner comes. Not copied by us: what
    // another thread's test starts meanwhile would have the copy open for writing for a
    // moment, and a program that somebody writes can't be run (ETXTBSY).
    let program = public.join("virtscope");
    let mut copy = Command::new("cp");
    assert!(copy.arg(PROGRAM).arg(&program).status().unwrap().success());
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.env("TMPDIR", public).current_dir(public);
    piped(&mut command);
    command
}

/// A directory for anybody with one for nobody in it.
fn locked() -> TempDir {
    let public = tempfile::tempdir().unwrap();
    let locked = public.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, Permissions::from_mode(0o000)).unwrap();
    public
}

/// Lets it be removed.
fn unlock(public: &TempDir) {
    let locked = public.path().join("locked");
    fs::set_permissions(locked, Permissions::from_mode(0o700)).unwrap();
}

#[rstest]
#[case("locked")]
#[case("locked/below")]
fn directories_that_may_not_be_read(#[case] name: &str) {
    let public = locked();
    let ended = run(unprivileged(public.path()).args(["demo", name]));
    unlock(&public);
    ended.assert_refused(&["cannot mount", "make it readable"]);
}

#[test]
fn captures_that_may_not_be_read_or_written() {
    let public = locked();
    let private = public.path().join("private.pcapng");
    fs::write(&private, sample()).unwrap();
    fs::set_permissions(&private, Permissions::from_mode(0o000)).unwrap();
    let ended = run(unprivileged(public.path()).args(["report", "private.pcapng"]));
    ended.assert_refused(&["cannot open private.pcapng", "make it readable"]);
    for output in ["private.pcapng", "locked/x.pcapng"] {
        let ended = run(unprivileged(public.path()).args(["demo", ".", "-w", output]));
        ended.assert_refused(&["not allowed to write", output, "choose another place"]);
    }
    unlock(&public);
}

#[test]
fn outputs_that_cannot_be_made() {
    let tree = tree();
    let parent = tree.path().join("none");
    let refused = |output: &Path| run(demo(tree.path()).arg("-w").arg(output));
    refused(tree.path()).assert_refused(&["is a directory", "name a file in it"]);
    refused(&parent.join("x.pcapng")).assert_refused(&["no directory", "create it"]);
    refused(&tree.path().join("no\nwhere/x")).assert_refused(&["no directory", "create it"]);
}

#[test]
fn no_room_for_scratch() {
    let tree = tree();
    let nowhere = tree.path().join("none");
    let ended = run(demo(tree.path()).env("TMPDIR", nowhere));
    ended.assert_refused(&["no scratch directory", "set TMPDIR"]);
}

// Captures that can't be read.

/// `report`, `report --json`, `print` and `print --records` of a capture.
fn read_by_all(path: &Path) -> impl Iterator<Item = Ended> {
    let commands = [
        ["report"].as_slice(),
        &["report", "--json"],
        &["print"],
        &["print", "--records"],
    ];
    commands
        .into_iter()
        .map(move |command| run(virtscope(command).arg(path)))
}

#[test]
fn captures_that_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    for ended in read_by_all(&dir.path().join("none.pcapng")) {
        ended.assert_refused(&["cannot open", "none.pcapng", "name a capture that exists"]);
    }
    for ended in read_by_all(dir.path()) {
        ended.assert_refused(&["is a directory", "name a capture file"]);
    }
}

/// The header of a classic pcap file.
const CLASSIC: &[u8] = b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xff\xff\0\0\x93\0\0\0";

#[rstest]
#[case::empty(b"", "empty")]
#[case::text(b"GET / HTTP/1.1\r\n", "text")]
#[case::gzip(b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "gunzip")]
#[case::classic(CLASSIC, "pcap")]
#[case::binary(b"\x7fELF\x02\x01\x01\0", "not a pcapng capture")]
#[case::short(b"\x7f", "not a pcapng capture")]
fn files_that_are_no_captures(#[case] bytes: &[u8], #[case] hint: &str) {
    let (_dir, path) = file("x.pcapng", bytes);
    for ended in read_by_all(&path) {
        ended.assert_refused(&["x.pcapng", hint]);
        assert_eq!(ended.text(), "");
    }
    let piped = run_on(&mut virtscope(["report", "-"]), bytes);
    piped.assert_refused(&["standard input", hint]);
}

/// A pcapng file of an Ethernet interface with one packet.
fn ethernet() -> Vec<u8> {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    let interface = InterfaceDescriptionBlock {
        linktype: DataLink::ETHERNET,
        snaplen: 0,
        options: vec![],
    };
    writer.write_pcapng_block(interface).unwrap();
    let packet = EnhancedPacketBlock {
        interface_id: 0,
        timestamp: Duration::from_secs(1_800_000_000),
        original_len: 60,
        data: vec![0; 60].into(),
        options: vec![],
    };
    writer.write_pcapng_block(packet).unwrap();
    writer.into_inner()
}

#[test]
fn captures_of_others() {
    let (_dir, path) = file("ethernet.pcapng", &ethernet());
    for ended in read_by_all(&path) {
        ended.assert_refused(&["no virtqueue in this capture", "virtscope … -w"]);
    }
}

/// Where `needle` stands in `bytes`.
fn find_all(bytes: &[u8], needle: &[u8]) -> Vec<usize> {
    let windows = bytes.windows(needle.len()).enumerate();
    windows
        .filter(|(_, window)| *window == needle)
        .map(|(at, _)| at)
        .collect()
}

/// Where the packets' data begin, in a little-endian capture.
fn packets(bytes: &[u8]) -> Vec<usize> {
    let field = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut found = Vec::new();
    let mut block = 0;
    while block < bytes.len() {
        // An Enhanced Packet Block.
        if field(block) == 6 {
            found.push(block + 28);
        }
        block += field(block + 4) as usize;
    }
    found
}

#[test]
fn captures_of_a_newer_format() {
    let mut bytes = sample().to_vec();
    let said = format!("format={FORMAT_VERSION}\n");
    let newer = said.replace(&FORMAT_VERSION.to_string(), "9");
    let at = find_all(&bytes, said.as_bytes())[0];
    bytes[at..at + newer.len()].copy_from_slice(newer.as_bytes());
    let (_dir, path) = file("newer.pcapng", &bytes);
    for ended in read_by_all(&path) {
        ended.assert_refused(&["format version 9", "update virtscope"]);
    }
}

#[test]
fn captures_cut_off() {
    let bytes = sample();
    let total = packets(bytes).len() as u64;
    let packet = packets(bytes)[total as usize / 2] - 28;
    let mut stored_before = 0;
    let len = bytes.len();
    for cut in [
        4,
        27,
        300,
        packet,
        packet + 1,
        packet + 27,
        packet + 40,
        len * 3 / 4,
        len - 1,
    ] {
        let (_dir, path) = file("cut.pcapng", &bytes[..cut]);
        for ended in read_by_all(&path) {
            ended.assert_refused(&["cut.pcapng", "all before that was read"]);
        }
        let report = run(virtscope(["report", "--json"]).arg(&path)).json();
        assert_eq!(report["capture"]["truncated"], true, "{cut}");
        assert!(number(&report, "/capture/truncated_at") <= cut as u64);
        assert_eq!(number(&report, "/requests/incomplete"), 0, "{cut}");
        let stored = number(&report, "/records/stored");
        assert!(
            stored >= stored_before,
            "{cut}: {stored} after {stored_before}"
        );
        stored_before = stored;
        let text = run(virtscope(["report"]).arg(&path));
        assert!(text.text().contains("cut off at byte"), "{}", text.text());
        let records = run(virtscope(["print", "--records"]).arg(&path));
        assert_eq!(records.text().lines().count() as u64, stored);
    }
    // Only statistics of interfaces stand behind the last record.
    assert_eq!(stored_before, total);
    let piped = run_on(&mut virtscope(["report", "-"]), &bytes[..packet + 1]);
    piped.assert_refused(&["standard input", "all before that was read"]);
}

#[rstest]
#[case::magic(0, b'X')]
#[case::length(4, 0xff)]
#[case::queue(PseudoHeader::LEN + 20, 0xff)]
fn corrupt_records(#[case] offset: usize, #[case] byte: u8) {
    let mut bytes = sample().to_vec();
    let all = packets(&bytes);
    let at = all[all.len() / 2] + offset;
    assert_ne!(bytes[at], byte);
    bytes[at] = byte;
    let (_dir, path) = file("corrupt.pcapng", &bytes);
    for ended in read_by_all(&path) {
        ended.assert_refused(&["corrupt", "record it again"]);
    }
    let report = run(virtscope(["report", "--json"]).arg(&path)).json();
    assert_eq!(number(&report, "/capture/corrupt_packets"), 1);
    assert_eq!(number(&report, "/records/stored"), all.len() as u64 - 1);
    // One record is gone and is missed, and what it touched is not guessed at.
    assert_eq!(number(&report, "/records/lost"), 1);
    assert_eq!(number(&report, "/records/emitted"), all.len() as u64);
    let whole = run_on(&mut virtscope(["report", "--json", "-"]), sample()).json();
    let requests = |report, key| number(report, &format!("/requests/{key}"));
    let all_requests = requests(&whole, "completed");
    assert!(requests(&report, "completed") <= all_requests);
    assert!(requests(&report, "completed") + requests(&report, "incomplete") >= all_requests);
}

#[test]
fn a_block_of_no_length() {
    let mut bytes = sample().to_vec();
    let all = packets(&bytes);
    let block = all[all.len() / 2] - 28;
    bytes[block + 4..block + 8].copy_from_slice(&5u32.to_le_bytes());
    let (_dir, path) = file("damaged.pcapng", &bytes);
    for ended in read_by_all(&path) {
        ended.assert_refused(&["cannot be read from byte", &block.to_string()]);
    }
    let report = run(virtscope(["report", "--json"]).arg(&path)).json();
    assert_eq!(number(&report, "/records/stored"), all.len() as u64 / 2);
}

// Outputs that take no more.

#[test]
fn a_disk_that_is_full_from_the_start() {
    let tree = tree();
    let ended = run(demo(tree.path()).args(["-w", "/dev/full"]));
    ended.assert_refused(&["the disk is full", "free some space"]);
    let (_dir, path) = file("x.pcapng", sample());
    for command in ["report", "print"] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = run(virtscope([command]).arg(&path).stdout(full));
        ended.assert_refused(&["cannot write to standard output", "somewhere else"]);
    }
}

#[test]
fn a_disk_that_fills_meanwhile() {
    let tree = tree();
    let path = tree.path().join("x.pcapng");
    // A limit on the size of files, in blocks of 512 or 1024 bytes, is a disk that
    // fills where no other file system is at hand.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$0\" \"$@\""])
        .arg(PROGRAM)
        .args(["demo", "--duration", "5m", "-w"])
        .args([&path, tree.path()]);
    let ended = run(piped(&mut command));
    ended.assert_refused(&["the disk is full", "free some space"]);
    assert!(
        ended.text().contains("0 incomplete, 0 in flight"),
        "{ended:?}"
    );
    // What had been written is there, and is known not to be all.
    let written = fs::metadata(&path).unwrap().len();
    assert!(ended.stderr.contains(&format!("after {written} bytes")));
    let report = run(virtscope(["report", "--json"]).arg(&path));
    let report = report.assert_refused(&["all before that was read"]).json();
    assert!(number(&report, "/requests/completed") > 0);
    assert_eq!(report["capture"]["truncated"], true);
    assert_eq!(report["capture"]["tail_known"], false);
}

/// Whether a command whose reader goes after 100 bytes ends without a word.
#[rstest]
#[case(&["demo", "--rate", "2000", "--duration", "5m", "-w", "-"])]
#[case(&["print", "--records", "-"])]
#[case(&["print", "-"])]
fn closed_pipes_end_it_quietly(#[case] arguments: &[&str]) {
    let tree = tree();
    // More than a pipe holds, so that it is still printing.
    let (_dir, path) = file("x.pcapng", sample());
    let mut command = virtscope(arguments);
    command.current_dir(tree.path());
    let (reader, writer) = io::pipe().unwrap();
    let running = Running::start(command.stdin(File::open(path).unwrap()).stdout(writer));
    // Or the program would not be the only one that writes.
    drop(command);
    wait_until("100 bytes are printed", || {
        rustix::io::ioctl_fionread(&reader).unwrap() >= 100
    });
    drop(reader);
    running.end().assert_clean();
}

#[rstest]
#[case(&["report", "-"])]
#[case(&["report", "--json", "-"])]
#[case(&["print", "-"])]
#[case(&["demo", "--duration", "200ms", "--rate", "500"])]
#[case(&["demo", "-w", "-"])]
#[case(&["--help"])]
fn pipes_closed_from_the_start(#[case] arguments: &[&str]) {
    let tree = tree();
    let (_dir, path) = file("x.pcapng", sample());
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = virtscope(arguments);
    command.current_dir(tree.path());
    run(command.stdin(File::open(path).unwrap()).stdout(writer)).assert_clean();
}

// Arguments that mean nothing.

#[rstest]
#[case(&["dmeo"], "unrecognized subcommand")]
#[case(&["demo", "--sneplan", "1"], "unexpected argument")]
#[case(&["demo", "--snaplen", "1000000"], "262072")]
#[case(&["demo", "--snaplen=-1"], "262072")]
#[case(&["trace", "--snaplen", "524289"], "up to 524288")]
#[case(&["trace", "--pid", "1", "--snaplen", "16385"], "at most 16384 for a process")]
#[case(&["demo", "--duration", "soon"], "10s, 500ms or 2m")]
#[case(&["demo", "--duration", "0"], "longer than nothing")]
#[case(&["demo", "--rate", "0"], "--rate")]
#[case(&["demo", "--queue-size", "7"], "16, 32, 64 or 128")]
#[case(&["demo", "--queue-size", "100"], "16, 32, 64 or 128")]
#[case(&["demo", "--suppression", "none"], "event-idx")]
#[case(&["trace", "-q", "virtio1"], "or its name")]
#[case(&["stat", "-q", "70000"], "names no queue")]
#[case(&["trace", "--pid", "1", "-q", "requests"], "choose by index")]
#[case(&["report"], "<FILE|->")]
#[case(&["report", "a", "b"], "unexpected argument")]
#[case(&["view", "x", "--speed", "0"], "above 0")]
fn arguments_that_mean_nothing(#[case] arguments: &[&str], #[case] hint: &str) {
    let ended = run(&mut virtscope(arguments));
    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.text(), "");
    assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    assert!(ended.stderr.contains(hint), "{}", ended.stderr);
    assert!(ended.stderr.contains("--help"), "{}", ended.stderr);
}

#[test]
fn screens_need_a_terminal() {
    let (_dir, path) = file("x.pcapng", sample());
    let ended = run(virtscope(["view"]).arg(path));
    ended.assert_refused(&["need a terminal", "virtscope report"]);
}
