//! Addresses of the kernel's variables and functions: what the kernel finds by its own
//! look-up, or `/proc/kallsyms`.

mod lookup;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

use crate::btf::KernelBtf;

const KALLSYMS: &str = "/proc/kallsyms";

/// Why addresses could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolError {
    /// The file cannot be read.
    #[error(
        "cannot read {KALLSYMS}: the kernel's CONFIG_KALLSYMS may be off, or /proc not mounted"
    )]
    Unreadable(#[source] io::Error),
    /// All addresses are zero.
    #[error(
        "the kernel hides its addresses from this user: run as root, or with CAP_SYSLOG; if \
         /proc/sys/kernel/kptr_restrict is 2, nobody sees them until it is set to 1"
    )]
    Hidden,
    /// A symbol is not there.
    #[error(
        "this kernel has no symbol `{0}`: if virtio is a module, load it (modprobe virtio); if it \
         is there, the kernel needs CONFIG_KALLSYMS_ALL=y"
    )]
    Absent(String),
}

/// Some symbols of the kernel and its modules. Their names are shown to everybody, their
/// addresses to those with CAP_SYSLOG; to others all are zero.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Symbols {
    addresses: HashMap<String, Vec<u64>>,
    /// Whether there are symbols, and all addresses are zero.
    hidden: bool,
}

impl Symbols {
    /// Looks up `names` in the running kernel, whose types are `btf`: by the kernel itself
    /// if it does that fast, which tells the first address of each, else in the file.
    ///
    /// # Errors
    /// [`SymbolError::Unreadable`]. Addresses that are hidden, and a name that is not
    /// there, are no error until they are asked for.
    pub fn running(btf: &KernelBtf, names: &[&str]) -> Result<Self, SymbolError> {
        match lookup::by_kernel(btf, names) {
            Some(addresses) => Ok(Self {
                addresses,
                hidden: false,
            }),
            None => Self::listed(names),
        }
    }

    /// Looks up `names` in the running kernel, in one pass over the file: all addresses of
    /// each.
    ///
    /// # Errors
    /// As for [`running`](Self::running).
    pub fn listed(names: &[&str]) -> Result<Self, SymbolError> {
        let file = File::open(KALLSYMS).map_err(SymbolError::Unreadable)?;
        Self::read(BufReader::with_capacity(1 << 16, file), names)
    }

    /// The same in what is laid out like `/proc/kallsyms`.
    ///
    /// # Errors
    /// As for [`running`](Self::running).
    pub fn read(mut from: impl BufRead, names: &[&str]) -> Result<Self, SymbolError> {
        let mut addresses: HashMap<String, Vec<u64>> = HashMap::new();
        let (mut any, mut shown) = (false, false);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = from.read_until(b'\n', &mut line);
            if read.map_err(SymbolError::Unreadable)? == 0 {
                break;
            }
            let Some(symbol) = Symbol::parse(&line) else {
                continue;
            };
            any = true;
            shown |= symbol.address != 0;
            let mut names = names.iter();
            if let Some(name) = names.find(|name| name.as_bytes() == symbol.name) {
                let known = addresses.entry((*name).to_owned()).or_default();
                known.push(symbol.address);
            }
        }
        Ok(Self {
            addresses,
            hidden: any && !shown,
        })
    }

    /// These symbols, known otherwise.
    pub fn of(symbols: impl IntoIterator<Item = (String, u64)>) -> Self {
        let mut addresses: HashMap<String, Vec<u64>> = HashMap::new();
        for (name, address) in symbols {
            addresses.entry(name).or_default().push(address);
        }
        Self {
            addresses,
            hidden: false,
        }
    }

    /// The same, if their addresses are shown.
    ///
    /// # Errors
    /// [`SymbolError::Hidden`].
    pub fn shown(self) -> Result<Self, SymbolError> {
        if self.hidden {
            return Err(SymbolError::Hidden);
        }
        Ok(self)
    }

    /// All symbols and their addresses, in the order of their names.
    pub fn all(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self
            .addresses
            .iter()
            .flat_map(|(name, addresses)| addresses.iter().map(|at| (name.as_str(), *at)))
            .collect();
        all.sort_unstable();
        all
    }

    /// Whether there is a symbol `name`, wherever it is.
    pub fn contains(&self, name: &str) -> bool {
        self.addresses.contains_key(name)
    }

    /// The address of `name`: the first one, if a static name is used twice.
    ///
    /// # Errors
    /// [`SymbolError::Absent`], or [`SymbolError::Hidden`].
    pub fn address(&self, name: &str) -> Result<u64, SymbolError> {
        match self.offset(name) {
            Some(_) if self.hidden => Err(SymbolError::Hidden),
            Some(address) => Ok(address),
            None => Err(SymbolError::Absent(name.to_owned())),
        }
    }

    /// The address of `name`, or zero where there is none to be had.
    pub fn address_or_zero(&self, name: &str) -> u64 {
        self.offset(name).unwrap_or(0)
    }

    /// What stands beside `name`: of a per-CPU variable its offset, which may well be zero.
    pub fn offset(&self, name: &str) -> Option<u64> {
        self.addresses(name).first().copied()
    }

    /// The addresses of `name` that are known: all of them, or the first one where the kernel
    /// looked it up.
    pub fn addresses(&self, name: &str) -> &[u64] {
        self.addresses.get(name).map_or(&[], Vec::as_slice)
    }
}

