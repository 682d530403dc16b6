//! The keys, as data: the dispatch, the footer and the help read this one table.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::app::View;

/// What a key asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Command {
    Show(View),
    NextView,
    PreviousView,
    Open,
    Back,
    Move(Motion),
    NextQueue,
    PreviousQueue,
    NextPiece,
    PreviousPiece,
    Filter,
    Prompt,
    Sort,
    Reverse,
    Pause,
    Step,
    Faster,
    Slower,
    SeekForward,
    SeekBack,
    Restart,
    Help,
    Quit,
}

/// A way through a list, a ring or a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Motion {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

impl Motion {
    /// Where it leads from `at` in a list of `len`, `page` of them visible.
    pub(super) fn apply(self, at: usize, len: usize, page: usize) -> usize {
        let last = len.saturating_sub(1);
        match self {
            Self::Up => at.saturating_sub(1),
            Self::Down => at.saturating_add(1),
            Self::PageUp => at.saturating_sub(page.max(1)),
            Self::PageDown => at.saturating_add(page.max(1)),
            Self::Home => 0,
            Self::End => last,
        }
        .min(last)
    }
}

/// One row of the table.
pub(super) struct Binding {
    keys: &'static [Key],
    pub(super) command: Command,
    /// The keys as the footer and the help name them. Empty if another row with
    /// the same label stands for this one.
    pub(super) label: &'static str,
    /// One word for the footer; empty if it is not shown there.
    pub(super) hint: &'static str,
    /// One line for the help.
    pub(super) help: &'static str,
    when: When,
}

#[derive(Clone, Copy)]
enum When {
    Always,
    On(&'static [View]),
    Replay,
}

#[derive(Clone, Copy)]
struct Key {
    code: KeyCode,
    control: bool,
}

const fn key(code: KeyCode) -> Key {
    Key {
        code,
        control: false,
    }
}

const fn ch(c: char) -> Key {
    key(KeyCode::Char(c))
}

const fn control(c: char) -> Key {
    Key {
        code: KeyCode::Char(c),
        control: true,
    }
}

impl Key {
    fn is(self, event: KeyEvent) -> bool {
        self.code == event.code && self.control == event.modifiers.contains(KeyModifiers::CONTROL)
    }
}

/// The views in which ←→ choose the queue.
const QUEUED_VIEWS: &[View] = &[View::Overview, View::Ring];

const fn row(
    keys: &'static [Key],
    command: Command,
    label: &'static str,
    hint: &'static str,
    help: &'static str,
    when: When,
) -> Binding {
    Binding {
        keys,
        command,
        label,
        hint,
        help,
        when,
    }
}

/// In the order of footer and help. The first row that fits a key wins.
#[rustfmt::skip]
pub(super) const BINDINGS: &[Binding] = {
    use Command as C;
    use KeyCode as K;
    use Motion as M;
    use When::{Always, On, Replay};
    &[
        row(&[ch('1')], C::Show(View::Overview), "1-5", "tab", "choose a screen", Always),
        row(&[ch('2')], C::Show(View::Requests), "", "", "", Always),
        row(&[ch('3')], C::Show(View::Ring), "", "", "", Always),
        row(&[ch('4')], C::Show(View::Operations), "", "", "", Always),
        row(&[ch('5')], C::Show(View::Findings), "", "", "", Always),
        row(&[key(K::Tab)], C::NextView, "Tab", "", "next screen (Shift-Tab: previous)", Always),
        row(&[key(K::BackTab)], C::PreviousView, "", "", "", Always),
        row(&[key(K::Up), ch('k')], C::Move(M::Up), "↑↓", "move", "one up or down (also k j)", Always),
        row(&[key(K::Down), ch('j')], C::Move(M::Down), "", "", "", Always),
        row(&[key(K::PageUp)], C::Move(M::PageUp), "PgUp PgDn", "", "a page up or down", Always),
        row(&[key(K::PageDown)], C::Move(M::PageDown), "", "", "", Always),
        row(&[key(K::Home), ch('g')], C::Move(M::Home), "Home End", "", "to the first or last (also g G)", Always),
        row(&[key(K::End), ch('G')], C::Move(M::End), "", "", "", Always),
        row(&[key(K::Enter)], C::Open, "Enter", "open", "open the request, the queue's ring, or the proof's request",
            On(&[View::Overview, View::Requests, View::Findings])),
        row(&[key(K::Esc), key(K::Backspace)], C::Back, "Esc", "back", "back from details or help; else without a filter", On(&[View::Detail])),
        row(&[key(K::Esc), key(K::Backspace)], C::Back, "", "", "", On(&View::TABS)),
        row(&[key(K::Right), ch('n')], C::NextPiece, "←→", "proof", "choose the piece of proof (also p n)", On(&[View::Findings])),
        row(&[key(K::Left), ch('p')], C::PreviousPiece, "", "", "", On(&[View::Findings])),
        row(&[key(K::Right), ch('n')], C::NextQueue, "←→", "queue", "choose the queue (also p n)", On(QUEUED_VIEWS)),
        row(&[key(K::Left), ch('p')], C::PreviousQueue, "", "", "", On(QUEUED_VIEWS)),
        row(&[ch('f')], C::Filter, "f", "which", "all, in flight, failed or incomplete requests", On(&[View::Requests])),
        row(&[ch('/')], C::Prompt, "/", "filter", "show only requests that match a filter; Esc clears it", Always),
        row(&[ch('o')], C::Sort, "o O", "sort", "sort the operations by the next column; O the other way round", On(&[View::Operations])),
        row(&[ch('O')], C::Reverse, "", "", "", On(&[View::Operations])),
        row(&[ch(' ')], C::Pause, "space", "pause", "stand still, or go on; live, the run goes on behind it", Always),
        row(&[ch('s')], C::Step, "s", "step", "one record on", Replay),
        row(&[ch('+'), ch('=')], C::Faster, "+ -", "speed", "faster or slower", Replay),
        row(&[ch('-')], C::Slower, "", "", "", Replay),
        row(&[ch(']')], C::SeekForward, "[ ]", "seek", "a stretch back or ahead", Replay),
        row(&[ch('[')], C::SeekBack, "", "", "", Replay),
        row(&[ch('r')], C::Restart, "r", "restart", "from the beginning", Replay),
        row(&[ch('?'), ch('h'), key(K::F(1))], C::Help, "?", "help", "this help", Always),
        row(&[ch('q'), control('c')], C::Quit, "q", "quit", "quit (also Ctrl-C)", Always),
    ]
};

impl Binding {
    /// Whether the key works on this view and kind of feed.
    pub(super) fn applies(&self, view: View, is_replay: bool) -> bool {
        match self.when {
            When::Always => true,
            When::On(views) => views.contains(&view),
            When::Replay => is_replay,
        }
    }

