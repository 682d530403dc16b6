//! What two may do to one device at the same moment.

use std::sync::Barrier;
use std::thread;

use virtscope_driver::bus::{Bus, InitError, Recovery};
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::transport::{Status, Transport};
use virtscope_record::Generation;

use crate::recording::{Recording, Step};
use crate::rig::{ALL, Rig, SPLIT};
use crate::test_driver::{TestDriver, plan};

/// Whoever asks for a reset that is under way is told that it is done when it is.
#[test]
fn who_resets_second_waits_for_the_first() {
    let recording = Recording::new(SPLIT);
    let rig = Rig::new(recording, plan(0));
    let resets = || {
        let steps = rig.recording.steps().into_iter();
        steps.filter(|step| matches!(step, Step::Reset)).count()
    };
    let before = resets();
    rig.recording.state().reset_reads = Some(30);
    let reset_and_look = || {
        rig.device.reset().unwrap();
        assert_eq!(rig.recording.state().status, Status::empty());
    };
    thread::scope(|scope| {
        scope.spawn(reset_and_look);
        while resets() == before {
            thread::yield_now();
        }
        reset_and_look();
    });
    assert_eq!(resets(), before + 1, "one reset is enough for both");
}

/// A life of the device that is over writes nothing more to its status.
#[test]
fn a_reset_is_not_undone_by_who_gives_up_beside_it() {
    for _ in 0..200 {
        let rig = Rig::new(Recording::new(SPLIT), plan(0));
        let both = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                both.wait();
                rig.device.give_up();
            });
            both.wait();
            rig.device.reset().unwrap();
        });
        assert_eq!(rig.recording.status(), Status::empty());
    }
}

/// Of several who set up one queue, one has it.
#[test]
fn a_queue_is_set_up_by_one() {
    for _ in 0..100 {
        let recording = Recording::with(|state| {
            state.offered = ALL;
            state.queues = vec![16, 16];
        });
        let rig = Rig::new(recording, plan(1));
        let (rig, all) = (&rig, &Barrier::new(3));
        let refused = thread::scope(|scope| {
            let others = [(); 3].map(|()| {
                scope.spawn(|| {
                    all.wait();
                    rig.device.queue::<_, u32>(plan(0), NoInstrument).err()
                })
            });
            others.map(|other| other.join().unwrap())
        });
        let in_use = Some(InitError::QueueInUse { index: 0 });
        assert_eq!(refused.iter().filter(|error| **error == in_use).count(), 2);
        assert!(refused.contains(&None));
    }
}

/// Both halves count the lives of a queue alike, also when its device is another that
/// has the same number.
#[test]
fn a_device_under_an_old_number_goes_on_counting() {
    let bus = Bus::new(Recovery::ByHand).unwrap();
    bus.register_driver(std::sync::Arc::new(TestDriver::probing(|device| {
        device.queue::<_, u32>(plan(0), NoInstrument).map(drop)
    })));
    for life in 0..3 {
        let recording = Recording::new(SPLIT);
        let id = bus.register_device(recording.clone()).unwrap();
        assert_eq!(bus.info(id).unwrap().error, None);
        assert_eq!(recording.last_setup().generation, Generation(life));
        bus.unregister_device(id).unwrap();
    }
}
