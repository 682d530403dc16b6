//! Loads the programs, attaches them, and takes their records.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::{
    FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun,
};
use aya::{Btf, Ebpf, EbpfLoader};
use virtscope_record::{FRAME_LEN, Producer, ProducerId, PseudoHeader, QueueId, Record};
use virtscope_tracer_shared::{COUNTERS_PER_CPU, Counters, QueueState, control};
use zerocopy::IntoBytes;

use super::cost::{Cost, CostWatch};
use super::error::TraceError;
use super::found::{Finder, Found};
use super::hooks::{Attachment, How, Operation, Plan};
use super::kernel::{Kernel, Stopped};
use super::layout;
use super::names;
use super::options::TraceOptions;
use super::privileges::missing_privileges;
use crate::fill::{Fill, footprint};

/// The programs, as `cargo xtask bpf` builds them.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../virtscope.bpf.o");

/// Slots for buffers in flight, of all queues together: 64 queues of the largest
/// common size.
const SLOTS: u32 = 1 << 16;
/// How long a queue is silent before it is told of without an event.
const QUIET: Duration = Duration::from_millis(200);
/// Depths of nesting that have scratch memory.
const DEPTHS: u32 = 4;
/// How long at the end a notification may take that was decided on.
const NOTIFYING: Duration = Duration::from_secs(1);
/// Between two looks whether it has come.
const LOOK: Duration = Duration::from_millis(1);
/// How long at the end nothing must have moved on a queue, for what is open there to have
/// been missed: no operation takes that long.
const UNMOVED: Duration = Duration::from_millis(50);
/// The program that looks at a queue on which nothing has come.
const LOOKER: &str = "look";

/// One CPU's counters as the map has them: [`Counters`], which is nothing but words.
type RawCounters = [u64; 5];

const _: () = assert!(size_of::<RawCounters>() == size_of::<Counters>());

/// One producer's counters of one queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamCounters {
    /// Whose queue.
    pub queue: QueueId,
    /// Which CPU.
    pub producer: ProducerId,
    /// Records made, lost and filtered ones included.
    pub emitted: u64,
    /// Records for which the buffer had no room.
    pub lost: u64,
    /// Records left out because a filter said so.
    pub filtered: u64,
    /// Operations found to have left no record.
    pub missed: u64,
}

/// A running tracer. What it attached goes with it, however it ends.
pub struct Tracer {
    /// The programs and their links, until it is detached.
    ebpf: Option<Ebpf>,
    records: RingBuf<MapData>,
    counters: PerCpuArray<MapData, RawCounters>,
    control: Array<MapData, u64>,
    /// The queues, by the address of each.
    queues: HashMap<MapData, u64, [u8; size_of::<QueueState>()]>,
    /// Notifications that were decided on and have not come, with their queue's id.
    promises: HashMap<MapData, u64, u64>,
    /// The queues of those that never came, once tracing has ended.
    unkept: Vec<QueueId>,
    cost: CostWatch,
    plan: Plan,
    buffer: u32,
    malformed: u64,
    /// Queues that were there when it began, and when that was.
    found: Vec<Found>,
    began: Instant,
    walk_failed: Option<String>,
    fell_back: Option<String>,
    /// The counters when tracing ended: what is counted while one program after the other is
    /// detached is of operations of which some are seen no more.
    last: Option<Vec<StreamCounters>>,
}

