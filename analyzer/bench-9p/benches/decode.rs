//! Full decode of 134 MB of 9P2000.L messages: ours and two crates', in turns.
//!
//! `cargo bench --manifest-path analyzer/bench-9p/Cargo.toml`; with `-- --write FILE` the
//! same messages go into a pcap file for tshark, and nothing is measured.

use std::fs::File;
use std::hint::black_box;
use std::io::BufWriter;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jetstream_9p::{Rframe, Tframe};
use jetstream_wireformat::WireFormat;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, Endianness};
use virtscope_analyzer::p9::{End, Message};
use virtscope_9p_bench::Mix;

/// Bytes of all messages.
const BYTES: usize = 134_000_000;
/// Turns of each; the median counts.
const TURNS: usize = 9;

/// Decodes one message whole; says whether it could.
type Decode = fn(&[u8]) -> bool;

/// Header and every field by its type, the data's bounds, every directory entry, and
/// every string checked to be UTF-8 without zero bytes. Nothing is copied.
fn ours(bytes: &[u8]) -> bool {
    let Ok(message) = Message::decode(bytes, bytes.len() as u32) else {
        return false;
    };
    let (body, check) = message.full();
    black_box(body).is_ok() && check.end == End::Whole && check.unsound_text.is_none()
}

/// Every field; strings become `String`, data are copied, a directory's entries stay
/// bytes.
fn jetstream(mut bytes: &[u8]) -> bool {
    if bytes[4] & 1 == 0 {
        black_box(Tframe::decode(&mut bytes)).is_ok_and(|frame| frame.msg.is_ok())
    } else {
        black_box(Rframe::decode(&mut bytes)).is_ok()
    }
}

/// The same, and a directory's entries too.
fn rs9p(bytes: &[u8]) -> bool {
    black_box(rs9p::serialize::read_msg(&mut &bytes[4..])).is_ok()
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let mix = Mix::of(BYTES);
    if let Some(at) = arguments.iter().position(|argument| argument == "--write") {
        return write(&mix, arguments.get(at + 1).context("--write needs a file")?);
    }
    println!("{} messages, {} bytes", mix.len(), mix.byte_count());
    let decoders: [(&str, Decode); 3] = [
        ("virtscope", ours),
        ("jetstream_9p", jetstream),
        ("rs9p", rs9p),
    ];
    let mut times = [const { Vec::new() }; 3];
    let mut decoded = [0; 3];
    for _ in 0..TURNS {
        for (which, (_, decode)) in decoders.iter().enumerate() {
            let began = Instant::now();
            decoded[which] = mix.iter().filter(|bytes| decode(bytes)).count();
            times[which].push(began.elapsed());
        }
    }
    let rates = times.map(|mut times| {
        times.sort();
        mix.len() as f64 / times[TURNS / 2].as_secs_f64()
    });
    for ((name, _), (rate, decoded)) in decoders.iter().zip(rates.iter().zip(decoded)) {
        println!(
            "{name:<14} {:>6.2} M messages/s, virtscope is {:.2} times as fast; {decoded} decoded",
            rate / 1e6,
            rates[0] / rate,
        );
    }
    if decoded[0] != mix.len() {
        bail!("we could not decode {} messages", mix.len() - decoded[0]);
    }
    Ok(())
}

/// The messages as exported PDUs, which tshark takes for 9P.
fn write(mix: &Mix, path: &str) -> anyhow::Result<()> {
    // `LINKTYPE_WIRESHARK_UPPER_PDU`; dissector table "tcp.port" (14), value 564 (32).
    let header = PcapHeader {
        datalink: DataLink::from(252),
        endianness: Endianness::Little,
        ..PcapHeader::default()
    };
    let tags = b"\0\x0e\0\x08tcp.port\0\x20\0\x04\0\0\x02\x34\0\0\0\0";
    let mut out = PcapWriter::with_header(BufWriter::new(File::create(path)?), header)?;
    for (number, message) in mix.iter().enumerate() {
        let data = [&tags[..], message].concat();
        let length = data.len() as u32;
        let time = Duration::from_micros(number as u64);
        out.write_packet(&PcapPacket::new(time, length, data)?)?;
    }
    Ok(())
}
