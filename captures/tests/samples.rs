//! Every capture in `captures/samples`, as it came out of a real kernel: it can be read to
//! its end, and nothing of it was lost.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use virtscope_captures::{CaptureReader, Item, Ledger, Selection};
use virtscope_record::{Body, FeatureBits, Kind};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")
}

fn samples() -> BTreeSet<String> {
    fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".pcapng"))
        .collect()
}

#[test]
fn there_is_one_of_each_device_layout_and_kernel() {
    let mut expected = BTreeSet::new();
    let layouts = ["split", "packed"];
    // The last one is the first whose driver knows them.
    let in_order = ["split-in-order", "packed-in-order"];
    for kernel in ["6.1", "6.12", "7.2"] {
        for layout in layouts
            .iter()
            .chain(in_order.iter().filter(|_| kernel == "7.2"))
        {
            for device in ["9p", "blk", "net"] {
                expected.insert(format!("{device}-{layout}-{kernel}.pcapng"));
            }
        }
    }
    assert_eq!(samples(), expected);
}

#[test]
fn every_sample_is_whole() {
    for file in samples() {
        let input = BufReader::new(File::open(folder().join(&file)).unwrap());
        let mut reader = CaptureReader::new(input).unwrap();
        let mut ledger = Ledger::new(Selection::WHOLE);
        let mut seen = BTreeSet::new();
        let mut stored = 0;
        let mut missed = 0;
        loop {
            match reader.next_item().unwrap() {
                Item::Section(section) => {
                    ledger = Ledger::new(section.info.expect("our own comment").selection);
                }
                Item::Record(packet) => {
                    ledger.observe(&packet.record);
                    if let Ok(Body::QueueFacts(facts)) = packet.record.body() {
                        let is_in_order = facts.features.contains(FeatureBits::IN_ORDER);
                        assert_eq!(is_in_order, file.contains("-in-order-"), "{file}");
                        seen.insert(packet.record.queue());
                    }
                    stored += 1;
                    missed += u64::from(packet.record.kind() == Ok(Kind::Missed));
                }
                Item::Corrupt { problem, .. } => panic!("{file}: {problem}"),
                Item::End(end) => {
                    assert!(end.is_complete(), "{file}: {end}");
                    break;
                }
                Item::Interface(_) | Item::Statistics(_) => {}
            }
        }
        let totals = ledger.totals();
        assert!(ledger.inconsistencies().is_empty(), "{file}");
        assert_eq!((totals.stored, totals.lost), (stored, 0), "{file}");
        assert_eq!(totals.emitted, totals.stored + totals.filtered, "{file}");
        assert!(!seen.is_empty(), "{file}");
        assert!(ledger.tail_known(), "{file}: {totals:?}");
        // Only where all hooks are kprobes is a completion missed.
        let is_missed = file.starts_with("blk") && file.ends_with("-6.1.pcapng");
        assert_eq!(missed, u64::from(is_missed), "{file}");
    }
}
