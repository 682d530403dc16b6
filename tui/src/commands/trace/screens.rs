//! Tracing that is watched from its first moment on: the screens show which queues there
//! are while the programs are being attached, by a thread of its own.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use anyhow::Context;
use virtscope_analyzer::{Facts, Filter, Snapshot};
use virtscope_tracer::trace::{Found, Progress, drop_privileges};

use super::beginning::Listener;
use super::source::describe;
use super::{Begun, LiveFeed, Run, begin, conclude};
use crate::cli::TraceArgs;
use crate::commands::{Outcome, complain};
use crate::input::name;
use crate::recorder::Recorder;
use crate::rotate::Rotate;
use crate::screen::{self, Control, Feed, FeedStatus, FoundQueue, Mode, Starting};

/// Shows the screens, and attaches meanwhile; then the screens go on with what is recorded.
pub(super) fn trace(
    args: &TraceArgs,
    rotate: Option<Rotate>,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Outcome> {
    let shown = Shown::default();
    let (screen, begun) = thread::scope(|scope| {
        let attaching = thread::Builder::new()
            .name("attach".to_owned())
            .spawn_scoped(scope, || {
                let begun = begin(args, rotate, true, stop, &shown);
                shown.begun(begun)
            })
            .context("no thread that attaches; allow more threads or processes (ulimit -u)")?;
        // That thread alone has any use for them, and gives them up when it is done. Those
        // that read the keys begin behind this.
        let screen = drop_privileges(false)
            .context("cannot give up privileges")
            .and_then(|()| {
                let feed = StartingFeed {
                    shown: &shown,
                    capture: args.write.as_deref().map(name),
                    nothing: Arc::default(),
                    filter: RefCell::default(),
                };
                screen::run(&feed, stop).context("the terminal failed")
            });
        // Whoever closes the screens before all is attached wants nothing to be traced.
        stop.store(true, Ordering::Release);
        let begun = attaching
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        anyhow::Ok((screen, begun))
    })?;
    // Not before: it would have stood on the screens.
    for message in shown.now().said.drain(..) {
        complain(&message);
    }
    let outcome = match begun? {
        Some(recorder) => {
            let recorded = recorder.finish();
            let told = shown.live.get().map(|(run, _)| run.told.get());
            conclude(&recorded, None, &told.unwrap_or_default(), false)?
        }
        None => Outcome::Clean,
    };
    screen?;
    Ok(outcome)
}

/// What the screens show, from the first moment on.
#[derive(Default)]
struct Shown {
    now: Mutex<Now>,
    /// What is recorded, as soon as anything is, and its title.
    live: OnceLock<(Run, String)>,
    /// It cannot begin, or is not to.
    over: AtomicBool,
}

/// How far it has come.
struct Now {
    starting: Starting,
    found: Arc<[FoundQueue]>,
    /// What is to be said when the screens are gone.
    said: Vec<String>,
}

impl Default for Now {
    fn default() -> Self {
        Self {
            starting: Starting::Reading,
            found: Arc::default(),
            said: Vec::new(),
        }
    }
}

impl Shown {
    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the screens go on with what is recorded, or end.
    fn begun(&self, begun: anyhow::Result<Option<Begun>>) -> anyhow::Result<Option<Recorder>> {
        let recorder = match begun {
            Ok(Some(begun)) => {
                let _ = self.live.set((begun.run, begun.title));
                return Ok(Some(begun.recorder));
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        self.over.store(true, Ordering::Release);
        recorder
    }
}

impl Listener for Shown {
    fn found(&self, queues: &[Found]) {
        let found = queues.iter().map(shown).collect();
        let mut now = self.now();
        now.found = found;
        now.starting = Starting::Preparing;
    }

    fn progress(&self, progress: Progress) {
        self.now().starting = Starting::Programs(progress);
    }

    fn attached(&self, queues: &[Found]) {
        let found = queues.iter().map(shown).collect();
        self.now().found = found;
    }

    fn say(&self, message: &str) {
        self.now().said.push(message.to_owned());
    }
}

/// A queue in the words in which its records will tell of it.
fn shown(queue: &Found) -> FoundQueue {
    let own_name = queue.name.as_deref().unwrap_or_default();
    let text = describe(queue.id, own_name.as_bytes());
    let (name, facts) = Facts::read(queue.generation, &queue.facts, text.as_bytes());
    FoundQueue {
        id: queue.id,
        name: name.unwrap_or_default(),
        facts,
    }
}

struct StartingFeed<'a> {
    shown: &'a Shown,
    capture: Option<String>,
    /// What there is to see before anything is recorded.
    nothing: Arc<Snapshot>,
    /// A filter that was typed before there was anything to filter.
    filter: RefCell<Option<Option<Arc<Filter>>>>,
}

impl StartingFeed<'_> {
    fn live(&self) -> Option<LiveFeed<'_>> {
        let (run, title) = self.shown.live.get()?;
        Some(LiveFeed {
            run,
            title,
            capture: self.capture.clone(),
        })
    }
}

