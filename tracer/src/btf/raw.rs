//! The bytes of one BTF: Linux `Documentation/bpf/btf.rst`, `include/uapi/linux/btf.h`.
//!
//! What is checked once, by [`Btf::parse`], is that each type lies within the bytes.
//! Numbers of types and offsets of names are checked where they are followed.

use std::sync::Arc;

use super::error::Malformed;

const MAGIC: u16 = 0xeb9f;
/// Bytes of a type before what its kind adds: `struct btf_type`.
const TYPE: usize = 12;
/// Bytes of `struct btf_header` as it has been from the beginning.
const HEADER: usize = 24;
/// Where newer headers say how long the parts of each kind are: `layout_off`.
const HEADER_LAYOUT: usize = 24;

/// The number of a type. 0 is `void`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TypeId(pub u32);

impl TypeId {
    /// `void`.
    pub const VOID: Self = Self(0);
}

/// What a type is: the `BTF_KIND_*` of Linux.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are Linux's")]
pub enum Kind {
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    Datasec = 15,
    Float = 16,
    DeclTag = 17,
    TypeTag = 18,
    Enum64 = 19,
    /// One that came later; it is skipped.
    Unknown = 0,
}

impl Kind {
    const ALL: [Self; 19] = [
        Self::Int,
        Self::Ptr,
        Self::Array,
        Self::Struct,
        Self::Union,
        Self::Enum,
        Self::Fwd,
        Self::Typedef,
        Self::Volatile,
        Self::Const,
        Self::Restrict,
        Self::Func,
        Self::FuncProto,
        Self::Var,
        Self::Datasec,
        Self::Float,
        Self::DeclTag,
        Self::TypeTag,
        Self::Enum64,
    ];

    fn from_raw(raw: u8) -> Self {
        let known = Self::ALL.into_iter().find(|kind| *kind as u8 == raw);
        known.unwrap_or(Self::Unknown)
    }

    /// Bytes after `struct btf_type`: once, and for each element.
    fn tail(self) -> Option<(usize, usize)> {
        Some(match self {
            Self::Unknown => return None,
            Self::Int | Self::Var | Self::DeclTag => (4, 0),
            Self::Array => (12, 0),
            Self::Struct | Self::Union | Self::Datasec | Self::Enum64 => (0, 12),
            Self::Enum | Self::FuncProto => (0, 8),
            Self::Ptr
            | Self::Fwd
            | Self::Typedef
            | Self::Volatile
            | Self::Const
            | Self::Restrict
            | Self::Func
            | Self::Float
            | Self::TypeTag => (0, 0),
        })
    }
}

/// One type, as it stands in the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Type<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its name; empty if it has none.
    pub name: &'a [u8],
    /// `size` or `type`, as the kind has it.
    pub size_or_type: u32,
    /// How many elements it has.
    pub(super) count: u32,
    flag: bool,
    tail: &'a [u8],
}

#[cfg(any(test, feature = "fixtures"))]
impl Type<'_> {
    /// Linux `btf_type_kflag`.
    pub(super) fn flag(&self) -> bool {
        self.flag
    }
}

/// A member of a struct or union.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawMember<'a> {
    /// Its name; empty if it has none.
    pub name: &'a [u8],
    /// What it is.
    pub kind: TypeId,
    /// Where it begins, in bits.
    pub bit_offset: u32,
    /// How many bits it has, if it is a bit field; else 0.
    pub bits: u32,
}

/// The type information of vmlinux, or of one module on top of it.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    strings: std::ops::Range<usize>,
    /// Where each type begins in `bytes`.
    types: Vec<u32>,
    /// The number of `types[0]`.
    first: u32,
    /// The offset of the first byte of `strings`.
    first_string: u32,
    base: Option<Arc<Btf>>,
    by_name: Names,
}

