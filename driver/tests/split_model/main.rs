//! Both halves of the split ring against one simple model queue.
//!
//! Random operations of either half, in any order that the interface allows, on
//! rings of all sizes, with flags and with event indices, from index 0 and from
//! just before 65535 → 0. After each the model says what must have come of it:
//! what is free and in flight, which buffer goes where, what its bytes are, who
//! must be notified (counted out one index at a time, from the text of virtio 1.4
//! §2.7.7 and §2.7.10) and, where records are on, every field of every record.

#[path = "../common/mod.rs"]
mod common;
mod model;
mod operation;
mod records;
mod run;

use std::sync::Arc;

use proptest::prelude::*;
use rstest::rstest;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::instrument::live::Hub;
use virtscope_driver::memory::Segment;
use virtscope_driver::ring::AddErrorKind;
use virtscope_record::{Producer, QueueId, Token};

use common::Rig;
use operation::{Case, case};
use records::Records;
use run::Run;

const QUEUE: QueueId = QueueId::new(7, 3);

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        cases: if cfg!(miri) { 2 } else { cases },
        ..ProptestConfig::default()
    }
}

fn run_silent(case: &Case) {
    Run::new(case, NoInstrument, NoInstrument, None).play(case);
}

fn run_recorded(case: &Case, snaplen: u32) {
    // Miri looks at a whole ring for each record: the smaller, the faster.
    let (ring_bytes, snaplen) = if cfg!(miri) {
        (1024, snaplen.min(64))
    } else {
        (64 << 10, snaplen)
    };
    let hub = Hub::new(ring_bytes, snaplen);
    let driver = hub.probe(QUEUE, Producer::DriverHalf);
    let device = hub.probe(QUEUE, Producer::DeviceHalf);
    let records = Records::new(Arc::clone(&hub), QUEUE);
    Run::new(case, driver, device, Some(records)).play(case);
    for counters in hub.counters() {
        assert_eq!(counters.lost, 0, "the hub was drained all the time");
    }
}

proptest! {
    #![proptest_config(config(128))]

    // Shows: driver/2.7.4.2/1, driver/2.7.5.3.1/3, driver/2.7.6.1/1, driver/2.7.7.1/1,
    //   driver/2.7.7.1/3, driver/2.7.7.1/5, driver/2.7.10.1/3, driver/2.7.10.1/4,
    //   driver/2.7.10.1/6, driver/2.7.10.1/7, driver/2.7.13/2, driver/2.7.13.1/1
    #[test]
    fn behaves_like_the_model(case in case(0)) {
        run_silent(&case);
    }

    // Shows: driver/2.7.8.3/1
    #[test]
    fn every_operation_has_its_record(
        case in case(0),
        snaplen in prop_oneof![Just(0u32), 1..64u32, Just(4096u32)],
    ) {
        run_recorded(&case, snaplen);
    }
}

proptest! {
    #![proptest_config(config(8))]

    // Shows: driver/2.7.6.1/1, driver/2.7.13.3/1
    /// The indices pass 65535 → 0 in the middle of it; with up to 65600 rounds
    /// before the first decision even the range of one decision wraps.
    #[test]
    fn behaves_like_the_model_at_the_wrap(rounds in 65_440..65_600u32, case in case(0)) {
        if !cfg!(miri) { // Minutes of turning the ring; nothing else is different.
            run_silent(&Case { rounds, ..case });
        }
    }

    #[test]
    fn every_operation_has_its_record_at_the_wrap(
        rounds in 65_440..65_600u32,
        case in case(0),
        snaplen in 0..64u32,
    ) {
        if !cfg!(miri) { // As above.
            run_recorded(&Case { rounds, ..case }, snaplen);
        }
    }
}

// Shows: driver/2.7.10.1/6, driver/2.7.10.1/7
/// A decision about so many entries that the index went round: every event index
/// was passed, though old and new no longer show it.
#[rstest]
#[case::one_entry_short_of_all(65_535, 65_535, false)]
#[case::all_but_that_one(65_535, 5, true)]
#[case::all(65_536, 65_535, true)]
#[case::all_and_back_to_where_it_was(65_536, 5, true)]
#[case::more_than_all(65_537, 5, true)]
fn decisions_may_be_about_the_whole_index(
    #[case] rounds: u32,
    #[case] event: u16,
    #[case] wanted: bool,
) {
    if cfg!(miri) {
        return; // Minutes of turning the ring; nothing else is different.
    }
    let mut rig = Rig::new(2, true, 1, NoInstrument, NoInstrument);
    let segment = Segment {
        address: rig.buffers,
        len: 1,
    };
    for _ in 0..rounds {
        rig.driver.add(&[segment], &[], Token(0), ()).unwrap();
        let chain = rig.device.take().unwrap().unwrap();
        rig.device.put_used(chain.head, 0);
        rig.driver.get_buf().unwrap().unwrap();
    }
    rig.raw.set_avail_event(event);
    assert_eq!(rig.driver.kick_prepare(), wanted);
    rig.raw.set_used_event(event);
    assert_eq!(rig.device.should_interrupt(), wanted);
    assert!(!rig.driver.kick_prepare() && !rig.device.should_interrupt());
}

// Shows: driver/2.7.5.2/1
/// 2³² − 1 bytes are the most that one buffer holds (virtio 1.4 §2.7.5.2).
#[rstest]
#[case::in_one_direction(&[u32::MAX, 1], &[], false)]
#[case::in_both(&[u32::MAX], &[1], false)]
#[case::the_most_there_may_be(&[1 << 31], &[(1 << 31) - 1], true)]
fn buffers_hold_less_than_4_gib(
    #[case] readable: &[u32],
    #[case] writable: &[u32],
    #[case] allowed: bool,
) {
    let mut rig: Rig<_, ()> = Rig::new(4, false, 1, NoInstrument, NoInstrument);
    let segments = |lens: &[u32]| -> Vec<Segment> {
        let segment = |len: &u32| Segment {
            address: rig.buffers,
            len: *len,
        };
        lens.iter().map(segment).collect()
    };
    let added = rig
        .driver
        .add(&segments(readable), &segments(writable), Token(1), ());
    match added {
        Ok(left) => assert!(allowed && left == 2),
        Err(refused) => assert!(!allowed && refused.kind == AddErrorKind::BadLength),
    }
}
