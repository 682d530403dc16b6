//! The device goes on returning buffers while the driver detaches them.

use rstest::rstest;
use virtscope_driver::ring::Violation;
use virtscope_record::Layout;

use crate::harness::words::{USED_IDX, set, set_tail, used_id, used_len};
use crate::harness::{Plan, Ring, Shape};
use crate::moment::{PACKED, SPLIT};

/// In order, with four buffers in flight over the end of the ids, so that the one
/// detached first, under the lowest id, is not the oldest. Whatever the device then
/// returns, the driver gives no buffer but those left, each once.
#[rstest]
#[case::split(SPLIT.indirect().in_order())]
#[case::split_event_idx(SPLIT.indirect().in_order().event_idx())]
#[case::packed(PACKED.indirect().in_order())]
#[case::packed_event_idx(PACKED.indirect().in_order().event_idx())]
fn a_batch_with_holes_is_no_batch(#[case] plan: Plan) {
    for detached in 0..=4 {
        for id in 0..10 {
            // Miri is slow: there two of them.
            if cfg!(miri) && (detached, id) != (1, 6) && (detached, id) != (2, 8) {
                continue;
            }
            let mut ring = Ring::new(plan);
            ring.rounds(6, Shape::PAIR);
            for token in 1..=4 {
                ring.add(token, Shape::PAIR).unwrap();
            }
            // Heads and ids 6, 7, 0, 1: tokens 3 and 4 are taken out first.
            for token in [3, 4, 1, 2].into_iter().take(detached) {
                assert_eq!(ring.detach(), Some(token));
            }
            match plan.layout {
                Layout::Split => {
                    ring.watch.write(set(used_id(6), id));
                    ring.watch.write(set(used_len(6), 3));
                    ring.watch.write(set(USED_IDX, 6 + 4 - detached as u64));
                }
                Layout::Packed => {
                    ring.watch.write(set_tail(6, id as u16, 3, 0x8082));
                }
            }
            // Each get is judged by the ring; there is an end to them.
            let got = (0..5).map(|_| ring.get()).collect::<Vec<_>>();
            let used = got.iter().filter(|one| matches!(one, Ok(Some(_)))).count();
            assert!(used <= 4 - detached, "{used} of {} came back", 4 - detached);
            if id >= 8 && detached < 4 {
                let violation = Violation::IdOutOfRange {
                    id: id as u32,
                    size: 8,
                };
                assert_eq!(got[0].map_err(|error| error.violation), Err(violation));
            }
            ring.finish();
        }
    }
}
