//! Each rule of joining, by a stream that needs it.

mod ends;
mod late;
mod messages;
mod phases;

use virtscope_record::{NotificationReason, Timestamp};

use crate::life::{Announcement, Anomaly, Incomplete, Life, Outcome, Phases, Piece};
use crate::p9::MessageType;
use crate::testing::{Stream, analyze, message, rlerror, rread, tread};
use crate::{Errno, Operation};

fn ns(time: u64) -> Option<Timestamp> {
    Some(Timestamp::from_nanos(time))
}

fn complete(queued_ns: u64, device_ns: u64, harvest_ns: u64) -> Outcome {
    Outcome::Complete(Phases {
        queued_ns,
        device_ns,
        harvest_ns,
        announcement: Announcement::Callback,
    })
}

fn polled(queued_ns: u64, device_ns: u64) -> Outcome {
    Outcome::Complete(Phases {
        queued_ns,
        device_ns,
        harvest_ns: 0,
        announcement: Announcement::Polled,
    })
}

fn outcomes(stream: &Stream) -> Vec<(u16, Outcome)> {
    let (_, lives) = stream.analyze();
    lives.iter().map(|life| (life.head, life.outcome)).collect()
}