    /// Whether it works on replayed captures only.
    pub(super) fn is_for_replay(&self) -> bool {
        matches!(self.when, When::Replay)
    }
}

/// What `event` asks for on this view and kind of feed.
pub(super) fn command(event: KeyEvent, view: View, is_replay: bool) -> Option<Command> {
    // Terminals that report releases would do everything twice.
    if event.kind == KeyEventKind::Release {
        return None;
    }
    BINDINGS
        .iter()
        .filter(|binding| binding.applies(view, is_replay))
        .find(|binding| binding.keys.iter().any(|key| key.is(event)))
        .map(|binding| binding.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_stands_for_two_things() {
        for view in View::ALL {
            for (i, binding) in BINDINGS.iter().enumerate() {
                for key in binding.keys {
                    let event = KeyEvent::new(
                        key.code,
                        if key.control {
                            KeyModifiers::CONTROL
                        } else {
                            KeyModifiers::NONE
                        },
                    );
                    let others = BINDINGS.iter().enumerate().filter(|(j, other)| {
                        *j != i
                            && other.applies(view, true)
                            && binding.applies(view, true)
                            && other.keys.iter().any(|other| other.is(event))
                    });
                    assert_eq!(others.count(), 0, "{:?} on {view:?}", key.code);
                }
            }
        }
    }

    #[test]
    fn every_row_is_explained_or_belongs_to_one_that_is() {
        assert!(!BINDINGS[0].label.is_empty());
        for binding in BINDINGS {
            assert_eq!(binding.label.is_empty(), binding.help.is_empty());
            assert!(binding.hint.is_empty() || !binding.label.is_empty());
        }
    }

    #[test]
    fn motions_stay_in_the_list() {
        for motion in [
            Motion::Up,
            Motion::Down,
            Motion::PageUp,
            Motion::PageDown,
            Motion::Home,
            Motion::End,
        ] {
            assert_eq!(motion.apply(0, 0, 10), 0);
            assert!(motion.apply(usize::MAX, 5, 0) < 5);
        }
        assert_eq!(Motion::Down.apply(3, 5, 10), 4);
        assert_eq!(Motion::Down.apply(4, 5, 10), 4);
        assert_eq!(Motion::PageDown.apply(0, 50, 10), 10);
        assert_eq!(Motion::PageUp.apply(25, 50, 10), 15);
    }

    #[test]
    fn shift_does_not_matter_and_control_does() {
        let help = KeyEvent::new(KeyCode::Char('?'), KeyModifiers::SHIFT);
        assert_eq!(command(help, View::Ring, false), Some(Command::Help));
        let quit = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(command(quit, View::Ring, false), Some(Command::Quit));
        let other = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::CONTROL);
        assert_eq!(command(other, View::Ring, false), None);
        let step = KeyEvent::from(KeyCode::Char('s'));
        assert_eq!(command(step, View::Ring, false), None);
        assert_eq!(command(step, View::Ring, true), Some(Command::Step));
    }
}
