//! What the user has chosen to see, apart from how it is drawn and read in.

use std::sync::Arc;

use crossterm::event::KeyEvent;
use ratatui::layout::Size;
use virtscope_analyzer::{Drawing, Filter, Life, Operation, QueueView, Snapshot};
use virtscope_record::QueueId;

use super::feed::{Control, FeedStatus, Mode};
use super::frame::body_of;
use super::keys::{self, Command, Motion};
use super::operations::Order;
use super::prompt::{Entry, Prompt};
use super::request_list::RequestList;
use super::theme::Theme;
use super::{detail, findings, help, prompt, ring_layout};

/// Which screen is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum View {
    /// The queues.
    Overview,
    /// The requests.
    Requests,
    /// One request.
    Detail,
    /// One ring, slot by slot.
    Ring,
    /// The operations.
    Operations,
    /// What is wrong.
    Findings,
}

impl View {
    /// Those with a number and a tab.
    pub(super) const TABS: [Self; 5] = [
        Self::Overview,
        Self::Requests,
        Self::Ring,
        Self::Operations,
        Self::Findings,
    ];

    /// Every one.
    #[cfg(test)]
    pub(super) const ALL: [Self; 6] = [
        Self::Overview,
        Self::Requests,
        Self::Detail,
        Self::Ring,
        Self::Operations,
        Self::Findings,
    ];

    /// Its place among the tabs.
    pub(super) fn tab(self) -> usize {
        match self {
            Self::Overview => 0,
            Self::Requests | Self::Detail => 1,
            Self::Ring => 2,
            Self::Operations => 3,
            Self::Findings => 4,
        }
    }

    /// What its tab says.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Requests => "Requests",
            Self::Detail => "Request",
            Self::Ring => "Ring",
            Self::Operations => "Operations",
            Self::Findings => "Findings",
        }
    }

    /// The same, where there is little room.
    pub(super) const fn short_name(self) -> &'static str {
        match self {
            Self::Overview => "Over",
            Self::Requests | Self::Detail => "Reqs",
            Self::Ring => "Ring",
            Self::Operations => "Ops",
            Self::Findings => "Find",
        }
    }
}

/// What must be done outside after a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Nothing: the key means nothing here.
    Nothing,
    /// Draw again.
    Redraw,
    /// Ask the feed.
    Control(Control),
    /// Tell the feed which requests are wanted: [`App::filter`].
    Filter,
    /// End.
    Quit,
}

/// The state of the screens.
pub(crate) struct App {
    /// What is shown.
    pub(super) snapshot: Arc<Snapshot>,
    /// Where it comes from.
    pub(super) status: FeedStatus,
    /// The screens of a live feed or a stream stand still.
    pub(super) frozen: bool,
    pub(super) theme: Theme,
    pub(super) view: View,
    /// How far the help is scrolled, if it is shown.
    pub(super) help: Option<usize>,
    pub(super) requests: RequestList,
    /// The request in detail: kept, for the snapshot forgets old ones.
    pub(super) detail: Option<Arc<Life>>,
    pub(super) detail_scroll: usize,
    /// The chosen queue; the first, if there is no such queue.
    pub(super) queue: Option<QueueId>,
    /// How far the queues are scrolled of which nothing is recorded.
    pub(super) found_scroll: usize,
    /// The chosen slot of its ring.
    pub(super) slot: usize,
    pub(super) operation: Option<Operation>,
    /// The filter that was asked for last.
    pub(super) filter: Option<Arc<Filter>>,
    /// The line in which one is typed, if it is.
    pub(super) prompt: Option<Prompt>,
    /// How the operations are sorted.
    pub(super) order: Order,
    /// The chosen finding; the first, if there is no such finding.
    pub(super) finding: Option<findings::Key>,
    /// The chosen piece of its proof.
    piece: usize,
    /// Where the request in detail was opened from.
    detail_from: View,
    size: Size,
}

impl App {
    /// The overview of `snapshot`, on a terminal of `size`.
    pub(crate) fn new(
        snapshot: Arc<Snapshot>,
        status: FeedStatus,
        theme: Theme,
        size: Size,
    ) -> Self {
        Self {
            snapshot,
            status,
            frozen: false,
            theme,
            view: View::Overview,
            help: None,
            requests: RequestList::default(),
            detail: None,
            detail_scroll: 0,
            queue: None,
            found_scroll: 0,
            slot: 0,
            operation: None,
            filter: None,
            prompt: None,
            order: Order::default(),
            finding: None,
            piece: 0,
            detail_from: View::Requests,
            size,
        }
    }

    /// Takes in what the feed has now; whether that changes the screen.
    pub(crate) fn observe(&mut self, snapshot: Arc<Snapshot>, status: FeedStatus) -> bool {
        let mut changed = self.status != status;
        self.status = status;
        if !self.frozen && !Arc::ptr_eq(&self.snapshot, &snapshot) {
            self.snapshot = snapshot;
            self.requests.observe(&self.snapshot);
            self.follow_detail();
            changed = true;
        }
        changed
    }

