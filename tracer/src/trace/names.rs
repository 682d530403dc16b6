//! Which queues are meant by their names.

use virtscope_tracer_shared::{MAX_FILTERED_DEVICES, MAX_FILTERED_QUEUES};

use super::error::TraceError;
use super::options::{QueueFilter, QueueName, TraceOptions};
use crate::walk::Device;

/// `options` with the queues of its names instead of these; `devices` says which devices
/// there are.
///
/// # Errors
/// No queue has one of the names, or it is more than the programs can look for.
pub(super) fn resolved(
    options: &TraceOptions,
    devices: impl FnOnce() -> Result<Vec<Device>, String>,
) -> Result<TraceOptions, TraceError> {
    let mut resolved = options.clone();
    if let Some(name) = options.names.first() {
        let devices = devices().map_err(|why| TraceError::Names {
            name: name.clone(),
            why,
        })?;
        for name in resolved.names.drain(..) {
            resolved.queues.extend(called(&name, options, &devices)?);
        }
    }
    check("devices", resolved.devices.len(), MAX_FILTERED_DEVICES)?;
    check("queues", resolved.queues.len(), MAX_FILTERED_QUEUES)?;
    Ok(resolved)
}

fn check(what: &'static str, count: usize, most: usize) -> Result<(), TraceError> {
    if count > most {
        return Err(TraceError::TooMany { what, count, most });
    }
    Ok(())
}

/// The queues of that name, on the devices that are asked for: a device may have several,
/// and several devices may have one.
fn called(
    wanted: &QueueName,
    options: &TraceOptions,
    devices: &[Device],
) -> Result<Vec<QueueFilter>, TraceError> {
    let asked_for = || {
        devices.iter().filter(|device| {
            let by_number = options.devices.is_empty() || options.devices.contains(&device.index);
            let mut driver = options.driver.iter();
            by_number && driver.all(|wanted| device.driver.as_ref() == Some(wanted))
        })
    };
    let mut found = Vec::new();
    let mut there = Vec::new();
    for device in asked_for() {
        for queue in &device.queues {
            let is_device = wanted.device.is_none_or(|number| number == device.index);
            if is_device && queue.name.as_ref() == Some(&wanted.name) {
                found.push(QueueFilter {
                    device: Some(device.index),
                    index: queue.index,
                });
            }
            let index = queue.index.to_string();
            let name = queue.name.as_ref().unwrap_or(&index);
            there.push(format!("{}/{name}", device.name));
        }
    }
    if found.is_empty() {
        there.dedup();
        return Err(TraceError::NoQueue {
            name: wanted.clone(),
            there: match there.is_empty() {
                true => "none".to_owned(),
                false => there.join(", "),
            },
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::QueueChoice;
    use crate::walk::Saved;

    /// A guest with 9P, a disk and a network card.
    fn devices() -> Vec<Device> {
        let saved = include_bytes!("../../tests/images/6.1-split.txt");
        let saved = Saved::read(&saved[..]).unwrap();
        saved.walk().devices().unwrap()
    }

    fn resolve(choices: &[&str], options: TraceOptions) -> Result<TraceOptions, String> {
        let mut options = options;
        for choice in choices {
            match choice.parse().unwrap() {
                QueueChoice::Index(filter) => options.queues.push(filter),
                QueueChoice::Name(name) => options.names.push(name),
            }
        }
        resolved(&options, || Ok(devices())).map_err(|error| error.to_string())
    }

    fn raw(options: &TraceOptions) -> Vec<u32> {
        options.queues.iter().map(|queue| queue.to_raw()).collect()
    }

    #[test]
    fn names_are_the_queues_that_have_them_now() {
        let all = TraceOptions::default;
        let chosen = resolve(&["requests", "1", "virtio2/input.0"], all()).unwrap();
        assert_eq!(raw(&chosen), [0xffff_0001, 0x0000_0000, 0x0002_0000]);
        assert_eq!(chosen.names, []);
        let nobody = resolve(&["nothing"], all()).unwrap_err();
        assert!(
            nobody.starts_with("there is no queue `nothing`; there is virtio0/requests, virtio1/"),
            "{nobody}"
        );
        assert!(nobody.contains("virtio2/input.0"), "{nobody}");
        // Another device has it.
        assert!(resolve(&["virtio1/requests"], all()).is_err());
    }

    #[test]
    fn only_devices_that_are_asked_for_have_names() {
        let disk = TraceOptions {
            devices: vec![1],
            ..TraceOptions::default()
        };
        let error = resolve(&["requests"], disk).unwrap_err();
        assert!(!error.contains("virtio0"), "{error}");
        let driver = |name: &str| TraceOptions {
            driver: Some(name.to_owned()),
            ..TraceOptions::default()
        };
        assert!(resolve(&["requests"], driver("9pnet_virtio")).is_ok());
        let error = resolve(&["requests"], driver("virtio_scsi")).unwrap_err();
        assert!(error.ends_with("there is none"), "{error}");
    }

    #[test]
    fn what_cannot_be_looked_up_or_looked_for_is_an_error() {
        let name = QueueName {
            device: None,
            name: "requests".to_owned(),
        };
        let options = TraceOptions {
            names: vec![name],
            ..TraceOptions::default()
        };
        let error = resolved(&options, || Err("no bus".to_owned())).unwrap_err();
        assert!(error.to_string().contains("no bus"), "{error}");
        // Where no name is asked for nobody looks.
        let never = || panic!("nothing to look for");
        assert!(resolved(&TraceOptions::default(), never).is_ok());
        let queue = QueueFilter {
            device: None,
            index: 0,
        };
        let many = |count| TraceOptions {
            queues: vec![queue; count],
            ..TraceOptions::default()
        };
        assert!(resolved(&many(32), never).is_ok());
        let error = resolved(&many(33), never).unwrap_err().to_string();
        assert!(
            error.contains("33 queues to choose, and 32 can be"),
            "{error}"
        );
    }
}
