use rstest::rstest;
use virtscope_record::{Common, Notify, Sequence};

use super::*;

const QUEUE: QueueId = QueueId::new(0, 0);
const CUT: Selection = Selection {
    cut: true,
    ..Selection::WHOLE
};

fn record(sequence: u32, body: Body) -> Record {
    let common = Common {
        queue: QUEUE,
        producer: Producer::DriverHalf.id(),
        sequence: Sequence(sequence),
        ..Common::default()
    };
    Record::new(common, body)
}

fn event(sequence: u32) -> Record {
    record(sequence, Body::Notify(Notify::default()))
}

/// Statistics about the driver half, from the recorder.
fn told(statistics: Statistics) -> Record {
    let common = Common {
        queue: QUEUE,
        producer: Producer::Recorder.id(),
        ..Common::default()
    };
    let about = Producer::DriverHalf.id();
    Record::new(
        common,
        Body::Statistics(Statistics {
            about,
            ..statistics
        }),
    )
}

fn driver(ledger: &Ledger) -> Totals {
    let mut all = ledger.per_producer();
    let found = all.find(|(_, producer, _)| *producer == Producer::DriverHalf);
    found.map_or_else(Totals::default, |(_, _, totals)| totals)
}

fn totals(emitted: u64, stored: u64, lost: u64, filtered: u64) -> Totals {
    Totals {
        emitted,
        stored,
        lost,
        filtered,
        missed: 0,
    }
}

#[test]
fn a_gap_is_a_loss_until_it_fills() {
    let mut ledger = Ledger::new(Selection::WHOLE);
    for number in [0, 1, 4] {
        ledger.observe(&event(number));
    }
    assert_eq!(ledger.totals(), totals(5, 3, 2, 0));
    assert_eq!(ledger.loss_epoch(QUEUE), 1);
    assert_eq!(ledger.settled_losses(QUEUE), 0, "not believed yet");
    ledger.observe(&event(3));
    ledger.observe(&event(2));
    assert_eq!(ledger.totals(), totals(5, 5, 0, 0));
    assert_eq!(ledger.loss_epoch(QUEUE), 1);
}

#[test]
fn a_gap_is_believed_behind_the_window() {
    let mut ledger = Ledger::new(Selection::WHOLE);
    ledger.observe(&event(0));
    for number in 11..500 {
        ledger.observe(&event(number));
    }
    assert_eq!(ledger.settled_losses(QUEUE), 10);
    ledger.observe(&event(5));
    assert_eq!(ledger.settled_losses(QUEUE), 9, "late, but there");
    assert_eq!(ledger.totals(), totals(500, 491, 9, 0));
    assert!(ledger.inconsistencies().is_empty());
}

#[test]
fn the_first_records_can_be_lost_too() {
    let mut ledger = Ledger::new(Selection::WHOLE);
    ledger.observe(&event(7));
    assert_eq!(ledger.totals(), totals(8, 1, 7, 0));
}

#[test]
fn sequences_go_on_beyond_32_bits() {
    let mut stream = Stream::default();
    let mut number = 0u64;
    while number < 3 << 32 {
        stream.place(Sequence(number as u32));
        number += 1 << 30;
    }
    let emitted = (3 << 32) - (1 << 30) + 1;
    assert_eq!(
        stream.totals(Selection::WHOLE),
        totals(emitted, 12, emitted - 12, 0)
    );
}

#[test]
fn final_statistics_tell_the_tail() {
    let mut ledger = Ledger::new(Selection::WHOLE);
    ledger.observe(&event(0));
    ledger.observe(&told(Statistics {
        emitted: 9,
        lost: 2,
        ..Statistics::default()
    }));
    assert!(!ledger.tail_known());
    assert_eq!(driver(&ledger), totals(3, 1, 2, 0), "six may be under way");
    assert_eq!(ledger.loss_epoch(QUEUE), 1);
    ledger.observe(&told(Statistics {
        emitted: 9,
        lost: 2,
        missed: 4,
        is_final: true,
        ..Statistics::default()
    }));
    assert!(ledger.tail_known());
    assert_eq!(
        driver(&ledger),
        Totals {
            missed: 4,
            ..totals(9, 1, 8, 0)
        }
    );
    assert_eq!(ledger.loss_epoch(QUEUE), 2);
}

#[test]
fn a_producer_that_stored_nothing_is_told_of() {
    let mut ledger = Ledger::new(Selection::WHOLE);
    ledger.observe(&told(Statistics {
        emitted: 3,
        is_final: true,
        ..Statistics::default()
    }));
    assert_eq!(driver(&ledger), totals(3, 0, 3, 0));
    assert_eq!(ledger.queue_totals(QUEUE), totals(4, 1, 3, 0));
    assert_eq!(ledger.queue_totals(QueueId::new(9, 9)), Totals::default());
}

