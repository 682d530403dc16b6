//! What must hold whatever is lost, and a history in which it once did not.

use proptest::test_runner::TestCaseError;

use super::*;

/// Loses `run` records from each of `first` on. No life is called complete with wrong
/// times, nothing is counted twice, and the accounts are exact.
pub(super) fn check(
    model: &Model,
    setup: Setup,
    first: &[usize],
    run: usize,
) -> Result<(), TestCaseError> {
    let mut kept: BTreeMap<usize, (Record, Vec<u8>)> =
        model.stream.records.iter().cloned().enumerate().collect();
    for first in first.iter().copied() {
        for at in first..first + run {
            let is_recorders = kept
                .get(&at)
                .is_some_and(|(record, _)| record.producer() == Producer::Recorder);
            if !is_recorders {
                kept.remove(&at);
            }
        }
    }
    let lost = (model.stream.records.len() - kept.len()) as u64;
    let records: Vec<_> = kept.into_values().collect();
    let (analyzer, lives) = analyze(&records);

    let totals = analyzer.record_totals();
    prop_assert_eq!(totals.emitted, model.stream.records.len() as u64);
    prop_assert_eq!((totals.stored, totals.lost), (records.len() as u64, lost));
    prop_assert_eq!(totals.missed, 0);
    prop_assert!(
        analyzer
            .report(&crate::CaptureEnd::default())
            .capture
            .tail_known
    );

    let mut seen = Vec::new();
    let (mut completed, mut incomplete) = (0, 0);
    for life in &lives {
        match life.outcome {
            Outcome::Complete(phases) => {
                completed += 1;
                let request = model.request_of(life);
                prop_assert!(request.is_some(), "{:?} never was", life);
                let request = request.unwrap();
                prop_assert!(are_of(phases, life, request, setup), "{:#?}", life);
                prop_assert!(life.overlap_ns <= request.overlap());
                for (got, was) in [
                    (life.moments.taken, request.taken),
                    (life.moments.returned, request.returned),
                ] {
                    prop_assert!(got.is_none() || got == time(was));
                }
                // Of a packed ring, whose positions come again, a decision that was
                // lost may be taken for one of a later lap.
                prop_assert!(
                    setup.packed
                        || life.interrupted.is_none()
                        || life.interrupted == request.interrupted
                );
                seen.push((life.moments.added, life.position.map(|p| p.0)));
            }
            Outcome::Incomplete(reason) => {
                incomplete += 1;
                prop_assert!(
                    lost > 0
                        || matches!(
                            reason,
                            Incomplete::Lost(Piece::Kick) | Incomplete::BegunBefore
                        ),
                    "incomplete without a loss: {reason:?}"
                );
            }
            Outcome::InFlight => prop_assert!(false, "an ended life in flight"),
        }
    }
    let many = seen.len();
    seen.sort_unstable();
    seen.dedup();
    prop_assert_eq!(seen.len(), many, "a request counted twice");

    let requests = analyzer.request_totals();
    prop_assert_eq!(
        (requests.completed, requests.incomplete),
        (completed, incomplete)
    );
    for life in analyzer.in_flight() {
        let request = model.request_of(&life);
        prop_assert!(
            request.is_some_and(|r| r.used.is_none()),
            "{:?} came back",
            life
        );
    }
    Ok(())
}

/// A packed ring, whose positions come again after two laps: the kick decision of a
/// buffer that had been used was lost, and with it the records of two laps. The next
/// decision that was seen, about the same positions, was taken for it, and the buffer's
/// overlap was said to be as long as the laps. Found among 52,343 random histories.
#[test]
fn a_kick_decision_of_a_later_lap_is_not_taken_for_one_that_was_lost() {
    const STEPS: &str = "RIATTRIHHIIAAAAITAAKKTRIIAKIRKTITIKAHRITIHIAAAIAAAAIHTRIATAARKIHKATHTIAKKRH\
        TKRHIRIAAKKHKKAATTrHRTCATRTCRHAHACACRKIKIIITHHKAIIATRTTKIIHRARRTIIHIHHAAATIAKIIKIKTRIRFRHHA\
        IKHKAIIAKIKKITRKII";
    let steps: Vec<_> = STEPS
        .chars()
        .map(|step| match step {
            'A' => Step::Add,
            'K' => Step::Kick(false),
            'T' => Step::Take,
            'R' => Step::Return(0),
            'r' => Step::Return(1),
            'I' => Step::Interrupt(false),
            'C' => Step::Callback,
            'H' => Step::Harvest,
            _ => Step::Refuse,
        })
        .map(|step| (step, 1))
        .collect();
    let setup = Setup {
        packed: true,
        start: 0,
        begun_before: 1,
        ..Setup::default()
    };
    let model = Model::play(&steps, setup);
    check(&model, setup, &[28, 16, 12, 24, 35], 4).unwrap();
}
