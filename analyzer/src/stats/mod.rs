//! Counts and latencies.

mod histogram;
mod latency;
mod tally;

use serde::Serialize;

pub(crate) use histogram::BYTES;
pub(crate) use tally::{RequestStats, is_no_space};

/// Latencies of completed requests: in all, and phase by phase.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, schemars::JsonSchema)]
pub struct LatencyView {
    /// Add → used.
    pub total: Percentiles,
    /// Add → kick decision.
    pub queued: Percentiles,
    /// Kick decision → callback, or → used if polled.
    pub device: Percentiles,
    /// Callback → used.
    pub harvest: Percentiles,
    /// Taken → returned, where the device's half was seen.
    pub service: Percentiles,
}

/// A distribution of nanoseconds: percentiles to three significant digits, and
/// exact up to 64 values.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, schemars::JsonSchema)]
pub struct Percentiles {
    /// How many values; with 0 the rest says nothing.
    pub count: u64,
    /// The smallest, ns.
    pub min: u64,
    /// The mean, ns.
    pub mean: f64,
    /// Half are at or below it, ns.
    pub p50: u64,
    /// 90 % are at or below it, ns.
    pub p90: u64,
    /// 99 % are at or below it, ns.
    pub p99: u64,
    /// 99.9 % are at or below it, ns.
    pub p99_9: u64,
    /// The largest, ns.
    pub max: u64,
}

/// Requests whose latency lies from a power of two up to the next.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, schemars::JsonSchema)]
pub struct Bucket {
    /// The smallest latency that counts here, ns: 0 or a power of two. The next
    /// bucket begins at twice that.
    pub from_ns: u64,
    /// Requests. One within a thousandth of a bound may stand beyond it.
    pub count: u64,
}

/// What is counted on one queue.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, schemars::JsonSchema)]
pub struct QueueCounts {
    /// Buffers added.
    pub adds: u64,
    /// Adds refused.
    pub adds_failed: u64,
    /// Adds refused because too few descriptors were free (ENOSPC).
    pub adds_no_space: u64,
    /// Buffers taken back.
    pub used: u64,
    /// Device-readable bytes of the buffers added.
    pub readable_bytes: u64,
    /// Bytes the device says it wrote.
    pub written_bytes: u64,
    /// Kick decisions.
    pub kicks: KickCounts,
    /// Notifications of the device that failed.
    pub notify_failed: u64,
    /// Callbacks that ran.
    pub callbacks: u64,
    /// Callbacks that found nothing used.
    pub callbacks_spurious: u64,
    /// Times the driver switched callbacks off.
    pub callbacks_disabled: u64,
    /// Times the driver switched callbacks on.
    pub callbacks_enabled: u64,
    /// Times it found used buffers pending when it did.
    pub callbacks_enabled_pending: u64,
    /// Complete requests that were announced by a callback.
    pub announced: u64,
    /// Complete requests that were found by looking.
    pub polled: u64,
    /// Complete requests used while one added earlier was still in flight.
    pub out_of_order: u64,
    /// The device half's decisions to interrupt, where seen.
    pub interrupts: InterruptCounts,
    /// Buffers the device half took.
    pub taken: u64,
    /// Buffers the device half returned.
    pub returned: u64,
    /// Complete requests that the device had before the kick decision.
    pub overlapped: u64,
    /// By how much, ns, added up.
    pub overlap_ns: u64,
    /// Resets.
    pub resets: u64,
    /// Buffers taken out unused.
    pub detached: u64,
    /// Used entries that broke the queue (EIO).
    pub broken: u64,
    /// Requests that contradict themselves or are contradicted by their reply.
    pub anomalies: u64,
}

impl QueueCounts {
    /// Buffers added for each notification sent to the device; `None` before the
    /// first.
    pub fn buffers_per_notification(&self) -> Option<f64> {
        ratio(self.adds, self.kicks.sent)
    }

    /// Buffers taken back for each callback; `None` before the first.
    pub fn completions_per_callback(&self) -> Option<f64> {
        ratio(self.used, self.callbacks)
    }
}

fn ratio(of: u64, per: u64) -> Option<f64> {
    (per > 0).then(|| of as f64 / per as f64)
}

/// Kick decisions by verdict, and by reason as sampled.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, schemars::JsonSchema)]
pub struct KickCounts {
    /// The device was to be notified.
    pub sent: u64,
    /// It was not.
    pub suppressed: u64,
    /// Suppressed: the device's flag asks for none.
    pub suppressed_flag: u64,
    /// Suppressed: the event index was not crossed.
    pub suppressed_event: u64,
    /// Suppressed: nothing had been added.
    pub suppressed_nothing_added: u64,
    /// Suppressed: the reason was not sampled, or speaks against the verdict.
    pub suppressed_other: u64,
    /// Verdict and sampled reason disagree.
    pub raced: u64,
}

/// Interrupt decisions of the device half, by verdict.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, schemars::JsonSchema)]
pub struct InterruptCounts {
    /// The driver was to be notified.
    pub sent: u64,
    /// It was not.
    pub suppressed: u64,
}
