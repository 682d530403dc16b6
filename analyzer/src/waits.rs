//! Who waited for room in a ring, and how long.
//!
//! A wait begins when an add is refused for want of descriptors (ENOSPC) and ends
//! with the next add of the same thread on the same queue that succeeds. What the
//! thread did in between (sleep until it was woken, try again, give up and come
//! back with another request) records do not tell. Only requests wait: a buffer
//! without device-readable bytes is room for what may come, of which a ring is kept
//! full on purpose.

use std::fmt::Write as _;

use virtscope_record::{Record, Timestamp};

use crate::text::duration;

/// Waits for room in one ring.
#[derive(Clone, PartialEq, Eq, Default, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct SpaceWaits {
    /// Waits seen from beginning to end.
    pub count: u64,
    /// Their time, ns, added up.
    pub total_ns: u64,
    /// The longest of them, ns.
    pub longest_ns: u64,
    /// Waits whose end is not known for certain, because records that may have told
    /// of it are missing, the queue was reset, or too many threads waited. Not among
    /// the others.
    pub unknown: u64,
    /// Threads that wait now, or waited when the stream ended. Not among the others.
    pub waiting: u64,
    /// Who waited, by the time they did, longest first. At most
    /// [`SpaceWaits::MAX_WAITERS`]; the waits of others are counted above alone.
    pub waiters: Vec<Waiter>,
}

impl SpaceWaits {
    /// Most threads that are told apart on one queue.
    pub const MAX_WAITERS: usize = 256;

    /// How many, how long, and the `most` threads that waited longest; nothing, if
    /// nobody waited. `now` is when those who wait still are looked at.
    pub fn in_words(&self, most: usize, now: Option<Timestamp>) -> Option<String> {
        if self.count + self.unknown + self.waiting == 0 {
            return None;
        }
        let mut text = match self.count {
            0 => "none that has ended".to_owned(),
            count => format!(
                "{count} for room, {} in all, {} at most",
                duration(self.total_ns),
                duration(self.longest_ns)
            ),
        };
        let ended = |waiter: &&Waiter| waiter.count > 0;
        for (at, waiter) in self.waiters.iter().filter(ended).take(most).enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "{} {}: {} in {}",
                if at == 0 { ";" } else { "," },
                waiter.name(),
                duration(waiter.total_ns),
                waiter.count
            );
        }
        let others = self.waiters.iter().filter(ended).count();
        if let more @ 1.. = others.saturating_sub(most) {
            let _ = write!(text, ", and {more} more");
        }
        if let Some((first, since)) = self.oldest() {
            let age = now.map(|now| now.nanos_since(since));
            let age = age.map_or_else(String::new, |ns| format!(", for {}", duration(ns)));
            let _ = match self.waiting {
                1 => write!(text, "; {} waits still{age}", first.name()),
                many => write!(text, "; {many} wait still, {} longest{age}", first.name()),
            };
        }
        if self.unknown > 0 {
            let _ = write!(text, "; how {} more ended is not known", self.unknown);
        }
        Some(text)
    }

    /// Who has been waiting longest, and since when.
    fn oldest(&self) -> Option<(&Waiter, Timestamp)> {
        let waiting = self.waiters.iter().filter_map(|waiter| {
            let since = Timestamp::from_nanos(waiter.waiting_since_ns?);
            Some((waiter, since))
        });
        waiting.min_by_key(|(_, since)| *since)
    }
}

/// A thread that waited.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Waiter {
    /// The process (Linux tgid); 0 if unknown or in interrupt context.
    pub process: u32,
    /// The thread (Linux pid); 0 in interrupt context, where the record's thread
    /// is merely who was interrupted.
    pub thread: u32,
    /// Its waits seen from beginning to end.
    pub count: u64,
    /// Their time, ns, added up.
    pub total_ns: u64,
    /// The longest of them, ns.
    pub longest_ns: u64,
    /// Since when it has been waiting, ns on the monotonic clock; `None` if it is not.
    pub waiting_since_ns: Option<u64>,
    /// Adds refused while it waits or waited.
    pub refused: u64,
}

impl Waiter {
    fn name(&self) -> String {
        match self.thread {
            0 => "an interrupt".to_owned(),
            thread => format!("thread {thread}"),
        }
    }
}

