//! QEMU's log of trace events, read line by line. What is not understood is an
//! error: a line that was passed over would be an operation nobody checked.

use anyhow::{Context, anyhow, bail, ensure};

/// An address in QEMU, by which it calls a device, a queue or a buffer.
pub(crate) type Pointer = u64;

/// What QEMU's half of a device did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// `virtqueue_pop`: an available buffer was taken.
    Pop {
        queue: Pointer,
        buffer: Pointer,
        /// Device-writable segments.
        writable: u32,
        /// Device-readable segments.
        readable: u32,
    },
    /// `virtqueue_fill`: a buffer was put into the used ring.
    Fill {
        queue: Pointer,
        buffer: Pointer,
        /// Its used length.
        length: u32,
    },
    /// `virtio_queue_notify`: an available buffer notification was taken.
    Notified {
        device: Pointer,
        index: u16,
        queue: Pointer,
    },
    /// `virtio_set_status`: the driver wrote the device's status.
    Status { device: Pointer, value: u8 },
    /// `v9fs_…`: a request was read.
    Request { name: String, tag: u16, kind: u8 },
    /// `v9fs_…_return`: a request was answered.
    Reply { name: String, tag: u16, kind: u8 },
    /// `v9fs_rerror`: a request was answered with an error.
    Error { tag: u16, kind: u8, errno: u32 },
    /// Understood, and of no use here.
    Other,
}

/// An event and the byte of the log where its line begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Logged {
    pub(crate) at: u64,
    pub(crate) event: Event,
}

/// Reads a whole log.
///
/// # Errors
/// A line that is not understood, with its number.
pub(crate) fn parse(log: &str) -> anyhow::Result<Vec<Logged>> {
    let mut events = Vec::new();
    let mut at = 0;
    for (number, line) in log.split_inclusive('\n').enumerate() {
        let text = line
            .strip_suffix('\n')
            .with_context(|| format!("line {} of QEMU's log has no end", number + 1))?;
        let event =
            event(text).with_context(|| format!("line {} of QEMU's log: {text}", number + 1))?;
        events.push(Logged { at, event });
        at += u64::try_from(line.len())?;
    }
    Ok(events)
}

/// One line, with or without the time before it.
fn event(line: &str) -> anyhow::Result<Event> {
    let line = match line.split_once(':') {
        Some((stamp, rest)) if is_stamp(stamp) => rest,
        _ => line,
    };
    let (name, rest) = line.split_once(' ').context("no event")?;
    let fields = Fields(rest);
    match name {
        "virtqueue_pop" => Ok(Event::Pop {
            queue: fields.pointer("vq")?,
            buffer: fields.pointer("elem")?,
            writable: fields.number("in_num")?,
            readable: fields.number("out_num")?,
        }),
        "virtqueue_fill" => Ok(Event::Fill {
            queue: fields.pointer("vq")?,
            buffer: fields.pointer("elem")?,
            length: fields.number("len")?,
        }),
        "virtio_queue_notify" => Ok(Event::Notified {
            device: fields.pointer("vdev")?,
            index: fields.number("n")?,
            queue: fields.pointer("vq")?,
        }),
        "virtio_set_status" => Ok(Event::Status {
            device: fields.pointer("vdev")?,
            value: fields.number("val")?,
        }),
        "virtqueue_flush" | "virtqueue_alloc_element" | "virtio_notify" | "virtio_notify_irqfd" => {
            Ok(Event::Other)
        }
        "v9fs_rerror" => Ok(Event::Error {
            tag: fields.number("tag")?,
            kind: fields.number("id")?,
            errno: fields.number("err")?,
        }),
        name => {
            let Some(name) = name.strip_prefix("v9fs_") else {
                bail!("an event that is not known here");
            };
            let (tag, kind) = (fields.number("tag")?, fields.number("id")?);
            Ok(match name.strip_suffix("_return") {
                Some(name) => Event::Reply {
                    name: name.to_owned(),
                    tag,
                    kind,
                },
                None => Event::Request {
                    name: name.to_owned(),
                    tag,
                    kind,
                },
            })
        }
    }
}

