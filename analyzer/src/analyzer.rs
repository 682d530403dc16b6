//! The analyzer: records in, lives, snapshots and a report out.

use std::collections::HashMap;
use std::sync::Arc;

use virtscope_captures::Selection;
use virtscope_record::{Flags, QueueId, Record, Timestamp};

use crate::budget::Budget;
use crate::filter::{Filter, Verdict};
use crate::findings::{Findings, Still, Suspect};
use crate::kept::Kept;
use crate::life::{Incomplete, Life};
use crate::losses::Losses;
use crate::notes;
use crate::p9;
use crate::queue::Queue;
use crate::report::{CaptureEnd, Report};
use crate::snapshot::{FilterView, OperationView, RecordTotals, RequestTotals, Snapshot};
use crate::stats::{self, RequestStats};

/// Queues that are followed. A real guest has some hundreds at most; a forged
/// capture shall not fill the memory.
const QUEUE_LIMIT: usize = 1024;

/// Ring slots that a snapshot draws, of all queues together.
const SLOT_LIMIT: usize = 1 << 20;

/// A recorder writes statistics every second. Where so much time passes without any
/// record, it stood still or the clock was set forward.
const STILL_NS: u64 = 10_000_000_000;

/// One in so many records of a queue may stand behind later ones. Interrupts that nest, and
/// processors that submit beside each other, stay far below.
const DISORDERED_PART: u64 = 8;

/// Queues whose place is remembered.
const RECENT_QUEUES: usize = 64;

/// How much an analyzer keeps.
#[derive(Clone, Debug)]
pub struct Options {
    /// Lives that ended, kept for [`Snapshot::recent`].
    pub recent_lives: usize,
    /// Lives in flight shown in [`Snapshot::in_flight`].
    pub in_flight_lives: usize,
    /// Bytes of each message kept with its life. What a message says is read from
    /// its record, so with 0 nothing is lost but [`Life::request`] and
    /// [`Life::reply`] themselves.
    pub keep_bytes: usize,
    /// Whether lives that end are kept for [`Analyzer::take_ended`]. Then they
    /// must be taken, or they pile up.
    pub collect_ended: bool,
    /// Whether rings are followed slot by slot, for [`QueueView::ring`]. Who shows
    /// no screen does without.
    ///
    /// [`QueueView::ring`]: crate::QueueView::ring
    pub draw_rings: bool,
    /// Whether what is wrong is looked for. Who wants lives alone does without;
    /// [`Analyzer::findings`] then says of each that it is not known.
    pub look_for_findings: bool,
    /// What was left out of the stream on purpose.
    pub selection: Selection,
    /// Which requests are wanted: latencies, operations, errors and lists of requests
    /// are of these alone. Records, notifications, occupancy and findings are of all.
    pub filter: Option<Arc<Filter>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            recent_lives: 2000,
            in_flight_lives: 256,
            keep_bytes: 4096,
            collect_ended: false,
            draw_rings: true,
            look_for_findings: true,
            selection: Selection::WHOLE,
            filter: None,
        }
    }
}

/// Memory that all queues share, by what for.
#[derive(Debug)]
pub(crate) struct Budgets {
    /// For 9P conversations.
    pub(crate) p9: Budget,
    /// For histograms of latencies.
    pub(crate) latencies: Budget,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            p9: Budget::of(p9::BYTES),
            latencies: Budget::of(stats::BYTES),
        }
    }
}

/// Rebuilds what happened from a stream of records, one at a time.
///
/// The stream should come in the order of time; a little disorder between
/// producers does no harm. Memory is bounded by what is in flight and by
/// [`Options`], not by the length of the stream.
///
/// ```
/// use virtscope_analyzer::{Analyzer, CaptureEnd, Options};
/// use virtscope_record::{Add, Body, Common, Record};
///
/// let mut analyzer = Analyzer::new(Options::default());
/// analyzer.push(&Record::new(Common::default(), Body::Add(Add::default())), b"");
/// analyzer.finish();
/// let report = analyzer.report(&CaptureEnd::default());
/// assert_eq!(report.requests.in_flight, 1);
/// ```
#[derive(Debug)]
pub struct Analyzer {
    options: Options,
    losses: Losses,
    queues: Vec<Queue>,
    budgets: Budgets,
    queue_numbers: HashMap<QueueId, usize>,
    /// The places of queues that were looked up last, by the low bits of their ids.
    recent_queues: [usize; RECENT_QUEUES],
    /// Requests that are shown.
    shown: Kept,
    /// All requests, where a filter shows some and may be taken away again.
    all: Option<Box<Kept>>,
    /// What the filter said of requests that ended.
    filtered: Filtered,
    /// From when on the filter was asked, if not from the beginning.
    filtered_since: Option<Timestamp>,
    ended: Vec<Arc<Life>>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    /// The latest [`tick`](Self::tick).
    now: Option<Timestamp>,
    /// The time of the latest record since the clock was set back last.
    present: Timestamp,
    /// Stretches of time of which no record tells, not even statistics.
    pub(crate) still: StillTimes,
    next_number: u64,
    /// Records of a kind or layout that this version does not know.
    unknown_records: u64,
    /// Records of queues beyond those that are followed.
    unfollowed_records: u64,
    /// Records that came before their queue's facts.
    without_facts: u64,
}

