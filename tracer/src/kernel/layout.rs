//! Structure offsets and enum values of this kernel, from its BTF, for the BPF programs.

use anyhow::{Result, anyhow};
use tracer_ebpf::abi::{ABSENT, Config};

use super::btf::Btf;

/// include/linux/sched.h, since 6.4 (54e6842d0775), which brought `struct vhost_task` too. Before, the bit was unused or
/// meant something else.
const PF_USER_WORKER: u32 = 0x0000_4000;

/// Fills the kernel's part of a [`Config`]. An offset that BTF does not tell is an error: never guessed.
pub fn config(btf: &Btf) -> Result<Config> {
    let at = |structure: &str, member: &str| {
        btf.member_offset(structure, member)
            .ok_or_else(|| anyhow!("the kernel's BTF has no {structure}.{member}"))
    };
    let mut config = Config {
        task_flags: at("task_struct", "flags")?,
        task_stack: at("task_struct", "stack")?,
        task_tgid: at("task_struct", "tgid")?,
        // Renamed in 5.14 (2f064a59a11f).
        task_state: at("task_struct", "__state").or_else(|_| at("task_struct", "state"))?,
        task_group_leader: at("task_struct", "group_leader")?,
        task_start_boottime: at("task_struct", "start_boottime")?,
        task_signal: at("task_struct", "signal")?,
        signal_live: at("signal_struct", "live")?,
        task_ti_status: at("task_struct", "thread_info.status")?,
        task_is_typed: btf.enum_value("bpf_func_id", "BPF_FUNC_task_pt_regs").is_some().into(),
        task_pagefault_disabled: at("task_struct", "pagefault_disabled")?,
        task_mm: at("task_struct", "mm")?,
        // Only with CONFIG_MEMCG.
        mm_owner: at("mm_struct", "owner").unwrap_or(ABSENT),
        user_worker: if btf.struct_size("vhost_task").is_some() { PF_USER_WORKER } else { 0 },
        task_thread_pid: at("task_struct", "thread_pid")?,
        pid_level: at("pid", "level")?,
        pid_numbers: at("pid", "numbers")?,
        upid_bytes: btf.struct_size("upid").ok_or_else(|| anyhow!("the kernel's BTF has no struct upid"))?,
        upid_nr: at("upid", "nr")?,
        upid_ns: at("upid", "ns")?,
        ns_inum: at("pid_namespace", "ns.inum")?,
        skb_len: at("sk_buff", "len")?,
        skb_data_len: at("sk_buff", "data_len")?,
        skb_head: at("sk_buff", "head")?,
        skb_end: at("sk_buff", "end")?,
        skb_tail: at("sk_buff", "tail")?,
        shinfo_nr_frags: at("skb_shared_info", "nr_frags")?,
        shinfo_frags: at("skb_shared_info", "frags")?,
        shinfo_frag_list: at("skb_shared_info", "frag_list")?,
        shinfo_destructor_arg: at("skb_shared_info", "destructor_arg")?,
        filename_iname: at("filename", "iname")?,
        vm_fault_page: at("vm_fault", "page")?,
        iter_count: at("iov_iter", "count")?,
        // Since 5.11 (af449901b84c), on SMP kernels.
        task_migration_disabled: at("task_struct", "migration_disabled").unwrap_or(0),
        ..Config::default()
    };
    fragments(btf, &mut config)?;
    config.filename_max = longest_path(btf, config.filename_iname);
    iterators(btf, &mut config)?;
    devices(btf, &mut config)?;
    // An int up to 6.12, a bit later; x86 keeps either's lowest bit in its first byte.
    (config.fuse_copy_write, config.fuse_copy_write_mask) =
        btf.flag("fuse_copy_state", "write").unwrap_or((ABSENT, 0));
    Ok(config)
}

