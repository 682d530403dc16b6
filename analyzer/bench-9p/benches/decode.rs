//! Full decode of 134 MB of 9P2000.L messages: ours, two crates' and tshark's, in turns.
//!
//! `cargo bench --manifest-path analyzer/bench-9p/Cargo.toml`; with `-- --write FILE` the
//! same messages go into a pcap file, and nothing is measured.
//!
//! What counts is processor time, so that a busy machine holds up nobody.

use std::fs::File;
use std::hint::black_box;
use std::io::BufWriter;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use jetstream_9p::{Rframe, Tframe};
use jetstream_wireformat::WireFormat;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, Endianness};
use rustix::time::{ClockId, clock_gettime};
use virtscope_9p_bench::Mix;
use virtscope_analyzer::p9::{End, Message};

/// Bytes of all messages.
const BYTES: usize = 134_000_000;
/// Turns of each; the median counts.
const TURNS: usize = 9;
/// Every third of them is tshark's too, which takes seconds.
const TSHARK_EVERY: usize = 3;
/// Messages that tshark gets, and how many it gets to see what its start costs.
const TSHARK: [usize; 2] = [100_000, 1000];

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

/// What this thread has taken of a processor.
fn own_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32)
}

/// What the children that have ended took, as proc(5) has it: `cutime` and `cstime`, in
/// hundredths of a second.
fn childrens_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat
        .rsplit_once(')')
        .context("no name in /proc/self/stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = [13, 14]
        .iter()
        .map(|at| {
            fields
                .get(*at)
                .context("a short stat")?
                .parse::<u64>()
                .context("no number")
        })
        .sum::<anyhow::Result<u64>>()?;
    Ok(Duration::from_millis(10 * ticks))
}

/// What tshark takes to dissect the capture at `path` and to print one field of each.
fn tshark(path: &Path, messages: usize) -> anyhow::Result<Duration> {
    let before = childrens_time()?;
    let output = Command::new("tshark")
        .args(["-n", "-T", "fields", "-e", "9p.msgtype", "-r"])
        .arg(path)
        .stderr(Stdio::null())
        .output()
        .context("tshark cannot be run (Debian: apt-get install --no-install-recommends tshark)")?;
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let decoded = lines.filter(|line| !line.is_empty()).count();
    ensure!(
        decoded == messages,
        "tshark decoded {decoded} of {messages}"
    );
    Ok(childrens_time()? - before)
}

/// Messages a second that tshark does, its start left out.
fn tshark_rate(files: &[(usize, std::path::PathBuf)]) -> anyhow::Result<f64> {
    let [(many, large), (few, small)] = files else {
        bail!("two captures");
    };
    let took = tshark(large, *many)?.saturating_sub(tshark(small, *few)?);
    Ok((many - few) as f64 / took.as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let mix = Mix::of(BYTES);
    if let Some(at) = arguments.iter().position(|argument| argument == "--write") {
        let path = arguments.get(at + 1).context("--write needs a file")?;
        return write(mix.iter(), Path::new(path));
    }
    println!("{} messages, {} bytes", mix.len(), mix.byte_count());
    let folder = std::env::temp_dir().join(format!("virtscope-9p-bench-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let files = TSHARK.map(|many| (many, folder.join(format!("{many}.pcap"))));
    let measured = files
        .iter()
        .try_for_each(|(many, path)| write(mix.iter().take(*many), path))
        .and_then(|()| measure(&mix, &files));
    std::fs::remove_dir_all(&folder)?;
    measured
}

fn measure(mix: &Mix, files: &[(usize, std::path::PathBuf)]) -> anyhow::Result<()> {
    let decoders: [(&str, Decode); 3] = [
        ("virtscope", ours),
        ("jetstream_9p", jetstream),
        ("rs9p", rs9p),
    ];
    let mut rates = [const { Vec::new() }; 3];
    let mut decoded = [0; 3];
    let mut of_tshark = Vec::new();
    for turn in 0..TURNS {
        for (which, (_, decode)) in decoders.iter().enumerate() {
            let began = own_time();
            decoded[which] = mix.iter().filter(|bytes| decode(bytes)).count();
            let took = own_time() - began;
            rates[which].push(mix.len() as f64 / took.as_secs_f64());
        }
        if turn % TSHARK_EVERY == 0 {
            of_tshark.push(tshark_rate(files)?);
        }
    }
    let rates = rates.map(median);
    println!("| decoder | million messages a second | virtscope is | decoded |");
    println!("|---|---|---|---|");
    let row = |name, rate: f64, decoded: f64| {
        let (rate, times) = (rate / 1e6, rates[0] / rate);
        println!(
            "| {name} | {rate:.3} | {times:.2} times as fast | {:.1} % |",
            100.0 * decoded
        );
    };
    for ((name, _), (rate, decoded)) in decoders.iter().zip(rates.iter().zip(decoded)) {
        row(*name, *rate, decoded as f64 / mix.len() as f64);
    }
    row("tshark", median(of_tshark), 1.0);
    if decoded[0] != mix.len() {
        bail!("we could not decode {} messages", mix.len() - decoded[0]);
    }
    Ok(())
}

/// The messages as exported PDUs, which tshark takes for 9P.
fn write<'a>(messages: impl Iterator<Item = &'a [u8]>, path: &Path) -> anyhow::Result<()> {
    // `LINKTYPE_WIRESHARK_UPPER_PDU`; dissector table "tcp.port" (14), value 564 (32).
    let header = PcapHeader {
        datalink: DataLink::from(252),
        endianness: Endianness::Little,
        ..PcapHeader::default()
    };
    let tags = b"\0\x0e\0\x08tcp.port\0\x20\0\x04\0\0\x02\x34\0\0\0\0";
    let mut out = PcapWriter::with_header(BufWriter::new(File::create(path)?), header)?;
    for (number, message) in messages.enumerate() {
        let data = [&tags[..], message].concat();
        let length = data.len() as u32;
        let time = Duration::from_micros(number as u64);
        out.write_packet(&PcapPacket::new(time, length, data)?)?;
    }
    Ok(())
}
