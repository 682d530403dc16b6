//! Kernel modules: which there are, and in which order they can be inserted.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// What guests need, and what these need is found by itself. What a kernel has
/// built in is left out. In this order.
pub(crate) const WANTED: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "virtio_balloon",
    "virtio_scsi",
    "virtio_input",
    "sd_mod",
    "9pnet_virtio",
    "9p",
    "virtiofs",
    "vmw_vsock_virtio_transport",
    // A root file system on a disk that is no virtio device.
    "ahci",
    "ext4",
    "crc32c_generic",
];

/// The modules below a folder, by name with underscores.
pub(crate) fn find(folder: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
                continue;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(name) = name.strip_suffix(".ko.xz").or(name.strip_suffix(".ko")) {
                found.insert(normal(name), path);
            }
        }
    }
    Ok(found)
}

/// A module that can be inserted once all before it are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
}

/// `wanted` and all they need, each behind what it needs. `load` reads a module, or
/// finds that there is none of that name: it is built in then.
pub(crate) fn in_order(
    wanted: &[&str],
    mut load: impl FnMut(&str) -> anyhow::Result<Option<Vec<u8>>>,
) -> anyhow::Result<Vec<Module>> {
    let mut order = Vec::new();
    let mut seen = HashSet::new();
    for name in wanted {
        add(&normal(name), &mut load, &mut seen, &mut order)?;
    }
    Ok(order)
}

fn add(
    name: &str,
    load: &mut impl FnMut(&str) -> anyhow::Result<Option<Vec<u8>>>,
    seen: &mut HashSet<String>,
    order: &mut Vec<Module>,
) -> anyhow::Result<()> {
    if !seen.insert(name.to_owned()) {
        return Ok(());
    }
    let Some(content) = load(name)? else {
        return Ok(());
    };
    for other in needs(&content) {
        add(&other, load, seen, order)?;
    }
    order.push(Module {
        name: name.to_owned(),
        content,
    });
    Ok(())
}

/// The modules that one needs: the entry `depends` of its `.modinfo`.
fn needs(content: &[u8]) -> Vec<String> {
    // The entries are strings with an end each. A module that needs none has an
    // empty one.
    let key = b"\0depends=";
    let Some(at) = content.windows(key.len()).position(|window| window == key) else {
        return Vec::new();
    };
    let rest = &content[at + key.len()..];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&rest[..end])
        .split(',')
        .filter(|name| !name.is_empty())
        .map(normal)
        .collect()
}

/// Names of modules are written with either, and mean the same.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// Reads a module's file, and decompresses it where it is compressed.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "xz") {
        let done = Command::new("xz")
            .args(["--decompress", "--stdout"])
            .arg(path)
            .output()
            .context("running xz")?;
        ensure!(
            done.status.success(),
            "xz {}: {}",
            path.display(),
            String::from_utf8_lossy(&done.stderr).trim()
        );
        return Ok(done.stdout);
    }
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(needs: &str) -> Vec<u8> {
        format!("\x7fELF…\0license=GPL\0depends={needs}\0name=x\0").into_bytes()
    }

    #[test]
    fn a_module_stands_behind_what_it_needs() {
        let there = [
            ("virtio_ring", ""),
            ("virtio", ""),
            ("virtio_pci", "virtio-ring,virtio"),
            ("9p", "9pnet,netfs"),
            ("9pnet", ""),
        ];
        let order = in_order(&["virtio-pci", "9p", "virtio_ring"], |name| {
            let found = there.iter().find(|(other, _)| *other == name);
            Ok(found.map(|(_, needs)| module(needs)))
        });
        let names: Vec<String> = order
            .unwrap()
            .into_iter()
            .map(|module| module.name)
            .collect();
        // netfs is built in.
        assert_eq!(
            names,
            ["virtio_ring", "virtio", "virtio_pci", "9pnet", "9p"]
        );
    }

    #[test]
    fn a_circle_ends() {
        let order = in_order(&["a"], |name| {
            Ok(Some(module(if name == "a" { "b" } else { "a" })))
        });
        assert_eq!(order.unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_module_needs_nothing() {
        assert!(needs(b"").is_empty());
        assert!(needs(b"\0depends=").is_empty());
        assert!(needs(&module("")).is_empty());
    }
}
