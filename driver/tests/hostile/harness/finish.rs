//! How a conversation ends.

use std::collections::BTreeSet;

use virtscope_driver::ring::{AddErrorKind, NotifyError};

use super::{Ring, Shape, UNTOUCHED};

impl Ring {
    /// The device writes where it may only read. What it wrote stays, and is then
    /// forgotten.
    pub(crate) fn scribble(&mut self, token: u64) {
        let [readable, _] = self.segments(token, Shape::PAIR);
        let (address, mut bytes) = (readable[0].address, [0; 4]);
        self.memory.write(address, b"lies").unwrap();
        assert_eq!(self.driver.broken(), self.broken);
        self.memory.read(address, &mut bytes).unwrap();
        assert_eq!(&bytes, b"lies");
        self.memory.write(address, &[UNTOUCHED; 4]).unwrap();
    }

    /// The end of every conversation: a broken queue stays broken and refuses
    /// everything, every token comes back once, a reset makes the queue whole, and
    /// nothing outside the ring was touched.
    pub(crate) fn finish(mut self) {
        self.watch.disarm();
        if let Some(broken) = self.broken {
            for token in [1000, 1001] {
                assert_eq!(self.get(), Err(broken));
                let refused = self.add(token, Shape::PAIR);
                assert_eq!(refused, Err(AddErrorKind::Broken(broken)));
            }
            self.publish();
            self.kick();
            let rings = self.doorbell.rings();
            let notified = self.ask(|ring| ring.driver.handle().notify());
            assert_eq!((notified, self.doorbell.rings()), (Err(NotifyError), rings));
            self.ask(|ring| ring.driver.enable_callbacks());
            self.ask(|ring| ring.driver.enable_callbacks_delayed());
            self.ask(|ring| ring.driver.disable_callbacks());
            self.ask(|ring| ring.driver.handle().interrupt());
            assert_eq!(self.get(), Err(broken));
        }
        // Never more than there are, whatever the device still says.
        for _ in 0..=self.held.len() {
            if !matches!(self.get(), Ok(Some(_))) {
                break;
            }
        }
        let left = self.held();
        let detached: BTreeSet<u64> = std::iter::from_fn(|| self.detach()).collect();
        assert_eq!(detached.into_iter().collect::<Vec<_>>(), left);
        self.assert_counts();
        // From then on nothing goes in.
        if !left.is_empty() {
            let refused = self.add(1002, Shape::PAIR);
            assert!(matches!(
                refused,
                Err(AddErrorKind::Broken(_) | AddErrorKind::Detached)
            ));
        }
        self.reset();
        let shape = if self.plan.entries == 1 {
            Shape(&[], &[10])
        } else {
            Shape::PAIR
        };
        // More than the ring has room for; with Miri, which is slow, a few.
        let rounds = if cfg!(miri) {
            2
        } else {
            self.plan.entries.min(9)
        };
        for token in 2000..2000 + u64::from(rounds) {
            self.round(token, shape);
        }
        self.assert_untouched();
    }
}
