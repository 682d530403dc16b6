//! Pictures of letters: how long requests took, how full a ring was.

use std::fmt::{self, Write};

use super::page::Style;
use super::{OccupancyStretch, QueueReport};
use crate::stats::Bucket;
use crate::text::duration;

/// Eighths of a cell, from below and from the left.
const RISING: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const GROWING: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// Rows of the picture of a ring.
const ROWS: usize = 4;

/// Columns left of a picture.
const MARGIN: usize = 11;

/// One line for each power of two; those between that have none are there, too.
pub(super) fn histogram(
    f: &mut fmt::Formatter<'_>,
    buckets: &[Bucket],
    style: Style,
) -> fmt::Result {
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0);
    if most == 0 {
        return Ok(());
    }
    let room = style.columns.saturating_sub(2 * MARGIN + 18).clamp(10, 60);
    writeln!(f, "  how many requests took how long")?;
    for bucket in buckets {
        let (from, to) = match bucket.from_ns {
            0 => ("0 ns".to_owned(), "1 ns".to_owned()),
            from => (duration(from), duration(from.saturating_mul(2))),
        };
        let eighths = (bucket.count as f64 / most as f64 * room as f64 * 8.0).ceil() as usize;
        let mut bar: String = std::iter::repeat_n(GROWING[8], eighths / 8).collect();
        if !eighths.is_multiple_of(8) {
            bar.push(GROWING[eighths % 8]);
        }
        let line = format!("  {from:>9} .. {to:<9} {:>10} ", bucket.count);
        writeln!(f, "{line}{}", style.bar(&bar))?;
    }
    Ok(())
}

/// Buffers in flight over time: the mean of each stretch as a picture, the peak of
/// each, and how much of it the ring was full.
pub(super) fn occupancy(
    f: &mut fmt::Formatter<'_>,
    queue: &QueueReport,
    style: Style,
) -> fmt::Result {
    let history = &queue.occupancy.history;
    let peak = queue.occupancy.in_flight_peak;
    if history.len() < 2 || peak == 0 {
        return Ok(());
    }
    let room = style.columns.saturating_sub(MARGIN + 2).clamp(20, 120);
    let stretches = spread(history, room);
    let of = queue
        .size
        .map_or_else(String::new, |size| format!(", ring of {size}"));
    writeln!(
        f,
        "  buffers in flight over time: mean and peak of each stretch{of}"
    )?;
    let means = || stretches.iter().map(|stretch| stretch.mean);
    let top = means().fold(1.0_f64, f64::max);
    for row in (0..ROWS).rev() {
        let label = match row {
            row if row == ROWS - 1 => format!("{top:.1}"),
            0 => "mean 0".to_owned(),
            _ => String::new(),
        };
        let line: String = means().map(|mean| part_of(mean / top, row)).collect();
        writeln!(f, "  {label:>8} {}", style.bar(line.trim_end()))?;
    }
    let peaks = stretches.iter().map(|stretch| f64::from(stretch.peak));
    let line: String = peaks.map(|level| low(level / f64::from(peak))).collect();
    let label = format!("peak {peak}");
    writeln!(f, "  {label:>8} {}", style.bar(line.trim_end()))?;
    if queue.occupancy.full_ns > 0 {
        let line: String = stretches.iter().map(|stretch| low(stretch.full)).collect();
        writeln!(f, "  {:>8} {}", "full", style.bar(line.trim_end()))?;
    }
    let mut scale = String::new();
    let end = duration(queue.occupancy.observed_ns);
    let width = stretches.len().saturating_sub(end.chars().count() + 3);
    write!(scale, "0 s{:>width$}{end}", "")?;
    writeln!(f, "  {:>8} {scale}", "")
}

/// What `row` of a column shows that is filled to this `share`.
fn part_of(share: f64, row: usize) -> char {
    let eighths = (share * (ROWS * 8) as f64).round() as usize;
    RISING[eighths.saturating_sub(row * 8).min(8)]
}

/// A column of one row; whatever is not nothing shows.
fn low(share: f64) -> char {
    let eighths = (share * 8.0).ceil() as usize;
    RISING[eighths.min(8)]
}

/// One column of a picture.
struct Stretch {
    mean: f64,
    peak: u32,
    /// The share of it without a free descriptor.
    full: f64,
}

/// A history over as many columns as it has stretches, at most `room`.
fn spread(history: &[OccupancyStretch], room: usize) -> Vec<Stretch> {
    let columns = room.min(history.len());
    let length_ns = match history {
        [first, second, ..] => second.from_ns.saturating_sub(first.from_ns),
        _ => 0,
    };
    (0..columns)
        .map(|column| {
            let start = column * history.len() / columns;
            let end = ((column + 1) * history.len() / columns).max(start + 1);
            let part = &history[start..end];
            let many = part.len() as f64;
            let full: u64 = part.iter().map(|stretch| stretch.full_ns).sum();
            Stretch {
                mean: part
                    .iter()
                    .map(|stretch| stretch.in_flight_mean)
                    .sum::<f64>()
                    / many,
                peak: part
                    .iter()
                    .map(|stretch| stretch.in_flight_peak)
                    .max()
                    .unwrap_or(0),
                full: full as f64 / (length_ns as f64 * many).max(1.0),
            }
        })
        .collect()
}
