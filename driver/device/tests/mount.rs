//! The whole path without a screen: client, channel, virtqueue, device, server,
//! directory.

mod mounted;

use std::fs;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use mounted::{Mounted, O_RDONLY, PATIENCE, all_features, config};
use rstest::rstest;
use rustix::io::Errno;
use virtscope_device::p9::{Access, Delay};
use virtscope_driver::p9::channel::{ChannelError, Message};
use virtscope_driver::p9::client::{ClientError, ReadAt};
use virtscope_driver::p9::message::UNLINK_DIRECTORY;
use virtscope_driver::ring::{AvailableNotification, NotifyError, QueueSize};
use virtscope_driver::transport::{Status, Transport};
use virtscope_record::FeatureBits;

const O_WRONLY: u32 = 1;

/// All that a ring of either layout may have.
const ALL: FeatureBits = FeatureBits::EVENT_IDX
    .union(FeatureBits::INDIRECT_DESC)
    .union(FeatureBits::IN_ORDER)
    .union(FeatureBits::NOTIFICATION_DATA)
    .union(FeatureBits::RING_RESET);

#[rstest]
#[timeout(PATIENCE)]
fn a_file_is_read_as_it_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    fs::create_dir(dir.path().join("a")).unwrap();
    fs::write(dir.path().join("a/b"), &content).unwrap();
    for features in all_features() {
        let mut config = config(Access::ReadOnly);
        config.features = features;
        let (mounted, client) = Mounted::client(dir.path(), config);
        let agreed = client.channel().features();
        assert!(agreed.contains(features), "{features} offered, {agreed}");
        assert_eq!(client.channel().tag(), "root");
        let (fid, qids) = client.walk(client.root(), &[b"a", b"b"]).unwrap();
        assert_eq!(qids.len(), 2);
        client.open(fid, O_RDONLY).unwrap();
        let reads: Vec<ReadAt> = (0..13)
            .map(|i| ReadAt {
                offset: i * 8192,
                count: 8192,
            })
            .collect();
        let pieces = client.read_batch(fid, &reads).unwrap();
        assert_eq!(pieces.concat(), content);
        assert_eq!(client.read(fid, 99_999, 10).unwrap(), content[99_999..]);
        assert_eq!(client.getattr(fid).unwrap().size, 100_000);
        client.clunk(fid).unwrap();
        assert_eq!(
            client.walk(client.root(), &[b"nothing"]).unwrap_err(),
            ClientError::Server(Errno::NOENT)
        );
        client.unmount().unwrap();
        assert_eq!(mounted.device.failure(), None, "{features}");
        assert_eq!(mounted.device.false_notifications(), 0, "{features}");
    }
}

#[rstest]
#[timeout(PATIENCE)]
fn files_are_made_written_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (_mounted, client) = Mounted::client(dir.path(), config(Access::ReadWrite));
    client.mkdir(client.root(), b"sub", 0o755).unwrap();
    let (fid, _) = client.walk(client.root(), &[b"sub"]).unwrap();
    client.create(fid, b"file", O_WRONLY, 0o644).unwrap();
    assert_eq!(client.write(fid, 0, b"hello").unwrap(), 5);
    client.clunk(fid).unwrap();
    assert_eq!(fs::read(dir.path().join("sub/file")).unwrap(), b"hello");
    let (sub, _) = client.walk(client.root(), &[b"sub"]).unwrap();
    client.open(sub, O_RDONLY).unwrap();
    let entries = client.readdir(sub, 0, 4096).unwrap();
    assert!(entries.iter().any(|entry| entry.name == b"file"));
    client.unlink(sub, b"file", 0).unwrap();
    client.clunk(sub).unwrap();
    client
        .unlink(client.root(), b"sub", UNLINK_DIRECTORY)
        .unwrap();
    assert!(!dir.path().join("sub").exists());
}

/// More requests than the ring has room for: threads wait and are woken.
#[rstest]
#[case::split(FeatureBits::default())]
#[case::split_event_idx(FeatureBits::EVENT_IDX)]
#[case::split_indirect(FeatureBits::EVENT_IDX.union(FeatureBits::INDIRECT_DESC))]
#[case::split_in_order(FeatureBits::IN_ORDER.union(FeatureBits::EVENT_IDX))]
#[case::split_all(ALL)]
#[case::packed(FeatureBits::RING_PACKED)]
#[case::packed_event_idx(FeatureBits::RING_PACKED.union(FeatureBits::EVENT_IDX))]
#[case::packed_in_order(FeatureBits::RING_PACKED.union(FeatureBits::IN_ORDER))]
#[case::packed_all(FeatureBits::RING_PACKED.union(ALL))]
#[timeout(PATIENCE)]
fn a_full_ring_makes_threads_wait_not_fail(#[case] features: FeatureBits) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), vec![7; 300_000]).unwrap();
    let mut config = config(Access::ReadOnly);
    // A packed ring may have any number of entries.
    let packed = features.contains(FeatureBits::RING_PACKED);
    config.max_queue_size = QueueSize::new(if packed { 13 } else { 16 }).unwrap();
    config.features = features;
    let (mounted, client) = Mounted::client(dir.path(), config);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
                client.open(fid, O_RDONLY).unwrap();
                for _ in 0..20 {
                    let reads: Vec<ReadAt> = (0..10)
                        .map(|i| ReadAt {
                            offset: i * 30_000,
                            count: 30_000,
                        })
                        .collect();
                    let pieces = client.read_batch(fid, &reads).unwrap();
                    assert_eq!(pieces.concat(), vec![7; 300_000]);
                }
                client.clunk(fid).unwrap();
            });
        }
    });
    assert_eq!(mounted.device.failure(), None);
    assert_eq!(mounted.device.false_notifications(), 0);
}

