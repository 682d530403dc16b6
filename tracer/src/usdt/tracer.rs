//! Loads the program, attaches it to the probes, and takes the records.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{Array, HashMap as BpfHashMap, MapData};
use aya::programs::UProbe;
use aya::{Ebpf, EbpfLoader, Pod};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use virtscope_record::Record;
use virtscope_tracer_shared::{LostKey, LostRecords, PROBE_PAYLOAD_LIMIT};

use super::attach::Pmu;
use super::error::UsdtError;
use super::streams::{QueueTold, StreamBegin, Streams, queue_of};
use super::target::Target;
use crate::ring::Ring;
use crate::trace::{Cost, QueueFilter, StreamCounters, TraceOptions};
use crate::trace::{CostWatch, explain, missing_of, split};

/// The program, as `cargo xtask bpf` builds it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../virtscope-usdt.bpf.o");

/// What is to be traced of a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsdtOptions {
    /// Bytes of payload a record keeps at most, up to
    /// [`PROBE_PAYLOAD_LIMIT`]. The process may show fewer.
    pub snaplen: u32,
    /// Only these devices, by their numbers; empty: all.
    pub devices: Vec<u16>,
    /// Only these queues; empty: all.
    pub queues: Vec<QueueFilter>,
    /// Bytes of the buffer between kernel and user space; a power of two and whole
    /// pages.
    pub buffer_bytes: u32,
    /// As [`TraceOptions::count_cost`].
    pub count_cost: bool,
}

impl Default for UsdtOptions {
    fn default() -> Self {
        Self {
            snaplen: 256,
            devices: Vec::new(),
            queues: Vec::new(),
            buffer_bytes: 16 << 20,
            count_cost: true,
        }
    }
}

/// A key or a value of a map, which is nothing but words.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Words<T>(T);

// SAFETY: `LostKey` and `LostRecords` are `repr(C)`, made of integers, without padding.
unsafe impl Pod for Words<LostKey> {}
// SAFETY: see above.
unsafe impl Pod for Words<LostRecords> {}

const _: () = assert!(size_of::<LostKey>() == 12 && size_of::<LostRecords>() == 16);

/// A running tracer of a process's probes. What it attached goes with it, however it
/// ends.
pub struct UsdtTracer {
    /// What is attached, until it is detached. Before the program it belongs to.
    events: Vec<OwnedFd>,
    ebpf: Option<Ebpf>,
    records: Ring,
    lost: BpfHashMap<MapData, Words<LostKey>, Words<LostRecords>>,
    unreadable: Array<MapData, u64>,
    process: Option<OwnedFd>,
    streams: Streams,
    filter: TraceOptions,
    cost: CostWatch,
    malformed: u64,
    places: usize,
}

impl UsdtTracer {
    /// Loads the program and attaches it to the probes of `target`.
    ///
    /// # Errors
    /// A missing privilege, no such process, no probes, or what the kernel refuses.
    pub fn start(target: &Target, options: &UsdtOptions) -> Result<Self, UsdtError> {
        // First what the user may have mistyped, then what the user may.
        let process = target.open()?;
        let probes = target.probes()?;
        let missing = missing_of(&["CAP_BPF", "CAP_PERFMON"]);
        if !missing.0.is_empty() {
            return Err(UsdtError::Privileges {
                missing: missing.to_string(),
            });
        }
        let pmu = Pmu::of_this_kernel()?;
        let snaplen = options.snaplen.min(PROBE_PAYLOAD_LIMIT);
        let mut ebpf = EbpfLoader::new()
            .override_global("SNAPLEN", &snaplen, true)
            .map_max_entries("RECORDS", options.buffer_bytes)
            .load(OBJECT)
            .map_err(|source| UsdtError::Load {
                source: Box::new(source),
            })?;
        let mut cost = CostWatch::new(options.buffer_bytes, options.count_cost);
        let records = Ring::of(take(&mut ebpf, "RECORDS")?, options.buffer_bytes)
            .map_err(UsdtError::Object)?;
        let lost = BpfHashMap::try_from(take(&mut ebpf, "LOST")?).map_err(object)?;
        let unreadable = Array::try_from(take(&mut ebpf, "UNREADABLE")?).map_err(object)?;
        let mut programs = HashMap::new();
        for (name, probe) in PROGRAMS {
            let program = load(&mut ebpf, name)?;
            let watched = program.try_clone().map_err(object)?;
            cost.watch(name, probe, watched);
            programs.insert(name, program);
        }
        let pid = match target {
            Target::Process(pid) => Some(*pid),
            Target::Program(_) => None,
        };
        let mut events = Vec::new();
        for file in &probes {
            for note in &file.notes {
                let Some(program) = programs.get(note.name.as_str()) else {
                    continue;
                };
                let event = pmu
                    .attach(&file.path, note, pid, program)
                    .map_err(|source| UsdtError::Attach {
                        probe: format!("{}:{}", note.provider, note.name),
                        path: file.path.clone(),
                        source,
                    })?;
                events.push(event);
            }
        }
        Ok(Self {
            places: events.len(),
            events,
            ebpf: Some(ebpf),
            records,
            lost,
            unreadable,
            process,
            streams: Streams::new(matches!(target, Target::Program(_))),
            filter: TraceOptions {
                devices: options.devices.clone(),
                queues: options.queues.clone(),
                ..TraceOptions::default()
            },
            cost,
            malformed: 0,
        })
    }