impl Analyzer {
    /// An analyzer that has seen nothing.
    pub fn new(options: Options) -> Self {
        let all = options.filter.is_some() && options.recent_lives > 0;
        let budgets = Budgets::default();
        let kept = || Kept::new(&budgets.latencies);
        let all = all.then(|| Box::new(kept()));
        Self {
            losses: Losses::new(options.selection),
            options,
            queues: Vec::new(),
            queue_numbers: HashMap::new(),
            recent_queues: [0; RECENT_QUEUES],
            shown: kept(),
            all,
            budgets,
            filtered: Filtered::default(),
            filtered_since: None,
            ended: Vec::new(),
            first: None,
            last: None,
            now: None,
            present: Timestamp::default(),
            still: StillTimes::default(),
            next_number: 0,
            unknown_records: 0,
            unfollowed_records: 0,
            without_facts: 0,
        }
    }

    /// Takes in one record and the payload that stands behind it. No input is an
    /// error: what cannot be understood is counted and noted.
    pub fn push(&mut self, record: &Record, payload: &[u8]) {
        let is_new = self.losses.observe(record);
        let time = record.time();
        // One that is there twice says nothing new. Where numbers begin again later, as in
        // captures that were written one behind the other, it is another record.
        if !is_new && self.last >= Some(time) && !record.flags().contains(Flags::REPEATED) {
            return;
        }
        let passed = time.nanos_since(self.present);
        if passed >= STILL_NS {
            self.stood_still(time);
        }
        self.present = self.present.max(time);
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = self.last.max(Some(time));
        let Some(at) = self.queue_at(record.queue()) else {
            self.unfollowed_records += 1;
            return;
        };
        let Some(queue) = self.queues.get_mut(at) else {
            return;
        };
        // Lent, not moved: it was written field by field, and to copy it whole right after
        // takes longer than to make it.
        match &record.body() {
            Ok(body) => {
                queue.push(record, body, payload, &mut self.next_number);
                if queue.continuity.set_back {
                    self.present = time;
                    self.now = None;
                }
            }
            Err(_) => {
                // It still has its place in the sequence.
                self.unknown_records += 1;
                queue.skip(record);
            }
        }
        self.without_facts += u64::from(queue.facts.is_none());
        self.collect(at);
    }

    #[cold]
    fn stood_still(&mut self, until: Timestamp) {
        // What was left out on purpose leaves such stretches too.
        if self.first.is_none() || !self.options.selection.is_whole() {
            return;
        }
        let still = Still {
            from: self.present,
            to: until,
        };
        self.still.times += 1;
        self.still.longest_ns = self.still.longest_ns.max(still.ns());
        for queue in &mut self.queues {
            queue.detectors.stood_still(still);
        }
    }

    /// So many records of `queue` were lost up to here, by the word of the capture
    /// (`epb_dropcount`, or the statistics at its end). A stream from which
    /// something was left out on purpose cannot tell by its holes; what is in
    /// flight may be touched. A whole stream does not need this, and it does
    /// nothing.
    pub fn tell_lost(&mut self, queue: QueueId, lost: u64) {
        let before = self.losses.settled(queue);
        self.losses.tell_lost(queue, lost);
        if self.losses.settled(queue) > before
            && let Some(at) = self.queue_numbers.get(&queue)
            && let Some(queue) = self.queues.get_mut(*at)
        {
            queue.lost();
        }
    }

    /// What the stream was made of had no known end.
    pub fn tell_tail_unknown(&mut self) {
        self.losses.tell_tail_unknown();
    }

    /// Time passes though no record comes. `now` is on the stream's clock, and every
    /// record of an earlier time must have been pushed before: whoever holds records
    /// back to put them in order says the time up to which that is done.
    ///
    /// What is wrong with requests shows while it is: how long the oldest has been
    /// in flight, and whatever else is judged by the time that goes by. Lives are
    /// not touched: what became of a request depends on records alone, so that a
    /// live run and its capture have the same report.
    pub fn tick(&mut self, now: Timestamp) {
        self.now = self.now.max(Some(now));
    }