impl Feed for StartingFeed<'_> {
    fn snapshot(&self) -> Arc<Snapshot> {
        let Some(live) = self.live() else {
            return Arc::clone(&self.nothing);
        };
        if let Some(filter) = self.filter.take() {
            live.filter(filter);
        }
        live.snapshot()
    }

    fn status(&self) -> FeedStatus {
        let found = Arc::clone(&self.shown.now().found);
        match self.live() {
            Some(live) => FeedStatus {
                found,
                ..live.status()
            },
            None => FeedStatus {
                title: "trace".to_owned(),
                mode: Mode::Starting(self.shown.now().starting),
                capture: None,
                message: None,
                finished: self.shown.over.load(Ordering::Acquire),
                found,
            },
        }
    }

    fn control(&self, _: Control) {}

    fn filter(&self, filter: Option<Arc<Filter>>) {
        match self.live() {
            Some(live) => live.filter(filter),
            None => *self.filter.borrow_mut() = Some(filter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virtscope_record::{Generation, QueueFacts, QueueId};
    use virtscope_tracer::trace::Step;

    fn found(name: &str) -> Found {
        Found {
            id: QueueId::new(65000, 1),
            generation: Generation(0),
            address: 0,
            name: Some(name.to_owned()),
            facts: QueueFacts {
                size: 64,
                in_flight: 3,
                ..QueueFacts::default()
            },
            in_flight: Vec::new(),
        }
    }

    fn feed(shown: &Shown) -> StartingFeed<'_> {
        StartingFeed {
            shown,
            capture: None,
            nothing: Arc::default(),
            filter: RefCell::default(),
        }
    }

    #[test]
    fn what_is_found_is_shown_and_is_no_record() {
        let shown = Shown::default();
        let feed = feed(&shown);
        assert_eq!(feed.status().mode, Mode::Starting(Starting::Reading));
        shown.found(&[found("in\x1b[31mput")]);
        let status = feed.status();
        assert_eq!(status.mode, Mode::Starting(Starting::Preparing));
        assert_eq!(status.found[0].name, "virtio65000/in�[31mput");
        assert_eq!(status.found[0].facts.in_flight, 3);
        let snapshot = feed.snapshot();
        assert!(snapshot.queues.is_empty() && snapshot.records.emitted == 0);
        // The one that was there is gone when all is attached.
        shown.attached(&[]);
        assert!(feed.status().found.is_empty());
    }

    #[test]
    fn how_far_it_has_come_is_shown_and_what_fails_ends_the_screens() {
        let shown = Shown::default();
        let feed = feed(&shown);
        let progress = Progress {
            step: Step::Attaching,
            done: 3,
            of: 40,
        };
        shown.progress(progress);
        let status = feed.status();
        assert_eq!(status.mode, Mode::Starting(Starting::Programs(progress)));
        assert!(!status.finished);
        shown.say("for later");
        assert_eq!(feed.status().message, None);
        assert_eq!(shown.now().said, ["for later"]);
        assert!(shown.begun(Err(anyhow::anyhow!("refused"))).is_err());
        assert!(feed.status().finished);
    }

    #[test]
    fn what_is_told_to_end_before_it_begins_ends_the_screens() {
        let shown = Shown::default();
        assert!(shown.begun(Ok(None)).unwrap().is_none());
        assert!(feed(&shown).status().finished);
    }
}
