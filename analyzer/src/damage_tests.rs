//! A good capture, damaged in every way there is: the accounts stay exact, and no
//! life is called complete that the undamaged run knows otherwise.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use proptest::prelude::*;
use virtscope_captures::{CaptureInfo, CaptureReader, CaptureWriter, ClockOffset, End, Item};
use virtscope_record::{Common, Record, Timestamp};

use crate::model_tests::{Model, Setup, Step, step};
use crate::testing::analyze;
use crate::{Analyzer, CaptureEnd, Incomplete, Life, Options, Outcome};

fn capture(records: &[(Record, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let info = CaptureInfo::new(256, ClockOffset::new(1_700_000_000_000_000_000, 0));
    let mut writer = CaptureWriter::new(&mut bytes, info).unwrap();
    for (record, payload) in records {
        writer.write(record, payload).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

/// Where the blocks stand.
fn blocks(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        blocks.push(at..at + len);
        at += len;
    }
    blocks
}

fn is_packet(block: &[u8]) -> bool {
    block[..4] == 6_u32.to_le_bytes()
}

/// What became of a capture.
struct Run {
    analyzer: Analyzer,
    lives: Vec<Arc<Life>>,
    end: Option<End>,
    corrupt: u64,
    foreign: u64,
}

/// Reads and analyses it, as far as it goes.
fn run(bytes: &[u8]) -> Run {
    let mut analyzer = Analyzer::new(Options {
        collect_ended: true,
        ..Options::default()
    });
    let mut end = None;
    let Ok(mut reader) = CaptureReader::new(bytes) else {
        analyzer.finish();
        return Run {
            lives: Vec::new(),
            analyzer,
            end,
            corrupt: 0,
            foreign: 0,
        };
    };
    loop {
        match reader.next_item() {
            Ok(Item::Record(packet)) => analyzer.push(&packet.record, packet.payload),
            Ok(Item::End(found)) => {
                end = Some(found);
                break;
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    analyzer.finish();
    Run {
        lives: analyzer.take_ended().collect(),
        analyzer,
        end,
        corrupt: reader.corrupt_packets(),
        foreign: reader.foreign_packets(),
    }
}

impl Run {
    /// *emitted = stored + lost + filtered*, and every request is counted once.
    fn accounts_add_up(&self) -> Result<(), TestCaseError> {
        let report = self.analyzer.report(&CaptureEnd::default());
        let totals = report.records;
        prop_assert_eq!(
            totals.emitted,
            totals.stored + totals.lost + totals.filtered
        );
        let complete = self.lives.iter().filter(|life| life.phases().is_some());
        prop_assert_eq!(report.requests.completed, complete.count() as u64);
        prop_assert_eq!(
            report.requests.completed + report.requests.incomplete,
            self.lives.len() as u64
        );
        // Neither the text nor the snapshot has trouble with it.
        prop_assert!(!report.to_string().is_empty());
        drop(self.analyzer.snapshot(None));
        Ok(())
    }

    /// Every complete life is one of the undamaged run's, as that has it. With
    /// `shift`, times from then on are earlier by so much.
    fn contradicts_nothing(
        &self,
        whole: &[Arc<Life>],
        shift: Option<(u64, u64)>,
    ) -> Result<(), TestCaseError> {
        let shifted = |time: Timestamp| match shift {
            Some((from, by)) if time.as_nanos() >= from => time.as_nanos() - by,
            _ => time.as_nanos(),
        };
        let known: HashMap<_, _> = whole
            .iter()
            .filter_map(|life| {
                Some((
                    (shifted(life.moments.added?), life.position?, life.head),
                    life,
                ))
            })
            .collect();
        for life in &self.lives {
            let Outcome::Complete(_) = life.outcome else {
                continue;
            };
            let added = life.moments.added.map(Timestamp::as_nanos);
            let key = (added.unwrap(), life.position.unwrap(), life.head);
            let was = known.get(&key);
            prop_assert!(was.is_some(), "{:?} never was", life);
            let was = was.unwrap();
            // On a packed ring without the device half's word, the rest is known.
            let is_packed = life.moments.returned.is_none() && was.moments.returned.is_some();
            match (life.phases(), was.phases()) {
                (Some(is), Some(was)) if is_packed => {
                    prop_assert_eq!(
                        (is.queued_ns, is.total_ns()),
                        (was.queued_ns, was.total_ns())
                    );
                }
                _ => prop_assert_eq!(life.outcome, was.outcome),
            }
        }
        Ok(())
    }
}

/// A played history with time between its records, and what the analyzer makes of
/// it whole.
fn played(steps: &[(Step, u64)], packed: bool) -> (Model, Vec<Arc<Life>>) {
    let steps: Vec<_> = steps.iter().map(|(step, ns)| (*step, ns + 1)).collect();
    let setup = Setup {
        packed,
        ..Setup::default()
    };
    let model = Model::play(&steps, setup);
    let (_, lives) = model.stream.analyze();
    (model, lives)
}

fn steps() -> impl Strategy<Value = Vec<(Step, u64)>> {
    prop::collection::vec(step(), 20..200)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 96,
        ..ProptestConfig::default()
    })]

    #[test]
    fn undamaged_it_is_what_the_records_say(steps in steps(), packed: bool) {
        let (model, whole) = played(&steps, packed);
        let run = run(&capture(&model.stream.records));
        prop_assert_eq!(run.end, Some(End::Complete));
        prop_assert_eq!(format!("{:?}", run.lives), format!("{whole:?}"));
        run.accounts_add_up()?;
    }

    #[test]
    fn cut_off_anywhere(steps in steps(), packed: bool, cut: prop::sample::Index) {
        let (model, whole) = played(&steps, packed);
        let mut bytes = capture(&model.stream.records);
        bytes.truncate(cut.index(bytes.len()));
        let run = run(&bytes);
        prop_assert!(run.end.is_none_or(|end| !end.is_complete()));
        run.accounts_add_up()?;
        run.contradicts_nothing(&whole, None)?;
    }

    /// Packets that are lost, or doubled, or change places with others near by.
    #[test]
    fn packets_lost_doubled_and_displaced(
        steps in steps(),
        packed: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..3, 1_usize..12), 1..12),
    ) {
        let (model, whole) = played(&steps, packed);
        let bytes = capture(&model.stream.records);
        let mut blocks = blocks(&bytes);
        let packets = blocks.iter().filter(|block| is_packet(&bytes[(*block).clone()])).count();
        // The first packet holds the facts; sections and interfaces stand before it.
        let first = blocks.iter().position(|block| is_packet(&bytes[block.clone()])).unwrap();
        let last = first + packets;
        let mut last = last;
        for (at, kind, distance) in damage {
            if last <= first + 2 {
                break;
            }
            let at = first + 1 + at.index(last - first - 1);
            match kind {
                0 => {
                    blocks.remove(at);
                    last -= 1;
                }
                1 => {
                    let block = blocks[at].clone();
                    blocks.insert((at + distance).min(last), block);
                    last += 1;
                }
                _ => {
                    let block = blocks.remove(at);
                    blocks.insert((at + distance).min(last - 1), block);
                }
            }
        }
        let damaged: Vec<u8> = blocks.into_iter().flat_map(|block| bytes[block].to_vec()).collect();
        let run = run(&damaged);
        run.accounts_add_up()?;
        run.contradicts_nothing(&whole, None)?;
        let totals = run.analyzer.record_totals();
        prop_assert!(totals.stored <= model.stream.records.len() as u64);
        prop_assert_eq!(run.corrupt, 0);
    }

    /// Bytes that are others than they were. What stands inside a record has no
    /// check sum, so what a flipped bit makes of it cannot be told; but nothing
    /// panics, and the accounts add up.
    #[test]
    fn bytes_flipped_anywhere(
        steps in steps(),
        packed: bool,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..10),
    ) {
        let (model, _) = played(&steps, packed);
        let mut bytes = capture(&model.stream.records);
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        run(&bytes).accounts_add_up()?;
    }

    /// What breaks the frame of a packet, or its head, loses that packet and no more.
    #[test]
    fn broken_packets_are_skipped(
        steps in steps(),
        packed: bool,
        broken in prop::collection::vec(any::<prop::sample::Index>(), 1..8),
    ) {
        let (model, whole) = played(&steps, packed);
        let mut bytes = capture(&model.stream.records);
        let packets: Vec<_> = blocks(&bytes)
            .into_iter()
            .filter(|block| is_packet(&bytes[block.clone()]))
            .skip(1)
            .collect();
        let mut many = std::collections::BTreeSet::new();
        for at in broken {
            let packet = &packets[at.index(packets.len())];
            // The magic of the pseudo-header.
            bytes[packet.start + 28] ^= 0xff;
            if !many.insert(packet.start) {
                many.remove(&packet.start);
            }
        }
        let run = run(&bytes);
        prop_assert_eq!(run.end, Some(End::Complete));
        prop_assert_eq!(run.corrupt, many.len() as u64);
        run.accounts_add_up()?;
        run.contradicts_nothing(&whole, None)?;
    }

    /// Interfaces and packets of others between ours, and sections of a big-endian
    /// machine.
    #[test]
    fn what_others_captured_is_passed_by(
        steps in steps(),
        packed: bool,
        places in prop::collection::vec(any::<prop::sample::Index>(), 1..8),
        big_endian: bool,
    ) {
        let (model, whole) = played(&steps, packed);
        let bytes = capture(&model.stream.records);
        let ours = blocks(&bytes);
        // The foreign interface comes second.
        let first = ours.iter().position(|block| is_packet(&bytes[block.clone()])).unwrap();
        let ethernet = block(1, &[1, 0, 0, 0, 0, 0, 0, 0]);
        let packet = block(6, &[&[1, 0, 0, 0][..], &[0; 8], &[4, 0, 0, 0], &[4, 0, 0, 0], b"junk"].concat());
        let mut all: Vec<Vec<u8>> = ours.iter().map(|block| bytes[block.clone()].to_vec()).collect();
        all.insert(first, ethernet);
        for place in &places {
            let at = first + 1 + place.index(all.len() - first - 1);
            all.insert(at, packet.clone());
        }
        let run = run(&if big_endian { turned(&all) } else { all.concat() });
        prop_assert_eq!(run.end, Some(End::Complete));
        prop_assert_eq!(run.foreign, places.len() as u64);
        prop_assert_eq!(format!("{:?}", run.lives), format!("{whole:?}"));
        run.accounts_add_up()?;
    }

    /// The clock is set back in the middle: lives on either side of that are what
    /// they were, and none that it went through is called complete.
    #[test]
    fn the_clock_is_set_back(
        steps in steps(),
        packed: bool,
        at: prop::sample::Index,
        // More than a history is long, so that it shows.
        by in 20_000_u64..10_000_000_000,
    ) {
        let (mut model, _) = played(&steps, packed);
        // The history is later than any step is long, and both halves' records
        // step at the same moment.
        const LATER: u64 = 20_000_000_000;
        retime(&mut model.stream.records, |time| time + LATER);
        let (_, whole) = model.stream.analyze();
        let from = model.stream.records[at.index(model.stream.records.len())].0.time().as_nanos();
        retime(&mut model.stream.records, |time| if time >= from { time - by } else { time });
        let (analyzer, lives) = analyze(&model.stream.records);
        let run = Run { analyzer, lives, end: None, corrupt: 0, foreign: 0 };
        run.accounts_add_up()?;
        run.contradicts_nothing(&whole, Some((from, by)))?;
        let spans = |life: &&Arc<Life>| {
            let moments = &life.moments;
            moments.added.is_some_and(|added| added.as_nanos() < from)
                && moments.used.is_some_and(|used| used.as_nanos() >= from)
        };
        let spanning = whole.iter().filter(spans).count();
        let stepped = run.lives.iter().filter(|life| {
            life.outcome == Outcome::Incomplete(Incomplete::ClockSetBack)
        });
        prop_assert!(stepped.count() >= spanning.min(1), "{} span it", spanning);
    }
}

