//! What is said in 9P.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::scope;
use std::time::{Duration, Instant};

use virtscope_analyzer::FindingCode as Code;
use virtscope_driver::p9::client::ClientError;
use virtscope_driver::p9::message::{Fid, Request};

use super::stage::{PAUSE, Setup, Stage};
use super::{Scenario, twins};

/// A tag that the client itself does not come to.
const TAG: u16 = 0x8000;

pub(super) const ALL: &[[Scenario; 2]] = &[
    twins(
        Code::NineErrors,
        ["9p-errors", "9p-errors-near-miss"],
        [
            "Requests name fids that the server does not know.",
            "Nearly all walks end at a name that does not exist.",
        ],
        [Setup::sound, Setup::sound],
        [unknown_fids, missing_names],
    ),
    twins(
        Code::NineFlushStorm,
        ["9p-flush-storm", "9p-flush-storm-near-miss"],
        [
            "Every second request is flushed.",
            "One request in twenty is flushed.",
        ],
        [Setup::sound, Setup::sound],
        [|stage| flush(stage, 2), |stage| flush(stage, 20)],
    ),
    twins(
        Code::NineTagReuse,
        ["9p-tag-reuse", "9p-tag-reuse-near-miss"],
        [
            "Two slow reads are in flight under one tag.",
            "Two slow reads are in flight under two tags.",
        ],
        [slow, slow],
        [
            |stage| two_reads(stage, TAG),
            |stage| two_reads(stage, TAG + 1),
        ],
    ),
    twins(
        Code::NineMsize,
        ["9p-msize", "9p-msize-near-miss"],
        [
            "A file of a megabyte is read through messages of 4 KiB.",
            "A file of a megabyte is read through messages of 32 KiB.",
        ],
        [|| Setup::sound().msize(4096), Setup::sound],
        [read_whole, read_whole],
    ),
    twins(
        Code::NineFidLeak,
        ["9p-fid-leak", "9p-fid-leak-near-miss"],
        [
            "Fids are made and none is given up.",
            "Fids are made and given up.",
        ],
        [Setup::sound, Setup::sound],
        [
            |stage| make_fids(stage, false),
            |stage| make_fids(stage, true),
        ],
    ),
    twins(
        Code::NineMetadataStorm,
        ["9p-metadata-storm", "9p-metadata-storm-near-miss"],
        [
            "Threads look a file up and ask for its attributes, over and over.",
            "Threads look a file up, ask for its attributes and read it, over and over.",
        ],
        [Setup::sound, Setup::sound],
        [|stage| look_up(stage, false), |stage| look_up(stage, true)],
    ),
    twins(
        Code::NineSmallReads,
        ["9p-small-reads", "9p-small-reads-near-miss"],
        [
            "A file is read 512 bytes at a time.",
            "A file is read 8 KiB at a time.",
        ],
        [Setup::sound, Setup::sound],
        [
            |stage| read_in_pieces(stage, 512),
            |stage| read_in_pieces(stage, 8192),
        ],
    ),
];

fn slow() -> Setup {
    Setup::sound().slow_reads(4096, Duration::from_millis(50))
}

fn unknown_fids(stage: &Stage<'_>) -> Result<(), ClientError> {
    stage.ask_often(10, PAUSE)?;
    for fid in 0..5 {
        // The error is what is wanted.
        let _ = stage.client.getattr(Fid(4_000_000_000 + fid));
    }
    Ok(())
}

fn missing_names(stage: &Stage<'_>) -> Result<(), ClientError> {
    for _ in 0..300 {
        let _ = stage.client.walk(stage.client.root(), &[b"missing"]);
    }
    stage.ask()
}

/// Of 200 requests, each of so many is given up although it is done already.
fn flush(stage: &Stage<'_>, every: u64) -> Result<(), ClientError> {
    for number in 0..200_u64 {
        if number % every == 0 {
            stage
                .send(TAG, &Request::Flush { oldtag: TAG + 1 })?
                .wait()?;
        } else {
            stage.ask()?;
        }
    }
    Ok(())
}

fn two_reads(stage: &Stage<'_>, second: u16) -> Result<(), ClientError> {
    let fid = stage.file("read", 4096)?;
    let read = Request::Read {
        fid,
        offset: 0,
        count: 4096,
    };
    let pending = [stage.send(TAG, &read)?, stage.send(second, &read)?];
    for pending in pending {
        pending.wait()?;
    }
    stage.client.clunk(fid)
}

fn read_whole(stage: &Stage<'_>) -> Result<(), ClientError> {
    const BYTES: usize = 1 << 20;
    let fid = stage.file("whole", BYTES)?;
    let mut offset = 0;
    loop {
        let read = stage.client.read(fid, offset, u32::MAX)?;
        if read.is_empty() {
            return stage.client.clunk(fid);
        }
        offset += read.len() as u64;
    }
}

fn make_fids(stage: &Stage<'_>, give_up: bool) -> Result<(), ClientError> {
    for _ in 0..1500 {
        let (fid, _) = stage.client.walk(stage.client.root(), &[])?;
        if give_up {
            stage.client.clunk(fid)?;
        }
    }
    Ok(())
}

/// Goes on until it was quick enough for long enough: on a machine that has other things
/// to do, the first seconds may not be.
fn look_up(stage: &Stage<'_>, read: bool) -> Result<(), ClientError> {
    const STRETCH: Duration = Duration::from_millis(2500);
    const ENOUGH: u64 = 3500;
    const PATIENCE: Duration = Duration::from_secs(20);
    let name: &[&[u8]] = &[b"file"];
    let fid = stage.file("file", 100)?;
    stage.client.clunk(fid)?;
    let began = Instant::now();
    let lookups = AtomicU64::new(0);
    let stretch = Mutex::new((began, 0));
    let over = || {
        let mut stretch = stretch.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, before) = *stretch;
        if stage.over() || began.elapsed() > PATIENCE {
            return true;
        }
        if since.elapsed() < STRETCH {
            return false;
        }
        let made = lookups.load(Ordering::Relaxed);
        if read || made - before >= ENOUGH {
            return true;
        }
        *stretch = (Instant::now(), made);
        false
    };
    let look = || {
        while !over() {
            let (fid, _) = stage.client.walk(stage.client.root(), name)?;
            stage.client.getattr(fid)?;
            lookups.fetch_add(2, Ordering::Relaxed);
            if read {
                stage.client.open(fid, super::stage::O_RDONLY)?;
                stage.client.read(fid, 0, 100)?;
            }
            stage.client.clunk(fid)?;
        }
        Ok(())
    };
    scope(|scope| {
        let others = [scope.spawn(look), scope.spawn(look)];
        let one: Result<(), ClientError> = look();
        for other in others {
            if let Ok(result) = other.join() {
                result?;
            }
        }
        one
    })
}

fn read_in_pieces(stage: &Stage<'_>, count: u32) -> Result<(), ClientError> {
    let fid = stage.file("pieces", 1200 * count as usize)?;
    for number in 0..1200 {
        stage.client.read(fid, number * u64::from(count), count)?;
    }
    stage.client.clunk(fid)
}
