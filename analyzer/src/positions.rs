//! Operations that no record tells of, found by the ring's own positions.
//!
//! Every add takes the next available index and every used entry the next used
//! index; every kick decision begins where the one before ended. Where a position
//! is jumped over, an operation happened whose record never came. A hole in a
//! sequence explains it (the record was lost, or filtered); what no hole explains
//! was *missed*: its probe never ran.
//!
//! Which hole explains which jump is not known, so all holes of one half are
//! taken to explain that half's jumps. The number is therefore the least that
//! must have been missed.

use virtscope_record::{Body, Kind, Missed, RingIndex};

use crate::index_space::IndexSpace;
use crate::losses::Continuity;

/// Where the positions of one queue stand.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    add: Expected,
    used: Expected,
    kick: Expected,
    taken: Expected,
    returned: Expected,
    /// Buffers in flight before the first record, if facts say so.
    in_flight: Option<u16>,
    driver_absent: u64,
    device_absent: u64,
    /// Operations that the producer itself found to have been missed.
    told: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Expected(Option<RingIndex>);

impl Expected {
    /// Moves on from `position` to `next`; says how many were jumped over, or -1
    /// for one that comes late. Of a packed ring, whose positions count
    /// descriptors, one jump is one operation at least.
    #[inline]
    fn pass(&mut self, space: IndexSpace, position: RingIndex, next: RingIndex) -> i64 {
        let jump = match self.0 {
            None => 0,
            Some(expected) => match space.jump(expected, position) {
                None => return -1,
                Some(jump) if space.is_packed() => i64::from(jump.min(1)),
                Some(jump) => i64::from(jump),
            },
        };
        self.0 = Some(next);
        jump
    }
}

impl Positions {
    /// Takes note of an operation; says whether the driver's half jumped over
    /// something.
    #[inline(always)]
    pub(crate) fn observe(&mut self, body: &Body, space: IndexSpace) -> bool {
        if let Body::Missed(missed) = body {
            self.told = self.told.saturating_add(missed.count.into());
            self.skip(missed, space);
            // One whose buffer is known touches that buffer's life alone.
            return missed.head().is_none();
        }
        // On a packed ring an operation takes as many places as the buffer has
        // descriptors.
        let taking = |descriptors: u16| if space.is_packed() { descriptors } else { 1 };
        let driver_jump = match body {
            Body::Add(add) => {
                self.begin(add.position, space);
                let next = space.advance(add.position, taking(add.descriptors));
                self.add.pass(space, add.position, next)
            }
            Body::QueueFacts(facts) if self.add.0.is_none() => {
                self.in_flight = Some(facts.in_flight);
                return false;
            }
            // An entry that breaks the queue is not taken back.
            Body::Used(used) if used.error == 0 => {
                let next = space.advance(used.position, taking(used.descriptors));
                self.used.pass(space, used.position, next)
            }
            // However many decisions are absent, one is certain.
            Body::Kick(kick) => self.kick.pass(space, kick.old, kick.new).min(1),
            Body::Taken(taken) => {
                let next = if space.is_packed() {
                    taken.avail_index
                } else {
                    taken.position.advance(1)
                };
                let jump = self.taken.pass(space, taken.position, next);
                self.device_absent = self.device_absent.saturating_add_signed(jump);
                return false;
            }
            // How many descriptors a returned buffer had, the device half does not
            // say.
            Body::Returned(returned) if !space.is_packed() => {
                let next = returned.position.advance(1);
                let jump = self.returned.pass(space, returned.position, next);
                self.device_absent = self.device_absent.saturating_add_signed(jump);
                return false;
            }
            _ => return false,
        };
        self.driver_absent = self.driver_absent.saturating_add_signed(driver_jump);
        driver_jump > 0
    }

    /// What was in flight when the capture began is not known for certain: the first
    /// operations tell where the others begin.
    pub(crate) fn began_later(&mut self) {
        if self.add.0.is_none() {
            self.in_flight = None;
        }
    }

    /// The first add tells where the others begin, if it is known what came before
    /// it.
    fn begin(&mut self, first_add: RingIndex, space: IndexSpace) {
        if self.add.0.is_none()
            && let Some(in_flight) = self.in_flight
            // How many descriptors those in flight have is not known.
            && (in_flight == 0 || !space.is_packed())
        {
            self.kick.0.get_or_insert(first_add);
            let first_used = RingIndex(first_add.0.wrapping_sub(in_flight));
            self.used.0.get_or_insert(first_used);
        }
    }

    /// Moves on over what the producer says was missed, so that it is not found a
    /// second time.
    fn skip(&mut self, missed: &Missed, space: IndexSpace) {
        let expected = match missed.operation() {
            Some(Kind::Add) => &mut self.add,
            Some(Kind::Used) => &mut self.used,
            Some(Kind::Kick) => &mut self.kick,
            _ => return,
        };
        let jump = expected.pass(space, missed.old, missed.new).max(0);
        self.driver_absent = self.driver_absent.saturating_add_signed(jump);
    }

    /// Operations of the driver's half that the positions or their producer say are
    /// absent, whatever became of them.
    #[inline]
    pub(crate) fn driver_absent(&self) -> u64 {
        self.told.saturating_add(self.driver_absent)
    }

    /// A reset starts all positions anew.
    pub(crate) fn restart(&mut self) {
        *self = Self {
            driver_absent: self.driver_absent,
            device_absent: self.device_absent,
            told: self.told,
            ..Self::default()
        };
    }

