//! How many slots of a ring stand in a row, and how many rows there is room for.

use ratatui::layout::Rect;

/// Rows above the first ring's heading: title, pointers (2), last kick, waits.
pub(super) const ROWS_ABOVE: u16 = 5;
/// Rows of the ring screen that hold no slots: those above, a heading for each ring,
/// the chosen slot (4).
pub(super) const OTHER_ROWS: u16 = ROWS_ABOVE + 2 + 4;
/// Columns left of the slots, for the number of the first.
pub(super) const GUTTER: u16 = 6;
/// Rows that a row of slots takes: itself and the pointers below it.
pub(super) const ROW_HEIGHT: u16 = 2;

/// The grid that a ring is drawn in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RingLayout {
    /// Slots in a row.
    pub(super) columns: usize,
    /// Columns of the terminal that a slot takes.
    pub(super) cell: u16,
    /// Rows of slots in a ring.
    pub(super) rows: usize,
    /// How many of them are visible at once, in each of a split queue's two rings.
    pub(super) visible: usize,
}

impl RingLayout {
    /// For a ring of `size` slots on a body of this size: the roomiest that shows
    /// the whole ring, else the tightest.
    pub(super) fn of(size: u16, packed: bool, body: Rect) -> Self {
        // A packed ring is one, with one heading.
        let room = if packed {
            body.height.saturating_sub(OTHER_ROWS - 1) / ROW_HEIGHT
        } else {
            body.height.saturating_sub(OTHER_ROWS) / 2 / ROW_HEIGHT
        };
        let visible = usize::from(room.max(1));
        let with_cell = |cell: u16| {
            let fitting = (body.width.saturating_sub(GUTTER + 1) / cell).clamp(1, size.max(1));
            // A power of two, so that slot numbers are easy to follow.
            let columns = 1 << fitting.ilog2();
            Self {
                columns,
                cell,
                rows: usize::from(size).div_ceil(columns),
                visible,
            }
        };
        [6, 2]
            .map(with_cell)
            .into_iter()
            .find(|layout| layout.rows <= visible)
            .unwrap_or_else(|| with_cell(1))
    }

    /// The first visible row of slots, if `slot` is to be seen.
    pub(super) fn first_row(&self, slot: usize) -> usize {
        let last = self.rows.saturating_sub(self.visible);
        (slot / self.columns)
            .saturating_sub(self.visible / 2)
            .min(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_ring_is_seen_whole_on_the_usual_terminal() {
        let layout = RingLayout::of(128, false, Rect::new(0, 2, 80, 21));
        assert_eq!((layout.columns, layout.rows, layout.visible), (64, 2, 2));
        let layout = RingLayout::of(128, false, Rect::new(0, 2, 200, 47));
        assert_eq!((layout.columns, layout.cell, layout.rows), (32, 6, 4));
        let layout = RingLayout::of(256, true, Rect::new(0, 2, 80, 21));
        assert_eq!((layout.columns, layout.rows, layout.visible), (64, 4, 5));
        let layout = RingLayout::of(1024, false, Rect::new(0, 2, 200, 47));
        assert_eq!((layout.columns, layout.cell, layout.rows), (128, 1, 8));
    }

    proptest! {
        #[test]
        fn every_slot_can_be_seen(size in 1u16.., packed: bool, width: u16, height: u16, slot: u16) {
            let layout = RingLayout::of(size, packed, Rect::new(0, 0, width, height));
            let slot = usize::from(slot % size);
            let first = layout.first_row(slot);
            let row = slot / layout.columns;
            prop_assert!((first..first + layout.visible).contains(&row));
            prop_assert!(layout.rows * layout.columns >= usize::from(size));
        }
    }
}