    /// At how many places it is attached.
    pub const fn places(&self) -> usize {
        self.places
    }

    /// Whether the process that is traced has ended; never so for a program.
    pub fn process_ended(&self) -> bool {
        let Some(process) = &self.process else {
            return false;
        };
        let mut polled = [PollFd::new(process, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// The producers whose first record has come since this was last asked, or was lost.
    /// Their records are handed out by the next [`drain`](Self::drain).
    pub fn begun(&mut self) -> Vec<StreamBegin> {
        let lost: HashMap<_, _> = self
            .lost
            .iter()
            .filter_map(Result::ok)
            .map(|(Words(key), Words(lost))| (key, lost))
            .filter(|(key, _)| self.filter.wants(queue_of(key), None))
            .collect();
        self.streams.begin(&lost)
    }

    /// What the process told of its queues since this was last asked.
    pub fn queues(&mut self) -> Vec<QueueTold> {
        self.streams.told()
    }

    /// Hands every record written up to now to `take`, in the order they were written,
    /// but for those of producers that [`begun`](Self::begun) has not told of. Returns
    /// how many frames the buffer had.
    pub fn drain(&mut self, mut take: impl FnMut(&Record, &[u8])) -> usize {
        let Self {
            records,
            cost,
            streams,
            filter,
            malformed,
            ..
        } = self;
        cost.note(records.waiting());
        streams.release(&mut take);
        let mut frames = 0;
        records.drain(|frame| {
            frames += 1;
            match split(frame) {
                Some((record, payload)) => {
                    if filter.wants(record.queue(), None) {
                        streams.take(&record, payload, &mut take);
                    }
                }
                None => *malformed += 1,
            }
        });
        frames
    }

    /// The counters of every producer that has begun.
    pub fn counters(&self) -> Vec<StreamCounters> {
        self.streams.counters()
    }

    /// Records that could not even be read, or that were none: they show as holes in
    /// their producer's numbers, whose producer is not known.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.get(&0, 0).unwrap_or(0) + self.malformed
    }

    /// What it has cost so far.
    pub fn cost(&self) -> Cost {
        self.cost.cost()
    }

    /// Detaches everything; records written before can still be drained.
    pub fn detach(&mut self) {
        self.cost.close();
        self.events.clear();
        self.ebpf = None;
    }
}

impl std::fmt::Debug for UsdtTracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UsdtTracer")
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

/// The programs, each of the name of its probe.
const PROGRAMS: [(&str, &str); 2] = [("queue", "virtscope:queue"), ("record", "virtscope:record")];

/// Loads a program into the kernel.
fn load(ebpf: &mut Ebpf, name: &str) -> Result<OwnedFd, UsdtError> {
    let program: &mut UProbe = ebpf
        .program_mut(name)
        .ok_or_else(|| UsdtError::Object(format!("no program {name}")))?
        .try_into()
        .map_err(object)?;
    let refused = |error: &dyn std::error::Error| UsdtError::Program {
        message: explain(error),
    };
    program.load().map_err(|error| refused(&error))?;
    program
        .fd()
        .and_then(|fd| Ok(fd.as_fd().try_clone_to_owned()?))
        .map_err(|error| refused(&error))
}

fn take(ebpf: &mut Ebpf, map: &str) -> Result<aya::maps::Map, UsdtError> {
    ebpf.take_map(map)
        .ok_or_else(|| UsdtError::Object(format!("no map {map}")))
}

fn object(error: impl std::error::Error) -> UsdtError {
    UsdtError::Object(error.to_string())
}
