//! Nonsense in the ring's memory.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::{Rng, SeedableRng};
use virtscope_driver::memory::{Order, QueueMemory, RingWords};
use virtscope_driver::ring::split_layout::{avail_entry, avail_event, used_entry};
use virtscope_driver::ring::{QueueSize, packed_layout};
use virtscope_record::Layout;

/// A word of a ring; each is always reached with the same size.
#[derive(Clone, Copy, Debug)]
enum Word {
    Descriptor(usize),
    Driver16(usize),
    Driver32(usize),
    Device16(usize),
    Device32(usize),
}

/// Writes nonsense into `count` words, chosen by `choice`.
pub(super) fn scribble(
    memory: &impl QueueMemory,
    layout: Layout,
    size: QueueSize,
    count: u64,
    choice: u64,
) {
    let mut random = Pcg64::seed_from_u64(choice);
    for _ in 0..count {
        let word = match layout {
            Layout::Split => split_word(size, &mut random),
            Layout::Packed => packed_word(size, &mut random),
        };
        let value = random.next_u64();
        let (descriptor, driver, device) = (
            memory.descriptor_area(),
            memory.driver_area(),
            memory.device_area(),
        );
        match word {
            Word::Descriptor(at) => descriptor.store_u64(at, value, Order::Relaxed),
            Word::Driver16(at) => driver.store_u16(at, value as u16, Order::Relaxed),
            Word::Driver32(at) => driver.store_u32(at, value as u32, Order::Relaxed),
            Word::Device16(at) => device.store_u16(at, value as u16, Order::Relaxed),
            Word::Device32(at) => device.store_u32(at, value as u32, Order::Relaxed),
        }
    }
}

/// Any of `count` things. That the first are a little likelier does not matter.
fn any(count: u64, random: &mut Pcg64) -> u64 {
    random.next_u64() % count
}

/// Areas are equally likely, though some have few words: those matter most.
fn split_word(size: QueueSize, random: &mut Pcg64) -> Word {
    let entries = u64::from(size.get());
    match any(3, random) {
        0 => descriptor_word(size, random),
        // `flags`, `idx` and `used_event`, and the ring between them.
        1 => match any(entries + 3, random) {
            at @ 0..2 => Word::Driver16(2 * at as usize),
            at => Word::Driver16(avail_entry(at as u16 - 2)),
        },
        _ => match any(2 * entries + 3, random) {
            at @ 0..2 => Word::Device16(2 * at as usize),
            2 => Word::Device16(avail_event(size)),
            at => Word::Device32(used_entry(0) + 4 * (at as usize - 3)),
        },
    }
}

fn packed_word(size: QueueSize, random: &mut Pcg64) -> Word {
    match any(3, random) {
        0 => descriptor_word(size, random),
        1 => Word::Driver32(packed_layout::EVENT),
        _ => Word::Device32(packed_layout::EVENT),
    }
}

fn descriptor_word(size: QueueSize, random: &mut Pcg64) -> Word {
    Word::Descriptor(8 * any(2 * u64::from(size.get()), random) as usize)
}
