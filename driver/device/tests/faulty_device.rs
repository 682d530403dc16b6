//! Faults in a device at work: what whoever has it mounted gets to see.

mod mounted;

use std::fs;
use std::time::{Duration, Instant};

use mounted::{Mounted, O_RDONLY, PATIENCE, config};
use rstest::rstest;
use virtscope_device::fault::FaultKind;
use virtscope_device::in_process::Config;
use virtscope_device::p9::Access;
use virtscope_device::virtio9p::DeviceError;
use virtscope_driver::p9::channel::ChannelError;
use virtscope_driver::p9::client::{Client, ClientError, ReadAt};
use virtscope_driver::ring::{QueueError, Violation};
use virtscope_driver::transport::{Status, Transport};
use virtscope_record::FeatureBits;

/// Such that everything gets done, only later and with more noise.
const HARMLESS: &str = "slow-start:ms=2; delay:every=5,ms=2; reorder:every=3,window=3,ms=2; \
    late-interrupt:every=7,ms=1; spurious-interrupt:every=4; storm-interrupts:every=6,count=3";

fn faulty(faults: &str, features: FeatureBits) -> Config {
    Config {
        features,
        faults: faults.parse().unwrap(),
        ..config(Access::ReadOnly)
    }
}

/// A directory with a file of 100000 bytes.
fn directory() -> (tempfile::TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    fs::write(dir.path().join("file"), &content).unwrap();
    (dir, content)
}

/// Asks until there is no answer.
fn until_it_fails<I: virtscope_driver::instrument::Instrument>(client: &Client<I>) -> ChannelError {
    for _ in 0..100 {
        match client.getattr(client.root()) {
            Ok(_) => {}
            Err(ClientError::Channel(error)) => return error,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it never fails");
}

#[rstest]
#[timeout(PATIENCE)]
fn a_slow_and_noisy_device_serves_all_the_same(
    #[values(FeatureBits::default(), FeatureBits::RING_PACKED)] layout: FeatureBits,
    #[values(FeatureBits::default(), FeatureBits::EVENT_IDX, FeatureBits::IN_ORDER)]
    feature: FeatureBits,
) {
    let (dir, content) = directory();
    let config = faulty(HARMLESS, layout.union(feature));
    let (mounted, client) = Mounted::client(dir.path(), config);
    let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
    client.open(fid, O_RDONLY).unwrap();
    let reads: Vec<ReadAt> = (0..50)
        .map(|i| ReadAt {
            offset: i * 2000,
            count: 2000,
        })
        .collect();
    for _ in 0..3 {
        let pieces = client.read_batch(fid, &reads).unwrap();
        assert!(pieces.concat() == content);
    }
    let entries = mounted.device.fault_log().entries();
    for kind in [
        FaultKind::SlowStart,
        FaultKind::Delay,
        FaultKind::Reorder,
        FaultKind::SpuriousInterrupt,
    ] {
        assert!(entries.iter().any(|entry| entry.kind == kind), "{kind}");
    }
    assert_eq!(mounted.device.failure(), None);
}

#[rstest]
#[timeout(PATIENCE)]
fn a_lie_breaks_the_queue(
    #[values(FeatureBits::default(), FeatureBits::RING_PACKED)] layout: FeatureBits,
) {
    let (dir, _) = directory();
    let config = faulty("id-out-of-range:at=10", layout);
    let (_mounted, client) = Mounted::client(dir.path(), config);
    let error = until_it_fails(&client);
    let ChannelError::Queue(QueueError { violation }) = error else {
        panic!("{error}");
    };
    assert!(
        matches!(violation, Violation::IdOutOfRange { .. }),
        "{violation}"
    );
}

#[rstest]
#[timeout(PATIENCE)]
fn a_device_that_is_told_so_needs_a_reset() {
    let (dir, _) = directory();
    let config = faulty("needs-reset:at=10", FeatureBits::EVENT_IDX);
    let (mounted, client) = Mounted::client(dir.path(), config);
    assert_eq!(until_it_fails(&client), ChannelError::DeviceFailed);
    assert_eq!(mounted.device.failure(), Some(DeviceError::Injected));
    let status = mounted.device.status();
    assert!(status.contains(Status::DEVICE_NEEDS_RESET));
}

/// Nobody hears of the first request. Whoever waits for it is let go when the
/// device is taken away.
#[rstest]
#[timeout(PATIENCE)]
fn a_lost_kick_leaves_a_request_lying() {
    let (dir, _) = directory();
    for _ in 0..50 {
        let config = faulty("lose-kick", FeatureBits::EVENT_IDX);
        let mounted = Mounted::new(dir.path(), config);
        let log = mounted.device.fault_log();
        let waited = std::thread::scope(|scope| {
            let channel = mounted.driver.create("root").unwrap();
            let waiting = scope.spawn(|| Client::mount(channel, 8192, "test").map(drop));
            let begun = Instant::now();
            while log.total() == 0 && begun.elapsed() < PATIENCE / 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
            // Long enough for a device that had heard of it.
            std::thread::sleep(Duration::from_millis(20));
            let done = waiting.is_finished();
            mounted.bus.unregister_device(mounted.id).unwrap();
            (done, waiting.join().unwrap())
        });
        assert!(
            log.entries()
                .iter()
                .all(|entry| entry.kind == FaultKind::LoseKick)
        );
        if waited != (true, Ok(())) {
            let closed = Err(ClientError::Channel(ChannelError::Closed));
            assert_eq!(waited, (false, closed));
            return;
        }
        // On a busy machine the device's thread may look at the ring for the first time only
        // now: it was not asleep yet, and needed no kick.
    }
    panic!("the device is never asleep");
}
