//! Members by their names, through whatever stands between.

use super::raw::{Btf, Kind, Type, TypeId};

/// Steps through typedefs, arrays or anonymous structs after which a type is taken for
/// one that contains itself. Linux' own nest some ten deep.
const MAX_DEPTH: usize = 64;

/// Members looked at in one step through anonymous structs, after which the same goes:
/// what contains itself twice would take for ever within any depth.
const MAX_MEMBERS: usize = 100_000;

/// Where a member is in its struct.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Bytes from the beginning of the outermost struct.
    pub offset: u32,
    /// How many bytes it has.
    pub size: u32,
    /// Its type, without typedefs and qualifiers.
    pub(super) id: TypeId,
}

/// What stopped the search for a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Obstacle {
    /// There is no such member, or the types cannot be followed.
    Absent,
    /// It is a bit field, or does not begin with a byte.
    BitField,
}

impl Btf {
    /// The member of `of` that `path` leads to: `split.vring.num` is `num` in `vring` in
    /// `split`. What has no name is looked through.
    pub(super) fn member(&self, of: TypeId, path: &str) -> Result<Member, Obstacle> {
        let mut at = Position { id: of, bits: 0 };
        for name in path.split('.') {
            let mut left = MAX_MEMBERS;
            at = self
                .step(at, name.as_bytes(), MAX_DEPTH, &mut left)
                .ok_or(Obstacle::Absent)??;
        }
        let id = self.strip(at.id).ok_or(Obstacle::Absent)?;
        if !at.bits.is_multiple_of(8) {
            return Err(Obstacle::BitField);
        }
        Ok(Member {
            offset: u32::try_from(at.bits / 8).map_err(|_| Obstacle::Absent)?,
            size: self.size(id).ok_or(Obstacle::Absent)?,
            id,
        })
    }

    /// One step down: from a struct or union to its member, also when that stands in an
    /// anonymous one.
    fn step(
        &self,
        at: Position,
        name: &[u8],
        depth: usize,
        left: &mut usize,
    ) -> Option<Result<Position, Obstacle>> {
        let depth = depth.checked_sub(1)?;
        let outer = self.get(self.strip(at.id)?)?;
        for member in self.members(&outer) {
            *left = left.checked_sub(1)?;
            let inner = Position {
                id: member.kind,
                bits: at.bits + u64::from(member.bit_offset),
            };
            if member.name == name {
                return Some(match member.bits {
                    0 => Ok(inner),
                    _ => Err(Obstacle::BitField),
                });
            }
            if member.name.is_empty()
                && let Some(found) = self.step(inner, name, depth, left)
            {
                return Some(found);
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn strip(&self, mut id: TypeId) -> Option<TypeId> {
        for _ in 0..MAX_DEPTH {
            let found = self.get(id)?;
            if !is_transparent(&found) {
                return Some(id);
            }
            id = TypeId(found.size_or_type);
        }
        None
    }

    /// Bytes of a type.
    pub(super) fn size(&self, id: TypeId) -> Option<u32> {
        self.size_within(id, MAX_DEPTH)
    }

    fn size_within(&self, id: TypeId, depth: usize) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        let found = self.get(id)?;
        match found.kind {
            Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Float => {
                Some(found.size_or_type)
            }
            Kind::Ptr => u32::try_from(size_of::<usize>()).ok(),
            Kind::Array => {
                let (of, count) = self.array(&found)?;
                self.size_within(of, depth)?.checked_mul(count)
            }
            _ if is_transparent(&found) => self.size_within(TypeId(found.size_or_type), depth),
            _ => None,
        }
    }
}

/// A place in a struct, and what is there.
#[derive(Clone, Copy)]
struct Position {
    id: TypeId,
    bits: u64,
}

fn is_transparent(found: &Type<'_>) -> bool {
    matches!(
        found.kind,
        Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag
    )
}
