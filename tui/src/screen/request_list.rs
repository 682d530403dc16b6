//! Which requests are listed, and which of them is chosen.

use std::cmp::Reverse;
use std::sync::Arc;

use virtscope_analyzer::{Life, Outcome, Snapshot};

use super::keys::Motion;

/// Which requests are listed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Filter {
    /// Every one.
    #[default]
    All,
    /// Those that have not ended.
    InFlight,
    /// Those that ended in an error, are incomplete, or contradict themselves.
    Trouble,
}

impl Filter {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::InFlight => "in flight",
            Self::Trouble => "in trouble",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::All => Self::InFlight,
            Self::InFlight => Self::Trouble,
            Self::Trouble => Self::All,
        }
    }

    fn keeps(self, life: &Life) -> bool {
        match self {
            Self::All => true,
            Self::InFlight => life.outcome == Outcome::InFlight,
            Self::Trouble => {
                life.error.is_some()
                    || !life.anomalies.is_empty()
                    || matches!(life.outcome, Outcome::Incomplete(_))
            }
        }
    }
}

/// The list of requests: newest first, by their first record.
#[derive(Default)]
pub(super) struct RequestList {
    /// The chosen request; none follows the newest. It is kept, for the snapshot
    /// forgets old ones, and stays listed as long as it is chosen.
    chosen: Option<Arc<Life>>,
    /// How far below the top of the window the chosen one stands: it stays there
    /// while the list moves behind it.
    offset: usize,
    pub(super) filter: Filter,
}

impl RequestList {
    /// The request of `snapshot` that is the same as `life`.
    pub(super) fn find(snapshot: &Snapshot, life: &Life) -> Option<Arc<Life>> {
        let mut lives = snapshot.in_flight.iter().chain(&snapshot.recent);
        lives.find(|other| is_same(other, life)).cloned()
    }

    /// Takes in what became of the chosen request.
    pub(super) fn observe(&mut self, snapshot: &Snapshot) {
        if let Some(chosen) = &mut self.chosen
            && let Some(now) = Self::find(snapshot, chosen)
        {
            *chosen = now;
        }
    }

    /// What is listed, newest first.
    pub(super) fn rows(&self, snapshot: &Snapshot) -> Vec<Arc<Life>> {
        let mut rows: Vec<_> = snapshot
            .in_flight
            .iter()
            .chain(&snapshot.recent)
            .filter(|life| self.filter.keeps(life) || self.is_chosen(life))
            .cloned()
            .collect();
        if let Some(chosen) = &self.chosen
            && !rows.iter().any(|life| is_same(life, chosen))
        {
            rows.push(chosen.clone());
        }
        rows.sort_by_key(|life| Reverse((life.number, life.queue)));
        rows
    }

    /// The place of the chosen request among `rows`.
    pub(super) fn position(&self, rows: &[Arc<Life>]) -> usize {
        rows.iter()
            .position(|life| self.is_chosen(life))
            .unwrap_or(0)
    }

    /// The first of `rows` to show in a window of `height`.
    pub(super) fn first_visible(&self, rows: &[Arc<Life>], height: usize) -> usize {
        let offset = self.offset.min(height.saturating_sub(1));
        let last = rows.len().saturating_sub(height);
        self.position(rows).saturating_sub(offset).min(last)
    }

    /// The chosen request, or the newest.
    pub(super) fn selected(&self, snapshot: &Snapshot) -> Option<Arc<Life>> {
        let rows = self.rows(snapshot);
        rows.get(self.position(&rows)).cloned()
    }

    /// Holds on to `life`.
    pub(super) fn select(&mut self, life: &Arc<Life>) {
        self.chosen = Some(life.clone());
    }

    pub(super) fn next_filter(&mut self) {
        *self = Self {
            filter: self.filter.next(),
            ..Self::default()
        };
    }

    pub(super) fn move_by(&mut self, motion: Motion, snapshot: &Snapshot, page: usize) {
        let rows = self.rows(snapshot);
        let page = page.saturating_sub(HEADINGS);
        let from = self.position(&rows);
        let first = self.first_visible(&rows, page);
        let to = motion.apply(from, rows.len(), page);
        if motion == Motion::Home {
            *self = Self {
                filter: self.filter,
                ..Self::default()
            };
            return;
        }
        self.chosen = rows.get(to).cloned();
        self.offset = to.saturating_sub(first).min(page.saturating_sub(1));
    }

    fn is_chosen(&self, life: &Life) -> bool {
        self.chosen
            .as_ref()
            .is_some_and(|chosen| is_same(chosen, life))
    }
}

/// Rows of the screen that hold no request.
pub(super) const HEADINGS: usize = 2;

fn is_same(a: &Life, b: &Life) -> bool {
    a.number == b.number && a.queue == b.queue
}
