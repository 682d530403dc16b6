//! What a record says, in words. What is long stands last.

use virtscope_record::{Body, Flags, Notification, Record};

/// What a record of its kind says.
pub(super) fn body(record: &Record) -> String {
    let mut text = of_its_kind(record);
    if record.flags().contains(Flags::REPEATED) {
        text.push_str(" (repeated)");
    }
    text
}

fn of_its_kind(record: &Record) -> String {
    let flags = record.flags();
    let Ok(body) = record.body() else {
        return String::new();
    };
    match body {
        Body::Add(add) => format!(
            "head {} position {} readable {}/{} B writable {}/{} B free {} token {}",
            add.head,
            add.position,
            add.readable_segments,
            add.readable_bytes,
            add.writable_segments,
            add.writable_bytes,
            add.free,
            record.token()
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
            "head {} position {} written {} of {} B free {} token {}",
            used.head,
            used.position,
            used.used_length,
            used.writable_bytes,
            used.free,
            record.token()
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
            "head {} descriptors {} added before the capture began token {}",
            found.head,
            found.descriptors,
            record.token()
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
