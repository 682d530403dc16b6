//! What holds at every moment, whatever the test is about: [`check`] is called
//! whenever a test looks at what was done.

use virtscope_driver::transport::Status;

use crate::recording::Step;

/// Checks the whole conversation.
// Shows: driver/2.1.1/2, driver/2.1.1/3, driver/3.1.1/5, driver/3.1.1/7
// Shows: driver/3.1.1/12, driver/3.1.1/13, driver/3.4.1/1
pub(crate) fn check(steps: &[Step]) {
    // What the driver knows of the status: what it wrote or read since the reset.
    let mut known = Status::empty();
    for (at, step) in steps.iter().enumerate() {
        let trace = &steps[..=at];
        if let Step::WriteStatus(status) = step {
            assert!(status.contains(known), "a status bit is cleared: {trace:?}");
            assert!(!status.contains(Status::SUSPEND), "{trace:?}");
        }
        let changes = matches!(
            step,
            Step::WriteStatus(_)
                | Step::WriteFeatures(_)
                | Step::WriteConfig(..)
                | Step::EnableQueue(..)
                | Step::ResetQueue(_)
                | Step::Notify(..)
        );
        if known.contains(Status::FAILED) && changes {
            // Saying again that it has failed changes nothing.
            let again = matches!(step, Step::WriteStatus(status) if *status == known);
            assert!(again, "the driver goes on after FAILED: {trace:?}");
        }
        let before_agreement = !known.contains(Status::FEATURES_OK);
        match step {
            Step::Reset => known = Status::empty(),
            Step::ReadStatus(status) | Step::WriteStatus(status) => known = *status,
            Step::WriteFeatures(_) => {
                assert!(before_agreement, "features after FEATURES_OK: {trace:?}");
            }
            Step::WriteConfig(..) | Step::EnableQueue(..) => {
                assert!(!before_agreement, "set up before FEATURES_OK: {trace:?}");
            }
            Step::Notify(..) => {
                let live = known.contains(Status::DRIVER_OK);
                assert!(live, "a notification before DRIVER_OK: {trace:?}");
            }
            _ => {}
        }
    }
}
