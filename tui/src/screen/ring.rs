//! One ring, slot by slot, as the records tell it.

use ratatui::layout::Rect;
use ratatui::text::Line;
use virtscope_analyzer::{
    Drawing, Life, QueueView, RingModel, Slot, SlotState, UsedSlot, format_duration,
};
use virtscope_record::RingIndex;

use super::app::App;
use super::canvas::Canvas;
use super::number::exact;
use super::requests::summary;
use super::ring_grid::{Cell, Grid, Mark};
use super::ring_layout::{ROW_HEIGHT, ROWS_ABOVE, RingLayout};
use super::ring_packed;
use super::theme::Theme;
use super::words::Words;
use crate::fit::{fit, wrap};

/// The states of a slot, with the letter each is drawn as.
pub(super) const STATES: [(SlotState, &str, &str); 6] = [
    (SlotState::Free, "·", "free"),
    (SlotState::Added, "A", "added"),
    (SlotState::Published, "P", "published"),
    (SlotState::Taken, "T", "taken"),
    (SlotState::Returned, "R", "returned"),
    (SlotState::Announced, "C", "called back"),
];

/// Threads that are named of those that waited for room.
const MOST_WAITERS: usize = 2;

fn marks_of_available(ring: &RingModel) -> [Mark; 4] {
    let p = &ring.pointers;
    [
        Mark::driver("a", "avail_idx", p.avail_idx),
        Mark::driver("k", "kicked", p.kicked),
        Mark::device("t", "taken", p.taken),
        Mark::device("e", "avail_event", p.avail_event),
    ]
}

fn marks_of_used(ring: &RingModel) -> [Mark; 3] {
    let p = &ring.pointers;
    [
        Mark::driver("l", "last_used", p.last_used),
        Mark::driver("e", "used_event", p.used_event),
        Mark::device("u", "used_idx", p.used_idx),
    ]
}

/// Draws the ring of the chosen queue.
pub(super) fn draw(canvas: &mut Canvas<'_>, app: &App) {
    let theme = &app.theme;
    let Some(queue) = app.chosen_queue() else {
        canvas.text(1, 0, "No queue has been seen yet.", theme.dim);
        return;
    };
    canvas.line(0, 0, &title(app, queue));
    if let Some(text) = why_not_drawn(queue) {
        for (y, line) in (2..).zip(wrap(&text, usize::from(canvas.width()).saturating_sub(2))) {
            canvas.text(1, y, &line, theme.warn);
        }
        return;
    }
    if queue.ring.drawing == Drawing::Packed {
        ring_packed::draw(canvas, app, queue);
    } else {
        draw_split(canvas, app, queue);
    }
}

/// One sentence for the reader, if there is no ring to draw.
fn why_not_drawn(queue: &QueueView) -> Option<String> {
    match (queue.ring.drawing, &queue.facts) {
        (Drawing::Split | Drawing::Packed, _) => None,
        (Drawing::SizeUnknown, None) => Some(
            "The ring is not drawn: no facts of the queue were seen, so its size is not known."
                .to_owned(),
        ),
        (Drawing::SizeUnknown, Some(facts)) => Some(format!(
            "The ring is not drawn: a size of {} is claimed for it, which no ring has, \
             or more slots are claimed for all queues than are kept.",
            facts.size
        )),
    }
}

fn title(app: &App, queue: &QueueView) -> Line<'static> {
    let theme = &app.theme;
    let p = &queue.ring.pointers;
    let callbacks = match p.callbacks_enabled {
        Some(true) => ("on", theme.good),
        Some(false) => ("off", theme.warn),
        None => ("unknown", theme.dim),
    };
    let queues = &app.snapshot.queues;
    let at = queues.iter().position(|other| other.id == queue.id);
    let place = (queues.len() > 1).then(|| at.map_or(1, |at| at + 1));
    Words::new(theme)
        .text(" ")
        .styled(queue.name.clone(), theme.heading)
        .text("  ")
        .when(place, |words, at| {
            words.dim(format!("{at} of {}  ", queues.len()))
        })
        .item("size", queue.ring.size.to_string())
        .when(p.free, |words, free| words.item("free", free.to_string()))
        .item_styled("callbacks", callbacks.0, callbacks.1)
        .line()
}