    /// The terminal has another size.
    pub(crate) fn resize(&mut self, size: Size) {
        self.size = size;
        self.detail_scroll = self.detail_scroll.min(self.detail_scroll_limit());
        self.help = self.help.map(|at| at.min(self.help_scroll_limit()));
    }

    /// Where the body of a screen stands.
    pub(super) fn body(&self) -> ratatui::layout::Rect {
        body_of(self.size)
    }

    /// Whether the feed is a capture that is played.
    pub(super) fn is_replay(&self) -> bool {
        matches!(self.status.mode, Mode::Replay { .. })
    }

    /// Whether the feed has not begun yet.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.status.mode, Mode::Starting(_))
    }

    /// The chosen queue, or the first.
    pub(super) fn chosen_queue(&self) -> Option<&QueueView> {
        self.queue
            .and_then(|id| self.snapshot.queue(id))
            .or(self.snapshot.queues.first())
    }

    /// The chosen operation's row.
    pub(super) fn operation_row(&self) -> usize {
        let rows = self.order.sorted(&self.snapshot.operations);
        rows.iter()
            .position(|row| Some(row.operation) == self.operation)
            .unwrap_or(0)
    }

    /// The chosen finding's row.
    pub(super) fn finding_row(&self) -> usize {
        let rows = findings::rows(&self.snapshot.findings);
        rows.iter()
            .position(|row| Some(row.key()) == self.finding)
            .unwrap_or(0)
    }

    /// The chosen piece of the chosen finding's proof.
    pub(super) fn chosen_piece(&self) -> usize {
        self.piece.min(self.pieces().saturating_sub(1))
    }

    fn pieces(&self) -> usize {
        let rows = findings::rows(&self.snapshot.findings);
        rows.get(self.finding_row())
            .map_or(0, |row| row.evidence().len())
    }

    /// Does what the key asks for.
    pub(crate) fn on_key(&mut self, event: KeyEvent) -> Action {
        if self.prompt.is_some() {
            return self.on_prompt(event);
        }
        let Some(command) = keys::command(event, self.view, self.is_replay()) else {
            return Action::Nothing;
        };
        match command {
            Command::Quit => return Action::Quit,
            Command::Help => self.help = if self.help.is_some() { None } else { Some(0) },
            Command::Back => return self.back(),
            Command::Prompt => {
                let text = self.filter_text().unwrap_or_default();
                self.prompt = Some(Prompt::new(&text));
                self.help = None;
            }
            Command::Pause => return self.pause(),
            Command::Step => return Action::Control(Control::Step),
            Command::Faster => return Action::Control(Control::Faster),
            Command::Slower => return Action::Control(Control::Slower),
            Command::SeekForward => return Action::Control(Control::SeekForward),
            Command::SeekBack => return Action::Control(Control::SeekBack),
            Command::Restart => return Action::Control(Control::Restart),
            Command::Move(motion) if self.help.is_some() => self.move_help(motion),
            Command::Move(motion) => self.move_by(motion),
            Command::Show(view) => self.show(view),
            Command::NextView => self.show_neighbour(1),
            Command::PreviousView => self.show_neighbour(View::TABS.len() - 1),
            Command::Open => self.open(),
            Command::NextPiece => self.choose_piece(1),
            Command::PreviousPiece => self.choose_piece(self.pieces().max(1) - 1),
            Command::NextQueue => self.choose_queue(1),
            Command::PreviousQueue => self.choose_queue(self.snapshot.queues.len().max(1) - 1),
            Command::Filter => self.requests.next_filter(),
            Command::Sort => self.order.next(),
            Command::Reverse => self.order.reverse(),
        }
        Action::Redraw
    }

    fn pause(&mut self) -> Action {
        match self.status.mode {
            Mode::Replay { paused, .. } => Action::Control(Control::Pause(!paused)),
            // There is nothing yet to stand still.
            Mode::Starting(_) => Action::Nothing,
            Mode::Live | Mode::Stream { .. } => {
                self.frozen = !self.frozen;
                Action::Redraw
            }
        }
    }

    fn show(&mut self, view: View) {
        self.help = None;
        self.view = view;
    }

    fn show_neighbour(&mut self, distance: usize) {
        let tab = (self.view.tab() + distance) % View::TABS.len();
        self.show(View::TABS[tab]);
    }

    fn back(&mut self) -> Action {
        if self.help.take().is_some() {
            return Action::Redraw;
        }
        if self.view == View::Detail {
            self.view = self.detail_from;
        } else if self.snapshot.filter.is_some() || self.filter.is_some() {
            self.filter = None;
            return Action::Filter;
        }
        Action::Redraw
    }

    /// The filter that is wanted, to be told to the feed.
    pub(crate) fn filter(&self) -> Option<Arc<Filter>> {
        self.filter.clone()
    }

    /// As it was typed, or as the feed has it from its beginning.
    fn filter_text(&self) -> Option<String> {
        let typed = self.filter.as_ref().map(|filter| filter.text().to_owned());
        typed.or_else(|| {
            self.snapshot
                .filter
                .as_ref()
                .map(|filter| filter.text.clone())
        })
    }

    fn on_prompt(&mut self, event: KeyEvent) -> Action {
        let body = self.body();
        let page = usize::from(body.height.saturating_sub(prompt::HEIGHT - 1));
        let rows = help::fields(&self.theme, usize::from(body.width)).len();
        let Some(prompt) = &mut self.prompt else {
            return Action::Nothing;
        };
        match prompt.on_key(event, page, rows) {
            Entry::Quit => Action::Quit,
            Entry::Nothing => Action::Nothing,
            Entry::Edited => Action::Redraw,
            Entry::Clear => {
                self.prompt = None;
                self.filter = None;
                Action::Filter
            }
            Entry::Apply(text) if text.trim().is_empty() => {
                self.prompt = None;
                self.filter = None;
                Action::Filter
            }
            Entry::Apply(text) => match Filter::compile(&text) {
                Ok(filter) => {
                    self.prompt = None;
                    self.filter = Some(Arc::new(filter));
                    Action::Filter
                }
                Err(error) => {
                    prompt.refuse(error);
                    Action::Redraw
                }
            },
        }
    }

    fn open(&mut self) {
        match self.view {
            View::Overview => self.show(View::Ring),
            View::Requests => {
                if let Some(life) = self.requests.selected(&self.snapshot) {
                    self.requests.select(&life);
                    self.show_detail(life, View::Requests);
                }
            }
            View::Findings => {
                let rows = findings::rows(&self.snapshot.findings);
                let row = rows.get(self.finding_row());
                let piece = row.and_then(|row| row.evidence().get(self.chosen_piece()));
                if let Some(life) = piece.and_then(|piece| piece.life.clone()) {
                    self.show_detail(life, View::Findings);
                }
            }
            View::Detail | View::Ring | View::Operations => {}
        }
    }

    fn show_detail(&mut self, life: Arc<Life>, from: View) {
        self.detail = Some(life);
        self.detail_scroll = 0;
        self.detail_from = from;
        self.show(View::Detail);
        self.follow_detail();
    }

    fn choose_piece(&mut self, distance: usize) {
        self.piece = (self.chosen_piece() + distance) % self.pieces().max(1);
    }

    fn choose_queue(&mut self, distance: usize) {
        let queues = &self.snapshot.queues;
        let Some(chosen) = self.chosen_queue().map(|queue| queue.id) else {
            return;
        };
        let at = queues.iter().position(|queue| queue.id == chosen);
        let next = (at.unwrap_or(0) + distance) % queues.len();
        self.queue = queues.get(next).map(|queue| queue.id);
        self.slot = 0;
    }

    fn move_by(&mut self, motion: Motion) {
        let page = usize::from(self.body().height);
        match self.view {
            View::Overview if self.snapshot.queues.is_empty() => {
                let found = self.status.found.len();
                self.found_scroll = motion.apply(self.found_scroll, found, page);
            }
            View::Overview => {
                let queues = &self.snapshot.queues;
                let chosen = self.chosen_queue().map(|queue| queue.id);
                let at = queues.iter().position(|queue| Some(queue.id) == chosen);
                let to = motion.apply(at.unwrap_or(0), queues.len(), page);
                self.queue = queues.get(to).map(|queue| queue.id);
                self.slot = 0;
            }
            View::Requests => self.requests.move_by(motion, &self.snapshot, page),
            View::Detail => {
                self.detail_scroll =
                    motion.apply(self.detail_scroll, self.detail_scroll_limit() + 1, page);
            }
            View::Ring => {
                let Some(queue) = self.chosen_queue() else {
                    return;
                };
                let size = usize::from(queue.ring.size);
                let row = {
                    let packed = queue.ring.drawing == Drawing::Packed;
                    ring_layout::RingLayout::of(queue.ring.size, packed, self.body()).columns
                };
                self.slot = motion.apply(self.slot, size, row);
            }
            View::Operations => {
                let rows = self.order.sorted(&self.snapshot.operations);
                let to = motion.apply(self.operation_row(), rows.len(), page);
                self.operation = rows.get(to).map(|row| row.operation);
            }
            View::Findings => {
                let rows = findings::rows(&self.snapshot.findings);
                let to = motion.apply(self.finding_row(), rows.len(), page);
                let key = rows.get(to).map(findings::Row::key);
                self.finding = key;
                self.piece = 0;
            }
        }
    }

    fn move_help(&mut self, motion: Motion) {
        let page = usize::from(self.body().height);
        let limit = self.help_scroll_limit();
        self.help = self.help.map(|at| motion.apply(at, limit + 1, page));
    }

    fn help_scroll_limit(&self) -> usize {
        help::height(self, self.body()).saturating_sub(usize::from(self.body().height))
    }

    fn detail_scroll_limit(&self) -> usize {
        let body = self.body();
        self.detail.as_ref().map_or(0, |life| {
            detail::height(life, self, body).saturating_sub(usize::from(body.height))
        })
    }

    /// The request in detail goes on living while it is looked at.
    fn follow_detail(&mut self) {
        let Some(shown) = &self.detail else { return };
        let found = RequestList::find(&self.snapshot, shown);
        if let Some(life) = found {
            self.detail = Some(life);
        }
    }
}
