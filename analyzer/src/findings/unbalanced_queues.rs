//! One queue of a device that has nearly all the work, and is full of it.

use virtscope_record::Timestamp;

use super::finding::{Evidence, Found};
use super::{About, Finding, FindingCode, MOST_EVIDENCE, Severity};
use crate::queue::Queue;

/// The least number of requests to judge by.
pub(super) const LEAST_REQUESTS: u64 = 1000;
/// The share of them, in percent, that one queue has.
pub(super) const SHARE_PERCENT: u64 = 80;
/// It must be busy: descriptors in use, in percent of the ring, mean over time. One
/// thread on one CPU uses one queue, and that does no harm while there is room.
pub(super) const BUSY_PERCENT: f64 = 25.0;

pub(super) const ABOUT: About = About {
    severity: Severity::Notice,
    sentence: "Of the queues of a device that do the same, one has nearly all the requests and is \
               full of them.",
    spec: "virtio 1.4 §2.6, §5.2.5 (num_queues)",
    advice: "Spread the work over CPUs, see how the driver maps CPUs to queues \
             (/sys/block/*/mq, ethtool -x), and whether all queues' interrupts go to one CPU.",
};

/// What is found about the queues of one device which do the same.
pub(super) fn judge(queues: &[&Queue], now: Timestamp, into: &mut Vec<Finding>) {
    let mut rest: Vec<&Queue> = queues.to_vec();
    while let Some(first) = rest.pop() {
        let alike = |other: &&Queue| is_alike(first, other);
        let mut group: Vec<_> = rest.iter().copied().filter(alike).collect();
        rest.retain(|other| !is_alike(first, other));
        group.push(first);
        group.sort_by_key(|queue| queue.id);
        if let Some(found) = judge_group(&group, now) {
            let name = stem(&first.name);
            into.push(found.into_finding(FindingCode::UnbalancedQueues, None, &name));
        }
    }
}

/// Whether two queues do the same work for the same device: their names differ in
/// their numbers alone.
fn is_alike(one: &Queue, other: &Queue) -> bool {
    one.id.device == other.id.device && stem(&one.name) == stem(&other.name)
}

/// The name with `#` for its last number.
fn stem(name: &str) -> String {
    let end = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if end.len() == name.len() {
        name.to_owned()
    } else {
        format!("{end}#")
    }
}

fn judge_group(group: &[&Queue], now: Timestamp) -> Option<Found> {
    let requests = |queue: &Queue| queue.request_totals().completed;
    let all: u64 = group.iter().map(|queue| requests(queue)).sum();
    let busiest = group.iter().max_by_key(|queue| requests(queue))?;
    let percent = requests(busiest).saturating_mul(100).checked_div(all)?;
    let load = |queue: &Queue| {
        let view = queue.occupancy.view(Some(now));
        view.size
            .map_or(0.0, |size| 100.0 * view.descriptors.mean / f64::from(size))
    };
    let busy = load(busiest) >= BUSY_PERCENT || busiest.counts.adds_no_space > 0;
    if group.len() < 2 || all < LEAST_REQUESTS || percent < SHARE_PERCENT || !busy {
        return None;
    }
    let evidence = group.iter().take(MOST_EVIDENCE).map(|queue| {
        Evidence::text(format!(
            "{}: {} requests, {:.0} % of its ring in use, {} adds refused",
            queue.name,
            requests(queue),
            load(queue),
            queue.counts.adds_no_space
        ))
    });
    Some(Found {
        summary: format!(
            "{} has {percent} % of the requests of {} queues, and is full of them.",
            busiest.name,
            group.len()
        ),
        count: 1,
        evidence: evidence.collect(),
        ..Found::default()
    })
}
