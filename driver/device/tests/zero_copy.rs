//! Requests that carry their caller's own pages (Linux `p9_virtio_zc_request`).

mod mounted;

use std::fs;
use std::sync::mpsc::channel;

use mounted::{Mounted, O_RDONLY, PATIENCE, config, hold_reads};
use rstest::rstest;
use rustix::io::Errno;
use virtscope_device::in_process::Config;
use virtscope_device::p9::Access;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::memory::PAGE_SIZE;
use virtscope_driver::p9::channel::{ChannelError, MAX_MESSAGE, Message, Payload};
use virtscope_driver::p9::client::{Client, ClientError};
use virtscope_driver::p9::message::{Fid, READ_OVERHEAD};
use virtscope_driver::ring::QueueSize;
use virtscope_record::FeatureBits;

const O_RDWR: u32 = 2;

const RINGS: [FeatureBits; 4] = [
    FeatureBits::EVENT_IDX,
    FeatureBits::INDIRECT_DESC,
    FeatureBits::RING_PACKED,
    FeatureBits::RING_PACKED.union(FeatureBits::INDIRECT_DESC),
];

fn opened(client: &Client<NoInstrument>, flags: u32) -> Fid {
    let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
    client.open(fid, flags).unwrap();
    fid
}

/// Wherever a buffer begins and however long it is: around the borders of pages.
#[rstest]
#[timeout(PATIENCE)]
fn what_is_carried_arrives_wherever_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..40_000u32).map(|i| (i % 253) as u8).collect();
    for features in RINGS {
        fs::write(dir.path().join("file"), &content).unwrap();
        let mut config = config(Access::ReadWrite);
        config.features = features;
        let (mounted, client) = Mounted::client(dir.path(), config);
        let free = mounted.driver.channels()[0].allocate(0, 1).unwrap();
        drop(free);
        let fid = opened(&client, O_RDWR);
        for start in [0, 1, 100, PAGE_SIZE - 1] {
            for len in [1, 95, PAGE_SIZE, PAGE_SIZE + 1, 3 * PAGE_SIZE + 7] {
                let pages = client.channel().allocate(start, len).unwrap();
                let read = client.read_zero_copy(fid, 11, pages).unwrap();
                assert_eq!(read.count as usize, len);
                assert!(
                    read.pages.read(len) == content[11..11 + len],
                    "{start} {len}"
                );
                let mut pages = read.pages;
                let changed: Vec<u8> = pages.read(len).iter().map(|byte| !byte).collect();
                pages.write(&changed);
                let written = client.write_zero_copy(fid, 20_000, pages).unwrap();
                assert_eq!(written.count as usize, len);
                let on_disk = fs::read(dir.path().join("file")).unwrap();
                assert!(on_disk[20_000..20_000 + len] == changed, "{start} {len}");
            }
        }
        // Less than there is room for, and nothing.
        let pages = client.channel().allocate(5, 1000).unwrap();
        let end = client.read_zero_copy(fid, 39_990, pages).unwrap();
        assert_eq!(end.count, 10);
        assert_eq!(
            end.pages.read(10),
            fs::read(dir.path().join("file")).unwrap()[39_990..]
        );
        let behind = client.read_zero_copy(fid, 50_000, end.pages).unwrap();
        assert_eq!(behind.count, 0);
        // More than one message holds is read as far as that goes, and not written.
        let pages = client.channel().allocate(0, 36_000).unwrap();
        let read = client.read_zero_copy(fid, 0, pages).unwrap();
        assert_eq!(read.count, client.msize() - READ_OVERHEAD);
        let refused = client.write_zero_copy(fid, 0, read.pages).unwrap_err();
        assert!(matches!(refused.error, ClientError::Encode(_)), "{refused}");
        assert_eq!(refused.pages.unwrap().len(), 36_000);
        assert_eq!(client.channel().pinned_pages(), 0);
        assert_eq!(mounted.device.failure(), None);
    }
}

#[rstest]
#[timeout(PATIENCE)]
fn an_error_gives_the_pages_back() {
    let dir = mounted::directory();
    let (_mounted, client) = Mounted::client(dir.path(), config(Access::ReadOnly));
    let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
    let mut pages = client.channel().allocate(9, 5000).unwrap();
    pages.write(b"mine");
    let refused = client.read_zero_copy(fid, 0, pages).unwrap_err();
    assert_eq!(refused.error, ClientError::Server(Errno::BADF));
    let pages = refused.pages.unwrap();
    assert_eq!(pages.read(4), b"mine");
    let refused = client.write_zero_copy(fid, 0, pages).unwrap_err();
    assert_eq!(refused.error, ClientError::Server(Errno::ROFS));
    assert_eq!(refused.pages.unwrap().read(4), b"mine");
}

