//! What a capture holds cannot reach the terminal as it is.

use proptest::prelude::*;
use ratatui::buffer::Buffer;
use rstest::rstest;
use virtscope_analyzer::Options;
use virtscope_captures::CaptureReader;

use super::fixture::{fields, live};
use super::stream::Stream;
use super::{app, drawn, text, type_keys};
use crate::analysis::{Analysis, Progress};
use crate::screen::app::App;

#[path = "../../../tests/common/hostile.rs"]
mod capture;

const HOSTILE: &str =
    "\u{1b}[31m\u{1b}]0;owned\u{7}\u{9b}2J\r\n\u{202e}gpj\u{200b}\u{feff}\u{2028}\u{7f}";

/// Names, replies, facts, titles and messages full of it.
fn hostile_app(keys: &str) -> App {
    let mut stream = Stream::new();
    let facts = format!("virtio0/{HOSTILE}\ntag={HOSTILE}\n{HOSTILE}={HOSTILE}");
    stream.queue(0, 0).facts(64, 9, &facts);
    let walk = fields().u32(1).u32(2).u16(1).text(HOSTILE).message(110, 1);
    let version = fields().u32(8192).text(HOSTILE).message(100, 0xffff);
    let reply = fields().u32(8192).text(HOSTILE).message(101, 0xffff);
    stream
        .at(1)
        .add(0, 0, &version)
        .add(2, 1, &walk)
        .kick(0, 2, true);
    stream.at(9).callback(1, 0).used(0, 0, &reply);
    let mut snapshot = stream.snapshot();
    snapshot.notes.push(virtscope_analyzer::Note {
        code: virtscope_analyzer::NoteCode::Inconsistent,
        text: HOSTILE.to_owned(),
    });
    let mut status = live();
    status.title = format!("view {HOSTILE}");
    status.message = Some(HOSTILE.to_owned());
    status.capture = Some(HOSTILE.to_owned());
    let mut app = app(snapshot, status, 200, 50);
    type_keys(&mut app, keys);
    app
}

fn assert_harmless(buffer: &Buffer) {
    for cell in buffer.content() {
        for c in cell.symbol().chars() {
            assert!(capture::is_harmless(c), "{c:?} reached the screen");
        }
    }
}

#[rstest]
fn escape_sequences_are_shown_and_not_sent(
    #[values(
        "1",
        "2",
        "2j\n",
        "2\n",
        "3",
        "4",
        "5",
        "?",
        "/\u{202e}\u{200b}\u{7f}",
        "/\u{202e}\n"
    )]
    keys: &str,
    #[values((200, 50), (80, 24))] size: (u16, u16),
) {
    let app = hostile_app(keys);
    assert_harmless(&drawn(&app, size.0, size.1));
    assert!(text(&app, 200, 50).contains(r"\x1b[31m"));
}

/// Each screen of a capture with these texts.
fn assert_screens_are_harmless(texts: &[Vec<u8>]) {
    let bytes = capture::capture(texts);
    let mut reader = CaptureReader::new(&bytes[..]).unwrap();
    let mut analysis = Analysis::new(Options::default());
    while analysis.observe(&reader.next_item().unwrap()) != Progress::End {}
    let mut status = live();
    status.title = format!("view {}", String::from_utf8_lossy(&texts[0]));
    let snapshot = analysis.analyzer.snapshot(None);
    for keys in ["1", "2", "2\n", "2k\n", "3", "4", "5", "5\n"] {
        let mut app = app(snapshot.clone(), status.clone(), 120, 40);
        type_keys(&mut app, keys);
        assert_harmless(&drawn(&app, 120, 40));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn no_text_of_a_capture_reaches_the_screen_as_it_is(
        texts in prop::collection::vec(capture::text(), 1..12)
    ) {
        assert_screens_are_harmless(&texts);
    }
}
