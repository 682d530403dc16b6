//! What is to be traced, and how much of it.

use std::str::FromStr;

use virtscope_record::{FRAME_LEN, QueueId};
use virtscope_tracer_shared::{PayloadMode, SMALL_SNAPLEN};

use super::error::TraceError;
use crate::ring::footprint;

/// What is to be traced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceOptions {
    /// Bytes of payload a record carries at most; up to
    /// [`SNAPLEN_LIMIT`](super::SNAPLEN_LIMIT).
    pub snaplen: u32,
    /// Which bytes.
    pub payload: PayloadMode,
    /// Of every so many requests one is kept; 1: all.
    pub sample: u32,
    /// Only requests that this process or thread adds.
    pub task: Option<u32>,
    /// Only these devices, by their numbers; empty: all.
    pub devices: Vec<u16>,
    /// Only these queues, and those of these `names`; both empty: all.
    pub queues: Vec<QueueFilter>,
    /// Only the queues that have these names when tracing begins.
    pub names: Vec<QueueName>,
    /// Only devices of this driver.
    pub driver: Option<String>,
    /// Bytes of the buffer between kernel and user space; a power of two and whole
    /// pages.
    pub buffer_bytes: u32,
    /// Have the kernel count how often and for how long the programs run. It reads its
    /// clock twice for each run then, of all programs on the machine.
    pub count_cost: bool,
    /// Never use fentry and fexit: what older kernels, and virtio as modules, do.
    pub kprobes_only: bool,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self {
            snaplen: 256,
            payload: PayloadMode::Headers,
            sample: 1,
            task: None,
            devices: Vec::new(),
            queues: Vec::new(),
            names: Vec::new(),
            driver: None,
            buffer_bytes: 16 << 20,
            count_cost: true,
            kprobes_only: false,
        }
    }
}

impl TraceOptions {
    /// Whether a record may carry more than there is memory for on each CPU.
    pub(super) fn is_whole(&self) -> bool {
        self.payload != PayloadMode::None && self.snaplen > SMALL_SNAPLEN
    }

    /// Whether the buffer has room for the longest records there may be, twice: with less,
    /// each of them would be lost that comes while another one waits to be read. (The kernel
    /// never fills a buffer to its last byte.)
    ///
    /// # Errors
    /// It has not.
    pub fn check(&self) -> Result<(), TraceError> {
        let needed = 2 * footprint(FRAME_LEN + self.snaplen as usize) as u64;
        if self.payload == PayloadMode::None || needed < u64::from(self.buffer_bytes) {
            return Ok(());
        }
        Err(TraceError::Buffer {
            snaplen: self.snaplen,
            buffer: self.buffer_bytes,
            needed: (needed + 1).next_power_of_two(),
        })
    }

    /// Whether the filters let the queue `id` through, whose device has this driver.
    pub fn wants(&self, id: QueueId, driver: Option<&str>) -> bool {
        let device = self.devices.is_empty() || self.devices.contains(&id.device);
        let queue = self.queues.is_empty()
            || self.queues.iter().any(|each| {
                each.index == id.index && each.device.is_none_or(|device| device == id.device)
            });
        let driver = match &self.driver {
            Some(wanted) => driver == Some(wanted),
            None => true,
        };
        device && queue && driver
    }
}

/// A queue by its index, on one device or on any: `0`, `virtio1.0`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueFilter {
    /// The device's number; `None`: any.
    pub device: Option<u16>,
    /// The queue's index.
    pub index: u16,
}

impl QueueFilter {
    /// As the programs take it.
    pub(super) fn to_raw(self) -> u32 {
        (u32::from(self.device.unwrap_or(u16::MAX)) << 16) | u32::from(self.index)
    }
}

/// A queue by the name that its driver gives it, on one device or on any: `requests`,
/// `virtio0/requests`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueName {
    /// The device's number; `None`: any.
    pub device: Option<u16>,
    /// The driver's name for the queue.
    pub name: String,
}

impl std::fmt::Display for QueueName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.device {
            Some(device) => write!(f, "virtio{device}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A queue as somebody writes it: by its index or by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QueueChoice {
    /// By its index.
    Index(QueueFilter),
    /// By its name.
    Name(QueueName),
}

/// A text that can be no queue.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{0}` names no queue: write its index, like 0 or virtio1.0, or its name, like requests or \
     virtio1/requests"
)]
pub struct ParseQueueError(String);

