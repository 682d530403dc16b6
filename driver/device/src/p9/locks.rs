//! POSIX record locks among the clients of one session (fcntl(2), `F_SETLK`).
//!
//! The server is one process, and the kernel's record locks belong to a process: handed
//! on, locks of two clients would never conflict. So they are kept here. Programs of the
//! host do not see them, as little as those of a client see the host's.

use rustix::io::Errno;

use super::stat::Identity;
use super::wire::Fid;

/// Locks that clients may hold at a time.
const MAX_LOCKS: usize = 65_536;

/// Whose a lock is: a process on a client's machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Owner {
    pub(super) client: Box<[u8]>,
    pub(super) process: u32,
}

/// Bytes of a file, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    first: u64,
    last: u64,
}

impl Range {
    /// `length` bytes from `start` on; none mean all that follow.
    ///
    /// # Errors
    /// `EOVERFLOW` if there are not so many numbers.
    pub(super) fn new(start: u64, length: u64) -> Result<Self, Errno> {
        let last = match length {
            0 => u64::MAX,
            _ => start.checked_add(length - 1).ok_or(Errno::OVERFLOW)?,
        };
        Ok(Self { first: start, last })
    }

    pub(super) fn start(self) -> u64 {
        self.first
    }

    /// As the protocol has it: 0 for all that follow.
    pub(super) fn length(self) -> u64 {
        match self.last {
            u64::MAX => 0,
            last => last - self.first + 1,
        }
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// What of this range lies outside `other`.
    fn without(self, other: Self) -> impl Iterator<Item = Self> {
        let before = other.first.checked_sub(1).map(|last| Self {
            first: self.first,
            last: last.min(self.last),
        });
        let behind = other.last.checked_add(1).map(|first| Self {
            first: first.max(self.first),
            last: self.last,
        });
        let parts = [before, behind].into_iter().flatten();
        parts.filter(|part| part.first <= part.last)
    }
}

/// A lock that somebody holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub(super) range: Range,
    pub(super) exclusive: bool,
    pub(super) owner: Owner,
    file: Identity,
    /// Through which it was taken: with it, it goes.
    fid: Fid,
}

/// All locks of a session.
#[derive(Debug, Default)]
pub(super) struct Locks {
    held: Vec<Held>,
}

impl Locks {
    /// The lock that keeps `owner` from having one on `range`.
    pub(super) fn conflict(
        &self,
        file: Identity,
        range: Range,
        exclusive: bool,
        owner: &Owner,
    ) -> Option<&Held> {
        self.held.iter().find(|held| {
            held.file == file
                && held.owner != *owner
                && held.range.overlaps(range)
                && (held.exclusive || exclusive)
        })
    }

    /// Takes a lock, in place of what the owner has in that range; whether nobody else's
    /// was in the way.
    ///
    /// # Errors
    /// `ENOLCK`: there are too many.
    pub(super) fn take(
        &mut self,
        fid: Fid,
        file: Identity,
        range: Range,
        exclusive: bool,
        owner: Owner,
    ) -> Result<bool, Errno> {
        if self.conflict(file, range, exclusive, &owner).is_some() {
            return Ok(false);
        }
        // Two more at most: what is left of an old one on either side.
        if self.held.len() + 2 > MAX_LOCKS {
            return Err(Errno::NOLCK);
        }
        self.give_up(file, range, &owner);
        self.held.push(Held {
            range,
            exclusive,
            owner,
            file,
            fid,
        });
        Ok(true)
    }

    /// Gives up what the owner has in that range.
    pub(super) fn give_up(&mut self, file: Identity, range: Range, owner: &Owner) {
        let affected =
            |held: &Held| held.file == file && held.owner == *owner && held.range.overlaps(range);
        let parts: Vec<Held> = self.held.extract_if(.., |held| affected(held)).collect();
        for held in parts {
            let rest = held.range.without(range);
            self.held.extend(rest.map(|range| Held {
                range,
                ..held.clone()
            }));
        }
    }

