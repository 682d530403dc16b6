//! Which features are accepted (virtio 1.4 §2.2.1, §6).

use proptest::prelude::*;
use virtscope_driver::bus::{DriverFeatures, InitError, RING_FEATURES, choose};
use virtscope_record::FeatureBits;

const NONE: FeatureBits = FeatureBits(0);
const ALL: FeatureBits = FeatureBits(u64::MAX);

fn bit(bit: u32) -> FeatureBits {
    FeatureBits(1 << bit)
}

/// A driver that would take anything.
const GREEDY: DriverFeatures = DriverFeatures {
    required: NONE,
    optional: ALL,
    dependencies: &[],
};

// Shows: driver/6.1/1, driver/6.1/5, driver/2.2.1/2
#[test]
fn what_the_rings_know_is_accepted_when_offered() {
    let driver = DriverFeatures::all_rings(NONE);
    assert_eq!(choose(ALL, ALL, &driver), Ok(RING_FEATURES));
    for feature in [28, 29, 34, 35, 38, 40].map(bit) {
        let offered = feature.union(FeatureBits::VERSION_1);
        assert_eq!(choose(offered, ALL, &driver), Ok(offered));
    }
}

/// Bits that nobody may accept here: reserved ones, those of legacy devices, those of
/// PCI, and those whose meaning is not implemented.
// Shows: driver/2.2.1/3, driver/2.2.1/4, driver/2.2.1/8, driver/6.3/1, driver/6.1/9
// Shows: device/2.2.2/3, device/6.2/9
#[test]
fn reserved_and_unknown_features_are_ignored_even_if_a_driver_wants_them() {
    let accepted = choose(ALL, ALL, &GREEDY).unwrap();
    // 24 to 27 and 30 to 31: reserved, or legacy; 33 ACCESS_PLATFORM, 36
    // ORDER_PLATFORM, 37 SR_IOV, 39 NOTIF_CONFIG_DATA, 41 ADMIN_VQ, 43 SUSPEND, 44 to
    // 49 reserved.
    let never = [
        24, 25, 26, 27, 30, 31, 33, 36, 37, 39, 41, 43, 44, 45, 46, 47, 48, 49,
    ];
    for feature in never {
        assert_eq!(accepted.intersection(bit(feature)), NONE, "{feature}");
    }
    // All others are either the rings' or the device type's.
    for feature in (0..64).filter(|feature| !never.contains(feature)) {
        assert_eq!(
            accepted.intersection(bit(feature)),
            bit(feature),
            "{feature}"
        );
    }
}

// Shows: driver/2.2.1/6
#[test]
fn features_of_the_device_type_are_accepted_if_the_driver_knows_them() {
    let driver = DriverFeatures {
        required: bit(3),
        optional: bit(23).union(bit(50)),
        dependencies: &[],
    };
    let accepted = choose(ALL, ALL, &driver).unwrap();
    let expected = bit(3).union(bit(23)).union(bit(50));
    assert_eq!(accepted, expected.union(FeatureBits::VERSION_1));
}

// Shows: driver/2.2.1/5
#[test]
fn features_that_the_transport_has_no_means_for_are_ignored() {
    let driver = DriverFeatures::all_rings(NONE);
    let needy = FeatureBits::NOTIFICATION_DATA.union(FeatureBits::RING_RESET);
    let accepted = choose(ALL, NONE, &driver).unwrap();
    assert_eq!(accepted, RING_FEATURES.difference(needy));
    let accepted = choose(ALL, FeatureBits::RING_RESET, &driver).unwrap();
    assert_eq!(accepted.intersection(needy), FeatureBits::RING_RESET);
}

/// 5 needs 4, 4 needs 3 and 2; listed in the order that is worst to work through.
const CHAIN: DriverFeatures = DriverFeatures {
    required: NONE,
    optional: FeatureBits(0b11_1100),
    dependencies: &[
        (FeatureBits(1 << 5), FeatureBits(1 << 4)),
        (FeatureBits(1 << 4), FeatureBits(1 << 3 | 1 << 2)),
    ],
};

// Shows: driver/2.2.1/1, device/2.2.2/1
#[test]
fn a_feature_without_what_it_requires_is_not_accepted() {
    let choose_of = |bits: u64| {
        let offered = FeatureBits(bits).union(FeatureBits::VERSION_1);
        let accepted = choose(offered, ALL, &CHAIN).unwrap();
        accepted.difference(FeatureBits::VERSION_1).0
    };
    assert_eq!(choose_of(0b11_1100), 0b11_1100);
    assert_eq!(choose_of(0b11_1000), 0b00_1000);
    assert_eq!(choose_of(0b10_1100), 0b00_1100);
    assert_eq!(choose_of(0b11_0100), 0b00_0100);
    // Where the driver can't do without it, the device is none for it.
    let strict = DriverFeatures {
        required: bit(5),
        ..CHAIN
    };
    let offered = FeatureBits(0b11_1000).union(FeatureBits::VERSION_1);
    let missing = bit(5);
    assert_eq!(
        choose(offered, ALL, &strict),
        Err(InitError::MissingFeatures { missing })
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 16 } else { 1000 }, ..ProptestConfig::default() })]
    // Shows: driver/2.2.1/1, driver/6.1/1, driver/2.2.1/8
    /// Whatever is offered: nothing is accepted that was not, nothing that the driver
    /// does not know, nothing without what it requires; and it fails only for want of
    /// what it needs.
    #[test]
    fn the_choice_keeps_the_rules(offered: u64, transport: u64, optional: u64, required in 0u64..64) {
        let offered = FeatureBits(offered);
        let driver = DriverFeatures {
            required: FeatureBits(required),
            optional: FeatureBits(optional),
            ..CHAIN
        };
        match choose(offered, FeatureBits(transport), &driver) {
            Ok(accepted) => {
                prop_assert!(offered.contains(accepted));
                prop_assert!(accepted.contains(FeatureBits::VERSION_1));
                prop_assert!(accepted.contains(driver.required));
                let known = driver.required.union(driver.optional).union(FeatureBits::VERSION_1);
                prop_assert!(known.contains(accepted));
                for (feature, needs) in CHAIN.dependencies {
                    prop_assert!(!accepted.contains(*feature) || accepted.contains(*needs));
                }
            }
            Err(InitError::MissingFeatures { missing }) => {
                prop_assert!(missing != NONE);
                let needed = driver.required.union(FeatureBits::VERSION_1);
                prop_assert!(needed.contains(missing));
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
