//! The model against streams of records.

use virtscope_record::{
    Body, Flags, Layout, Notification, NotificationReason, Producer, QueueFacts, RingIndex,
};

use super::{Drawing, RingModel, SlotState};
use crate::testing::{QUEUE, Stream};

fn model(stream: &Stream) -> RingModel {
    let (analyzer, _) = stream.analyze();
    analyzer.snapshot(None).queue(QUEUE).unwrap().ring.clone()
}

fn states(stream: &Stream) -> Vec<SlotState> {
    model(stream)
        .available
        .iter()
        .map(|slot| slot.state)
        .collect()
}

#[test]
fn a_buffer_passes_through_every_state() {
    use SlotState::{Added, Announced, Free, Published, Returned, Taken};
    let mut stream = Stream::with_facts();
    let slot_6 = |stream: &Stream| states(stream)[6];
    assert_eq!(states(&stream), [Free; 8]);
    stream.add(3, 65534);
    assert_eq!(slot_6(&stream), Added);
    stream.kick(65534, 65535);
    assert_eq!(slot_6(&stream), Published);
    stream.taken(3, 65534);
    assert_eq!(slot_6(&stream), Taken);
    stream.returned(3, 65535);
    assert_eq!(slot_6(&stream), Returned);
    stream.callback(0, 65535);
    assert_eq!(slot_6(&stream), Announced);
    stream.used(3, 65535);
    let model = model(&stream);
    assert_eq!(states(&stream), [Free; 8]);
    // The slot still holds the head it was given.
    assert_eq!(
        (model.available[6].head, model.available[6].index),
        (3, Some(RingIndex(65534)))
    );
    let used = model.used[7].unwrap();
    assert_eq!(
        (used.index, used.head, used.harvested),
        (RingIndex(65535), 3, true)
    );
}

#[test]
fn pointers_are_what_was_said_last() {
    let mut stream = Stream::with_facts();
    stream.free = 5;
    stream.add(0, 65535).add(1, 0);
    let kick = Body::Kick(Notification {
        free: 5,
        old: RingIndex(65535),
        new: RingIndex(1),
        event: RingIndex(65535),
        reason: NotificationReason::EventCrossed,
        ..Notification::default()
    });
    let flags = Flags::NOTIFICATION_NEEDED | Flags::EVENT_IDX;
    stream.push(Producer::DriverHalf, 0, flags, kick, &[]);
    stream
        .taken(0, 65535)
        .returned(0, 65535)
        .callbacks(false, 65535);
    let pointers = model(&stream).pointers;
    assert_eq!(pointers.avail_idx, Some(RingIndex(1)));
    assert_eq!(pointers.kicked, Some(RingIndex(1)));
    assert_eq!(pointers.avail_event, Some(RingIndex(65535)));
    assert_eq!(
        pointers.last_kick,
        Some((true, NotificationReason::EventCrossed))
    );
    assert_eq!(pointers.taken, Some(RingIndex(0)));
    assert_eq!(pointers.used_idx, Some(RingIndex(0)));
    assert_eq!(pointers.last_used, Some(RingIndex(65535)));
    assert_eq!(pointers.callbacks_enabled, Some(false));
    assert_eq!(pointers.used_event, None);
    assert_eq!(pointers.free, Some(5));
}

/// A late word of the device half does not take a buffer back into the ring.
#[test]
fn states_never_go_back() {
    let mut stream = Stream::with_facts();
    stream.add(0, 0).returned(0, 0).taken(0, 0).kick(0, 1);
    assert_eq!(states(&stream)[0], SlotState::Returned);
    stream.used(0, 0).returned(0, 0);
    assert_eq!(states(&stream)[0], SlotState::Free);
    assert!(model(&stream).used[0].unwrap().harvested);
}

/// If the end of a buffer was lost, its slot is free again once its head stands
/// elsewhere.
#[test]
fn a_head_stands_in_one_slot() {
    let mut stream = Stream::with_facts();
    stream.add(0, 0).add(1, 1);
    stream.used(0, 0).lose();
    stream.add(0, 2);
    assert_eq!(
        states(&stream)[..3],
        [SlotState::Free, SlotState::Added, SlotState::Added]
    );
}

#[test]
fn a_reset_empties_the_ring() {
    let mut stream = Stream::with_facts();
    stream.add(0, 0).kick(0, 1).reset();
    assert_eq!(states(&stream), [SlotState::Free; 8]);
    assert_eq!(model(&stream).pointers.avail_idx, None);
    stream.generation(1).add(0, 0);
    assert_eq!(states(&stream)[0], SlotState::Added);
}

#[test]
fn what_cannot_be_drawn_says_so() {
    let mut stream = Stream::new();
    stream.add(0, 0);
    assert_eq!(model(&stream).drawing, Drawing::SizeUnknown);
    stream.facts(0x8001, 0);
    assert_eq!(model(&stream).drawing, Drawing::SizeUnknown);
    stream.facts(0x8000, 0);
    assert_eq!(model(&stream).available.len(), 0x8000);
    for (size, drawing) in [(0x8001, Drawing::SizeUnknown), (256, Drawing::Packed)] {
        let facts = Body::QueueFacts(QueueFacts {
            size,
            layout: Layout::Packed,
            ..QueueFacts::default()
        });
        stream.push(Producer::Recorder, 0, Flags::empty(), facts, b"virtio0/rx");
        let model = model(&stream);
        assert_eq!(model.drawing, drawing);
        // What was drawn of another ring is gone.
        assert!(model.pointers.avail_idx.is_none());
    }
}

#[test]
fn rings_are_drawn_only_for_who_wants_them() {
    let mut analyzer = crate::Analyzer::new(crate::Options {
        draw_rings: false,
        ..crate::Options::default()
    });
    for (record, payload) in &Stream::with_facts().add(0, 0).records {
        analyzer.push(record, payload);
    }
    let snapshot = analyzer.snapshot(None);
    assert_eq!(snapshot.queue(QUEUE).unwrap().ring, RingModel::default());
}