/// The waits of one queue in the making.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    sums: SpaceWaits,
    /// What was known to be missing when each wait began, by waiter.
    doubts: Vec<u64>,
    waiting: usize,
}

impl Waits {
    /// An add was refused for want of descriptors. `doubt` rises whenever
    /// something that may have been an add is found to be missing.
    pub(crate) fn refused(&mut self, record: &Record, doubt: u64) {
        let time = record.time();
        let (process, thread) = who(record);
        let waiters = &mut self.sums.waiters;
        let at = match waiters
            .iter()
            .position(|w| (w.process, w.thread) == (process, thread))
        {
            Some(at) => at,
            None if waiters.len() == SpaceWaits::MAX_WAITERS => {
                self.sums.unknown += 1;
                return;
            }
            None => {
                waiters.push(Waiter {
                    process,
                    thread,
                    ..Waiter::default()
                });
                self.doubts.push(doubt);
                waiters.len() - 1
            }
        };
        let waiter = &mut waiters[at];
        waiter.refused += 1;
        if waiter.waiting_since_ns.is_none() {
            waiter.waiting_since_ns = Some(time.as_nanos());
            self.doubts[at] = doubt;
            self.waiting += 1;
        }
    }

    /// An add succeeded.
    #[inline]
    pub(crate) fn added(&mut self, record: &Record, doubt: u64) {
        if self.waiting > 0 {
            self.end(record, doubt);
        }
    }

    #[cold]
    fn end(&mut self, record: &Record, doubt: u64) {
        let who = who(record);
        let waiters = self.sums.waiters.iter_mut().zip(&self.doubts);
        for (waiter, doubt_then) in waiters {
            if (waiter.process, waiter.thread) != who {
                continue;
            }
            let Some(since) = waiter.waiting_since_ns.take() else {
                return;
            };
            self.waiting -= 1;
            if doubt != *doubt_then {
                self.sums.unknown += 1;
                return;
            }
            let ns = record.time().nanos_since(Timestamp::from_nanos(since));
            waiter.count += 1;
            waiter.total_ns = waiter.total_ns.saturating_add(ns);
            waiter.longest_ns = waiter.longest_ns.max(ns);
            self.sums.count += 1;
            self.sums.total_ns = self.sums.total_ns.saturating_add(ns);
            self.sums.longest_ns = self.sums.longest_ns.max(ns);
            return;
        }
    }

    /// The queue was reset: who waited waits for another ring, if at all.
    pub(crate) fn reset(&mut self) {
        for waiter in &mut self.sums.waiters {
            if waiter.waiting_since_ns.take().is_some() {
                self.sums.unknown += 1;
            }
        }
        self.waiting = 0;
    }

    /// How things stand. Of who waits it is not known whether they do still, if
    /// something is missing since (`doubt`) that may have been their add.
    pub(crate) fn view(&self, doubt: u64) -> SpaceWaits {
        let mut view = self.sums.clone();
        for (waiter, doubt_then) in view.waiters.iter_mut().zip(&self.doubts) {
            if waiter.waiting_since_ns.is_none() {
                continue;
            }
            if doubt == *doubt_then {
                view.waiting += 1;
            } else {
                waiter.waiting_since_ns = None;
                view.unknown += 1;
            }
        }
        view.waiters
            .sort_by_key(|waiter| (std::cmp::Reverse(waiter.total_ns), waiter.thread));
        view
    }
}