impl Tracer {
    /// Loads and attaches the programs for the running kernel: by kprobes alone where it
    /// refuses fentry or fexit.
    ///
    /// # Errors
    /// What is missing: a privilege, type information, a member of a struct, a function;
    /// or what the kernel refuses. [`TraceError::Stopped`] if `stopped`, which is asked
    /// before each step, is true before the last one: then nothing is left attached.
    pub fn start(options: &TraceOptions, stopped: &dyn Fn() -> bool) -> Result<Self, TraceError> {
        let stopped = Stopped(stopped);
        let missing = missing_privileges();
        if !missing.0.is_empty() {
            return Err(TraceError::Privileges {
                missing: missing.to_string(),
            });
        }
        if is_off("/proc/sys/kernel/ftrace_enabled") {
            return Err(TraceError::FtraceOff);
        }
        let kernel = Kernel::running(stopped)?;
        let finder = Finder::new(&kernel);
        let options = &names::resolved(options, || {
            let finder = finder.as_ref().map_err(Clone::clone)?;
            finder.devices()
        })?;
        let (mut tracer, refused) = or_by_kprobes(options.kprobes_only, |kprobes_only| {
            let options = TraceOptions {
                kprobes_only,
                ..options.clone()
            };
            Self::start_by(&kernel, &options, stopped).map_err(|error| stopped.explain(error))
        })?;
        tracer.fell_back = refused.map(|refused| refused.to_string());
        // Behind the attaching: a queue of which no event has come since is as it was.
        match finder.and_then(|finder| finder.queues(options)) {
            Ok(found) => tracer.found = found,
            Err(why) => tracer.walk_failed = Some(why),
        }
        tracer.began = Instant::now();
        Ok(tracer)
    }

