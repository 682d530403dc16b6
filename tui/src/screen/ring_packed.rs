//! A packed ring: one ring of descriptors, which both sides write.

use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use virtscope_analyzer::{Life, QueueView, RingModel, Slot, SlotState, UsedSlot};
use virtscope_record::{FeatureBits, RingIndex};

use super::app::App;
use super::canvas::Canvas;
use super::number::exact;
use super::requests::summary;
use super::ring::{STATES, about, last_kick, letter_of, life_of, pointers, waits};
use super::ring_grid::{Cell, Grid, Mark};
use super::ring_layout::{ROW_HEIGHT, ROWS_ABOVE, RingLayout};
use super::theme::Theme;
use super::words::Words;
use crate::fit::fit;

/// Offset and wrap counter (virtio 1.4 §2.8.1), like `5w1`.
fn place_of(index: RingIndex) -> String {
    format!("{}w{}", index.0 & 0x7fff, index.0 >> 15)
}

fn marks_of_driver(ring: &RingModel) -> [Mark; 4] {
    let p = &ring.pointers;
    [
        Mark::driver("a", "next avail", p.avail_idx),
        Mark::driver("k", "kicked", p.kicked),
        Mark::driver("l", "last_used", p.last_used),
        Mark::driver("e", "event", p.used_event),
    ]
}

fn marks_of_device(ring: &RingModel) -> [Mark; 3] {
    let p = &ring.pointers;
    [
        Mark::device("t", "taken", p.taken),
        Mark::device("u", "next used", p.used_idx),
        Mark::device("e", "event", p.avail_event),
    ]
}

/// Draws the ring of `queue`, below its title.
pub(super) fn draw(canvas: &mut Canvas<'_>, app: &App, queue: &QueueView) {
    let theme = &app.theme;
    let ring = &queue.ring;
    let (of_driver, of_device) = (marks_of_driver(ring), marks_of_device(ring));
    pointers(canvas, 1, "driver", &of_driver, place_of);
    pointers(canvas, 2, "device", &of_device, place_of);
    let slot = app.slot.min(usize::from(ring.size).saturating_sub(1));
    let body = Rect::new(0, 0, canvas.width(), canvas.height());
    let grid = Grid {
        layout: RingLayout::of(ring.size, true, body),
        packed: true,
        size: ring.size,
        slot,
    };
    let mut kick = last_kick(theme, ring);
    let hidden = grid.layout.rows.saturating_sub(grid.layout.visible);
    if hidden > 0 {
        kick.push_span(Span::styled(format!("  {hidden} rows more"), theme.strong));
    }
    canvas.line(0, 3, &kick);
    canvas.line(0, 4, &waits(app, queue));
    canvas.line(0, ROWS_ABOVE, &legend(theme));
    let rows = u16::try_from(grid.layout.visible.min(grid.layout.rows)).unwrap_or(u16::MAX);
    let height = rows.saturating_mul(ROW_HEIGHT);
    let marks: Vec<_> = of_driver.into_iter().chain(of_device).collect();
    grid.draw(&mut canvas.rows(ROWS_ABOVE + 1, height), &marks, |slot| {
        cell(theme, ring.available.get(slot), used_at(ring, slot))
    });
    let below = height.saturating_add(ROWS_ABOVE + 1);
    let left = canvas.height().saturating_sub(below);
    canvas.rows(below, left).lines(&chosen(app, queue, slot), 0);
}

fn legend(theme: &Theme) -> Line<'static> {
    let mut words = Words::new(theme).styled(" ring", theme.heading).text("  ");
    for (state, letter, name) in STATES {
        if state != SlotState::Free {
            words = words
                .styled(letter, theme.slot(state))
                .dim(format!(" {name} "));
        }
    }
    words
        .styled("U", theme.returned)
        .dim(" used ")
        .styled("h", theme.dim)
        .dim(" harvested")
        .line()
}

fn used_at(ring: &RingModel, slot: usize) -> Option<UsedSlot> {
    ring.used.get(slot).copied().flatten()
}

/// What a descriptor holds is what was written into it last: by the driver an
/// available one, by the device a used one. The buffer's id stands at the first of
/// a list.
fn cell(theme: &Theme, slot: Option<&Slot>, used: Option<UsedSlot>) -> Cell {
    match used.filter(|used| !used.overwritten) {
        Some(used) if used.harvested => Cell {
            letter: "h",
            style: theme.dim,
            head: Some(used.head),
        },
        Some(used) => Cell {
            letter: "U",
            style: theme.returned,
            head: Some(used.head),
        },
        None => {
            let state = slot.map(|slot| slot.state).unwrap_or_default();
            let first = slot.filter(|slot| slot.state != SlotState::Free && slot.place == 0);
            Cell {
                letter: letter_of(state).0,
                style: theme.slot(state),
                head: first.map(|slot| slot.head),
            }
        }
    }
}

/// Four lines about the chosen descriptor.
fn chosen(app: &App, queue: &QueueView, slot: usize) -> Vec<Line<'static>> {
    let theme = &app.theme;
    let mut lines = Vec::with_capacity(4);
    let words = Words::labelled(theme, &format!("slot {slot}"));
    let held = queue.ring.available.get(slot);
    match held.filter(|held| held.index.is_some()) {
        None => lines.push(words.dim("no available descriptor was seen here").line()),
        Some(held) => {
            lines.push(about(app, words, held, ("id", "at"), &place_of));
            let [readable, writable] =
                [held.bytes.0, held.bytes.1].map(|bytes| exact(bytes.into()));
            let (place, many) = (u32::from(held.place) + 1, held.descriptors);
            lines.push(
                Words::labelled(theme, "")
                    .item("descriptor", format!("{place} of {many}"))
                    .item(
                        "readable",
                        format!("{readable} bytes in {}", held.segments.0),
                    )
                    .item(
                        "writable",
                        format!("{writable} bytes in {}", held.segments.1),
                    )
                    .line(),
            );
            if let Some(life) = life_of_list(app, queue, held) {
                lines.push(
                    Words::labelled(theme, "")
                        .styled(fit(&summary(life), 60), theme.strong)
                        .line(),
                );
            }
        }
    }
    lines.push(used_line(theme, queue, used_at(&queue.ring, slot)));
    lines
}

/// The request in flight whose list `held` is of.
fn life_of_list<'a>(app: &'a App, queue: &QueueView, held: &Slot) -> Option<&'a Life> {
    let first = queue
        .ring
        .available
        .iter()
        .find(|slot| slot.head == held.head && slot.place == 0 && slot.added == held.added)?;
    life_of(app, queue, first)
}

fn used_line(theme: &Theme, queue: &QueueView, used: Option<UsedSlot>) -> Line<'static> {
    let words = Words::labelled(theme, "used");
    let Some(used) = used else {
        return words.dim("no used descriptor was seen here").line();
    };
    let in_order = queue
        .facts
        .as_ref()
        .is_some_and(|facts| facts.features.contains(FeatureBits::IN_ORDER));
    words
        .text(match (used.overwritten, used.harvested) {
            (true, _) => "written over since  ",
            (false, true) => "harvested  ",
            (false, false) => "waits for the driver  ",
        })
        .item("id", used.head.to_string())
        .item("at", place_of(used.index))
        .item("written", format!("{} bytes", exact(used.length.into())))
        .when(in_order.then_some(()), |words, ()| {
            words.dim("maybe skipped: in order")
        })
        .line()
}