    /// The stream has ended: what still waits for a late piece is settled. Call it
    /// once, before [`report`](Self::report).
    pub fn finish(&mut self) {
        for at in 0..self.queues.len() {
            if let Some(queue) = self.queues.get_mut(at) {
                queue.finish();
            }
            self.collect(at);
        }
    }

    /// The lives that ended since this was asked last, in the order they ended;
    /// empty unless [`Options::collect_ended`] is set.
    pub fn take_ended(&mut self) -> std::vec::Drain<'_, Arc<Life>> {
        self.ended.drain(..)
    }

    /// The lives still in flight, oldest first.
    pub fn in_flight(&self) -> Vec<Arc<Life>> {
        self.oldest_in_flight(usize::MAX)
    }

    /// How things stand. `now` is the present on the stream's clock, where there is
    /// one (a live view); without it, the latest [`tick`](Self::tick) or record.
    pub fn snapshot(&self, now: Option<Timestamp>) -> Snapshot {
        let now = self.at(now);
        let mut slots = SLOT_LIMIT;
        let queues = self
            .queues()
            .into_iter()
            .map(|queue| queue.view(now, self.queue_records(queue), &mut slots))
            .collect();
        Snapshot {
            first: self.first,
            last: self.last,
            now,
            records: self.record_totals(),
            requests: self.request_totals(),
            queues,
            operations: self.operation_views(),
            recent: self.shown.recent().rev().cloned().collect(),
            filter: self.filter_view(),
            in_flight: self.oldest_in_flight(self.options.in_flight_lives),
            notes: notes::of(self, None),
            findings: self.findings_at(now, false),
        }
    }

    /// The moment of a snapshot at `now`; none if there was no record.
    fn at(&self, now: Option<Timestamp>) -> Option<Timestamp> {
        let present = self.last.map(|_| self.present);
        now.max(self.now).max(present)
    }

    /// What is wrong by `now`, which is as for [`snapshot`](Self::snapshot).
    pub fn findings(&self, now: Option<Timestamp>) -> Findings {
        self.findings_at(self.at(now), false)
    }

    /// `over`: the stream has ended, and it should be known what was lost at its end.
    pub(crate) fn findings_at(&self, now: Option<Timestamp>, over: bool) -> Findings {
        if !self.options.look_for_findings {
            return Findings::not_looked_for();
        }
        let queues = self.queues().into_iter();
        Findings::of(
            queues.map(|queue| Suspect {
                queue,
                doubt: self.doubt(queue, over),
                is_disordered: self.is_disordered(queue),
            }),
            now.or(self.at(None)).unwrap_or_default(),
        )
    }

    /// Whether so many of the queue's records stand behind later ones that what they tell
    /// together is no story.
    fn is_disordered(&self, queue: &Queue) -> bool {
        let late = queue.continuity.late;
        late > 0 && late.saturating_mul(DISORDERED_PART) > self.queue_records(queue).stored
    }

    /// Why on this queue the absence of a record proves nothing, if so.
    fn doubt(&self, queue: &Queue, over: bool) -> Option<String> {
        let records = self.queue_records(queue);
        let gone = |many: u64, what: &str| match many {
            1 => format!("1 record of this queue was {what}"),
            _ => format!("{many} records of this queue were {what}"),
        };
        if self.options.selection != Selection::WHOLE {
            Some("the capture holds only a selection of all records".to_owned())
        } else if records.filtered > 0 {
            Some(gone(records.filtered, "left out on purpose"))
        } else if records.lost > 0 {
            Some(gone(records.lost, "lost"))
        } else if records.missed > 0 {
            Some("operations of this queue left no record".to_owned())
        } else if over && !self.losses.tail_known() {
            Some("what was lost at the end of the capture is not known".to_owned())
        } else {
            None
        }
    }

    /// The filter that says which requests are wanted, if there is one.
    pub fn filter(&self) -> Option<&Arc<Filter>> {
        self.options.filter.as_ref()
    }

    /// From now on only requests that match `filter` are shown: latencies, operations,
    /// errors and lists are of these, and of those of the latest requests
    /// ([`Options::recent_lives`]) that match. Without a filter all are shown again,
    /// those that ended meanwhile included.
    ///
    /// For screens: it needs the latest requests, so with `recent_lives` 0 what ended
    /// before is forgotten. A [`report`](Self::report) should be of what the stream is,
    /// not of what somebody looked at: take the filter away before.
    pub fn show_only(&mut self, filter: Option<Arc<Filter>>) {
        let all = match self.all.take() {
            Some(all) => *all,
            None => std::mem::replace(&mut self.shown, Kept::new(&self.budgets.latencies)),
        };
        self.filtered = Filtered::default();
        self.filtered_since = None;
        self.options.filter = filter;
        for queue in &mut self.queues {
            queue.matching = self
                .options
                .filter
                .as_ref()
                .map(|_| RequestStats::new(&self.budgets.latencies));
        }
        let Some(filter) = self.options.filter.clone() else {
            self.shown = all;
            return;
        };
        let first = self.first.unwrap_or_default();
        self.filtered_since = self.at(None);
        self.shown = Kept::new(&self.budgets.latencies);
        for life in all.recent() {
            let ended = life.moments.used.or(life.began());
            self.filtered_since = ended.min(self.filtered_since).or(self.filtered_since);
            let verdict = filter.judge(life, first);
            self.filtered.count(verdict);
            if verdict != Verdict::Matches {
                continue;
            }
            self.shown.count(life);
            self.shown.keep(Arc::clone(life), self.options.recent_lives);
            if let Some(queue) = self.queues.iter_mut().find(|queue| queue.id == life.queue)
                && let Some(matching) = &mut queue.matching
            {
                matching.record(life);
            }
        }
        self.all = Some(Box::new(all));
    }

    fn filter_view(&self) -> Option<FilterView> {
        let filter = self.options.filter.as_ref()?;
        Some(FilterView {
            text: filter.text().to_owned(),
            since: self.filtered_since,
            matching: self.filtered.matching,
            others: self.filtered.others,
            unknown: self.filtered.unknown,
            failed: self.filtered.failed,
        })
    }

    pub(crate) fn filtered(&self) -> Filtered {
        self.filtered
    }

    /// The report. It depends on the records and on `end` alone, so a live run and
    /// the capture of it have the same one.
    pub fn report(&self, end: &CaptureEnd) -> Report {
        Report::new(self, end)
    }

    /// Records, lost ones included.
    pub fn record_totals(&self) -> RecordTotals {
        let mut totals = self.losses.totals();
        let missed: u64 = self
            .queues
            .iter()
            .map(|queue| self.queue_records(queue).missed)
            .sum();
        totals.missed = missed;
        totals
    }

    /// Requests, all queues together.
    pub fn request_totals(&self) -> RequestTotals {
        self.queues.iter().map(Queue::request_totals).fold(
            RequestTotals::default(),
            |sum, queue| RequestTotals {
                completed: sum.completed + queue.completed,
                incomplete: sum.incomplete + queue.incomplete,
                in_flight: sum.in_flight + queue.in_flight,
            },
        )
    }

    /// Requests that are shown, all queues together.
    pub(crate) fn shown_totals(&self) -> RequestTotals {
        let queues = self.queues.iter().map(|queue| self.shown_totals_of(queue));
        queues.fold(RequestTotals::default(), |sum, queue| RequestTotals {
            completed: sum.completed + queue.completed,
            incomplete: sum.incomplete + queue.incomplete,
            in_flight: sum.in_flight + queue.in_flight,
        })
    }

    /// One queue's requests that are shown.
    pub(crate) fn shown_totals_of(&self, queue: &Queue) -> RequestTotals {
        let Some(filter) = &self.options.filter else {
            return queue.request_totals();
        };
        let first = self.first.unwrap_or_default();
        let open = queue.open_lives(usize::MAX);
        let in_flight = open.iter().filter(|life| filter.matches(life, first));
        RequestTotals {
            completed: queue.shown().completed,
            incomplete: queue.shown().incomplete,
            in_flight: in_flight.count() as u64,
        }
    }

    /// One queue's records. Missed is what the kernel counted or what the ring's
    /// positions tell, whichever is more: both see only a part.
    pub(crate) fn queue_records(&self, queue: &Queue) -> RecordTotals {
        let mut totals = self.losses.queue_totals(queue.id);
        totals.missed = totals.missed.max(queue.missed());
        totals
    }

    pub(crate) fn queues(&self) -> Vec<&Queue> {
        let mut queues: Vec<_> = self.queues.iter().collect();
        queues.sort_by_key(|queue| queue.id);
        queues
    }

    pub(crate) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.first?, self.last?))
    }

    pub(crate) fn losses(&self) -> &Losses {
        &self.losses
    }

    pub(crate) fn incomplete_reasons(&self) -> impl Iterator<Item = (Incomplete, u64)> {
        self.shown.incomplete()
    }

    /// Where there was no room for three digits of all latencies: the bits that some
    /// percentiles have behind their first.
    pub(crate) fn coarse_precision(&self) -> Option<u32> {
        let operations = self.shown.operations().map(|(_, stats)| stats);
        let all = self.queues.iter().map(Queue::shown).chain(operations);
        all.filter_map(|stats| stats.latencies.coarse_precision())
            .min()
    }

    pub(crate) fn unknown_records(&self) -> u64 {
        self.unknown_records
    }

    pub(crate) fn unfollowed_records(&self) -> u64 {
        self.unfollowed_records
    }

    pub(crate) fn without_facts(&self) -> u64 {
        self.without_facts
    }

    pub(crate) fn operation_views(&self) -> Vec<OperationView> {
        let mut views: Vec<_> = self
            .shown
            .operations()
            .map(|(operation, stats)| OperationView {
                operation: *operation,
                completed: stats.completed,
                incomplete: stats.incomplete,
                errors: stats.error_count(),
                errors_by_errno: stats.errors.iter().map(|(e, n)| (*e, *n)).collect(),
                data_bytes: stats.data_bytes,
                latency: stats.latencies.view(),
                histogram: stats.latencies.buckets(),
            })
            .collect();
        views.sort_by_key(|view| (view.operation.name(), view.operation));
        views
    }

    #[inline]
    fn queue_at(&mut self, id: QueueId) -> Option<usize> {
        let recent = usize::from(id.index ^ (id.device << 2)) % RECENT_QUEUES;
        let at = self.recent_queues[recent];
        if self.queues.get(at).is_some_and(|queue| queue.id == id) {
            return Some(at);
        }
        let at = match self.queue_numbers.get(&id) {
            Some(at) => *at,
            None if self.queues.len() == QUEUE_LIMIT => return None,
            None => {
                let at = self.queues.len();
                self.queues
                    .push(Queue::new(id, &self.options, &self.budgets));
                self.queue_numbers.insert(id, at);
                at
            }
        };
        self.recent_queues[recent] = at;
        Some(at)
    }

    /// Counts and keeps the lives that ended on one queue.
    #[inline]
    fn collect(&mut self, at: usize) {
        let Self {
            options,
            queues,
            shown,
            all,
            filtered,
            ended,
            first,
            ..
        } = self;
        let Some(queue) = queues.get_mut(at) else {
            return;
        };
        queue.drain_ended(|life| {
            let mut copy = None;
            if let Some(all) = all {
                all.count(life);
                let life = copy.insert(Arc::new(life.clone()));
                all.keep(Arc::clone(life), options.recent_lives);
            }
            if let Some(filter) = &options.filter {
                let verdict = filter.judge(life, first.unwrap_or_default());
                filtered.count(verdict);
                if verdict != Verdict::Matches {
                    return false;
                }
            }
            shown.count(life);
            // A copy is made only of what somebody keeps.
            if !options.collect_ended && options.recent_lives == 0 {
                return true;
            }
            let life = copy.unwrap_or_else(|| Arc::new(life.clone()));
            if options.collect_ended {
                ended.push(Arc::clone(&life));
            }
            if options.recent_lives > 0 {
                shown.keep(life, options.recent_lives);
            }
            true
        });
    }

    fn oldest_in_flight(&self, most: usize) -> Vec<Arc<Life>> {
        let (filter, first) = (self.options.filter.as_ref(), self.first.unwrap_or_default());
        let mut lives: Vec<_> = self
            .queues
            .iter()
            .flat_map(|queue| queue.open_lives(if filter.is_some() { usize::MAX } else { most }))
            .filter(|life| filter.is_none_or(|filter| filter.matches(life, first)))
            .map(Arc::new)
            .collect();
        lives.sort_by_key(|life| life.number);
        lives.truncate(most);
        lives
    }
}

/// Stretches of time of which no record tells.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StillTimes {
    pub(crate) times: u64,
    pub(crate) longest_ns: u64,
}

/// Requests by what a filter said of them when they ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filtered {
    pub(crate) matching: u64,
    pub(crate) others: u64,
    pub(crate) unknown: u64,
    pub(crate) failed: u64,
}

impl Filtered {
    fn count(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Matches => &mut self.matching,
            Verdict::Differs => &mut self.others,
            Verdict::Unknown => &mut self.unknown,
            Verdict::Fails => &mut self.failed,
        } += 1;
    }
}
