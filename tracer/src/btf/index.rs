//! The numbers of some functions among a kernel's types, as a BTF of its own.

use super::raw::{Btf, Kind, TypeId};

/// Bytes of a BTF's header (Linux `struct btf_header`).
const HEADER: u32 = 24;
/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;

/// A BTF that has the functions of `names` which `from` has, each with the number that it has
/// there. All types before them are forward declarations without a name.
///
/// aya takes a program's function by its name and looks for it from the first type to the
/// last, and a kernel has a hundred thousand: of the instructions that it took to load and
/// attach all programs a fifth did nothing else. Among these types nothing has a name but
/// what is looked for.
pub(super) fn of_functions(from: &Btf, names: &[&str]) -> Vec<u8> {
    let mut wanted: Vec<(TypeId, &str)> = names
        .iter()
        .filter_map(|name| Some((from.named(Kind::Func, name).next()?.0, *name)))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let last = wanted.last().map_or(0, |(id, _)| id.0);

    // Each type is a name, its kind, and the type of the function: none.
    let mut types: Vec<u32> = [0, (Kind::Fwd as u32) << 24, 0].repeat(last as usize);
    let mut strings = vec![0];
    for (id, name) in wanted {
        // Numbers count from 1: 0 is `void`.
        let at = 3 * (id.0 as usize - 1);
        if let Some([offset, info, _]) = types.get_mut(at..at + 3) {
            *offset = strings.len() as u32;
            *info = (Kind::Func as u32) << 24;
            strings.extend(name.bytes());
            strings.push(0);
        }
    }

    let length = (types.len() * size_of::<u32>()) as u32;
    let mut bytes = MAGIC.to_ne_bytes().to_vec();
    bytes.extend([1, 0]);
    let header = [HEADER, 0, length, length, strings.len() as u32];
    let words = header.iter().chain(&types);
    bytes.extend(words.flat_map(|word| word.to_ne_bytes()));
    bytes.extend(strings);
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::writer::Writer;
    use super::*;

    /// Some types, functions among them.
    fn kernel() -> Btf {
        let mut writer = Writer::new();
        let int = writer.add(Kind::Int, "int", (0, false), 4, &[32]);
        let proto = writer.add(Kind::FuncProto, "", (0, false), int.0, &[]);
        for (kind, name) in [
            (Kind::Func, "vring_interrupt"),
            (Kind::Typedef, "vp_notify"),
            (Kind::Func, "vp_notify"),
            (Kind::Func, "schedule"),
            (Kind::Func, "virtqueue_kick"),
        ] {
            writer.add(kind, name, (0, false), proto.0, &[]);
        }
        Btf::parse(writer.finish()).unwrap()
    }

    #[test]
    fn functions_keep_their_numbers_and_nothing_else_has_a_name() {
        let kernel = kernel();
        let names = ["virtqueue_kick", "vp_notify", "is_not_there", "vp_notify"];
        let bytes = of_functions(&kernel, &names);
        let index = Btf::parse(bytes.clone()).unwrap();
        let by_aya = aya::Btf::parse(&bytes, aya::Endianness::default()).unwrap();
        for name in ["virtqueue_kick", "vp_notify"] {
            let number = kernel.named(Kind::Func, name).next().unwrap().0;
            assert_eq!(index.named(Kind::Func, name).next().unwrap().0, number);
            let by_aya = by_aya.id_by_type_name_kind(name, aya_obj::btf::BtfKind::Func);
            assert_eq!(by_aya.unwrap(), number.0);
        }
        for name in ["schedule", "vring_interrupt", "is_not_there"] {
            assert!(index.named(Kind::Func, name).next().is_none(), "{name}");
            assert!(
                by_aya
                    .id_by_type_name_kind(name, aya_obj::btf::BtfKind::Func)
                    .is_err()
            );
        }
        assert!(index.named(Kind::Typedef, "vp_notify").next().is_none());
    }

    #[test]
    fn without_functions_there_is_nothing() {
        let index = Btf::parse(of_functions(&kernel(), &["is_not_there"])).unwrap();
        assert_eq!(index.end(), 1);
    }
}
