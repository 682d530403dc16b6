//! Captures to read: a file, a file that grows, or standard input.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::{Context, bail};
use virtscope_captures::{CaptureReader, Follow, ReadError};

use crate::meter::Meter;

/// Where the bytes of a capture come from.
pub(crate) type Input = Box<dyn Read + Send>;

/// Whether `path` stands for standard input or output.
pub(crate) fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// Whether the capture has no beginning to go back to. Opening a named pipe once
/// more would wait for its next writer; a file that is gone is no pipe, and opening
/// it says so.
pub(crate) fn is_pipe(path: &Path) -> bool {
    is_standard(path) || std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

/// What to call the capture at `path`.
pub(crate) fn name(path: &Path) -> String {
    if is_standard(path) {
        return "standard input".to_owned();
    }
    virtscope_analyzer::sanitize(path.to_string_lossy().as_bytes()).into_owned()
}

/// Opens the capture at `path`. With `follow`, its end is waited at until that
/// flag is set.
pub(crate) fn open(
    path: &Path,
    follow: Option<Arc<AtomicBool>>,
) -> anyhow::Result<CaptureReader<Input>> {
    CaptureReader::new(input(path, follow)?).with_context(|| name(path))
}

/// The same, but a pipe is waited for until `stop` is set, and no longer: then reading it
/// fails, as [`is_stopped`] tells. A file is there, and `stop` is the caller's to look at.
pub(crate) fn open_until(
    path: &Path,
    follow: Option<Arc<AtomicBool>>,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<CaptureReader<Input>> {
    CaptureReader::new(input_until(path, follow, stop)?).with_context(|| name(path))
}

/// The same, counted by `meter`.
pub(crate) fn open_metered(
    path: &Path,
    meter: &Meter,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<CaptureReader<Input>> {
    CaptureReader::new(meter.over(input_until(path, None, stop)?)).with_context(|| name(path))
}

/// What a reader counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) packets: u64,
    pub(crate) corrupt: u64,
    pub(crate) foreign: u64,
    pub(crate) snaplen: Option<u32>,
}

impl Counted {
    pub(crate) fn by(reader: &CaptureReader<Input>) -> Self {
        Self {
            packets: reader.packets(),
            corrupt: reader.corrupt_packets(),
            foreign: reader.foreign_packets(),
            snaplen: reader.info().map(|info| info.snaplen),
        }
    }
}

/// The same as [`open`], for whoever has other things to do than to wait: where nothing more
/// is there after `patience`, the reader says [`ErrorKind::WouldBlock`] and may be asked
/// again. Only for the first bytes does this wait, and until `stop` is set: then it is
/// `None`.
pub(crate) fn open_live(
    path: &Path,
    follow: Option<Arc<AtomicBool>>,
    patience: Duration,
    stop: &AtomicBool,
) -> anyhow::Result<Option<CaptureReader<Input>>> {
    let mut live = live(path, follow, Wait::For(patience))?;
    if !live.wait_until_open(stop)? || !live.wait_for_first(stop).with_context(|| name(path))? {
        return Ok(None);
    }
    let reader = CaptureReader::new(Box::new(live) as Input).with_context(|| name(path))?;
    Ok(Some(reader))
}

/// Why no more was read of a pipe.
#[derive(Debug, thiserror::Error)]
#[error("interrupted while it was waited for")]
struct Stopped;

/// Whether reading failed because it was told to stop while a pipe was silent.
pub(crate) fn is_stopped(error: &ReadError) -> bool {
    let ReadError::Input(error) = error else {
        return false;
    };
    let why = error.get_ref();
    why.is_some_and(<dyn std::error::Error + Send + Sync>::is::<Stopped>)
}

fn input_until(
    path: &Path,
    follow: Option<Arc<AtomicBool>>,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Input> {
    if !is_pipe(path) {
        return input(path, follow);
    }
    let live = live(path, follow, Wait::Until(Arc::clone(stop)))?;
    if !live.wait_until_open(stop)? {
        return Err(Stopped).with_context(|| name(path));
    }
    Ok(Box::new(live))
}

/// The capture at `path`, read by a thread of its own. A named pipe waits for its writer
/// when it is opened, so that is the thread's to do, too.
fn live(path: &Path, follow: Option<Arc<AtomicBool>>, wait: Wait) -> anyhow::Result<Live> {
    let path = path.to_owned();
    Live::over(move || input(&path, follow), wait).context("no thread for reading the capture")
}

fn input(path: &Path, follow: Option<Arc<AtomicBool>>) -> anyhow::Result<Input> {
    Ok(if is_standard(path) {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            bail!("standard input is a terminal: pipe a capture into it, or name a file");
        }
        Box::new(stdin)
    } else {
        let file = File::open(path).map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => "name a capture that exists",
                ErrorKind::PermissionDenied => "make it readable, or read it as its owner",
                _ => "name another capture",
            };
            let message = format!("cannot open {}: {hint}", name(path));
            anyhow::Error::new(error).context(message)
        })?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            bail!("{} is a directory: name a capture file", name(path));
        }
        match follow {
            Some(stop) => Box::new(Follow::new(file, stop)),
            None => Box::new(file),
        }
    })
}

