//! The block driver and the block device, with whatever queue between them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use virtscope_device::blk::{BlockConfig, BlockDevice};
use virtscope_device::requests::Requests;
use virtscope_driver::blk::{
    Completion, DiscardSegment, Disk, DiskConfig, RequestError, RequestHeader, RequestStatus,
    RequestType, SubmitError,
};
use virtscope_driver::operations::{Operations, QueueFailure};
use virtscope_record::Token;

use crate::support::{ENTRIES, World, on_every_queue};

const SECTOR: usize = 512;
const CAPACITY: u64 = 64;

/// How long something that must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the driver knows of a disk of the usual size.
fn disk_config() -> DiskConfig {
    DiskConfig {
        capacity: CAPACITY,
        seg_max: 8,
        read_only: false,
    }
}

fn device_config() -> BlockConfig {
    BlockConfig {
        capacity: CAPACITY,
        read_only: false,
        discard: true,
        id: *b"a disk for the tests",
    }
}

/// A disk and its device on a new file.
fn disk<Q: Operations, R: Requests>(
    world: &mut World<Q, R>,
    driver: DiskConfig,
    device: BlockConfig,
) -> (Disk<Q>, BlockDevice<R>, File) {
    let (queue, requests) = world.connect();
    let file = tempfile::tempfile().unwrap();
    let backend = file.try_clone().unwrap();
    (
        Disk::new(queue, world.pool.clone(), driver),
        BlockDevice::new(requests, backend, device),
        file,
    )
}

/// Steps the device until as many requests have come back.
fn complete<Q: Operations, R: Requests>(
    disk: &mut Disk<Q>,
    device: &mut BlockDevice<R>,
    count: usize,
) -> Vec<Completion> {
    let started = Instant::now();
    let mut done = Vec::new();
    disk.sync();
    while done.len() < count {
        assert!(started.elapsed() < PATIENCE, "{done:?}");
        device.step().unwrap();
        done.extend(disk.completed().unwrap());
    }
    done
}

/// What becomes of a single request.
fn complete_one<Q: Operations, R: Requests>(
    disk: &mut Disk<Q>,
    device: &mut BlockDevice<R>,
    token: Result<Token, SubmitError>,
) -> Result<Vec<u8>, RequestError> {
    let token = token.unwrap();
    let done = complete(disk, device, 1).remove(0);
    assert_eq!(done.token, token);
    done.result
}

fn pattern(seed: u32, sectors: usize) -> Vec<u8> {
    (0..(sectors * SECTOR) as u32)
        .map(|i| (i.wrapping_mul(31).wrapping_add(seed * 97) >> 3) as u8)
        .collect()
}

fn file_bytes(file: &File, sector: u64, sectors: usize) -> Vec<u8> {
    let mut bytes = vec![0; sectors * SECTOR];
    file.read_exact_at(&mut bytes, sector * SECTOR as u64)
        .unwrap();
    bytes
}

on_every_queue! {
    fn blocks_written_are_read_back_and_are_in_the_file(world) {
        let (mut disk, mut device, file) = disk(&mut world, disk_config(), device_config());
        // From one sector to more than fit a page, the last sector included.
        let writes = [(0, 1), (3, 2), (5, 9), (40, 24)];
        for (sector, sectors) in writes {
            disk.write(sector, &pattern(sector as u32, sectors)).unwrap();
        }
        let flush = disk.flush().unwrap();
        let done = complete(&mut disk, &mut device, writes.len() + 1);
        assert!(done.iter().all(|done| done.result == Ok(Vec::new())), "{done:?}");
        assert!(done.iter().any(|done| done.token == flush));
        for (sector, sectors) in writes {
            let expected = pattern(sector as u32, sectors);
            assert_eq!(file_bytes(&file, sector, sectors), expected);
            let read = disk.read(sector, sectors as u32);
            assert_eq!(complete_one(&mut disk, &mut device, read).unwrap(), expected);
        }
        // A sector that was never written, and lies behind the file's end at first.
        let read = disk.read(2, 1);
        assert_eq!(complete_one(&mut disk, &mut device, read).unwrap(), [0; SECTOR]);
        assert_eq!(disk.in_flight(), 0);
        drop(disk);
        world.assert_nothing_leaked();
    }
}

