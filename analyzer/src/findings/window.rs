//! Equal stretches of time, in which detectors count.

use virtscope_record::Timestamp;

/// The stretch that is being counted in.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Window {
    begun: Timestamp,
}

/// What the passing of time means for what was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Passed {
    /// The stretch goes on.
    No,
    /// It is over; it began at this time and lasted so long, ns.
    Over(Timestamp, u64),
    /// The clock was set back: how long it lasted is not known.
    SetBack,
}

impl Window {
    /// Time has come to `now`; a stretch is at least `ns` long. If it is over, the next
    /// begins now.
    #[inline]
    pub(super) fn pass(&mut self, now: Timestamp, ns: u64) -> Passed {
        let begun = self.begun;
        let lasted = now.nanos_since(begun);
        if lasted >= ns {
            self.begun = now;
            return Passed::Over(begun, lasted);
        }
        // Lives end a little out of the order of time, but not by a whole stretch.
        if begun.nanos_since(now) >= ns {
            self.begun = now;
            return Passed::SetBack;
        }
        Passed::No
    }

    /// When it began.
    pub(super) fn begun(&self) -> Timestamp {
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_ends_with_its_time_and_with_a_clock_that_is_set_back() {
        let at = Timestamp::from_nanos;
        let mut window = Window::default();
        assert_eq!(window.pass(at(100), 10), Passed::Over(at(0), 100));
        assert_eq!(window.pass(at(109), 10), Passed::No);
        assert_eq!(window.pass(at(95), 10), Passed::No);
        assert_eq!(window.pass(at(110), 10), Passed::Over(at(100), 10));
        assert_eq!(window.pass(at(50), 10), Passed::SetBack);
        assert_eq!(window.pass(at(59), 10), Passed::No);
        assert_eq!(window.begun(), at(50));
    }
}
