//! Rings that are broken, full or too small, and requests that others wait for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::Duration;

use virtscope_analyzer::FindingCode as Code;
use virtscope_driver::p9::client::{ClientError, ReadAt};
use virtscope_record::FeatureBits;

use super::pair;
use super::stage::{PAUSE, Setup, Stage};
use super::{Scenario, twins};

/// Bytes of a read that the slow device takes its time for.
const LARGE: u32 = 16_000;
/// Threads that ask beside it.
const ASKING: u32 = 6;
/// Between two requests of each: all of them together can't ask so often that it would be
/// a storm of getattrs, however fast the machine is.
const BETWEEN: Duration = Duration::from_millis(10);

pub(super) const ALL: &[[Scenario; 2]] = &[
    twins(
        Code::IndexJump,
        ["index-jump", "index-jump-near-miss"],
        [
            "The device's used index jumps far ahead of what it returned.",
            "The device's used index moves by several buffers at once.",
        ],
        [
            || Setup::faulty("index-jump:at=8"),
            || Setup::faulty("reorder:window=8,ms=20"),
        ],
        [ask, read_in_batches],
    ),
    twins(
        Code::UnknownOrRepeatedId,
        ["unknown-or-repeated-id", "unknown-or-repeated-id-near-miss"],
        [
            "The device returns a buffer twice.",
            "The device returns buffers in another order than it was given them.",
        ],
        [
            || Setup::faulty("return-twice:at=8"),
            || Setup::faulty("seed=3;reorder:window=4,ms=20"),
        ],
        [ask, read_in_batches],
    ),
    twins(
        Code::UsedLength,
        ["used-length", "used-length-near-miss"],
        [
            "The device says that it wrote a byte more than there was room for.",
            "The device fills buffers to their last byte.",
        ],
        [|| Setup::faulty("wrong-length:at=8"), Setup::sound],
        [ask, read_to_the_brim],
    ),
    twins(
        Code::RingFull,
        ["ring-full", "ring-full-near-miss"],
        [
            "A small ring is full of slow requests, and threads wait for room.",
            "A small ring is full, and threads wait for room for a moment.",
        ],
        [
            || Setup::faulty("delay:from=8,times=8,ms=1700").size(16),
            || Setup::faulty("delay:from=8,times=8,ms=100").size(16),
        ],
        [crowd, crowd],
    ),
    twins(
        Code::ChainTooLong,
        ["chain-too-long", "chain-too-long-near-miss"],
        [
            "A request has more segments than the ring has entries, and there are no indirect \
             descriptors.",
            "A request takes half of the ring's entries.",
        ],
        [|| Setup::sound().size(16), || Setup::sound().size(16)],
        [too_long, long_enough],
    ),
    twins(
        Code::HeadOfLineBlocking,
        ["head-of-line-blocking", "head-of-line-blocking-near-miss"],
        [
            "With VIRTIO_F_IN_ORDER, quick requests wait behind slow ones.",
            "Quick requests overtake slow ones.",
        ],
        [|| slow().with(FeatureBits::IN_ORDER), slow],
        [quick_and_slow, quick_and_slow],
    ),
    twins(
        Code::LatencyOutliers,
        ["latency-outliers", "latency-outliers-near-miss"],
        [
            "One request among many takes two seconds, nearly.",
            "One request among many takes a fifth of a second.",
        ],
        [
            || Setup::faulty("delay:at=250,ms=1900"),
            || Setup::faulty("delay:at=250,ms=200"),
        ],
        [many, many],
    ),
    twins(
        Code::UnbalancedQueues,
        ["unbalanced-queues", "unbalanced-queues-near-miss"],
        [
            "Of a disk's two queues one has nearly all the work, and is full of it.",
            "Of a disk's two queues both have their part.",
        ],
        [Setup::sound, Setup::sound],
        [
            |stage| pair::work(stage, [40, 1]),
            |stage| pair::work(stage, [25, 16]),
        ],
    ),
];

fn slow() -> Setup {
    Setup::sound().slow_reads(LARGE, Duration::from_millis(100))
}

/// Asks until the queue is broken.
fn ask(stage: &Stage<'_>) -> Result<(), ClientError> {
    stage.ask_often(100, PAUSE)
}

fn read_in_batches(stage: &Stage<'_>) -> Result<(), ClientError> {
    let fid = stage.file("many", 64 * 1024)?;
    let reads: Vec<_> = (0..16)
        .map(|i| ReadAt {
            offset: i * 4096,
            count: 4096,
        })
        .collect();
    for _ in 0..20 {
        stage.client.read_batch(fid, &reads)?;
    }
    stage.client.clunk(fid)
}

/// The room for a reply is what a full one takes.
fn read_to_the_brim(stage: &Stage<'_>) -> Result<(), ClientError> {
    let fid = stage.file("full", 64 * 1024)?;
    for offset in 0..10 {
        stage.client.read(fid, offset * 4096, 4096)?;
    }
    stage.client.clunk(fid)
}

/// More threads than the ring has room for.
fn crowd(stage: &Stage<'_>) -> Result<(), ClientError> {
    scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| stage.ask_often(4, Duration::ZERO));
        }
    });
    Ok(())
}

fn too_long(stage: &Stage<'_>) -> Result<(), ClientError> {
    stage.ask_often(5, PAUSE)?;
    let refused = stage.send_with_room(0x8000, &stage.question(), 100_000);
    stage.ask_often(5, PAUSE)?;
    refused.map(drop)
}

fn long_enough(stage: &Stage<'_>) -> Result<(), ClientError> {
    for _ in 0..200 {
        // One segment for the request, and seven pages.
        let pending = stage.send_with_room(0x8000, &stage.question(), 7 * 4096)?;
        pending.wait()?;
    }
    Ok(())
}

/// Threads that ask all the time, and one whose requests are slow.
fn quick_and_slow(stage: &Stage<'_>) -> Result<(), ClientError> {
    let fid = stage.file("large", LARGE as usize)?;
    let done = AtomicBool::new(false);
    scope(|scope| {
        scope.spawn(|| {
            for _ in 0..12 {
                if stage.over() || stage.client.read(fid, 0, LARGE).is_err() {
                    break;
                }
            }
            done.store(true, Ordering::Release);
        });
        for _ in 0..ASKING {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) && stage.ask().is_ok() {
                    std::thread::sleep(BETWEEN);
                }
            });
        }
    });
    stage.client.clunk(fid)
}

fn many(stage: &Stage<'_>) -> Result<(), ClientError> {
    stage.ask_often(300, Duration::from_millis(1))
}