on_every_queue! {
    fn more_requests_than_the_queue_holds_all_come_back_once(world) {
        let (mut disk, mut device, file) = disk(&mut world, disk_config(), device_config());
        let total = 10 * usize::from(ENTRIES);
        let (mut submitted, mut seen) = (BTreeSet::new(), BTreeSet::new());
        while seen.len() < total {
            let sector = submitted.len() as u64 % CAPACITY;
            let data = pattern(submitted.len() as u32, 1);
            match disk.write(sector, &data) {
                Ok(token) if submitted.len() < total => assert!(submitted.insert(token)),
                Ok(_) => panic!("one too many"),
                Err(SubmitError::Queue(kind)) if kind.is_temporary() => {
                    // Half of them at a time, so that the ring goes round.
                    for done in complete(&mut disk, &mut device, 4) {
                        assert_eq!(done.result, Ok(Vec::new()));
                        assert!(seen.insert(done.token), "{} twice", done.token);
                    }
                }
                Err(error) => panic!("{error}"),
            }
            if submitted.len() == total {
                let left = total - seen.len();
                for done in complete(&mut disk, &mut device, left) {
                    assert!(seen.insert(done.token), "{} twice", done.token);
                }
            }
        }
        assert_eq!(seen, submitted);
        let last = total as u64 % CAPACITY;
        assert_eq!(file_bytes(&file, last - 1, 1), pattern(total as u32 - 1, 1));
    }
}

on_every_queue! {
    fn what_the_device_refuses_is_an_error_of_that_request(world) {
        // The driver believes in a disk larger than it is, that discards and can be
        // written.
        let believed = DiskConfig { capacity: 2 * CAPACITY, ..disk_config() };
        let device_config = BlockConfig { read_only: true, discard: false, ..device_config() };
        let (mut disk, mut device, mut file) = disk(&mut world, believed, device_config);
        let past_end = disk.read(CAPACITY - 1, 2);
        let error = complete_one(&mut disk, &mut device, past_end);
        assert_eq!(error, Err(RequestError::Io));
        let write = disk.write(0, &pattern(1, 1));
        let error = complete_one(&mut disk, &mut device, write);
        assert_eq!(error, Err(RequestError::Io));
        let discard = disk.discard(0, 1);
        let error = complete_one(&mut disk, &mut device, discard);
        assert_eq!(error, Err(RequestError::Unsupported));
        // The queue goes on.
        let identify = disk.identify();
        let name = complete_one(&mut disk, &mut device, identify);
        assert_eq!(name.unwrap(), b"a disk for the tests");
        let read = disk.read(CAPACITY - 1, 1);
        let data = complete_one(&mut disk, &mut device, read);
        assert_eq!(data.unwrap(), [0; SECTOR]);
        assert_eq!(file.read_to_end(&mut Vec::new()).unwrap(), 0, "it was written");
    }
}

on_every_queue! {
    fn discarded_sectors_are_gone_and_others_are_not(world) {
        let (mut disk, mut device, file) = disk(&mut world, disk_config(), device_config());
        let data = pattern(5, 24);
        let write = disk.write(0, &data);
        complete_one(&mut disk, &mut device, write).unwrap();
        let discard = disk.discard(8, 8);
        assert_eq!(complete_one(&mut disk, &mut device, discard), Ok(Vec::new()));
        assert_eq!(file_bytes(&file, 0, 8), data[..8 * SECTOR]);
        assert_eq!(file_bytes(&file, 16, 8), data[16 * SECTOR..]);
        // What a discarded sector reads as is the device's choice; it can be read.
        let read = disk.read(8, 8);
        assert_eq!(complete_one(&mut disk, &mut device, read).unwrap().len(), 8 * SECTOR);
    }
}

