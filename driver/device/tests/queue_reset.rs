//! The queue of a device at work is reset (`VIRTIO_F_RING_RESET`).

mod mounted;

use std::time::Duration;

use mounted::{Mounted, O_RDONLY, PATIENCE, all_features, directory, hold_reads};
use rstest::rstest;
use virtscope_device::in_process::Config;
use virtscope_device::p9::Access;
use virtscope_driver::bus::{InitError, Recovery};
use virtscope_driver::instrument::live::Hub;
use virtscope_driver::p9::channel::ChannelError;
use virtscope_driver::p9::client::ClientError;
use virtscope_driver::ring::QueueSize;
use virtscope_record::{FeatureBits, Kind, Producer, QueueId};

fn config() -> Config {
    Config {
        memory_pages: 256,
        workers: 2,
        ..mounted::config(Access::ReadOnly)
    }
}

// Shows: device/2.6.1.1.1/1, device/2.6.1.1.1/2, driver/2.6.1.1.2/1
// Shows: device/2.6.1.2.1/1, driver/2.6.1.2.2/1
/// The queue of a device at work is reset and enabled again, as large as before,
/// smaller and larger: whoever waits hears of it, and the mount goes on.
#[rstest]
#[timeout(PATIENCE)]
fn a_queue_is_reset_under_a_mount() {
    let dir = directory();
    for features in all_features() {
        if !features.contains(FeatureBits::RING_RESET) {
            continue;
        }
        let mut config = config();
        config.features = features;
        let held = hold_reads(&mut config);
        let (mounted, client) = Mounted::client(dir.path(), config);
        let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
        client.open(fid, O_RDONLY).unwrap();
        std::thread::scope(|scope| {
            let held = held;
            let waiting = scope.spawn(|| client.read(fid, 0, 7));
            held.entered.recv().unwrap();
            // The device lets go when the server has: so that one must be let go.
            drop(held);
            let channel = client.channel();
            for size in [128, 32, 64, 16, 128] {
                channel.reset_queue(QueueSize::new(size).unwrap()).unwrap();
                assert_eq!(channel.queue_size().get(), size);
                for _ in 0..size {
                    assert_eq!(client.getattr(fid).unwrap().size, 7, "{features}");
                }
            }
            let outcome = waiting.join().unwrap();
            let lost = ClientError::Channel(ChannelError::QueueReset);
            assert!(
                outcome == Err(lost) || outcome.as_deref() == Ok(b"content"),
                "{outcome:?}"
            );
        });
        client.clunk(fid).unwrap();
        client.unmount().unwrap();
        assert_eq!(mounted.device.failure(), None, "{features}");
        assert_eq!(mounted.device.false_notifications(), 0, "{features}");
    }
}

/// Requests in flight from many threads while the queue is reset again and again:
/// each ends once, with its reply or with the news that the queue was reset.
#[rstest]
#[case::split(FeatureBits::EVENT_IDX)]
#[case::packed(FeatureBits::EVENT_IDX.union(FeatureBits::RING_PACKED))]
#[case::packed_in_order(FeatureBits::IN_ORDER.union(FeatureBits::RING_PACKED))]
#[timeout(PATIENCE)]
fn queue_resets_and_requests_mix(#[case] features: FeatureBits) {
    let dir = directory();
    let hub = Hub::new(1 << 24, 0);
    let queue = QueueId::new(0, 0);
    let mut config = config();
    config.features = features.union(FeatureBits::RING_RESET);
    config.memory_pages = 1024;
    let mounted = Mounted::with(
        dir.path(),
        config,
        Recovery::ByHand,
        hub.probe(queue, Producer::DriverHalf),
        hub.probe(queue, Producer::DeviceHalf),
    );
    let client = mounted.mount(8192);
    let lost = ClientError::Channel(ChannelError::QueueReset);
    let resets = 20;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let answer = client.getattr(client.root());
                    assert!(answer.is_ok() || answer == Err(lost), "{answer:?}");
                }
            });
        }
        for round in 0..resets {
            let size = [128, 16, 64][round % 3];
            let size = QueueSize::new(size).unwrap();
            client.channel().reset_queue(size).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    assert!(client.getattr(client.root()).is_ok());
    client.unmount().unwrap();
    mounted.bus.unregister_device(mounted.id).unwrap();
    let mut records = Vec::new();
    hub.drain(|record, _| records.push(*record));
    let of = |kind| {
        records
            .iter()
            .filter(move |record| record.kind() == Ok(kind))
    };
    let generations: Vec<u16> = of(Kind::Reset)
        .map(|record| record.generation().0)
        .collect();
    let expected: Vec<u16> = (0..resets as u16).collect();
    assert_eq!(generations, expected);
    // What the device took is of the driver's generation: none before or behind.
    let newest = of(Kind::Taken).map(|record| record.generation().0).max();
    assert_eq!(newest, Some(resets as u16));
}

/// Without the feature a queue can't be reset by itself, and nothing happens to it.
#[rstest]
#[timeout(PATIENCE)]
fn a_queue_is_not_reset_unless_that_was_agreed_on() {
    let dir = directory();
    let (_mounted, client) = Mounted::client(dir.path(), config());
    let refused = client.channel().reset_queue(QueueSize::MAX).unwrap_err();
    let reason = InitError::QueueResetNotNegotiated { index: 0 };
    assert_eq!(refused, ChannelError::Init(reason));
    assert!(client.getattr(client.root()).is_ok());
}
