//! A diff for people.

use std::fmt;

use super::report::{Change, Comparison, DiffReport, Direction, MeasureName, RunReport};
use crate::text::duration;

impl fmt::Display for DiffReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        run(f, "A", &self.a)?;
        run(f, "B", &self.b)?;
        if let Some(filter) = &self.filter {
            writeln!(
                f,
                "Filter    {}: all that follows is of requests that match",
                crate::sanitize(filter)
            )?;
        }
        writeln!(f)?;
        for change in &self.changes {
            self.change(f, change)?;
        }
        if self.changes.is_empty() {
            writeln!(
                f,
                "Nothing got slower or faster by more than chance explains."
            )?;
        }
        self.unchanged(f)?;
        self.left_out(f)?;
        writeln!(
            f,
            "\n{} tests; in at most {} % of runs that do not differ any of them says they do\n\
             (Brunner and Munzel's, over batches, with Holm's correction). A median that\n\
             moves by less than {} % is no news. Of an operation at most {} requests are\n\
             compared, a sample of all.",
            self.tests,
            self.error_rate * 100.0,
            self.smallest_shift * 100.0,
            self.sample_size,
        )?;
        self.table(f)
    }
}

fn run(f: &mut fmt::Formatter<'_>, letter: &str, run: &RunReport) -> fmt::Result {
    writeln!(
        f,
        "{letter}         {}: {} requests completed in {}, {} incomplete, {} errors; {} records lost",
        run.name,
        run.completed,
        duration(run.duration_ns),
        run.incomplete,
        run.errors,
        run.records_lost,
    )?;
    for note in &run.notes {
        writeln!(f, "          {note}")?;
    }
    Ok(())
}

/// `+12.3 µs`, `-400 ns`.
fn signed(ns: f64) -> String {
    let sign = if ns < 0.0 { '-' } else { '+' };
    format!("{sign}{}", duration(ns.abs().round() as u64))
}

/// `+130 %`.
fn percent(shift: f64, of: u64) -> String {
    if of == 0 {
        return String::new();
    }
    format!(" ({:+.0} %)", 100.0 * shift / of as f64)
}

/// `p < 0.0001`, `p = 0.012`.
fn probability(p: f64) -> String {
    if p < 0.0001 {
        "p < 0.0001".to_owned()
    } else {
        format!("p = {p:.4}")
    }
}

impl DiffReport {
    fn comparison(&self, operation: &str, measure: MeasureName) -> Option<&Comparison> {
        let mut all = self.comparisons.iter();
        all.find(|c| c.operation == operation && c.measure == measure)
    }

    fn change(&self, f: &mut fmt::Formatter<'_>, change: &Change) -> fmt::Result {
        let label = match change.direction {
            Direction::Slower => "Slower",
            Direction::Faster => "Faster",
        };
        write!(f, "{label}    {}", change.operation)?;
        match change.phase {
            Some(phase) => writeln!(f, ", in the {} phase", phase.name())?,
            None => writeln!(f)?,
        }
        for moved in &change.moved {
            let Some(c) = self.comparison(&change.operation, moved.measure) else {
                continue;
            };
            write!(f, "          {:<8}", moved.measure.name())?;
            if moved.in_the_middle {
                let bounds = c.shift_95.map_or_else(String::new, |(low, high)| {
                    format!(", 95 %: {} to {}", signed(low), signed(high))
                });
                writeln!(
                    f,
                    "median {} -> {}: {}{}{bounds}; {}",
                    duration(c.a.median),
                    duration(c.b.median),
                    signed(c.shift_ns),
                    percent(c.shift_ns, c.a.median),
                    probability(c.p_corrected),
                )?;
            } else if let Some(tail) = c.tail {
                writeln!(
                    f,
                    "in the tail alone: p99 {} -> {}; {}",
                    duration(c.a.p99),
                    duration(c.b.p99),
                    probability(tail.p_corrected),
                )?;
            }
        }
        Ok(())
    }

    fn unchanged(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = self
            .comparisons
            .iter()
            .filter(|c| c.measure == MeasureName::Total)
            .map(|c| c.operation.as_str());
        let changed = |name: &&str| self.changes.iter().any(|c| c.operation == *name);
        let same: Vec<_> = totals.filter(|name| !changed(name)).collect();
        if same.is_empty() {
            return Ok(());
        }
        wrapped(f, "Unchanged ", &same.join(", "))
    }

    fn left_out(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let few: Vec<_> = self
            .too_few
            .iter()
            .map(|few| format!("{} ({} and {})", few.operation, few.a, few.b))
            .collect();
        for (label, names) in [
            ("Too few   ", few),
            ("Only in A ", self.only_in_a.clone()),
            ("Only in B ", self.only_in_b.clone()),
        ] {
            if !names.is_empty() {
                wrapped(f, label, &names.join(", "))?;
            }
        }
        Ok(())
    }

    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.comparisons.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\n{:<12}{:<8} {:>9} {:>9} {:>10} {:>9} {:>9} {:>8} {:>9}",
            "Operation", "", "median A", "median B", "shift", "p99 A", "p99 B", "B slower", "p"
        )?;
        let mut before = "";
        for c in &self.comparisons {
            let name = if c.operation == before {
                ""
            } else {
                &c.operation
            };
            before = &c.operation;
            let p = if c.p_corrected < 0.0001 {
                "< 0.0001".to_owned()
            } else {
                format!("{:.4}", c.p_corrected)
            };
            writeln!(
                f,
                "{name:<12}{:<8} {:>9} {:>9} {:>10} {:>9} {:>9} {:>6.0} % {p:>9}",
                c.measure.name(),
                duration(c.a.median),
                duration(c.b.median),
                signed(c.shift_ns),
                duration(c.a.p99),
                duration(c.b.p99),
                c.probability_slower * 100.0,
            )?;
        }
        Ok(())
    }
}

/// `text` broken between words, later lines indented like the first.
fn wrapped(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    let mut line = label.to_owned();
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > 100 {
            writeln!(f, "{}", line.trim_end())?;
            line = " ".repeat(label.len());
        }
        if !line.ends_with(' ') {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(f, "{line}")
}