    /// The least number of operations that were missed.
    pub(crate) fn missed(&self, continuity: &Continuity) -> u64 {
        let driver = self.driver_absent.saturating_sub(continuity.driver_holes);
        let device = self.device_absent.saturating_sub(continuity.device_holes);
        self.told.saturating_add(driver).saturating_add(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virtscope_record::{Add, Layout, Notification, QueueFacts, Used};

    fn add(position: u16) -> Body {
        Body::Add(Add {
            position: RingIndex(position),
            ..Add::default()
        })
    }

    fn used(position: u16, error: u16) -> Body {
        Body::Used(Used {
            position: RingIndex(position),
            error,
            ..Used::default()
        })
    }

    fn kick(old: u16, new: u16) -> Body {
        Body::Kick(Notification {
            old: RingIndex(old),
            new: RingIndex(new),
            ..Notification::default()
        })
    }

    fn missed(bodies: &[Body], driver_holes: u64) -> u64 {
        missed_of(IndexSpace::default(), bodies, driver_holes)
    }

    fn missed_of(space: IndexSpace, bodies: &[Body], driver_holes: u64) -> u64 {
        let mut positions = Positions::default();
        for body in bodies {
            positions.observe(body, space);
        }
        let mut continuity = Continuity::default();
        continuity.driver_holes = driver_holes;
        positions.missed(&continuity)
    }

    #[test]
    fn nothing_is_missed_across_the_wrap() {
        let adds: Vec<_> = (0..10).map(|i| add(65530_u16.wrapping_add(i))).collect();
        assert_eq!(missed(&adds, 0), 0);
        let kicks = [kick(65534, 65535), kick(65535, 2), kick(2, 2), kick(2, 3)];
        assert_eq!(missed(&kicks, 0), 0);
    }

    #[test]
    fn a_jump_without_a_hole_was_missed() {
        assert_eq!(missed(&[add(5), add(8)], 0), 2);
        assert_eq!(missed(&[used(65535, 0), used(1, 0)], 0), 1);
        assert_eq!(missed(&[kick(0, 1), kick(4, 5)], 0), 1);
    }

    /// Positions of a packed ring move on by whole lists, and turn their wrap
    /// counter over.
    #[test]
    fn packed_positions_are_followed_too() {
        let packed = IndexSpace::new(8, Layout::Packed);
        let add = |position, descriptors| {
            Body::Add(Add {
                position: RingIndex(position),
                descriptors,
                ..Add::default()
            })
        };
        let used = |position, descriptors| {
            Body::Used(Used {
                position: RingIndex(position),
                descriptors,
                ..Used::default()
            })
        };
        let facts = Body::QueueFacts(QueueFacts::default());
        let whole = [
            facts,
            add(0x8000, 3),
            add(0x8003, 4),
            add(0x8007, 2),
            add(1, 1),
        ];
        assert_eq!(missed_of(packed, &whole, 0), 0);
        assert_eq!(missed_of(packed, &[add(0x8000, 3), add(0x8006, 1)], 0), 1);
        assert_eq!(
            missed_of(packed, &[facts, add(0x8000, 3), used(0x8003, 1)], 0),
            1
        );
        assert_eq!(
            missed_of(packed, &[used(0x8006, 2), used(0, 1), used(2, 1)], 0),
            1
        );
        assert_eq!(
            missed_of(
                packed,
                &[kick(0x8000, 0x8007), kick(0x8007, 2), kick(4, 5)],
                0
            ),
            1
        );
    }

    #[test]
    fn the_first_return_is_known_from_the_first_add() {
        let facts = |in_flight| {
            Body::QueueFacts(QueueFacts {
                in_flight,
                ..QueueFacts::default()
            })
        };
        assert_eq!(missed(&[facts(0), add(5), used(5, 0)], 0), 0);
        assert_eq!(missed(&[facts(0), add(5), add(6), used(6, 0)], 0), 1);
        assert_eq!(
            missed(&[facts(2), add(1), used(65535, 0), used(0, 0)], 0),
            0
        );
        assert_eq!(missed(&[add(5), add(6), used(6, 0)], 0), 0);
    }

    #[test]
    fn holes_explain_jumps() {
        assert_eq!(missed(&[add(5), add(8)], 1), 1);
        assert_eq!(missed(&[add(5), add(8)], 9), 0);
    }

    #[test]
    fn what_the_producer_says_was_missed_is_counted_once() {
        let told = Body::Missed(Missed {
            operation: Kind::Used as u16,
            count: 2,
            old: RingIndex(65535),
            new: RingIndex(1),
            ..Missed::default()
        });
        assert_eq!(missed(&[used(65534, 0), told, used(1, 0)], 0), 2);
        assert_eq!(missed(&[used(65533, 0), told, used(1, 0)], 0), 3);
        assert_eq!(missed(&[used(65533, 0), told, used(1, 0)], 1), 2);
    }

    #[test]
    fn a_late_record_fills_its_place() {
        assert_eq!(missed(&[add(5), add(7), add(6), add(8)], 0), 0);
    }

    #[test]
    fn an_entry_that_broke_the_queue_is_not_taken_back() {
        assert_eq!(missed(&[used(3, 0), used(4, 5), used(4, 0)], 0), 0);
    }
}
