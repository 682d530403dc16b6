//! What each operation answers, in the plainest rings that show it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use rstest::rstest;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::memory::Segment;
use virtscope_driver::ring::{AddErrorKind, Context, Features, NotifyError, Violation};
use virtscope_record::{Generation, Layout, Token};

use super::common::{Plan, Rig};
use super::picture::{Field, Picture};

pub(crate) type Ring = Rig<NoInstrument, u64>;

impl Ring {
    pub(crate) fn of(plan: Plan) -> Self {
        Self::new(plan, NoInstrument, NoInstrument)
    }

    /// `count` segments of `len` bytes each.
    pub(crate) fn segments(&self, count: usize, len: u32) -> Vec<Segment> {
        let address = self.buffers;
        vec![Segment { address, len }; count]
    }

    /// Adds a device-writable buffer of 10 bytes.
    pub(crate) fn add(&mut self, token: u64) {
        let writable = self.segments(1, 10);
        let added = self.driver.add_inbuf(&writable, Token(token), token);
        added.expect("there is room");
    }

    /// The device takes the next buffer and returns it, wholly written.
    pub(crate) fn answer(&mut self) {
        let chain = self.device.take().unwrap().expect("one is available");
        self.device.put_used(&chain, chain.writable_bytes());
    }

    /// The token of the next used buffer, and what was written.
    pub(crate) fn get(&mut self) -> Option<(u64, u32)> {
        let used = self.driver.get_buf().unwrap()?;
        assert_eq!(used.token, Token(used.data));
        Some((used.data, used.written))
    }

    pub(crate) fn picture(&self) -> Picture {
        Picture::of(self.driver.layout(), self.driver.size().get(), self)
    }
}

pub(crate) fn with(layout: Layout, entries: u16, features: Features, tables: (u16, u16)) -> Ring {
    Ring::of(Plan {
        features,
        tables,
        ..Plan::new(layout, entries)
    })
}

const INDIRECT: Features = Features {
    event_idx: false,
    indirect: true,
    in_order: false,
};

/// `virtqueue_add_buf` of Linux 3.7: "Returns remaining capacity of queue".
#[rstest]
fn add_returns_the_remaining_capacity(#[values(Layout::Split, Layout::Packed)] layout: Layout) {
    let mut ring = with(layout, 8, INDIRECT, (1, 4));
    let (one, two) = (ring.segments(1, 4), ring.segments(2, 4));
    assert_eq!(ring.driver.add_outbuf(&one, Token(1), 1).unwrap(), 7);
    // One table, for a buffer of more than one segment; then none is left.
    assert_eq!(ring.driver.add(&one, &two, Token(2), 2).unwrap(), 6);
    assert_eq!(ring.driver.add(&one, &two, Token(3), 3).unwrap(), 3);
    ring.answer();
    ring.answer();
    assert_eq!(
        (ring.get(), ring.driver.free_descriptors()),
        (Some((1, 0)), 4)
    );
    assert_eq!(
        (ring.get(), ring.driver.free_descriptors()),
        (Some((2, 8)), 5)
    );
    // The table is free again, so this takes one descriptor.
    assert_eq!(ring.driver.add_inbuf(&two, Token(4), 4).unwrap(), 4);
}

// Shows: driver/2.7.4.2/2, driver/2.8.17/4, driver/2.8.17/5
/// What is not added comes back with the error and leaves the ring as it was.
#[rstest]
fn a_full_ring_says_enospc(#[values(Layout::Split, Layout::Packed)] layout: Layout) {
    let mut ring = with(layout, 4, Features::default(), (0, 0));
    let (one, two) = (ring.segments(1, 4), ring.segments(2, 4));
    ring.driver.add(&two, &one, Token(1), 1).unwrap();
    let before = ring.picture();
    let refused = ring.driver.add(&one, &one, Token(2), 2).unwrap_err();
    let (needed, free) = (2, 1);
    assert_eq!(refused.kind, AddErrorKind::NoSpace { needed, free });
    assert_eq!(
        (refused.kind.errno(), refused.kind.is_temporary()),
        (28, true)
    );
    assert_eq!((refused.token, refused.data), (Token(2), 2));
    ring.picture().assert_only_changed(&before, &[]);
    // Not even when the device takes what is there: only what it returns is room.
    let chain = ring.device.take().unwrap().unwrap();
    assert!(ring.driver.add(&one, &one, Token(2), 2).is_err());
    ring.device.put_used(&chain, 0);
    assert!(ring.driver.add(&one, &one, Token(2), 2).is_err());
    ring.get().unwrap();
    assert_eq!(ring.driver.add(&one, &one, Token(2), 2).unwrap(), 2);
}

// Shows: driver/2.8.5/1
/// When the tables are used up a list stands in the ring itself, between others that
/// don't; when it does not fit there, memory is what is missing.
#[rstest]
fn no_table_and_no_room_says_enomem(#[values(Layout::Split, Layout::Packed)] layout: Layout) {
    let mut ring = with(layout, 4, INDIRECT, (1, 3));
    let three = ring.segments(3, 4);
    assert_eq!(ring.driver.add_inbuf(&three, Token(1), 1).unwrap(), 3);
    assert_eq!(ring.driver.add_inbuf(&three, Token(2), 2).unwrap(), 0);
    for written in [12, 12] {
        ring.answer();
        assert_eq!(ring.get().unwrap().1, written);
    }
    ring.driver.add_inbuf(&three, Token(3), 3).unwrap();
    ring.driver
        .add_inbuf(&ring.segments(2, 4), Token(4), 4)
        .unwrap();
    let refused = ring.driver.add_inbuf(&three, Token(5), 5).unwrap_err();
    assert_eq!(refused.kind, AddErrorKind::NoMemory);
    assert_eq!(
        (refused.kind.errno(), refused.kind.is_temporary()),
        (12, true)
    );
    // With no entry at all it is room that is missing, for the one entry that a
    // table needs.
    ring.add(6);
    let refused = ring.driver.add_inbuf(&three, Token(5), 5).unwrap_err();
    let (needed, free) = (1, 0);
    assert_eq!(refused.kind, AddErrorKind::NoSpace { needed, free });
}

