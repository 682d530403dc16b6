//! `list`, `inspect` and `doctor` as their users type them, on rings that were saved in
//! real guests.

#[path = "common/program.rs"]
mod program;

use std::path::{Path, PathBuf};

use program::*;
use rstest::rstest;

/// Where what was saved in guests is.
fn image(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tracer/tests/images")
        .join(format!("{name}.txt"))
}

#[rstest]
#[case("6.1-split")]
#[case("6.12-packed")]
#[case("7.2-split")]
#[case("7.2-packed")]
fn devices_and_rings_of_a_guest(#[case] name: &str) {
    for command in ["list", "inspect"] {
        let ended = run(virtscope([command, "--from"]).arg(image(name)));
        let text = ended.assert_clean().text();
        assert!(
            text.lines().all(|line| line.chars().count() <= 120),
            "{text}"
        );
        insta::assert_snapshot!(format!("{command}_{name}"), text);
    }
}

#[test]
fn one_queue_is_chosen_by_name_or_number() {
    let path = image("6.1-split");
    for queue in [
        "requests",
        "0",
        "virtio0/requests",
        "virtio0.0",
        "virtio0/0",
    ] {
        let mut command = virtscope(["inspect", "-d", "9pnet_virtio", "-q", queue, "--json"]);
        let ended = run(command.arg("--from").arg(&path));
        let json = ended.assert_clean().json();
        let queues = json["queues"].as_array().unwrap();
        assert_eq!(queues.len(), 1);
        assert_eq!(queues[0]["queue"]["name"], "requests");
        assert_eq!(queues[0]["stability"], "stable");
        assert_eq!(queues[0]["adds_up"], true);
    }
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let path = image("6.1-split");
    let mut command = virtscope(["inspect", "-d", "virtio9", "--from"]);
    let ended = run(command.arg(&path));
    ended.assert_refused(&["no device and no driver `virtio9`; there is virtio0"]);
    let mut command = virtscope(["inspect", "-q", "nothing", "--from"]);
    let ended = run(command.arg(&path));
    ended.assert_refused(&["no queue `nothing`; there is virtio0/requests"]);
}

#[test]
fn what_is_no_image_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for text in ["", "{}", "\n\u{1b}[2J"] {
        std::fs::write(file.path(), text).unwrap();
        for command in ["list", "inspect"] {
            let ended = run(virtscope([command, "--from"]).arg(file.path()));
            ended.assert_refused(&["virtscope inspect --save FILE"]);
        }
    }
}

#[test]
fn what_is_shown_can_be_saved_again() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.txt");
    let path = image("6.1-split");
    let mut command = virtscope(["inspect", "--from"]);
    run(command.arg(&path).arg("--save").arg(&copy)).assert_clean();
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&path).unwrap());
}

/// Whatever machine this is: an answer for each thing, and advice where it is needed.
#[test]
fn the_doctor_has_an_answer_here() {
    let ended = run(&mut virtscope(["doctor", "--json"]));
    let json = ended.json();
    let checks = json["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 9);
    let verdict = json["verdict"].as_str().unwrap();
    let works = ["whole", "partly"].contains(&verdict);
    assert_eq!(ended.code, Some(if works { 0 } else { 2 }), "{verdict}");
    for check in checks {
        assert!(!check["found"].as_str().unwrap().is_empty());
        let states = ["fine", "degraded", "missing", "unknown"];
        assert!(
            states.iter().any(|state| check["state"] == *state),
            "{check}"
        );
    }
    let ended = run(&mut virtscope(["doctor"]));
    let text = ended.text();
    assert!(text.contains("type information") && text.contains("virtscope trace"));
}
