//! The one way by which text reaches the terminal's buffer.
//!
//! Whatever is drawn goes through [`Canvas`], which clips it to its area and
//! makes it harmless. So no screen can forget either.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::theme::Theme;
use crate::fit::{columns, cut, harmless};

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

    /// Writes a line of styled spans, which ends with an ellipsis if not all of it fits;
    /// returns the column behind it.
    pub(super) fn line(&mut self, x: u16, y: u16, line: &Line<'_>) -> u16 {
        let room = self.area.width.saturating_sub(x);
        let width = |span: &Span<'_>| columns(&harmless(&span.content));
        // What is blank needs no room at the end.
        let all: u16 = line.spans.iter().map(width).fold(0, u16::saturating_add);
        let blank = line
            .spans
            .iter()
            .rev()
            .flat_map(|span| span.content.chars().rev());
        let blank = blank.take_while(|c| *c == ' ').count();
        let fits = usize::from(all) <= usize::from(room) + blank;
        let mut x = x;
        for span in &line.spans {
            let style = line.style.patch(span.style);
            let left = self.area.width.saturating_sub(x);
            if !fits && width(span) >= left {
                let text = cut(&harmless(&span.content), left.into());
                return self.text(x, y, &text, style);
            }
            x = self.text(x, y, &span.content, style);
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

#[cfg(test)]
mod tests {
    use super::*;
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

    /// By columns, whether a line is cut in a span or between two.
    #[test]
    fn a_line_that_does_not_fit_ends_with_an_ellipsis() {
        let theme = Theme::plain();
        for (spans, expected) in [
            (&["ab", "cde"][..], " abcde"),
            (&["ab", "cde", "  "], " abcde"),
            (&["ab", "cdef"], " abcd…"),
            (&["abcde", "f"], " abcd…"),
            (&["abcd", "ef"], " abcd…"),
            (&["日", "本語"], " 日本…"),
            (&["a日", "本語"], " a日…"),
        ] {
            let mut buffer = Buffer::empty(Rect::new(0, 0, 6, 1));
            let line = Line::from_iter(spans.iter().map(|text| Span::raw(*text)));
            Canvas::new(&mut buffer, &theme).line(1, 0, &line);
            let expected = format!(
                "{expected}{}",
                " ".repeat(6 - usize::from(columns(expected)))
            );
            assert_eq!(buffer, Buffer::with_lines([expected]), "{spans:?}");
        }
    }
}
