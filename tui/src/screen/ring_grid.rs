//! A ring as rows of slots, with the pointers marked below them.

use ratatui::layout::Rect;
use ratatui::style::Style;
use virtscope_record::RingIndex;

use super::canvas::Canvas;
use super::ring_layout::{GUTTER, ROW_HEIGHT, RingLayout};
use super::theme::Theme;

/// An index that is marked below its slot.
pub(super) struct Mark {
    pub(super) letter: &'static str,
    pub(super) name: &'static str,
    pub(super) index: Option<RingIndex>,
    is_driver: bool,
}

impl Mark {
    pub(super) const fn driver(
        letter: &'static str,
        name: &'static str,
        index: Option<RingIndex>,
    ) -> Self {
        Self {
            letter,
            name,
            index,
            is_driver: true,
        }
    }

    pub(super) const fn device(
        letter: &'static str,
        name: &'static str,
        index: Option<RingIndex>,
    ) -> Self {
        Self {
            letter,
            name,
            index,
            is_driver: false,
        }
    }

    pub(super) const fn style(&self, theme: &Theme) -> Style {
        if self.is_driver {
            theme.driver
        } else {
            theme.device
        }
    }
}

/// One slot as drawn: a letter, its style, and the head it holds.
pub(super) struct Cell {
    pub(super) letter: &'static str,
    pub(super) style: Style,
    pub(super) head: Option<u16>,
}

/// Where slots and marks go.
pub(super) struct Grid {
    pub(super) layout: RingLayout,
    /// Whether positions are offsets with a wrap counter on top, and no free-running
    /// indices.
    pub(super) packed: bool,
    pub(super) size: u16,
    pub(super) slot: usize,
}

impl Grid {
    pub(super) fn draw(
        &self,
        canvas: &mut Canvas<'_>,
        marks: &[Mark],
        cell_of: impl Fn(usize) -> Cell,
    ) {
        let layout = &self.layout;
        let first = layout.first_row(self.slot);
        for row in 0..layout.visible.min(layout.rows.saturating_sub(first)) {
            let y = u16::try_from(row)
                .unwrap_or(u16::MAX)
                .saturating_mul(ROW_HEIGHT);
            let start = (first + row) * layout.columns;
            let end = (start + layout.columns).min(self.size.into());
            let mut line = canvas.rows(y, ROW_HEIGHT);
            let theme = line.theme;
            line.text_before(GUTTER - 1, 0, &start.to_string(), theme.dim);
            for (place, slot) in (start..end).enumerate() {
                let x = GUTTER
                    + u16::try_from(place)
                        .unwrap_or(u16::MAX)
                        .saturating_mul(layout.cell);
                let mut area = line.part(Rect::new(x, 0, layout.cell, ROW_HEIGHT));
                self.draw_cell(&mut area, &cell_of(slot), slot == self.slot);
                self.draw_marks(&mut area, marks, slot);
            }
        }
    }

    fn draw_cell(&self, area: &mut Canvas<'_>, cell: &Cell, is_chosen: bool) {
        let chosen = area.theme.selected;
        let style = if is_chosen {
            cell.style.patch(chosen)
        } else {
            cell.style
        };
        let x = area.text(0, 0, cell.letter, style);
        if self.layout.cell > 2
            && let Some(head) = cell.head
        {
            let dim = area.theme.dim;
            area.text(x, 0, &head.to_string(), dim);
        }
    }

    /// The pointers to this slot, below it; a star if there is no room for all.
    fn draw_marks(&self, area: &mut Canvas<'_>, marks: &[Mark], slot: usize) {
        let slot_of = |index: RingIndex| match (self.packed, self.size) {
            (true, _) => index.0 & 0x7fff,
            (false, size) => index.slot(size.max(1)),
        };
        let here = |mark: &&Mark| {
            mark.index
                .is_some_and(|index| usize::from(slot_of(index)) == slot)
        };
        let room = usize::from(self.layout.cell.saturating_sub(1).max(1));
        if marks.iter().filter(here).count() > room {
            let style = area.theme.strong;
            area.text(0, 1, "*", style);
            return;
        }
        let mut x = 0;
        for mark in marks.iter().filter(here) {
            let style = mark.style(area.theme);
            x = area.text(x, 1, mark.letter, style);
        }
    }
}
