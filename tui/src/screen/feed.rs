//! The boundary to whoever produces what the screens show.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::time::Duration;

use virtscope_analyzer::{Facts, Filter, Snapshot};
use virtscope_record::QueueId;
use virtscope_tracer::trace::{Progress, Step};

/// Where snapshots come from: a running demo, a replayed capture.
///
/// Called from the screen's thread, about ten times a second. None of the calls
/// may block for long: the screen stands still meanwhile.
pub(crate) trait Feed {
    /// The latest snapshot. The same `Arc` means that nothing has changed.
    fn snapshot(&self) -> Arc<Snapshot>;
    /// What the screens say about the feed itself.
    fn status(&self) -> FeedStatus;
    /// What the user asks of it. A live feed may ignore everything: its screens
    /// stand still by themselves.
    fn control(&self, control: Control);
    /// Only requests that match are wanted, or all again.
    fn filter(&self, filter: Option<Arc<Filter>>);
}

/// What the screens say about a feed. Texts may hold anything; the screens make
/// them harmless.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct FeedStatus {
    /// What is shown: `demo /home/x`, `view trace.pcapng`.
    pub(crate) title: String,
    /// Live, or where in a capture.
    pub(crate) mode: Mode,
    /// The capture being written: `writing x.pcapng 12 MB`.
    pub(crate) capture: Option<String>,
    /// An error or a note for the status line.
    pub(crate) message: Option<String>,
    /// The producer is done, or cannot begin. On a live feed the screen then closes.
    pub(crate) finished: bool,
    /// Queues that are there, of which nothing may have been recorded.
    pub(crate) found: Arc<[FoundQueue]>,
}

/// A queue as it was when somebody looked, known without any record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FoundQueue {
    pub(crate) id: QueueId,
    pub(crate) name: String,
    pub(crate) facts: Facts,
}

/// How a feed moves through time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Mode {
    /// Live as soon as it can be; there are no records before.
    Starting(Starting),
    /// As it happens.
    Live,
    /// A capture as it comes, through a pipe or in a file that grows. Nothing is asked
    /// of it: whoever stands still lets it go on behind the screens.
    Stream {
        /// What it is: `PIPE`, `FOLLOWING`.
        what: &'static str,
        /// For how long nothing has come, where something should have.
        silence: Option<Duration>,
        /// There is no more of it.
        ended: bool,
    },
    /// Out of a capture.
    Replay {
        /// Nanoseconds from the start of the capture.
        position_ns: u64,
        /// Nanoseconds in the whole capture, if known.
        length_ns: Option<u64>,
        /// 1.0 is as fast as it happened.
        speed: f64,
        /// Standing still.
        paused: bool,
        /// At the end of the capture.
        ended: bool,
    },
}

/// What a live feed is waiting for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Starting {
    /// The kernel's types and symbols are being read, and its queues found.
    Reading,
    /// They are found, and no program is loaded yet.
    Preparing,
    /// The kernel takes programs.
    Programs(Progress),
}

impl Display for Starting {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reading => f.write_str("reading the kernel"),
            Self::Preparing => f.write_str("preparing programs"),
            Self::Programs(Progress { step, done, of }) => match step {
                Step::Loading => write!(f, "loading programs, {done} of {of}"),
                Step::Attaching => write!(f, "attaching programs, {done} of {of}"),
            },
        }
    }
}

/// What a user asks of a feed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Control {
    /// Stand still, or go on.
    Pause(bool),
    /// One record on.
    Step,
    /// Faster by one notch.
    Faster,
    /// Slower by one notch.
    Slower,
    /// A stretch ahead.
    SeekForward,
    /// A stretch back.
    SeekBack,
    /// From the beginning.
    Restart,
}
