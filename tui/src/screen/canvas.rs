//! The one way by which text reaches the terminal's buffer.
//!
//! Whatever is drawn goes through [`Canvas`], which clips it to its area and
//! makes it harmless. So no screen can forget either.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Widget;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use virtscope_analyzer::sanitize;

use super::theme::Theme;

/// A rectangle to draw in. Coordinates are relative to its upper left corner;
/// what falls outside is not drawn.
pub(super) struct Canvas<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    pub(super) theme: &'a Theme,
}

impl<'a> Canvas<'a> {
    /// All of `buffer`.
    pub(super) fn new(buffer: &'a mut Buffer, theme: &'a Theme) -> Self {
        let area = buffer.area;
        Self {
            buffer,
            area,
            theme,
        }
    }

    pub(super) fn width(&self) -> u16 {
        self.area.width
    }

    pub(super) fn height(&self) -> u16 {
        self.area.height
    }

    /// The part of this canvas that `rect` covers.
    pub(super) fn part(&mut self, rect: Rect) -> Canvas<'_> {
        let moved = Rect {
            x: self.area.x.saturating_add(rect.x),
            y: self.area.y.saturating_add(rect.y),
            ..rect
        };
        Canvas {
            buffer: self.buffer,
            area: self.area.intersection(moved),
            theme: self.theme,
        }
    }

    /// Rows `y` up to `y + height`.
    pub(super) fn rows(&mut self, y: u16, height: u16) -> Canvas<'_> {
        let width = self.width();
        self.part(Rect::new(0, y, width, height))
    }

    /// Writes `text`, made harmless; returns the column behind it.
    pub(super) fn text(&mut self, x: u16, y: u16, text: &str, style: Style) -> u16 {
        if x >= self.area.width || y >= self.area.height {
            return x;
        }
        let room = usize::from(self.area.width - x);
        let (end, _) = self.buffer.set_stringn(
            self.area.x + x,
            self.area.y + y,
            harmless(text),
            room,
            style,
        );
        end - self.area.x
    }

    /// Writes `text` so that it ends at column `end`, not drawn; left of column 0
    /// it is cut.
    pub(super) fn text_before(&mut self, end: u16, y: u16, text: &str, style: Style) {
        let text = harmless(text);
        let x = end.saturating_sub(columns(&text));
        self.part(Rect::new(x, y, end - x, 1))
            .text(0, 0, &text, style);
    }

    /// Writes a line of styled spans; returns the column behind it.
    pub(super) fn line(&mut self, x: u16, y: u16, line: &Line<'_>) -> u16 {
        let mut x = x;
        for span in &line.spans {
            x = self.text(x, y, &span.content, line.style.patch(span.style));
        }
        x
    }

    /// Lines below each other from the top, the first `skip` left out.
    pub(super) fn lines(&mut self, lines: &[Line<'_>], skip: usize) {
        for (y, line) in (0..self.height()).zip(lines.iter().skip(skip)) {
            self.line(0, y, line);
        }
    }

    /// The same, with a word in the corner about those that do not fit.
    pub(super) fn lines_or_more(&mut self, lines: &[Line<'_>], skip: usize) {
        self.lines(lines, skip);
        let shown = skip.saturating_add(self.height().into());
        let below = lines.len().saturating_sub(shown);
        if below > 0 {
            let text = format!(" ↓ {below} lines more ");
            let (width, last) = (self.width(), self.height().saturating_sub(1));
            let style = self.theme.selected;
            self.text_before(width, last, &text, style);
        }
    }

    /// Lays `style` over row `y`, over its whole width.
    pub(super) fn restyle_row(&mut self, y: u16, style: Style) {
        let row = Rect::new(0, y, self.width(), 1);
        let row = self.part(row);
        row.buffer.set_style(row.area, style);
    }

    /// Draws a widget that shows no text of its own making.
    pub(super) fn widget(&mut self, widget: impl Widget) {
        widget.render(self.area, self.buffer);
    }

    /// Blank, for what is laid over something else.
    pub(super) fn clear(&mut self) {
        self.widget(ratatui::widgets::Clear);
    }
}

/// `text` with everything escaped that could change what a terminal shows.
/// Text that went through [`sanitize`] already comes out as it is.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    match sanitize(text) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        // Doubling backslashes tells texts apart at their source, once.
        Cow::Owned(_) => {
            let parts: Vec<_> = text.split('\\').map(sanitize).collect();
            Cow::Owned(parts.join("\\"))
        }
    }
}