    fn start_by(
        kernel: &Kernel,
        options: &TraceOptions,
        stopped: Stopped<'_>,
    ) -> Result<Self, TraceError> {
        let (btf, symbols) = (&kernel.btf, &kernel.symbols);
        let cpus = aya::util::nr_cpus()
            .map_err(|(what, error)| TraceError::Object(format!("{what}: {error}")))?
            as u32;
        let mut config = layout::config(btf, symbols, options)?;
        config.slots = SLOTS;
        config.cpus = cpus;
        let plan = Plan::new(btf, symbols, options.kprobes_only);
        if let Some(operation) = plan.missing.iter().find(|missing| missing.is_needed()) {
            return Err(TraceError::NoFunction {
                operation: operation.kind().name(),
                functions: Plan::functions(*operation).collect::<Vec<_>>().join(", "),
            });
        }
        if plan.attachments.iter().any(by_kprobe) && is_off("/sys/kernel/debug/kprobes/enabled") {
            return Err(TraceError::KprobesOff);
        }
        let settings = config.as_bytes();
        let mut ebpf = EbpfLoader::new()
            .override_global("CONFIG", settings, true)
            .map_max_entries("RECORDS", options.buffer_bytes)
            .map_max_entries("SLOTS", SLOTS)
            .map_max_entries("SCRATCH", cpus * DEPTHS)
            .load(OBJECT)
            .map_err(|source| TraceError::Load {
                source: Box::new(source),
            })?;
        let mut cost = CostWatch::new(options.buffer_bytes, options.count_cost);
        let records = RingBuf::try_from(take(&mut ebpf, "RECORDS")?)
            .map_err(|error| TraceError::Object(error.to_string()))?;
        cost.fill(Fill::of(records.as_fd(), options.buffer_bytes));
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
            found: Vec::new(),
            began: Instant::now(),
            walk_failed: None,
            fell_back: None,
            last: None,
        };
        tracer.looker()?.load().map_err(|source| TraceError::Load {
            source: Box::new(source.into()),
        })?;
        tracer.attach(stopped)?;
        tracer
            .control
            .set(control::OPEN, 1, 0)
            .map_err(|error| TraceError::Object(error.to_string()))?;
        Ok(tracer)
    }

    fn attach(&mut self, stopped: Stopped<'_>) -> Result<(), TraceError> {
        let attachments = self.plan.attachments.clone();
        let by_btf = attachments
            .iter()
            .any(|each| matches!(each.how, How::Fentry | How::Fexit));
        let btf = by_btf
            .then(Btf::from_sys_fs)
            .transpose()
            .map_err(|error| TraceError::Object(error.to_string()))?;
        // What ends a request before what begins one. None of them takes up a queue before
        // all are there (`control::OPEN`).
        let order = [
            Operation::Reset,
            Operation::Used,
            Operation::Callback,
            Operation::Notify,
            Operation::Kick,
            Operation::CallbacksDisabled,
            Operation::CallbacksEnabled,
            Operation::Add,
        ];
        let mut loaded = BTreeMap::new();
        for operation in order {
            // Of the two copies of a program the one attached last runs first, and that has
            // to be the first one: else the other takes an operation for a new one.
            for attachment in attachments
                .iter()
                .rev()
                .filter(|each| each.operation == operation)
            {
                stopped.check()?;
                let first = loaded.insert(attachment.program, ()).is_none();
                self.attach_one(attachment, first, btf.as_ref())?;
            }
        }
        let kprobes = attachments.iter().filter(|each| by_kprobe(each)).count();
        self.cost.attached(kprobes);
        Ok(())
    }

    fn attach_one(
        &mut self,
        attachment: &Attachment,
        first: bool,
        btf: Option<&Btf>,
    ) -> Result<(), TraceError> {
        let refused = |error: &dyn std::error::Error| TraceError::Attach {
            function: attachment.function.to_owned(),
            how: attachment.how,
            // The verifier has nothing to say of what is not allowed at all.
            message: explain(error)
                .trim_end()
                .trim_end_matches(". Verifier output:")
                .to_owned(),
        };
        let program = self
            .ebpf
            .as_mut()
            .and_then(|ebpf| ebpf.program_mut(attachment.program))
            .ok_or_else(|| TraceError::Object(format!("no program {}", attachment.program)))?;
        let done = match (attachment.how, btf) {
            (How::Fentry, Some(btf)) => attach_fentry(program, attachment.function, btf),
            (How::Fexit, Some(btf)) => attach_fexit(program, attachment.function, btf),
            _ => attach_kprobe(program, attachment.function, first),
        };
        done.map_err(|error| match paranoia() {
            Some(level) if by_kprobe(attachment) && is_denied(&error) => {
                TraceError::Paranoid { level }
            }
            _ => refused(&error),
        })?;
        if first {
            let fd = program.fd().map_err(|error| refused(&error))?;
            let fd = fd
                .as_fd()
                .try_clone_to_owned()
                .map_err(|error| refused(&error))?;
            self.cost.watch(attachment.program, attachment.function, fd);
        }
        Ok(())
    }

    /// What is attached where, and what nothing tells of.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Hands every record written up to now to `take`, in the order they were written.
    /// Returns how many there were.
    pub fn drain(&mut self, mut take: impl FnMut(&Record, &[u8])) -> usize {
        // No more than that: who writes faster than this reads would never let it end.
        let mut left = self.cost.look();
        let mut frames = 0;
        while left > 0
            && let Some(frame) = self.records.next()
        {
            left = left.saturating_sub(footprint(&frame));
            match split(&frame) {
                Some((record, _)) if is_after(self.last.as_deref(), &record) => {}
                Some((record, payload)) => {
                    frames += 1;
                    take(&record, payload);
                }
                None => self.malformed += 1,
            }
        }
        frames
    }

    /// The counters of every queue and CPU that has any.
    pub fn counters(&self) -> Vec<StreamCounters> {
        if let Some(last) = &self.last {
            return last.clone();
        }
        let mut found = Vec::new();
        for number in 0..COUNTERS_PER_CPU {
            let Ok(cpus) = self.counters.get(&number, 0) else {
                break;
            };
            let mut any = false;
            for (cpu, words) in cpus.iter().enumerate() {
                let [emitted, lost, filtered, missed, queue] = *words;
                if queue == 0 {
                    continue;
                }
                any = true;
                found.push(StreamCounters {
                    queue: queue_of(queue),
                    producer: Producer::Cpu(cpu as u16 & 0x7fff).id(),
                    emitted,
                    lost,
                    filtered,
                    missed,
                });
            }
            if !any {
                break;
            }
        }
        for queue in &self.unkept {
            if let Some(stream) = found.iter_mut().find(|stream| stream.queue == *queue) {
                stream.missed += 1;
            }
        }
        found
    }

    /// Queues that were there when tracing began and of which no event has come for a
    /// moment since, or none but interrupts, which tell of no facts; each is told of once. Of
    /// all others their first event tells.
    pub fn quiet_queues(&mut self) -> Vec<Found> {
        if self.found.is_empty() || self.began.elapsed() < QUIET {
            return Vec::new();
        }
        let states = self.queues.iter().filter_map(Result::ok);
        let told: Vec<_> = states
            .filter_map(|(_, state)| told_by_event(&state))
            .collect();
        let mut quiet = std::mem::take(&mut self.found);
        quiet.retain(|queue| !told.contains(&queue.id));
        quiet
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

    /// Whether any of the queues that there were when it began is let through.
    pub const fn found_any(&self) -> bool {
        !self.found.is_empty()
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
        while self.promises.keys().next().is_some() && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
        let left = self.promises.iter().filter_map(Result::ok);
        self.unkept = left.map(|(_, queue)| queue_of(queue)).collect();
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

const fn by_kprobe(attachment: &Attachment) -> bool {
    matches!(attachment.how, How::Kprobe | How::Kretprobe)
}

/// The kernel's setting of who may open events, if it is one of those beyond Linux' own
/// (`perf_event_open(2)` has -1 to 2), by which some distributions allow nobody.
fn paranoia() -> Option<i32> {
    let text = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?;
    text.trim().parse().ok().filter(|level| *level > 2)
}

/// Whether an error comes of the kernel's saying EACCES.
fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    })
}

