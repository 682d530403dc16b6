//! What a capture holds cannot reach the terminal as it is.

use ratatui::buffer::Buffer;
use rstest::rstest;

use super::fixture::{fields, live};
use super::stream::Stream;
use super::{app, drawn, text, type_keys};
use crate::screen::app::App;

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
            let hidden =
                matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}');
            assert!(!c.is_control() && !hidden, "{c:?} reached the screen");
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