/// Linux's `VIRTQUEUE_NUM - 3` pages fit a ring without indirect descriptors, wherever
/// they begin; more never do.
#[rstest]
#[timeout(PATIENCE)]
fn the_longest_message_fits_the_ring_and_a_longer_one_is_an_error(
    #[values(FeatureBits::default(), FeatureBits::RING_PACKED)] features: FeatureBits,
) {
    let dir = tempfile::tempdir().unwrap();
    let content = vec![7; MAX_MESSAGE as usize];
    fs::write(dir.path().join("file"), &content).unwrap();
    let mut config = config(Access::ReadOnly);
    config.features = features;
    let mounted = Mounted::new(dir.path(), config);
    let client = mounted.mount(u32::MAX);
    assert_eq!(client.msize(), MAX_MESSAGE);
    let fid = opened(&client, O_RDONLY);
    let len = (MAX_MESSAGE - READ_OVERHEAD) as usize;
    // In 126 pages, beside one segment for the request and one for the reply's head.
    let pages = client.channel().allocate(PAGE_SIZE - 1, len).unwrap();
    assert_eq!(pages.pages(), 126);
    let read = client.read_zero_copy(fid, 0, pages).unwrap();
    assert_eq!(read.count as usize, len);
    assert!(read.pages.read(len) == content[..len]);
    drop(read);
    let payload = Payload::FromDevice(client.channel().allocate(0, 127 * PAGE_SIZE).unwrap());
    let message = Message {
        request: b"too long",
        reply_capacity: READ_OVERHEAD as usize,
    };
    let unsent = client
        .channel()
        .zero_copy_request(message, payload)
        .unwrap_err();
    let ChannelError::Add(error) = unsent.error else {
        panic!("{}", unsent.error);
    };
    assert_eq!(
        error.to_string(),
        "a buffer of 129 segments never fits a ring of 128"
    );
    assert_eq!(unsent.payload.pages().pages(), 127);
}

/// A device with so little memory that few pages may be pinned.
fn small(memory_pages: usize) -> Config {
    Config {
        memory_pages,
        max_queue_size: QueueSize::new(16).unwrap(),
        ..config(Access::ReadOnly)
    }
}

/// Pages that are pinned are counted, and who wants more waits for those before.
#[rstest]
#[timeout(PATIENCE)]
fn pinned_pages_are_limited_and_who_waits_is_woken() {
    let dir = mounted::directory();
    let mut config = small(64);
    let held = hold_reads(&mut config);
    let (_mounted, client) = Mounted::client(dir.path(), config);
    let fid = opened(&client, O_RDONLY);
    let limit = client.channel().max_pages();
    assert!(
        (10..16).contains(&limit),
        "a quarter of what is free: {limit}"
    );
    let first = client.channel().allocate(PAGE_SIZE - 1, 7).unwrap();
    let second = client.channel().allocate(0, 9 * PAGE_SIZE).unwrap();
    let third = client.channel().allocate(0, 1).unwrap();
    let (told, done) = channel();
    let client = &client;
    std::thread::scope(|scope| {
        // Before what waits for it, also when an assertion fails.
        let held = held;
        let waiting = scope.spawn(move || client.read_zero_copy(fid, 0, first).unwrap().count);
        held.entered.recv().unwrap();
        assert_eq!(client.channel().pinned_pages(), 2);
        // There is room for it in the ring, too: eleven descriptors beside four.
        let beyond = client.read_zero_copy(fid, 0, second).unwrap();
        assert_eq!(beyond.count, 7);
        assert_eq!(client.channel().pinned_pages(), 2);
        // As many pinned as there may be: the next one has to wait.
        let filling: Vec<_> = (0..limit.div_ceil(2) - 1)
            .map(|_| {
                let pages = client.channel().allocate(PAGE_SIZE - 1, 7).unwrap();
                scope.spawn(move || client.read_zero_copy(fid, 0, pages).unwrap().count)
            })
            .collect();
        while client.channel().pinned_pages() < limit {
            std::thread::yield_now();
        }
        scope.spawn(move || told.send(client.read_zero_copy(fid, 0, third).unwrap().count));
        drop(held);
        assert_eq!(waiting.join().unwrap(), 7);
        for thread in filling {
            assert_eq!(thread.join().unwrap(), 7);
        }
        assert_eq!(done.recv().unwrap(), 1);
    });
}

/// Who waits for pinned pages when the device goes hears of it, with the pages.
#[rstest]
#[timeout(PATIENCE)]
fn who_waits_for_pages_hears_that_the_device_is_gone() {
    let dir = mounted::directory();
    let mut config = small(64);
    let held = hold_reads(&mut config);
    let (mounted, client) = Mounted::client(dir.path(), config);
    let fid = opened(&client, O_RDONLY);
    let limit = client.channel().max_pages();
    let client = &client;
    std::thread::scope(|scope| {
        // Before what waits for it, also when an assertion fails.
        let held = held;
        let holding: Vec<_> = (0..limit.div_ceil(2))
            .map(|_| {
                let pages = client.channel().allocate(PAGE_SIZE - 1, 7).unwrap();
                scope.spawn(move || client.read_zero_copy(fid, 0, pages).map(|read| read.count))
            })
            .collect();
        held.entered.recv().unwrap();
        while client.channel().pinned_pages() < limit {
            std::thread::yield_now();
        }
        let pages = client.channel().allocate(0, 1).unwrap();
        let waiting = scope.spawn(move || client.read_zero_copy(fid, 0, pages));
        let removing = scope.spawn(|| mounted.bus.unregister_device(mounted.id));
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.error, ClientError::Channel(ChannelError::Closed));
        assert_eq!(error.pages.unwrap().len(), 1);
        drop(held);
        removing.join().unwrap().unwrap();
        for thread in holding {
            // Answered before the device went, or not at all.
            if let Err(error) = thread.join().unwrap() {
                assert_eq!(error.error, ClientError::Channel(ChannelError::Closed));
            }
        }
    });
    assert_eq!(client.channel().pinned_pages(), 0);
}
