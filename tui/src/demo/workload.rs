//! What the demo does with its mounts: several threads that list, stat and read
//! a tree, and several that make, fill, list and delete files, in bursts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use virtscope_driver::instrument::Instrument;
use virtscope_driver::p9::client::{Client, ClientError, ReadAt};
use virtscope_driver::p9::message::{DirectoryEntry, Fid, READ_OVERHEAD, UNLINK_DIRECTORY};

use super::housekeeping::keep_house;
use super::tempo::Tempo;

const O_RDONLY: u32 = 0;
const O_RDWR: u32 = 2;
const O_EXCL: u32 = 0o200;
const O_CREAT: u32 = 0o100;

/// `DT_DIR` and `DT_REG` of readdir(3).
const DT_DIR: u8 = 4;
const DT_REG: u8 = 8;

/// Bytes read of one file at most, so that one huge file is not all we see.
const FILE_LIMIT: u64 = 1 << 20;
/// Reads sent with one kick. Each takes nine descriptors, so a large file alone
/// fills a ring of 128.
const READ_BATCH: usize = 16;
/// Bytes of the large file that is written now and then, so that the ring fills
/// whatever the mounted directory holds.
const LARGE_FILE: usize = 600_000;
/// It is written every so many rounds.
const LARGE_EVERY: u64 = 8;
/// House is kept every so many rounds.
const HOUSE_EVERY: u64 = 4;
/// Bytes asked for by one Treaddir.
const READDIR_BYTES: u32 = 8192;
/// How deep a tree is followed.
const MAX_DEPTH: usize = 24;
/// Directory entries kept of one directory.
const MAX_ENTRIES: usize = 5000;

/// Hears of each file the workload has read to its end or to the limit. Tests
/// compare it with the disk.
pub trait Witness: Sync {
    /// `path` from the root of the mount, and what was read.
    fn file_read(&self, path: &[Vec<u8>], content: &[u8]);
}

/// Nobody listens.
#[derive(Clone, Copy, Debug)]
pub struct NoWitness;

impl Witness for NoWitness {
    fn file_read(&self, _: &[Vec<u8>], _: &[u8]) {}
}

/// When to go on, and when to stop.
pub(super) struct Conditions<'a> {
    /// Set when the workload shall end.
    pub(super) stop: &'a AtomicBool,
    /// Bursts and pauses.
    pub(super) tempo: &'a Tempo,
    /// Requests sent so far by all threads.
    pub(super) issued: &'a (dyn Fn() -> u64 + Sync),
}

impl Conditions<'_> {
    /// Waits for the next burst if need be; `false` when it is time to end.
    pub(super) fn go_on(&self) -> bool {
        self.tempo.wait(self.issued, self.stop);
        !self.stop.load(Ordering::Relaxed)
    }
}

/// A thread's own way through the tree. Small and without a dependency, because
/// nothing hangs on its quality.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`, which is not zero.
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }
}

