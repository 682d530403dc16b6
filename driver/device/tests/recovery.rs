//! Devices that fail, devices that come back, requests that can't be sent.

mod mounted;

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mounted::{Mounted, O_RDONLY, PATIENCE, all_features, directory, hold_reads};
use rstest::rstest;
use virtscope_device::in_process::Config;
use virtscope_device::p9::Access;
use virtscope_device::queue::DriverFault;
use virtscope_device::virtio9p::DeviceError;
use virtscope_driver::bus::Recovery;
use virtscope_driver::instrument::live::Hub;
use virtscope_driver::instrument::{Instrument, NoInstrument};
use virtscope_driver::memory::GuestAddress;
use virtscope_driver::p9::channel::ChannelError;
use virtscope_driver::p9::client::{Client, ClientError, ReadAt};
use virtscope_driver::ring::{AvailableNotification, QueueSize, split_layout};
use virtscope_driver::transport::{Status, Transport};
use virtscope_record::{Kind, Producer, QueueId};

fn config() -> Config {
    Config {
        memory_pages: 256,
        workers: 2,
        ..mounted::config(Access::ReadOnly)
    }
}

/// The driver gone mad: its available index jumps, and the device finds out.
fn confuse<I: Instrument>(mounted: &Mounted<I>) {
    // The ring begins where guest memory does.
    let size = QueueSize::new(128).unwrap();
    let (addresses, _) = split_layout::contiguous(GuestAddress(0), size);
    let idx = GuestAddress(addresses.driver.0 + split_layout::IDX as u64);
    let device = &mounted.device;
    let jumped = 60_000u16.to_le_bytes();
    device.memory().write(idx, &jumped).unwrap();
    device.notify(0, AvailableNotification::default()).unwrap();
}

/// A device that was removed is brought up again, and begins afresh.
// Shows: device/2.1/1, device/2.2.2/4, device/2.4.1/1
#[rstest]
#[timeout(PATIENCE)]
fn a_removed_device_comes_back() {
    let dir = directory();
    let hub = Hub::new(1 << 20, 64);
    let queue = QueueId::new(0, 0);
    let device_half = hub.probe(queue, Producer::DeviceHalf);
    let driver_half = hub.probe(queue, Producer::DriverHalf);
    let mounted = Mounted::with(
        dir.path(),
        config(),
        Recovery::Automatic,
        driver_half,
        device_half,
    );
    for life in 0..3 {
        if life > 0 {
            mounted.bus.recover(mounted.id).unwrap();
        }
        let client = mounted.mount(8192);
        // Further than the ring is long, so that nothing fits by accident.
        for _ in 0..150 {
            let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
            assert_eq!(client.getattr(fid).unwrap().size, 7);
            client.clunk(fid).unwrap();
        }
        client.unmount().unwrap();
        assert_eq!(mounted.device.failure(), None);
    }
    mounted.bus.unregister_device(mounted.id).unwrap();
    assert!(mounted.device.status().is_empty());
    assert_eq!(resets_and_generations(&hub), (vec![0, 1], vec![0, 1, 2]));
}

/// The generations of reset records, and those that both halves know, which must be
/// the same.
fn resets_and_generations(hub: &Hub) -> (Vec<u16>, Vec<u16>) {
    let mut resets = Vec::new();
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    hub.drain(|record, _| {
        let device_half = record.producer() == Producer::DeviceHalf;
        seen[usize::from(device_half)].insert(record.generation().0);
        if record.kind() == Ok(Kind::Reset) {
            resets.push(record.generation().0);
        }
    });
    assert_eq!(seen[0], seen[1]);
    // A reset is the last record of the life that it ends.
    (resets, seen[0].iter().copied().collect())
}

// Shows: driver/2.1.1/4
/// A device that finds its driver at fault asks for a reset; whoever waits for
/// it hears so, and so does whoever comes later.
#[rstest]
#[timeout(PATIENCE)]
fn a_failed_device_leaves_nobody_waiting() {
    let dir = directory();
    let mut config = config();
    let held = hold_reads(&mut config);
    let (mounted, client) = Mounted::client(dir.path(), config);
    let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
    client.open(fid, O_RDONLY).unwrap();
    std::thread::scope(|scope| {
        // The worker is held until the end of this block. An assertion that fails
        // ends it too, so neither the scope nor the device waits for ever.
        let held = held;
        let waiting = scope.spawn(|| client.read(fid, 0, 7));
        held.entered.recv().unwrap();
        confuse(&mounted);
        assert_eq!(
            waiting.join().unwrap().unwrap_err(),
            ClientError::Channel(ChannelError::DeviceFailed)
        );
        assert!(matches!(
            mounted.device.failure(),
            Some(DeviceError::Driver(DriverFault::AvailIndexJumped { .. }))
        ));
        let status = mounted.device.status();
        assert!(status.contains(Status::DEVICE_NEEDS_RESET | Status::FAILED));
        assert_eq!(
            client.getattr(fid).unwrap_err(),
            ClientError::Channel(ChannelError::DeviceFailed)
        );
    });
}

