//! What is to be traced, and how much of it.

use std::str::FromStr;

use virtscope_record::QueueId;
use virtscope_tracer_shared::PayloadMode;

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
    /// Only these queues; empty: all.
    pub queues: Vec<QueueFilter>,
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
            driver: None,
            buffer_bytes: 16 << 20,
            count_cost: true,
            kprobes_only: false,
        }
    }
}

impl TraceOptions {
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

/// A text that names no queue.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` names no queue: write its index, like 0, or device and index, like virtio1.0")]
pub struct ParseQueueFilterError(String);

impl FromStr for QueueFilter {
    type Err = ParseQueueFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(index) = text.parse() {
            return Ok(Self {
                device: None,
                index,
            });
        }
        match text.parse::<QueueId>() {
            Ok(id) if id.device != u16::MAX => Ok(Self {
                device: Some(id.device),
                index: id.index,
            }),
            _ => Err(ParseQueueFilterError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_filters_must_let_a_queue_through() {
        let options = TraceOptions {
            devices: vec![1],
            queues: vec!["0".parse().unwrap(), "virtio2.1".parse().unwrap()],
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
    fn queues_are_named_by_index_or_with_their_device() {
        let any: QueueFilter = "3".parse().unwrap();
        assert_eq!(any.to_raw(), 0xffff_0003);
        let one: QueueFilter = "virtio1.2".parse().unwrap();
        assert_eq!(one.to_raw(), 0x0001_0002);
        for bad in ["", "requests", "virtio1", "-1", "70000", "virtio65535.0"] {
            assert!(bad.parse::<QueueFilter>().is_err(), "{bad}");
        }
    }
}
