//! `--rotate`: a process's records in several files.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rstest::rstest;
use rustix::process::Signal;

use super::*;

/// The files of a capture, the oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let stem = path.file_name().unwrap().to_str().unwrap();
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match name.strip_prefix(stem) {
            Some("") => found.insert(0, path),
            Some(rest) => match rest.strip_prefix('.').and_then(|rest| rest.parse().ok()) {
                Some(number) => found.insert(number, path),
                None => None,
            },
            None => None,
        };
    }
    found.into_values().collect()
}

fn nth(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

#[rstest]
#[timeout(Duration::from_secs(300))]
fn the_files_are_whole_and_merged_they_are_what_the_process_recorded_itself() {
    if !may_trace() {
        return;
    }
    let (tree, dir) = (tree(), tempfile::tempdir().unwrap());
    let inside = dir.path().join("inside.pcapng");
    let path = dir.path().join("x.pcapng");
    let demo = Running::start(demo(tree.path()).arg("-w").arg(&inside));
    let traced = Running::start(
        trace(demo.child.id())
            .args(["--rotate", "64K", "-w"])
            .arg(&path),
    );
    wait_until("there are some files", || nth(&path, 6).exists());
    // In the middle of it.
    traced.signal(Signal::INT);
    let traced = traced.end();
    assert_eq!(traced.code, Some(0), "{}", traced.stderr);
    demo.signal(Signal::INT);
    demo.end().assert_clean();

    let paths = files(&path);
    assert!(paths.len() >= 7, "{paths:?}");
    let (mut sum, mut queues) = (Totals::default(), 1);
    for path in &paths {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let part = read(path);
        // The process may tell of a queue after some files were full.
        queues = part.facts.len().max(queues);
        assert_eq!(part.facts.len(), queues, "{}", path.display());
        let Totals {
            emitted,
            stored,
            lost,
            filtered,
            ..
        } = part.totals;
        assert_eq!(emitted, stored + lost + filtered);
        sum.stored += stored;
        sum.lost += lost;
        // What was begun in another file is no trouble of this one.
        let report = run(virtscope(["report"]).arg(path));
        assert_eq!(report.code, Some(0), "{}", report.text());
    }
    assert_eq!(queues, 2);
    let merged = dir.path().join("merged.pcapng");
    let merging = run(virtscope(["merge", "-o"])
        .arg(&merged)
        .args(paths.iter().rev()));
    assert_eq!(merging.code, Some(0), "{}", merging.stderr);
    let (whole, inside) = (read(&merged), read(&inside));
    assert_eq!(whole.totals.stored, sum.stored);
    assert_eq!(whole.totals.lost, sum.lost);
    assert_eq!(whole.facts, inside.facts);
    for (key, record) in &whole.records {
        let own = inside.records.get(key);
        assert!(own == Some(record) || own.is_none() && inside.totals.lost > 0);
    }
    // As many as there are from the first to the last, but those that were lost.
    let mut ends = BTreeMap::new();
    for (queue, producer, sequence) in whole.records.keys() {
        let (_, last) = ends
            .entry((*queue, *producer))
            .or_insert((*sequence, *sequence));
        *last = *sequence;
    }
    let between: u64 = ends
        .values()
        .map(|(from, to)| u64::from(to - from) + 1)
        .sum();
    let holes = between - whole.records.len() as u64;
    assert!(holes <= whole.totals.lost, "{holes}");
    // The live report is of the records as they came, and merged they say the same.
    let report = run(virtscope(["report"]).arg(&merged));
    let (report, live) = (report.text(), traced.text());
    let said = |text: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|line| !line.starts_with("virtio0"));
        let lines = lines.filter(|line| !line.starts_with("Tracing: "));
        lines
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect()
    };
    assert_eq!(said(live), said(report));
    let requests = |text: &str| {
        let found = text.lines().find(|line| line.starts_with("Requests"));
        found.map(ToOwned::to_owned)
    };
    assert!(requests(live).is_some() && requests(live) == requests(report));
}

#[rstest]
#[timeout(Duration::from_secs(300))]
fn the_newest_are_kept_and_what_ends_it_early_leaves_them_whole() {
    if !may_trace() {
        return;
    }
    let (tree, dir) = (tree(), tempfile::tempdir().unwrap());
    let demo = Running::start(&mut demo(tree.path()));
    let pid = demo.child.id();
    let rotated = |name: &str, more: &[&str]| {
        let path = dir.path().join(name);
        let mut command = trace(pid);
        command.arg("-w").arg(&path).args(["--rotate"]).args(more);
        (command, path)
    };

    let (mut command, path) = rotated("kept", &["32K,3", "--max-size", "300K"]);
    run(&mut command).assert_clean();
    let paths = files(&path);
    assert_eq!(paths.len(), 3, "{paths:?}");
    assert!(!path.exists());
    for path in &paths {
        read(path);
    }

    // A full disk: the third file has no room.
    let (mut command, path) = rotated("full", &["32K"]);
    symlink("/dev/full", nth(&path, 2)).unwrap();
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let standing: u64 = [path.clone(), nth(&path, 1)]
        .iter()
        .map(|path| std::fs::metadata(path).unwrap().len())
        .sum();
    let hint = format!("the disk is full: the capture ends after {standing} bytes");
    assert!(ended.stderr.contains(&hint), "{}", ended.stderr);
    assert!(ended.text().contains("Requests"), "the report is printed");
    read(&path);
    read(&nth(&path, 1));

    // Killed: what was complete is complete.
    let (mut command, path) = rotated("killed", &["32K"]);
    let traced = Running::start(&mut command);
    wait_until("there are some files", || nth(&path, 3).exists());
    traced.signal(Signal::KILL);
    assert_eq!(traced.end().code, None);
    for path in [path.clone(), nth(&path, 1), nth(&path, 2)] {
        read(&path);
    }
    demo.signal(Signal::INT);
    demo.end().assert_clean();
}

#[test]
fn what_cannot_be_several_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x").display().to_string();
    let refused = |arguments: &[&str], hint: &str| {
        let ended = run(virtscope(["trace"]).args(arguments));
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(ended.stderr.contains(hint), "{}", ended.stderr);
    };
    refused(
        &["--rotate", "1M", "-w", "-"],
        "standard output is none: name a file with -w",
    );
    refused(
        &["--rotate", "1M", "-w", "/dev/null"],
        "/dev/null is none: name a file with -w",
    );
    refused(&["--rotate", "1M"], "--write");
    refused(&["--rotate", "1K", "-w", &path], "at least 16384 bytes");
    refused(&["--rotate", "1M,0", "-w", &path], "no number of files");
    assert!(!Path::new(&path).exists());
}