impl Btf {
    /// Reads the BTF of vmlinux, or any that stands by itself.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Malformed> {
        Self::new(bytes, None)
    }

    /// Reads the BTF of a module, whose types and names go on where `base` ends.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn parse_module(bytes: Vec<u8>, base: Arc<Self>) -> Result<Self, Malformed> {
        Self::new(bytes, Some(base))
    }

    fn new(bytes: Vec<u8>, base: Option<Arc<Self>>) -> Result<Self, Malformed> {
        let header = Header::read(&bytes)?;
        let (first, first_string) = match &base {
            Some(base) => (base.end(), base.end_of_strings()),
            // 0 is `void`, which stands in no file.
            None => (1, 0),
        };
        let mut btf = Self {
            types: Vec::new(),
            strings: header.strings.clone(),
            first,
            first_string,
            base,
            by_name: Names::default(),
            bytes,
        };
        btf.find_types(&header)?;
        btf.find_names();
        Ok(btf)
    }

    fn find_types(&mut self, header: &Header) -> Result<(), Malformed> {
        let end = header.types.end;
        let mut at = header.types.start;
        while at < end {
            let id = self.end();
            if id == u32::MAX {
                return Err(Malformed::TooMany);
            }
            let short = Malformed::Short { what: "type", at };
            let info = (at + TYPE <= end).then(|| u32_at(&self.bytes, at + 4));
            let info = info.flatten().ok_or(short)?;
            let raw = kind_of(info);
            let (once, each) = Kind::from_raw(raw)
                .tail()
                .or_else(|| header.tail_of(&self.bytes, raw))
                .ok_or(Malformed::Kind { id, kind: raw })?;
            let length = each
                .checked_mul(count_of(info) as usize)
                .and_then(|all| all.checked_add(once + TYPE))
                .filter(|length| *length <= end - at)
                .ok_or(short)?;
            self.types
                .push(u32::try_from(at).map_err(|_| Malformed::TooMany)?);
            at += length;
        }
        Ok(())
    }

    fn find_names(&mut self) {
        let mut names = Names::with_room_for(self.types.len());
        // From behind, because each name is put before those that are there.
        for place in (0..self.types.len()).rev() {
            let name = self.types.get(place).and_then(|at| {
                let name = self.string(u32_at(&self.bytes, *at as usize)?);
                (!name.is_empty()).then_some(name)
            });
            if let Some(name) = name {
                names.add(name, place);
            }
        }
        self.by_name = names;
    }

    /// One more than the number of the last type.
    pub fn end(&self) -> u32 {
        // `find_types` sees to it that they can be numbered.
        self.first + u32::try_from(self.types.len()).unwrap_or(u32::MAX - self.first)
    }

    /// The number of the first type that stands here and not in the base.
    pub fn start(&self) -> u32 {
        self.first
    }

    /// The offset after the last name.
    pub(super) fn end_of_strings(&self) -> u32 {
        let length = u32::try_from(self.strings.len()).unwrap_or(u32::MAX);
        self.first_string.saturating_add(length)
    }

    /// The type of that number, here or in the base.
    pub fn get(&self, id: TypeId) -> Option<Type<'_>> {
        if id.0 < self.first {
            return self.base.as_ref()?.get(id);
        }
        let at = *self.types.get((id.0 - self.first) as usize)? as usize;
        let info = u32_at(&self.bytes, at + 4)?;
        // The next type, or the end of all, bounds what belongs to this one.
        let next = self.types.get((id.0 - self.first) as usize + 1);
        let tail = match next {
            Some(next) => self.bytes.get(at + TYPE..*next as usize)?,
            None => self.bytes.get(at + TYPE..)?,
        };
        Some(Type {
            kind: Kind::from_raw(kind_of(info)),
            name: self.string(u32_at(&self.bytes, at)?),
            size_or_type: u32_at(&self.bytes, at + 8)?,
            count: count_of(info),
            flag: info >> 31 == 1,
            tail,
        })
    }

    /// Types of that kind and name that stand here; those of the base do not count.
    pub fn named(&self, kind: Kind, name: &str) -> impl Iterator<Item = (TypeId, Type<'_>)> {
        let places = self.by_name.places(name.as_bytes());
        places
            .filter_map(|place| {
                let id = TypeId(self.first + place);
                Some((id, self.get(id)?))
            })
            .filter(move |(_, found)| found.kind == kind && found.name == name.as_bytes())
    }

    /// The members of a struct or union; of anything else none.
    pub fn members<'a>(&'a self, of: &Type<'a>) -> impl Iterator<Item = RawMember<'a>> + use<'a> {
        let flag = of.flag;
        let is_composite = matches!(of.kind, Kind::Struct | Kind::Union);
        let count = if is_composite { of.count as usize } else { 0 };
        of.tail.chunks_exact(12).take(count).map(move |entry| {
            let word = |at| u32_at(entry, at).unwrap_or_default();
            let offset = word(8);
            let (bit_offset, bits) = match flag {
                true => (offset & 0x00ff_ffff, offset >> 24),
                false => (offset, 0),
            };
            RawMember {
                name: self.string(word(0)),
                kind: TypeId(word(4)),
                bit_offset,
                bits,
            }
        })
    }

    /// The names and values of an enum; of anything else none.
    pub fn values<'a>(&'a self, of: &Type<'a>) -> impl Iterator<Item = (&'a [u8], i64)> + use<'a> {
        let (size, count) = match of.kind {
            Kind::Enum => (8, of.count as usize),
            Kind::Enum64 => (12, of.count as usize),
            _ => (8, 0),
        };
        let signed = of.flag;
        of.tail.chunks_exact(size).take(count).map(move |entry| {
            let low = u32_at(entry, 4).unwrap_or_default();
            let value = match u32_at(entry, 8) {
                Some(high) => (u64::from(high) << 32 | u64::from(low)).cast_signed(),
                None if signed => i64::from(low.cast_signed()),
                None => i64::from(low),
            };
            (self.string(u32_at(entry, 0).unwrap_or_default()), value)
        })
    }

    /// What an array is of, and how many of it.
    pub(super) fn array(&self, of: &Type<'_>) -> Option<(TypeId, u32)> {
        (of.kind == Kind::Array).then_some(())?;
        Some((TypeId(u32_at(of.tail, 0)?), u32_at(of.tail, 8)?))
    }

    /// Numbers that the tail of `of` has and that name neither a type nor a string:
    /// for whoever copies a type.
    #[cfg(any(test, feature = "fixtures"))]
    pub(super) fn tail_words(&self, of: &Type<'_>) -> Vec<u32> {
        let (once, each) = of.kind.tail().unwrap_or_default();
        let tail = &of.tail[..once + each * of.count as usize];
        let words = tail.chunks_exact(4).filter_map(|word| u32_at(word, 0));
        words.collect()
    }

    fn string(&self, offset: u32) -> &[u8] {
        let Some(offset) = offset.checked_sub(self.first_string) else {
            return self.base.as_ref().map_or(&[], |base| base.string(offset));
        };
        let strings = self.bytes.get(self.strings.clone()).unwrap_or_default();
        let rest = strings.get(offset as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// Types by the hashes of their names: chains of places in a list of types. There are
/// 100,000 names and more in a kernel and a hundred are looked up, so no name is copied.
#[derive(Debug, Default)]
struct Names {
    /// The first place of each hash, plus 1; 0 where there is none.
    first: Vec<u32>,
    /// The next place of the same hash, plus 1, by place.
    next: Vec<u32>,
}

impl Names {
    fn with_room_for(types: usize) -> Self {
        Self {
            first: vec![0; types.next_power_of_two()],
            next: vec![0; types],
        }
    }

    fn add(&mut self, name: &[u8], place: usize) {
        let slot = self.slot(name);
        let number = u32::try_from(place + 1).unwrap_or(0);
        self.next[place] = std::mem::replace(&mut self.first[slot], number);
    }

    /// Places whose names may be `name`, in order.
    fn places(&self, name: &[u8]) -> impl Iterator<Item = u32> {
        let mut number = match self.first.is_empty() {
            true => 0,
            false => self.first[self.slot(name)],
        };
        std::iter::from_fn(move || {
            let place = number.checked_sub(1)?;
            number = self.next[place as usize];
            Some(place)
        })
    }

    /// FNV-1a: short names, and no one to choose them badly.
    fn slot(&self, name: &[u8]) -> usize {
        let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // A length that is a power of two.
        (hash ^ hash >> 32) as usize & (self.first.len() - 1)
    }
}

/// Where what is.
struct Header {
    types: std::ops::Range<usize>,
    strings: std::ops::Range<usize>,
    /// `struct btf_layout`s of newer kernels: how long each kind's parts are.
    layouts: std::ops::Range<usize>,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let short = |what, at| Malformed::Short { what, at };
        let word = |at| u32_at(bytes, at).ok_or(short("header", 0));
        let magic = bytes
            .first_chunk::<2>()
            .map(|magic| u16::from_ne_bytes(*magic))
            .ok_or(short("header", 0))?;
        if magic == MAGIC.swap_bytes() {
            return Err(Malformed::ByteOrder);
        }
        if magic != MAGIC {
            return Err(Malformed::Magic(magic));
        }
        let version = *bytes.get(2).ok_or(short("header", 0))?;
        if version != 1 {
            return Err(Malformed::Version(version));
        }
        let length = word(4)? as usize;
        if length < HEADER || length > bytes.len() {
            return Err(short("header", 0));
        }
        let part = |what, at| {
            let start = length + word(at)? as usize;
            let end = start + word(at + 4)? as usize;
            match end <= bytes.len() {
                true => Ok(start..end),
                false => Err(short(what, start)),
            }
        };
        let layouts = match length >= HEADER_LAYOUT + 8 {
            true => part("layouts of kinds", HEADER_LAYOUT)?,
            false => 0..0,
        };
        Ok(Self {
            types: part("types", 8)?,
            strings: part("names", 16)?,
            layouts,
        })
    }

    /// What the header says of a kind that we don't know: `struct btf_layout` of
    /// Linux has the bytes once and for each element, then flags.
    fn tail_of(&self, bytes: &[u8], kind: u8) -> Option<(usize, usize)> {
        let layouts = bytes.get(self.layouts.clone())?;
        let layout = layouts.get(usize::from(kind) * 4..)?.first_chunk::<4>()?;
        Some((usize::from(layout[0]), usize::from(layout[1])))
    }
}

/// Linux `BTF_INFO_KIND`.
fn kind_of(info: u32) -> u8 {
    (info >> 24 & 0x7f) as u8
}

/// Linux `BTF_INFO_VLEN`.
fn count_of(info: u32) -> u32 {
    info & 0x00ff_ffff
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*word))
}