/// A slow read is overtaken by fast requests behind it.
#[rstest]
#[timeout(PATIENCE)]
fn a_slow_request_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"x").unwrap();
    let mut config = config(Access::ReadOnly);
    let (entered, reading) = channel();
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    config.delay = Delay::by(move |operation| {
        if operation.bytes == 7 {
            entered.send(()).unwrap();
            let _ = held.lock().unwrap().recv();
        }
        None
    });
    let (_mounted, client) = Mounted::client(dir.path(), config);
    let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
    client.open(fid, O_RDONLY).unwrap();
    std::thread::scope(|scope| {
        // Goes with this block, also when an assertion fails: else the scope would
        // wait for the read, and the read for this.
        let release = release;
        let slow = scope.spawn(|| client.read(fid, 0, 7).unwrap());
        reading.recv().unwrap();
        // Were they held up, none of these would come back.
        for _ in 0..10 {
            client.getattr(fid).unwrap();
        }
        assert!(!slow.is_finished());
        drop(release);
        assert_eq!(slow.join().unwrap(), b"x");
    });
}

#[rstest]
#[timeout(PATIENCE)]
fn a_channel_carries_one_mount_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Mounted::new(dir.path(), config(Access::ReadOnly));
    let first = mounted.mount(8192);
    assert_eq!(
        mounted.driver.create("root").err(),
        Some(ChannelError::Busy)
    );
    assert_eq!(
        mounted.driver.create("other").err(),
        Some(ChannelError::NoChannel)
    );
    first.unmount().unwrap();
    let again = mounted.mount(8192);
    assert_eq!(again.msize(), 8192);
}

/// Removing the device wakes whoever waits, with an error.
#[rstest]
#[timeout(PATIENCE)]
fn removal_ends_requests_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"x").unwrap();
    let mut config = config(Access::ReadOnly);
    let (entered, reading) = channel();
    config.delay = Delay::by(move |operation| {
        (operation.bytes == 7).then(|| {
            entered.send(()).unwrap();
            // The device does not wait for the rest of it.
            2 * PATIENCE
        })
    });
    let (mounted, client) = Mounted::client(dir.path(), config);
    let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
    client.open(fid, O_RDONLY).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.read(fid, 0, 7));
        reading.recv().unwrap();
        mounted.bus.unregister_device(mounted.id).unwrap();
        assert_eq!(
            waiting.join().unwrap().unwrap_err(),
            ClientError::Channel(ChannelError::Closed)
        );
    });
    assert!(mounted.device.status().is_empty());
    assert_eq!(mounted.device.failure(), None);
}

/// Bytes that are no 9P message get an answer or an empty reply, and the device
/// goes on.
#[rstest]
#[timeout(PATIENCE)]
fn nonsense_does_not_stop_the_device() {
    let dir = tempfile::tempdir().unwrap();
    let (mounted, client) = Mounted::client(dir.path(), config(Access::ReadOnly));
    for request in [&b"x"[..], &[0; 7], &[0xff; 5000]] {
        let pending = client
            .channel()
            .request(Message {
                request,
                reply_capacity: 100,
            })
            .unwrap();
        assert!(pending.wait().unwrap().len() <= 100);
    }
    assert!(mounted.device.status().contains(Status::DRIVER_OK));
    assert!(client.getattr(client.root()).unwrap().qid.is_directory());
}

/// What a notification says beside the queue's index is looked at where that was
/// agreed on, and only there.
// Shows: driver/2.9/1
#[rstest]
#[case::without(FeatureBits::default(), 0)]
#[case::with(FeatureBits::NOTIFICATION_DATA, 3)]
#[case::packed_without(FeatureBits::RING_PACKED, 0)]
#[case::packed_with(FeatureBits::RING_PACKED.union(FeatureBits::NOTIFICATION_DATA), 3)]
#[timeout(PATIENCE)]
fn false_notifications_are_counted(#[case] features: FeatureBits, #[case] counted: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(Access::ReadOnly);
    config.features = features;
    let (mounted, client) = Mounted::client(dir.path(), config);
    for _ in 0..3 {
        // Far ahead of a ring that has seen a few requests.
        let ahead = AvailableNotification { next: 0x1000 };
        mounted.device.notify(0, ahead).unwrap();
        // They change nothing else.
        assert!(client.getattr(client.root()).is_ok());
    }
    assert_eq!(mounted.device.false_notifications(), counted);
    assert_eq!(
        mounted.device.notify(1, AvailableNotification::default()),
        Err(NotifyError)
    );
}

/// A device comes and goes a hundred times, mounted each time.
#[rstest]
#[timeout(PATIENCE)]
fn devices_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Mounted::new(dir.path(), config(Access::ReadOnly));
    for _ in 0..100 {
        mounted.mount(8192).unmount().unwrap();
        mounted.bus.unregister_device(mounted.id).unwrap();
        assert_eq!(
            mounted.driver.create("root").err(),
            Some(ChannelError::NoChannel)
        );
        let id = mounted.bus.register_device(mounted.device.clone());
        assert_eq!(id, Ok(mounted.id));
    }
    assert_eq!(mounted.device.failure(), None);
}
