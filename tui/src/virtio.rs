//! Names of features: virtio 1.4 §6, and the sections of single devices.

/// Features of any device (virtio 1.4 §6), by their bits.
const COMMON: [(u32, &str); 15] = [
    (24, "NOTIFY_ON_EMPTY"),
    (27, "ANY_LAYOUT"),
    (28, "INDIRECT_DESC"),
    (29, "EVENT_IDX"),
    (32, "VERSION_1"),
    (33, "ACCESS_PLATFORM"),
    (34, "RING_PACKED"),
    (35, "IN_ORDER"),
    (36, "ORDER_PLATFORM"),
    (37, "SR_IOV"),
    (38, "NOTIFICATION_DATA"),
    (39, "NOTIF_CONFIG_DATA"),
    (40, "RING_RESET"),
    (41, "ADMIN_VQ"),
    (43, "SUSPEND"),
];

/// virtio 1.4 §5.1.3.
const NETWORK: [(u32, &str); 36] = [
    (0, "CSUM"),
    (1, "GUEST_CSUM"),
    (2, "CTRL_GUEST_OFFLOADS"),
    (3, "MTU"),
    (5, "MAC"),
    (6, "GSO"),
    (7, "GUEST_TSO4"),
    (8, "GUEST_TSO6"),
    (9, "GUEST_ECN"),
    (10, "GUEST_UFO"),
    (11, "HOST_TSO4"),
    (12, "HOST_TSO6"),
    (13, "HOST_ECN"),
    (14, "HOST_UFO"),
    (15, "MRG_RXBUF"),
    (16, "STATUS"),
    (17, "CTRL_VQ"),
    (18, "CTRL_RX"),
    (19, "CTRL_VLAN"),
    (20, "CTRL_RX_EXTRA"),
    (21, "GUEST_ANNOUNCE"),
    (22, "MQ"),
    (23, "CTRL_MAC_ADDR"),
    (50, "DEVICE_STATS"),
    (51, "HASH_TUNNEL"),
    (52, "VQ_NOTF_COAL"),
    (53, "NOTF_COAL"),
    (54, "GUEST_USO4"),
    (55, "GUEST_USO6"),
    (56, "HOST_USO"),
    (57, "HASH_REPORT"),
    (59, "GUEST_HDRLEN"),
    (60, "RSS"),
    (61, "RSC_EXT"),
    (62, "STANDBY"),
    (63, "SPEED_DUPLEX"),
];

/// virtio 1.4 §5.2.3.
const BLOCK: [(u32, &str); 16] = [
    (0, "BARRIER"),
    (1, "SIZE_MAX"),
    (2, "SEG_MAX"),
    (4, "GEOMETRY"),
    (5, "RO"),
    (6, "BLK_SIZE"),
    (7, "SCSI"),
    (9, "FLUSH"),
    (10, "TOPOLOGY"),
    (11, "CONFIG_WCE"),
    (12, "MQ"),
    (13, "DISCARD"),
    (14, "WRITE_ZEROES"),
    (15, "LIFETIME"),
    (16, "SECURE_ERASE"),
    (17, "ZONED"),
];

/// The name of the 9P transport's one feature (virtio 1.4 §5, Linux `virtio_9p.h`).
const P9: [(u32, &str); 1] = [(0, "MOUNT_TAG")];
/// virtio 1.4 §5.3.3.
const CONSOLE: [(u32, &str); 3] = [(0, "SIZE"), (1, "MULTIPORT"), (2, "EMERG_WRITE")];

/// The names of `features`, of a device of that type: the ring's first, then the
/// device's own. What has no name here is called by its bit.
pub(crate) fn features(device_type: u32, features: u64, more: u64) -> Vec<String> {
    let own: &[(u32, &str)] = match device_type {
        1 => &NETWORK,
        2 => &BLOCK,
        3 => &CONSOLE,
        9 => &P9,
        _ => &[],
    };
    let is_set = |bit: u32| features >> bit & 1 == 1;
    let named = COMMON.iter().chain(own).filter(|(bit, _)| is_set(*bit));
    let mut names: Vec<String> = named.map(|(_, name)| (*name).to_owned()).collect();
    let is_named = |bit| COMMON.iter().chain(own).any(|(named, _)| *named == bit);
    let nameless = (0..64).filter(|bit| is_set(*bit) && !is_named(*bit));
    let further = (0..64)
        .filter(|bit| more >> bit & 1 == 1)
        .map(|bit| bit + 64);
    names.extend(nameless.chain(further).map(|bit| format!("bit {bit}")));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_have_names_or_numbers() {
        let ring = 1 << 28 | 1 << 29 | 1 << 32;
        assert_eq!(
            features(9, ring | 1, 0),
            ["INDIRECT_DESC", "EVENT_IDX", "VERSION_1", "MOUNT_TAG"]
        );
        assert_eq!(
            features(2, 1 << 9 | 1 << 50, 2),
            ["FLUSH", "bit 50", "bit 65"]
        );
        assert_eq!(features(99, 0, 0), [] as [String; 0]);
    }
}
