//! What QEMU did with each queue, counted from the queue's last reset on.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use anyhow::{Context, ensure};

use super::log::{Event, Logged, Pointer};

/// The status bit by which a driver says that it has seen the device (virtio 1.4
/// §2.1); alone, it is the first step of bringing a device up.
const ACKNOWLEDGE: u8 = 1;

/// A buffer that the device took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pop {
    /// Where in the log.
    pub(crate) at: u64,
    pub(crate) readable: u32,
    pub(crate) writable: u32,
}

/// A buffer that the device gave back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fill {
    /// Where in the log.
    pub(crate) at: u64,
    /// Which of the queue's pops it ends.
    pub(crate) pop: usize,
    pub(crate) length: u32,
}

/// A notification that the device took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Notified {
    /// Where in the log.
    pub(crate) at: u64,
    /// The queue's pops before it.
    pub(crate) pops: usize,
}

/// One queue, since its device was reset last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct HostQueue {
    pub(crate) pops: Vec<Pop>,
    pub(crate) fills: Vec<Fill>,
    pub(crate) notified: Vec<Notified>,
    /// Buffers that the device has, with the pop of each.
    held: HashMap<Pointer, usize>,
}

/// A device's queues from when a driver took it up until the next one did.
pub(crate) type HostLife = BTreeMap<u16, HostQueue>;

/// The devices in the order in which the guest found them, `virtio0` first, and of each
/// its lives from the start of the guest's kernel on.
pub(crate) type Devices = Vec<Vec<HostLife>>;

/// Follows a log from the machine's start. Up to `settled` the firmware may use devices,
/// and so may the kernel before it does so for good: only the last life is kept.
///
/// # Errors
/// It does not make sense: a queue that was never notified, a buffer that was given
/// back and not taken.
pub(crate) fn follow(events: &[Logged], settled: u64) -> anyhow::Result<Devices> {
    // A queue may be used before the first notification that names it.
    let mut places: HashMap<Pointer, (Pointer, u16)> = HashMap::new();
    for logged in events {
        if let Event::Notified {
            device,
            index,
            queue,
        } = logged.event
        {
            places.insert(queue, (device, index));
        }
    }
    let place = |queue: Pointer| {
        places
            .get(&queue)
            .copied()
            .with_context(|| format!("the queue {queue:#x} is used and was never notified"))
    };
    let mut order: Vec<Pointer> = Vec::new();
    let mut devices: HashMap<Pointer, Vec<HostLife>> = HashMap::new();
    for Logged { at, event } in events {
        let at = *at;
        match *event {
            Event::Status {
                device,
                value: ACKNOWLEDGE,
            } => {
                let lives = devices.entry(device).or_default();
                if at < settled {
                    order.retain(|other| *other != device);
                    lives.clear();
                }
                if !order.contains(&device) {
                    order.push(device);
                }
                lives.push(HostLife::new());
            }
            Event::Notified { device, index, .. } => {
                let queue = queue_at(&mut devices, device, index);
                let pops = queue.pops.len();
                queue.notified.push(Notified { at, pops });
            }
            Event::Pop {
                queue,
                buffer,
                writable,
                readable,
            } => {
                let (device, index) = place(queue)?;
                let queue = queue_at(&mut devices, device, index);
                let held = queue.held.insert(buffer, queue.pops.len());
                ensure!(held.is_none(), "byte {at}: {buffer:#x} is taken twice");
                queue.pops.push(Pop {
                    at,
                    readable,
                    writable,
                });
            }
            Event::Fill {
                queue,
                buffer,
                length,
            } => {
                let (device, index) = place(queue)?;
                let queue = queue_at(&mut devices, device, index);
                let pop = queue.held.remove(&buffer).with_context(|| {
                    format!("byte {at}: {buffer:#x} is given back and was not taken")
                })?;
                queue.fills.push(Fill { at, pop, length });
            }
            Event::Status { .. }
            | Event::Request { .. }
            | Event::Reply { .. }
            | Event::Error { .. }
            | Event::Other => {}
        }
    }
    Ok(order
        .into_iter()
        .map(|device| devices.remove(&device).unwrap_or_default())
        .collect())
}

