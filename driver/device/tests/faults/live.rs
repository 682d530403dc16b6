//! A device on a thread of its own, whose faults only make it slow and noisy:
//! everything gets done all the same.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rstest::rstest;
use virtscope_device::fault::{FaultKind, FaultLog, FaultyQueue, RealClock};
use virtscope_driver::event::Signal;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::memory::{Segment, SharedQueueMemory};
use virtscope_record::{Layout, Token};

use super::common::{Plan, Rig};
use super::{SIZE, WRITABLE, features};

const BUFFERS: u64 = if cfg!(miri) { 8 } else { 400 };
/// Nothing takes this long but an interrupt that never comes.
const FOREVER: Duration = Duration::from_secs(60);
const PLAN: &str = "slow-start:ms=3; delay:every=9,ms=2; reorder:every=4,window=3,ms=2; \
    late-interrupt:every=5,ms=1; spurious-interrupt:every=6; storm-interrupts:every=7,count=3; \
    short-length:every=8,by=2";

#[derive(Default)]
struct Lines {
    kick: Signal,
    interrupt: Signal,
    stop: AtomicBool,
}

/// Stops the device's thread, also when an assertion fails.
struct Stop<'a>(&'a Lines);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
        self.0.kick.set();
    }
}

fn serve(mut device: FaultyQueue<SharedQueueMemory, NoInstrument>, lines: &Lines) {
    while !lines.stop.load(Ordering::Acquire) {
        device.disable_kicks();
        loop {
            if device.returned_unsignalled() > 0 {
                if device.should_interrupt() {
                    lines.interrupt.set();
                }
            } else if let Some(chain) = device.take().unwrap() {
                device.put_used(&chain, WRITABLE);
            } else {
                break;
            }
        }
        if device.enable_kicks() {
            let longest = device.next_due().unwrap_or(FOREVER);
            lines.kick.wait_timeout(longest);
        }
    }
}

/// Returns the log, and what the driver got back as written, all together.
fn drive(layout: Layout, event_idx: bool, in_order: bool) -> (FaultLog, u64) {
    let mut plan = Plan::new(layout, SIZE);
    plan.features = features(event_idx, in_order);
    let rig = Rig::<NoInstrument, u64>::new(plan, NoInstrument, NoInstrument);
    let faults = PLAN.parse().unwrap();
    let device = FaultyQueue::new(rig.device, &faults, RealClock::new());
    let (log, lines, mut driver) = (device.log(), Lines::default(), rig.driver);
    let writable = [Segment {
        address: rig.buffers,
        len: WRITABLE,
    }];
    let (mut added, mut back, mut written) = (0, 0, 0);
    std::thread::scope(|scope| {
        let _stop = Stop(&lines);
        scope.spawn(|| serve(device, &lines));
        while back < BUFFERS {
            while added < BUFFERS && driver.free_descriptors() > 0 {
                driver.add_inbuf(&writable, Token(added), added).unwrap();
                added += 1;
            }
            if driver.kick_prepare() {
                lines.kick.set();
            }
            let before = back;
            while let Some(used) = driver.get_buf().unwrap() {
                back += 1;
                written += u64::from(used.written);
            }
            // Without room for more, or anything that came: only an interrupt helps.
            if back == before && driver.enable_callbacks() {
                let came = lines.interrupt.wait_timeout(FOREVER);
                assert!(came, "{back} of {added} came back");
            }
        }
    });
    (log, written)
}

#[rstest]
fn slow_and_noisy_is_not_broken(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
    #[values(false, true)] in_order: bool,
) {
    let (log, written) = drive(layout, event_idx, in_order);
    let entries = log.entries();
    assert_eq!(entries.len() as u64, log.total());
    let times = |kind| entries.iter().filter(|entry| entry.kind == kind).count() as u64;
    assert_eq!(times(FaultKind::SlowStart), 1);
    assert_eq!(times(FaultKind::Delay), BUFFERS / 9);
    assert_eq!(times(FaultKind::Reorder), BUFFERS / 4);
    assert_eq!(times(FaultKind::SpuriousInterrupt), BUFFERS / 6);
    let short = times(FaultKind::ShortLength);
    assert_eq!(short, BUFFERS / 8);
    assert_eq!(written, BUFFERS * u64::from(WRITABLE) - 2 * short);
}
