//! Reads the kernel's type information (BTF): where a member lies, what an enum
//! value is, how many arguments a function takes. aya keeps its own private.
//!
//! The blob is trusted for nothing: every read is bounds-checked, every walk has a
//! budget, and what cannot be resolved is `None`, never a guess.

use anyhow::{Context as _, Result, bail, ensure};

use super::name_index::NameIndex;

pub use func::{ModuleBtf, Param};

const MAGIC: u16 = 0xeb9f;
/// Bytes of a `struct btf_header` that every version has.
const HEADER: usize = 24;
/// No kernel type nests deeper; a cyclic typedef in a broken blob would.
const MAX_DEPTH: usize = 32;
/// Members looked at in one lookup: `task_struct` has about 300.
const MEMBER_BUDGET: usize = 20_000;

mod kind {
    pub const PTR: u8 = 2;
    pub const ARRAY: u8 = 3;
    pub const STRUCT: u8 = 4;
    pub const UNION: u8 = 5;
    pub const ENUM: u8 = 6;
    pub const FWD: u8 = 7;
    pub const TYPEDEF: u8 = 8;
    pub const VOLATILE: u8 = 9;
    pub const CONST: u8 = 10;
    pub const RESTRICT: u8 = 11;
    pub const FUNC: u8 = 12;
    pub const FUNC_PROTO: u8 = 13;
    pub const TYPE_TAG: u8 = 18;
    pub const ENUM64: u8 = 19;
}

/// Bytes that follow the 12 common ones, or `None` for a kind newer than this parser.
fn tail_size(kind: u8, vlen: usize) -> Option<usize> {
    Some(match kind {
        1 | 14 | 17 => 4,             // INT, VAR, DECL_TAG
        2 | 7..=12 | 16 | 18 => 0,    // PTR, FWD, TYPEDEF, qualifiers, FUNC, FLOAT, TYPE_TAG
        3 => 12,                      // ARRAY
        4 | 5 | 15 | 19 => vlen * 12, // STRUCT, UNION, DATASEC, ENUM64
        6 | 13 => vlen * 8,           // ENUM, FUNC_PROTO
        _ => return None,
    })
}

/// Where a member lies in its outermost struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub offset: u32,
    /// 0 when the type has no size of its own (flexible array).
    pub size: u32,
    type_id: u32,
}

/// The kernel's types, indexed by name.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    /// Where each type starts in `data`; entry 0 is `void`.
    types: Vec<u32>,
    strings: std::ops::Range<usize>,
    index: NameIndex,
}

/// One `struct btf_type`.
#[derive(Debug, Clone, Copy)]
struct Type {
    name: u32,
    kind: u8,
    vlen: usize,
    flag: bool,
    /// Size in bytes, or the id of the type referred to, by kind.
    size_or_type: u32,
    /// Where the kind's own data starts.
    tail: usize,
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

impl Btf {
    /// Parses what `/sys/kernel/btf/vmlinux` holds.
    pub fn parse(data: Vec<u8>) -> Result<Self> {
        let mut btf = Self::parse_types(data)?;
        btf.index = NameIndex::build(btf.types.len(), |id| btf.indexed_name(id));
        Ok(btf)
    }

    /// The same without an index of names.
    fn parse_types(data: Vec<u8>) -> Result<Self> {
        ensure!(data.len() >= HEADER, "BTF is {} bytes, shorter than its header", data.len());
        let magic = u16::from_le_bytes([data[0], data[1]]);
        ensure!(magic == MAGIC, "BTF magic is {magic:#06x}, expected {MAGIC:#06x} (little-endian)");
        ensure!(data[2] == 1, "BTF version is {}, this program knows version 1", data[2]);
        let word = |at| u32_at(&data, at).map_or(0, |word| word as usize);
        let header = word(4);
        let section = |name: &str, offset: usize, len: usize| {
            let start = header.checked_add(offset);
            let end = start.and_then(|start| start.checked_add(len));
            match (start, end) {
                (Some(start), Some(end)) if header >= HEADER && end <= data.len() => Ok(start..end),
                _ => bail!("BTF {name} section lies outside the {} bytes read", data.len()),
            }
        };
        let types = section("type", word(8), word(12))?;
        let strings = section("string", word(16), word(20))?;
        let mut btf = Self { types: vec![0], strings, index: NameIndex::default(), data };
        btf.find_types(types)?;
        Ok(btf)
    }