fn retime(records: &mut [(Record, Vec<u8>)], to: impl Fn(u64) -> u64) {
    for (record, _) in records {
        let common = Common {
            time: Timestamp::from_nanos(to(record.time().as_nanos())),
            ..record.common()
        };
        *record = Record::new(common, record.body().unwrap());
    }
}

/// A block of this type, whose body is a multiple of four bytes long.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &len, body, &len].concat()
}

/// The same blocks as a big-endian machine would have written them. What is inside
/// a packet stays as it is: it has an order of its own.
fn turned(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for block in blocks {
        let mut turned = block.clone();
        let turn = |bytes: &mut [u8]| bytes.reverse();
        let len = turned.len();
        let kind = u32::from_le_bytes(block[..4].try_into().unwrap());
        turn(&mut turned[0..4]);
        turn(&mut turned[4..8]);
        turn(&mut turned[len - 4..]);
        let options = match kind {
            // Magic, versions, section length.
            0x0a0d_0d0a => {
                turn(&mut turned[8..12]);
                turn(&mut turned[12..14]);
                turn(&mut turned[14..16]);
                turn(&mut turned[16..24]);
                24
            }
            // Link type, snaplen.
            1 => {
                turn(&mut turned[8..10]);
                turn(&mut turned[12..16]);
                16
            }
            5 => {
                turn(&mut turned[8..12]);
                turn(&mut turned[12..16]);
                turn(&mut turned[16..20]);
                20
            }
            6 => {
                for at in (8..28).step_by(4) {
                    turn(&mut turned[at..at + 4]);
                }
                let captured = u32::from_le_bytes(block[20..24].try_into().unwrap()) as usize;
                28 + captured.next_multiple_of(4)
            }
            _ => len - 4,
        };
        turn_options(kind, block, &mut turned, options);
        out.extend(turned);
    }
    out
}

fn turn_options(kind: u32, block: &[u8], turned: &mut [u8], mut at: usize) {
    while at + 4 <= block.len() - 4 {
        let code = u16::from_le_bytes(block[at..at + 2].try_into().unwrap());
        let length = usize::from(u16::from_le_bytes(
            block[at + 2..at + 4].try_into().unwrap(),
        ));
        turned[at..at + 2].reverse();
        turned[at + 2..at + 4].reverse();
        // Numbers: flags and drop counts of packets; counts and times of statistics,
        // of which times are two words.
        match (kind, code) {
            (6, 2 | 4) | (5, 4..=8) => turned[at + 4..at + 4 + length].reverse(),
            (5, 2 | 3) => {
                turned[at + 4..at + 8].reverse();
                turned[at + 8..at + 12].reverse();
            }
            _ => {}
        }
        at += 4 + length.next_multiple_of(4);
    }
}
