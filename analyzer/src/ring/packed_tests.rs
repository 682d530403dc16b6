//! The picture of a packed ring against a model of its memory.

use std::collections::VecDeque;

use proptest::prelude::*;
use virtscope_record::{
    Add, Body, Callback, Flags, Layout, Notification, Producer, QueueFacts, Returned, RingIndex,
    Taken, Used,
};

use super::{Drawing, RingModel, SlotState};
use crate::index_space::IndexSpace;
use crate::testing::{QUEUE, Stream};

fn model(stream: &Stream) -> RingModel {
    let (analyzer, _) = stream.analyze();
    analyzer.snapshot(None).queue(QUEUE).unwrap().ring.clone()
}

/// What a descriptor holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Descriptor {
    Untouched,
    Available { id: u16, place: u16 },
    Used { id: u16 },
}

/// A buffer on its way.
#[derive(Clone, Copy, Debug)]
struct Buffer {
    id: u16,
    position: RingIndex,
    descriptors: u16,
}

/// A packed ring and both its sides, which write their records.
struct Ring {
    stream: Stream,
    space: IndexSpace,
    memory: Vec<Descriptor>,
    states: Vec<SlotState>,
    /// Whose available descriptor stands there, or stood there last.
    owners: Vec<Option<(RingIndex, u16)>>,
    free_ids: Vec<u16>,
    free: u16,
    next_avail: RingIndex,
    kicked: RingIndex,
    next_used: RingIndex,
    last_used: RingIndex,
    added: VecDeque<Buffer>,
    taken: Vec<Buffer>,
    /// With the position of each one's used descriptor.
    returned: VecDeque<(Buffer, RingIndex)>,
}

const START: RingIndex = RingIndex(0x8000);

impl Ring {
    fn new(size: u16) -> Self {
        let mut stream = Stream::new();
        let facts = Body::QueueFacts(QueueFacts {
            size,
            layout: Layout::Packed,
            ..QueueFacts::default()
        });
        stream.push(Producer::Recorder, 0, Flags::empty(), facts, b"x/y");
        Self {
            stream,
            space: IndexSpace::new(size, Layout::Packed),
            memory: vec![Descriptor::Untouched; size.into()],
            states: vec![SlotState::Free; size.into()],
            owners: vec![None; size.into()],
            free_ids: (0..size).rev().collect(),
            free: size,
            next_avail: START,
            kicked: START,
            next_used: START,
            last_used: START,
            added: VecDeque::new(),
            taken: Vec::new(),
            returned: VecDeque::new(),
        }
    }

    fn push(&mut self, producer: Producer, body: Body) {
        self.stream.push(producer, 0, Flags::PACKED, body, &[]);
    }

    fn slot(&self, position: RingIndex, place: u16) -> usize {
        usize::from(self.space.advance(position, place).0 & 0x7fff)
    }

    fn set(&mut self, buffer: Buffer, state: SlotState) {
        for place in 0..buffer.descriptors {
            let slot = self.slot(buffer.position, place);
            if self.owners[slot] == Some((buffer.position, buffer.id)) {
                self.states[slot] = state;
            }
        }
    }

    fn add(&mut self, descriptors: u16) {
        if descriptors > self.free {
            return;
        }
        let Some(id) = self.free_ids.pop() else {
            return;
        };
        let buffer = Buffer {
            id,
            position: self.next_avail,
            descriptors,
        };
        for place in 0..descriptors {
            let slot = self.slot(buffer.position, place);
            self.memory[slot] = Descriptor::Available { id, place };
            self.owners[slot] = Some((buffer.position, id));
        }
        self.set(buffer, SlotState::Added);
        self.next_avail = self.space.advance(self.next_avail, descriptors);
        self.free -= descriptors;
        self.added.push_back(buffer);
        let body = Body::Add(Add {
            free: self.free,
            head: id,
            position: buffer.position,
            descriptors,
            ..Add::default()
        });
        self.push(Producer::DriverHalf, body);
    }

    fn kick(&mut self) {
        let body = Body::Kick(Notification {
            free: self.free,
            old: self.kicked,
            new: self.next_avail,
            ..Notification::default()
        });
        self.kicked = self.next_avail;
        for state in &mut self.states {
            if *state == SlotState::Added {
                *state = SlotState::Published;
            }
        }
        self.push(Producer::DriverHalf, body);
    }

    fn take(&mut self) {
        let Some(buffer) = self.added.pop_front() else {
            return;
        };
        self.set(buffer, SlotState::Taken);
        self.taken.push(buffer);
        let body = Body::Taken(Taken {
            head: buffer.id,
            position: buffer.position,
            avail_index: self.space.advance(buffer.position, buffer.descriptors),
            ..Taken::default()
        });
        self.push(Producer::DeviceHalf, body);
    }

    fn give_back(&mut self, which: usize) {
        if self.taken.is_empty() {
            return;
        }
        let buffer = self.taken.remove(which % self.taken.len());
        let position = self.next_used;
        let slot = self.slot(position, 0);
        self.memory[slot] = Descriptor::Used { id: buffer.id };
        self.set(buffer, SlotState::Returned);
        self.next_used = self.space.advance(position, buffer.descriptors);
        self.returned.push_back((buffer, position));
        let body = Body::Returned(Returned {
            head: buffer.id,
            position,
            ..Returned::default()
        });
        self.push(Producer::DeviceHalf, body);
    }

