//! What tracing costs, as the kernel counts it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::links::Links;

/// What one program has cost.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProgramCost {
    /// Its name in the object.
    pub program: String,
    /// The kernel's function it is attached to.
    pub function: String,
    /// Times it ran.
    pub runs: u64,
    /// Time it ran for, ns.
    pub nanos: u64,
    /// Times the kernel skipped it, because it was running on that CPU already; or its
    /// kprobe, because another one was handled there.
    pub skipped: u64,
}

/// What tracing has cost so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Program by program; runs and times only where the kernel counts them.
    pub programs: Vec<ProgramCost>,
    /// Whether the kernel counts runs and times.
    pub is_counted: bool,
    /// Whether there are kprobes of which the kernel does not tell how often it skipped
    /// them: it does from Linux 6.7 on.
    pub untold: bool,
    /// Bytes of the buffer that waited to be read when it was last looked at.
    pub waiting: u64,
    /// The most there were whenever it was looked at.
    pub most_waiting: u64,
    /// Bytes of the buffer.
    pub buffer: u64,
}

impl Cost {
    /// Times any program ran.
    pub fn runs(&self) -> u64 {
        self.programs.iter().map(|program| program.runs).sum()
    }

    /// Time all programs ran for, ns.
    pub fn nanos(&self) -> u64 {
        self.programs.iter().map(|program| program.nanos).sum()
    }

    /// Times the kernel skipped a program.
    pub fn skipped(&self) -> u64 {
        self.programs.iter().map(|program| program.skipped).sum()
    }
}

/// Keeps the kernel counting what programs cost, and reads what it has counted.
#[derive(Debug)]
pub(crate) struct CostWatch {
    watched: Vec<Watched>,
    links: Links,
    /// The kernel counts for as long as this is open.
    counting: Option<OwnedFd>,
    /// What is known of the buffer; when all is closed, also of the programs.
    last: Cost,
}

impl CostWatch {
    /// Begins to count, if that is wanted. `buffer` is the buffer's size in bytes.
    pub(crate) fn new(buffer: u32, is_wanted: bool) -> Self {
        let counting = is_wanted
            .then(|| aya::sys::enable_stats(aya::sys::Stats::RunTime).ok())
            .flatten();
        Self {
            watched: Vec::new(),
            links: Links::default(),
            last: Cost {
                is_counted: counting.is_some(),
                buffer: buffer.into(),
                ..Cost::default()
            },
            counting,
        }
    }

    /// The program `fd` runs at `function`.
    pub(crate) fn watch(&mut self, program: &'static str, function: &'static str, fd: OwnedFd) {
        let id = number(&information(&fd), "prog_id");
        self.watched.push(Watched {
            program,
            function,
            id: id as u32,
            fd,
        });
    }

    /// All is attached, `kprobes` of it by kprobe and kretprobe.
    pub(crate) fn attached(&mut self, kprobes: usize) {
        let programs: Vec<u32> = self.watched.iter().map(|watched| watched.id).collect();
        if kprobes > 0 {
            self.links = Links::of(&programs).unwrap_or_default();
        }
        self.last.untold = self.links.told() < kprobes;
    }

    /// So many bytes of the buffer wait to be read.
    pub(crate) fn note(&mut self, waiting: u64) {
        self.last.waiting = waiting;
        self.last.most_waiting = self.last.most_waiting.max(waiting);
    }

    /// What has been counted so far.
    pub(crate) fn cost(&self) -> Cost {
        let mut cost = self.last.clone();
        if !self.watched.is_empty() {
            let watched = self.watched.iter();
            cost.programs = watched.map(|watched| watched.cost(&self.links)).collect();
        }
        cost
    }

    /// Keeps what has been counted, and lets go of the programs and links: while somebody has
    /// one open it stays in the kernel. The kernel stops counting.
    pub(crate) fn close(&mut self) {
        self.last = self.cost();
        self.watched.clear();
        self.links = Links::default();
        self.counting = None;
    }
}

/// A loaded program whose counters are read.
#[derive(Debug)]
struct Watched {
    program: &'static str,
    function: &'static str,
    /// The kernel's number of it.
    id: u32,
    fd: OwnedFd,
}

impl Watched {
    /// Its counters, as the kernel shows them of the descriptor, and its links'.
    fn cost(&self, links: &Links) -> ProgramCost {
        let text = information(&self.fd);
        ProgramCost {
            program: self.program.to_owned(),
            function: self.function.to_owned(),
            runs: number(&text, "run_cnt"),
            nanos: number(&text, "run_time_ns"),
            skipped: number(&text, "recursion_misses") + links.missed(self.id),
        }
    }
}

/// What the kernel shows of a descriptor.
fn information(fd: &OwnedFd) -> String {
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    std::fs::read_to_string(path).unwrap_or_default()
}

fn number(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| *found == key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_descriptors_information() {
        let text = "pos:\t0\nflags:\t02000002\nprog_type:\t26\nprog_id:\t71\n\
            run_time_ns:\t5300\nrun_cnt:\t12\nrecursion_misses:\t3\n";
        let keys = ["prog_id", "run_cnt", "run_time_ns", "recursion_misses"];
        assert_eq!(keys.map(|key| number(text, key)), [71, 12, 5300, 3]);
        assert_eq!(number("", "run_cnt"), 0);
    }

    #[test]
    fn kprobes_that_are_not_told_of_are_known_to_be() {
        let mut watch = CostWatch::new(4096, false);
        watch.attached(0);
        assert!(!watch.cost().untold);
        watch.attached(1);
        watch.close();
        assert!(watch.cost().untold);
    }
}
