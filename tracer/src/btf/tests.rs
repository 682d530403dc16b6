//! Three real kernels, made-up types against a model, and bytes that are nonsense.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use rstest::rstest;

use super::writer::Writer;
use super::*;

fn directory(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/btf")
        .join(version)
}

fn kernel(version: &str) -> KernelBtf {
    KernelBtf::open(&directory(version), format!("{version}.0-test")).unwrap()
}

/// What pahole and bpftool say of these kernels.
#[rstest]
#[case("6.1", "vring_virtqueue", "packed_ring", 72, 1)]
#[case("6.1", "vring_virtqueue", "broken", 75, 1)]
#[case("6.1", "vring_virtqueue", "indirect", 76, 1)]
#[case("6.1", "vring_virtqueue", "event", 77, 1)]
#[case("6.1", "vring_virtqueue", "free_head", 80, 4)]
#[case("6.1", "vring_virtqueue", "num_added", 84, 4)]
#[case("6.1", "vring_virtqueue", "last_used_idx", 88, 2)]
#[case("6.1", "vring_virtqueue", "event_triggered", 90, 1)]
#[case("6.1", "vring_virtqueue", "split.vring.num", 96, 4)]
#[case("6.1", "vring_virtqueue", "split.vring.used", 120, 8)]
#[case("6.1", "vring_virtqueue", "split.desc_state", 136, 8)]
#[case("6.1", "vring_virtqueue", "packed.avail_wrap_counter", 128, 1)]
#[case("6.1", "vring_virtqueue", "packed.desc_extra", 144, 8)]
#[case("6.1", "virtio_device", "id.device", 768, 4)]
#[case("6.1", "virtio_device", "vqs", 792, 16)]
#[case("6.1", "virtio_device", "features", 808, 8)]
#[case("6.1", "virtqueue", "priv", 56, 8)]
#[case("6.12", "vring_virtqueue", "packed_ring", 64, 1)]
#[case("6.12", "vring_virtqueue", "free_head", 72, 4)]
#[case("6.12", "vring_virtqueue", "last_used_idx", 80, 2)]
#[case("6.12", "vring_virtqueue", "split.vring.num", 88, 4)]
#[case("6.12", "vring_virtqueue", "packed.vring.device", 112, 8)]
#[case("6.12", "vring_virtqueue", "packed.next_avail_idx", 124, 2)]
#[case("6.12", "virtio_device", "config", 792, 8)]
#[case("6.12", "virtio_device", "features", 824, 8)]
#[case("6.12", "virtio_driver", "probe", 192, 8)]
#[case("7.2", "vring_virtqueue", "layout", 72, 4)]
#[case("7.2", "vring_virtqueue", "indirect", 67, 1)]
#[case("7.2", "vring_virtqueue", "free_head", 76, 4)]
#[case("7.2", "vring_virtqueue", "last_used_idx", 92, 2)]
#[case("7.2", "vring_virtqueue", "event_triggered", 96, 1)]
#[case("7.2", "vring_virtqueue", "split.vring.desc", 112, 8)]
#[case("7.2", "vring_virtqueue", "packed.desc_state", 144, 8)]
#[case("7.2", "virtio_device", "features", 856, 8)]
#[case("7.2", "virtio_device", "features_array", 856, 16)]
#[case("7.2", "vring_desc_state_split", "total_in_len", 16, 4)]
#[case("7.2", "scatterlist", "page_link", 0, 8)]
fn members_are_where_three_kernels_have_them(
    #[case] version: &str,
    #[case] name: &str,
    #[case] member: &str,
    #[case] offset: u32,
    #[case] size: u32,
) {
    let found = kernel(version).member(name, member).unwrap();
    assert_eq!((found.offset, found.size), (offset, size));
}

#[rstest]
#[case("6.1", 208, 824, 16)]
#[case("6.12", 208, 840, 16)]
#[case("7.2", 224, 888, 24)]
fn structs_are_as_long_as_three_kernels_have_them(
    #[case] version: &str,
    #[case] ring: u32,
    #[case] device: u32,
    #[case] state: u32,
) {
    let kernel = kernel(version);
    assert_eq!(kernel.size_of("vring_virtqueue").unwrap(), ring);
    assert_eq!(kernel.size_of("virtio_device").unwrap(), device);
    assert_eq!(kernel.size_of("vring_desc_state_split").unwrap(), state);
    assert_eq!(kernel.size_of("scatterlist").unwrap(), 32);
}

