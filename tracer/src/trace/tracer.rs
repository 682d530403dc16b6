//! Loads the programs, attaches them, and takes their records.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun};
use aya::{Ebpf, EbpfLoader};
use virtscope_record::{FRAME_LEN, PseudoHeader, QueueId, Record};
use virtscope_tracer_shared::{LARGE_AT_ONCE, WORKS_PER_CPU, control};
use zerocopy::IntoBytes;

use super::attach;
use super::cost::{Cost, CostWatch};
use super::counters::{self, RawCounters, StreamCounters, is_after, queue_of};
use super::error::TraceError;
use super::found::Found;
use super::hooks::Plan;
use super::kernel::{Kernel, Stopped};
use super::layout;
use super::options::TraceOptions;
use super::quiet::{Quiet, RawState, State};
use super::start::OnProgress;
use super::switches;
use crate::bell::Bell;
use crate::ring::Ring;

/// The programs, as `cargo xtask bpf` builds them.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../virtscope.bpf.o");

/// Depths of nesting that have scratch memory.
const DEPTHS: u32 = 4;
/// Lists of a buffer's segments that are kept where records may be long; of one that finds
/// no room, the answer's payload is unavailable.
const LISTS: u32 = 2048;
/// Of so many parts of the buffer one is full when whoever reads it is woken: the others are
/// for what comes until it reads.
const FULL_ENOUGH: u32 = 4;
/// How long a record is waited for that is still being written, with others behind it.
const HELD_UP: Duration = Duration::from_millis(5);
/// How long at the end a notification may take that was decided on.
const NOTIFYING: Duration = Duration::from_secs(1);
/// Between two looks whether it has come.
const LOOK: Duration = Duration::from_millis(10);
/// How long at the end nothing must have moved on a queue, for what is open there to have
/// been missed: no operation takes that long.
const UNMOVED: Duration = Duration::from_millis(50);
/// The program that looks at a queue on which nothing has come.
const LOOKER: &str = "look";

/// A running tracer. What it attached goes with it, however it ends.
pub struct Tracer {
    /// The programs and their links, until it is detached.
    ebpf: Option<Ebpf>,
    records: Ring,
    bell: Bell,
    counters: PerCpuArray<MapData, RawCounters>,
    control: Array<MapData, u64>,
    /// The queues, by the address of each.
    queues: HashMap<MapData, u64, RawState>,
    /// Notifications that were decided on and have not come, with their queue's id: those
    /// beyond one for each queue, which its state tells of.
    promises: HashMap<MapData, u64, u64>,
    /// The queues of those that never came, once tracing has ended.
    unkept: Vec<QueueId>,
    cost: CostWatch,
    plan: Plan,
    buffer: u32,
    malformed: u64,
    quiet: Quiet,
    walk_failed: Option<String>,
    fell_back: Option<String>,
    /// The counters when tracing ended: what is counted while one program after the other is
    /// detached is of operations of which some are seen no more.
    last: Option<Vec<StreamCounters>>,
}

impl Tracer {
    /// Notes what was found when all had been attached, or why nothing can be; and why it is
    /// done by kprobes, if that is not what was asked for.
    pub(super) fn begun(&mut self, found: Result<Quiet, String>, refused: Option<TraceError>) {
        self.fell_back = refused.map(|refused| refused.to_string());
        match found {
            Ok(quiet) => self.quiet = quiet,
            Err(why) => self.walk_failed = Some(why),
        }
    }

