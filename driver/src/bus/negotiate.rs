//! Which features a driver accepts (virtio 1.4 §2.2.1, §6): all rules in one place.

use virtscope_record::FeatureBits;

use super::InitError;

/// The device-independent features that the rings and transports here know how to
/// handle (virtio 1.4 §6; Linux `vring_transport_features`). No other bit of those
/// reserved for queues and negotiation is ever accepted.
pub const RING_FEATURES: FeatureBits = FeatureBits::VERSION_1
    .union(FeatureBits::INDIRECT_DESC)
    .union(FeatureBits::EVENT_IDX)
    .union(FeatureBits::RING_PACKED)
    .union(FeatureBits::IN_ORDER)
    .union(FeatureBits::NOTIFICATION_DATA)
    .union(FeatureBits::RING_RESET);

/// Those of them that need something of the transport.
const TRANSPORT_FEATURES: FeatureBits =
    FeatureBits::NOTIFICATION_DATA.union(FeatureBits::RING_RESET);

/// Feature bits for the specific device type: 0 to 23, 41, 42, and 50 on (virtio 1.4
/// §2.2). Bit 41 is left out because `VIRTIO_F_ADMIN_VQ` has taken it, for PCI only
/// (§6).
pub const DEVICE_TYPE_FEATURES: FeatureBits = FeatureBits(0x00ff_ffff | 1 << 42 | !((1 << 50) - 1));

/// What a driver knows of its device type's features (Linux `feature_table`).
#[derive(Clone, Copy, Debug)]
pub struct DriverFeatures {
    /// Those it can't do without.
    pub required: FeatureBits,
    /// Those it makes use of where they are offered, device-independent ones
    /// included.
    pub optional: FeatureBits,
    /// Features that require others: each pair the feature and all it needs (as in
    /// virtio 1.4 §5.1.3.1).
    pub dependencies: &'static [(FeatureBits, FeatureBits)],
}

impl DriverFeatures {
    /// A driver that understands all that the rings do, and needs `required` of its
    /// device type.
    pub const fn all_rings(required: FeatureBits) -> Self {
        Self {
            required,
            optional: RING_FEATURES,
            dependencies: &[],
        }
    }
}

/// The features to accept of those that a device has `offered` over a transport that
/// supports `transport`.
///
/// # Errors
/// A feature that the driver needs is not offered, or lacks another that it requires.
pub fn choose(
    offered: FeatureBits,
    transport: FeatureBits,
    driver: &DriverFeatures,
) -> Result<FeatureBits, InitError> {
    // A device without it is a legacy one, which is not spoken to here (virtio 1.4
    // §6.1).
    let required = driver.required.union(FeatureBits::VERSION_1);
    // Reserved bits are not accepted even if a driver asks for them.
    let unsupported = TRANSPORT_FEATURES.difference(transport);
    let understood = required
        .union(driver.optional)
        .intersection(RING_FEATURES.union(DEVICE_TYPE_FEATURES))
        .difference(unsupported);
    let mut accepted = offered.intersection(understood);
    // A feature that falls may take others with it. Each round but the last drops at
    // least one pair's feature, so there are no more rounds than pairs.
    for _ in 0..driver.dependencies.len() {
        for (feature, needs) in driver.dependencies {
            if !accepted.contains(*needs) {
                accepted = accepted.difference(*feature);
            }
        }
    }
    let missing = required.difference(accepted);
    if missing != FeatureBits::default() {
        return Err(InitError::MissingFeatures { missing });
    }
    Ok(accepted)
}