#[test]
fn what_is_where_is_told() {
    let ring = Home::Module("virtio_ring".to_owned());
    let old = kernel("6.1");
    assert_eq!(old.structure("vring_virtqueue"), Some(ring.clone()));
    assert_eq!(old.structure("virtqueue"), Some(Home::Vmlinux));
    assert_eq!(old.function("virtqueue_add_sgs"), Some(ring));
    assert_eq!(
        old.function("p9_virtio_request"),
        Some(Home::Module("9pnet_virtio".to_owned()))
    );
    assert_eq!(old.function("virtqueue_kick_prepare_split"), None);
    assert_eq!(old.enum_values("vq_layout"), None);
    assert_eq!(old.variable("jiffies"), None);
    assert_eq!(
        old.modules().collect::<Vec<_>>(),
        ["9pnet_virtio", "virtio", "virtio_ring"]
    );

    let new = kernel("7.2");
    assert_eq!(new.structure("vring_virtqueue"), Some(Home::Vmlinux));
    assert_eq!(
        new.function("virtqueue_kick_prepare_split"),
        Some(Home::Vmlinux)
    );
    assert_eq!(new.enum_value("vq_layout", "VQ_LAYOUT_PACKED"), Some(1));
    assert_eq!(
        new.enum_value("vq_layout", "VQ_LAYOUT_PACKED_IN_ORDER"),
        Some(3)
    );
    assert_eq!(new.enum_value("vq_layout", "VQ_LAYOUT_ROUND"), None);
}

#[test]
fn what_is_missing_is_named() {
    let kernel = kernel("7.2");
    let error = kernel
        .offset("vring_virtqueue", "packed_ring")
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(
            "this kernel's `vring_virtqueue` has no member `packed_ring` (kernel 7.2.0-test)"
        ),
        "{error}"
    );
    let error = kernel.offset("vring_virtqueue", "split.vring.moon");
    assert!(error.unwrap_err().to_string().contains("split.vring.moon"));
    let error = kernel.size_of("vring_nothing").unwrap_err().to_string();
    assert!(
        error.contains("(7.2.0-test) has no `struct vring_nothing`"),
        "{error}"
    );
    assert_eq!(
        kernel
            .find_member("vring_virtqueue", "packed_ring")
            .unwrap(),
        None
    );
}

#[test]
fn a_kernel_without_btf_says_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let error = KernelBtf::open(empty.path(), "5.3.0".to_owned()).unwrap_err();
    assert!(matches!(error, BtfError::Missing { .. }));
    let text = error.to_string();
    assert!(
        text.contains("(5.3.0)") && text.contains("CONFIG_DEBUG_INFO_BTF=y"),
        "{text}"
    );
}

#[test]
fn structs_of_one_name_that_disagree_are_refused() {
    let mut writer = Writer::new();
    let int = writer.add(Kind::Int, "int", (0, false), 4, &[32]);
    let a = writer.name(b"a");
    let b = writer.name(b"b");
    for at in [0, 32] {
        let members = [a, int.0, at, b, int.0, 64];
        writer.add(Kind::Struct, "s", (2, false), 12, &members);
    }
    let kernel = KernelBtf::of(writer.finish(), "1".to_owned()).unwrap();
    assert!(matches!(
        kernel.offset("s", "a"),
        Err(BtfError::Ambiguous { .. })
    ));
    assert_eq!(kernel.offset("s", "b").unwrap(), 8);
    assert_eq!(kernel.size_of("s").unwrap(), 12);
}

#[test]
fn bit_fields_have_no_offset() {
    let mut writer = Writer::new();
    let int = writer.add(Kind::Int, "int", (0, false), 4, &[32]);
    let (a, b) = (writer.name(b"a"), writer.name(b"b"));
    let members = [a, int.0, 3 << 24 | 32, b, int.0, 64];
    writer.add(Kind::Struct, "s", (2, true), 12, &members);
    let kernel = KernelBtf::of(writer.finish(), "1".to_owned()).unwrap();
    let error = kernel.offset("s", "a").unwrap_err();
    assert!(error.to_string().contains("a bit field"), "{error}");
    assert_eq!(kernel.offset("s", "b").unwrap(), 8);
}