    fn find_types(&mut self, section: std::ops::Range<usize>) -> Result<()> {
        let mut at = section.start;
        while at < section.end {
            let broken = || format!("BTF type {} at byte {at}", self.types.len());
            let ty = self.type_at(at).with_context(broken)?;
            let size = tail_size(ty.kind, ty.vlen)
                .with_context(|| format!("{}: kind {} is not known", broken(), ty.kind))?;
            let end = ty.tail + size;
            ensure!(end <= section.end, "{} is cut off", broken());
            self.types.push(u32::try_from(at).with_context(broken)?);
            at = end;
        }
        Ok(())
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let info = u32_at(&self.data, at + 4)?;
        Some(Type {
            name: u32_at(&self.data, at)?,
            kind: (info >> 24) as u8 & 0x1f,
            vlen: (info & 0xffff) as usize,
            flag: info >> 31 != 0,
            size_or_type: u32_at(&self.data, at + 8)?,
            tail: at + 12,
        })
    }

    fn ty(&self, id: u32) -> Option<Type> {
        match id {
            0 => None,
            _ => self.type_at(*self.types.get(id as usize)? as usize),
        }
    }

    fn bytes(&self, name: u32) -> &[u8] {
        let strings = &self.data[self.strings.clone()];
        let rest = strings.get(name as usize..).unwrap_or_default();
        rest.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    fn string(&self, name: u32) -> String {
        String::from_utf8_lossy(self.bytes(name)).into_owned()
    }

    /// The name under which a type can be looked up; ints, pointers and the like cannot.
    fn indexed_name(&self, id: usize) -> Option<&[u8]> {
        let ty = self.ty(id as u32)?;
        let wanted = matches!(
            ty.kind,
            kind::STRUCT | kind::UNION | kind::ENUM | kind::TYPEDEF | kind::FUNC | kind::ENUM64
        );
        let name = self.bytes(ty.name);
        (wanted && !name.is_empty()).then_some(name)
    }

    /// All types of one of `kinds` called `name`: BTF may hold several of one name.
    fn named<'a>(&'a self, name: &'a str, kinds: &'a [u8]) -> impl Iterator<Item = (u32, Type)> + 'a {
        self.index.candidates(name.as_bytes()).filter_map(move |id| {
            let ty = self.ty(id as u32)?;
            let same = kinds.contains(&ty.kind) && self.bytes(ty.name) == name.as_bytes();
            same.then_some((id as u32, ty))
        })
    }

