//! A kernel without BTF: no structure's layout is known, and no trampoline attaches.

use crate::Check;
use crate::reduced::{self, Reduced};

pub fn checks() -> Vec<Check> {
    reduced::checks(Reduced {
        name: "no_btf",
        hides_btf: true,
        cause: "structure offsets are unknown: /sys/kernel/btf/vmlinux is not there",
        remedy: "boot a kernel with CONFIG_DEBUG_INFO_BTF=y",
    })
}
