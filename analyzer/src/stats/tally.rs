//! Counting records and lives.

use std::collections::BTreeMap;

use virtscope_record::{Add, Body, Flags, Notification, NotificationReason};

use super::latency::Latencies;
use super::{KickCounts, QueueCounts};
use crate::budget::Budget;
use crate::errno::Errno;
use crate::life::{Announcement, Life, Outcome};
use crate::lives::is_raced;

/// What is counted of the requests of a queue, or of an operation.
#[derive(Debug)]
pub(crate) struct RequestStats {
    pub(crate) completed: u64,
    pub(crate) incomplete: u64,
    pub(crate) errors: BTreeMap<Errno, u64>,
    pub(crate) data_bytes: u64,
    pub(crate) latencies: Latencies,
}

/// Different errors counted apart; the rest go with the last.
const ERRNO_LIMIT: usize = 256;

impl RequestStats {
    /// Nothing yet; `budget` is for histograms of latencies.
    pub(crate) fn new(budget: &Budget) -> Self {
        Self {
            completed: 0,
            incomplete: 0,
            errors: BTreeMap::new(),
            data_bytes: 0,
            latencies: Latencies::new(budget),
        }
    }

    pub(crate) fn record(&mut self, life: &Life) {
        match life.outcome {
            Outcome::Complete(phases) => {
                self.completed += 1;
                self.latencies.record(&phases, life.service_ns());
            }
            Outcome::Incomplete(_) => self.incomplete += 1,
            Outcome::InFlight => return,
        }
        self.data_bytes = self.data_bytes.saturating_add(life.data_bytes);
        if let Some(errno) = life.error {
            let errno = if self.errors.len() < ERRNO_LIMIT || self.errors.contains_key(&errno) {
                errno
            } else {
                Errno(u32::MAX)
            };
            *self.errors.entry(errno).or_default() += 1;
        }
    }

    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl QueueCounts {
    /// Counts a record of the queue.
    #[inline(always)]
    pub(crate) fn record(&mut self, flags: Flags, body: &Body) {
        match body {
            Body::Add(add) => {
                self.adds += 1;
                self.readable_bytes += u64::from(add.readable_bytes);
            }
            Body::AddFailed(add) => {
                self.adds_failed += 1;
                self.adds_no_space += u64::from(is_no_space(add));
            }
            Body::Kick(kick) => self.kicks.record(flags, kick),
            Body::Notify(notify) => self.notify_failed += u64::from(notify.error != 0),
            Body::Callback(_) => {
                self.callbacks += 1;
                self.callbacks_spurious += u64::from(flags.contains(Flags::SPURIOUS));
            }
            Body::Used(used) if used.error == 0 => {
                self.used += 1;
                self.written_bytes += u64::from(used.used_length);
            }
            Body::Used(_) => self.broken += 1,
            Body::CallbacksDisabled(_) => self.callbacks_disabled += 1,
            Body::CallbacksEnabled(_) => {
                self.callbacks_enabled += 1;
                self.callbacks_enabled_pending += u64::from(flags.contains(Flags::PENDING));
            }
            Body::Detach(_) => self.detached += 1,
            Body::Reset(_) => self.resets += 1,
            Body::Taken(_) => self.taken += 1,
            Body::Returned(_) => self.returned += 1,
            Body::InterruptSent(_) => {
                if flags.contains(Flags::NOTIFICATION_NEEDED) {
                    self.interrupts.sent += 1;
                } else {
                    self.interrupts.suppressed += 1;
                }
            }
            Body::QueueFacts(_) | Body::Statistics(_) | Body::Missed(_) | Body::InFlight(_) => {}
        }
    }

    /// Counts a life that ended.
    pub(crate) fn record_life(&mut self, life: &Life) {
        self.anomalies += u64::from(!life.anomalies.is_empty());
        let Some(phases) = life.phases() else {
            return;
        };
        match phases.announcement {
            Announcement::Callback => self.announced += 1,
            Announcement::Polled => self.polled += 1,
        }
        self.out_of_order += u64::from(life.out_of_order);
        self.overlapped += u64::from(life.overlap_ns > 0);
        self.overlap_ns = self.overlap_ns.saturating_add(life.overlap_ns);
    }
}

/// Whether an add was refused for want of descriptors.
pub(crate) fn is_no_space(add: &Add) -> bool {
    u32::from(add.error) == Errno::ENOSPC.0
}

impl KickCounts {
    fn record(&mut self, flags: Flags, kick: &Notification) {
        self.raced += u64::from(is_raced(flags, kick));
        let counter = if flags.contains(Flags::NOTIFICATION_NEEDED) {
            &mut self.sent
        } else {
            self.suppressed += 1;
            match kick.reason {
                NotificationReason::FlagSet => &mut self.suppressed_flag,
                NotificationReason::EventNotCrossed => &mut self.suppressed_event,
                NotificationReason::NothingAdded => &mut self.suppressed_nothing_added,
                NotificationReason::Unknown
                | NotificationReason::FlagClear
                | NotificationReason::EventCrossed => &mut self.suppressed_other,
            }
        };
        *counter += 1;
    }
}
