//! Whatever stands in the driver's areas: no panic, no endless loop, and no chain
//! that breaks a rule.

use proptest::prelude::*;
use virtscope_device::queue::{Chain, DriverFault};
use virtscope_driver::ring::Features;
use virtscope_record::Layout;

use super::use_descriptors_again;
use crate::harness::words::{self, set};
use crate::harness::{Plan, Ring, Word};

fn plans() -> impl Strategy<Value = Plan> {
    let features = (any::<bool>(), any::<bool>(), any::<bool>());
    (any::<bool>(), 0..4u32, 1..9u16, features).prop_map(|(split, power, entries, features)| {
        let (event_idx, indirect, in_order) = features;
        Plan {
            layout: if split { Layout::Split } else { Layout::Packed },
            entries: if split { 1 << power } else { entries },
            features: Features {
                event_idx,
                indirect,
                in_order,
            },
            tables: 4,
        }
    })
}

/// What a word may say: something that could be meant, or anything.
fn value(word: Word, small: u64, wild: u64, ring: &Ring) -> u64 {
    let near = small % 10;
    match (word.bytes, word.offset % 16) {
        (8, 0) => match small % 4 {
            0 => ring.tables.0 + 16 * near,
            1 => wild,
            _ => ring.buffers.0 + near,
        },
        // A length, and flags or a next in each of the other two places.
        (8, _) => {
            let flags = (wild >> 8) & 7 | (wild >> 4) & 0x8080;
            let third = if ring.plan.layout == Layout::Split {
                near
            } else {
                flags
            };
            let second = if ring.plan.layout == Layout::Split {
                flags
            } else {
                near
            };
            (16 * (near % 4)) | second << 32 | third << 48
        }
        _ if small.is_multiple_of(5) => wild,
        _ => near,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: if cfg!(miri) { 2 } else { 3000 },
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_driver_areas_are_survived(
        plan in plans(),
        steps in proptest::collection::vec((any::<u16>(), any::<u16>(), any::<u64>(), 0..12u8), 1..80),
    ) {
        let mut ring = Ring::new(plan);
        let words = words::all(plan);
        let mut held: Vec<Chain> = Vec::new();
        let mut round = 0u16;
        for (at, small, wild, then) in steps {
            let word = words[usize::from(at) % words.len()];
            let lie = set(word, value(word, small.into(), wild, &ring));
            if wild.is_multiple_of(3) {
                ring.watch.write(lie);
            }
            match then {
                0..4 => match ring.device.take() {
                    Ok(Some(chain)) => {
                        prop_assert!(chain.readable.len() + chain.writable.len() > 0);
                        held.push(chain);
                        let descriptors = held.iter().map(|chain| u32::from(chain.descriptors));
                        prop_assert!(descriptors.sum::<u32>() <= plan.entries.into());
                    }
                    Ok(None) => {}
                    Err(fault) => {
                        let again: Result<_, DriverFault> = ring.device.take();
                        prop_assert_eq!(again, Err(fault));
                    }
                },
                4 if !held.is_empty() => {
                    for chain in held.drain(..) {
                        ring.device.stage_used(&chain, chain.writable_bytes());
                    }
                    ring.device.publish_used();
                }
                5 if !held.is_empty() => {
                    // Out of its turn, and in part.
                    let chain = held.swap_remove(usize::from(small) % held.len());
                    ring.device.put_used(&chain, chain.writable_bytes() / 2);
                    // In order it may wait for one that is still held.
                    if plan.features.in_order {
                        for chain in held.drain(..) {
                            ring.device.put_used(&chain, 0);
                        }
                    }
                }
                6 => {
                    ring.device.should_interrupt();
                }
                // Whole rounds of good buffers, as often as the driver likes.
                7..10 if plan.entries.is_multiple_of(2) => {
                    use_descriptors_again(&mut ring, round);
                    round = round.wrapping_add(1);
                }
                _ => {
                    ring.device.disable_kicks();
                    ring.device.enable_kicks();
                }
            }
        }
        ring.assert_untouched();
    }
}
