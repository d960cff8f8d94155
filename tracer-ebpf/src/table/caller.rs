//! Which functions call the usercopy check, or a traced copy function, for something else than their neighbours.
//!
//! What is not named is told by what follows the check: a copy through an iterator moves data, one through a user
//! pointer is judged by the system call. The compiler inlines: a name may stand for one that is inlined into it.

use super::same;
use crate::abi::caller::{ARGUMENT, BLOCK_DRIVER, COUNTED_ELSEWHERE, DATA, OBSERVER};

/// Functions of one class in one source file.
#[derive(Clone, Copy, Debug)]
pub struct Callers {
    /// One of [`crate::abi::caller`].
    pub class: u32,
    /// The function that they call; its return address is looked up.
    pub target: &'static str,
    /// The kernel's source file.
    pub source: &'static str,
    /// Names in the source; `*` at the beginning stands for anything.
    pub functions: &'static [&'static str],
}

const CHECK: &str = "__check_object_size";

const fn checked(class: u32, source: &'static str, functions: &'static [&'static str]) -> Callers {
    Callers { class, target: CHECK, source, functions }
}
const fn memory_read(class: u32, source: &'static str, functions: &'static [&'static str]) -> Callers {
    Callers { class, target: "copy_mc_to_kernel", source, functions }
}

/// All that are told by name.
pub const CALLERS: &[Callers] = &[
    // BPF programs, kprobes, uprobes and profilers look at the memory of the task that they interrupt.
    checked(OBSERVER, "mm/maccess.c", &["copy_from_user_nofault", "copy_to_user_nofault"]),
    checked(OBSERVER, "arch/x86/lib/usercopy.c", &["copy_from_user_nmi"]),
    checked(OBSERVER, "kernel/bpf/helpers.c", &["bpf_copy_from_user", "bpf_copy_from_user_task"]),
    checked(
        OBSERVER,
        "kernel/trace/bpf_trace.c",
        &["bpf_copy_from_user_dynptr", "bpf_copy_from_user_task_dynptr"],
    ),
    checked(OBSERVER, "kernel/trace/trace_uprobe.c", &["process_fetch_insn"]),
    checked(OBSERVER, "kernel/trace/trace_syscalls.c", &["syscall_copy_user_array"]),
    checked(
        OBSERVER,
        "arch/x86/kernel/uprobes.c",
        &["arch_uretprobe_hijack_return_addr", "emulate_push_stack"],
    ),
    // Checked for the longest string that there is room for; the copy ends where the string does.
    checked(COUNTED_ELSEWHERE, "lib/strncpy_from_user.c", &["strncpy_from_user"]),
    // Messages and the memory of another process.
    checked(DATA, "ipc/msgutil.c", &["load_msg", "store_msg"]),
    checked(DATA, "fs/proc/base.c", &["mem_rw"]),
    checked(DATA, "kernel/ptrace.c", &["ptrace_readdata", "ptrace_writedata"]),
    // What device files move by ioctl.
    checked(
        DATA,
        "drivers/usb/core/devio.c",
        &["proc_do_submiturb", "copy_urb_data_to_user", "do_proc_bulk"],
    ),
    checked(DATA, "drivers/spi/spidev.c", &["spidev_message"]),
    checked(DATA, "drivers/mtd/mtdchar.c", &["mtdchar_write_ioctl", "mtdchar_read_ioctl", "mtdchar_readoob"]),
    checked(DATA, "drivers/cdrom/cdrom.c", &["cdrom_read_cdda_old", "mmc_ioctl_cdrom_read_data"]),
    checked(
        DATA,
        "drivers/gpu/drm/i915/i915_gem.c",
        &[
            "i915_gem_pread_ioctl",
            "i915_gem_pwrite_ioctl",
            "i915_gem_gtt_pread",
            "i915_gem_gtt_pwrite_fast",
            "shmem_pwrite",
            "phys_pread",
            "phys_pwrite",
        ],
    ),
    checked(
        DATA,
        "drivers/gpu/drm/i915/gem/i915_gem_phys.c",
        &["i915_gem_object_pread_phys", "i915_gem_object_pwrite_phys"],
    ),
    checked(DATA, "sound/core/pcm_lib.c", &["default_read_copy", "default_write_copy"]),
    checked(DATA, "sound/core/memory.c", &["copy_from_user_toio", "copy_to_user_fromio"]),
    checked(DATA, "drivers/vfio/vfio_iommu_type1.c", &["vfio_iommu_type1_dma_rw"]),
    checked(DATA, "net/ceph/pagevec.c", &["ceph_copy_user_to_page_vector"]),
    // Addresses, message headers, control messages, arrays of buffers.
    checked(
        ARGUMENT,
        "net/socket.c",
        &[
            "move_addr_to_kernel",
            "move_addr_to_user",
            "copy_msghdr_from_user",
            "____sys_sendmsg",
            "___sys_sendmsg",
            "____sys_recvmsg",
            "___sys_recvmsg",
            "__sys_sendto",
            "__sys_recvfrom",
            "__sys_bind",
            "__sys_connect",
            "__sys_accept4",
            "do_accept",
            "__sys_getsockname",
            "__sys_getpeername",
            "__do_sys_socketcall",
            "__do_compat_sys_socketcall",
        ],
    ),
    checked(ARGUMENT, "net/core/scm.c", &["put_cmsg", "__scm_send"]),
    checked(ARGUMENT, "net/compat.c", &["put_cmsg_compat", "cmsghdr_from_user_compat_to_kern"]),
    checked(
        ARGUMENT,
        "lib/iov_iter.c",
        &[
            "import_iovec",
            "__import_iovec",
            "iovec_from_user",
            "copy_iovec_from_user",
            "copy_compat_iovec_from_user",
        ],
    ),
    checked(ARGUMENT, "fs/read_write.c", &["rw_copy_check_uvector", "compat_rw_copy_check_uvector"]),
    checked(ARGUMENT, "io_uring/net.c", &["io_recvmsg", "io_recvmsg_multishot", "io_recvmsg_prep_multishot"]),
    checked(ARGUMENT, "io_uring/register.c", &["__io_uring_register", "io_query"]),
    // Socket options, whatever the family.
    checked(
        ARGUMENT,
        "net/",
        &[
            "*sockopt",
            "*sockopt_full_info",
            "*sockopt_subflow_addrs",
            "*sockopt_tcpinfo",
            "*sockopt_assoc_stats",
            "*sockopt_peer_addr_params",
            "__cgroup_bpf_run_filter_getsockopt",
            "__cgroup_bpf_run_filter_setsockopt",
            "copy_from_sockptr_offset",
            "copy_to_sockptr_offset",
            "copy_struct_from_sockptr",
            "sk_get_filter",
            "__get_filter",
            "xfrm_user_policy",
            "mptcp_put_subflow_data",
            "mptcp_put_int_option",
            "ip_mc_msfget",
            "compat_ipv6_set_mcast_msfilter",
            "ip_options_get",
            "tcp_ao_copy_mkts_to_user",
            "tcp_ao_get_repair",
            "tcp_ao_get_sock_info",
            "sctp_getsockopt_assoc_stats",
        ],
    ),
    // Headers of requests of FUSE over io_uring.
    checked(ARGUMENT, "fs/fuse/dev_uring.c", &["copy_header_to_ring", "copy_header_from_ring"]),
    // Used-ring entries of a virtqueue.
    checked(ARGUMENT, "drivers/vhost/vhost.c", &["__vhost_add_used_n", "vhost_copy_to_user"]),
    // Large argument blocks, and what a process asks about itself.
    checked(ARGUMENT, "fs/select.c", &["do_sys_poll", "core_sys_select", "compat_core_sys_select"]),
    checked(ARGUMENT, "fs/aio.c", &["aio_read_events", "aio_read_events_ring"]),
    checked(ARGUMENT, "fs/exec.c", &["copy_strings"]),
    checked(ARGUMENT, "fs/binfmt_elf.c", &["load_elf_binary"]),
    checked(ARGUMENT, "fs/d_path.c", &["__do_sys_getcwd"]),
    checked(ARGUMENT, "fs/namei.c", &["readlink_copy"]),
    checked(
        ARGUMENT,
        "fs/namespace.c",
        &["copy_mnt_id_req", "copy_mount_options", "__do_sys_listmount", "__do_sys_statmount"],
    ),
    checked(ARGUMENT, "fs/proc/task_mmu.c", &["do_pagemap_scan", "do_procmap_query"]),
    checked(ARGUMENT, "mm/mincore.c", &["__do_sys_mincore", "__x64_sys_mincore", "__ia32_sys_mincore"]),
    checked(
        ARGUMENT,
        "mm/mempolicy.c",
        &[
            "get_nodes",
            "get_bitmap",
            "kernel_get_mempolicy",
            "__do_compat_sys_get_mempolicy",
            "__do_compat_sys_mbind",
            "__do_compat_sys_set_mempolicy",
        ],
    ),
    checked(ARGUMENT, "mm/migrate.c", &["do_pages_stat"]),
    checked(ARGUMENT, "ipc/sem.c", &["semctl_main", "do_semtimedop"]),
    checked(
        ARGUMENT,
        "kernel/sched/syscalls.c",
        &[
            "get_user_cpu_mask",
            "sched_copy_attr",
            "sched_attr_copy_to_user",
            "__x64_sys_sched_getaffinity",
            "__ia32_sys_sched_getaffinity",
        ],
    ),
    checked(
        ARGUMENT,
        "kernel/bpf/syscall.c",
        &[
            "__sys_bpf",
            "__do_sys_bpf",
            "map_lookup_elem",
            "map_update_elem",
            "map_delete_elem",
            "generic_map_lookup_batch",
            "generic_map_update_batch",
            "generic_map_delete_batch",
            "bpf_prog_load",
            "bpf_prog_get_info_by_fd",
            "bpf_obj_get_info_by_fd",
            "bpf_map_get_info_by_fd",
            "bpf_token_get_info_by_fd",
            "bpf_copy_to_user",
            "bpf_task_fd_query_copy",
            "bpf_raw_tp_link_fill_link_info",
            "bpf_prog_stream_read",
        ],
    ),
    checked(
        ARGUMENT,
        "kernel/bpf/hashtab.c",
        &["__htab_map_lookup_and_delete_batch", "__rhtab_map_lookup_and_delete_batch"],
    ),
    checked(ARGUMENT, "kernel/bpf/btf.c", &["btf_new_fd", "btf_get_info_by_fd"]),
    checked(ARGUMENT, "kernel/bpf/log.c", &["bpf_verifier_vlog", "bpf_vlog_reverse_ubuf"]),
    checked(ARGUMENT, "kernel/bpf/verifier.c", &["bpf_check", "bpf_check_btf_info_early"]),
    checked(ARGUMENT, "kernel/bpf/core.c", &["bpf_prog_array_copy_to_user"]),
    checked(
        ARGUMENT,
        "net/bpf/test_run.c",
        &[
            "bpf_ctx_init",
            "bpf_ctx_finish",
            "bpf_test_init",
            "bpf_test_finish",
            "bpf_prog_test_run_xdp",
            "bpf_prog_test_run_skb",
            "bpf_prog_test_run_raw_tp",
            "bpf_prog_test_run_syscall",
        ],
    ),
    checked(
        ARGUMENT,
        "kernel/trace/bpf_trace.c",
        &[
            "bpf_kprobe_multi_link_attach",
            "bpf_kprobe_multi_link_fill_link_info",
            "bpf_uprobe_multi_link_fill_link_info",
            "perf_event_query_prog_array",
            "bpf_tracing_multi_attach",
        ],
    ),
    checked(ARGUMENT, "net/core/filter.c", &["bpf_prog_create_from_user"]),
    checked(ARGUMENT, "kernel/seccomp.c", &["seccomp_get_filter", "seccomp_get_metadata"]),
    checked(ARGUMENT, "kernel/regset.c", &["copy_regset_to_user", "user_regset_copyin"]),
    checked(ARGUMENT, "arch/x86/kernel/fpu/regset.c", &["xstateregs_set", "xfpregs_set", "fpregs_set"]),
    checked(ARGUMENT, "arch/x86/kernel/fpu/signal.c", &["__fpu__restore_sig"]),
    checked(ARGUMENT, "arch/x86/kernel/fpu/xstate.c", &["copy_user_to_xstate"]),
    checked(ARGUMENT, "kernel/ptrace.c", &["ptrace_request", "ptrace_get_syscall_info"]),
    checked(ARGUMENT, "arch/x86/kernel/ldt.c", &["read_ldt"]),
    checked(
        ARGUMENT,
        "arch/x86/kvm/x86.c",
        &["kvm_arch_vcpu_ioctl", "kvm_arch_dev_ioctl", "kvm_vcpu_ioctl_get_hv_cpuid", "msr_io"],
    ),
    checked(ARGUMENT, "arch/x86/kvm/cpuid.c", &["kvm_vcpu_ioctl_get_cpuid2", "kvm_dev_ioctl_get_cpuid"]),
    checked(
        ARGUMENT,
        "virt/kvm/kvm_main.c",
        &[
            "kvm_vm_ioctl",
            "kvm_get_dirty_log_protect",
            "kvm_clear_dirty_log_protect",
            "kvm_vm_ioctl_set_pmu_event_filter",
        ],
    ),
    // Reads of a device that is memory, and of the memory of a process that dumps core: no page faults.
    memory_read(
        BLOCK_DRIVER,
        "drivers/nvdimm/pmem.c",
        &["read_pmem", "pmem_do_read", "pmem_do_bvec", "pmem_submit_bio"],
    ),
    memory_read(BLOCK_DRIVER, "drivers/nvdimm/claim.c", &["nsio_rw_bytes"]),
    memory_read(BLOCK_DRIVER, "fs/coredump.c", &["dump_user_range"]),
    // The row `dax_rw` counts what DAX reads.
    memory_read(COUNTED_ELSEWHERE, "lib/iov_iter.c", &["_copy_mc_to_iter", "memcpy_mc", "memcpy_to_iter_mc"]),
];

/// The class of a function by its name in the source; `None` if it is not named.
pub fn caller_class(target: &str, function: &str) -> Option<u32> {
    let of_target = || CALLERS.iter().filter(|callers| same(callers.target, target));
    let exact = of_target().find(|callers| callers.functions.iter().any(|name| same(name, function)));
    let ends_so = |name: &&str| name.strip_prefix('*').is_some_and(|end| function.ends_with(end));
    exact.or_else(|| of_target().find(|callers| callers.functions.iter().any(ends_so))).map(|c| c.class)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn a_function_has_one_class() {
        let mut seen = std::collections::BTreeSet::new();
        for callers in CALLERS {
            for function in callers.functions {
                assert!(seen.insert((callers.target, function)), "{function}");
            }
        }
        assert_eq!(caller_class(CHECK, "put_cmsg"), Some(ARGUMENT));
        assert_eq!(caller_class("copy_mc_to_kernel", "put_cmsg"), None);
        assert_eq!(caller_class(CHECK, "sctp_getsockopt"), Some(ARGUMENT), "by its end");
        assert_eq!(caller_class(CHECK, "simple_read_from_buffer"), None);
    }
}
