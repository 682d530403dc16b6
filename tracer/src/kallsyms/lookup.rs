//! The kernel's own look-up of symbols by their names.

use std::collections::HashMap;

use aya_obj::generated::bpf_prog_type::BPF_PROG_TYPE_SYSCALL;

use crate::btf::{Home, KernelBtf};
use crate::program::Program;

/// `tracer/ebpf/src/peek.rs` says what it takes and gives.
const PROGRAM: &str = "look_up";
/// Words of the name that it takes, of which the last byte is zero.
const NAME: usize = 8;
/// The kernel's function that looks for a name among sorted ones. Kernels without it go
/// through all symbols for each name: one pass over the file costs less than many of these.
const SORTED: &str = "kallsyms_lookup_names";

/// The addresses of those of `names` that the running kernel has: the first of each, as
/// they stand in its file. `None` where it does not look them up fast, or not for us: it may
/// be too old, or hide its addresses.
///
/// The kernel takes an address of zero for none. Of per-CPU variables, which begin at zero on
/// x86-64 before Linux 6.15, one stands there that nobody asks for (`fixed_percpu_data`).
pub(super) fn by_kernel(btf: &KernelBtf, names: &[&str]) -> Option<HashMap<String, Vec<u64>>> {
    if btf.function(SORTED) != Some(Home::Vmlinux) {
        return None;
    }
    let program = Program::load(PROGRAM, BPF_PROG_TYPE_SYSCALL).ok()??;
    let mut found = HashMap::new();
    for name in names {
        if let Some(address) = look_up(&program, name)? {
            found.insert((*name).to_owned(), vec![address]);
        }
    }
    Some(found)
}

/// The address of `name`, if there is a symbol of that name; nothing where the kernel does
/// not tell.
#[expect(clippy::option_option, reason = "not to know is not to know of none")]
fn look_up(program: &Program, name: &str) -> Option<Option<u64>> {
    let mut context = context(name)?;
    match program.run(&mut context).ok()? {
        0 => Some(Some(context[NAME])),
        error if error == -libc::ENOENT => Some(None),
        _ => None,
    }
}

/// What the program takes: the name, and a word for the address. None for a name that does
/// not fit.
fn context(name: &str) -> Option<[u64; NAME + 1]> {
    const WORD: usize = size_of::<u64>();
    if name.len() >= NAME * WORD {
        return None;
    }
    let mut context = [0; NAME + 1];
    for (word, bytes) in context.iter_mut().zip(name.as_bytes().chunks(WORD)) {
        let mut whole = [0; WORD];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(whole);
    }
    Some(context)
}

#[cfg(test)]
mod tests {
    use super::super::Symbols;
    use super::*;
    use crate::trace::{Hook, may_load};
    use crate::walk::SYMBOLS;

    #[test]
    fn the_kernel_says_what_its_file_says() {
        if !may_load() {
            return;
        }
        let btf = KernelBtf::running().unwrap();
        let mut names = vec!["vmemmap_base", "page_offset_base", "__per_cpu_offset"];
        names.extend(["__preempt_count", "pcpu_hot", "is_not_there"]);
        names.extend(SYMBOLS);
        names.extend(Hook::ALL.iter().map(|hook| hook.function));
        let listed = Symbols::listed(&names).unwrap().shown();
        let (Ok(listed), Some(_)) = (listed, btf.function(SORTED)) else {
            eprintln!("SKIPPED: this kernel hides its addresses, or has no look-up that is fast");
            return;
        };
        let by_kernel = by_kernel(&btf, &names).expect("the kernel's look-up");
        let mut there = 0;
        for name in &names {
            let first = by_kernel.get(*name).map(|all| all[0]);
            assert_eq!(first, listed.offset(name), "{name}");
            there += usize::from(first.is_some());
        }
        assert!(there > SYMBOLS.len(), "{by_kernel:?}");
        eprintln!("{there} of {} names are there", names.len());
    }

    #[test]
    fn names_are_filled_up_with_zeros() {
        let found = context("virtio_bus").unwrap();
        let bytes: Vec<u8> = found.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert!(bytes.starts_with(b"virtio_bus\0"));
        assert!(bytes[10..].iter().all(|byte| *byte == 0));
        assert!(context(&"n".repeat(63)).is_some());
        assert!(context(&"n".repeat(64)).is_none());
        for hook in Hook::ALL {
            assert!(context(hook.function).is_some(), "{}", hook.function);
        }
    }
}
