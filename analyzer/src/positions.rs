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

use virtscope_record::{Body, Kind, Layout, Missed, RingIndex};

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
    /// for one that comes late.
    fn pass(&mut self, position: RingIndex, next: RingIndex) -> i64 {
        let jump = self.0.map_or(0, |expected| {
            i64::from(position.distance_from(expected).cast_signed())
        });
        if jump < 0 {
            return -1;
        }
        self.0 = Some(next);
        jump
    }
}

impl Positions {
    /// Takes note of an operation; says whether the driver's half jumped over
    /// something. Packed rings number their entries otherwise and are passed by.
    pub(crate) fn observe(&mut self, body: &Body, layout: Layout) -> bool {
        if let Body::Missed(missed) = body {
            self.told += u64::from(missed.count);
            self.skip(missed);
            // One whose buffer is known touches that buffer's life alone.
            return missed.head().is_none();
        }
        if layout == Layout::Packed {
            return false;
        }
        let driver_jump = match body {
            Body::Add(add) => {
                self.begin(add.position);
                self.add.pass(add.position, add.position.advance(1))
            }
            Body::QueueFacts(facts) if self.add.0.is_none() => {
                self.in_flight = Some(facts.in_flight);
                return false;
            }
            // An entry that breaks the queue is not taken back.
            Body::Used(used) if used.error == 0 => {
                self.used.pass(used.position, used.position.advance(1))
            }
            // However many decisions are absent, one is certain.
            Body::Kick(kick) => self.kick.pass(kick.old, kick.new).min(1),
            Body::Taken(taken) => {
                let jump = self.taken.pass(taken.position, taken.position.advance(1));
                self.device_absent = self.device_absent.saturating_add_signed(jump);
                return false;
            }
            Body::Returned(returned) => {
                let next = returned.position.advance(1);
                let jump = self.returned.pass(returned.position, next);
                self.device_absent = self.device_absent.saturating_add_signed(jump);
                return false;
            }
            _ => return false,
        };
        self.driver_absent = self.driver_absent.saturating_add_signed(driver_jump);
        driver_jump > 0
    }

    /// The first add tells where the others begin, if it is known what came before
    /// it.
    fn begin(&mut self, first_add: RingIndex) {
        if self.add.0.is_none()
            && let Some(in_flight) = self.in_flight
        {
            self.kick.0.get_or_insert(first_add);
            let first_used = RingIndex(first_add.0.wrapping_sub(in_flight));
            self.used.0.get_or_insert(first_used);
        }
    }

    /// Moves on over what the producer says was missed, so that it is not found a
    /// second time.
    fn skip(&mut self, missed: &Missed) {
        let expected = match missed.operation() {
            Some(Kind::Add) => &mut self.add,
            Some(Kind::Used) => &mut self.used,
            Some(Kind::Kick) => &mut self.kick,
            _ => return,
        };
        let jump = expected.pass(missed.old, missed.new).max(0);
        self.driver_absent = self.driver_absent.saturating_add_signed(jump);
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
        self.told
            + self.driver_absent.saturating_sub(continuity.driver_holes)
            + self.device_absent.saturating_sub(continuity.device_holes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virtscope_record::{Add, Notification, QueueFacts, Used};

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
        let mut positions = Positions::default();
        for body in bodies {
            positions.observe(body, Layout::Split);
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