impl FromStr for QueueChoice {
    type Err = ParseQueueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseQueueError(text.to_owned());
        let (device, queue) = match text.split_once('/') {
            Some((device, queue)) => (Some(device_number(device).ok_or_else(wrong)?), queue),
            None => (None, text),
        };
        if let Ok(index) = queue.parse() {
            return Ok(Self::Index(QueueFilter { device, index }));
        }
        if let (None, Ok(id)) = (device, queue.parse::<QueueId>()) {
            let device = Some(id.device).filter(|device| *device != u16::MAX);
            return Ok(Self::Index(QueueFilter {
                device: Some(device.ok_or_else(wrong)?),
                index: id.index,
            }));
        }
        // No driver calls a queue by a number, or like a device.
        let is_number = queue.bytes().all(|byte| byte.is_ascii_digit());
        if is_number || device_number(queue).is_some() {
            return Err(wrong());
        }
        Ok(Self::Name(QueueName {
            device,
            name: queue.to_owned(),
        }))
    }
}

fn device_number(text: &str) -> Option<u16> {
    let number = text.strip_prefix("virtio")?.parse().ok()?;
    (number != u16::MAX).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(text: &str) -> QueueFilter {
        match text.parse() {
            Ok(QueueChoice::Index(filter)) => filter,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn all_filters_must_let_a_queue_through() {
        let options = TraceOptions {
            devices: vec![1],
            queues: vec![index("0"), index("virtio2.1")],
            driver: Some("virtio_blk".to_owned()),
            ..TraceOptions::default()
        };
        let wants = |device, index, driver| options.wants(QueueId::new(device, index), driver);
        assert!(wants(1, 0, Some("virtio_blk")));
        assert!(!wants(1, 1, Some("virtio_blk")));
        assert!(!wants(2, 1, Some("virtio_blk")));
        assert!(!wants(1, 0, Some("virtio_net")));
        assert!(!wants(1, 0, None));
        assert!(TraceOptions::default().wants(QueueId::new(7, 7), None));
    }

    #[test]
    fn the_buffer_must_have_room_for_two_of_the_longest_records() {
        let options = |snaplen, buffer_bytes, payload| TraceOptions {
            snaplen,
            payload,
            buffer_bytes,
            ..TraceOptions::default()
        };
        let full = PayloadMode::Full;
        for (snaplen, buffer) in [(0, 4096), (256, 4096), (1960, 4096), (1 << 19, 1 << 21)] {
            assert!(options(snaplen, buffer, full).check().is_ok(), "{snaplen}");
        }
        assert!(TraceOptions::default().check().is_ok());
        let refused = options(1 << 19, 1 << 20, full).check().unwrap_err();
        assert!(
            refused.to_string().contains("--buffer-size 2097152"),
            "{refused}"
        );
        assert!(
            options(1961, 4096, PayloadMode::Headers).check().is_err(),
            "9P messages are headers"
        );
        assert!(options(1 << 19, 4096, PayloadMode::None).check().is_ok());
    }

    #[test]
    fn memory_for_long_records_is_taken_where_there_are_any() {
        let options = |snaplen, payload| TraceOptions {
            snaplen,
            payload,
            ..TraceOptions::default()
        };
        assert!(!TraceOptions::default().is_whole());
        assert!(!options(16384, PayloadMode::Full).is_whole());
        assert!(options(16385, PayloadMode::Full).is_whole());
        assert!(options(16385, PayloadMode::Headers).is_whole());
        assert!(!options(16385, PayloadMode::None).is_whole());
    }

    #[test]
    fn queues_are_chosen_by_index_or_by_name() {
        assert_eq!(index("3").to_raw(), 0xffff_0003);
        assert_eq!(index("virtio1.2").to_raw(), 0x0001_0002);
        assert_eq!(index("virtio1/2").to_raw(), 0x0001_0002);
        for (text, device, name) in [
            ("requests", None, "requests"),
            ("input.0", None, "input.0"),
            ("virtio10/req.0", Some(10), "req.0"),
            ("virtio_thing", None, "virtio_thing"),
        ] {
            let expected = QueueName {
                device,
                name: name.to_owned(),
            };
            assert_eq!(expected.to_string(), text);
            assert_eq!(text.parse(), Ok(QueueChoice::Name(expected)));
        }
        for bad in [
            "",
            "virtio1",
            "70000",
            "virtio65535.0",
            "virtio1/",
            "eth0/requests",
            "/requests",
            "virtio1/virtio1",
        ] {
            assert!(bad.parse::<QueueChoice>().is_err(), "{bad}");
        }
    }
}