    fn callback(&mut self) {
        let spurious = self.returned.is_empty();
        for (buffer, _) in self.returned.clone() {
            self.set(buffer, SlotState::Announced);
        }
        let body = Body::Callback(Callback {
            free: self.free,
            used_index: self.last_used,
            last_used: self.last_used,
            ..Callback::default()
        });
        let mut flags = Flags::PACKED;
        flags.set(Flags::SPURIOUS, spurious);
        self.stream.push(Producer::DriverHalf, 0, flags, body, &[]);
    }

    fn harvest(&mut self) {
        let Some((buffer, position)) = self.returned.pop_front() else {
            return;
        };
        self.set(buffer, SlotState::Free);
        self.free += buffer.descriptors;
        self.free_ids.push(buffer.id);
        self.last_used = self.space.advance(position, buffer.descriptors);
        let body = Body::Used(Used {
            free: self.free,
            head: buffer.id,
            position,
            used_index: position,
            descriptors: buffer.descriptors,
            ..Used::default()
        });
        self.push(Producer::DriverHalf, body);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the ring went through, the picture is what its memory holds.
    #[test]
    fn the_picture_is_the_memory(
        size in 1_u16..9,
        steps in prop::collection::vec((0_u8..8, any::<u8>()), 0..120),
    ) {
        let mut ring = Ring::new(size);
        for (step, which) in steps {
            match step {
                0 | 1 => ring.add(u16::from(which) % 3 + 1),
                2 => ring.kick(),
                3 | 4 => ring.take(),
                5 => ring.give_back(which.into()),
                6 => ring.callback(),
                _ => ring.harvest(),
            }
            // Past two laps the positions of a kick decision would not tell.
            if ring.space.ahead(ring.kicked, ring.next_avail) >= u32::from(size) {
                ring.kick();
            }
        }
        let model = model(&ring.stream);
        prop_assert_eq!(model.drawing, Drawing::Packed);
        for (slot, holds) in ring.memory.iter().enumerate() {
            let (available, used) = (&model.available[slot], &model.used[slot]);
            let drawn = match used {
                Some(used) if !used.overwritten => Descriptor::Used { id: used.head },
                _ if available.index.is_none() => Descriptor::Untouched,
                _ => Descriptor::Available { id: available.head, place: available.place },
            };
            prop_assert_eq!(drawn, *holds, "descriptor {}", slot);
            prop_assert_eq!(available.state, ring.states[slot], "descriptor {}", slot);
        }
        let pointers = &model.pointers;
        for (pointer, is) in [
            (pointers.avail_idx, ring.next_avail),
            (pointers.last_used, ring.last_used),
            (pointers.used_idx, ring.next_used),
        ] {
            prop_assert!(pointer.is_none_or(|pointer| pointer == is), "{:?} {:?}", pointer, is);
        }
    }
}

#[test]
fn a_list_passes_through_every_state() {
    use SlotState::{Added, Announced, Free, Published, Returned, Taken};
    let mut ring = Ring::new(4);
    let states = |ring: &Ring| -> Vec<_> {
        let model = model(&ring.stream);
        model.available.iter().map(|slot| slot.state).collect()
    };
    ring.add(3);
    assert_eq!(states(&ring), [Added, Added, Added, Free]);
    ring.kick();
    assert_eq!(states(&ring), [Published, Published, Published, Free]);
    ring.take();
    assert_eq!(states(&ring), [Taken, Taken, Taken, Free]);
    ring.give_back(0);
    assert_eq!(states(&ring), [Returned, Returned, Returned, Free]);
    ring.callback();
    assert_eq!(states(&ring), [Announced, Announced, Announced, Free]);
    ring.harvest();
    assert_eq!(states(&ring), [Free; 4]);
    let pointers = model(&ring.stream).pointers;
    assert_eq!(pointers.last_used, Some(RingIndex(0x8003)));
    // The next list of two stands in the last descriptor and the first, where the
    // wrap counter has turned over.
    ring.add(2);
    let model = model(&ring.stream);
    assert_eq!(states(&ring), [Added, Free, Free, Added]);
    assert_eq!((model.available[3].place, model.available[0].place), (0, 1));
    assert_eq!(model.available[0].index, Some(RingIndex(0)));
    assert_eq!(model.pointers.avail_idx, Some(RingIndex(1)));
    assert!(model.used[0].unwrap().overwritten);
}

#[test]
fn what_is_beyond_the_ring_is_not_drawn() {
    let mut ring = Ring::new(4);
    for position in [4, 0x7fff, 0xffff] {
        ring.push(
            Producer::DriverHalf,
            Body::Add(Add {
                position: RingIndex(position),
                descriptors: u16::MAX,
                head: position,
                ..Add::default()
            }),
        );
        ring.push(
            Producer::DriverHalf,
            Body::Used(Used {
                position: RingIndex(position),
                head: position,
                ..Used::default()
            }),
        );
    }
    let model = model(&ring.stream);
    assert_eq!(model.available.len(), 4);
    assert!(
        model
            .available
            .iter()
            .all(|slot| slot.state == SlotState::Free)
    );
}
