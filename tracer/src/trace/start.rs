//! How tracing begins: first the queues that there are are found, then the programs are
//! loaded and attached. The first takes a tenth of a second where CPUs are emulated, the
//! second several; so whoever waits can be shown the queues meanwhile.

use std::sync::{Mutex, PoisonError};

use super::attach::or_by_kprobes;
use super::error::TraceError;
use super::found::{Finder, Found};
use super::kernel::{Kernel, Stopped};
use super::names;
use super::options::TraceOptions;
use super::quiet::Quiet;
use super::switches;
use super::tracer::Tracer;

/// Slots for buffers in flight, of all queues together: at least for 64 queues of the
/// largest common size, and at most for a thousand of them.
pub(super) const SLOTS: std::ops::RangeInclusive<u32> = 1 << 16..=1 << 20;
/// Slots beyond what the queues take that there are: for some that come later.
const SPARE_SLOTS: u32 = 1 << 14;

/// A kernel that has been read and whose queues have been found. Nothing is attached yet:
/// what happens on the queues from here on is seen by nobody.
pub struct Start {
    kernel: Kernel,
    /// As they were asked for, with queues' numbers instead of their names.
    options: TraceOptions,
    finder: Result<Finder, String>,
    found: Result<Vec<Found>, String>,
}

impl Start {
    /// Reads the running kernel and finds the queues that `options` let through.
    ///
    /// # Errors
    /// What is missing: a privilege, type information, a queue of a name that is asked for.
    /// [`TraceError::Stopped`] if `stopped`, which is asked before each step, is true.
    pub fn find(options: &TraceOptions, stopped: &dyn Fn() -> bool) -> Result<Self, TraceError> {
        let stopped = Stopped(stopped);
        options.check()?;
        switches::allow_tracing()?;
        let kernel = Kernel::running(stopped)?;
        let finder = Finder::new(&kernel);
        let options = names::resolved(options, || {
            let finder = finder.as_ref().map_err(Clone::clone)?;
            finder.devices()
        })?;
        let found = match &finder {
            Ok(finder) => finder.queues(&options),
            Err(why) => Err(why.clone()),
        };
        stopped.check()?;
        Ok(Self {
            kernel,
            options,
            finder,
            found,
        })
    }

    /// The queues as they were when they were found, or why they can't be. Buffers come and
    /// go since: what a tracer tells of them later is how they are then.
    ///
    /// # Errors
    /// What stands in the way, in words. Tracing goes on without.
    pub fn found(&self) -> Result<&[Found], &str> {
        match &self.found {
            Ok(found) => Ok(found),
            Err(why) => Err(why),
        }
    }

    /// Loads and attaches the programs: by kprobes alone where the kernel refuses fentry or
    /// fexit. `progress` is told of each program, by several threads.
    ///
    /// # Errors
    /// What is missing: a privilege, a member of a struct, a function; or what the kernel
    /// refuses. [`TraceError::Stopped`] if `stopped`, which this thread asks before each
    /// step, is true before the last one: then nothing is left attached.
    pub fn attach(
        self,
        stopped: &dyn Fn() -> bool,
        progress: &OnProgress<'_>,
    ) -> Result<Tracer, TraceError> {
        let stopped = Stopped(stopped);
        stopped.check()?;
        let Self {
            kernel,
            options,
            finder,
            found,
        } = self;
        let slots = found.map_or(*SLOTS.start(), |found| slots(&found));
        let (mut tracer, refused) = or_by_kprobes(options.kprobes_only, |kprobes_only| {
            let options = TraceOptions {
                kprobes_only,
                ..options.clone()
            };
            Tracer::attached(&kernel, &options, slots, stopped, progress)
                .map_err(|error| stopped.explain(error))
        })?;
        // Behind the attaching: a queue of which no event has come since is as it was.
        let quiet = finder.and_then(|finder| {
            let found = finder.queues(&options)?;
            Ok(Quiet::new(Some(finder), &options, found))
        });
        tracer.begun(quiet, refused);
        Ok(tracer)
    }
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start")
            .field("options", &self.options)
            .field("found", &self.found)
            .finish_non_exhaustive()
    }
}

