//! The ways that the chapter follows.

use std::collections::BTreeMap;

use virtscope_device::queue::Chain;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::memory::{GuestAddress, Order, RingWords, Segment};
use virtscope_driver::ring::{Context, QueueSize};
use virtscope_record::{Layout, Token};

use crate::common::{Plan, Rig};
use crate::picture::Painter;

const ENTRIES: u16 = 4;

/// A ring, its painter and what was painted.
struct Walk {
    rig: Rig<NoInstrument, ()>,
    painter: Painter,
    name: &'static str,
    pictures: BTreeMap<String, String>,
}

impl Walk {
    fn new(name: &'static str, plan: Plan) -> Self {
        Self {
            rig: Rig::new(plan, NoInstrument, NoInstrument),
            painter: Painter::new(plan.layout, QueueSize::new(ENTRIES).expect("a size")),
            name,
            pictures: BTreeMap::new(),
        }
    }

    fn show(&mut self, step: &str) {
        let text = self.painter.paint(&self.rig.memory);
        let name = format!("{}, {step}", self.name);
        assert!(
            self.pictures.insert(name, text).is_none(),
            "{step} comes twice"
        );
    }

    /// Bytes of the place numbered `number`.
    fn segment(&self, number: u64, len: u32) -> Segment {
        Segment {
            address: GuestAddress(self.rig.buffers.0 + number * 0x100),
            len,
        }
    }

    /// Adds a request of 16 bytes with room for 32, not yet available.
    fn add(&mut self, number: u64) {
        let request = self.segment(2 * number, 16);
        let reply = self.segment(2 * number + 1, 32);
        self.rig
            .driver
            .add_unpublished(&[request], &[reply], Token(number), (), Context::default())
            .expect("there is room");
    }

    /// The device takes the next buffer.
    fn take(&mut self) -> Chain {
        let chain = self.rig.device.take().expect("the driver keeps the rules");
        chain.expect("a buffer is available")
    }
}

fn plan(layout: Layout) -> Plan {
    let mut plan = Plan::new(layout, ENTRIES);
    plan.features.event_idx = true;
    plan
}

/// One buffer's whole way, in either layout, past another that the device keeps.
fn way(name: &'static str, layout: Layout) -> BTreeMap<String, String> {
    let mut walk = Walk::new(name, plan(layout));
    let other = walk.segment(15, 8);
    walk.rig
        .driver
        .add_outbuf(&[other], Token(9), ())
        .expect("there is room");
    assert!(walk.rig.driver.kick_prepare(), "the device sleeps");
    walk.take();
    assert!(walk.rig.device.enable_kicks());
    assert!(walk.rig.driver.enable_callbacks());
    walk.show("before");
    walk.add(0);
    walk.show("added");
    walk.rig.driver.publish();
    walk.show("available");
    assert!(walk.rig.driver.kick_prepare(), "the device sleeps");
    let chain = walk.take();
    walk.rig.device.stage_used(&chain, 20);
    walk.show("written back");
    walk.rig.device.publish_used();
    walk.show("used");
    assert!(walk.rig.device.should_interrupt(), "the driver sleeps");
    let used = walk
        .rig
        .driver
        .get_buf()
        .expect("the device keeps the rules");
    assert_eq!(used.expect("a buffer is used").written, 20);
    walk.show("taken back");
    walk.pictures
}

/// The same buffer through a table of its own.
fn indirect(name: &'static str, layout: Layout) -> BTreeMap<String, String> {
    let mut plan = plan(layout);
    plan.features.indirect = true;
    plan.tables = (1, 2);
    let mut walk = Walk::new(name, plan);
    walk.add(0);
    walk.rig.driver.publish();
    let word = walk.rig.raw.descriptor_area().load_u64(0, Order::Relaxed);
    walk.painter.table = Some((GuestAddress(word), 2));
    walk.show("available");
    walk.pictures
}

/// Two buffers made available at once, used in order, told of by one entry.
fn in_order(name: &'static str, layout: Layout) -> BTreeMap<String, String> {
    let mut plan = plan(layout);
    plan.features.in_order = true;
    let mut walk = Walk::new(name, plan);
    walk.add(0);
    walk.add(1);
    walk.rig.driver.publish();
    walk.show("available");
    let (first, second) = (walk.take(), walk.take());
    // All 32 bytes of the first, so that its entry can be skipped.
    walk.rig.device.stage_used(&first, 32);
    walk.rig.device.stage_used(&second, 20);
    walk.rig.device.publish_used();
    walk.show("used");
    for written in [32, 20] {
        let used = walk
            .rig
            .driver
            .get_buf()
            .expect("the device keeps the rules");
        assert_eq!(used.expect("a buffer is used").written, written);
    }
    assert!(walk.rig.driver.get_buf().expect("all is well").is_none());
    walk.pictures
}

/// All pictures, by the name under which the chapter shows them.
pub(crate) fn all() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    all.extend(way("split", Layout::Split));
    all.extend(way("packed", Layout::Packed));
    all.extend(indirect("split, indirect", Layout::Split));
    all.extend(indirect("packed, indirect", Layout::Packed));
    all.extend(in_order("split, in order", Layout::Split));
    all.extend(in_order("packed, in order", Layout::Packed));
    all
}
