//! The host's end of the serial port on which a guest takes scripts: see
//! `init.sh`.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Between two looks at whether it takes too long.
const LOOK: Duration = Duration::from_millis(100);
/// Stands before a mark.
const SEPARATOR: u8 = 0x1e;

/// Whoever runs scripts on the other end.
#[derive(Debug)]
pub(crate) struct Agent {
    stream: UnixStream,
    /// What has come and is not yet looked at.
    pending: Vec<u8>,
    scripts: u64,
}

impl Agent {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(LOOK))?;
        Ok(Self {
            stream,
            pending: Vec::new(),
            scripts: 0,
        })
    }

    /// Waits until it takes scripts.
    pub(crate) fn ready(&mut self, until: Instant) -> anyhow::Result<()> {
        self.pass(b"ready", until, &mut io::sink())?;
        Ok(())
    }

    /// Runs `script`, passes on what it prints, and returns how it ended.
    ///
    /// # Errors
    /// It is not over in time, or the guest is gone.
    pub(crate) fn run(
        &mut self,
        script: &str,
        until: Instant,
        output: &mut dyn Write,
    ) -> anyhow::Result<i32> {
        let mark = self.send(script)?;
        let status = self.pass(mark.as_bytes(), until, output)?;
        let status = status.trim();
        status
            .parse()
            .with_context(|| format!("a script ended with {status:?}"))
    }

    /// Sends `script`, of which no end will be seen.
    pub(crate) fn send(&mut self, script: &str) -> anyhow::Result<String> {
        self.scripts += 1;
        let mark = format!("{}-{}", std::process::id(), self.scripts);
        let length = script.len();
        write!(self.stream, "{mark} {length}\n{script}").context("sending a script")?;
        Ok(mark)
    }

    /// Passes on what comes before `mark`, and returns the rest of the mark's line.
    fn pass(
        &mut self,
        mark: &[u8],
        until: Instant,
        output: &mut dyn Write,
    ) -> anyhow::Result<String> {
        loop {
            let (before, rest) = split(&self.pending, mark);
            output.write_all(&self.pending[..before])?;
            output.flush()?;
            if let Some((rest, end)) = rest {
                self.pending.drain(..end);
                return Ok(rest);
            }
            self.pending.drain(..before);
            self.fill(until)?;
        }
    }

    fn fill(&mut self, until: Instant) -> anyhow::Result<()> {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => bail!("the guest is gone"),
                Ok(length) => {
                    self.pending.extend_from_slice(&bytes[..length]);
                    return Ok(());
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error).context("reading from the guest"),
            }
            if Instant::now() >= until {
                bail!("not over in time");
            }
        }
    }
}

/// How much of `bytes` is surely output; and if the mark stands behind it, the rest
/// of its line and where that ends.
fn split(bytes: &[u8], mark: &[u8]) -> (usize, Option<(String, usize)>) {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == SEPARATOR) {
        let at = from + at;
        let line = &bytes[at + 1..];
        let whole = line.iter().position(|byte| *byte == b'\n');
        match (line.strip_prefix(mark), whole) {
            (Some(_), Some(end)) => {
                let rest = String::from_utf8_lossy(&line[mark.len()..end]).into_owned();
                return (at, Some((rest, at + 1 + end + 1)));
            }
            // Its end is still to come.
            (Some(_), None) => return (at, None),
            (None, _) if mark.starts_with(line) => return (at, None),
            (None, _) => from = at + 1,
        }
    }
    (bytes.len(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// An agent whose guest says this, piece by piece, and then nothing.
    fn agent(pieces: &'static [&'static [u8]]) -> Agent {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            for piece in pieces {
                theirs.write_all(piece).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
            // What was sent to it is taken until we are gone.
            let _ = io::copy(&mut theirs, &mut io::sink());
        });
        Agent::new(ours).unwrap()
    }

    #[test]
    fn output_ends_at_its_own_mark() {
        let mark = b"77-1";
        assert_eq!(split(b"abc", mark), (3, None));
        assert_eq!(split(b"abc\x1e", mark), (3, None));
        assert_eq!(split(b"abc\x1e77-1 0", mark), (3, None));
        assert_eq!(
            split(b"abc\x1e77-1 0\nx", mark),
            (3, Some((" 0".into(), 11)))
        );
        // A separator in the output is part of it.
        assert_eq!(split(b"a\x1eb\x1e77-1 3\n", mark).0, 3);
        assert_eq!(split(b"a\x1e78", mark), (4, None));
    }

    #[test]
    fn a_mark_may_come_in_pieces() {
        let mut agent = agent(&[b"boot\n\x1erea", b"dy\n", b""]);
        agent.ready(soon()).unwrap();
        assert!(agent.pending.is_empty());
    }

    #[test]
    fn what_takes_too_long_is_given_up() {
        let mut agent = agent(&[b"nothing to see"]);
        let mut seen = Vec::new();
        let until = Instant::now() + Duration::from_millis(200);
        let error = agent.run("sleep 100", until, &mut seen).unwrap_err();
        assert_eq!(error.to_string(), "not over in time");
        assert_eq!(seen, b"nothing to see");
    }
}
