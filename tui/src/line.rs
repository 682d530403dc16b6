//! One line a request, one line a record: what `print` shows.

use virtscope_analyzer::{Announcement, Life, Outcome, format_duration};
use virtscope_record::{Body, Flags, Notification, Record, Timestamp};

/// Seconds since `first`, to the microsecond.
fn seconds(time: Timestamp, first: Timestamp) -> String {
    let ns = time.nanos_since(first);
    format!("{:4}.{:06}", ns / 1_000_000_000, ns / 1_000 % 1_000_000)
}

/// A request: when it began, where, how long each phase took, what it was and
/// how it ended.
///
/// ```text
/// #17        0.001234 virtio0.0   45.6 µs = 1.20 µs + 40.1 µs + 4.30 µs  read /etc/hosts 0..4096 → 220 bytes
/// ```
pub(crate) fn life(life: &Life, first: Timestamp) -> String {
    let began = life
        .began()
        .map_or_else(|| " ".repeat(11), |began| seconds(began, first));
    let times = match life.outcome {
        Outcome::Complete(phases) => {
            let harvest = match phases.announcement {
                Announcement::Callback => format_duration(phases.harvest_ns),
                Announcement::Polled => "polled".to_owned(),
            };
            format!(
                "{:>8} = {:>8} + {:>8} + {harvest:>8}",
                format_duration(phases.total_ns()),
                format_duration(phases.queued_ns),
                format_duration(phases.device_ns),
            )
        }
        Outcome::InFlight => format!("{:41}", "in flight"),
        Outcome::Incomplete(reason) => format!("{:41}", format!("incomplete: {}", reason.name())),
    };
    format!(
        "#{:<7} {began} {:<10} {times}  {}",
        life.number,
        life.queue.to_string(),
        messages(life)
    )
}

/// The request and the reply, in the words of 9P where they are that.
fn messages(life: &Life) -> String {
    let said = [life.describe_request(), life.describe_reply()];
    let mut text: Vec<String> = said.into_iter().flatten().collect();
    if text.is_empty() {
        let shape = &life.shape;
        let used = life
            .used_length
            .map_or_else(|| "?".to_owned(), |used| used.to_string());
        text.push(format!(
            "{} bytes readable, {used} of {} written",
            shape.readable_bytes, shape.writable_bytes
        ));
    }
    let mut text = text.join(" → ");
    for anomaly in &life.anomalies {
        text.push_str(&format!(" [{anomaly}]"));
    }
    text
}

/// A record: when, where, who, what.
pub(crate) fn record(record: &Record, first: Timestamp) -> String {
    let kind = record
        .kind()
        .map_or_else(|error| error.to_string(), |kind| kind.name().to_owned());
    format!(
        "{} {:<10} {:<8} #{:<8} {kind:<18} {}",
        seconds(record.time(), first),
        record.queue().to_string(),
        record.producer().to_string(),
        record.sequence().0,
        body(record)
    )
}

fn body(record: &Record) -> String {
    let flags = record.flags();
    let Ok(body) = record.body() else {
        return String::new();
    };
    match body {
        Body::Add(add) => format!(
            "head {} position {} token {} readable {}/{} B writable {}/{} B free {}",
            add.head,
            add.position,
            record.token(),
            add.readable_segments,
            add.readable_bytes,
            add.writable_segments,
            add.writable_bytes,
            add.free
        ),
        Body::AddFailed(add) => format!(
            "errno {} segments {} free {}",
            add.error,
            u32::from(add.readable_segments) + u32::from(add.writable_segments),
            add.free
        ),
        Body::Kick(kick) => notification(&kick, flags, "avail_event"),
        Body::InterruptSent(interrupt) => notification(&interrupt, flags, "used_event"),
        Body::Notify(notify) if notify.error != 0 => format!("errno {}", notify.error),
        Body::Notify(_) => String::new(),
        Body::Callback(callback) => format!(
            "used idx {} last used {}{}",
            callback.used_index,
            callback.last_used,
            if flags.contains(Flags::SPURIOUS) {
                " spurious"
            } else {
                ""
            }
        ),
        Body::Used(used) if used.error != 0 => {
            format!("id {} broke the queue, errno {}", used.head, used.error)
        }
        Body::Used(used) => format!(
            "head {} position {} token {} written {} of {} B free {}",
            used.head,
            used.position,
            record.token(),
            used.used_length,
            used.writable_bytes,
            used.free
        ),
        Body::CallbacksDisabled(switch) => format!("last used {}", switch.last_used),
        Body::CallbacksEnabled(switch) => format!(
            "last used {}{}",
            switch.last_used,
            if flags.contains(Flags::PENDING) {
                " used buffers pending"
            } else {
                ""
            }
        ),
        Body::Detach(detach) => format!("head {} token {}", detach.head, record.token()),
        Body::QueueFacts(facts) => format!(
            "{} size {} device type {} features {}",
            facts.layout, facts.size, facts.device_type, facts.features
        ),
        Body::Reset(reset) => format!("in flight {}", reset.in_flight),
        Body::Statistics(statistics) => format!(
            "{} emitted {} lost {} filtered {} missed {}{}",
            virtscope_record::Producer::from(statistics.about),
            statistics.emitted,
            statistics.lost,
            statistics.filtered,
            statistics.missed,
            if statistics.is_final { " final" } else { "" }
        ),
        Body::Missed(missed) => format!(
            "{} × {} position {}..{}{}",
            missed.count,
            missed.operation().map_or_else(
                || format!("kind {}", missed.operation),
                |kind| kind.to_string()
            ),
            missed.old,
            missed.new,
            missed.head().map_or_else(String::new, |head| format!(
                " head {head} token {}",
                record.token()
            )),
        ),
        Body::InFlight(found) => format!(
            "head {} token {} descriptors {} added before the capture began",
            found.head,
            record.token(),
            found.descriptors
        ),
        Body::Taken(taken) => format!("head {} position {}", taken.head, taken.position),
        Body::Returned(returned) => format!(
            "head {} position {} written {} B",
            returned.head, returned.position, returned.used_length
        ),
    }
}

fn notification(notification: &Notification, flags: Flags, event: &str) -> String {
    let verdict = if flags.contains(Flags::NOTIFICATION_NEEDED) {
        "needed"
    } else {
        "suppressed"
    };
    let sample = if flags.contains(Flags::EVENT_IDX) {
        format!("{event} {}", notification.event)
    } else {
        format!("flags {:#x}", notification.event_flags)
    };
    let raced = if flags.contains(Flags::RACED) {
        " raced"
    } else {
        ""
    };
    format!(
        "{verdict} {}..{} {sample} ({}){raced}",
        notification.old, notification.new, notification.reason
    )
}
