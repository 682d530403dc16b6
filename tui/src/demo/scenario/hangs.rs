//! Requests that do not come back, and the reasons.

use std::thread::scope;
use std::time::Duration;

use virtscope_analyzer::FindingCode as Code;
use virtscope_driver::p9::client::ClientError;

use super::stage::{HANGING, PAUSE, Setup, Stage};
use super::{Scenario, twins};

pub(super) const ALL: &[[Scenario; 2]] = &[
    twins(
        Code::LostKick,
        ["lost-kick", "lost-kick-near-miss"],
        [
            "A kick does not reach the sleeping device, and with event indices there is no other.",
            "A kick does not reach the sleeping device, and another one does a moment later.",
        ],
        [
            || Setup::faulty("lose-kick:from=8,times=1"),
            || Setup::faulty("lose-kick:from=8,times=1").by_flags(),
        ],
        [one_hangs, one_is_helped],
    ),
    twins(
        Code::LostInterrupt,
        ["lost-interrupt", "lost-interrupt-near-miss"],
        [
            "The device returns a buffer and its interrupt gets lost; with event indices there is \
             no other.",
            "An interrupt comes most of a second late.",
        ],
        [
            || Setup::faulty("drop-interrupt:from=8,times=1"),
            || Setup::faulty("late-interrupt:from=8,times=1,ms=400"),
        ],
        [one_hangs, all_is_well],
    ),
    twins(
        Code::DeviceNotConsuming,
        ["device-not-consuming", "device-not-consuming-near-miss"],
        [
            "The device stops to take buffers, however often it is notified.",
            "The device takes no buffer for a while, and then goes on.",
        ],
        [
            || Setup::faulty("stop-consuming:at=8").by_flags(),
            || Setup::faulty("stop-consuming:at=8,ms=400").by_flags(),
        ],
        [several_hang, all_is_well],
    ),
    twins(
        Code::StuckRequest,
        ["stuck-request", "stuck-request-near-miss"],
        [
            "The device keeps a buffer for ever.",
            "The device keeps a buffer for a while.",
        ],
        [
            || Setup::faulty("never-return:at=8"),
            || Setup::faulty("delay:at=8,ms=400"),
        ],
        [one_hangs, all_is_well],
    ),
    twins(
        Code::TokenNeverReturned,
        ["token-never-returned", "token-never-returned-near-miss"],
        [
            "The device forgets one buffer and serves all others.",
            "The device keeps one buffer while it serves many others, and returns it then.",
        ],
        [
            || Setup::faulty("never-return:at=8").size(16),
            || Setup::faulty("delay:at=8,ms=400").size(16),
        ],
        [one_is_forgotten, others_go_on],
    ),
    twins(
        Code::ResetInFlight,
        ["reset-in-flight", "reset-in-flight-near-miss"],
        [
            "The device is taken away while it has a request.",
            "The device is taken away when its last request is back.",
        ],
        [
            || Setup::sound().slow_reads(1000, Duration::from_secs(5)),
            Setup::sound,
        ],
        [removed_with_a_read, removed_at_rest],
    ),
];

/// One thread asks until it hangs, and is let go after a while.
fn one_hangs(stage: &Stage<'_>) -> Result<(), ClientError> {
    scope(|scope| {
        scope.spawn(|| stage.ask_often(100, PAUSE));
        stage.pass(HANGING + Duration::from_millis(500));
        stage.remove();
    });
    Ok(())
}

/// One thread asks until it hangs, and others come a moment later.
fn one_is_helped(stage: &Stage<'_>) -> Result<(), ClientError> {
    scope(|scope| {
        let asking = scope.spawn(|| stage.ask_often(40, PAUSE));
        while !asking.is_finished() && !stage.over() {
            stage.pass(Duration::from_millis(300));
            stage.ask()?;
        }
        Ok(())
    })
}

fn all_is_well(stage: &Stage<'_>) -> Result<(), ClientError> {
    stage.ask_often(40, PAUSE)
}

/// Several threads ask until they hang.
fn several_hang(stage: &Stage<'_>) -> Result<(), ClientError> {
    scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| stage.ask_often(100, PAUSE));
            stage.pass(Duration::from_millis(200));
        }
        stage.pass(HANGING);
        stage.remove();
    });
    Ok(())
}

/// One of three threads asks until it hangs, whichever it is, and the others go on.
fn one_is_forgotten(stage: &Stage<'_>) -> Result<(), ClientError> {
    scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| stage.ask_often(usize::MAX, Duration::from_millis(10)));
        }
        stage.pass(HANGING + Duration::from_secs(1));
        stage.remove();
    });
    Ok(())
}

/// Requests for some seconds, at a pace that leaves the machine to others.
fn others_go_on(stage: &Stage<'_>) -> Result<(), ClientError> {
    scope(|scope| {
        let one = scope.spawn(|| stage.ask_often(300, Duration::from_millis(10)));
        stage.ask_often(300, Duration::from_millis(10))?;
        one.join().unwrap_or(Ok(()))
    })
}

fn removed_with_a_read(stage: &Stage<'_>) -> Result<(), ClientError> {
    let fid = stage.file("slow", 4096)?;
    scope(|scope| {
        scope.spawn(|| stage.client.read(fid, 0, 4096));
        stage.pass(Duration::from_millis(200));
        stage.remove();
    });
    Ok(())
}

fn removed_at_rest(stage: &Stage<'_>) -> Result<(), ClientError> {
    stage.ask_often(10, PAUSE)?;
    stage.remove();
    Ok(())
}
