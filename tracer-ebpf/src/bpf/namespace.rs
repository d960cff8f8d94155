//! Which process a pid of another pid namespace is: an iterator over all tasks, run when asked.

use core::ffi::c_void;

use aya_ebpf::{macros::map, maps::HashMap};
use tracer_ebpf::abi::Loss;

use super::kernel::{Task, read};
use super::maps::{config, lose};

/// pid in the namespace `config.pid_namespace` -> tgid in the initial one. Filled by [`pids`].
#[map]
static PIDS: HashMap<u32, u32> = HashMap::with_max_entries(65536, 0);

/// MAX_PID_NS_LEVEL, include/linux/pid_namespace.h.
const MAX_LEVEL: u32 = 32;

/// `struct bpf_iter__task { meta; task }`; the task is null at the end.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
pub fn pids(ctx: *const c_void) -> i32 {
    // SAFETY: the second word of the iterator's context.
    let task = unsafe { *ctx.cast::<u64>().add(1) };
    if task != 0 {
        let _ = enter(task);
    }
    0
}

#[inline(always)]
fn enter(address: u64) -> Option<()> {
    let task = Task::at(address);
    if task.field::<u64>(config!(task_group_leader))? != address {
        return None;
    }
    let tgid: u32 = task.field(config!(task_tgid))?;
    let pid: u64 = task.field(config!(task_thread_pid))?;
    let levels: u32 = read(pid, config!(pid_level))?;
    let mut level = 0;
    while level < MAX_LEVEL {
        if level > levels {
            break;
        }
        let upid = pid + config!(pid_numbers) as u64 + level as u64 * config!(upid_bytes) as u64;
        let namespace: u64 = read(upid, config!(upid_ns))?;
        if read::<u32>(namespace, config!(ns_inum))? == config!(pid_namespace) {
            let nr: u32 = read(upid, config!(upid_nr))?;
            if PIDS.insert(&nr, &tgid, 0).is_err() {
                lose(Loss::ProcessMapFull);
            }
        }
        level += 1;
    }
    Some(())
}