/// `process@seconds.microseconds`.
fn is_stamp(text: &str) -> bool {
    text.split_once('@').is_some_and(|(process, time)| {
        process.bytes().all(|byte| byte.is_ascii_digit())
            && time
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

/// `name value name value …`, or as newer versions have some, `name=value name=value …`.
struct Fields<'a>(&'a str);

impl Fields<'_> {
    fn value(&self, name: &str) -> anyhow::Result<&str> {
        let mut words = self.0.split(' ');
        while let Some(word) = words.next() {
            if word == name {
                return words.next().ok_or_else(|| anyhow!("{name} has no value"));
            }
            if let Some(value) = word
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('='))
            {
                return Ok(value);
            }
        }
        bail!("no {name}")
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> anyhow::Result<T> {
        let value = self.value(name)?;
        let number = value.parse();
        number.map_err(|_| anyhow!("{name} is {value}, which is no such number"))
    }

    fn pointer(&self, name: &str) -> anyhow::Result<Pointer> {
        let value = self.value(name)?;
        let digits = value.strip_prefix("0x");
        let pointer = digits.and_then(|digits| Pointer::from_str_radix(digits, 16).ok());
        let pointer = pointer.with_context(|| format!("{name} is {value}, which is no pointer"))?;
        ensure!(pointer != 0, "{name} is null");
        Ok(pointer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_real_log_are_understood() {
        let log = "\
28870@1795724701.964909:virtio_set_status vdev 0x56191ce717c0 val 15
28870@1795724702.436736:virtio_queue_notify vdev 0x56191ce717c0 n 0 vq 0x7f4ca6cd8010
virtqueue_alloc_element elem 0x7f4c34022a00 size 240 in_num 2 out_num 1
28870@1795724702.436804:virtqueue_pop vq 0x7f4ca6cd8010 elem 0x7f4c34022a00 in_num 2 out_num 1
28858@1795724702.442013:virtqueue_fill vq 0x7f4ca6cd8010 elem 0x7f4c34022a00 len 513 idx 0
28858@1795724702.442045:virtqueue_flush vq 0x7f4ca6cd8010 count 1
28870@1795724743.013180:v9fs_walk tag 0 id 110 fid 1 newfid 2 nwnames 1
28858@1795724743.013265:v9fs_rerror tag 0 id 110 err 2
21409@1795828599.351462:v9fs_walk tag=7 id=110 fid=1 newfid=2 nwnames=1 wnames={id=3}
28858@1795724743.014668:v9fs_lcreate_return tag 7 id 14 qid={type 0 version 1 path 2} iounit 3
";
        let events = parse(log).unwrap();
        let device = 0x5619_1ce7_17c0;
        let queue = 0x7f4c_a6cd_8010;
        let buffer = 0x7f4c_3402_2a00;
        let expected = [
            Event::Status { device, value: 15 },
            Event::Notified {
                device,
                index: 0,
                queue,
            },
            Event::Other,
            Event::Pop {
                queue,
                buffer,
                writable: 2,
                readable: 1,
            },
            Event::Fill {
                queue,
                buffer,
                length: 513,
            },
            Event::Other,
            Event::Request {
                name: "walk".into(),
                tag: 0,
                kind: 110,
            },
            Event::Error {
                tag: 0,
                kind: 110,
                errno: 2,
            },
            Event::Request {
                name: "walk".into(),
                tag: 7,
                kind: 110,
            },
            Event::Reply {
                name: "lcreate".into(),
                tag: 7,
                kind: 14,
            },
        ];
        let found: Vec<Event> = events.iter().map(|logged| logged.event.clone()).collect();
        assert_eq!(found, expected);
        assert_eq!(events[1].at, 69);
    }

    #[test]
    fn what_is_not_understood_is_an_error_with_its_line() {
        for line in [
            "qemu-system-x86_64: virtio: bogus descriptor",
            "virtqueue_push vq 0x1 elem 0x2",
            "virtqueue_pop vq 0x1 elem 0x2 in_num 2",
            "virtqueue_pop vq 0x1 elem (nil) in_num 2 out_num 1",
            "virtqueue_pop vq 0x1 elem 0x0 in_num 2 out_num 1",
            "virtqueue_fill vq 0x1 elem 0x2 len -1 idx 0",
            "virtio_set_status vdev 0x1 val 256",
            "v9fs_walk tag 70000 id 110",
            "v9fs_walk tag 1 id",
            "v9fs_walk tag=1 id=",
            "v9fs_walk tag=1 kid=2",
            "",
        ] {
            let log = format!("virtio_notify vdev 0x1 vq 0x2\n{line}\n");
            let error = parse(&log).unwrap_err().to_string();
            assert!(error.starts_with("line 2 of QEMU's log: "), "{error}");
        }
    }

    #[test]
    fn a_log_that_is_cut_off_is_an_error() {
        assert!(parse("virtio_notify vdev 0x1 vq 0x2").is_err());
        assert!(parse("").unwrap().is_empty());
    }
}
