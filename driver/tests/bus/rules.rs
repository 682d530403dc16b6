//! What holds at every moment, whatever the test is about: [`check`] is called
//! whenever a test looks at what was done.

use virtscope_driver::transport::Status;

use crate::recording::Step;

/// Checks the whole conversation.
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

/// What breaks each rule is found.
#[test]
fn the_rules_are_checked() {
    use virtscope_driver::ring::AvailableNotification;
    use virtscope_record::FeatureBits;

    let read = Step::ReadStatus;
    let write = Step::WriteStatus;
    let (acknowledge, driver) = (Status::ACKNOWLEDGE, Status::DRIVER);
    let agreed = acknowledge | driver | Status::FEATURES_OK;
    let failed = agreed | Status::FAILED;
    let features = Step::WriteFeatures(FeatureBits::VERSION_1);
    let config = Step::WriteConfig(0, vec![1]);
    let notify = Step::Notify(0, AvailableNotification::default());
    let broken = [
        vec![write(acknowledge), write(driver)],
        vec![read(Status::DEVICE_NEEDS_RESET), write(acknowledge)],
        vec![write(acknowledge | Status::SUSPEND)],
        vec![write(agreed), features.clone()],
        vec![write(acknowledge | driver), config.clone()],
        vec![write(agreed), notify.clone()],
        vec![write(failed), config.clone()],
        vec![write(failed), write(failed | Status::DRIVER_OK)],
    ];
    for steps in broken {
        let checked = std::panic::catch_unwind(|| check(&steps));
        assert!(checked.is_err(), "{steps:?}");
    }
    check(&[
        write(acknowledge | driver),
        features,
        write(agreed),
        config,
        write(agreed | Status::DRIVER_OK),
        notify,
        write(failed | Status::DRIVER_OK),
        write(failed | Status::DRIVER_OK),
        Step::Reset,
        write(acknowledge),
    ]);
}