    /// Looks through typedefs, qualifiers and tags.
    fn resolve(&self, mut id: u32) -> Option<(u32, Type)> {
        for _ in 0..MAX_DEPTH {
            let ty = self.ty(id)?;
            match ty.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = ty.size_or_type;
                }
                _ => return Some((id, ty)),
            }
        }
        None
    }

    fn size_of(&self, id: u32) -> Option<u32> {
        let (mut id, mut count) = (id, 1_u32);
        for _ in 0..MAX_DEPTH {
            let (_, ty) = self.resolve(id)?;
            match ty.kind {
                kind::PTR => return count.checked_mul(8),
                kind::ARRAY => {
                    count = count.checked_mul(u32_at(&self.data, ty.tail + 8)?)?;
                    id = u32_at(&self.data, ty.tail)?;
                }
                kind::FWD | kind::FUNC_PROTO => return None,
                _ => return count.checked_mul(ty.size_or_type),
            }
        }
        None
    }

    /// Finds `name` among the members of struct or union `ty`, anonymous ones included.
    fn find_member(&self, ty: Type, name: &str, depth: usize, budget: &mut usize) -> Option<Member> {
        for i in 0..ty.vlen {
            *budget = budget.checked_sub(1)?;
            let at = ty.tail + i * 12;
            let raw = u32_at(&self.data, at + 8)?;
            // With the flag set, the top byte is the size of a bit field.
            let (bits, bitfield) = if ty.flag { (raw & 0xff_ffff, raw >> 24) } else { (raw, 0) };
            let (type_id, offset) = (u32_at(&self.data, at + 4)?, bits / 8);
            let member = self.bytes(u32_at(&self.data, at)?);
            if member == name.as_bytes() {
                // A bit field has no byte offset to read at.
                let size = self.size_of(type_id).unwrap_or(0);
                return (bitfield == 0 && bits % 8 == 0).then_some(Member { offset, size, type_id });
            }
            if !member.is_empty() || depth == 0 {
                continue;
            }
            if let Some((_, inner)) = self.resolve(type_id)
                && matches!(inner.kind, kind::STRUCT | kind::UNION)
                && let Some(found) = self.find_member(inner, name, depth - 1, budget)
            {
                return Some(Member { offset: offset.checked_add(found.offset)?, ..found });
            }
        }
        None
    }

    fn find_path(&self, outer: Type, path: &str) -> Option<Member> {
        let mut budget = MEMBER_BUDGET;
        let (mut ty, mut offset) = (outer, 0_u32);
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next().filter(|part| !part.is_empty()) {
            let found = self.find_member(ty, part, MAX_DEPTH, &mut budget)?;
            offset = offset.checked_add(found.offset)?;
            if parts.peek().is_none() {
                return Some(Member { offset, ..found });
            }
            ty = self.resolve(found.type_id)?.1;
            if !matches!(ty.kind, kind::STRUCT | kind::UNION) {
                return None;
            }
        }
        None
    }

    /// Where `path` (`a`, or `a.b` into embedded structs) lies in `struct_name`.
    /// Members of anonymous structs and unions are found as in C. Not for bit fields.
    pub fn member(&self, struct_name: &str, path: &str) -> Option<Member> {
        self.named(struct_name, &[kind::STRUCT, kind::UNION]).find_map(|(_, ty)| self.find_path(ty, path))
    }

    pub fn member_offset(&self, struct_name: &str, path: &str) -> Option<u32> {
        Some(self.member(struct_name, path)?.offset)
    }

    /// The first byte of a member that is not 0 if it is true, and the bits of that byte that are its own: also of a bit
    /// field. Not for members of anonymous structs.
    pub fn flag(&self, struct_name: &str, member: &str) -> Option<(u32, u32)> {
        self.named(struct_name, &[kind::STRUCT]).find_map(|(_, ty)| {
            let at = (0..ty.vlen).map(|i| ty.tail + i * 12).find(|at| {
                u32_at(&self.data, *at).is_some_and(|name| self.bytes(name) == member.as_bytes())
            })?;
            let raw = u32_at(&self.data, at + 8)?;
            let (bits, width) = if ty.flag { (raw & 0xff_ffff, raw >> 24) } else { (raw, 0) };
            let mask =
                if width == 0 { 0xff } else { (1u32.checked_shl(width)?).wrapping_sub(1) << (bits % 8) };
            Some((bits / 8, mask & 0xff))
        })
    }

    /// Elements of an array member; `Some(0)` for a flexible one, `None` for no array.
    pub fn array_len(&self, struct_name: &str, path: &str) -> Option<u32> {
        let member = self.member(struct_name, path)?;
        let (_, ty) = self.resolve(member.type_id)?;
        (ty.kind == kind::ARRAY).then(|| u32_at(&self.data, ty.tail + 8))?
    }

    /// Size of a struct or union.
    pub fn struct_size(&self, name: &str) -> Option<u32> {
        Some(self.named(name, &[kind::STRUCT, kind::UNION]).next()?.1.size_or_type)
    }

    pub fn enum_value(&self, enum_name: &str, variant: &str) -> Option<i64> {
        self.named(enum_name, &[kind::ENUM, kind::ENUM64]).find_map(|(_, ty)| self.variant(ty, variant))
    }

    fn variant(&self, ty: Type, variant: &str) -> Option<i64> {
        let wide = ty.kind == kind::ENUM64;
        let step = if wide { 12 } else { 8 };
        for at in (0..ty.vlen).map(|i| ty.tail + i * step) {
            if self.bytes(u32_at(&self.data, at)?) != variant.as_bytes() {
                continue;
            }
            let low = u32_at(&self.data, at + 4)?;
            return Some(match (wide, ty.flag) {
                (true, _) => (u64::from(u32_at(&self.data, at + 8)?) << 32 | u64::from(low)) as i64,
                (false, true) => i64::from(low as i32),
                (false, false) => i64::from(low),
            });
        }
        None
    }
}

#[path = "btf_func.rs"]
mod func;

#[cfg(test)]
#[path = "btf_tests.rs"]
mod tests;
