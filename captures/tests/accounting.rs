//! Whatever is lost wherever, the sums are exact.

mod support;

use std::collections::HashSet;

use proptest::prelude::*;
use support::*;
use virtscope_captures::{Ledger, Selection, Totals};
use virtscope_record::{Flags, Producer, ProducerId, Statistics};

const ABOUT: ProducerId = Producer::DriverHalf.id();

fn last(emitted: u64, lost: u64, filtered: u64) -> virtscope_record::Record {
    let told = Statistics {
        about: ABOUT,
        is_final: true,
        emitted,
        lost,
        filtered,
        missed: 0,
    };
    statistics(QUEUE, 0, told)
}

fn driver(ledger: &Ledger) -> Totals {
    ledger
        .per_producer()
        .find_map(|(_, producer, totals)| (producer.id() == ABOUT).then_some(totals))
        .unwrap_or_default()
}

/// Every subset of a short stream is lost in turn: first, last, runs, all.
#[test]
fn losses_at_every_point_are_exact() {
    const COUNT: u32 = 12;
    for kept in 0u32..1 << COUNT {
        let mut ledger = Ledger::new(Selection::WHOLE);
        for number in (0..COUNT).filter(|number| kept >> number & 1 == 1) {
            ledger.observe(&add(QUEUE, number, b"").0);
        }
        let stored = u64::from(kept.count_ones());
        let highest = u64::from(32 - kept.leading_zeros());
        let seen = driver(&ledger);
        assert_eq!((seen.emitted, seen.stored), (highest, stored), "{kept:b}");
        assert_eq!(seen.lost, highest - stored, "{kept:b}");
        assert!(!ledger.tail_known() || kept == 0);

        ledger.observe(&last(u64::from(COUNT), 0, 0));
        let expected = Totals {
            emitted: u64::from(COUNT),
            stored,
            lost: u64::from(COUNT) - stored,
            ..Totals::default()
        };
        assert_eq!(driver(&ledger), expected, "{kept:b}");
        assert!(ledger.tail_known());
        assert!(ledger.inconsistencies().is_empty());
        assert_eq!(ledger.loss_epoch(QUEUE) > 0, expected.lost > 0, "{kept:b}");
    }
}

/// Runs of losses of every length at every place of a longer stream, with the
/// sequence wrapping inside it.
#[test]
fn runs_at_every_place_are_exact() {
    const COUNT: u32 = 700;
    for (first, len) in (0..COUNT)
        .step_by(7)
        .flat_map(|at| [(at, 1), (at, 2), (at, 300)])
    {
        let mut ledger = Ledger::new(Selection::WHOLE);
        let run = first..first.saturating_add(len).min(COUNT);
        for number in (0..COUNT).filter(|number| !run.contains(number)) {
            ledger.observe(&add(QUEUE, number, b"").0);
        }
        ledger.observe(&last(COUNT.into(), 0, 0));
        assert_eq!(driver(&ledger).lost, run.len() as u64, "{run:?}");
    }
}

proptest! {
    /// Against a set of numbers: any losses, any order within a window, any
    /// duplicates, some losses known to the producer and some filtered.
    #[test]
    fn agrees_with_a_set(
        fates in proptest::collection::vec(0u8..8, 1..900),
        swaps in proptest::collection::vec((any::<usize>(), 0usize..60), 0..200),
        again in proptest::collection::vec(any::<usize>(), 0..10),
    ) {
        let emitted = fates.len() as u64;
        let count = |fate| fates.iter().filter(|f| **f == fate).count() as u64;
        let (filtered, known_lost) = (count(0), count(1));
        let mut order: Vec<u32> = (0..fates.len() as u32).filter(|n| fates[*n as usize] > 2).collect();
        let len = order.len();
        for (at, distance) in swaps {
            if len > 0 {
                order.swap(at % len, (at % len + distance).min(len - 1));
            }
        }
        let distinct: HashSet<_> = order.iter().copied().collect();
        for at in &again {
            if len > 0 {
                order.push(order[at % len]);
            }
        }
        let duplicates = (order.len() - distinct.len()) as u64;

        let mut ledger = Ledger::new(Selection::WHOLE);
        let mut epoch = 0;
        for number in &order {
            ledger.observe(&add(QUEUE, *number, b"").0);
            let totals = ledger.totals();
            prop_assert_eq!(totals.emitted, totals.stored + totals.lost + totals.filtered);
            prop_assert!(ledger.settled_losses(QUEUE) <= totals.lost);
            prop_assert!(ledger.loss_epoch(QUEUE) >= epoch);
            epoch = ledger.loss_epoch(QUEUE);
        }
        ledger.observe(&last(emitted, known_lost, filtered));
        let stored = distinct.len() as u64;
        let expected = Totals { emitted, stored, lost: emitted - stored - filtered, filtered, missed: 0 };
        prop_assert_eq!(driver(&ledger), expected);
        prop_assert_eq!(ledger.inconsistencies().duplicates, duplicates);
        prop_assert_eq!(ledger.inconsistencies().contradicted_finals, 0);
    }

    /// Nothing that records can say breaks the equation or the sums.
    #[test]
    fn any_records_add_up(
        records in proptest::collection::vec(any_record(QUEUE), 0..200),
        (filtered, sampled, cut) in any::<(bool, bool, bool)>(),
    ) {
        let mut ledger = Ledger::new(Selection { filtered, sampled, cut });
        for record in &records {
            ledger.observe(record);
            let totals = ledger.totals();
            prop_assert_eq!(totals.emitted, totals.stored + totals.lost + totals.filtered);
        }
        prop_assert_eq!(ledger.totals(), [ledger.queue_totals(QUEUE), untracked(&ledger)].into_iter().sum());
        let counted = ledger.totals().stored + ledger.inconsistencies().duplicates;
        // Those of another file have no number, and count nowhere.
        let numbered = records.iter().filter(|record| !record.flags().contains(Flags::REPEATED));
        prop_assert_eq!(counted, numbered.count() as u64);
    }
}

fn untracked(ledger: &Ledger) -> Totals {
    let count = ledger.inconsistencies().untracked;
    Totals {
        emitted: count,
        stored: count,
        ..Totals::default()
    }
}