/// Process and thread; in interrupt context whoever was interrupted has nothing to
/// do with it.
fn who(record: &Record) -> (u32, u32) {
    if record.context().is_interrupt() {
        (0, 0)
    } else {
        (record.process(), record.thread())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use virtscope_record::{Add, Body, Common, Context};

    use super::*;

    fn record(thread: u32, ns: u64, context: Context) -> Record {
        let common = Common {
            time: Timestamp::from_nanos(ns),
            process: 1,
            thread,
            context,
            ..Common::default()
        };
        Record::new(common, Body::Add(Add::default()))
    }

    #[test]
    fn a_wait_that_a_loss_may_have_ended_is_not_timed() {
        let mut waits = Waits::default();
        waits.refused(&record(5, 100, Context::Task), 0);
        waits.added(&record(5, 900, Context::Task), 1);
        waits.refused(&record(5, 1000, Context::Task), 1);
        waits.reset();
        let view = waits.view(1);
        assert_eq!((view.count, view.total_ns, view.unknown), (0, 0, 2));
        assert_eq!((view.waiting, view.waiters[0].waiting_since_ns), (0, None));
        waits.refused(&record(5, 2000, Context::Task), 1);
        assert_eq!(waits.view(1).waiting, 1);
        let view = waits.view(2);
        assert_eq!((view.waiting, view.unknown), (0, 3));
        assert_eq!(view.waiters[0].waiting_since_ns, None);
    }

    #[test]
    fn an_interrupt_is_no_thread() {
        let mut waits = Waits::default();
        waits.refused(&record(5, 100, Context::SoftIrq), 0);
        waits.added(&record(5, 200, Context::Task), 0);
        waits.added(&record(9, 300, Context::HardIrq), 0);
        let view = waits.view(0);
        assert_eq!((view.count, view.total_ns), (1, 200));
        assert_eq!((view.waiters[0].process, view.waiters[0].thread), (0, 0));
    }

    #[test]
    fn who_waited_is_said_in_words() {
        let words = |waits: &Waits, now| {
            let now = Some(Timestamp::from_nanos(now));
            waits.view(0).in_words(2, now)
        };
        let mut waits = Waits::default();
        assert_eq!(words(&waits, 0), None);
        waits.refused(&record(5, 100, Context::Task), 0);
        assert_eq!(
            words(&waits, 350).unwrap(),
            "none that has ended; thread 5 waits still, for 250 ns"
        );
        for (thread, ns) in [(5, 1_000), (6, 2_000), (7, 3_000), (8, 4_000)] {
            waits.refused(&record(thread, 100, Context::Task), 0);
            waits.added(&record(thread, 100 + ns, Context::Task), 0);
        }
        waits.refused(&record(6, 8_000, Context::Task), 0);
        waits.refused(&record(5, 9_000, Context::SoftIrq), 0);
        assert_eq!(
            words(&waits, 10_000).unwrap(),
            "4 for room, 10.0 µs in all, 4.00 µs at most; thread 8: 4.00 µs in 1, \
             thread 7: 3.00 µs in 1, and 2 more; 2 wait still, thread 6 longest, for 2.00 µs"
        );
        waits.reset();
        assert!(
            words(&waits, 0)
                .unwrap()
                .ends_with("; how 2 more ended is not known")
        );
    }

    #[test]
    fn more_threads_than_are_told_apart_are_counted() {
        let mut waits = Waits::default();
        for thread in 0..300 {
            waits.refused(&record(thread, 0, Context::Task), 0);
        }
        let view = waits.view(0);
        assert_eq!((view.waiters.len(), view.unknown), (256, 44));
        assert_eq!(view.waiting, 256);
    }

    proptest! {
        /// Against a map of who has waited since when.
        #[test]
        fn waits_end_with_the_next_add_of_their_thread(
            steps in prop::collection::vec((0_u32..4, any::<bool>(), 0_u64..100), 0..200)
        ) {
            let mut waits = Waits::default();
            let (mut now, mut since, mut times) = (0, BTreeMap::new(), BTreeMap::<_, Vec<u64>>::new());
            for (thread, refused, ns) in steps {
                now += ns;
                let record = record(thread, now, Context::Task);
                if refused {
                    waits.refused(&record, 0);
                    since.entry(thread).or_insert(now);
                } else {
                    waits.added(&record, 0);
                    if let Some(since) = since.remove(&thread) {
                        times.entry(thread).or_default().push(now - since);
                    }
                }
            }
            let view = waits.view(0);
            let all: Vec<_> = times.values().flatten().copied().collect();
            prop_assert_eq!(view.count, all.len() as u64);
            prop_assert_eq!(view.total_ns, all.iter().sum::<u64>());
            prop_assert_eq!(view.longest_ns, all.iter().copied().max().unwrap_or(0));
            for waiter in &view.waiters {
                let its = times.get(&waiter.thread).cloned().unwrap_or_default();
                prop_assert_eq!(waiter.count, its.len() as u64);
                prop_assert_eq!(waiter.total_ns, its.iter().sum::<u64>());
                let since = since.get(&waiter.thread).copied();
                prop_assert_eq!(waiter.waiting_since_ns, since);
            }
            prop_assert_eq!(view.waiting, since.len() as u64);
            prop_assert!(view.waiters.is_sorted_by(|a, b| a.total_ns >= b.total_ns));
        }
    }
}