/// A device that returns what it was never given: EIO from then on.
#[rstest]
fn a_broken_queue_says_eio(#[values(Layout::Split, Layout::Packed)] layout: Layout) {
    let mut ring = with(layout, 4, Features::default(), (0, 0));
    ring.add(1);
    let mut chain = ring.device.take().unwrap().unwrap();
    chain.id = 3;
    ring.device.put_used(&chain, 10);
    let error = ring.driver.get_buf().unwrap_err();
    assert_eq!(error.violation, Violation::IdNotInFlight { id: 3 });
    assert_eq!(ring.driver.broken(), Some(error));
    let one = ring.segments(1, 4);
    let refused = ring.driver.add_outbuf(&one, Token(2), 2).unwrap_err();
    assert_eq!(refused.kind, AddErrorKind::Broken(error));
    assert_eq!(
        (refused.kind.errno(), refused.kind.is_temporary()),
        (5, false)
    );
    // "Returns false if host notify failed or queue is broken."
    assert!(!ring.driver.kick_prepare());
    assert_eq!(ring.driver.kick(), Err(NotifyError));
    assert_eq!(ring.driver.handle().notify(), Err(NotifyError));
    assert_eq!(
        ring.doorbell.rings.load(Ordering::Relaxed),
        0,
        "there is nobody to be believed"
    );
    // A reset mends it, and gives back what was in flight.
    let mut left = Vec::new();
    ring.driver
        .reset(Generation(1), |buffer| left.push(buffer.data));
    assert_eq!((left, ring.driver.broken()), (vec![1], None));
    assert_eq!(ring.driver.add_outbuf(&one, Token(2), 2).unwrap(), 3);
    assert_eq!(ring.driver.kick(), Ok(true));
    assert_eq!(ring.driver.handle().notify(), Ok(()));
    assert_eq!(ring.doorbell.rings.load(Ordering::Relaxed), 2);
}

/// Whatever was and was not done with a buffer, its token and context come back
/// once.
#[rstest]
fn detach_gives_back_each_token_once(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] in_order: bool,
) {
    let features = Features {
        in_order,
        ..INDIRECT
    };
    let mut ring = with(layout, 8, features, (1, 2));
    let two = ring.segments(2, 4);
    for token in 1..=4 {
        let context = Context(token + 100);
        let added = ring
            .driver
            .add_inbuf_ctx(&two, Token(token), token, context);
        added.unwrap();
    }
    let unpublished = ring.segments(1, 4);
    let added = ring
        .driver
        .add_unpublished(&unpublished, &[], Token(5), 5, Context(105));
    added.unwrap();
    // The first is taken back, the second used, the third with the device.
    ring.answer();
    assert_eq!(ring.get(), Some((1, 8)));
    ring.answer();
    ring.device.take().unwrap().unwrap();
    let mut tokens = BTreeSet::new();
    while let Some(unused) = ring.driver.detach_unused() {
        assert_eq!(unused.token, Token(unused.data));
        assert_eq!(unused.context, Context(unused.data + 100));
        assert!(tokens.insert(unused.data), "a token came twice");
    }
    assert_eq!(tokens, BTreeSet::from([2, 3, 4, 5]));
    assert_eq!(ring.driver.free_descriptors(), 8);
    assert!(ring.driver.detach_unused().is_none());
}

// Shows: driver/2.7.9/1, driver/2.8.8/1
/// Five buffers are finished in any order and returned at once. Those that were
/// filled need no entry of their own; behind one that was not a new batch begins.
#[rstest]
fn a_batch_is_told_by_its_last_buffer(#[values(Layout::Split, Layout::Packed)] layout: Layout) {
    let features = Features {
        in_order: true,
        ..Features::default()
    };
    let mut ring = with(layout, 8, features, (0, 0));
    (1..=5).for_each(|token| ring.add(token));
    let before = ring.picture();
    let mut chains: Vec<_> = (1..=5)
        .map(|_| ring.device.take().unwrap().unwrap())
        .collect();
    let ids: Vec<u32> = chains.iter().map(|chain| chain.id.into()).collect();
    let written = [10, 10, 3, 10, 7];
    for index in [4, 1, 0, 2, 3] {
        let chain = std::mem::take(&mut chains[index]);
        ring.device.stage_used(&chain, written[index]);
    }
    ring.device.publish_used();
    // One entry for the first three, where the first of them would have its own; one
    // for the other two.
    let entries = [(0, ids[2], 3), (3, ids[4], 7)];
    let now = ring.picture();
    let mut changed = Vec::new();
    for (position, id, written) in entries {
        let entry = now.used_entry(position).expect("it is used");
        assert_eq!((entry.id, entry.written), (id, written));
        let slot = now.slot(position);
        changed.push(now.range(match layout {
            Layout::Split => Field::UsedRing(slot),
            Layout::Packed => Field::Descriptor(slot),
        }));
    }
    if layout == Layout::Split {
        assert_eq!(now.u16(Field::UsedIdx), 5);
        changed.push(now.range(Field::UsedIdx));
    }
    now.assert_only_changed(&before, &changed);
    for (token, written) in (1..).zip(written) {
        assert_eq!(ring.get(), Some((token, written)));
    }
    assert_eq!(ring.get(), None);
}
