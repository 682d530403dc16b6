//! The line in which a filter is typed.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use unicode_width::UnicodeWidthChar;
use virtscope_analyzer::FilterError;

use super::canvas::Canvas;
use crate::fit::{fit, harmless};

/// Rows that it takes at the bottom: what is wrong or what to do, the line, and what
/// points at a place in it.
pub(super) const HEIGHT: u16 = 3;

/// As much as an expression may have, and a little more to see that it is too much.
const LONGEST: usize = 4200;

/// What to do, where nothing is wrong.
const HINT: &str =
    "Enter applies it, Esc clears it, F1 or Tab shows the fields, Ctrl-U empties the line";

/// A line that is being edited.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Prompt {
    text: Vec<char>,
    /// Before which character the next one goes.
    cursor: usize,
    error: Option<FilterError>,
    /// How far the fields are scrolled, if they are shown.
    pub(super) fields: Option<usize>,
}

/// What a key in the line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    /// Draw it again.
    Edited,
    /// Use the expression.
    Apply(String),
    /// Away with it, and with the filter.
    Clear,
    /// End the program.
    Quit,
    /// The key means nothing.
    Nothing,
}

impl Prompt {
    /// With `text` to begin with.
    pub(super) fn new(text: &str) -> Self {
        let text: Vec<_> = text.chars().collect();
        Self {
            cursor: text.len(),
            text,
            ..Self::default()
        }
    }

    /// Points out what is wrong.
    pub(super) fn refuse(&mut self, error: FilterError) {
        self.cursor = (error.column() - 1).min(self.text.len());
        self.error = Some(error);
    }

    /// Takes a key; `page` rows are visible of the fields' `rows`.
    pub(super) fn on_key(&mut self, event: KeyEvent, page: usize, rows: usize) -> Entry {
        if event.kind == KeyEventKind::Release {
            return Entry::Nothing;
        }
        if event.modifiers.contains(KeyModifiers::CONTROL) {
            return self.on_control(event.code);
        }
        match event.code {
            KeyCode::Enter => return Entry::Apply(self.text.iter().collect()),
            KeyCode::Esc if self.fields.is_some() => self.fields = None,
            KeyCode::Esc => return Entry::Clear,
            KeyCode::F(1) | KeyCode::Tab => {
                self.fields = if self.fields.is_some() { None } else { Some(0) };
            }
            KeyCode::Up | KeyCode::Down | KeyCode::PageUp | KeyCode::PageDown => {
                return self.scroll(event.code, page, rows);
            }
            KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Right => self.cursor = (self.cursor + 1).min(self.text.len()),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.text.len(),
            KeyCode::Backspace if self.cursor > 0 => self.remove(self.cursor - 1),
            KeyCode::Delete if self.cursor < self.text.len() => self.remove(self.cursor),
            KeyCode::Char(c) if self.text.len() < LONGEST => {
                self.text.insert(self.cursor, c);
                self.cursor += 1;
                self.error = None;
            }
            _ => return Entry::Nothing,
        }
        Entry::Edited
    }

    /// As in a shell.
    fn on_control(&mut self, code: KeyCode) -> Entry {
        match code {
            KeyCode::Char('c') => return Entry::Quit,
            KeyCode::Char('a') => self.cursor = 0,
            KeyCode::Char('e') => self.cursor = self.text.len(),
            KeyCode::Char('u') => self.cut(0),
            KeyCode::Char('k') => {
                self.text.truncate(self.cursor);
                self.error = None;
            }
            KeyCode::Char('w') => {
                let before = &self.text[..self.cursor];
                let end = before.iter().rposition(|c| !c.is_whitespace());
                let word =
                    end.and_then(|end| before[..end].iter().rposition(|c| c.is_whitespace()));
                self.cut(word.map_or(0, |at| at + 1));
            }
            _ => return Entry::Nothing,
        }
        Entry::Edited
    }

    fn remove(&mut self, at: usize) {
        self.text.remove(at);
        self.cursor = at;
        self.error = None;
    }

    /// Takes away what stands from `from` to the cursor.
    fn cut(&mut self, from: usize) {
        self.text.drain(from..self.cursor);
        self.cursor = from;
        self.error = None;
    }

    fn scroll(&mut self, code: KeyCode, page: usize, rows: usize) -> Entry {
        let Some(at) = self.fields else {
            return Entry::Nothing;
        };
        let last = rows.saturating_sub(page);
        self.fields = Some(
            match code {
                KeyCode::Up => at.saturating_sub(1),
                KeyCode::Down => at + 1,
                KeyCode::PageUp => at.saturating_sub(page),
                _ => at + page,
            }
            .min(last),
        );
        Entry::Edited
    }

