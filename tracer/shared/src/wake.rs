//! When whoever reads the buffer of records is woken.

/// Whether the reader of a buffer is to be woken for the sake of a record that is about to be
/// written: then `Some`, with the position up to which it must have read before it is woken
/// again. `read` is the position up to which it has read, `waiting` what waits behind that,
/// `again` what was returned last, and `enough` what is worth waking it for; all in bytes.
///
/// `read` must have been asked for before `waiting`: so what is returned is never beyond what
/// has been written, and the reader gets there.
///
/// That it is woken in time is shown for a reader that, having found all that it was told of
/// to be read, does not rest while `enough` is waiting; and that does not rest for long where it
/// had to stop at a record that was still being written.
#[inline(always)]
pub const fn wake(read: u64, waiting: u64, again: u64, enough: u64) -> Option<u64> {
    if waiting < enough || read < again {
        None
    } else {
        Some(read + enough)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::{HashSet, VecDeque};
    use std::vec::Vec;

    use super::wake;

    /// Records of one byte in a buffer of eight: enough to follow all that can happen.
    const BUFFER: u64 = 8;
    const ENOUGH: u64 = 2;
    /// A buffer has room for two of the longest records.
    const LONGEST: u64 = 3;
    /// Records that are written in all.
    const RECORDS: u64 = 10;

    /// A program that is making a record.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    enum Program {
        Idle,
        /// It has reserved this place.
        Reserved(u64),
        /// It has asked up to where was read.
        Asked(u64, u64),
        /// It knows whether it will wake the reader.
        Decided(u64, bool),
    }

    /// What the reader and the programs see to.
    #[derive(Clone, Copy, Debug)]
    struct Care {
        /// The reader does not rest while enough is waiting,
        is_emptied: bool,
        /// nor where it had to stop at a record that is still being written.
        is_waited_for: bool,
        /// The programs ask up to where was read before they ask what is waiting.
        is_asked_in_order: bool,
    }

    const ALL: Care = Care {
        is_emptied: true,
        is_waited_for: true,
        is_asked_in_order: true,
    };

    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    enum Reader {
        /// It looks how much there is.
        Looks,
        /// So much of that is left.
        Reads(u64),
        Rests,
    }

    #[derive(Clone, PartialEq, Eq, Hash, Debug)]
    struct State {
        written: u64,
        read: u64,
        again: u64,
        /// Places that are reserved and not written.
        busy: u16,
        reader: Reader,
        /// Somebody has woken it since it began to look.
        is_called: bool,
        programs: Vec<Program>,
    }

    impl State {
        fn new(programs: usize) -> Self {
            Self {
                written: 0,
                read: 0,
                again: 0,
                busy: 0,
                reader: Reader::Looks,
                is_called: false,
                programs: std::vec![Program::Idle; programs],
            }
        }

        fn waiting(&self) -> u64 {
            self.written - self.read
        }

        fn is_busy(&self, place: u64) -> bool {
            self.busy & (1 << place) != 0
        }

        /// The kernel leaves a byte free.
        fn has_room(&self, record: u64) -> bool {
            self.waiting() + record < BUFFER
        }

        /// More waits than is worth waking the reader for, and neither has anybody done so nor
        /// will the next record, or it may be so long that it finds no room.
        fn is_stuck(&self) -> bool {
            let next = wake(self.read, self.waiting() + 1, self.again, ENOUGH);
            let all_idle = self.programs.iter().all(|it| *it == Program::Idle);
            self.reader == Reader::Rests
                && !self.is_called
                && all_idle
                && self.waiting() >= ENOUGH
                && (next.is_none() || !self.has_room(LONGEST))
        }

        /// What the reader may do next.
        fn read(&self, care: Care) -> Option<Self> {
            let mut next = self.clone();
            match self.reader {
                Reader::Looks => next.reader = Reader::Reads(self.waiting()),
                Reader::Reads(left) if left > 0 && !self.is_busy(self.read) => {
                    next.read += 1;
                    next.reader = Reader::Reads(left - 1);
                }
                Reader::Reads(left) => {
                    let goes_on = match left > 0 {
                        true => care.is_waited_for,
                        false => care.is_emptied && self.waiting() >= ENOUGH,
                    };
                    next.reader = match goes_on {
                        true => Reader::Looks,
                        false => Reader::Rests,
                    };
                }
                Reader::Rests if self.is_called => {
                    next.is_called = false;
                    // The kernel looks whether there is anything.
                    if self.waiting() > 0 {
                        next.reader = Reader::Looks;
                    }
                }
                Reader::Rests => return None,
            }
            Some(next)
        }

        /// What the program may do next.
        fn write(&self, program: usize, care: Care) -> Option<Self> {
            let is_late = !care.is_asked_in_order;
            let mut next = self.clone();
            let decide = |next: &mut Self, place, read, waiting| {
                let again = wake(read, waiting, next.again, ENOUGH);
                next.again = again.unwrap_or(next.again);
                Program::Decided(place, again.is_some())
            };
            next.programs[program] = match self.programs[program] {
                Program::Idle => {
                    if self.written == RECORDS || !self.has_room(1) {
                        return None;
                    }
                    next.written += 1;
                    next.busy |= 1 << self.written;
                    Program::Reserved(self.written)
                }
                Program::Reserved(place) if is_late => Program::Asked(place, self.waiting()),
                Program::Reserved(place) => Program::Asked(place, self.read),
                Program::Asked(place, waiting) if is_late => {
                    decide(&mut next, place, self.read, waiting)
                }
                Program::Asked(place, read) => decide(&mut next, place, read, self.written - read),
                Program::Decided(place, wakes) => {
                    next.busy &= !(1 << place);
                    next.is_called |= wakes;
                    Program::Idle
                }
            };
            Some(next)
        }
    }

    /// The states that can be reached, and whether one of them is stuck.
    fn explore(programs: usize, care: Care) -> (usize, bool) {
        let mut seen = HashSet::from([State::new(programs)]);
        let mut ahead = VecDeque::from([State::new(programs)]);
        while let Some(state) = ahead.pop_front() {
            if state.is_stuck() {
                return (seen.len(), true);
            }
            let writes = (0..programs).filter_map(|program| state.write(program, care));
            for next in state.read(care).into_iter().chain(writes) {
                if seen.insert(next.clone()) {
                    ahead.push_back(next);
                }
            }
        }
        (seen.len(), false)
    }

    #[test]
    fn nobody_rests_on_a_full_buffer() {
        for programs in [1, 2] {
            let (states, is_stuck) = explore(programs, ALL);
            assert!(!is_stuck, "with {programs} programs");
            assert!(states > 1000, "{states}");
        }
    }

    #[test]
    fn each_of_its_conditions_is_needed() {
        let without = [
            Care {
                is_emptied: false,
                ..ALL
            },
            Care {
                is_waited_for: false,
                ..ALL
            },
            Care {
                is_asked_in_order: false,
                ..ALL
            },
        ];
        for care in without {
            assert!(explore(2, care).1, "{care:?}");
        }
    }
}