// Shows: device/2.1.2/3, driver/2.1.1/3, driver/2.1.1/4
/// A device that asks for a reset gets one from the bus: the old mount is over, a new
/// one works, and the records say that a new life has begun.
#[rstest]
#[timeout(PATIENCE)]
fn the_bus_recovers_a_failed_device() {
    let dir = directory();
    let hub = Hub::new(1 << 20, 64);
    let queue = QueueId::new(0, 0);
    let device_half = hub.probe(queue, Producer::DeviceHalf);
    let driver_half = hub.probe(queue, Producer::DriverHalf);
    let mut config = config();
    let held = hold_reads(&mut config);
    let mounted = Mounted::with(
        dir.path(),
        config,
        Recovery::Automatic,
        driver_half,
        device_half,
    );
    let client = mounted.mount(8192);
    let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
    client.open(fid, O_RDONLY).unwrap();
    std::thread::scope(|scope| {
        let held = held;
        let waiting: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| client.read(fid, 0, 7)))
            .collect();
        // Both are with the server: another add would set the index right again.
        for _ in 0..2 {
            held.entered.recv().unwrap();
        }
        confuse(&mounted);
        for waiting in waiting {
            assert_eq!(
                waiting.join().unwrap().unwrap_err(),
                ClientError::Channel(ChannelError::DeviceFailed)
            );
        }
    });
    // The reset waits for the read that was held, and the bus for the reset.
    let again = within_patience(|| mounted.driver.create("root").ok());
    let again = Client::mount(again, 8192, "test").unwrap();
    assert!(again.getattr(again.root()).unwrap().qid.is_directory());
    assert!(mounted.device.failure().is_some());
    assert!(!mounted.device.status().contains(Status::DEVICE_NEEDS_RESET));
    // The old one stays what it is.
    assert_eq!(
        client.getattr(fid).unwrap_err(),
        ClientError::Channel(ChannelError::DeviceFailed)
    );
    again.unmount().unwrap();
    drop(client);
    mounted.bus.unregister_device(mounted.id).unwrap();
    assert_eq!(resets_and_generations(&hub), (vec![0], vec![0, 1]));
}

/// A device that never works for long is given up in the end.
#[rstest]
#[timeout(PATIENCE)]
fn a_device_that_always_fails_is_given_up() {
    let dir = directory();
    let (driver_half, device_half) = (NoInstrument, NoInstrument);
    let recovery = Recovery::Automatic;
    let mounted = Mounted::with(dir.path(), config(), recovery, driver_half, device_half);
    let newest = || mounted.driver.channels().pop();
    for _ in 0..5 {
        // Not held, so that the next ring stands where this one does.
        let old = Arc::downgrade(&newest().unwrap());
        confuse(&mounted);
        // Probed again: another channel, of a device that is well.
        let other = || newest().filter(|new| !Weak::ptr_eq(&Arc::downgrade(new), &old));
        let new = within_patience(other);
        assert!(!new.device().status().contains(Status::DEVICE_NEEDS_RESET));
    }
    let client = mounted.mount(8192);
    confuse(&mounted);
    // The driver is told, and nothing more is done.
    let given_up = Status::DEVICE_NEEDS_RESET | Status::FAILED;
    within_patience(|| mounted.device.status().contains(given_up).then_some(()));
    assert_eq!(
        client.getattr(client.root()).unwrap_err(),
        ClientError::Channel(ChannelError::DeviceFailed)
    );
    drop(client);
    // Not for good: a person may try.
    mounted.bus.recover(mounted.id).unwrap();
    mounted.mount(8192).unmount().unwrap();
}