    /// Loads and attaches the programs as `options` say.
    ///
    /// # Errors
    /// What is missing or refused, or it has been `stopped` meanwhile: then nothing is left
    /// attached.
    pub(super) fn attached(
        kernel: &Kernel,
        options: &TraceOptions,
        slots: u32,
        stopped: Stopped<'_>,
        progress: &OnProgress<'_>,
    ) -> Result<Self, TraceError> {
        let (btf, symbols) = (&kernel.btf, &kernel.symbols);
        let cpus = aya::util::nr_cpus()
            .map_err(|(what, error)| TraceError::Object(format!("{what}: {error}")))?
            as u32;
        let mut config = layout::config(btf, symbols, options)?;
        config.slots = slots;
        config.cpus = cpus;
        config.wake_at = wake_at(options.buffer_bytes);
        let plan = Plan::new(btf, symbols, options.kprobes_only);
        if let Some(operation) = plan.missing.iter().find(|missing| missing.is_needed()) {
            return Err(TraceError::NoFunction {
                operation: operation.kind().name(),
                functions: Plan::functions(*operation).collect::<Vec<_>>().join(", "),
            });
        }
        switches::allow(&plan)?;
        let (large, lists) = match options.is_whole() {
            true => ((cpus * 2).clamp(4, LARGE_AT_ONCE), LISTS),
            false => (1, 1),
        };
        let settings = config.as_bytes();
        let mut ebpf = EbpfLoader::new()
            .override_global("CONFIG", settings, true)
            .map_max_entries("RECORDS", options.buffer_bytes)
            .map_max_entries("SLOTS", slots)
            .map_max_entries("SCRATCH", cpus * DEPTHS)
            .map_max_entries("WORKS", cpus * WORKS_PER_CPU)
            .map_max_entries("LARGE", large)
            .map_max_entries("LISTS", lists)
            .load(OBJECT)
            .map_err(|source| TraceError::Load {
                source: Box::new(source),
            })?;
        let cost = CostWatch::new(options.buffer_bytes, options.count_cost);
        let records = Ring::of(take(&mut ebpf, "RECORDS")?, options.buffer_bytes)
            .map_err(TraceError::Object)?;
        let counters = PerCpuArray::try_from(take(&mut ebpf, "COUNTERS")?)
            .map_err(|error| TraceError::Object(error.to_string()))?;
        let control = Array::try_from(take(&mut ebpf, "CONTROL")?)
            .map_err(|error| TraceError::Object(error.to_string()))?;
        let queues = HashMap::try_from(take(&mut ebpf, "QUEUES")?)
            .map_err(|error| TraceError::Object(error.to_string()))?;
        let promises = HashMap::try_from(take(&mut ebpf, "PROMISES")?)
            .map_err(|error| TraceError::Object(error.to_string()))?;
        let mut tracer = Self {
            ebpf: Some(ebpf),
            bell: Bell::of(records.as_fd()),
            records,
            counters,
            control,
            queues,
            promises,
            unkept: Vec::new(),
            cost,
            plan,
            buffer: options.buffer_bytes,
            malformed: 0,
            quiet: Quiet::new(None, options, Vec::new()),
            walk_failed: None,
            fell_back: None,
            last: None,
        };
        tracer.looker()?.load().map_err(|source| TraceError::Load {
            source: Box::new(source.into()),
        })?;
        if let Some(ebpf) = &mut tracer.ebpf {
            attach::attach(ebpf, &tracer.plan, btf, &mut tracer.cost, stopped, progress)?;
        }
        tracer
            .control
            .set(control::OPEN, 1, 0)
            .map_err(|error| TraceError::Object(error.to_string()))?;
        Ok(tracer)
    }

    /// What is attached where, and what nothing tells of.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Hands every record written up to now to `take`, in the order they were written.
    /// Returns how many there were.
    pub fn drain(&mut self, mut take: impl FnMut(&Record, &[u8])) -> usize {
        let Self {
            records,
            cost,
            last,
            malformed,
            ..
        } = self;
        cost.note(records.waiting());
        let mut frames = 0;
        records.drain(|frame| match split(frame) {
            Some((record, _)) if is_after(last.as_deref(), &record) => {}
            Some((record, payload)) => {
                frames += 1;
                take(&record, payload);
            }
            None => *malformed += 1,
        });
        frames
    }

    /// Rests until so much waits to be [drained](Self::drain) that it should be, at most so
    /// long.
    pub fn rest(&self, at_most: Duration) {
        // The programs count on both (`virtscope_tracer_shared::wake`): what they wrote while
        // they saw that this was reading, they rang nobody for.
        if self.records.is_held_up() {
            self.bell.rest(at_most.min(HELD_UP));
        } else if self.records.waiting() < wake_at(self.buffer) {
            self.bell.rest(at_most);
        }
    }

    /// The counters of every queue and CPU that has any.
    pub fn counters(&self) -> Vec<StreamCounters> {
        if let Some(last) = &self.last {
            return last.clone();
        }
        let queues = self.control.get(&control::QUEUES, 0).unwrap_or(u64::MAX);
        let mut found = counters::read(&self.counters, queues);
        for queue in &self.unkept {
            if let Some(stream) = found.iter_mut().find(|stream| stream.queue == *queue) {
                stream.missed += 1;
            }
        }
        found
    }

    /// Queues of which no event has told for a moment, because none has come since tracing
    /// began, or none but interrupts, which tell of no facts; each is told of once, whether
    /// it was there from the beginning or came later. Of all others their first event tells.
    pub fn quiet_queues(&mut self) -> Vec<Found> {
        // What there is at the end is not going to be told by anything else.
        if !self.quiet.is_due() && self.last.is_none() {
            return Vec::new();
        }
        let Self { quiet, queues, .. } = self;
        quiet.look(|| {
            let states = queues.iter().filter_map(Result::ok);
            states.map(|(at, raw)| State::of(at, &raw)).collect()
        })
    }

    /// Queues that could not be followed for want of room: of them there is no record.
    pub fn refused_queues(&self) -> u64 {
        self.control.get(&control::REFUSED, 0).unwrap_or(0)
    }

