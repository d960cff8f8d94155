//! The functions that programs attach to, in the form in which aya wants them.

use std::collections::BTreeMap;

use aya::Btf;
use aya_obj::btf::{BtfType, Func, FuncLinkage};
use tracer_ebpf::table::{Method, ROWS};

/// What the iterator over tasks is called in BTF.
const TASK_ITERATOR: &str = "bpf_iter_task";

/// The kernel's type information with the table's functions at their ids, and nothing else in it.
///
/// aya finds a function's id by walking over all types (some 130,000) and comparing names, for each program
/// anew: with the kernel's own BTF that took most of the time until counting began.
pub fn functions(id: impl Fn(&str) -> Option<u32>) -> Btf {
    let ways = ROWS.iter().flat_map(|row| row.ways).filter(|way| way.method == Method::Trampoline);
    let names = ways.map(|way| way.symbol).chain([TASK_ITERATOR]);
    let found: BTreeMap<u32, &str> = names.filter_map(|name| Some((id(name)?, name))).collect();
    let mut btf = Btf::new();
    // A new one begins with `void`, which has id 0.
    let mut next = 1;
    for (id, name) in found {
        for _ in next..id {
            btf.add_type(BtfType::Unknown);
        }
        let name = btf.add_string(name);
        btf.add_type(BtfType::Func(Func::new(name, 0, FuncLinkage::Static)));
        next = id + 1;
    }
    btf
}

#[cfg(test)]
mod tests {
    use super::*;
    use aya_obj::btf::BtfKind;

    #[test]
    fn functions_keep_their_ids() {
        let btf = functions(|name| match name {
            "filemap_read" => Some(7),
            "do_splice" => Some(3),
            TASK_ITERATOR => Some(90_000),
            _ => None,
        });
        let id = |name| btf.id_by_type_name_kind(name, BtfKind::Func).ok();
        assert_eq!(id("do_splice"), Some(3));
        assert_eq!(id("filemap_read"), Some(7));
        assert_eq!(id(TASK_ITERATOR), Some(90_000));
        assert_eq!(id("pipe_read"), None);
    }
}