/// Bytes a [`Live`] input reads at once.
const PIECE: usize = 64 * 1024;
/// Pieces it reads ahead: enough that a fast pipe goes on while a picture is made.
const PIECES: usize = 64;
/// Bytes by which a capture is known to be one.
const FIRST: usize = 4;
/// How long these are waited for before it is looked whether they are still wanted.
const LOOK: Duration = Duration::from_millis(20);

/// An input that is read by a thread of its own, so that nobody else waits.
///
/// A thread in a read that never ends is left to itself, and ends with the
/// program.
struct Live {
    opened: Receiver<anyhow::Result<()>>,
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
    wait: Wait,
}

/// How long a read waits.
#[derive(Debug)]
enum Wait {
    /// So long; then it says [`ErrorKind::WouldBlock`].
    For(Duration),
    /// Until this is set; then it says [`Stopped`].
    Until(Arc<AtomicBool>),
}

impl Live {
    /// Over what `open` opens.
    fn over(
        open: impl FnOnce() -> anyhow::Result<Input> + Send + 'static,
        wait: Wait,
    ) -> io::Result<Self> {
        let (is_open, opened) = sync_channel(1);
        let (sender, pieces) = sync_channel(PIECES);
        let read_all = move || {
            let (mut input, answer) = match open() {
                Ok(input) => (Some(input), Ok(())),
                Err(error) => (None, Err(error)),
            };
            if is_open.send(answer).is_err() {
                return;
            }
            while let Some(input) = &mut input {
                let mut piece = vec![0; PIECE];
                let read = match input.read(&mut piece) {
                    Ok(0) => return,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Ok(count) => {
                        piece.truncate(count);
                        Ok(piece)
                    }
                    Err(error) => Err(error),
                };
                let is_last = read.is_err();
                if sender.send(read).is_err() || is_last {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("capture".into())
            .spawn(read_all)?;
        Ok(Self {
            opened,
            pieces,
            piece: io::Cursor::default(),
            wait,
        })
    }

    /// Waits until it is open; `false` if `stop` was set before.
    fn wait_until_open(&self, stop: &AtomicBool) -> anyhow::Result<bool> {
        loop {
            match self.opened.recv_timeout(LOOK) {
                Ok(opened) => return opened.map(|()| true),
                Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Acquire) => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the thread that reads it is gone"),
            }
        }
    }

    /// Waits until there are the bytes by which a capture is known to be one, or it is
    /// known that there will be none: the next read gives what there is of them.
    /// `false` if `stop` was set before.
    fn wait_for_first(&mut self, stop: &AtomicBool) -> io::Result<bool> {
        let mut first = Vec::new();
        while first.len() < FIRST {
            if stop.load(Ordering::Acquire) {
                return Ok(false);
            }
            match self.pieces.recv_timeout(LOOK) {
                Ok(piece) => first.append(&mut piece?),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.piece = io::Cursor::new(first);
        Ok(true)
    }

    /// What was read next; nothing at the end.
    fn next_piece(&self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let patience = match &self.wait {
                Wait::For(patience) => *patience,
                Wait::Until(_) => LOOK,
            };
            match (self.pieces.recv_timeout(patience), &self.wait) {
                (Ok(piece), _) => return piece.map(Some),
                (Err(RecvTimeoutError::Disconnected), _) => return Ok(None),
                (Err(RecvTimeoutError::Timeout), Wait::For(_)) => {
                    return Err(ErrorKind::WouldBlock.into());
                }
                (Err(RecvTimeoutError::Timeout), Wait::Until(stop)) => {
                    if stop.load(Ordering::Acquire) {
                        return Err(io::Error::other(Stopped));
                    }
                }
            }
        }
    }
}

impl Read for Live {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut count = self.piece.read(buf)?;
        if count == 0 && !buf.is_empty() {
            match self.next_piece()? {
                Some(piece) => self.piece = io::Cursor::new(piece),
                None => return Ok(0),
            }
            count = self.piece.read(buf)?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use rustix::fs::{CWD, Mode, mkfifoat};
    use std::io::Write;

    #[test]
    fn only_what_has_no_beginning_is_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let [file, named, link, gone] =
            ["file", "named", "link", "gone"].map(|name| dir.path().join(name));
        std::fs::write(&file, b"x").unwrap();
        mkfifoat(CWD, &named, Mode::RUSR | Mode::WUSR).unwrap();
        std::os::unix::fs::symlink(&named, &link).unwrap();
        for pipe in [Path::new("-"), &named, &link] {
            assert!(is_pipe(pipe), "{}", pipe.display());
        }
        for other in [&file, &gone] {
            assert!(!is_pipe(other), "{}", other.display());
        }
    }

    /// Reads until something comes, or the end.
    fn next(live: &mut Live, buf: &mut [u8]) -> usize {
        loop {
            match live.read(buf) {
                Ok(count) => return count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            std::thread::yield_now();
        }
    }

    #[rstest]
    #[timeout(Duration::from_secs(60))]
    fn a_live_input_waits_for_its_first_bytes_only() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut live = Live::over(|| Ok(Box::new(reader)), Wait::For(Duration::ZERO)).unwrap();
        let stop = AtomicBool::new(false);
        writer.write_all(b"ab").unwrap();
        let mut buf = [0; 4];
        std::thread::scope(|scope| {
            let first = scope.spawn(|| live.wait_for_first(&stop).unwrap());
            writer.write_all(b"cde").unwrap();
            assert!(first.join().unwrap());
        });
        assert_eq!(next(&mut live, &mut buf), 4);
        assert_eq!(&buf, b"abcd");
        assert_eq!(next(&mut live, &mut buf), 1);
        let error = live.read(&mut buf).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        writer.write_all(b"f").unwrap();
        assert_eq!(next(&mut live, &mut buf), 1);
        assert_eq!(buf[0], b'f');
        drop(writer);
        assert_eq!(next(&mut live, &mut buf), 0);
        assert_eq!(live.read(&mut buf).unwrap(), 0, "the end stays the end");
    }

    #[rstest]
    #[timeout(Duration::from_secs(60))]
    fn the_first_bytes_are_waited_for_until_told_to_stop_or_there_are_none() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut live = Live::over(|| Ok(Box::new(reader)), Wait::For(Duration::ZERO)).unwrap();
        writer.write_all(b"abc").unwrap();
        assert!(!live.wait_for_first(&AtomicBool::new(true)).unwrap());
        let stop = AtomicBool::new(false);
        drop(writer);
        assert!(live.wait_for_first(&stop).unwrap());
        let mut buf = [0; 4];
        assert_eq!(next(&mut live, &mut buf), 3, "what there is is read");
        assert_eq!(next(&mut live, &mut buf), 0);
    }
}