/// The columns that `text` takes.
pub(super) fn columns(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap_or(u16::MAX)
}

/// `text` in exactly `width` columns: padded, or cut with an ellipsis.
pub(super) fn fit(text: &str, width: usize) -> String {
    let text = harmless(text);
    let full = text.width();
    if full <= width {
        return format!("{text}{}", " ".repeat(width - full));
    }
    let room = width.saturating_sub(1);
    let mut cut = String::with_capacity(width * 2);
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide > room {
            break;
        }
        used += wide;
        cut.push(c);
    }
    if width > 0 {
        cut.push('…');
    }
    // Characters that join take less than the sum of their columns.
    let missing = width.saturating_sub(cut.width());
    cut.push_str(&" ".repeat(missing));
    cut
}

/// `text` in at most `width` columns. What is cut is the middle, behind its first word:
/// of a path the end says most.
pub(super) fn fit_end(text: &str, width: usize) -> String {
    let text = harmless(text);
    if text.width() <= width {
        return text.into_owned();
    }
    let (word, rest) = text.split_once(' ').unwrap_or(("", &text));
    let before = if word.is_empty() {
        "…".to_owned()
    } else {
        format!("{word} …")
    };
    let Some(room) = width.checked_sub(before.width()) else {
        return fit(&text, width);
    };
    let mut used = 0;
    let tail: Vec<_> = rest
        .chars()
        .rev()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= room
        })
        .collect();
    let tail: String = tail.into_iter().rev().collect();
    format!("{before}{tail}")
}

/// `text` ending at the right of `width` columns; cut if it is longer.
pub(super) fn fit_right(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.width());
    fit(&format!("{}{text}", " ".repeat(missing)), width)
}

/// `text` broken between words into lines of at most `width` columns; a word
/// longer than that is cut into pieces.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in harmless(text).split_whitespace() {
        let wide = word.width();
        if used > 0 && used + 1 + wide <= width {
            push(&mut lines, " ");
            used += 1;
        } else if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if used > 0 && used + wide > width {
                lines.push(String::new());
                used = 0;
            }
            push(&mut lines, c.encode_utf8(&mut [0; 4]));
            used += wide;
        }
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ratatui::buffer::Buffer;

    #[test]
    fn what_falls_outside_is_not_drawn() {
        let theme = Theme::plain();
        let mut buffer = Buffer::empty(Rect::new(0, 0, 6, 2));
        let mut canvas = Canvas::new(&mut buffer, &theme);
        let mut part = canvas.part(Rect::new(2, 0, 3, 9));
        assert_eq!(part.height(), 2);
        assert_eq!(part.text(1, 0, "abcdef", Style::new()), 3);
        assert_eq!(part.text(7, 0, "x", Style::new()), 7);
        part.text(0, 2, "x", Style::new());
        part.text_before(2, 1, "12345", Style::new());
        assert_eq!(buffer, Buffer::with_lines(["   ab ", "  12  "]));
    }

    #[test]
    fn text_is_made_harmless_once() {
        assert_eq!(harmless("a\x1b[31mb"), "a\\x1b[31mb");
        assert_eq!(harmless("a\\x1b[31mb"), "a\\x1b[31mb");
        assert_eq!(harmless("\\\u{202e}\\"), "\\\\u{202e}\\");
    }

    #[test]
    fn text_is_fitted_and_wrapped_by_columns() {
        assert_eq!(fit("abc", 5), "abc  ");
        assert_eq!(fit("abcdef", 5), "abcd…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日… ");
        assert_eq!(fit("abc", 0), "");
        assert_eq!(fit_right("7", 3), "  7");
        assert_eq!(fit_end("view x.pcapng", 20), "view x.pcapng");
        assert_eq!(fit_end("view /a/long/way/x.pcapng", 16), "view …y/x.pcapng");
        assert_eq!(fit_end("/a/long/way/x.pcapng", 9), "…x.pcapng");
        assert_eq!(fit_end("view /a/long/way/x.pcapng", 4), "vie…");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("", 3), [""]);
    }

    proptest! {
        #[test]
        fn fitted_text_has_its_width(text: String, width in 0usize..40) {
            prop_assert_eq!(fit(&text, width).width(), width);
            prop_assert!(fit_end(&text, width).width() <= width);
        }

        #[test]
        fn making_harmless_is_done_once(text: String) {
            let once = harmless(&text).into_owned();
            prop_assert_eq!(harmless(&once), once.as_str());
        }
    }
}
