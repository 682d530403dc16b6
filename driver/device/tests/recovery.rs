//! Devices that fail, devices that come back, requests that can't be sent.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rstest::rstest;
use virtscope_device::in_process::{Config, InProcess9p};
use virtscope_device::p9::{Access, Delay};
use virtscope_device::queue::DriverFault;
use virtscope_device::virtio9p::DeviceError;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::instrument::live::Hub;
use virtscope_driver::memory::GuestAddress;
use virtscope_driver::p9::channel::{Channel, ChannelError};
use virtscope_driver::p9::client::{Client, ClientError, ReadAt};
use virtscope_driver::ring::{AvailableNotification, QueueSize, split_layout};
use virtscope_driver::transport::{Status, Transport};
use virtscope_record::{FeatureBits, Generation, Kind, Producer, QueueId};

/// These take milliseconds. What takes this long would never end.
const PATIENCE: Duration = Duration::from_secs(60);

fn config() -> Config {
    Config {
        name: "virtio0".into(),
        tag: "root".into(),
        access: Access::ReadOnly,
        memory_pages: 256,
        max_queue_size: QueueSize::new(128).unwrap(),
        features: FeatureBits::EVENT_IDX,
        workers: 2,
        delay: Delay::none(),
    }
}

/// A device that was removed is brought up again, and begins afresh.
#[rstest]
#[timeout(PATIENCE)]
fn a_removed_device_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"content").unwrap();
    let hub = Hub::new(1 << 20, 64);
    let queue = QueueId::new(0, 0);
    let device_half = hub.probe(queue, Producer::DeviceHalf);
    let driver_half = hub.probe(queue, Producer::DriverHalf);
    let device = Arc::new(InProcess9p::new(dir.path(), config(), device_half).unwrap());
    for life in 0..3 {
        let channel = Channel::probe_again(
            device.clone(),
            "virtio0",
            true,
            driver_half.clone(),
            Generation(life),
        )
        .unwrap();
        let client = Client::mount(Arc::new(channel), 8192, "test").unwrap();
        // Further than the ring is long, so that nothing fits by accident.
        for _ in 0..150 {
            let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
            assert_eq!(client.getattr(fid).unwrap().size, 7);
            client.clunk(fid).unwrap();
        }
        client.unmount().unwrap();
        assert_eq!(device.failure(), None);
    }
    let mut resets = Vec::new();
    let mut generations = std::collections::BTreeSet::new();
    hub.drain(|record, _| {
        generations.insert(record.generation().0);
        if record.kind() == Ok(Kind::Reset) {
            resets.push(record.generation().0);
        }
    });
    // A reset is the last record of the life that it ends.
    assert_eq!(resets, [0, 1]);
    assert_eq!(generations.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
}

// Shows: driver/2.1.1/4
/// A device that finds its driver at fault asks for a reset; whoever waits for
/// it hears so, and so does whoever comes later.
#[rstest]
#[timeout(PATIENCE)]
fn a_failed_device_leaves_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"content").unwrap();
    let (entered, reading) = std::sync::mpsc::channel();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let mut config = config();
    config.delay = Delay::by(move |operation| {
        if operation.bytes == 7 {
            entered.send(()).unwrap();
            let _ = held.lock().unwrap().recv();
        }
        None
    });
    let device = Arc::new(InProcess9p::new(dir.path(), config, NoInstrument).unwrap());
    let channel = Channel::probe(device.clone(), "virtio0", true, NoInstrument).unwrap();
    let client = Client::mount(Arc::new(channel), 8192, "test").unwrap();
    let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
    client.open(fid, 0).unwrap();
    std::thread::scope(|scope| {
        // The worker is held until the end of this block. An assertion that fails
        // ends it too, so neither the scope nor the device waits for ever.
        let _release = release;
        let waiting = scope.spawn(|| client.read(fid, 0, 7));
        reading.recv().unwrap();
        // A driver gone mad: its available index jumps.
        let size = QueueSize::new(128).unwrap();
        let (addresses, _) = split_layout::contiguous(GuestAddress(0), size);
        let idx = GuestAddress(addresses.driver.0 + split_layout::IDX as u64);
        device
            .memory()
            .write(idx, &60_000u16.to_le_bytes())
            .unwrap();
        device.notify(0, AvailableNotification::default()).unwrap();
        assert_eq!(
            waiting.join().unwrap().unwrap_err(),
            ClientError::Channel(ChannelError::DeviceFailed)
        );
        assert!(matches!(
            device.failure(),
            Some(DeviceError::Driver(DriverFault::AvailIndexJumped { .. }))
        ));
        let status = device.status();
        assert!(status.contains(Status::DEVICE_NEEDS_RESET | Status::FAILED));
        assert_eq!(
            client.getattr(fid).unwrap_err(),
            ClientError::Channel(ChannelError::DeviceFailed)
        );
    });
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
    let device = Arc::new(InProcess9p::new(dir.path(), config, NoInstrument).unwrap());
    let channel = Channel::probe(device, "virtio0", true, NoInstrument).unwrap();
    let client = Client::mount(Arc::new(channel), 32768, "test").unwrap();
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
    let device = Arc::new(InProcess9p::new(dir.path(), config(), NoInstrument).unwrap());
    let channel = Arc::new(Channel::probe(device, "virtio0", true, NoInstrument).unwrap());
    // The server agrees to no message as short as this.
    assert!(Client::mount(Arc::clone(&channel), 100, "test").is_err());
    assert!(Client::mount(channel, 8192, "test").is_ok());
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