    fn looker(&mut self) -> Result<&mut RawTracePoint, TraceError> {
        self.ebpf
            .as_mut()
            .and_then(|ebpf| ebpf.program_mut(LOOKER))
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| TraceError::Object(format!("no program {LOOKER}")))
    }

    /// Has what was missed become records where nothing has moved since the call before, in
    /// which no event would ever show it: so a request whose completion was missed does not
    /// look stuck. To be called now and then.
    pub fn look(&mut self) {
        let queues: Vec<u64> = self.queues.keys().filter_map(Result::ok).collect();
        let Ok(looker) = self.looker() else {
            return;
        };
        for queue in queues {
            let mut options = RawTracePointRunOptions::new();
            options.args[0] = queue;
            // Where it can't be run, all is as if it were not there: the next event tells.
            let _ = looker.test_run(options);
        }
    }

    /// Why the queues that were there could not be found, if they could not.
    pub fn walk_failed(&self) -> Option<&str> {
        self.walk_failed.as_deref()
    }

    /// Why kprobes are used though fentry and fexit would do, if they would not.
    pub fn fell_back(&self) -> Option<&str> {
        self.fell_back.as_deref()
    }

    /// The queues that there were when all had been attached, of those that are let through,
    /// until [`Self::quiet_queues`] has told of those on which nothing comes.
    pub fn found(&self) -> &[Found] {
        self.quiet.found()
    }

    /// What it has cost so far.
    pub fn cost(&self) -> Cost {
        self.cost.cost()
    }

    /// Ends tracing: what happens from here on is no part of it. Detaching everything takes a
    /// while, and as long as it takes some operations are seen and others are not.
    ///
    /// Waits for notifications that were decided on: one that does not come within a
    /// second was missed. And so was what stands open on a queue where nothing moves.
    pub fn end(&mut self) {
        if self.ebpf.is_some() && self.last.is_none() {
            self.settle();
            self.last = Some(self.counters());
        }
    }

    /// [Ends](Self::end) tracing and detaches everything; records written before can still be
    /// drained.
    pub fn detach(&mut self) {
        self.end();
        self.cost.close();
        self.ebpf = None;
    }

    fn settle(&mut self) {
        self.look();
        std::thread::sleep(UNMOVED);
        self.look();
        if self.control.set(control::CLOSING, 1, 0).is_err() {
            return;
        }
        let until = Instant::now() + NOTIFYING;
        self.unkept = self.promised();
        while !self.unkept.is_empty() && Instant::now() < until {
            std::thread::sleep(LOOK);
            self.unkept = self.promised();
        }
    }

    /// The queue of each notification that was decided on and has not come.
    fn promised(&self) -> Vec<QueueId> {
        let states = self.queues.iter().filter_map(Result::ok);
        let first = states.filter_map(|(at, raw)| State::of(at, &raw).promised());
        // One that goes from a queue to the map meanwhile is seen in both.
        let mut promised: BTreeMap<_, _> = first.collect();
        let others = self.promises.iter().filter_map(Result::ok);
        promised.extend(others.map(|(promiser, queue)| (promiser, queue_of(queue))));
        promised.into_values().collect()
    }
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer")
            .field("plan", &self.plan)
            .field("buffer", &self.buffer)
            .finish_non_exhaustive()
    }
}

fn take(ebpf: &mut Ebpf, map: &str) -> Result<aya::maps::Map, TraceError> {
    ebpf.take_map(map)
        .ok_or_else(|| TraceError::Object(format!("no map {map}")))
}

/// Bytes that wait in a buffer of so many when whoever reads it is woken.
fn wake_at(buffer: u32) -> u64 {
    u64::from(buffer / FULL_ENOUGH)
}

/// A frame's record and payload.
pub(crate) fn split(frame: &[u8]) -> Option<(Record, &[u8])> {
    let header = PseudoHeader::parse(frame).ok()?;
    let record = Record::from_bytes(frame.get(PseudoHeader::LEN..FRAME_LEN)?).ok()?;
    let end = FRAME_LEN.checked_add(header.payload_len() as usize)?;
    Some((record, frame.get(FRAME_LEN..end)?))
}

#[cfg(test)]
mod tests {
    use aya::programs::Program;

    use super::*;
    use crate::trace::start::SLOTS;
    use crate::trace::{explain, may_load};

    /// The kernel's verifier accepts the programs for kprobes and the one that looks, which
    /// share all their functions with those for fentry and fexit. Loaded, they are attached
    /// to nothing.
    #[test]
    fn this_kernels_verifier_accepts_the_programs() {
        if !may_load() {
            return;
        }
        for (snaplen, payload) in [(256, 1), (1 << 19, 1), (1 << 19, 2)] {
            load_all(&virtscope_tracer_shared::Config {
                snaplen,
                payload,
                whole: u32::from(snaplen > 256),
                slots: *SLOTS.start(),
                ..Default::default()
            });
        }
    }

    fn load_all(config: &virtscope_tracer_shared::Config) {
        let mut ebpf = EbpfLoader::new()
            .override_global("CONFIG", config.as_bytes(), true)
            .map_max_entries("RECORDS", 4096)
            .load(OBJECT)
            .unwrap();
        let mut loaded = 0;
        for (name, program) in ebpf.programs_mut() {
            let result = match program {
                Program::KProbe(program) => program.load(),
                Program::RawTracePoint(program) => program.load(),
                _ => continue,
            };
            if let Err(error) = result {
                panic!("{name}: {}", explain(&error));
            }
            loaded += 1;
        }
        assert_eq!(loaded, 18);
    }
}