/// Walks the tree below the client's root again and again until told to stop:
/// lists each directory, stats its entries, reads its files.
///
/// Files that vanish or may not be read are passed over, as any program would.
///
/// # Errors
/// The channel or the server failed; not what single files answer.
pub(super) fn explore<I: Instrument>(
    client: &Client<I>,
    seed: u64,
    conditions: &Conditions<'_>,
    witness: &dyn Witness,
) -> Result<(), ClientError> {
    let mut dice = Dice::new(seed);
    let mut ahead: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut pause = Duration::from_millis(1);
    while conditions.go_on() {
        let started = Instant::now();
        let path = ahead.pop().unwrap_or_default();
        let visited = visit(client, &path, &mut dice, conditions, witness);
        for name in passed_over(visited)?.unwrap_or_default() {
            if path.len() < MAX_DEPTH {
                let mut below = path.clone();
                below.push(name);
                ahead.push(below);
            }
        }
        // A tree of nothing but an empty root would keep us spinning.
        if ahead.is_empty() && path.is_empty() && started.elapsed() < pause {
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// Lists one directory, stats all and reads some of what is in it. Returns the
/// directories found.
fn visit<I: Instrument>(
    client: &Client<I>,
    path: &[Vec<u8>],
    dice: &mut Dice,
    conditions: &Conditions<'_>,
    witness: &dyn Witness,
) -> Result<Vec<Vec<u8>>, ClientError> {
    let directory = walk_path(client, client.root(), path)?;
    let entries = list(client, directory, conditions);
    client.clunk(directory)?;
    let entries = entries?;
    let mut directories = Vec::new();
    if entries.is_empty() {
        return Ok(directories);
    }
    // Somewhere in the middle, so that threads don't march in step.
    let start = dice.below(entries.len());
    for entry in entries[start..].iter().chain(&entries[..start]) {
        if !conditions.go_on() {
            break;
        }
        let mut at = path.to_vec();
        at.push(entry.name.clone());
        passed_over(look_at(client, &at, entry, conditions, witness))?;
        if entry.kind == DT_DIR {
            directories.push(entry.name.clone());
        }
    }
    // What build tools do all day, and mostly in vain.
    passed_over(stat_child(client, path, b"Makefile", conditions))?;
    Ok(directories)
}

fn look_at<I: Instrument>(
    client: &Client<I>,
    path: &[Vec<u8>],
    entry: &DirectoryEntry,
    conditions: &Conditions<'_>,
    witness: &dyn Witness,
) -> Result<(), ClientError> {
    let fid = walk_path(client, client.root(), path)?;
    let looked = (|| {
        let attributes = client.getattr(fid)?;
        if entry.kind != DT_REG || !conditions.go_on() {
            return Ok(());
        }
        client.open(fid, O_RDONLY)?;
        if let Some(content) = read_all(client, fid, attributes.size, conditions)? {
            witness.file_read(path, &content);
        }
        Ok(())
    })();
    client.clunk(fid)?;
    looked
}

fn stat_child<I: Instrument>(
    client: &Client<I>,
    path: &[Vec<u8>],
    name: &[u8],
    conditions: &Conditions<'_>,
) -> Result<(), ClientError> {
    let mut at = path.to_vec();
    at.push(name.to_vec());
    conditions.go_on();
    let fid = walk_path(client, client.root(), &at)?;
    let attributes = client.getattr(fid);
    client.clunk(fid)?;
    attributes.map(|_| ())
}

/// Reads a file in batches, up to the limit; `None` if told to stop before.
fn read_all<I: Instrument>(
    client: &Client<I>,
    fid: Fid,
    size: u64,
    conditions: &Conditions<'_>,
) -> Result<Option<Vec<u8>>, ClientError> {
    let count = client.msize() - READ_OVERHEAD;
    // One read past the end, as read(2) loops do, unless the limit is reached.
    let end = size.min(FILE_LIMIT);
    let mut content = Vec::new();
    let mut offset = 0;
    loop {
        let reads: Vec<ReadAt> = (0..READ_BATCH as u64)
            .map(|i| ReadAt {
                offset: offset + i * u64::from(count),
                count,
            })
            .take_while(|read| read.offset < end || read.offset == 0)
            .collect();
        if reads.is_empty() {
            return Ok(Some(content));
        }
        if !conditions.go_on() {
            return Ok(None);
        }
        for piece in client.read_batch(fid, &reads)? {
            content.extend_from_slice(&piece);
        }
        offset += reads.len() as u64 * u64::from(count);
    }
}

/// All entries of a directory but `.` and `..`, by a fid that is opened here.
fn list<I: Instrument>(
    client: &Client<I>,
    directory: Fid,
    conditions: &Conditions<'_>,
) -> Result<Vec<DirectoryEntry>, ClientError> {
    conditions.go_on();
    client.open(directory, O_RDONLY)?;
    let mut all = Vec::new();
    let mut offset = 0;
    loop {
        let entries = client.readdir(directory, offset, READDIR_BYTES)?;
        let Some(last) = entries.last() else {
            return Ok(all);
        };
        offset = last.offset;
        all.extend(
            entries
                .into_iter()
                .filter(|entry| !matches!(&entry.name[..], b"." | b"..")),
        );
        if all.len() >= MAX_ENTRIES || !conditions.go_on() {
            return Ok(all);
        }
    }
}

/// Walks any number of names, sixteen at a time as the protocol allows.
fn walk_path<I: Instrument>(
    client: &Client<I>,
    from: Fid,
    path: &[Vec<u8>],
) -> Result<Fid, ClientError> {
    let names: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
    let mut steps = names.chunks(16);
    let (mut fid, _) = client.walk(from, steps.next().unwrap_or_default())?;
    for step in steps {
        let next = client.walk(fid, step);
        client.clunk(fid)?;
        fid = next?.0;
    }
    Ok(fid)
}

/// Makes, fills, reads back, lists and deletes files in a directory of its own,
/// again and again until told to stop.
///
/// # Errors
/// The channel or the server failed, the disk is full, or what was read back
/// was not what was written.
pub(super) fn scribble<I: Instrument>(
    client: &Client<I>,
    number: u64,
    conditions: &Conditions<'_>,
) -> Result<(), ScribbleError> {
    let mut round = 0u64;
    while conditions.go_on() {
        scribble_once(client, number, round, conditions)?;
        round += 1;
    }
    Ok(())
}

/// What can go wrong with files that nobody else touches.
#[derive(Debug, thiserror::Error)]
pub enum ScribbleError {
    /// The server or the channel says no.
    #[error("the scratch directory: {0}")]
    Client(#[from] ClientError),
    /// A directory lists other files than were made in it.
    #[error("a scratch directory with {files} files lists {listed}")]
    Listing {
        /// Files made in it.
        files: u64,
        /// Files it lists.
        listed: u64,
    },
    /// Bytes changed on their way.
    #[error("{len} bytes written to the scratch directory came back different")]
    Different {
        /// How many there were.
        len: usize,
    },
}

fn scribble_once<I: Instrument>(
    client: &Client<I>,
    number: u64,
    round: u64,
    conditions: &Conditions<'_>,
) -> Result<(), ScribbleError> {
    let name = format!("writer-{number}-{round}").into_bytes();
    client.mkdir(client.root(), &name, 0o755)?;
    let files = 1 + round % 5;
    for file in 0..files {
        let len = if file == 0 && round.is_multiple_of(LARGE_EVERY) {
            LARGE_FILE
        } else {
            1000 << (file + round % 4)
        };
        let content: Vec<u8> = (0..len).map(|i| (i as u64 + round + file) as u8).collect();
        write_file(client, &name, file, &content, conditions)?;
    }
    let (directory, _) = client.walk(client.root(), &[&name])?;
    if round.is_multiple_of(HOUSE_EVERY) {
        keep_house(client, directory, conditions)?;
    }
    let entries = list(client, directory, conditions);
    for file in 0..files {
        client.unlink(directory, &file_name(file), 0)?;
        conditions.go_on();
    }
    client.clunk(directory)?;
    client.unlink(client.root(), &name, UNLINK_DIRECTORY)?;
    conditions.go_on();
    let listed = entries?.len() as u64;
    // A listing that was stopped in the middle says nothing.
    if listed != files && !conditions.stop.load(Ordering::Relaxed) {
        return Err(ScribbleError::Listing { files, listed });
    }
    Ok(())
}

fn file_name(file: u64) -> Vec<u8> {
    format!("file-{file}").into_bytes()
}

fn write_file<I: Instrument>(
    client: &Client<I>,
    directory: &[u8],
    file: u64,
    content: &[u8],
    conditions: &Conditions<'_>,
) -> Result<(), ScribbleError> {
    let (fid, _) = client.walk(client.root(), &[directory])?;
    client.create(fid, &file_name(file), O_RDWR | O_CREAT | O_EXCL, 0o644)?;
    let mut written = 0;
    while written < content.len() {
        let count = client.write(fid, written as u64, &content[written..])?;
        if count == 0 {
            return Err(ClientError::Server(Errno::IO).into());
        }
        written += count as usize;
        conditions.go_on();
    }
    let read = read_all(client, fid, content.len() as u64, conditions)?;
    client.clunk(fid)?;
    conditions.go_on();
    match read {
        Some(read) if read != content => Err(ScribbleError::Different { len: content.len() }),
        _ => Ok(()),
    }
}

/// What single files answer is part of life; anything else is not.
pub(super) fn passed_over<T>(result: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ClientError::Server(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
