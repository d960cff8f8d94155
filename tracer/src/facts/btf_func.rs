//! What functions take: their number of parameters, and the types of those.

use super::{Btf, MAX_DEPTH, kind, u32_at};

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

    /// Parameters of a kernel function; their number is where fexit finds the return value.
    /// `None` also if two functions of that name disagree: which one is meant is unknown.
    pub fn func_params(&self, name: &str) -> Option<Vec<Param>> {
        let mut found = self.named(name, &[kind::FUNC]).map(|(_, ty)| self.params(ty.size_or_type));
        let first = found.next()??;
        found.all(|other| other.is_some_and(|other| other.len() == first.len())).then_some(first)
    }

    /// Parameters of a `typedef R (*name)(...)`, such as `btf_trace_block_bio_queue`,
    /// whose first is the `void *` of the tracepoint itself.
    pub fn typedef_func_params(&self, name: &str) -> Option<Vec<Param>> {
        self.named(name, &[kind::TYPEDEF]).find_map(|(id, _)| {
            let (_, pointer) = self.resolve(id)?;
            (pointer.kind == kind::PTR).then(|| self.params(pointer.size_or_type))?
        })
    }

    fn params(&self, proto: u32) -> Option<Vec<Param>> {
        let (_, ty) = self.resolve(proto)?;
        if ty.kind != kind::FUNC_PROTO {
            return None;
        }
        let param = |i: usize| {
            let at = ty.tail + i * 8;
            Some(Param {
                name: self.string(u32_at(&self.data, at)?),
                type_desc: self.describe(u32_at(&self.data, at + 4)?),
            })
        };
        (0..ty.vlen).map(param).collect()
    }

    fn describe(&self, mut id: u32) -> String {
        let mut stars = String::new();
        for _ in 0..MAX_DEPTH {
            let Some(ty) = self.ty(id) else {
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
            return join(&format!("{prefix}{}", self.string(ty.name)), &stars);
        }
        String::from("?")
    }
}

fn join(name: &str, stars: &str) -> String {
    if stars.is_empty() { name.to_owned() } else { format!("{name} {stars}") }
}
