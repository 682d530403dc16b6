//! The two tracers as sources of records: of this kernel's virtqueues, and of a process's
//! probes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use virtscope_captures::Selection;
use virtscope_driver::instrument::live::monotonic_now;
use virtscope_record::{Generation, Kind, QueueId, Record, Timestamp};
use virtscope_tracer::trace::{StreamCounters, Tracer};
use virtscope_tracer::usdt::UsdtTracer;

use super::overhead::Overhead;
use crate::recorder::{Begun, QueueNotice, Source};

/// How often the cost is asked for.
const COST_INTERVAL: Duration = Duration::from_millis(500);

/// How long records may lie in the buffer that are few: whoever waits for them looks no more
/// often.
const REST: Duration = Duration::from_millis(50);

/// What all that traces tells of itself, for the screens and the last line.
#[derive(Clone, Debug, Default)]
pub(super) struct Told(Arc<Mutex<Overhead>>);

impl Told {
    pub(super) fn get(&self) -> Overhead {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether the process that is traced has ended.
    pub(super) fn process_ended(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .process_ended
    }

    fn update(&self, change: impl FnOnce(&mut Overhead)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// How often something is looked at, and how many records there were.
#[derive(Debug)]
struct Pace {
    asked: Option<Instant>,
    records: u64,
}

impl Pace {
    const fn new() -> Self {
        Self {
            asked: None,
            records: 0,
        }
    }

    fn is_due(&self) -> bool {
        self.asked
            .is_none_or(|asked| asked.elapsed() >= COST_INTERVAL)
    }
}

/// A tracer of this kernel as a source of records.
pub(super) struct Traced {
    tracer: Tracer,
    snaplen: u32,
    selection: Selection,
    told: Told,
    pace: Pace,
    ended: Option<Timestamp>,
}

impl Traced {
    pub(super) fn new(tracer: Tracer, snaplen: u32, selection: Selection, told: &Told) -> Self {
        Self {
            tracer,
            snaplen,
            selection,
            told: told.clone(),
            pace: Pace::new(),
            ended: None,
        }
    }

    fn ask_cost(&mut self) {
        self.pace.asked = Some(Instant::now());
        let (cost, records) = (self.tracer.cost(), self.pace.records);
        let refused = self.tracer.refused_queues();
        self.told.update(|overhead| {
            overhead.learn(cost, records);
            overhead.refused = refused;
        });
    }
}

impl Source for Traced {
    fn snaplen(&self) -> u32 {
        self.snaplen
    }

    fn selection(&self) -> Selection {
        self.selection
    }

    fn drain(&mut self, take: &mut dyn FnMut(&Record, &[u8])) {
        let frames = self.tracer.drain(|record, payload| {
            if record.kind() == Ok(Kind::QueueFacts) {
                take(record, describe(record.queue(), payload).as_bytes());
            } else {
                take(record, payload);
            }
        });
        self.pace.records += frames as u64;
        if self.pace.is_due() {
            self.ask_cost();
        }
    }

    fn rest(&self) {
        self.tracer.rest(REST);
    }

    fn notices(&mut self) -> Vec<QueueNotice> {
        let quiet = self.tracer.quiet_queues().into_iter();
        quiet
            .map(|found| QueueNotice {
                queue: found.id,
                generation: found.generation,
                facts: found.facts,
                text: describe(found.id, found.name.unwrap_or_default().as_bytes()),
                in_flight: found.in_flight,
            })
            .collect()
    }

    fn look(&mut self) {
        self.tracer.look();
    }

    fn counters(&self) -> Vec<StreamCounters> {
        self.tracer.counters()
    }

    fn programs_skipped(&self) -> u64 {
        self.told.get().skipped()
    }

    fn stop(&mut self) {
        self.ask_cost();
        self.tracer.end();
        self.ended = Some(monotonic_now());
        self.tracer.detach();
    }

    fn ended(&self) -> Option<Timestamp> {
        self.ended
    }
}

/// A tracer of a process's probes as a source of records.
pub(super) struct TracedProcess {
    tracer: UsdtTracer,
    snaplen: u32,
    told: Told,
    pace: Pace,
}

impl TracedProcess {
    pub(super) fn new(tracer: UsdtTracer, snaplen: u32, told: &Told) -> Self {
        Self {
            tracer,
            snaplen,
            told: told.clone(),
            pace: Pace::new(),
        }
    }

    fn ask_cost(&mut self) {
        self.pace.asked = Some(Instant::now());
        let (cost, records) = (self.tracer.cost(), self.pace.records);
        let unreadable = self.tracer.unreadable();
        self.told.update(|overhead| {
            overhead.learn(cost, records);
            overhead.unreadable = unreadable;
        });
    }
}

impl Source for TracedProcess {
    fn snaplen(&self) -> u32 {
        self.snaplen
    }

    fn drain(&mut self, take: &mut dyn FnMut(&Record, &[u8])) {
        // Before the last look: what it still did is there to be taken.
        let ended = self.tracer.process_ended();
        self.pace.records += self.tracer.drain(take) as u64;
        if ended {
            self.told.update(|overhead| overhead.process_ended = true);
        }
        if self.pace.is_due() {
            self.ask_cost();
        }
    }

    fn begun(&mut self) -> Vec<Begun> {
        let begun = self.tracer.begun().into_iter();
        begun
            .map(|stream| Begun {
                queue: stream.queue,
                producer: stream.producer,
                number: stream.number,
            })
            .collect()
    }

    fn notices(&mut self) -> Vec<QueueNotice> {
        let told = self.tracer.queues().into_iter();
        told.map(|told| QueueNotice {
            queue: told.queue,
            generation: Generation(0),
            facts: told.facts,
            text: told.text,
            in_flight: Vec::new(),
        })
        .collect()
    }

    fn counters(&self) -> Vec<StreamCounters> {
        self.tracer.counters()
    }

    fn programs_skipped(&self) -> u64 {
        self.told.get().skipped()
    }

    fn stop(&mut self) {
        self.ask_cost();
        self.tracer.detach();
    }
}

/// A queue's facts in words: the driver's own name for it, and what the kernel says of
/// its device.
pub(super) fn describe(queue: QueueId, payload: &[u8]) -> String {
    let end = payload.iter().position(|byte| *byte == 0);
    let own_name = one_line(&payload[..end.unwrap_or(payload.len())]);
    let device = format!("virtio{}", queue.device);
    let mut text = if own_name.is_empty() {
        format!("{device}/{}", queue.index)
    } else {
        format!("{device}/{own_name}")
    };
    let directory = std::path::Path::new("/sys/bus/virtio/devices").join(&device);
    if let Ok(driver) = std::fs::read_link(directory.join("driver"))
        && let Some(driver) = driver.file_name()
    {
        text.push_str(&format!("\ndriver={}", driver.to_string_lossy()));
    }
    // The 9P transport shows its mount tag; it ends with a zero byte.
    if let Ok(tag) = std::fs::read(directory.join("mount_tag")) {
        let end = tag.iter().rposition(|byte| !matches!(byte, 0 | b'\n'));
        text.push_str(&format!(
            "\ntag={}",
            one_line(&tag[..end.map_or(0, |end| end + 1)])
        ));
    }
    text
}

/// A text that may hold anything, as a part of one line: it must not begin another.
fn one_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_described_by_its_name_or_its_number() {
        let queue = QueueId::new(65000, 2);
        assert_eq!(
            describe(queue, b"requests\0\xff\xff"),
            "virtio65000/requests"
        );
        assert_eq!(describe(queue, b"\0"), "virtio65000/2");
        assert_eq!(describe(queue, b""), "virtio65000/2");
        assert_eq!(
            describe(queue, b"a\ndriver=\x1bz\0"),
            "virtio65000/a\u{fffd}driver=\u{fffd}z"
        );
    }
}