on_every_queue! {
    fn what_must_not_be_submitted_is_not(world) {
        let config = DiskConfig { seg_max: 2, ..disk_config() };
        let (mut disk, mut device, _file) = disk(&mut world, config, device_config());
        let capacity = CAPACITY;
        let past_end = |sector, sectors| SubmitError::PastEnd { sector, sectors, capacity };
        assert_eq!(disk.read(CAPACITY, 1), Err(past_end(CAPACITY, 1)));
        assert_eq!(disk.read(u64::MAX, 2), Err(past_end(u64::MAX, 2)));
        assert_eq!(disk.discard(1, CAPACITY as u32), Err(past_end(1, CAPACITY)));
        let sector = pattern(0, 1);
        assert_eq!(disk.write(CAPACITY, &sector), Err(past_end(CAPACITY, 1)));
        assert_eq!(disk.write(0, &sector[1..]), Err(SubmitError::NotSectors { bytes: 511 }));
        assert_eq!(disk.write(0, &[]), Err(SubmitError::NotSectors { bytes: 0 }));
        assert_eq!(disk.read(0, 0), Err(SubmitError::NotSectors { bytes: 0 }));
        let too_many = SubmitError::TooManySegments { segments: 3, seg_max: 2 };
        assert_eq!(disk.read(0, 16), Err(too_many));
        assert_eq!(disk.write(0, &pattern(0, 16)), Err(too_many));
        assert!(disk.read(0, 15).is_ok());
        disk.sync();
        assert!(device.step().unwrap());
        assert!(!device.step().unwrap(), "a refused request was sent");
        drop(disk);

        let config = DiskConfig { read_only: true, ..disk_config() };
        let (queue, _requests) = world.connect();
        let mut disk = Disk::new(queue, world.pool.clone(), config);
        assert_eq!(disk.write(0, &sector), Err(SubmitError::ReadOnly));
        assert_eq!(disk.discard(0, 1), Err(SubmitError::ReadOnly));
        drop(disk);
        world.assert_nothing_leaked();
    }
}

on_every_queue! {
    fn shutting_down_says_once_what_became_of_each_request(world) {
        let (mut disk, mut device, _file) = disk(&mut world, disk_config(), device_config());
        let mut tokens = BTreeSet::new();
        for sector in 0..6 {
            tokens.insert(disk.write(sector, &pattern(0, 1)).unwrap());
        }
        disk.sync();
        for _ in 0..3 {
            assert!(device.step().unwrap());
        }
        let first = disk.completed().unwrap().unwrap();
        assert!(tokens.remove(&first.token));
        // Never synced.
        tokens.insert(disk.read(0, 1).unwrap());
        let mut detached = 0;
        for done in disk.shut_down() {
            assert!(tokens.remove(&done.token), "{} twice", done.token);
            match done.result {
                Err(RequestError::Detached) => detached += 1,
                result => assert_eq!(result, Ok(Vec::new())),
            }
        }
        assert_eq!(tokens, BTreeSet::new());
        assert_eq!(detached, 4, "those that the device had not answered");
        world.assert_nothing_leaked();
    }
}

on_every_queue! {
    fn a_device_that_goes_away_leaves_no_request_behind(world) {
        let (mut disk, device, _file) = disk(&mut world, disk_config(), device_config());
        let tokens: Vec<_> = (0..3).map(|sector| disk.read(sector, 1).unwrap()).collect();
        drop(device);
        disk.sync();
        let failure = disk.wait(PATIENCE).unwrap_err();
        assert_eq!(failure, QueueFailure::DeviceGone);
        assert_eq!(disk.completed().unwrap_err(), failure);
        let done = disk.shut_down();
        let detached = |token| Completion { token, result: Err(RequestError::Detached) };
        assert_eq!(done, tokens.into_iter().map(detached).collect::<Vec<_>>());
        world.assert_nothing_leaked();
    }
}