/// A line like `ffffffffc0201000 t vp_notify [virtio_pci]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Symbol<'a> {
    pub(crate) address: u64,
    /// What it is, as nm(1) has it.
    pub(crate) kind: &'a [u8],
    pub(crate) name: &'a [u8],
    /// The module it is in, if it is in one.
    pub(crate) module: Option<&'a [u8]>,
}

impl<'a> Symbol<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let address = str::from_utf8(words.next()?).ok()?;
        Some(Self {
            address: u64::from_str_radix(address, 16).ok()?,
            kind: words.next()?,
            name: words.next()?,
            module: words
                .next()
                .and_then(|word| word.strip_prefix(b"[")?.strip_suffix(b"]")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "\
ffffffff81000000 T _text
ffffffff82a1b2c0 d bus_kset
ffffffff82a1b2d0 t probe
ffffffff82a1b2e0 t probe
ffffffffc0201000 d virtio_bus\t[virtio]
";

    fn read(lines: &str, names: &[&str]) -> Symbols {
        Symbols::read(lines.as_bytes(), names).unwrap()
    }

    #[test]
    fn finds_symbols_of_the_kernel_and_of_modules() {
        let found = read(LINES, &["virtio_bus", "probe", "none"]);
        assert_eq!(found.address("virtio_bus").unwrap(), 0xffff_ffff_c020_1000);
        assert_eq!(found.addresses("probe").len(), 2);
        assert_eq!(found.address("probe").unwrap(), 0xffff_ffff_82a1_b2d0);
        assert_eq!(found.addresses("bus_kset"), [] as [u64; 0]);
        let error = found.address("none").unwrap_err().to_string();
        assert!(error.contains("no symbol `none`"), "{error}");
        assert_eq!(found.address_or_zero("none"), 0);
    }

    #[test]
    fn only_what_is_asked_for_is_kept() {
        let lines = "ffffffff81000000 T _stext\nffffffff82a00010 D vmemmap_base\n\
            0000000000000000 A __per_cpu_start\nffffffffc0010000 t detach_buf_split\t[virtio_ring]\n\
            nonsense\n0000000000020e00 A __preempt_count\n";
        let names = ["vmemmap_base", "__preempt_count", "detach_buf_split"];
        let found = read(lines, &names);
        assert_eq!(found.address_or_zero("vmemmap_base"), 0xffff_ffff_82a0_0010);
        assert!(found.contains("detach_buf_split"));
        assert!(!found.contains("_stext") && !found.contains("__per_cpu_start"));
        assert_eq!(found.offset("__preempt_count"), Some(0x20e00));
        assert_eq!(found.all().len(), 3);
    }

    #[test]
    fn hidden_addresses_are_told_from_absent_ones() {
        let hidden: String = LINES
            .lines()
            .map(|line| format!("0000000000000000{}\n", &line[16..]))
            .collect();
        let found = read(&hidden, &["virtio_bus"]);
        // The names are there all the same.
        assert!(found.contains("virtio_bus"));
        assert_eq!(found.address_or_zero("virtio_bus"), 0);
        let error = found.address("virtio_bus").unwrap_err();
        assert!(error.to_string().contains("CAP_SYSLOG"));
        assert!(matches!(found.address("none"), Err(SymbolError::Absent(_))));
        assert!(matches!(found.shown(), Err(SymbolError::Hidden)));
        assert!(read("", &["virtio_bus"]).shown().is_ok());
    }

    #[test]
    fn lines_are_taken_apart() {
        let symbol = Symbol::parse(b"ffffffffc0201000 t vp_notify\t[virtio_pci]\n").unwrap();
        assert_eq!((symbol.kind, symbol.name), (&b"t"[..], &b"vp_notify"[..]));
        assert_eq!(symbol.module, Some(&b"virtio_pci"[..]));
        assert_eq!(Symbol::parse(b"10 A x").unwrap().module, None);
        assert_eq!(Symbol::parse(b"10 A"), None);
        assert_eq!(Symbol::parse(b"nonsense A x"), None);
    }
}
