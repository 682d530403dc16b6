//! Stock Wireshark tools open what we write.

mod support;

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rstest::rstest;
use support::*;
use virtscope_captures::{CaptureInfo, CaptureWriter, ClockOffset, create_file, monotonic_now};
use virtscope_record::{Body, Common, Producer, Record, Sequence, Statistics};

/// How long a tool may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `tool` and returns what it printed; `None` if it is not installed and
/// that is allowed.
fn run(tool: &str, arguments: &[&str], file: &Path) -> Option<String> {
    let mut command = Command::new(tool);
    command
        .args(arguments)
        .arg(file)
        .env("LC_ALL", "C")
        .env("TZ", "UTC");
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(
                std::env::var("VIRTSCOPE_ALLOW_MISSING").as_deref() == Ok("1"),
                "{tool} not found: install Debian's tshark, or run `cargo xtask test`"
            );
            println!("SKIPPED: {tool} is not installed");
            return None;
        }
        Err(error) => panic!("{tool}: {error}"),
    };
    let errors = String::from_utf8(output.stderr).unwrap();
    // Tests in a container run as root, which tshark remarks on.
    let about_the_file: Vec<_> = errors
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("Running as user \"root\""))
        .collect();
    assert_eq!(about_the_file, [""; 0], "{tool}");
    assert!(output.status.success(), "{tool}: {:?}", output.status);
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A capture of now: every kind of block and option that we write, and how many
/// packets it has.
fn write_now(path: &Path) -> u64 {
    let clock = ClockOffset::measure();
    let mut writer =
        CaptureWriter::new(create_file(path).unwrap(), CaptureInfo::new(32, clock)).unwrap();
    let now = |(record, payload): Stored| {
        let common = Common {
            time: monotonic_now(),
            ..record.common()
        };
        (Record::new(common, record.body().unwrap()), payload)
    };
    let text = "virtio0/requests\ndriver=9pnet_virtio\ntag=ein Grüppchen\npath=pci 0000:00:04.0";
    let mut records = vec![now(facts(QUEUE, 0, 0, text))];
    let other = virtscope_record::QueueId::new(1, 2);
    records.push(now(facts(other, 0, 0, "virtio1/output.1")));
    for number in (0..1000).filter(|number| !(100..110).contains(number)) {
        records.push(now(add(QUEUE, number, &[number as u8; 61])));
        records.push(now(add(other, number, b"")));
    }
    records.push(now(facts(QUEUE, 1, 1, text)));
    for (queue, sequence) in [(QUEUE, 2), (other, 1)] {
        let common = Common {
            time: monotonic_now(),
            queue,
            producer: Producer::Recorder.id(),
            sequence: Sequence(sequence),
            ..Common::default()
        };
        let last = Statistics {
            about: Producer::DriverHalf.id(),
            is_final: true,
            emitted: 1000,
            lost: 10,
            missed: 3,
            filtered: 0,
        };
        records.push((Record::new(common, Body::Statistics(last)), Vec::new()));
    }
    for (record, payload) in &records {
        writer.write(record, payload).unwrap();
    }
    let totals = writer.finish().unwrap();
    assert_eq!(totals.stored, records.len() as u64);
    totals.stored
}

#[rstest]
#[timeout(PATIENCE)]
fn capinfos_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pcapng");
    let packets = write_now(&path);
    let Some(report) = run("capinfos", &["-M"], &path) else {
        return;
    };
    let value = |key: &str| {
        let mut lines = report.lines().map(str::trim);
        let found = lines.find_map(|line| line.strip_prefix(key)?.split_once(['=', ':']));
        let (_, value) = found.unwrap_or_else(|| panic!("no {key} in\n{report}"));
        value.trim().to_owned()
    };
    assert_eq!(value("Number of packets"), packets.to_string());
    assert_eq!(value("File type"), "pcapng");
    assert_eq!(value("Number of interfaces in file"), "2");
    for name in ["virtio0/requests", "virtio1/output.1"] {
        assert!(report.contains(&format!("Name = {name}")), "{report}");
    }
    assert!(report.contains("Time precision = nanoseconds"), "{report}");
    assert!(report.contains("virtscope"), "{report}");
}

#[rstest]
#[timeout(PATIENCE)]
fn tshark_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pcapng");
    let packets = write_now(&path);
    let fields = [
        "-n",
        "-T",
        "fields",
        "-e",
        "frame.interface_name",
        "-e",
        "frame.time_epoch",
        "-e",
        "frame.len",
        "-e",
        "frame.cap_len",
        "-e",
        "frame.packet_flags_direction",
        "-r",
    ];
    let Some(report) = run("tshark", &fields, &path) else {
        return;
    };
    assert_eq!(report.lines().count() as u64, packets);
    let rows: Vec<Vec<_>> = report
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(rows[0][0], "virtio0/requests");
    assert_eq!(rows[1][0], "virtio1/output.1");
    let seconds: f64 = rows[0][1].parse().unwrap();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let age = now.abs_diff(Duration::from_secs_f64(seconds));
    assert!(
        age < Duration::from_secs(60),
        "the first packet is {age:?} old"
    );
    assert_eq!(
        rows[2][2..4],
        ["133", "104"],
        "an add of 61 bytes, cut to 32"
    );
    let (inbound, outbound) = ("0x00000001", "0x00000002");
    assert_eq!((rows[0][4], rows[2][4]), (inbound, outbound));
}