on_every_queue! {
    /// Requests that our driver never makes, and what the device says to them.
    fn the_device_checks_what_it_is_asked(world) {
        let (mut queue, requests) = world.connect();
        let backend = tempfile::tempfile().unwrap();
        let mut device = BlockDevice::new(requests, backend, device_config());
        let header = |kind: RequestType, sector| RequestHeader { kind: kind as u32, sector };
        let range = DiscardSegment { sector: 0, sectors: 1, flags: 0 };
        let unmap = DiscardSegment { flags: 1, ..range };
        let reserved = DiscardSegment { flags: 2, ..range };
        let outside = DiscardSegment { sector: CAPACITY, ..range };
        let discard = |ranges: &[DiscardSegment]| {
            let mut request = header(RequestType::Discard, 0).to_bytes().to_vec();
            request.extend(ranges.iter().flat_map(|range| range.to_bytes()));
            request
        };
        let write = |bytes| {
            let mut request = header(RequestType::Out, 0).to_bytes().to_vec();
            request.resize(request.len() + bytes, 1);
            request
        };
        let of = |kind, sector| header(kind, sector).to_bytes().to_vec();
        let unknown = RequestHeader { kind: 13, sector: 0 }.to_bytes().to_vec();
        use RequestStatus::{IoError, Ok as Fine, Unsupported};
        let cases = [
            ("no header", of(RequestType::In, 0)[..15].to_vec(), 513, Some(IoError)),
            ("no room for a status", of(RequestType::Flush, 0), 0, None),
            ("an unknown type", unknown, 1, Some(Unsupported)),
            ("half a sector read", of(RequestType::In, 0), 257, Some(IoError)),
            ("half a sector written", write(256), 1, Some(IoError)),
            ("a sector and a half written", write(768), 1, Some(IoError)),
            ("a read past the end", of(RequestType::In, CAPACITY), 513, Some(IoError)),
            ("a sector past all numbers", of(RequestType::In, u64::MAX), 513, Some(IoError)),
            ("a name too short", of(RequestType::GetId, 0), 20, Some(IoError)),
            ("a name too long", of(RequestType::GetId, 0), 22, Some(IoError)),
            ("a discard", discard(&[range, range]), 1, Some(Fine)),
            ("a discard that unmaps", discard(&[range, unmap]), 1, Some(Unsupported)),
            ("a discard with a flag", discard(&[reserved]), 1, Some(Unsupported)),
            ("a discard past the end", discard(&[range, outside]), 1, Some(IoError)),
            ("half a range", discard(&[range])[..24].to_vec(), 1, Some(IoError)),
            ("a flush", of(RequestType::Flush, 0), 1, Some(Fine)),
        ];
        for (name, request, writable, expected) in cases {
            let mut buffer = world.pool.allocate(request.len() as u32, writable).unwrap();
            buffer.fill(0, &request).unwrap();
            queue.add_buf(buffer, Token(1)).unwrap();
            queue.sync();
            assert!(device.step().unwrap(), "{name}");
            let (_, returned) = queue.get_buf().unwrap().unwrap();
            let mut answer = returned.to_vec();
            assert_eq!(answer.pop().and_then(RequestStatus::from_raw), expected, "{name}");
            assert!(answer.iter().all(|byte| *byte == 0), "{name}");
        }
    }
}

on_every_queue! {
    /// A device that writes nothing, or nonsense, where the status should be.
    fn an_answer_without_a_status_is_an_error(world) {
        let (queue, mut requests) = world.connect();
        let mut disk = Disk::new(queue, world.pool.clone(), disk_config());
        let mut nonsense = vec![0; SECTOR];
        nonsense.push(77);
        let short = |written| RequestError::ShortAnswer { written, expected: 513 };
        let cases = [
            (&nonsense[..0], short(0)),
            (&nonsense[..SECTOR], short(512)),
            (&nonsense[..], RequestError::UnknownStatus(77)),
        ];
        for (answer, expected) in cases {
            disk.read(0, 1).unwrap();
            disk.sync();
            let request = requests.take().unwrap().unwrap();
            requests.give_back(request, answer).unwrap();
            let done = disk.completed().unwrap().unwrap();
            assert_eq!(done.result, Err(expected));
        }
    }
}

/// Tells the device's thread to stop, also when an assertion fails.
pub(crate) struct Stop<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

on_every_queue! {
    /// Two threads that sleep until the other has something for them.
    fn a_device_on_its_own_thread_is_waited_for(world) {
        let (mut disk, mut device, file) = disk(&mut world, disk_config(), device_config());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stop_device = Stop(&stop);
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // The driver may go first: then there is nothing left to serve.
                    if device.run_for(Duration::from_millis(20)).is_err() {
                        break;
                    }
                }
            });
            let started = Instant::now();
            for round in 0..100u32 {
                // Who is not woken sleeps for all of the patience below.
                assert!(started.elapsed() < PATIENCE, "slow in round {round}");
                let sector = u64::from(round) % (CAPACITY - 1);
                let data = pattern(round, 2);
                disk.write(sector, &data).unwrap();
                let done = disk.wait(PATIENCE).unwrap();
                assert_eq!(done.expect("no answer in time").result, Ok(Vec::new()));
                disk.read(sector, 2).unwrap();
                let done = disk.wait(PATIENCE).unwrap();
                assert_eq!(done.expect("no answer in time").result, Ok(data));
            }
            drop(stop_device);
        });
        let expected = pattern(99, 2);
        assert_eq!(file_bytes(&file, 99 % (CAPACITY - 1), 2), expected);
    }
}
