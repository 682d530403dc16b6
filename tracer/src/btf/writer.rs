//! Writing BTF: for tests, and for cutting the few types a test needs out of a kernel's.

use std::collections::HashMap;

use super::raw::{Btf, Kind, Type, TypeId};

/// A BTF in the making.
#[derive(Debug)]
pub struct Writer {
    types: Vec<u32>,
    strings: Vec<u8>,
    interned: HashMap<Vec<u8>, u32>,
    next: u32,
    first_string: u32,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// One that stands by itself.
    pub fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
            interned: HashMap::from([(Vec::new(), 0)]),
            next: 1,
            first_string: 0,
        }
    }

    /// One that goes on where `base` ends, like a module's.
    pub fn on_top_of(base: &Btf) -> Self {
        Self {
            types: Vec::new(),
            strings: Vec::new(),
            interned: HashMap::from([(Vec::new(), 0)]),
            next: base.end(),
            first_string: base.end_of_strings(),
        }
    }

    /// The offset of a name, which is added if it is not there.
    pub fn name(&mut self, name: &[u8]) -> u32 {
        if let Some(at) = self.interned.get(name) {
            return *at;
        }
        let at = self.first_string + u32::try_from(self.strings.len()).expect("few names");
        self.strings.extend_from_slice(name);
        self.strings.push(0);
        self.interned.insert(name.to_vec(), at);
        at
    }

    /// Adds a type of `count` elements, whose tail is `tail`.
    pub fn add(
        &mut self,
        kind: Kind,
        name: &str,
        (count, flag): (u32, bool),
        size_or_type: u32,
        tail: &[u32],
    ) -> TypeId {
        let name = self.name(name.as_bytes());
        let info = (kind as u32) << 24 | count | u32::from(flag) << 31;
        self.types.extend([name, info, size_or_type]);
        self.types.extend(tail);
        self.next += 1;
        TypeId(self.next - 1)
    }

    /// The number that the next type gets.
    pub fn next_id(&self) -> TypeId {
        TypeId(self.next)
    }

    /// The bytes.
    pub fn finish(&self) -> Vec<u8> {
        let length = |bytes: usize| u32::try_from(bytes).expect("a small BTF");
        let types = length(self.types.len() * 4);
        let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let header = [24, 0, types, types, length(self.strings.len())];
        let words = header.iter().chain(&self.types);
        bytes.extend(words.flat_map(|word| word.to_ne_bytes()));
        bytes.extend(&self.strings);
        bytes
    }
}

/// What a test wants of a kernel's types.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Structs and unions by name, with all they contain.
    pub structs: &'a [&'a str],
    /// Enums by name.
    pub enums: &'a [&'a str],
    /// Functions by name; of their types nothing is kept.
    pub functions: &'a [&'a str],
}

/// Cuts `wanted` out of `from`: what pointers point to and what functions take is left
/// out. Types that `base`, cut out of `from`'s base before, has already are taken from
/// there.
pub fn cut(from: &Btf, base: Option<(&Btf, &HashMap<TypeId, TypeId>)>, wanted: Wanted<'_>) -> Cut {
    let mut cutter = Cutter {
        from,
        writer: base.map_or_else(Writer::new, |(base, _)| Writer::on_top_of(base)),
        ids: base.map(|(_, ids)| ids.clone()).unwrap_or_default(),
    };
    let kinds = [Kind::Struct, Kind::Union];
    for name in wanted.structs {
        for kind in kinds {
            for (id, _) in from.named(kind, name) {
                cutter.copy(id);
            }
        }
    }
    for name in wanted.enums {
        for (id, _) in from.named(Kind::Enum, name) {
            cutter.copy(id);
        }
    }
    for name in wanted.functions {
        if from.named(Kind::Func, name).next().is_some() {
            cutter.writer.add(Kind::Func, name, (0, false), 0, &[]);
        }
    }
    Cut {
        bytes: cutter.writer.finish(),
        ids: cutter.ids,
    }
}

/// What was cut out.
#[derive(Clone, Debug)]
pub struct Cut {
    /// A BTF of its own.
    pub bytes: Vec<u8>,
    /// The new number of each old type.
    pub ids: HashMap<TypeId, TypeId>,
}

struct Cutter<'a> {
    from: &'a Btf,
    writer: Writer,
    ids: HashMap<TypeId, TypeId>,
}

impl Cutter<'_> {
    fn copy(&mut self, id: TypeId) -> TypeId {
        if id == TypeId::VOID {
            return id;
        }
        if let Some(known) = self.ids.get(&id) {
            return *known;
        }
        let Some(found) = self.from.get(id) else {
            return TypeId::VOID;
        };
        let mut tail = self.from.tail_words(&found);
        let mut size_or_type = found.size_or_type;
        match found.kind {
            Kind::Struct | Kind::Union => {
                let members: Vec<_> = self.from.members(&found).collect();
                for (words, member) in tail.chunks_exact_mut(3).zip(members) {
                    words[0] = self.writer.name(member.name);
                    words[1] = self.copy(member.kind).0;
                }
            }
            Kind::Enum => {
                let values: Vec<_> = self.from.values(&found).collect();
                for (words, (name, _)) in tail.chunks_exact_mut(2).zip(values) {
                    words[0] = self.writer.name(name);
                }
            }
            Kind::Array => {
                tail[0] = self.copy(TypeId(tail[0])).0;
                tail[1] = self.copy(TypeId(tail[1])).0;
            }
            Kind::Ptr => size_or_type = 0,
            Kind::Int | Kind::Float => {}
            _ => size_or_type = self.copy(TypeId(size_or_type)).0,
        }
        let new = self.write(&found, size_or_type, &tail);
        self.ids.insert(id, new);
        new
    }

    fn write(&mut self, found: &Type<'_>, size_or_type: u32, tail: &[u32]) -> TypeId {
        let name = String::from_utf8_lossy(found.name).into_owned();
        let shape = (found.count, found.flag());
        self.writer
            .add(found.kind, &name, shape, size_or_type, tail)
    }
}