fn draw_split(canvas: &mut Canvas<'_>, app: &App, queue: &QueueView) {
    let theme = &app.theme;
    let ring = &queue.ring;
    let available = marks_of_available(ring);
    let used = marks_of_used(ring);
    let plain = |index: RingIndex| index.to_string();
    pointers(canvas, 1, "available", &available, plain);
    pointers(canvas, 2, "used", &used, plain);
    let slot = app.slot.min(usize::from(ring.size).saturating_sub(1));
    let body = Rect::new(0, 0, canvas.width(), canvas.height());
    let grid = Grid {
        layout: RingLayout::of(ring.size, false, body),
        packed: false,
        size: ring.size,
        slot,
    };
    let rows = u16::try_from(grid.layout.visible.min(grid.layout.rows)).unwrap_or(u16::MAX);
    let height = rows.saturating_mul(ROW_HEIGHT);
    let first = ROWS_ABOVE + 1;
    let second = height.saturating_add(first);
    canvas.line(0, 3, &last_kick(theme, ring));
    canvas.line(0, 4, &waits(app, queue));
    canvas.line(0, ROWS_ABOVE, &available_legend(theme));
    grid.draw(&mut canvas.rows(first, height), &available, |slot| {
        available_cell(theme, ring.available.get(slot))
    });
    canvas.line(0, second, &used_legend(theme, &grid));
    grid.draw(&mut canvas.rows(second + 1, height), &used, |slot| {
        used_cell(theme, ring.used.get(slot).copied().flatten())
    });
    let chosen = chosen_slot(app, queue, slot);
    let below = second.saturating_add(1).saturating_add(height);
    let left = canvas.height().saturating_sub(below);
    canvas.rows(below, left).lines(&chosen, 0);
}

/// The marks and their values in a line of their own.
pub(super) fn pointers(
    canvas: &mut Canvas<'_>,
    y: u16,
    label: &str,
    marks: &[Mark],
    value_of: impl Fn(RingIndex) -> String,
) {
    let mut words = Words::labelled(canvas.theme, label);
    for mark in marks {
        let value = mark.index.map_or("–".to_owned(), &value_of);
        words = words
            .styled(mark.letter, mark.style(canvas.theme))
            .text(" ")
            .item(mark.name, value);
    }
    canvas.line(0, y, &words.line());
}

pub(super) fn last_kick(theme: &Theme, ring: &RingModel) -> Line<'static> {
    let words = Words::labelled(theme, "last kick");
    match ring.pointers.last_kick {
        Some((true, reason)) => words.styled("sent", theme.good).text(format!(": {reason}")),
        Some((false, reason)) => words.text(format!("suppressed: {reason}")),
        None => words.dim("no decision seen"),
    }
    .line()
}

/// Who waits and waited for room.
pub(super) fn waits(app: &App, queue: &QueueView) -> Line<'static> {
    let theme = &app.theme;
    let words = Words::labelled(theme, "waits");
    match queue.waits.in_words(MOST_WAITERS, app.snapshot.now) {
        None => words.dim("nobody for room in the ring"),
        Some(text) if queue.waits.waiting > 0 => words.styled(text, theme.warn),
        Some(text) => words.text(text),
    }
    .line()
}

fn available_legend(theme: &Theme) -> Line<'static> {
    let mut words = Words::new(theme)
        .styled(" available ring", theme.heading)
        .text("  ");
    for (state, letter, name) in STATES {
        words = words
            .styled(letter, theme.slot(state))
            .dim(format!(" {name} "));
    }
    words.line()
}

fn used_legend(theme: &Theme, grid: &Grid) -> Line<'static> {
    let hidden = grid.layout.rows.saturating_sub(grid.layout.visible);
    let more = (hidden > 0).then(|| format!("  {hidden} rows more"));
    Words::new(theme)
        .styled(" used ring", theme.heading)
        .text("       ")
        .styled("U", theme.returned)
        .dim(" waits for the driver  ")
        .styled("h", theme.dim)
        .dim(" harvested  · unseen")
        .when(more, |words, more| words.styled(more, theme.strong))
        .line()
}

