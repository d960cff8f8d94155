//! The functions and tracepoints that programs attach to, in the form in which aya wants them.

use std::collections::BTreeMap;

use aya::{Btf, BtfError, Endianness};
use tracer_ebpf::table::{Method, ROWS};

/// What the iterator over tasks is called in BTF.
const TASK_ITERATOR: &str = "bpf_iter_task";

/// The kernel's type information with the table's functions at their ids, and nothing else in it.
///
/// aya finds a function's id by walking over all types (some 130,000) and comparing names, for each program
/// anew: with the kernel's own BTF that took most of the time until counting began.
pub fn functions(
    id: impl Fn(&str) -> Option<u32>,
    tracepoint_id: impl Fn(&str) -> Option<u32>,
) -> Result<Btf, BtfError> {
    let symbols = |method| {
        let ways = ROWS.iter().flat_map(|row| row.ways).filter(move |way| way.method == method);
        ways.map(|way| way.symbol)
    };
    let names = symbols(Method::Trampoline).chain([TASK_ITERATOR]);
    let functions = names.filter_map(|name| Some((id(name)?, (name, false))));
    let tracepoints = symbols(Method::BtfTracepoint);
    let tracepoints = tracepoints.filter_map(|name| Some((tracepoint_id(name)?, (name, true))));
    let found: BTreeMap<u32, (&str, bool)> = functions.chain(tracepoints).collect();
    let mut types = Types { bytes: Vec::new(), strings: vec![0] };
    // `void` has id 0.
    let mut next = 1;
    for (id, (name, is_tracepoint)) in found {
        for _ in next..id {
            types.add(FWD, "");
        }
        match is_tracepoint {
            true => types.add(TYPEDEF, &format!("btf_trace_{name}")),
            false => types.add(FUNC, name),
        }
        next = id + 1;
    }
    types.parse()
}

/// Kinds of types, include/uapi/linux/btf.h. Each of these takes 12 bytes.
const FWD: u32 = 7;
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;
const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
const HEADER: u32 = 24;

/// Type information in the form that the kernel has it in, but of names alone.
struct Types {
    bytes: Vec<u8>,
    strings: Vec<u8>,
}

impl Types {
    fn add(&mut self, kind: u32, name: &str) {
        let at = if name.is_empty() { 0 } else { self.strings.len() as u32 };
        if !name.is_empty() {
            self.strings.extend(name.bytes().chain([0]));
        }
        for word in [at, kind << 24, 0] {
            self.bytes.extend(word.to_ne_bytes());
        }
    }

    fn parse(self) -> Result<Btf, BtfError> {
        let (types, strings) = (self.bytes.len() as u32, self.strings.len() as u32);
        let mut text = MAGIC.to_ne_bytes().to_vec();
        // Version, flags.
        text.extend([VERSION, 0]);
        for word in [HEADER, 0, types, types, strings] {
            text.extend(word.to_ne_bytes());
        }
        text.extend(self.bytes);
        text.extend(self.strings);
        Btf::parse(&text, Endianness::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aya_obj::btf::BtfKind;

    #[test]
    fn functions_keep_their_ids() {
        let btf = functions(
            |name| match name {
                "filemap_read" => Some(7),
                "do_splice" => Some(3),
                TASK_ITERATOR => Some(90_000),
                _ => None,
            },
            |name| (name == "sys_exit").then_some(5),
        )
        .expect("valid");
        assert_eq!(btf.id_by_type_name_kind("btf_trace_sys_exit", BtfKind::Typedef).ok(), Some(5));
        let id = |name| btf.id_by_type_name_kind(name, BtfKind::Func).ok();
        assert_eq!(id("do_splice"), Some(3));
        assert_eq!(id("filemap_read"), Some(7));
        assert_eq!(id(TASK_ITERATOR), Some(90_000));
        assert_eq!(id("pipe_read"), None);
    }
}