#[test]
fn a_struct_that_contains_itself_ends() {
    let mut writer = Writer::new();
    let nameless = writer.name(b"");
    let this = writer.next_id();
    let twice = [nameless, this.0, 0, nameless, this.0, 0];
    writer.add(Kind::Struct, "s", (2, false), 0, &twice);
    let alias = writer.next_id();
    writer.add(Kind::Typedef, "t", (0, false), alias.0, &[]);
    let of = writer.name(b"of");
    writer.add(Kind::Struct, "r", (1, false), 0, &[of, alias.0, 0]);
    let kernel = KernelBtf::of(writer.finish(), "1".to_owned()).unwrap();
    assert_eq!(kernel.find_member("s", "a").unwrap(), None);
    assert_eq!(kernel.find_member("r", "of").unwrap(), None);
}

#[test]
fn kinds_that_came_later_are_skipped_where_their_length_is_told() {
    let mut writer = Writer::new();
    writer.add(Kind::Int, "int", (0, false), 4, &[32]);
    let plain = writer.finish();
    let word = |at: usize| u32::from_ne_bytes(plain[at..at + 4].try_into().unwrap());
    let types = word(12) as usize;
    // A type of kind 20 with two elements of 8 bytes, and after it another integer.
    let mut all = plain[24..24 + types].to_vec();
    for word in [0, 20 << 24 | 2, 0, 1, 2, 3, 4] {
        all.extend(u32::to_ne_bytes(word));
    }
    let int = plain[24..24 + types].to_vec();
    all.extend(&int);
    let mut layouts = vec![0; 4 * 21];
    layouts[80..82].copy_from_slice(&[0, 8]);
    let strings = &plain[24 + types..];

    let header = |length: u32, layouts: Option<usize>| {
        let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let n = |n: usize| u32::try_from(n).unwrap();
        let mut words = vec![length, 0, n(all.len()), n(all.len()), n(strings.len())];
        words.extend(
            layouts
                .map(|l| [n(all.len() + strings.len()), n(l)])
                .into_iter()
                .flatten(),
        );
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(all.iter().chain(strings));
        bytes
    };
    let mut told = header(32, Some(layouts.len()));
    told.extend(&layouts);
    let btf = Btf::parse(told).unwrap();
    assert_eq!(btf.end(), 4);
    assert_eq!(btf.get(TypeId(2)).unwrap().kind, Kind::Unknown);
    assert_eq!(btf.get(TypeId(3)).unwrap().name, b"int");

    let untold = Btf::parse(header(24, None)).unwrap_err();
    assert_eq!(untold, Malformed::Kind { id: 2, kind: 20 });
}

#[test]
fn what_is_no_btf_is_refused() {
    assert_eq!(
        Btf::parse(b"\x7fELF".to_vec()).unwrap_err(),
        Malformed::Magic(u16::from_ne_bytes(*b"\x7fE"))
    );
    let mut swapped = Writer::new().finish();
    swapped.swap(0, 1);
    assert_eq!(Btf::parse(swapped).unwrap_err(), Malformed::ByteOrder);
    let mut later = Writer::new().finish();
    later[2] = 2;
    assert_eq!(Btf::parse(later).unwrap_err(), Malformed::Version(2));
    let short = |bytes| matches!(Btf::parse(bytes).unwrap_err(), Malformed::Short { .. });
    assert!(short(Vec::new()));
    assert!(short(Writer::new().finish()[..20].to_vec()));
}

/// A struct of the model: named members, and anonymous structs among them.
#[derive(Clone, Debug)]
enum Part {
    Word(String),
    Nameless(Vec<Part>),
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let word = "[a-z]{3}".prop_map(Part::Word);
    let part = word.prop_recursive(4, 24, 4, |inner| {
        proptest::collection::vec(inner, 0..4).prop_map(Part::Nameless)
    });
    proptest::collection::vec(part, 0..6)
}

