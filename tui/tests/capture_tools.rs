//! `slice`, `merge` and `redact` as their users run them, on a real capture.

#[path = "common/program.rs"]
mod program;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use program::*;
use rstest::rstest;
use serde_json::Value;
use virtscope_analyzer::p9::{Message, Value as Field};
use virtscope_captures::{CaptureReader, Item};
use virtscope_record::{Body, Record};

/// A command on the sample; its output goes to `out` in the sample's directory.
fn tool(name: &str, arguments: &[&str]) -> (tempfile::TempDir, PathBuf, Ended) {
    let (dir, path) = file("sample.pcapng", sample());
    let out = dir.path().join("out.pcapng");
    let mut command = virtscope([name]);
    let ended = run(command.arg(&path).args(arguments).arg("-o").arg(&out));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    (dir, out, ended)
}

fn report(path: &Path) -> Value {
    let ended = run(virtscope(["report", "--json"]).arg(path));
    let report = ended.assert_clean().json();
    assert_eq!(report["findings"], serde_json::json!([]));
    report
}

fn records(bytes: &[u8]) -> Vec<(Record, Vec<u8>)> {
    let mut reader = CaptureReader::new(bytes).unwrap();
    let mut records = Vec::new();
    loop {
        match reader.next_item().unwrap() {
            Item::Record(packet) => records.push((packet.record, packet.payload.to_vec())),
            Item::End(end) => {
                assert!(end.is_complete());
                return records;
            }
            _ => {}
        }
    }
}

#[test]
fn a_stretch_of_time_is_whole_requests() {
    let (_dir, out, ended) = tool("slice", &["--from", "50ms", "--to", "150ms"]);
    assert!(ended.stderr.contains("out.pcapng: "), "{}", ended.stderr);
    let report = report(&out);
    assert!(number(&report, "/requests/completed") > 0, "{report:#}");
    assert_eq!(number(&report, "/requests/incomplete"), 0, "{report:#}");
    assert_eq!(number(&report, "/requests/in_flight"), 0);
    let count = |key| number(&report, &format!("/records/{key}"));
    assert_eq!(count("emitted"), count("stored") + count("filtered"));
    assert_eq!((count("lost"), count("missed")), (0, 0));
    assert!(count("filtered") > 0);
    let mode = fs::metadata(&out).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "a capture is its owner's alone");
}

#[test]
fn one_request_is_the_one_that_print_shows() {
    let (_dir, out, _) = tool("slice", &["--request", "40", "--quiet"]);
    let (_sample, path) = file("sample.pcapng", sample());
    let line = |path: &Path| {
        let ended = run(virtscope(["print", "--width=0"]).arg(path));
        ended.assert_clean().text().to_owned()
    };
    let one = line(&out);
    assert_eq!(one.lines().count(), 1, "{one}");
    // Its times count from its own beginning, and what its fid stands for was told by
    // requests that are not in the slice; the rest is as it was.
    let all = line(&path);
    let parts = |line: &str| {
        let (times, request) = times_and_request(line);
        let status = request.get(..10).unwrap().trim_end();
        let words = request.get(10..).unwrap().trim_start();
        let reply = words.split_once(" → ").map_or("", |(_, reply)| reply);
        let operation = words.split(' ').next().unwrap();
        [times, status, operation, reply].map(str::to_owned)
    };
    let was = all.lines().find(|line| parts(line) == parts(&one));
    let was = was.unwrap_or_else(|| panic!("{one}"));
    let (is, was) = (times_and_request(&one).1, times_and_request(was).1);
    assert!(is == was || is.contains('?'), "{is} was {was}");
}

/// How long a line of `print` says its request's phases took, and how it says that it
/// ended and what it was.
fn times_and_request(line: &str) -> (&str, &str) {
    let rest = line.trim_end().split_once(" = ").unwrap().1;
    let (end, _) = rest.char_indices().nth(27).unwrap();
    let (times, request) = rest.split_at(end);
    (times, request.strip_prefix(' ').unwrap())
}

/// With all that led to them in the slice, requests are about the files that they are
/// about in the whole.
#[test]
fn from_the_mount_on_requests_are_about_the_same_files() {
    let (_dir, out, _) = tool("slice", &["--request", "0-200", "--quiet"]);
    let (_sample, path) = file("sample.pcapng", sample());
    let lines = |path: &Path| -> BTreeSet<(String, String, String)> {
        let ended = run(virtscope(["print", "--width=0"]).arg(path));
        let lines = ended.assert_clean().text().lines();
        lines
            .map(|line| {
                let number = line.split_whitespace().next().unwrap();
                let (times, request) = times_and_request(line);
                [number, times, request].map(str::to_owned).into()
            })
            .collect()
    };
    let (part, all) = (lines(&out), lines(&path));
    assert_eq!(part.len(), 201);
    let others: Vec<_> = part.difference(&all).collect();
    assert!(others.is_empty(), "{others:#?}");
    let named = part.iter().filter(|(_, _, request)| request.contains(" /"));
    assert!(named.count() > 100, "{part:#?}");
}