pub(super) fn letter_of(state: SlotState) -> (&'static str, &'static str) {
    STATES
        .iter()
        .find(|(other, ..)| *other == state)
        .map_or(("?", "unknown"), |(_, letter, name)| (letter, name))
}

fn available_cell(theme: &Theme, slot: Option<&Slot>) -> Cell {
    let state = slot.map(|slot| slot.state).unwrap_or_default();
    Cell {
        letter: letter_of(state).0,
        style: theme.slot(state),
        head: slot
            .filter(|slot| slot.state != SlotState::Free)
            .map(|slot| slot.head),
    }
}

fn used_cell(theme: &Theme, slot: Option<UsedSlot>) -> Cell {
    let (letter, style) = match slot {
        None => ("·", theme.dim),
        Some(slot) if slot.harvested => ("h", theme.dim),
        Some(_) => ("U", theme.returned),
    };
    Cell {
        letter,
        style,
        head: slot.map(|slot| slot.head),
    }
}

/// Four lines about the chosen slot.
fn chosen_slot(app: &App, queue: &QueueView, slot: usize) -> Vec<Line<'static>> {
    let theme = &app.theme;
    let mut lines = Vec::with_capacity(4);
    let label = format!("slot {slot}");
    let words = Words::labelled(theme, &label);
    match queue
        .ring
        .available
        .get(slot)
        .filter(|held| held.index.is_some())
    {
        None => lines.push(words.dim("no buffer was seen here").line()),
        Some(held) => {
            lines.push(about(app, words, held, ("head", "index"), &|index| {
                index.to_string()
            }));
            lines.push(shape(theme, held));
            if let Some(life) = life_of(app, queue, held) {
                lines.push(
                    Words::labelled(theme, "")
                        .styled(fit(&summary(life), 60), theme.strong)
                        .line(),
                );
            }
        }
    }
    let words = Words::labelled(theme, "used");
    lines.push(match queue.ring.used.get(slot).copied().flatten() {
        None => words.dim("no used entry was seen here").line(),
        Some(entry) => words
            .text(if entry.harvested {
                "harvested  "
            } else {
                "waits for the driver  "
            })
            .item("head", entry.head.to_string())
            .item("index", entry.index.to_string())
            .item("written", format!("{} bytes", exact(entry.length.into())))
            .line(),
    });
    lines
}

/// Where the buffer that stands in `held` is on its way. What the layout calls its
/// number and its place comes with it.
pub(super) fn about(
    app: &App,
    words: Words<'_>,
    held: &Slot,
    (number, place): (&str, &str),
    place_of: &dyn Fn(RingIndex) -> String,
) -> Line<'static> {
    let (letter, name) = letter_of(held.state);
    let is_free = held.state == SlotState::Free;
    let age = app.snapshot.now.filter(|_| !is_free);
    let last = if is_free { "last " } else { "" };
    words
        .styled(format!("{letter} {name}"), app.theme.slot(held.state))
        .text("  ")
        .item(&format!("{last}{number}"), held.head.to_string())
        .when(held.index, |words, index| {
            words.item(place, place_of(index))
        })
        .item("token", held.token.to_string())
        .when(age, |words, now| {
            let age = format_duration(now.nanos_since(held.added));
            words.item_styled("age", age, app.theme.strong)
        })
        .line()
}

/// How large it is.
fn shape(theme: &Theme, held: &Slot) -> Line<'static> {
    let (readable, writable) = held.segments;
    let bytes = [held.bytes.0, held.bytes.1].map(|bytes| exact(bytes.into()));
    Words::labelled(theme, "")
        .item(
            "segments",
            format!("{readable} readable + {writable} writable"),
        )
        .item("bytes", format!("{} + {}", bytes[0], bytes[1]))
        .item("descriptors", held.descriptors.to_string())
        .line()
}

/// The request in flight that stands in `held`.
pub(super) fn life_of<'a>(app: &'a App, queue: &QueueView, held: &Slot) -> Option<&'a Life> {
    let mut lives = app.snapshot.in_flight.iter();
    lives
        .find(|life| {
            held.state != SlotState::Free
                && life.queue == queue.id
                && life.head == held.head
                && life.position == held.index
        })
        .map(|life| &**life)
}
