//! A ring as text: each word with its bytes, what they mean, and a mark where
//! they changed since the last picture.

use std::collections::BTreeMap;
use std::fmt::Write;

use virtscope_driver::memory::{GuestAddress, GuestMemory, QueueAddresses};
use virtscope_driver::ring::QueueSize;
use virtscope_driver::ring::packed_layout::{self, EventSuppression, Position, Tail};
use virtscope_driver::ring::split_layout::{
    self, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, DESCRIPTOR_LEN, Descriptor,
};
use virtscope_record::Layout;

/// Draws one ring, again and again.
pub(crate) struct Painter {
    layout: Layout,
    size: QueueSize,
    addresses: QueueAddresses,
    /// An indirect table to show beside the ring, and its descriptors.
    pub(crate) table: Option<(GuestAddress, u16)>,
    /// By address: the bytes shown last.
    shown: BTreeMap<u64, Vec<u8>>,
}

impl Painter {
    pub(crate) fn new(layout: Layout, size: QueueSize) -> Self {
        let addresses = match layout {
            Layout::Split => split_layout::contiguous(GuestAddress(0), size).0,
            Layout::Packed => packed_layout::contiguous(GuestAddress(0), size).0,
        };
        Self {
            layout,
            size,
            addresses,
            table: None,
            shown: BTreeMap::new(),
        }
    }

    /// The ring as it stands in memory now.
    pub(crate) fn paint(&mut self, memory: &GuestMemory) -> String {
        let mut text = String::new();
        match self.layout {
            Layout::Split => self.split(memory, &mut text),
            Layout::Packed => self.packed(memory, &mut text),
        }
        if let Some((table, count)) = self.table {
            text.push_str("indirect table\n");
            for slot in 0..count {
                let at = table.0 + u64::from(slot) * DESCRIPTOR_LEN as u64;
                let bytes = read(memory, at, DESCRIPTOR_LEN);
                let meaning = self.descriptor(&bytes);
                self.line(&mut text, &format!("  [{slot}]"), at, &bytes, &meaning);
            }
        }
        text
    }

    fn split(&mut self, memory: &GuestMemory, text: &mut String) {
        let size = self.size;
        text.push_str("descriptor area: descriptor table\n");
        self.descriptors(memory, text);
        text.push_str("driver area: available ring\n");
        let base = self.addresses.driver.0;
        self.word(memory, text, "  flags", base, 2);
        self.word(memory, text, "  idx", base + 2, 2);
        for slot in 0..size.get() {
            let at = base + split_layout::avail_entry(slot) as u64;
            self.word(memory, text, &format!("  ring[{slot}]"), at, 2);
        }
        let at = base + split_layout::used_event(size) as u64;
        self.word(memory, text, "  used_event", at, 2);
        text.push_str("device area: used ring\n");
        let base = self.addresses.device.0;
        self.word(memory, text, "  flags", base, 2);
        self.word(memory, text, "  idx", base + 2, 2);
        for slot in 0..size.get() {
            let at = base + split_layout::used_entry(slot) as u64;
            let bytes = read(memory, at, 8);
            let meaning = format!("id {} len {}", number(&bytes[..4]), number(&bytes[4..]));
            self.line(text, &format!("  ring[{slot}]"), at, &bytes, &meaning);
        }
        let at = base + split_layout::avail_event(size) as u64;
        self.word(memory, text, "  avail_event", at, 2);
    }

    fn packed(&mut self, memory: &GuestMemory, text: &mut String) {
        text.push_str("descriptor area: descriptor ring\n");
        self.descriptors(memory, text);
        for (title, at) in [
            (
                "driver area: driver event suppression",
                self.addresses.driver.0,
            ),
            (
                "device area: device event suppression",
                self.addresses.device.0,
            ),
        ] {
            writeln!(text, "{title}").expect("a string takes all");
            let bytes = read(memory, at, 4);
            let word = EventSuppression::from_word(number(&bytes) as u32);
            let Position { offset, wrap } = Position::from_raw(word.desc);
            let flags = match word.flags {
                packed_layout::EVENT_ENABLE => "ENABLE",
                packed_layout::EVENT_DISABLE => "DISABLE",
                _ => "DESC",
            };
            let meaning = format!("offset {offset} wrap {} {flags}", u8::from(wrap));
            self.line(text, "  desc flags", at, &bytes, &meaning);
        }
    }

    fn descriptors(&mut self, memory: &GuestMemory, text: &mut String) {
        for slot in 0..self.size.get() {
            let at = self.addresses.descriptor.0 + u64::from(slot) * DESCRIPTOR_LEN as u64;
            let bytes = read(memory, at, DESCRIPTOR_LEN);
            let meaning = self.descriptor(&bytes);
            self.line(text, &format!("  [{slot}]"), at, &bytes, &meaning);
        }
    }

    /// A descriptor's fields and the names of its flags.
    fn descriptor(&self, bytes: &[u8]) -> String {
        let (first, second) = (number(&bytes[..8]), number(&bytes[8..]));
        let (flags, last) = match self.layout {
            Layout::Split => {
                let descriptor = Descriptor::from_words(first, second);
                (descriptor.flags, format!("next {}", descriptor.next))
            }
            Layout::Packed => {
                let tail = Tail::from_word(second);
                (tail.flags, format!("id {}", tail.id))
            }
        };
        let mut meaning = format!("addr {first:#06x} len {} {last}", second as u32);
        for (flag, name) in [
            (DESC_F_NEXT, "NEXT"),
            (DESC_F_WRITE, "WRITE"),
            (DESC_F_INDIRECT, "INDIRECT"),
            (packed_layout::DESC_F_AVAIL, "AVAIL"),
            (packed_layout::DESC_F_USED, "USED"),
        ] {
            if flags & flag != 0 {
                meaning.push(' ');
                meaning.push_str(name);
            }
        }
        meaning
    }

    fn word(&mut self, memory: &GuestMemory, text: &mut String, name: &str, at: u64, len: usize) {
        let bytes = read(memory, at, len);
        let meaning = number(&bytes).to_string();
        self.line(text, name, at, &bytes, &meaning);
    }

    fn line(&mut self, text: &mut String, name: &str, at: u64, bytes: &[u8], meaning: &str) {
        let before = self.shown.insert(at, bytes.to_vec());
        let changed = before.is_some_and(|before| before != bytes);
        let mark = if changed { '*' } else { ' ' };
        let hex = bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(" ");
        let line = format!("{mark} {name:<13} {hex:<47}  {meaning}");
        writeln!(text, "{}", line.trim_end()).expect("a string takes all");
    }
}

fn read(memory: &GuestMemory, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    memory
        .read(GuestAddress(at), &mut bytes)
        .expect("the ring is in memory");
    bytes
}

/// Little-endian.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
