//! Whole screens, drawn and driven without a terminal.

mod colours;
mod fixture;
mod found;
mod hostile;
mod keys;
mod sizes;
mod snapshots;
mod stream;

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Size;
use virtscope_analyzer::Snapshot;

use super::app::{Action, App};
use super::feed::FeedStatus;
use super::frame;
use super::theme::Theme;

pub(super) use fixture::lives;

fn app(snapshot: Snapshot, status: FeedStatus, width: u16, height: u16) -> App {
    let size = Size::new(width, height);
    App::new(Arc::new(snapshot), status, Theme::plain(), size)
}

/// What the terminal shows.
fn drawn(app: &App, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("cannot fail");
    terminal
        .draw(|frame| frame::draw(app, frame.buffer_mut()))
        .expect("cannot fail");
    terminal.backend().buffer().clone()
}

/// Its lines, without the blanks at their ends.
fn text(app: &App, width: u16, height: u16) -> String {
    let buffer = drawn(app, width, height);
    let mut text = String::new();
    for row in buffer.content().chunks(width.into()) {
        let line: String = row.iter().map(Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn press(app: &mut App, code: KeyCode) -> Action {
    app.on_key(KeyEvent::from(code))
}

/// Presses each character; `\n` is Enter, `\t` is Tab.
fn type_keys(app: &mut App, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            key => KeyCode::Char(key),
        };
        press(app, code);
    }
}