/// What tells a block transfer's device, a packet's socket, and a descriptor's.
fn devices(btf: &Btf, config: &mut Config) -> Result<()> {
    let at = |structure: &str, member: &str| {
        btf.member_offset(structure, member)
            .ok_or_else(|| anyhow!("the kernel's BTF has no {structure}.{member}"))
    };
    config.bio_size = at("bio", "bi_iter.bi_size")?;
    config.bio_op = at("bio", "bi_opf")?;
    config.bio_status = at("bio", "bi_status")?;
    config.bio_private = at("bio", "bi_private")?;
    config.bio_vectors = at("bio", "bi_io_vec")?;
    config.page_mapping = at("page", "mapping")?;
    config.page_writeback = btf.enum_value("pageflags", "PG_writeback").map_or(ABSENT, |bit| bit as u32 & 63);
    // Up to 5.11 (309dca309fc3) a bio names the disk, and the disk embeds its whole partition.
    (config.bio_device, config.bdev_disk) = match btf.member_offset("bio", "bi_disk") {
        Some(disk) => (disk, ABSENT),
        None => (at("bio", "bi_bdev")?, at("block_device", "bd_disk")?),
    };
    (config.disk_part0, config.part0_parent) = match btf.member_offset("gendisk", "part0.__dev.parent") {
        Some(parent) => (ABSENT, parent),
        None => (at("gendisk", "part0")?, at("block_device", "bd_device.parent")?),
    };
    config.net_device_parent = at("net_device", "dev.parent")?;
    config.skb_sk = at("sk_buff", "sk")?;
    config.skb_dev = at("sk_buff", "dev")?;
    config.skb_data = at("sk_buff", "data")?;
    config.skb_mac_header = at("sk_buff", "mac_header")?;
    config.file_inode = at("file", "f_inode")?;
    config.inode_mode = at("inode", "i_mode")?;
    config.socket_sk = at("socket", "sk")?;
    config.device_bus = at("device", "bus")?;
    config.bus_name = at("bus_type", "name")?;
    config.task_files = at("task_struct", "files")?;
    config.files_fdt = at("files_struct", "fdt")?;
    config.fdtable_fd = at("fdtable", "fd")?;
    config.file_private = at("file", "private_data")?;
    config.sock_protocol = at("sock", "sk_protocol")?;
    Ok(())
}

/// `skb_frag_t` was `struct bio_vec` up to 6.8.
fn fragments(btf: &Btf, config: &mut Config) -> Result<()> {
    for (structure, length) in [("skb_frag", "len"), ("bio_vec", "bv_len")] {
        if let (Some(size), Some(offset)) = (btf.struct_size(structure), btf.member_offset(structure, length))
        {
            config.frag_bytes = size;
            config.frag_len = offset;
            return Ok(());
        }
    }
    Err(anyhow!("the kernel's BTF has neither struct skb_frag nor struct bio_vec"))
}

/// `EMBEDDED_NAME_MAX` of fs/namei.c: what is left of a 4096-byte name buffer behind the header, or the
/// size of the array where it has one (7.x).
fn longest_path(btf: &Btf, iname: u32) -> u32 {
    match btf.array_len("filename", "iname") {
        Some(len) if len > 0 => len,
        _ => 4096 - iname,
    }
}

fn iterators(btf: &Btf, config: &mut Config) -> Result<()> {
    let value = |name: &str| btf.enum_value("iter_type", name);
    let old = btf.member_offset("iov_iter", "iter_type").is_none();
    config.iter_is_flags = old.into();
    // 5.14 split direction from flavour (8cd54c1c8480): before, the type is one bit of `type`.
    config.iter_type = btf
        .member_offset("iov_iter", if old { "type" } else { "iter_type" })
        .ok_or_else(|| anyhow!("the kernel's BTF has neither iov_iter.iter_type nor iov_iter.type"))?;
    config.check_nests_in_wrappers = old.into();
    if !old {
        config.iter_source = btf
            .member_offset("iov_iter", "data_source")
            .ok_or_else(|| anyhow!("the kernel's BTF has no iov_iter.data_source"))?;
    }
    let mask = |names: &[&str]| {
        names
            .iter()
            .filter_map(|name| value(name))
            .fold(0u32, |mask, v| mask | if old { v as u32 } else { 1u32.checked_shl(v as u32).unwrap_or(0) })
    };
    config.iter_user = mask(&["ITER_IOVEC", "ITER_UBUF"]);
    config.iter_bvec = mask(&["ITER_BVEC"]);
    config.iter_pipe = value("ITER_PIPE").map_or(0, |value| value as u32);
    config.iter_no_copy = mask(&["ITER_PIPE", "ITER_DISCARD"]);
    if config.iter_user == 0 || config.iter_bvec == 0 {
        return Err(anyhow!("the kernel's BTF has no enum iter_type with ITER_IOVEC and ITER_BVEC"));
    }
    Ok(())
}