/// What `look` finds in the end.
fn within_patience<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE / 2, "it never happens");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The driver leaves while threads wait, in the ring and for room in it: each hears
/// once that the channel is closed, and the device is reset.
// Shows: driver/3.3.1/2
#[rstest]
#[timeout(PATIENCE)]
fn a_driver_that_leaves_wakes_everyone() {
    let dir = directory();
    for features in all_features() {
        let mut config = config();
        config.features = features;
        config.max_queue_size = QueueSize::new(4).unwrap();
        config.workers = 1;
        let held = hold_reads(&mut config);
        let (mounted, client) = Mounted::client(dir.path(), config);
        let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
        client.open(fid, O_RDONLY).unwrap();
        let pages = client.channel().device().pages().clone();
        std::thread::scope(|scope| {
            let held = held;
            // Five of two descriptors don't fit a ring of four, indirect ones neither.
            let waiting: Vec<_> = (0..5)
                .map(|_| scope.spawn(|| client.read(fid, 0, 7)))
                .collect();
            held.entered.recv().unwrap();
            drop(held);
            mounted.bus.unregister_driver(mounted.driver_id).unwrap();
            let closed = ClientError::Channel(ChannelError::Closed);
            for waiting in waiting {
                let outcome = waiting.join().unwrap();
                assert!(
                    outcome == Err(closed) || outcome.as_deref() == Ok(b"content"),
                    "{outcome:?}"
                );
            }
        });
        assert_eq!(
            client.getattr(fid).unwrap_err(),
            ClientError::Channel(ChannelError::Closed)
        );
        // The device is the bus's again, noticed and no more.
        assert_eq!(mounted.device.status(), Status::ACKNOWLEDGE);
        assert_eq!(mounted.bus.info(mounted.id).unwrap().driver, None);
        drop(client);
        assert_eq!(pages.available(), 256, "{features}: all memory is back");
    }
}

/// A batch that runs out of memory in the middle: what was sent is answered,
/// the error is told, and the channel goes on.
#[rstest]
#[timeout(PATIENCE)]
fn a_batch_that_runs_out_of_memory_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), vec![1; 100_000]).unwrap();
    let mut config = config();
    // The ring, and pages for some replies of 30 KiB, but not for forty.
    config.memory_pages = 64;
    let (_mounted, client) = Mounted::client(dir.path(), config);
    let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
    client.open(fid, 0).unwrap();
    let reads = vec![
        ReadAt {
            offset: 0,
            count: 30_000
        };
        40
    ];
    for _ in 0..3 {
        let result = client.read_batch(fid, &reads);
        if let Err(error) = result {
            assert!(matches!(
                error,
                ClientError::Channel(ChannelError::NoPages(_))
            ));
        }
        assert_eq!(client.read(fid, 0, 10).unwrap(), vec![1; 10]);
    }
    client.clunk(fid).unwrap();
}

/// A mount that fails gives the channel back.
#[rstest]
#[timeout(PATIENCE)]
fn a_failed_mount_gives_the_channel_back() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Mounted::new(dir.path(), config());
    // The server agrees to no message as short as this.
    let channel = mounted.driver.create("root").unwrap();
    assert!(Client::mount(channel, 100, "test").is_err());
    mounted.mount(8192).unmount().unwrap();
}

/// A buffer that lies in the ring is refused by the driver's half.
#[rstest]
#[timeout(PATIENCE)]
fn a_buffer_in_the_ring_is_not_added() {
    use virtscope_driver::memory::{GuestMemory, Segment, SharedQueueMemory};
    use virtscope_driver::ring::{AddErrorKind, Features, Notifier, NotifyError, SplitQueue};
    use virtscope_record::Token;

    struct Nobody;
    impl Notifier for Nobody {
        fn notify(&self, _: AvailableNotification) -> Result<(), NotifyError> {
            Err(NotifyError)
        }
    }

    let memory = Arc::new(GuestMemory::new(2));
    let size = QueueSize::new(8).unwrap();
    let (addresses, _) = split_layout::contiguous(GuestAddress(0), size);
    let queue_memory = SharedQueueMemory::split(memory, addresses, size).unwrap();
    let features = Features::default();
    let mut queue =
        SplitQueue::new(queue_memory, size, features, NoInstrument, Box::new(Nobody)).unwrap();
    let segment = Segment {
        address: addresses.driver,
        len: 4,
    };
    let refused = queue.add(&[segment], &[], Token(1), ()).unwrap_err();
    assert_eq!(
        refused.kind,
        AddErrorKind::SegmentInRing {
            address: addresses.driver.0
        }
    );
    assert_eq!(queue.free_descriptors(), 8);
}