/// Slots for these queues and for some more.
fn slots(queues: &[Found]) -> u32 {
    // One more than the ring has, for adds that fail.
    let each = queues.iter().map(|queue| u32::from(queue.facts.size) + 1);
    let all = each.fold(SPARE_SLOTS, u32::saturating_add);
    all.clamp(*SLOTS.start(), *SLOTS.end())
}

/// What is done with the programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// They are loaded: the kernel verifies them, which takes most of the time.
    Loading,
    /// They are attached, some of them to several functions.
    Attaching,
}

/// How far [`Start::attach`] has come. Where fentry is refused it begins anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// With what.
    pub step: Step,
    /// How many are done.
    pub done: usize,
    /// Of how many.
    pub of: usize,
}

/// Who is told of it.
pub type OnProgress<'a> = dyn Fn(Progress) + Sync + 'a;

/// Counts one step, by several threads.
pub(super) struct Counter<'a> {
    step: Step,
    of: usize,
    done: Mutex<usize>,
    progress: &'a OnProgress<'a>,
}

impl<'a> Counter<'a> {
    /// Tells that none of so many are done yet.
    pub(super) fn new(step: Step, of: usize, progress: &'a OnProgress<'a>) -> Self {
        progress(Progress { step, done: 0, of });
        Self {
            step,
            of,
            done: Mutex::new(0),
            progress,
        }
    }

    /// One more is done.
    pub(super) fn count(&self) {
        // Told of under the lock: the last one that is told of is how far it has come.
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += 1;
        (self.progress)(Progress {
            step: self.step,
            done: *done,
            of: self.of,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::btf::KernelBtf;
    use virtscope_record::{Generation, QueueFacts, QueueId};

    fn queue(size: u16) -> Found {
        Found {
            id: QueueId::new(0, 0),
            generation: Generation(0),
            address: 0,
            name: None,
            facts: QueueFacts {
                size,
                ..QueueFacts::default()
            },
            in_flight: Vec::new(),
        }
    }

    #[test]
    fn there_are_slots_for_all_queues_and_some_more() {
        assert_eq!(slots(&[]), 1 << 16);
        assert_eq!(slots(&vec![queue(256); 3]), 1 << 16);
        assert_eq!(slots(&vec![queue(1024); 128]), 128 * 1025 + (1 << 14));
        assert_eq!(slots(&vec![queue(32768); 1024]), 1 << 20);
    }

    #[test]
    fn what_is_counted_by_several_threads_only_grows() {
        let told = Mutex::new(Vec::new());
        let tell = |progress| told.lock().unwrap().push(progress);
        let counter = Counter::new(Step::Loading, 40, &tell);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10).for_each(|_| counter.count()));
            }
        });
        let expected: Vec<_> = (0..=40)
            .map(|done| Progress {
                step: Step::Loading,
                done,
                of: 40,
            })
            .collect();
        assert_eq!(told.into_inner().unwrap(), expected);
    }

    #[test]
    fn a_signal_between_finding_and_attaching_ends_it() {
        let btf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/btf/6.12");
        let start = Start {
            kernel: Kernel {
                btf: KernelBtf::open(&btf, "6.12".to_owned()).unwrap(),
                symbols: Default::default(),
                unreadable: None,
            },
            options: TraceOptions::default(),
            finder: Err("no bus".to_owned()),
            found: Ok(vec![queue(128)]),
        };
        assert_eq!(start.found().unwrap().len(), 1);
        let told = |_| panic!("nothing is loaded");
        let error = start.attach(&|| true, &told).unwrap_err();
        assert!(matches!(error, TraceError::Stopped), "{error}");
    }
}