/// Whether this switch of the kernel's is off. What is attached all the same never runs.
fn is_off(switch: &str) -> bool {
    std::fs::read_to_string(switch).is_ok_and(|text| text.trim() == "0")
}

/// What `start` makes; where fentry or fexit is refused, what it makes with kprobes only,
/// and the refusal.
///
/// # Errors
/// `start` fails; if with both, why it did without kprobes alone.
fn or_by_kprobes<T>(
    kprobes_only: bool,
    mut start: impl FnMut(bool) -> Result<T, TraceError>,
) -> Result<(T, Option<TraceError>), TraceError> {
    match start(kprobes_only) {
        Ok(started) => Ok((started, None)),
        Err(refused) if !kprobes_only && refused.is_of_fentry() => match start(true) {
            Ok(started) => Ok((started, Some(refused))),
            Err(_) => Err(refused),
        },
        Err(error) => Err(error),
    }
}

/// Which queue this state is of, if an event has told of its facts.
fn told_by_event(state: &[u8; size_of::<QueueState>()]) -> Option<QueueId> {
    let synced = *state.get(std::mem::offset_of!(QueueState, synced))?;
    let id = state.get(std::mem::offset_of!(QueueState, id)..)?;
    let id = u32::from_ne_bytes(*id.first_chunk()?);
    (synced != 0).then(|| queue_of(id.into()))
}

/// The queue that the programs call this.
const fn queue_of(id: u64) -> QueueId {
    let id = id as u32;
    QueueId::new((id >> 16) as u16, id as u16)
}

fn take(ebpf: &mut Ebpf, map: &str) -> Result<aya::maps::Map, TraceError> {
    ebpf.take_map(map)
        .ok_or_else(|| TraceError::Object(format!("no map {map}")))
}

fn attach_fentry(program: &mut Program, function: &str, btf: &Btf) -> Result<(), ProgramError> {
    let program: &mut FEntry = program.try_into()?;
    program.load(function, btf)?;
    program.attach()?;
    Ok(())
}

fn attach_fexit(program: &mut Program, function: &str, btf: &Btf) -> Result<(), ProgramError> {
    let program: &mut FExit = program.try_into()?;
    program.load(function, btf)?;
    program.attach()?;
    Ok(())
}

fn attach_kprobe(program: &mut Program, function: &str, first: bool) -> Result<(), ProgramError> {
    let program: &mut KProbe = program.try_into()?;
    if first {
        program.load()?;
    }
    program.attach(function, 0)?;
    Ok(())
}

/// Whether a record was made when tracing had ended, with these counters.
fn is_after(last: Option<&[StreamCounters]>, record: &Record) -> bool {
    last.is_some_and(|last| {
        let mut streams = last.iter();
        let stream = streams.find(|stream| {
            stream.queue == record.queue() && stream.producer == record.producer().id()
        });
        // Sequences are the lower half of what is counted.
        stream
            .is_none_or(|stream| record.sequence().0.wrapping_sub(stream.emitted as u32) < 1 << 31)
    })
}

