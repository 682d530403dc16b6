//! The kernel's symbols, from `/proc/kallsyms`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Functions and variables of the kernel and its modules that have to do with virtio,
/// by name.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    found: HashMap<String, u64>,
}

/// Variables that are looked up.
const VARIABLES: [&str; 5] = [
    "vmemmap_base",
    "page_offset_base",
    "__per_cpu_offset",
    "__preempt_count",
    "pcpu_hot",
];
/// Beginnings of functions that are looked up.
const FUNCTIONS: [&str; 5] = [
    "virtqueue_",
    "vring_",
    "detach_buf_",
    "vp_notify",
    "vm_notify",
];

impl Symbols {
    /// Those of the running kernel. Without the right to see addresses (CAP_SYSLOG) all
    /// of them are 0; the names are there all the same.
    pub fn running() -> Self {
        File::open(Path::new("/proc/kallsyms"))
            .map(|file| Self::read(BufReader::new(file)))
            .unwrap_or_default()
    }

    /// Those in `text`, lines like `ffffffff81000000 T name [module]`.
    pub fn read(mut text: impl BufRead) -> Self {
        let mut found = HashMap::new();
        let mut line = Vec::new();
        while text.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if let Some((name, address)) = parse(&line) {
                found.entry(name.to_owned()).or_insert(address);
            }
            line.clear();
        }
        Self { found }
    }

    /// Whether there is a function or variable of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// Its address, if it may be seen.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.found
            .get(name)
            .copied()
            .filter(|address| *address != 0)
    }

    /// The offset of a per-CPU variable, which may well be 0.
    pub fn offset(&self, name: &str) -> Option<u64> {
        self.found.get(name).copied()
    }
}

fn parse(line: &[u8]) -> Option<(&str, u64)> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let _kind = words.next()?;
    let name = words.next()?;
    let is_wanted =
        VARIABLES.contains(&name) || FUNCTIONS.iter().any(|start| name.starts_with(start));
    is_wanted.then_some((name, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_kept() {
        let text = b"ffffffff81000000 T _stext\nffffffff82a00010 D vmemmap_base\n\
            0000000000000000 A __per_cpu_start\nffffffffc0010000 t detach_buf_split\t[virtio_ring]\n\
            nonsense\n0000000000020e00 A __preempt_count\n";
        let symbols = Symbols::read(&text[..]);
        assert_eq!(symbols.address("vmemmap_base"), Some(0xffff_ffff_82a0_0010));
        assert!(symbols.contains("detach_buf_split"));
        assert!(!symbols.contains("_stext"));
        assert_eq!(symbols.offset("__preempt_count"), Some(0x20e00));
    }

    #[test]
    fn hidden_addresses_are_none() {
        let symbols = Symbols::read(&b"0000000000000000 D vmemmap_base\n"[..]);
        assert!(symbols.contains("vmemmap_base"));
        assert_eq!(symbols.address("vmemmap_base"), None);
    }
}