#[test]
fn a_producer_may_have_been_at_work_before() {
    let mut ledger = Ledger::new(Selection::WHOLE);
    let before = Statistics {
        emitted: 1000,
        filtered: 1000,
        ..Statistics::default()
    };
    ledger.observe(&told(before));
    assert_eq!(driver(&ledger), totals(1000, 0, 0, 1000));
    for number in [1000, 1001, 1003] {
        ledger.observe(&event(number));
    }
    assert_eq!(driver(&ledger), totals(1004, 3, 1, 1000));
    assert_eq!(
        ledger.loss_epoch(QUEUE),
        1,
        "the hole, and not the beginning"
    );
    for number in 1004..1500 {
        ledger.observe(&event(number));
    }
    assert_eq!(ledger.settled_losses(QUEUE), 1);
    ledger.observe(&told(Statistics {
        emitted: 1502,
        lost: 1,
        is_final: true,
        ..before
    }));
    assert_eq!(driver(&ledger), totals(1502, 499, 3, 1000));
    let found = ledger.inconsistencies();
    assert_eq!(
        (found.refused_statistics, found.contradicted_finals),
        (0, 0)
    );
    // Said again, or of one that is at work, it changes nothing.
    ledger.observe(&told(before));
    assert_eq!(driver(&ledger), totals(1502, 499, 3, 1000));
}

#[test]
fn filtered_records_are_not_lost() {
    let mut ledger = Ledger::new(Selection::WHOLE);
    for number in [0, 3, 6] {
        ledger.observe(&event(number));
    }
    ledger.observe(&told(Statistics {
        emitted: 8,
        filtered: 4,
        is_final: true,
        ..Statistics::default()
    }));
    assert_eq!(driver(&ledger), totals(8, 3, 1, 4));
}

#[test]
fn what_a_part_leaves_out_is_filtered() {
    let mut ledger = Ledger::new(CUT);
    for number in [100, 101, 104] {
        ledger.observe(&event(number));
    }
    assert_eq!(driver(&ledger), totals(105, 3, 0, 102));
    assert_eq!(ledger.loss_epoch(QUEUE), 0);
    assert!(ledger.tail_known());
    ledger.observe(&told(Statistics {
        emitted: 200,
        lost: 2,
        ..Statistics::default()
    }));
    assert_eq!(driver(&ledger), totals(105, 3, 2, 100));
    assert_eq!(ledger.loss_epoch(QUEUE), 1);
    assert_eq!(ledger.settled_losses(QUEUE), 2);
}

#[rstest]
#[case::more_lost_than_emitted(Statistics { emitted: 1, lost: 2, ..Statistics::default() })]
#[case::overflow(Statistics { emitted: 9, lost: u64::MAX, filtered: 2, ..Statistics::default() })]
#[case::impossible(Statistics { emitted: u64::MAX, ..Statistics::default() })]
fn absurd_statistics_are_refused(#[case] statistics: Statistics) {
    let mut ledger = Ledger::new(Selection::WHOLE);
    ledger.observe(&event(0));
    ledger.observe(&told(statistics));
    assert_eq!(driver(&ledger), totals(1, 1, 0, 0));
    assert_eq!(ledger.inconsistencies().refused_statistics, 1);
}

#[test]
fn contradictions_are_counted_and_evidence_wins() {
    let mut ledger = Ledger::new(Selection::WHOLE);
    for number in 0..5 {
        ledger.observe(&event(number));
    }
    ledger.observe(&event(2));
    ledger.observe(&told(Statistics {
        emitted: 3,
        is_final: true,
        ..Statistics::default()
    }));
    assert_eq!(driver(&ledger), totals(5, 5, 0, 0));
    let found = ledger.inconsistencies();
    assert_eq!((found.duplicates, found.contradicted_finals), (1, 1));
    assert!(found.to_string().contains("1 duplicate"), "{found}");
}

#[test]
fn old_gaps_become_final_and_stay_counted() {
    let mut ledger = Ledger::new(Selection::WHOLE);
    for number in 0..3000 {
        ledger.observe(&event(2 * number));
    }
    let all = totals(5999, 3000, 2999, 0);
    assert_eq!(ledger.totals(), all);
    assert!(ledger.settled_losses(QUEUE) > 2800);
    // So late that its place is forgotten; how many such there are is not.
    ledger.observe(&event(1));
    assert_eq!(ledger.totals(), totals(5999, 3001, 2998, 0));
    assert!(ledger.inconsistencies().is_empty());
}

#[test]
fn streams_are_bounded() {
    let mut ledger = Ledger::new(Selection::WHOLE);
    let count = MAX_STREAMS as u32 + 10;
    for number in 0..count {
        let queue = QueueId::new((number >> 16) as u16, number as u16);
        let common = Common {
            queue,
            ..Common::default()
        };
        ledger.observe(&Record::new(common, Body::Notify(Notify::default())));
    }
    assert_eq!(ledger.totals().stored, u64::from(count));
    assert_eq!(ledger.totals().emitted, u64::from(count));
    assert_eq!(ledger.inconsistencies().untracked, 10);
}