    /// The fid is gone, and with it the locks that were taken through it.
    pub(super) fn forget(&mut self, fid: Fid) {
        self.held.retain(|held| held.fid != fid);
    }
}

#[cfg(test)]
mod tests {
    use super::super::stat::Device;
    use super::*;
    use proptest::prelude::*;

    /// Where locks begin, and how long they are: below this.
    const BYTES: u64 = 12;
    /// All bytes that they reach, and one that only those without an end do.
    const ALL: usize = 2 * BYTES as usize;

    fn owner(number: u32) -> Owner {
        Owner {
            client: Box::from(*b"here"),
            process: number,
        }
    }

    fn file() -> Identity {
        Identity {
            device: Device::for_tests(),
            inode: 1,
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(u32, u64, u64, bool),
        GiveUp(u32, u64, u64),
        Forget(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let ranged = (0u32..3, 0..BYTES, 0..BYTES);
        prop_oneof![
            4 => (ranged.clone(), any::<bool>()).prop_map(|((o, s, l), x)| Step::Take(o, s, l, x)),
            2 => ranged.prop_map(|(o, s, l)| Step::GiveUp(o, s, l)),
            1 => (0u32..3).prop_map(Step::Forget),
        ]
    }

    proptest! {
        /// The model keeps, for each byte, who has which lock on it.
        #[test]
        fn every_byte_is_locked_as_a_table_of_bytes_says(steps in prop::collection::vec(step(), 0..40)) {
            let mut locks = Locks::default();
            let mut model: Vec<[Option<bool>; 3]> = vec![[None; 3]; ALL];
            for step in steps {
                match step {
                    Step::Take(who, start, length, exclusive) => {
                        let range = Range::new(start, length).unwrap();
                        let bytes = start as usize..range.last.min(ALL as u64 - 1) as usize + 1;
                        let free = model[bytes.clone()].iter().all(|byte| {
                            (0..3).all(|other| {
                                other == who as usize
                                    || byte[other].is_none_or(|held| !held && !exclusive)
                            })
                        });
                        // Each owner takes its locks through a fid of its own.
                        let taken = locks.take(Fid(who), file(), range, exclusive, owner(who));
                        prop_assert_eq!(taken, Ok(free));
                        if free {
                            for byte in &mut model[bytes] {
                                byte[who as usize] = Some(exclusive);
                            }
                        }
                    }
                    Step::GiveUp(who, start, length) => {
                        let range = Range::new(start, length).unwrap();
                        locks.give_up(file(), range, &owner(who));
                        for byte in &mut model[start as usize..=range.last.min(ALL as u64 - 1) as usize] {
                            byte[who as usize] = None;
                        }
                    }
                    Step::Forget(who) => {
                        locks.forget(Fid(who));
                        for byte in &mut model {
                            byte[who as usize] = None;
                        }
                    }
                }
                for (at, byte) in model.iter().enumerate() {
                    let range = Range::new(at as u64, 1).unwrap();
                    for (who, held) in byte.iter().enumerate() {
                        let found: Vec<bool> = locks
                            .held
                            .iter()
                            .filter(|lock| lock.owner == owner(who as u32) && lock.range.overlaps(range))
                            .map(|lock| lock.exclusive)
                            .collect();
                        prop_assert_eq!(found, Vec::from_iter(*held), "byte {} of {}", at, who);
                    }
                }
            }
        }
    }

    #[test]
    fn ranges_end_where_numbers_do() {
        assert_eq!(Range::new(5, 0).map(Range::length), Ok(0));
        assert_eq!(Range::new(5, 0).map(|range| range.last), Ok(u64::MAX));
        assert_eq!(Range::new(u64::MAX, 1).map(Range::length), Ok(0));
        assert_eq!(Range::new(u64::MAX, 2), Err(Errno::OVERFLOW));
        let all = Range::new(0, 0).unwrap();
        assert_eq!(all.without(all).count(), 0);
    }
}
