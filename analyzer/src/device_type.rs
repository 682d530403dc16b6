//! Names of device types: virtio 1.4 §5.

/// What a device of this type is; of a type without a name its number.
pub fn device_type(number: u32) -> String {
    match name(number) {
        Some(name) => name.to_owned(),
        None => format!("device type {number}"),
    }
}

fn name(number: u32) -> Option<&'static str> {
    Some(match number {
        1 => "network device",
        2 => "block device",
        3 => "console",
        4 => "entropy source",
        5 | 13 => "memory balloon",
        6 => "ioMemory",
        7 => "rpmsg",
        8 => "SCSI host",
        9 => "9P transport",
        10 => "mac80211 wlan",
        11 => "rproc serial",
        12 => "CAIF",
        16 => "GPU device",
        17 => "clock device",
        18 => "input device",
        19 => "socket device",
        20 => "crypto device",
        21 => "signal distribution module",
        22 => "pstore device",
        23 => "IOMMU device",
        24 => "memory device",
        25 => "sound device",
        26 => "file system device",
        27 => "PMEM device",
        28 => "RPMB device",
        29 => "mac80211 hwsim wireless simulation device",
        30 => "video encoder device",
        31 => "video decoder device",
        32 => "SCMI device",
        33 => "Nitro secure module",
        34 => "I2C adapter",
        35 => "watchdog",
        36 => "CAN device",
        38 => "parameter server",
        39 => "audio policy device",
        40 => "Bluetooth device",
        41 => "GPIO device",
        42 => "RDMA device",
        43 => "camera device",
        44 => "ISM device",
        45 => "SPI controller",
        46 => "TEE device",
        47 => "CPU balloon device",
        48 => "media device",
        49 => "USB controller",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_types_have_names_or_numbers() {
        assert_eq!(device_type(2), "block device");
        assert_eq!(device_type(9), "9P transport");
        assert_eq!(device_type(0), "device type 0");
        assert_eq!(device_type(12_345), "device type 12345");
    }
}
