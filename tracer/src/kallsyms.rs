//! Addresses of the kernel's variables and functions: `/proc/kallsyms`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

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

/// The addresses of some symbols.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Symbols {
    addresses: HashMap<String, Vec<u64>>,
}

impl Symbols {
    /// Looks `names` up in the running kernel, in the order of the file.
    ///
    /// # Errors
    /// [`SymbolError::Hidden`] if none of the addresses is shown. A name that is not
    /// there is no error until it is asked for.
    pub fn running(names: &[&str]) -> Result<Self, SymbolError> {
        let file = File::open(KALLSYMS).map_err(SymbolError::Unreadable)?;
        Self::read(BufReader::with_capacity(1 << 16, file), names)
    }

    /// Looks `names` up in what is laid out like `/proc/kallsyms`.
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
            let Some((address, name)) = parse(&line) else {
                continue;
            };
            any = true;
            shown |= address != 0;
            if let Some(name) = names.iter().find(|wanted| wanted.as_bytes() == name) {
                let known = addresses.entry((*name).to_owned()).or_default();
                known.push(address);
            }
        }
        if any && !shown {
            return Err(SymbolError::Hidden);
        }
        Ok(Self { addresses })
    }

    /// These symbols, known otherwise.
    pub fn of(symbols: impl IntoIterator<Item = (String, u64)>) -> Self {
        let mut addresses: HashMap<String, Vec<u64>> = HashMap::new();
        for (name, address) in symbols {
            addresses.entry(name).or_default().push(address);
        }
        Self { addresses }
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

    /// The address of `name`: the first one, if a static name is used twice.
    ///
    /// # Errors
    /// [`SymbolError::Absent`].
    pub fn address(&self, name: &str) -> Result<u64, SymbolError> {
        let first = self.addresses(name).first();
        first
            .copied()
            .ok_or_else(|| SymbolError::Absent(name.to_owned()))
    }

    /// All addresses of `name`.
    pub fn addresses(&self, name: &str) -> &[u64] {
        self.addresses.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The address and the name in `ffffffff81000000 T _text [module]`.
fn parse(line: &[u8]) -> Option<(u64, &[u8])> {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let address = str::from_utf8(words.next()?).ok()?;
    let address = u64::from_str_radix(address, 16).ok()?;
    Some((address, words.nth(1)?))
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

    #[test]
    fn finds_symbols_of_the_kernel_and_of_modules() {
        let found = Symbols::read(LINES.as_bytes(), &["virtio_bus", "probe", "none"]).unwrap();
        assert_eq!(found.address("virtio_bus").unwrap(), 0xffff_ffff_c020_1000);
        assert_eq!(found.addresses("probe").len(), 2);
        assert_eq!(found.address("probe").unwrap(), 0xffff_ffff_82a1_b2d0);
        assert_eq!(found.addresses("bus_kset"), [] as [u64; 0]);
        let error = found.address("none").unwrap_err().to_string();
        assert!(error.contains("no symbol `none`"), "{error}");
    }

    #[test]
    fn hidden_addresses_are_told_from_absent_ones() {
        let hidden: String = LINES
            .lines()
            .map(|line| format!("0000000000000000{}\n", &line[16..]))
            .collect();
        let error = Symbols::read(hidden.as_bytes(), &["_text"]).unwrap_err();
        assert!(error.to_string().contains("CAP_SYSLOG"));
        assert!(Symbols::read(&b""[..], &["_text"]).is_ok());
    }
}
