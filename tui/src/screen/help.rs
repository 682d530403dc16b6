//! The help: keys, letters, colours and phases.

use ratatui::layout::Rect;
use ratatui::text::Line;
use virtscope_analyzer::FIELDS;

use super::app::App;
use super::canvas::Canvas;
use super::keys::BINDINGS;
use super::requests::MARKS;
use super::ring::STATES;
use super::theme::Theme;
use super::waterfall::Part;
use super::words::Words;
use crate::fit::{fit, wrap};

/// From this width on, keys and meanings stand beside each other.
const WIDE: u16 = 120;
/// Columns in front of an explanation.
const LEFT: usize = 14;

/// What stands in the ring.
const IN_THE_RING: [&str; 6] = [
    "no buffer in flight here",
    "added, and no kick decision covers it yet",
    "a kick decision covers it",
    "the device took it",
    "the device put it into the used ring",
    "and a callback announced it",
];

/// The pointers below the slots.
const POINTERS: [(&str, &str); 7] = [
    ("a avail_idx", "one past the last buffer added"),
    ("k kicked", "up to where the last kick decision reached"),
    ("t taken", "one past the last buffer the device took"),
    (
        "e avail_event",
        "the device asks for a kick when this one is added",
    ),
    ("u used_idx", "one past the last buffer the device returned"),
    (
        "l last_used",
        "the next used entry the driver will take back",
    ),
    (
        "e used_event",
        "the driver asks for an interrupt when this one is returned",
    ),
];

/// Draws the help over the body, `scroll` rows down.
pub(super) fn draw(canvas: &mut Canvas<'_>, app: &App, scroll: usize) {
    canvas.clear();
    let (width, height) = (canvas.width(), canvas.height());
    let half = half(width);
    let (keys, meanings) = columns_of(&app.theme, half);
    if width < WIDE {
        let all: Vec<_> = keys.into_iter().chain(meanings).collect();
        canvas.lines_or_more(&all, scroll);
    } else {
        canvas
            .part(Rect::new(0, 0, half, height))
            .lines(&keys, scroll);
        canvas
            .part(Rect::new(half, 0, width - half, height))
            .lines(&meanings, scroll);
    }
}

/// Rows that the whole of it needs.
pub(super) fn height(app: &App, body: Rect) -> usize {
    let (keys, meanings) = columns_of(&app.theme, half(body.width));
    if body.width < WIDE {
        keys.len() + meanings.len()
    } else {
        keys.len().max(meanings.len())
    }
}

const fn half(width: u16) -> u16 {
    if width < WIDE { width } else { width / 2 }
}

fn columns_of(theme: &Theme, width: u16) -> (Vec<Line<'static>>, Vec<Line<'static>>) {
    let width = usize::from(width);
    let mut keys = Page::new(theme, width);
    keys.heading("Keys");
    for binding in BINDINGS.iter().filter(|binding| !binding.label.is_empty()) {
        let only = if binding.is_for_replay() {
            " (captures only)"
        } else {
            ""
        };
        keys.entry(binding.label, theme.key, &format!("{}{only}", binding.help));
    }
    keys.lines.push(Line::default());
    keys.lines.extend(fields(theme, width));
    keys.lines.push(Line::default());
    let mut meanings = Page::new(theme, width);
    meanings.heading("A request's life: queued, device, harvest add up to its latency");
    for part in Part::ALL {
        let label = format!("{} {}", part.symbol(), part.name());
        meanings.entry(&label, part.style(theme), part.explain());
    }
    meanings.heading("Marks behind its latency");
    for (mark, text) in MARKS {
        meanings.entry(mark, theme.warn, text);
    }
    meanings.heading("Slots of the available ring, and the pointers below both rings");
    for ((state, letter, name), text) in STATES.into_iter().zip(IN_THE_RING) {
        meanings.entry(&format!("{letter} {name}"), theme.slot(state), text);
    }
    for (name, text) in POINTERS {
        meanings.entry(name, theme.device, text);
    }
    meanings.entry(
        "*",
        theme.strong,
        "several pointers: their values stand above the ring",
    );
    meanings.heading("Colours");
    meanings.entry(
        "green",
        theme.good,
        "as it should be; the driver takes buffers back",
    );
    meanings.entry(
        "yellow",
        theme.warn,
        "worth a look: nearly full, paused, in flight, still queued",
    );
    meanings.entry("red", theme.bad, "errors, a full ring, incomplete requests");
    meanings.entry(
        "white on red",
        theme.loss,
        "records lost, or operations that no record tells of",
    );
    (keys.lines, meanings.lines)
}

/// What a filter may ask of a request.
pub(super) fn fields(theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let mut page = Page::new(theme, width);
    page.heading("Fields of a filter, like op == \"read\" && latency > duration(\"1ms\")");
    for field in FIELDS {
        let null = if field.is_nullable { "?" } else { "" };
        let text = format!("{}{null}: {}", field.type_name(), field.meaning);
        page.entry(field.name, theme.key, &text);
    }
    page.entry(
        "?",
        theme.warn,
        "null where it is not known, and then nothing but == null is true",
    );
    page.entry(
        "operators",
        theme.key,
        "== != < <= > >= && || ! + - * / % in, and ? :",
    );
    page.entry(
        "strings",
        theme.key,
        "startsWith, endsWith, contains, matches(\"^/(etc|usr)/\"), size",
    );
    page.lines
}

struct Page<'a> {
    theme: &'a Theme,
    width: usize,
    lines: Vec<Line<'static>>,
}

impl<'a> Page<'a> {
    const fn new(theme: &'a Theme, width: usize) -> Self {
        Self {
            theme,
            width,
            lines: Vec::new(),
        }
    }

    fn heading(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.lines.push(Line::default());
        }
        let words = Words::new(self.theme).text(" ");
        self.lines
            .push(words.styled(text, self.theme.heading).line());
    }

    fn entry(&mut self, label: &str, style: ratatui::style::Style, text: &str) {
        let room = self.width.saturating_sub(LEFT + 3);
        for (i, part) in wrap(text, room).into_iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            let words = Words::new(self.theme).text("  ");
            self.lines
                .push(words.styled(fit(label, LEFT), style).text(part).line());
        }
    }
}