/// A queue in the present life of its device.
fn queue_at(
    devices: &mut HashMap<Pointer, Vec<HostLife>>,
    device: Pointer,
    index: u16,
) -> &mut HostQueue {
    let lives = devices.entry(device).or_default();
    if lives.is_empty() {
        lives.push(HostLife::new());
    }
    let last = lives.len() - 1;
    lives[last].entry(index).or_default()
}

impl HostQueue {
    /// How many pops, and how many fills, stand before this byte of the log.
    pub(crate) fn before(&self, at: u64) -> (usize, usize) {
        (
            self.pops.partition_point(|pop| pop.at < at),
            self.fills.partition_point(|fill| fill.at < at),
        )
    }

    /// The notifications in a part of the log.
    pub(crate) fn notified_in(&self, window: &Range<u64>) -> &[Notified] {
        let from = self.notified.partition_point(|one| one.at < window.start);
        let to = self.notified.partition_point(|one| one.at < window.end);
        &self.notified[from..to]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::truth::log::parse;

    const START: &str = "virtio_set_status vdev 0xb val 0\nvirtio_set_status vdev 0xa val 1\n\
                         virtio_set_status vdev 0xb val 1\n";

    #[test]
    fn devices_stand_in_the_order_in_which_they_were_found() {
        let log = format!("{START}virtio_queue_notify vdev 0xb n 2 vq 0x2\n");
        let devices = follow(&parse(&log).unwrap(), u64::MAX).unwrap();
        assert_eq!(devices.len(), 2);
        assert!(devices[0][0].is_empty());
        assert_eq!(devices[1][0][&2].notified.len(), 1);
    }

    #[test]
    fn a_reset_begins_anew() {
        let log = "virtqueue_pop vq 0x2 elem 0x3 in_num 1 out_num 1\n".to_owned()
            + START
            + "virtqueue_pop vq 0x2 elem 0x3 in_num 0 out_num 2\n\
               virtio_queue_notify vdev 0xb n 0 vq 0x2\n\
               virtqueue_fill vq 0x2 elem 0x3 len 7 idx 0\n";
        let devices = follow(&parse(&log).unwrap(), u64::MAX).unwrap();
        let queue = &devices[1][0][&0];
        assert_eq!((queue.pops.len(), queue.pops[0].readable), (1, 2));
        assert_eq!((queue.fills[0].pop, queue.fills[0].length), (0, 7));
        assert_eq!(queue.notified[0].pops, 1);
        assert_eq!(queue.before(u64::MAX), (1, 1));
        assert_eq!(queue.before(0), (0, 0));
    }

    #[test]
    fn once_settled_a_device_keeps_its_place_and_its_lives() {
        let before = START.len() as u64;
        let log = START.to_owned()
            + "virtio_queue_notify vdev 0xa n 0 vq 0x2\n\
               virtio_set_status vdev 0xa val 0\n\
               virtio_set_status vdev 0xa val 1\n\
               virtio_queue_notify vdev 0xa n 0 vq 0x2\n\
               virtio_queue_notify vdev 0xa n 0 vq 0x2\n\
               virtio_set_status vdev 0xc val 1\n";
        let devices = follow(&parse(&log).unwrap(), before).unwrap();
        let notified: Vec<Vec<usize>> = devices
            .iter()
            .map(|lives| {
                lives
                    .iter()
                    .map(|life| life.get(&0).map_or(0, |queue| queue.notified.len()))
            })
            .map(Iterator::collect)
            .collect();
        assert_eq!(notified, [vec![1, 2], vec![0], vec![0]]);
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        for log in [
            "virtqueue_pop vq 0x2 elem 0x3 in_num 1 out_num 1\n",
            "virtio_queue_notify vdev 0xb n 0 vq 0x2\nvirtqueue_fill vq 0x2 elem 0x3 len 7 idx 0\n",
            "virtio_queue_notify vdev 0xb n 0 vq 0x2\n\
             virtqueue_pop vq 0x2 elem 0x3 in_num 1 out_num 1\n\
             virtqueue_pop vq 0x2 elem 0x3 in_num 1 out_num 1\n",
        ] {
            assert!(follow(&parse(log).unwrap(), u64::MAX).is_err(), "{log}");
        }
    }
}
