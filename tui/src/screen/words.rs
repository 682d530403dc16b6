//! Lines of labels and values.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::theme::Theme;

/// Columns of the label a line may begin with.
const LABEL: usize = 10;

/// Builds one line, from left to right.
pub(super) struct Words<'a> {
    pub(super) theme: &'a Theme,
    spans: Vec<Span<'static>>,
}

impl<'a> Words<'a> {
    pub(super) fn new(theme: &'a Theme) -> Self {
        Self {
            theme,
            spans: Vec::new(),
        }
    }

    /// A line that begins with `label`, so that labels stand below each other.
    pub(super) fn labelled(theme: &'a Theme, label: &str) -> Self {
        Self::new(theme).styled(format!(" {label:<LABEL$}"), theme.dim)
    }

    /// `text` as it is.
    pub(super) fn styled(mut self, text: impl Into<String>, style: Style) -> Self {
        self.spans.push(Span::styled(text.into(), style));
        self
    }

    /// `text` in the ordinary style.
    pub(super) fn text(self, text: impl Into<String>) -> Self {
        let style = self.theme.text;
        self.styled(text, style)
    }

    /// `text` that matters less.
    pub(super) fn dim(self, text: impl Into<String>) -> Self {
        let style = self.theme.dim;
        self.styled(text, style)
    }

    /// A name and its value, and a gap.
    pub(super) fn item(self, name: &str, value: impl Into<String>) -> Self {
        let style = self.theme.text;
        self.item_styled(name, value, style)
    }

    /// A name and its value in a style of its own, and a gap.
    pub(super) fn item_styled(self, name: &str, value: impl Into<String>, style: Style) -> Self {
        self.dim(format!("{name} ")).styled(value, style).text("  ")
    }

    /// `then`, if there is something to say.
    pub(super) fn when<T>(self, value: Option<T>, then: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => then(self, value),
            None => self,
        }
    }

    pub(super) fn line(self) -> Line<'static> {
        Line::from(self.spans)
    }
}