/// Writes the struct; answers its number and its bytes, and lists each member's offset.
fn write(
    writer: &mut Writer,
    name: &str,
    parts: &[Part],
    start: u32,
    expected: &mut Vec<(String, u32)>,
) -> (TypeId, u32) {
    let word = writer.add(Kind::Int, "u32", (0, false), 4, &[32]);
    let alias = writer.add(Kind::Typedef, "__u32", (0, false), word.0, &[]);
    let mut at = 0;
    let mut members = Vec::new();
    for part in parts {
        let (called, id, size) = match part {
            Part::Word(called) => {
                expected.push((called.clone(), start + at));
                (called.as_str(), alias, 4)
            }
            Part::Nameless(inner) => {
                let (id, size) = write(writer, "", inner, start + at, expected);
                ("", id, size)
            }
        };
        members.extend([writer.name(called.as_bytes()), id.0, at * 8]);
        at += size;
    }
    let count = u32::try_from(parts.len()).unwrap();
    let id = writer.add(Kind::Struct, name, (count, false), at, &members);
    (id, at)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever is nested in whatever, in vmlinux or in a module: a member is where the
    /// model has it, and what the model does not have is not found.
    #[test]
    fn members_are_where_the_model_has_them(parts in parts(), in_module: bool) {
        let mut writer = Writer::new();
        writer.add(Kind::Int, "u8", (0, false), 1, &[8]);
        let base = writer.finish();
        let mut expected = Vec::new();
        let mut kernel = if in_module {
            let on = Btf::parse(base.clone()).unwrap();
            let mut module = Writer::on_top_of(&on);
            write(&mut module, "s", &parts, 0, &mut expected);
            let mut kernel = KernelBtf::of(base, "1".to_owned()).unwrap();
            kernel.add_module("virtio_ring", module.finish()).unwrap();
            kernel
        } else {
            write(&mut writer, "s", &parts, 0, &mut expected);
            KernelBtf::of(writer.finish(), "1".to_owned()).unwrap()
        };
        let mut seen = std::collections::HashSet::new();
        for (name, offset) in &expected {
            // C has no two members of one name; the first one counts.
            if seen.insert(name) {
                let found = kernel.member("s", name).unwrap();
                prop_assert_eq!((found.offset, found.size), (*offset, 4));
            }
        }
        prop_assert_eq!(kernel.find_member("s", "none").unwrap(), None);
        prop_assert_eq!(kernel.size_of("s").unwrap(), 4 * u32::try_from(expected.len()).unwrap());
        // A module that does not understand its kernel takes nothing from the others.
        prop_assert!(kernel.add_module("virtio_x", b"nonsense".to_vec()).is_err());
        prop_assert!(kernel.size_of("s").is_ok());
    }

    /// Damage makes errors and wrong answers, no panics and no endless loops.
    #[test]
    fn damage_does_no_harm(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<proptest::sample::Index>(),
        cuts: bool,
    ) {
        let mut bytes = std::fs::read(directory("7.2").join("vmlinux")).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        explore(bytes);
    }

    #[test]
    fn anything_does_no_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        explore(bytes.clone());
        let header = Writer::new().finish();
        let length = bytes.len().min(8);
        bytes.splice(..length, header[..8].iter().copied());
        explore(bytes);
    }
}

/// Asks everything there is to ask.
fn explore(bytes: Vec<u8>) {
    let Ok(kernel) = KernelBtf::of(bytes.clone(), "1".to_owned()) else {
        return;
    };
    for member in ["split.vring.num", "packed.vring.num", "layout", "vq.index"] {
        let _ = kernel.member("vring_virtqueue", member);
    }
    let _ = kernel.size_of("virtio_device");
    let _ = kernel.enum_values("vq_layout");
    let base = Arc::new(Btf::parse(bytes.clone()).unwrap());
    for id in (0..=base.end()).map(TypeId) {
        if let Some(found) = base.get(id) {
            assert!(base.members(&found).count() <= bytes.len());
            assert!(base.values(&found).count() <= bytes.len());
        }
    }
    let _ = Btf::parse_module(bytes, base);
}