    /// Draws it on its three rows.
    pub(super) fn draw(&self, canvas: &mut Canvas<'_>) {
        let theme = canvas.theme;
        canvas.clear();
        let width = usize::from(canvas.width());
        let (text, style) = match &self.error {
            Some(error) => (error.message(), theme.bad),
            None => (HINT, theme.dim),
        };
        canvas.text(0, 0, &fit(&format!(" {text}"), width), style);
        let x = canvas.text(0, 1, " filter / ", theme.key);
        let room = usize::from(canvas.width().saturating_sub(x + 2));
        let first = self.first_shown(room);
        let mut x = x;
        let mut here = x;
        for (at, c) in self.text.iter().enumerate().skip(first) {
            if at == self.cursor {
                here = x;
            }
            let shown = harmless(c.encode_utf8(&mut [0; 4])).into_owned();
            let style = if at == self.cursor {
                theme.selected
            } else {
                theme.strong
            };
            x = canvas.text(x, 1, &shown, style);
        }
        if self.cursor == self.text.len() {
            here = x;
            canvas.text(x, 1, " ", theme.selected);
        }
        if self.error.is_some() {
            canvas.text(here, 2, "^", theme.bad);
        }
    }

    /// The first character shown, so that the cursor is.
    fn first_shown(&self, room: usize) -> usize {
        let mut left = room;
        let mut first = self.cursor;
        while let Some(before) = first.checked_sub(1) {
            let wide = columns_of(self.text[before]);
            if wide > left {
                break;
            }
            left -= wide;
            first = before;
        }
        first
    }
}

fn columns_of(c: char) -> usize {
    match c.width() {
        Some(wide) if !c.is_control() => wide.max(1),
        // Escaped, it is longer.
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(keys: &[KeyCode]) -> (String, usize) {
        let mut prompt = Prompt::new("op == 1");
        for key in keys {
            prompt.on_key(KeyEvent::from(*key), 5, 50);
        }
        (prompt.text.iter().collect(), prompt.cursor)
    }

    #[test]
    fn a_line_is_edited() {
        use KeyCode::{Backspace, Char, Delete, End, Home, Left, Right};
        assert_eq!(typed(&[]), ("op == 1".to_owned(), 7));
        assert_eq!(typed(&[Backspace, Char('2')]), ("op == 2".to_owned(), 7));
        assert_eq!(typed(&[Home, Delete, Char('q')]), ("qp == 1".to_owned(), 1));
        assert_eq!(typed(&[Left, Left, Delete]).0, "op ==1");
        assert_eq!(typed(&[Home, Left, Backspace, Right, End, Delete]).1, 7);
    }

    #[test]
    fn control_keys_cut_as_in_a_shell() {
        let mut prompt = Prompt::new("op == \"read\"  && x ");
        let mut press = |c| {
            prompt.on_key(
                KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL),
                5,
                50,
            );
            prompt.text.iter().collect::<String>()
        };
        assert_eq!(press('w'), "op == \"read\"  && ");
        assert_eq!(press('w'), "op == \"read\"  ");
        assert_eq!(press('a'), "op == \"read\"  ");
        assert_eq!(press('u'), "op == \"read\"  ");
        assert_eq!(press('k'), "");
        assert_eq!(press('w'), "");
    }

    proptest! {
        /// The cursor stays in the line, and whatever is typed is what is applied.
        #[test]
        fn no_key_is_too_much(keys in prop::collection::vec((0_usize..12, any::<char>(), any::<bool>()), 0..60)) {
            let mut prompt = Prompt::default();
            for (which, c, control) in keys {
                let code = match which {
                    0 => KeyCode::Left,
                    1 => KeyCode::Right,
                    2 => KeyCode::Home,
                    3 => KeyCode::End,
                    4 => KeyCode::Backspace,
                    5 => KeyCode::Delete,
                    6 => KeyCode::PageDown,
                    7 => KeyCode::F(1),
                    _ => KeyCode::Char(c),
                };
                let modifiers = if control { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
                prompt.on_key(KeyEvent::new(code, modifiers), 5, 50);
                prop_assert!(prompt.cursor <= prompt.text.len());
                prop_assert!(prompt.fields.is_none_or(|at| at <= 45));
            }
        }
    }
}
