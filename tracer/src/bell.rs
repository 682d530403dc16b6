//! By what the kernel says that the buffer should be read.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

/// How long whoever reads a buffer rests that has no bell.
const WITHOUT: Duration = Duration::from_millis(5);

/// Rung by the programs when so much waits in their buffer that it can't be left for long.
#[derive(Debug)]
pub(crate) struct Bell(Option<OwnedFd>);

impl Bell {
    /// The one of the ring buffer `map`. Where there are no descriptors left for it, whoever
    /// reads has to look more often.
    pub(crate) fn of(map: BorrowedFd<'_>) -> Self {
        let hung = epoll::create(epoll::CreateFlags::CLOEXEC).and_then(|bell| {
            // By the edge: a ring buffer is ready whenever there is anything in it, and that is
            // no reason to read it.
            let when = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&bell, map, epoll::EventData::new_u64(0), when)?;
            Ok(bell)
        });
        Self(hung.ok())
    }

    /// Rests until it rings, at most so long. Returns at once if it has rung since.
    pub(crate) fn rest(&self, at_most: Duration) {
        let Some(bell) = &self.0 else {
            return sleep(at_most.min(WITHOUT));
        };
        let mut rung = Vec::with_capacity(1);
        let at_most = Timespec::try_from(at_most).ok();
        // Neither a signal nor anything else that ends it early is of any interest.
        if epoll::wait(bell, spare_capacity(&mut rung), at_most.as_ref()).is_err() {
            sleep(WITHOUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(5);

    /// A pipe stands for a buffer: like one it is ready as long as anything is in it.
    #[test]
    fn it_rings_once_for_each_time_it_is_rung() {
        let (buffer, mut programs) = std::io::pipe().unwrap();
        let bell = Bell::of(buffer.as_fd());
        for _ in 0..3 {
            programs.write_all(b"records").unwrap();
            let since = Instant::now();
            bell.rest(LONG);
            assert!(since.elapsed() < LONG);
            let since = Instant::now();
            let short = Duration::from_millis(20);
            bell.rest(short);
            assert!(since.elapsed() >= short);
        }
    }

    #[test]
    fn without_one_rests_are_short() {
        let since = Instant::now();
        Bell(None).rest(LONG);
        assert!(since.elapsed() < LONG);
    }
}
