//! The same devices, as `/sys/bus/virtio` has them: what another part of the kernel says.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use super::Device;

/// Where Linux lists its virtio devices. No privileges are needed.
pub const SYSFS: &str = "/sys/bus/virtio/devices";

/// What is not the same in the kernel's memory and in sysfs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Difference {
    /// The device.
    pub device: String,
    /// What differs, in words.
    pub what: String,
}

/// Compares `devices` with the directory `sysfs` ([`SYSFS`]): which there are, their
/// types, drivers and features.
///
/// # Errors
/// If the directory cannot be read. A device that goes meanwhile is a difference.
pub fn compare(devices: &[Device], sysfs: &Path) -> io::Result<Vec<Difference>> {
    let mut shown = BTreeMap::new();
    for entry in fs::read_dir(sysfs)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        shown.insert(name, entry.path());
    }
    let mut differences = Vec::new();
    let mut differs = |device: &str, what: String| {
        differences.push(Difference {
            device: device.to_owned(),
            what,
        });
    };
    for device in devices {
        let Some(path) = shown.remove(&device.name) else {
            differs(&device.name, "sysfs does not have it".to_owned());
            continue;
        };
        if let Some(theirs) = hexadecimal(&path.join("device"))
            && theirs != device.device_type
        {
            let ours = device.device_type;
            differs(&device.name, format!("type {ours}, in sysfs {theirs}"));
        }
        let theirs = driver(&path);
        if theirs != device.driver {
            let ours = device.driver.as_deref().unwrap_or("none");
            let theirs = theirs.as_deref().unwrap_or("none");
            differs(&device.name, format!("driver {ours}, in sysfs {theirs}"));
        }
        if let Some(theirs) = features(&path.join("features"))
            && theirs != device.features
        {
            let ours = device.features;
            differs(
                &device.name,
                format!("features {ours:#x}, in sysfs {theirs:#x}"),
            );
        }
    }
    for name in shown.keys() {
        differs(name, "only sysfs has it".to_owned());
    }
    differences.sort();
    Ok(differences)
}

fn hexadecimal(path: &Path) -> Option<u32> {
    let text = fs::read_to_string(path).ok()?;
    u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}

/// The first 64 features: sysfs has one digit a bit, the lowest first.
fn features(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let digits = text.trim().bytes().take(64).enumerate();
    let mut bits = 0;
    for (bit, digit) in digits {
        match digit {
            b'1' => bits |= 1 << bit,
            b'0' => {}
            _ => return None,
        }
    }
    Some(bits)
}

/// The devices that `sysfs` has, without their queues: what can be had without
/// privileges.
///
/// # Errors
/// If the directory cannot be read.
pub fn shown(sysfs: &Path) -> io::Result<Vec<Device>> {
    let mut devices = Vec::new();
    for entry in fs::read_dir(sysfs)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(index) = name.strip_prefix("virtio").and_then(|n| n.parse().ok()) else {
            continue;
        };
        let path = entry.path();
        let parent = fs::canonicalize(&path).ok().and_then(|real| {
            let parent = real.parent()?.file_name()?;
            Some(parent.to_string_lossy().into_owned())
        });
        devices.push(Device {
            name,
            index,
            driver: driver(&path),
            parent,
            device_type: hexadecimal(&path.join("device")).unwrap_or_default(),
            vendor: hexadecimal(&path.join("vendor")).unwrap_or_default(),
            features: features(&path.join("features")).unwrap_or_default(),
            more_features: 0,
            address: 0,
            queues: Vec::new(),
        });
    }
    devices.sort_by_key(|device| device.index);
    Ok(devices)
}

fn driver(device: &Path) -> Option<String> {
    let link = fs::read_link(device.join("driver")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}
