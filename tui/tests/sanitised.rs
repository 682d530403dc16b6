//! No text of a capture reaches a terminal as it is.

#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/program.rs"]
mod program;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use program::{Ended, run, virtscope};

/// Each property starts the program some ten times a case.
const CASES: u32 = 8;

/// Nothing on standard output or standard error but lines of harmless text.
#[track_caller]
fn assert_harmless(ended: &Ended, command: &[&str]) {
    for text in [std::str::from_utf8(&ended.stdout).unwrap(), &ended.stderr] {
        let bad = |c: &char| *c != '\n' && !hostile::is_harmless(*c);
        if let Some(bad) = text.chars().find(bad) {
            let line = text.lines().find(|line| line.contains(bad)).unwrap();
            panic!("{command:?}: {bad:?} in {line:?}");
        }
        assert!(!text.contains("panicked"), "{command:?}: {text}");
    }
}

/// The names of what is read, which may be hostile too.
fn named(dir: &Path, text: &[u8], number: u8) -> std::path::PathBuf {
    let name: Vec<u8> = text
        .iter()
        .filter(|byte| !matches!(byte, 0 | b'/'))
        .copied()
        .take(100)
        .chain([b'0' + number])
        .collect();
    dir.join(OsStr::from_bytes(&name))
}

#[test]
fn no_text_of_a_capture_reaches_standard_output_as_it_is() {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 30,
        ..ProptestConfig::default()
    });
    let texts = prop::collection::vec(hostile::text(), 1..12);
    let result = runner.run(&texts, |texts| {
        let dir = tempfile::tempdir().unwrap();
        let path = named(dir.path(), &texts[0], 0);
        let other = named(dir.path(), &texts[0], 1);
        fs::write(&path, hostile::capture(&texts)).unwrap();
        // Of the other the end is missing, and names are spread otherwise.
        let mut turned = texts.clone();
        turned.rotate_left(1);
        let whole = hostile::capture(&turned);
        fs::write(&other, &whole[..whole.len() - 10]).unwrap();
        let out = dir.path().join("out");
        for command in [
            &["report"][..],
            &["report", "--json"],
            &["report", "--json", "--filter", "op == \"walk\""],
            &["print"],
            &["print", "--width", "0"],
            &["print", "--width", "0", "--records"],
            &["print", "--filter", "path.startsWith(\"/\")"],
            &["stat", "0.0001", "-r"],
            &["slice", "--request", "1-9", "--force", "-o", "OUT"],
            &["redact", "--force", "-o", "OUT"],
            &["export", "--to", "9p-pcapng", "--force", "-o", "OUT"],
        ] {
            for path in [&path, &other] {
                let mut program = virtscope(command.iter().map(|word| match *word {
                    "OUT" => out.as_os_str(),
                    word => OsStr::new(word),
                }));
                let ended = run(program.arg(path));
                assert_harmless(&ended, command);
                let says = matches!(command[0], "report" | "print" | "stat");
                assert_eq!(!ended.stdout.is_empty(), says, "{command:?}: {ended:?}");
            }
        }
        for command in [
            &["diff"][..],
            &["diff", "--json"],
            &["merge", "--force", "-o", "OUT"],
        ] {
            let mut program = virtscope(command.iter().map(|word| match *word {
                "OUT" => out.as_os_str(),
                word => OsStr::new(word),
            }));
            assert_harmless(&run(program.arg(&path).arg(&other)), command);
        }
        Ok(())
    });
    result.unwrap();
}

/// Else there would be nothing to make harmless.
#[test]
fn the_texts_of_a_capture_are_shown_escaped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pcapng");
    let text = "\u{1b}[31m\u{202e}gnp.x".as_bytes().to_vec();
    fs::write(&path, hostile::capture(&[text])).unwrap();
    let shown = r"\x1b[31m\u{202e}gnp.x";
    for (command, before) in [
        (&["report"][..], "tag "),
        (&["print", "--width", "0"], "attach \""),
        (&["print", "--width", "0"], " to \""),
        (&["print", "--width", "0"], "mkdir /"),
        (&["print", "--width", "0"], "error      open"),
    ] {
        let ended = run(virtscope(command).arg(&path));
        let has = |line: &str| line.contains(before) && line.contains(shown);
        assert!(ended.text().lines().any(has), "{before}: {}", ended.text());
    }
}

#[test]
fn no_name_of_a_kernel_reaches_standard_output_as_it_is() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tracer/tests/images");
    let image = fs::read_to_string(images.join("6.12-packed.txt")).unwrap();
    let names = [
        "9pnet_virtio",
        "virtio_blk",
        "virtio_net",
        "requests",
        "req.0",
        "input",
        "0000:00:0",
    ];
    let mut runner = TestRunner::new(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 30,
        ..ProptestConfig::default()
    });
    let texts = prop::collection::vec(hostile::text(), 1..12);
    let result = runner.run(&texts, |texts| {
        let dir = tempfile::tempdir().unwrap();
        let path = named(dir.path(), &texts[0], 0);
        fs::write(&path, hostile::image(&image, &names, &texts)).unwrap();
        for command in [
            &["list", "--from"][..],
            &["list", "--json", "--from"],
            &["inspect", "--all", "--from"],
            &["inspect", "--json", "--from"],
            &["inspect", "-d", "nothing", "--from"],
            &["inspect", "-q", "nothing", "--from"],
        ] {
            let ended = run(virtscope(command).arg(&path));
            assert_harmless(&ended, command);
            let is_refused = command.contains(&"nothing");
            assert_eq!(
                ended.stdout.is_empty(),
                is_refused,
                "{command:?}: {ended:?}"
            );
        }
        Ok(())
    });
    result.unwrap();
}