/// A frame's record and payload.
pub(crate) fn split(frame: &[u8]) -> Option<(Record, &[u8])> {
    let header = PseudoHeader::parse(frame).ok()?;
    let record = Record::from_bytes(frame.get(PseudoHeader::LEN..FRAME_LEN)?).ok()?;
    let end = FRAME_LEN.checked_add(header.payload_len() as usize)?;
    Some((record, frame.get(FRAME_LEN..end)?))
}

/// An error with its causes, and of a verifier's log the end.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = next.source();
    }
    const MOST: usize = 2000;
    if text.len() > MOST {
        let start = text.ceil_char_boundary(text.len() - MOST / 2);
        let end = text.floor_char_boundary(MOST / 2);
        text = format!("{} … {}", &text[..end], &text[start..]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_alone_tell_of_no_facts() {
        let state = |synced| {
            let mut state = [0; size_of::<QueueState>()];
            state[..4].copy_from_slice(&0x0003_0002_u32.to_ne_bytes());
            state[std::mem::offset_of!(QueueState, synced)] = synced;
            state
        };
        assert_eq!(told_by_event(&state(1)), Some(QueueId::new(3, 2)));
        assert_eq!(told_by_event(&state(0)), None);
    }

    #[test]
    fn what_is_made_while_detaching_is_left_out() {
        use virtscope_record::{Body, Common, Notify, Sequence};
        let (queue, producer) = (QueueId::new(1, 0), Producer::Cpu(2).id());
        let record = |sequence, producer| {
            let common = Common {
                queue,
                producer,
                sequence: Sequence(sequence),
                ..Common::default()
            };
            Record::new(common, Body::Notify(Notify::default()))
        };
        let last = |emitted| {
            [StreamCounters {
                queue,
                producer,
                emitted,
                lost: 0,
                filtered: 0,
                missed: 0,
            }]
        };
        let is_after =
            |emitted, sequence| super::is_after(Some(&last(emitted)), &record(sequence, producer));
        assert!(!is_after(10, 9) && is_after(10, 10));
        assert!(!is_after((1 << 32) + 2, 1) && is_after((1 << 32) + 2, 2));
        assert!(!is_after(1 << 32, u32::MAX) && is_after(1 << 32, 0));
        let other = Producer::Cpu(3).id();
        assert!(super::is_after(Some(&last(10)), &record(0, other)));
        assert!(!super::is_after(None, &record(99, producer)));
    }

    #[test]
    fn where_fentry_is_refused_kprobes_are_tried() {
        let refusal = |how| TraceError::Attach {
            function: "vring_interrupt".to_owned(),
            how,
            message: "no".to_owned(),
        };
        let start = |works: bool, first: How| {
            move |kprobes_only| match (kprobes_only, works) {
                (false, _) => Err(refusal(first)),
                (true, true) => Ok("by kprobes"),
                (true, false) => Err(refusal(How::Kprobe)),
            }
        };
        for how in [How::Fentry, How::Fexit] {
            let (started, refused) = or_by_kprobes(false, start(true, how)).unwrap();
            assert_eq!(started, "by kprobes");
            assert!(refused.unwrap().is_of_fentry());
            // Where nothing works the first is what has to be done something about.
            assert!(
                or_by_kprobes(false, start(false, how))
                    .unwrap_err()
                    .is_of_fentry()
            );
        }
        assert!(or_by_kprobes(false, start(true, How::Kretprobe)).is_err());
        assert!(or_by_kprobes(true, start(false, How::Fentry)).is_err());
        let (_, refused) = or_by_kprobes(true, start(true, How::Fentry)).unwrap();
        assert!(refused.is_none());
    }

    /// The kernel's verifier accepts the programs for kprobes and the one that looks, which
    /// share all their functions with those for fentry and fexit. Loaded, they are attached
    /// to nothing.
    #[test]
    fn this_kernels_verifier_accepts_the_programs() {
        if !missing_privileges().0.is_empty() {
            eprintln!("SKIPPED: loading programs needs root");
            return;
        }
        let config = virtscope_tracer_shared::Config {
            snaplen: 256,
            payload: 1,
            slots: SLOTS,
            ..Default::default()
        };
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
