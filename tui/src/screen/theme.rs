//! Every colour of the screens, in one place.

use std::ffi::OsStr;

use ratatui::style::{Color, Modifier, Style};
use virtscope_analyzer::SlotState;

/// What each thing looks like. Nothing is told by colour alone: every phase and
/// state has a character of its own as well.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Theme {
    /// Ordinary text.
    pub(super) text: Style,
    /// Labels and what matters less.
    pub(super) dim: Style,
    /// Headings.
    pub(super) heading: Style,
    /// Names and values to look at first.
    pub(super) strong: Style,
    /// The row or tab that is selected.
    pub(super) selected: Style,
    /// A key in the footer.
    pub(super) key: Style,
    /// As it should be.
    pub(super) good: Style,
    /// To be looked at: a full ring, a poll, a pause.
    pub(super) warn: Style,
    /// Errors.
    pub(super) bad: Style,
    /// Losses, told loudly.
    pub(super) loss: Style,
    /// The phase before the kick decision; also of a slot that is added only.
    pub(super) queued: Style,
    /// The device has been told, and has not begun.
    pub(super) waiting: Style,
    /// The device works on it.
    pub(super) service: Style,
    /// The device is done, and the driver has not been told.
    pub(super) returned: Style,
    /// Between the callback and the driver taking the buffer back.
    pub(super) harvest: Style,
    /// Pointers of the driver.
    pub(super) driver: Style,
    /// Pointers of the device.
    pub(super) device: Style,
}

impl Theme {
    /// With the terminal's sixteen colours, which follow the user's palette.
    pub(crate) fn colour() -> Self {
        let plain = Style::new();
        Self {
            text: plain,
            dim: plain.fg(Color::DarkGray),
            heading: plain.fg(Color::Cyan).add_modifier(Modifier::BOLD),
            strong: plain.add_modifier(Modifier::BOLD),
            selected: plain.add_modifier(Modifier::REVERSED),
            key: plain.fg(Color::Cyan).add_modifier(Modifier::BOLD),
            good: plain.fg(Color::Green),
            warn: plain.fg(Color::Yellow),
            bad: plain.fg(Color::Red),
            loss: plain
                .fg(Color::White)
                .bg(Color::Red)
                .add_modifier(Modifier::BOLD),
            queued: plain.fg(Color::Yellow),
            waiting: plain.fg(Color::Blue),
            service: plain.fg(Color::Cyan),
            returned: plain.fg(Color::Magenta),
            harvest: plain.fg(Color::Green),
            driver: plain.fg(Color::Yellow).add_modifier(Modifier::BOLD),
            device: plain.fg(Color::Cyan).add_modifier(Modifier::BOLD),
        }
    }

    /// Without any colour (<https://no-color.org>).
    pub(crate) fn plain() -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        let dim = plain.add_modifier(Modifier::DIM);
        Self {
            text: plain,
            dim,
            heading: bold.add_modifier(Modifier::UNDERLINED),
            strong: bold,
            selected: plain.add_modifier(Modifier::REVERSED),
            key: bold,
            good: plain,
            warn: bold,
            bad: bold,
            loss: bold.add_modifier(Modifier::REVERSED),
            queued: plain,
            waiting: dim,
            service: bold,
            returned: plain,
            harvest: plain,
            driver: bold,
            device: bold,
        }
    }

    /// The one the user wants: `NO_COLOR`, set and not empty, asks for none.
    pub(crate) fn from_env() -> Self {
        Self::for_no_color(std::env::var_os("NO_COLOR").as_deref())
    }

    fn for_no_color(value: Option<&OsStr>) -> Self {
        match value {
            Some(value) if !value.is_empty() => Self::plain(),
            _ => Self::colour(),
        }
    }

    /// Of a slot of the available ring.
    pub(super) fn slot(&self, state: SlotState) -> Style {
        match state {
            SlotState::Free => self.dim,
            SlotState::Added => self.queued,
            SlotState::Published => self.waiting,
            SlotState::Taken => self.service,
            SlotState::Returned => self.returned,
            SlotState::Announced => self.harvest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_set_and_not_empty_asks_for_none() {
        assert_eq!(Theme::for_no_color(None), Theme::colour());
        assert_eq!(Theme::for_no_color(Some(OsStr::new(""))), Theme::colour());
        assert_eq!(Theme::for_no_color(Some(OsStr::new("1"))), Theme::plain());
    }
}
