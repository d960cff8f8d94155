//! What functions take: their number of parameters, and the types of those.

use anyhow::Result;

use super::{Btf, MAX_DEPTH, Type, kind, u32_at};

/// One parameter of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    pub name: String,
    /// As in C without qualifiers: `struct bio *`, `size_t`, `void *`.
    pub type_desc: String,
}

impl Btf {
    /// The id of a kernel function: what a trampoline is attached by.
    pub fn func_id(&self, name: &str) -> Option<u32> {
        self.named(name, &[kind::FUNC]).next().map(|(id, _)| id)
    }

    /// The id of a typedef.
    pub fn typedef_id(&self, name: &str) -> Option<u32> {
        self.named(name, &[kind::TYPEDEF]).next().map(|(id, _)| id)
    }

    /// Parameters of a kernel function; their number is where fexit finds the return value.
    /// `None` also if two functions of that name disagree in types: which one is meant is unknown.
    pub fn func_params(&self, name: &str) -> Option<Vec<Param>> {
        let mut found = self.named(name, &[kind::FUNC]).map(|(_, ty)| self.params(ty.size_or_type));
        let first = found.next()??;
        let types =
            |params: &[Param]| -> Vec<String> { params.iter().map(|p| p.type_desc.clone()).collect() };
        found.all(|other| other.is_some_and(|other| types(&other) == types(&first))).then_some(first)
    }

    /// Parameters of a `typedef R (*name)(...)`, such as `btf_trace_block_bio_queue`,
    /// whose first is the `void *` of the tracepoint itself.
    pub fn typedef_func_params(&self, name: &str) -> Option<Vec<Param>> {
        self.named(name, &[kind::TYPEDEF]).find_map(|(id, _)| {
            let (_, pointer) = self.resolve(id)?;
            (pointer.kind == kind::PTR).then(|| self.params(pointer.size_or_type))?
        })
    }
}

/// Where types and their names are looked up: the kernel's, or a module's together with them.
trait Types {
    /// A type, and the blob that its own data is in.
    fn at(&self, id: u32) -> Option<(&Btf, Type)>;
    fn text(&self, name: u32) -> String;

    fn params(&self, mut proto: u32) -> Option<Vec<Param>> {
        let mut depth = MAX_DEPTH;
        let (blob, ty) = loop {
            let (blob, ty) = self.at(proto)?;
            depth = depth.checked_sub(1)?;
            match ty.kind {
                kind::FUNC_PROTO => break (blob, ty),
                kind::TYPEDEF => proto = ty.size_or_type,
                _ => return None,
            }
        };
        let param = |i: usize| {
            let at = ty.tail + i * 8;
            Some(Param {
                name: self.text(u32_at(&blob.data, at)?),
                type_desc: self.describe(u32_at(&blob.data, at + 4)?),
            })
        };
        (0..ty.vlen).map(param).collect()
    }

    fn describe(&self, mut id: u32) -> String {
        let mut stars = String::new();
        for _ in 0..MAX_DEPTH {
            let Some((_, ty)) = self.at(id) else {
                return join("void", &stars);
            };
            let prefix = match ty.kind {
                kind::PTR => {
                    stars.push('*');
                    id = ty.size_or_type;
                    continue;
                }
                kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = ty.size_or_type;
                    continue;
                }
                kind::STRUCT => "struct ",
                kind::FWD if !ty.flag => "struct ",
                kind::UNION | kind::FWD => "union ",
                kind::ENUM | kind::ENUM64 => "enum ",
                kind::FUNC_PROTO => return join("fn", &stars),
                kind::ARRAY => return join("array", &stars),
                _ => "",
            };
            return join(&format!("{prefix}{}", self.text(ty.name)), &stars);
        }
        String::from("?")
    }
}

impl Types for Btf {
    fn at(&self, id: u32) -> Option<(&Btf, Type)> {
        Some((self, self.ty(id)?))
    }
    fn text(&self, name: u32) -> String {
        self.string(name)
    }
}

/// A module's types, whose ids and names go on where the kernel's end.
pub struct ModuleBtf<'a> {
    kernel: &'a Btf,
    own: Btf,
}

impl<'a> ModuleBtf<'a> {
    /// Parses what `/sys/kernel/btf/MODULE` holds.
    ///
    /// # Errors
    /// As of [`Btf::parse`].
    pub fn parse(kernel: &'a Btf, data: Vec<u8>) -> Result<Self> {
        Ok(ModuleBtf { kernel, own: Btf::parse_types(data)? })
    }

    /// Parameters of a function of the module; `None` also if it has several of that name.
    pub fn func_params(&self, name: &str) -> Option<Vec<Param>> {
        let first = self.kernel.types.len();
        let mut found = (first..first + self.own.types.len() - 1).filter_map(|id| {
            let (_, ty) = self.at(u32::try_from(id).ok()?)?;
            (ty.kind == kind::FUNC && self.text(ty.name) == name).then_some(ty.size_or_type)
        });
        let proto = found.next()?;
        found.next().is_none().then(|| self.params(proto))?
    }
}

impl Types for ModuleBtf<'_> {
    fn at(&self, id: u32) -> Option<(&Btf, Type)> {
        // Entry 0 of either list is `void`.
        match (id as usize).checked_sub(self.kernel.types.len()) {
            None => self.kernel.at(id),
            Some(own) => self.own.at(u32::try_from(own + 1).ok()?),
        }
    }
    fn text(&self, name: u32) -> String {
        match (name as usize).checked_sub(self.kernel.strings.len()) {
            None => self.kernel.string(name),
            Some(own) => self.own.string(u32::try_from(own).unwrap_or(u32::MAX)),
        }
    }
}

fn join(name: &str, stars: &str) -> String {
    if stars.is_empty() { name.to_owned() } else { format!("{name} {stars}") }
}
