//! What tracing itself costs, in a few words.

use std::time::Instant;

use virtscope_analyzer::{format_bytes, format_duration};
use virtscope_tracer::trace::Cost;

/// What a tracer tells of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Overhead {
    cost: Cost,
    /// Records taken from the buffer.
    records: u64,
    /// Records a second, over the last look and over all.
    per_second: f64,
    since: Option<(Instant, u64)>,
    began: Option<Instant>,
    busy: f64,
    /// Hits whose record could not be read.
    pub(super) unreadable: u64,
    /// Queues that are not followed, for want of room.
    pub(super) refused: u64,
    /// Whether the process that was traced has ended.
    pub(super) process_ended: bool,
}

impl Overhead {
    /// Takes in what the tracer counts by now.
    pub(super) fn learn(&mut self, cost: Cost, records: u64) {
        let now = Instant::now();
        let began = *self.began.get_or_insert(now);
        if let Some((since, before)) = self.since {
            let seconds = now.duration_since(since).as_secs_f64();
            if seconds > 0.0 {
                self.per_second = records.saturating_sub(before) as f64 / seconds;
            }
        }
        self.since = Some((now, records));
        let seconds = now.duration_since(began).as_secs_f64();
        self.busy = if seconds > 0.0 {
            cost.nanos() as f64 / 1e9 / seconds
        } else {
            0.0
        };
        self.cost = cost;
        self.records = records;
    }

    /// For the screen's title.
    pub(super) fn live(&self) -> String {
        let mut text = format!(
            "{}, {:.0} records/s, buffer {}",
            self.programs(),
            self.per_second,
            percent(self.cost.waiting, self.cost.buffer),
        );
        if self.skipped() > 0 {
            text.push_str(&format!(", {} programs skipped", self.skipped()));
        }
        if self.refused > 0 {
            text.push_str(&format!(", {} NOT FOLLOWED", queues(self.refused)));
        }
        text
    }

    /// Times the kernel skipped one of the programs.
    pub(super) fn skipped(&self) -> u64 {
        self.cost.skipped()
    }

    /// For the last line.
    pub(super) fn all(&self) -> String {
        let mut text = format!(
            "{}{}; {} records, buffer of {} at most {} full; programs skipped by the kernel: {}{}",
            self.programs(),
            match self.cost.is_counted {
                true => format!(", {:.2} % of a CPU", 100.0 * self.busy),
                false => String::new(),
            },
            self.records,
            format_bytes(self.cost.buffer),
            percent(self.cost.most_waiting, self.cost.buffer),
            self.skipped(),
            match self.cost.untold {
                true => ", without kprobes, of which Linux tells from 6.7 on",
                false => "",
            },
        );
        if self.unreadable > 0 {
            text.push_str(&format!(
                "; {} records could not be read and count as lost",
                self.unreadable
            ));
        }
        if self.refused > 0 {
            text.push_str(&format!("; {}", not_followed(self.refused)));
        }
        text
    }

    fn programs(&self) -> String {
        if !self.cost.is_counted {
            return "cost not counted".to_owned();
        }
        match self.cost.runs() {
            0 => "no program ran".to_owned(),
            runs => format!(
                "{runs} runs, {} each",
                format_duration(self.cost.nanos() / runs)
            ),
        }
    }
}

/// That queues are not followed, and what to do about it.
pub(in crate::commands) fn not_followed(refused: u64) -> String {
    format!(
        "{} NOT FOLLOWED for want of room: choose some by --device, --driver or --queue",
        queues(refused)
    )
}

fn queues(count: u64) -> String {
    match count {
        1 => "1 queue".to_owned(),
        _ => format!("{count} queues"),
    }
}

fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "unknown".to_owned(),
        _ => format!("{:.1} %", 100.0 * part as f64 / whole as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virtscope_tracer::trace::ProgramCost;

    #[test]
    fn what_is_not_counted_is_not_said_to_be_nothing() {
        let mut overhead = Overhead::default();
        assert!(overhead.live().starts_with("cost not counted"));
        let all = overhead.all();
        assert!(all.starts_with("cost not counted; 0 records"), "{all}");
        let program = ProgramCost {
            runs: 1000,
            nanos: 500_000,
            skipped: 3,
            ..ProgramCost::default()
        };
        let mut cost = Cost {
            programs: vec![],
            is_counted: true,
            untold: false,
            waiting: 1 << 19,
            most_waiting: 1 << 20,
            buffer: 16 << 20,
        };
        overhead.learn(cost.clone(), 0);
        assert_eq!(overhead.live(), "no program ran, 0 records/s, buffer 3.1 %");
        cost.programs.push(program);
        overhead.learn(cost, 900);
        let (live, all) = (overhead.live(), overhead.all());
        assert!(live.starts_with("1000 runs, 500 ns each, "), "{live}");
        assert!(live.ends_with("buffer 3.1 %, 3 programs skipped"), "{live}");
        assert!(
            all.contains("at most 6.2 % full; programs skipped by the kernel: 3"),
            "{all}"
        );
        assert!(!all.contains("could not be read"), "{all}");
        assert!(!all.contains("kprobes"), "{all}");
        overhead.cost.untold = true;
        let untold = overhead.all();
        assert!(untold.contains("kernel: 3, without kprobes"), "{untold}");
        overhead.unreadable = 2;
        assert!(
            overhead
                .all()
                .ends_with("; 2 records could not be read and count as lost")
        );
        overhead.refused = 7;
        assert!(overhead.live().ends_with(", 7 queues NOT FOLLOWED"));
        assert!(
            overhead
                .all()
                .contains("; 7 queues NOT FOLLOWED for want of room")
        );
    }
}
