//! What a guest says to the host over its vsock device, and that the headers in its buffers
//! say the same.

use std::io::{self, ErrorKind};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use virtscope_record::QueueId;

use super::capture::{AddSeen, Capture, GuestQueue};
use super::runs::RUN;
use crate::guest::{Guest, VSOCK_CID};

/// The host's port.
const PORT: u32 = 1234;
/// `VMADDR_CID_HOST`, the host's address.
const HOST: u64 = 2;
const GUEST: u64 = VSOCK_CID;
/// Bytes of a header (virtio 1.4 §5.10.6).
const HEADER: usize = 44;

/// Operations of a header (virtio 1.4 §5.10.6).
const REQUEST: u16 = 1;
const RESPONSE: u16 = 2;
const RW: u16 = 5;

/// Has the guest connect and send, and the host send everything back. Returns how many
/// bytes that were.
pub(super) fn talk(guest: &mut Guest) -> anyhow::Result<u64> {
    let listener = guest.port(PORT)?;
    let echo = spawn(move || {
        let stream = accept(&listener)?;
        io::copy(&mut &stream, &mut &stream)
    });
    let said = guest.succeed(&format!("timeout 60 vsock {PORT}"), RUN)?;
    let echoed = echo
        .join()
        .map_err(|_| anyhow!("the host's side is gone"))?;
    let echoed = echoed.context("the host's side")?;
    ensure!(
        said.trim().parse() == Ok(echoed),
        "the guest says {said:?}, and the host sent back {echoed} bytes"
    );
    Ok(echoed)
}

/// The guest's connection, waited for as long as its script: where that fails before it
/// connects, none comes.
fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let until = Instant::now() + RUN;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(RUN))?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if Instant::now() >= until {
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                "the guest does not connect",
            ));
        }
        sleep(Duration::from_millis(10));
    }
}

/// A header.
struct Header {
    from: u64,
    to: u64,
    length: u32,
    operation: u16,
}

impl Header {
    /// By what a record has of a buffer: the header, and not what follows it.
    fn of(payload: &[u8]) -> anyhow::Result<Self> {
        ensure!(
            payload.len() == HEADER,
            "a record has {} bytes, and a header is {HEADER}",
            payload.len()
        );
        let number = |at: usize, bytes: usize| {
            let bytes = payload[at..at + bytes].iter().rev();
            bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        Ok(Self {
            from: number(0, 8),
            to: number(8, 8),
            length: number(24, 4) as u32,
            operation: number(30, 2) as u16,
        })
    }
}

/// The packets of one direction.
struct Packets {
    /// What there is of each, and its bytes. Nothing but these of a buffer that lay in the
    /// ring before the trace began.
    buffers: Vec<(Option<Vec<u8>>, u32)>,
    is_to_host: bool,
    /// The operation of the first.
    first: u16,
}

impl Packets {
    /// Returns the bytes that were sent in them.
    fn check(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for (number, (payload, bytes)) in self.buffers.iter().enumerate() {
            let sent = bytes.checked_sub(HEADER as u32);
            let sent = sent.with_context(|| format!("a packet of {bytes} bytes"))?;
            sum += u64::from(sent);
            let Some(payload) = payload else { continue };
            let header = Header::of(payload)?;
            let (host, guest) = match self.is_to_host {
                true => (header.to, header.from),
                false => (header.from, header.to),
            };
            ensure!(
                host == HOST && guest == GUEST,
                "a packet from {} to {}",
                header.from,
                header.to
            );
            ensure!(
                number > 0 || header.operation == self.first,
                "the first packet has the operation {}, and not {}",
                header.operation,
                self.first
            );
            ensure!(
                sent == header.length && (sent > 0) == (header.operation == RW),
                "{sent} bytes behind a header of the operation {} that tells of {}",
                header.operation,
                header.length
            );
        }
        Ok(sum)
    }

    /// How many headers were looked at.
    fn headers(&self) -> usize {
        let known = self.buffers.iter().filter(|(payload, _)| payload.is_some());
        known.count()
    }
}

/// The packets in both directions tell of so many bytes.
pub(super) fn headers(capture: &Capture, device: u16, bytes: u64) -> anyhow::Result<String> {
    let queue = |index| -> anyhow::Result<&GuestQueue> {
        let life = (QueueId::new(device, index), 0);
        capture.queues.get(&life).context("a queue without records")
    };
    let (receive, transmit) = (queue(0)?, queue(1)?);
    let there = Packets {
        buffers: transmit
            .adds_seen()
            .map(|add| (Some(add.payload.clone()), add.readable_bytes))
            .collect(),
        is_to_host: true,
        first: REQUEST,
    };
    let back = Packets {
        buffers: receive
            .used_seen()
            .map(|used| {
                let was_added = |add: &AddSeen| add.token == used.token && add.at < used.at;
                let is_known = receive.adds_seen().any(was_added);
                (is_known.then(|| used.payload.clone()), used.used_length)
            })
            .collect(),
        is_to_host: false,
        first: RESPONSE,
    };
    let sent = there.check().context("to the host")?;
    let received = back.check().context("from the host")?;
    ensure!(
        (sent, received) == (bytes, bytes),
        "the vsock packets hold {sent} bytes to the host and {received} back, and there were \
         {bytes}"
    );
    let headers = (there.headers(), back.headers());
    ensure!(headers.0 > 0 && headers.1 > 0, "{headers:?} headers");
    Ok(format!(
        "{} vsock packets to the host and {} back, with the {bytes} bytes that were sent each \
         way; {} and {} headers",
        there.buffers.len(),
        back.buffers.len(),
        headers.0,
        headers.1
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(from: u64, to: u64, operation: u16, length: u32) -> (Option<Vec<u8>>, u32) {
        let mut header = vec![0; HEADER];
        header[..8].copy_from_slice(&from.to_le_bytes());
        header[8..16].copy_from_slice(&to.to_le_bytes());
        header[24..28].copy_from_slice(&length.to_le_bytes());
        header[30..32].copy_from_slice(&operation.to_le_bytes());
        (Some(header), HEADER as u32 + length)
    }

    fn packets() -> Packets {
        Packets {
            buffers: vec![
                packet(GUEST, HOST, REQUEST, 0),
                packet(GUEST, HOST, RW, 300),
                packet(GUEST, HOST, RW, 1),
            ],
            is_to_host: true,
            first: REQUEST,
        }
    }

    #[test]
    fn headers_tell_of_what_was_sent() {
        assert_eq!(packets().check().unwrap(), 301);
        // Of a buffer that lay in the ring before, only its length is known.
        let mut packets = packets();
        packets.buffers[0] = (None, HEADER as u32);
        assert_eq!((packets.check().unwrap(), packets.headers()), (301, 2));
    }

    #[test]
    fn each_difference_is_found() {
        type Change = fn(&mut Packets);
        let differences: [(&str, Change); 6] = [
            ("none of a header", |packets| {
                packets.buffers[1].0 = Some(Vec::new());
            }),
            ("more than a header", |packets| {
                packets.buffers[1].0.as_mut().unwrap().push(0);
            }),
            ("another direction", |packets| packets.is_to_host = false),
            ("another beginning", |packets| packets.first = RESPONSE),
            ("another length", |packets| packets.buffers[1].1 += 1),
            ("less than a header", |packets| packets.buffers[1].1 = 43),
        ];
        for (what, change) in differences {
            let mut packets = packets();
            change(&mut packets);
            assert!(packets.check().is_err(), "{what}");
        }
    }
}
