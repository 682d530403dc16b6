//! What programs do with files now and then, beside reading and writing them: so that
//! every message of 9P2000.L crosses the demo's rings.

use virtscope_driver::instrument::Instrument;
use virtscope_driver::memory::PAGE_SIZE;
use virtscope_driver::p9::client::{Client, ClientError};
use virtscope_driver::p9::interrupt::Interrupt;
use virtscope_driver::p9::message::{
    Fid, LOCK_BLOCK, Lock, LockKind, SetAttributes, SetTime, UNLINK_DIRECTORY,
};

use super::workload::{Conditions, ScribbleError, passed_over};

const O_RDWR: u32 = 2;
const O_EXCL: u32 = 0o200;
const O_CREAT: u32 = 0o100;
const S_IFIFO: u32 = 0o010_000;

/// Bytes carried without a copy: some pages, and not from the beginning of the first.
const CARRIED: usize = 3 * PAGE_SIZE;
const BEGINS_AT: usize = 1000;

/// Keeps house in a directory of its own below `directory`, and removes it again.
///
/// What the file system can't do (attributes, links, FIFOs) is passed over.
///
/// # Errors
/// The channel or the server failed, or what was read back was not what was written.
pub(super) fn keep_house<I: Instrument>(
    client: &Client<I>,
    directory: Fid,
    conditions: &Conditions<'_>,
) -> Result<(), ScribbleError> {
    client.mkdir(directory, b"house", 0o755)?;
    let (house, _) = client.walk(directory, &[b"house"])?;
    let kept = carry(client, house, conditions).and_then(|()| {
        conditions.go_on();
        passed_over(tend_names(client, house))?;
        conditions.go_on();
        passed_over(tend_attributes(client, house))?;
        conditions.go_on();
        change_ones_mind(client, house)?;
        Ok(())
    });
    // Whatever was left lying by a step that was passed over.
    for name in [
        &b"notes"[..],
        b"second",
        b"pipe",
        b"fifo",
        b"shortcut",
        b"moved",
    ] {
        passed_over(client.unlink(house, name, 0))?;
    }
    client.clunk(house)?;
    client.unlink(directory, b"house", UNLINK_DIRECTORY)?;
    conditions.go_on();
    kept
}

/// Writes pages of ours and reads them back, under a lock.
fn carry<I: Instrument>(
    client: &Client<I>,
    house: Fid,
    conditions: &Conditions<'_>,
) -> Result<(), ScribbleError> {
    let (notes, _) = client.walk(house, &[])?;
    client.create(notes, b"notes", O_RDWR | O_CREAT | O_EXCL, 0o644)?;
    let lock = |kind| Lock {
        kind,
        start: 0,
        length: CARRIED as u64,
        proc_id: std::process::id(),
        client_id: "virtscope",
    };
    client.lock(notes, lock(LockKind::Write), LOCK_BLOCK)?;
    let written: Vec<u8> = (0..CARRIED).map(|i| (i % 251) as u8).collect();
    let mut pages = client
        .channel()
        .allocate(BEGINS_AT, CARRIED)
        .map_err(no_pages)?;
    pages.write(&written);
    let sent = client
        .write_zero_copy(notes, 0, pages)
        .map_err(|failed| failed.error)?;
    conditions.go_on();
    client.fsync(notes, true)?;
    let got = client
        .read_zero_copy(notes, 0, sent.pages)
        .map_err(|failed| failed.error)?;
    client.getlock(notes, lock(LockKind::Read))?;
    client.lock(notes, lock(LockKind::Unlock), 0)?;
    client.clunk(notes)?;
    let whole = sent.count as usize == CARRIED && got.count as usize == CARRIED;
    if !whole || got.pages.read(CARRIED) != written {
        return Err(ScribbleError::Different { len: CARRIED });
    }
    Ok(())
}

/// Makes names of all sorts, moves them and removes them.
fn tend_names<I: Instrument>(client: &Client<I>, house: Fid) -> Result<(), ClientError> {
    client.symlink(house, b"shortcut", b"notes")?;
    let (shortcut, _) = client.walk(house, &[b"shortcut"])?;
    let moved = client
        .readlink(shortcut)
        .and_then(|_| client.rename(shortcut, house, b"moved"));
    // The fid goes with it.
    client.remove(shortcut)?;
    moved?;
    let (notes, _) = client.walk(house, &[b"notes"])?;
    let linked = client.link(house, notes, b"second");
    client.clunk(notes)?;
    linked?;
    client.mknod(house, b"fifo", S_IFIFO | 0o600, (0, 0))?;
    client.renameat((house, b"fifo"), (house, b"pipe"))
}

/// Looks at attributes and changes them.
fn tend_attributes<I: Instrument>(client: &Client<I>, house: Fid) -> Result<(), ClientError> {
    client.statfs(house)?;
    let (notes, _) = client.walk(house, &[b"notes"])?;
    let tended = (|| {
        client.setattr(
            notes,
            SetAttributes {
                mode: Some(0o600),
                size: Some(100),
                mtime: Some(SetTime::Now),
                ..SetAttributes::default()
            },
        )?;
        let (all, _) = client.xattr_walk(notes, b"")?;
        client.clunk(all)?;
        let (attribute, _) = client.walk(notes, &[])?;
        let created = client
            .xattr_create(attribute, b"user.virtscope", 4, 0)
            .and_then(|()| client.write(attribute, 0, b"demo"));
        let set = client.clunk(attribute);
        created.and(set)
    })();
    client.clunk(notes)?;
    tended
}

/// Asks for something and gives it up at once, as a program does that gets a signal.
fn change_ones_mind<I: Instrument>(client: &Client<I>, house: Fid) -> Result<(), ClientError> {
    let (notes, _) = client.walk(house, &[b"notes"])?;
    let read = client.open(notes, O_RDWR).and_then(|_| {
        let interrupt = Interrupt::new();
        interrupt.raise();
        client.read_or(notes, 0, 100, &interrupt)
    });
    client.clunk(notes)?;
    match read {
        Ok(_) | Err(ClientError::Interrupted | ClientError::Server(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn no_pages(error: virtscope_driver::memory::NoPages) -> ClientError {
    ClientError::Channel(error.into())
}