#[test]
fn parts_by_queue_merge_to_the_whole() {
    let (_dir, path) = file("sample.pcapng", sample());
    let dir = path.parent().unwrap();
    let parts: Vec<_> = (0..2)
        .map(|device| {
            let part = dir.join(format!("{device}.pcapng"));
            let queue = format!("virtio{device}.0");
            let mut slice = virtscope(["slice", "--queue", &queue, "-q"]);
            run(slice.arg(&path).arg("-o").arg(&part)).assert_clean();
            part
        })
        .collect();
    let together = dir.join("together.pcapng");
    let mut merge = virtscope(["merge"]);
    let ended = run(merge.args(&parts).arg("-o").arg(&together));
    assert_eq!(ended.code, Some(0));
    assert!(
        ended.stderr.contains("monotonic clock of"),
        "{}",
        ended.stderr
    );
    let sorted = |bytes: &[u8]| {
        let found = records(bytes).into_iter();
        let mut all: Vec<_> = found.map(|(r, p)| (r.as_bytes().to_vec(), p)).collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&fs::read(&together).unwrap()), sorted(sample()));
    let (one, other) = (report(&path), report(&together));
    for part in ["records", "requests", "queues", "operations", "time"] {
        assert_eq!(one[part], other[part], "{part}");
    }
}

#[test]
fn two_recordings_keep_their_queues_apart() {
    let (_dir, first) = file("first.pcapng", sample());
    let second = first.with_file_name("second.pcapng");
    record(&mut demo(tree().path()), &second, 200_000).assert_clean();
    let out = first.with_file_name("out.pcapng");
    let mut merge = virtscope(["merge"]);
    let ended = run(merge.arg(&first).arg(&second).arg("-o").arg(&out));
    assert!(
        ended.stderr.contains("virtio0.0 of") && ended.stderr.contains("is virtio2.0 here"),
        "{}",
        ended.stderr
    );
    let reports = [&first, &second, &out].map(|path| report(path));
    for pointer in ["/records/stored", "/records/emitted", "/requests/completed"] {
        let [a, b, all] = reports.each_ref().map(|report| number(report, pointer));
        assert_eq!(a + b, all, "{pointer}");
    }
    assert_eq!(reports[2]["queues"].as_array().unwrap().len(), 4);
}

/// Names and contents that go through the queues of a capture.
fn secrets(bytes: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut secrets = BTreeSet::new();
    for (record, payload) in records(bytes) {
        let full = match record.body() {
            Ok(Body::Add(add)) => add.readable_bytes,
            Ok(Body::Used(used)) => used.used_length,
            _ => continue,
        };
        let Ok(message) = Message::decode(&payload, full) else {
            continue;
        };
        for field in message.fields() {
            match field.value {
                Field::Text(text) if field.name != "version" => {
                    secrets.insert(text.to_vec());
                }
                Field::Data { bytes, .. } => {
                    let parts = bytes.chunks(16).filter(|part| part.iter().any(|b| *b != 0));
                    secrets.extend(parts.map(<[u8]>::to_vec));
                }
                Field::Directory { bytes, .. } => {
                    let entries = virtscope_analyzer::p9::DirectoryEntries::new(bytes);
                    secrets.extend(entries.map(|entry| entry.name.to_vec()));
                }
                _ => {}
            }
        }
    }
    // A short one may be there by chance.
    secrets.retain(|secret| secret.len() >= 4);
    // What wrote the capture says so, and the demo's user is called the same.
    secrets.remove(&b"virtscope"[..]);
    secrets
}

/// The report without what names things.
fn nameless(path: &Path) -> Value {
    let mut report = report(path);
    for queue in report["queues"].as_array_mut().unwrap() {
        queue["properties"] = Value::Null;
    }
    report["capture"]["origin"] = Value::Null;
    report
}

#[test]
fn redacted_is_the_same_but_for_names() {
    let secrets = secrets(sample());
    assert!(secrets.contains(&b"short"[..]) && secrets.contains(&b"docs"[..]));
    let (dir, out, _) = tool("redact", &[]);
    let redacted = fs::read(&out).unwrap();
    for secret in &secrets {
        let found = redacted.windows(secret.len()).any(|bytes| bytes == secret);
        assert!(
            !found,
            "{:?} is still there",
            String::from_utf8_lossy(secret)
        );
    }
    assert!(!redacted.windows(8).any(|bytes| bytes == b"tag=root"));
    assert_eq!(nameless(&out), nameless(&dir.path().join("sample.pcapng")));
}

