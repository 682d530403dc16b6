//! The whole path without a screen: client, channel, virtqueue, device, server,
//! directory.

use std::fs;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rstest::rstest;
use virtscope_device::in_process::{Config, InProcess9p};
use virtscope_device::p9::{Access, Delay};
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::p9::channel::{Channel, ChannelError, Message};
use virtscope_driver::p9::client::{Client, ClientError, ReadAt};
use virtscope_driver::p9::message::UNLINK_DIRECTORY;
use virtscope_driver::ring::QueueSize;
use virtscope_driver::transport::{Status, Transport};
use virtscope_record::FeatureBits;

use rustix::io::Errno;

const O_RDONLY: u32 = 0;
const O_WRONLY: u32 = 1;

/// What takes this long would never end.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(access: Access, event_idx: bool) -> Config {
    Config {
        name: "virtio0".into(),
        tag: "root".into(),
        access,
        memory_pages: 2048,
        max_queue_size: QueueSize::new(128).unwrap(),
        features: if event_idx {
            FeatureBits::EVENT_IDX
        } else {
            FeatureBits::default()
        },
        workers: 4,
        delay: Delay::none(),
    }
}

fn mount(
    root: &std::path::Path,
    config: Config,
) -> (Arc<InProcess9p<NoInstrument>>, Client<NoInstrument>) {
    let device = Arc::new(InProcess9p::new(root, config, NoInstrument).unwrap());
    let channel = Channel::probe(device.clone(), "virtio0", true, NoInstrument).unwrap();
    let client = Client::mount(Arc::new(channel), 32768, "test").unwrap();
    (device, client)
}

#[rstest]
#[timeout(PATIENCE)]
fn a_file_is_read_as_it_is_on_disk() {
    for event_idx in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), &content).unwrap();
        let (_device, client) = mount(dir.path(), config(Access::ReadOnly, event_idx));
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
    }
}

#[rstest]
#[timeout(PATIENCE)]
fn files_are_made_written_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (_device, client) = mount(dir.path(), config(Access::ReadWrite, true));
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
#[timeout(PATIENCE)]
fn a_full_ring_makes_threads_wait_not_fail() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), vec![7; 300_000]).unwrap();
    let mut config = config(Access::ReadOnly, true);
    config.max_queue_size = QueueSize::new(16).unwrap();
    let (_device, client) = mount(dir.path(), config);
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
}

/// A slow read is overtaken by fast requests behind it.
#[rstest]
#[timeout(PATIENCE)]
fn a_slow_request_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"x").unwrap();
    let mut config = config(Access::ReadOnly, true);
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
    let (_device, client) = mount(dir.path(), config);
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
    let device = Arc::new(
        InProcess9p::new(dir.path(), config(Access::ReadOnly, true), NoInstrument).unwrap(),
    );
    let channel = Arc::new(Channel::probe(device, "virtio0", true, NoInstrument).unwrap());
    let first = Client::mount(Arc::clone(&channel), 8192, "test").unwrap();
    assert!(matches!(
        Client::mount(Arc::clone(&channel), 8192, "test"),
        Err(ClientError::Channel(ChannelError::Busy))
    ));
    first.unmount().unwrap();
    let again = Client::mount(channel, 8192, "test").unwrap();
    assert_eq!(again.msize(), 8192);
}

/// Removing the device wakes whoever waits, with an error.
#[rstest]
#[timeout(PATIENCE)]
fn removal_ends_requests_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"x").unwrap();
    let mut config = config(Access::ReadOnly, true);
    let (entered, reading) = channel();
    config.delay = Delay::by(move |operation| {
        (operation.bytes == 7).then(|| {
            entered.send(()).unwrap();
            // The device does not wait for the rest of it.
            2 * PATIENCE
        })
    });
    let (device, client) = mount(dir.path(), config);
    let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
    client.open(fid, O_RDONLY).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.read(fid, 0, 7));
        reading.recv().unwrap();
        client.channel().remove();
        assert_eq!(
            waiting.join().unwrap().unwrap_err(),
            ClientError::Channel(ChannelError::Closed)
        );
    });
    assert!(device.status().is_empty());
    assert_eq!(device.failure(), None);
}

/// Bytes that are no 9P message get an answer or an empty reply, and the device
/// goes on.
#[rstest]
#[timeout(PATIENCE)]
fn nonsense_does_not_stop_the_device() {
    let dir = tempfile::tempdir().unwrap();
    let (device, client) = mount(dir.path(), config(Access::ReadOnly, true));
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
    assert!(device.status().contains(Status::DRIVER_OK));
    assert!(client.getattr(client.root()).unwrap().qid.is_directory());
}
