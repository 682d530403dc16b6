//! What is printed.

use serde::Serialize;

use crate::conversation::Shape;
use crate::harness::Samples;

/// The results of one cell: one ring size, batch and shape of buffer.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The Queue Size.
    pub size: u16,
    /// Buffers added before each kick.
    pub batch: u16,
    /// What a buffer looks like.
    pub shape: Shape,
    /// Everybody, in the order of the run.
    pub rows: Vec<Row>,
}

/// The results of one contender in one cell.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Whose.
    pub name: &'static str,
    /// Nanoseconds per buffer, the fastest round.
    pub min: f64,
    /// Nanoseconds per buffer, the round in the middle.
    pub median: f64,
    /// As a multiple of the floor of the same layout, round by round.
    pub to_floor: f64,
    /// As a multiple of `virtio-drivers` with direct descriptors, round by round.
    pub to_peer: f64,
}

/// The name of the peer that ratios are to.
pub const PEER: &str = "virtio-drivers";

impl Cell {
    /// The results of a cell. The name of a packed ring contains `packed`, that
    /// of a floor begins with `floor`.
    pub fn new(size: u16, batch: u16, shape: Shape, samples: &[Samples]) -> Self {
        let named = |name: &str| samples.iter().find(|samples| samples.name == name);
        let ratio = |samples: &Samples, other: &str| {
            named(other).map_or(f64::NAN, |other| samples.ratio_to(other))
        };
        let row = |samples: &Samples| {
            let packed = samples.name.contains("packed");
            Row {
                name: samples.name,
                min: samples.min(),
                median: samples.median(),
                to_floor: ratio(
                    samples,
                    if packed {
                        "floor packed"
                    } else {
                        "floor split"
                    },
                ),
                to_peer: ratio(samples, PEER),
            }
        };
        Self {
            size,
            batch,
            shape,
            rows: samples.iter().map(row).collect(),
        }
    }

    /// Prints it as a part of a table.
    pub fn print(&self) {
        println!(
            "\nring {}, batch {}, {} of {} bytes",
            self.size,
            self.batch,
            match self.shape {
                Shape::One => "one descriptor",
                Shape::Two => "two descriptors",
            },
            crate::conversation::SEGMENT_LEN
        );
        println!(
            "  {:28} {:>8} {:>8} {:>8} {:>8}",
            "ns a buffer", "min", "median", "/floor", "/peer"
        );
        for row in &self.rows {
            println!(
                "  {:28} {:8.2} {:8.2} {:8.2} {:8.2}",
                row.name, row.min, row.median, row.to_floor, row.to_peer
            );
        }
    }
}