#[test]
fn the_same_seed_makes_the_same_pseudonyms() {
    let out = |arguments: &[&str]| {
        let (_dir, out, _) = tool("redact", arguments);
        fs::read(out).unwrap()
    };
    let seeded = out(&["--seed", "7"]);
    assert_eq!(seeded, out(&["--seed", "7"]));
    assert_ne!(seeded, out(&["--seed", "8"]));
    assert_ne!(seeded, out(&[]));
}

#[rstest]
#[case("slice", &["--from", "0s"])]
#[case("merge", &[])]
#[case("redact", &[])]
fn what_is_there_stays_unless_forced(#[case] name: &str, #[case] arguments: &[&str]) {
    let (dir, path) = file("sample.pcapng", sample());
    let out = dir.path().join("out.pcapng");
    fs::write(&out, "precious").unwrap();
    let command = || {
        let mut command = virtscope([name]);
        command
            .arg(&path)
            .args(arguments)
            .arg("-q")
            .arg("-o")
            .arg(&out);
        command
    };
    run(&mut command()).assert_refused(&["out.pcapng exists already", "--force"]);
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    run(command().arg("--force")).assert_clean();
    assert!(fs::read(&out).unwrap().len() > 1000);
    // A capture can replace itself.
    let mut itself = virtscope([name]);
    itself
        .arg(&path)
        .args(arguments)
        .args(["-q", "--force", "-o"]);
    run(itself.arg(&path)).assert_clean();
    assert!(fs::read(&path).unwrap().len() > 1000);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        2,
        "nothing else is left"
    );
}

#[rstest]
#[case("slice", &["--from", "0s"])]
#[case("merge", &[])]
#[case("redact", &["--seed", "1"])]
fn pipes_carry_them_too(#[case] name: &str, #[case] arguments: &[&str]) {
    let (_dir, out, _) = tool(name, arguments);
    let mut command = virtscope([name]);
    let ended = run_on(
        command.arg("-").args(arguments).args(["-q", "-o", "-"]),
        sample(),
    );
    let piped = ended.assert_clean().stdout.clone();
    let in_file = fs::read(out).unwrap();
    let as_bytes = |bytes: &[u8]| -> Vec<_> {
        let all = records(bytes).into_iter();
        all.map(|(record, payload)| (record.as_bytes().to_vec(), payload))
            .collect()
    };
    assert!(as_bytes(&piped) == as_bytes(&in_file));
}

/// A disk that is full after 20 blocks: `ulimit` refuses more of one file.
#[test]
fn a_full_disk_leaves_no_half_capture() {
    let (dir, path) = file("sample.pcapng", sample());
    let out = dir.path().join("out.pcapng");
    let script = "trap '' XFSZ; ulimit -f 20; exec \"$0\" redact \"$1\" -o \"$2\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, PROGRAM]).arg(&path).arg(&out);
    let ended = run(piped(&mut shell));
    ended.assert_refused(&["the disk is full", "was not written"]);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "no half of it is left"
    );
}

#[test]
fn a_cut_capture_is_taken_as_far_as_it_goes() {
    let (dir, path) = file("cut.pcapng", &sample()[..sample().len() / 2]);
    let out = dir.path().join("out.pcapng");
    let mut command = virtscope(["redact", "-q"]);
    let ended = run(command.arg(&path).arg("-o").arg(&out));
    ended.assert_refused(&["cut.pcapng", "what came after is not known"]);
    let report = report(&out);
    assert!(number(&report, "/requests/completed") > 0);
    assert_eq!(report["capture"]["tail_known"], false);
}

#[rstest]
#[case(&["slice", "X", "-o", "y"], "say which part")]
#[case(&["slice", "X", "--from", "2s", "--to", "1s", "-o", "y"], "is not before")]
#[case(&["slice", "X", "--queue", "eth0", "-o", "y"], "a queue is named like")]
#[case(&["slice", "X", "--queue", "virtio9.9", "-o", "y"], "nothing in it was chosen")]
#[case(&["slice", "none", "--from", "1s", "-o", "y"], "name a capture that exists")]
#[case(&["merge", "-", "-", "-o", "y"], "standard input can be read once only")]
#[case(&["redact", "X", "-o", "none/y"], "create it first")]
#[case(&["redact", "X", "-o", "."], "name a file in it")]
fn mistakes_are_told(#[case] arguments: &[&str], #[case] hint: &str) {
    let (dir, path) = file("sample.pcapng", sample());
    let path = path.to_str().unwrap();
    let arguments = arguments.iter().map(|a| if *a == "X" { path } else { a });
    let ended = run(virtscope(arguments).current_dir(dir.path()));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains(hint), "{}", ended.stderr);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
