//! What tracing costs, as the kernel counts it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::fill::Fill;

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
    /// Times the kernel skipped it, because it was running on that CPU already.
    pub skipped: u64,
}

/// What tracing has cost so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Program by program; runs and times only where the kernel counts them.
    pub programs: Vec<ProgramCost>,
    /// Whether the kernel counts runs and times.
    pub is_counted: bool,
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
    /// The kernel counts for as long as this is open.
    counting: Option<OwnedFd>,
    fill: Option<Fill>,
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
            fill: None,
            last: Cost {
                is_counted: counting.is_some(),
                buffer: buffer.into(),
                ..Cost::default()
            },
            counting,
        }
    }

    /// How full the buffer is can be read here.
    pub(crate) fn fill(&mut self, fill: Option<Fill>) {
        self.fill = fill;
    }

    /// The program `fd` runs at `function`.
    pub(crate) fn watch(&mut self, program: &'static str, function: &'static str, fd: OwnedFd) {
        self.watched.push(Watched {
            program,
            function,
            fd,
        });
    }

    /// Looks how full the buffer is: bytes that wait, and `u64::MAX` where that can't be
    /// seen.
    pub(crate) fn look(&mut self) -> u64 {
        let Some(fill) = &self.fill else {
            return u64::MAX;
        };
        self.last.waiting = fill.waiting();
        self.last.most_waiting = self.last.most_waiting.max(self.last.waiting);
        self.last.waiting
    }

    /// What has been counted so far.
    pub(crate) fn cost(&self) -> Cost {
        let mut cost = self.last.clone();
        if !self.watched.is_empty() {
            cost.programs = self.watched.iter().map(Watched::cost).collect();
        }
        cost
    }

    /// Keeps what has been counted, and lets go of the programs: while somebody has one
    /// open it stays in the kernel. The kernel stops counting.
    pub(crate) fn close(&mut self) {
        self.last = self.cost();
        self.watched.clear();
        self.counting = None;
    }
}

/// A loaded program whose counters are read.
#[derive(Debug)]
struct Watched {
    program: &'static str,
    function: &'static str,
    fd: OwnedFd,
}

impl Watched {
    /// Its counters, as the kernel shows them of the descriptor.
    fn cost(&self) -> ProgramCost {
        let path = format!("/proc/self/fdinfo/{}", self.fd.as_fd().as_raw_fd());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut cost = parse(&text);
        self.program.clone_into(&mut cost.program);
        self.function.clone_into(&mut cost.function);
        cost
    }
}

fn parse(text: &str) -> ProgramCost {
    let number = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(found, _)| *found == key)
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0)
    };
    ProgramCost {
        runs: number("run_cnt"),
        nanos: number("run_time_ns"),
        skipped: number("recursion_misses"),
        ..ProgramCost::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_descriptors_information() {
        let text = "pos:\t0\nflags:\t02000002\nprog_type:\t26\nrun_time_ns:\t5300\n\
            run_cnt:\t12\nrecursion_misses:\t3\n";
        let cost = parse(text);
        assert_eq!((cost.runs, cost.nanos, cost.skipped), (12, 5300, 3));
        assert_eq!(parse("").runs, 0);
    }
}
