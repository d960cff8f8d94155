//! Functions whose calls of `_copy_to_user` and `_copy_from_user` take no probe.
//!
//! The kernel refuses kprobes in functions that are built without an entry for ftrace: lib/ and kernel/trace/ as a whole,
//! and what is `inline` in the source and was emitted all the same. It matters only where no usercopy check runs
//! (`hardened_usercopy=off` since 6.15): elsewhere the check counts them.

use super::caller_class;
use crate::abi::caller::{ARGUMENT, COUNTED_ELSEWHERE, OBSERVER};

/// Such functions of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Untraceable {
    /// What they copy.
    pub copies: &'static str,
    /// Names in the source; `*` at the end stands for anything.
    pub functions: &'static [&'static str],
}

const fn copying(copies: &'static str, functions: &'static [&'static str]) -> Untraceable {
    Untraceable { copies, functions }
}

/// Those that are known on the kernels looked at, beside the ones that move control bytes by [`caller_class`].
pub const UNTRACEABLE: &[Untraceable] = &[
    copying("numbers written to settings", &["kstrto*"]),
    copying("what drivers keep in a kfifo", &["kfifo_copy_to_user", "kfifo_copy_from_user"]),
    copying("what drivers in Rust copy", &["rust_helper_copy_to_user", "rust_helper_copy_from_user"]),
    copying("files of tracefs", &["seq_buf_to_user", "tracing_*", "trace_*"]),
    copying(
        "arguments and results of rare system calls",
        &[
            "__do_sys_add_key",
            "__do_sys_capget",
            "__do_sys_capset",
            "__do_sys_gethostname",
            "__do_sys_init_module",
            "__do_sys_landlock_create_ruleset",
            "__do_sys_prctl",
            "__do_sys_sched_getattr",
        ],
    ),
];

/// What a function copies that takes no probe, if that is known.
pub fn untraceable(function: &str) -> Option<&'static str> {
    let is = |name: &&str| match name.strip_suffix('*') {
        Some(start) => function.starts_with(start),
        None => *name == function,
    };
    if let Some(known) = UNTRACEABLE.iter().find(|known| known.functions.iter().any(is)) {
        return Some(known.copies);
    }
    match caller_class("__check_object_size", function)? {
        ARGUMENT => Some("arguments and socket options"),
        OBSERVER | COUNTED_ELSEWHERE => Some("nothing of the process's own"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_by_name_or_by_class() {
        assert_eq!(untraceable("kstrtou8_from_user"), Some("numbers written to settings"));
        assert_eq!(untraceable("copy_from_sockptr_offset"), Some("arguments and socket options"));
        assert_eq!(untraceable("process_fetch_insn"), Some("nothing of the process's own"));
        assert_eq!(untraceable("simple_read_from_buffer"), None);
        assert_eq!(untraceable("mem_rw"), None, "data is never left out");
    }
}
