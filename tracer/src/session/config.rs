//! What the kernel side must know of a session, and how large its maps are.

use anyhow::Result;
use tracer_ebpf::abi::{Config, CopySizes, FIRST_PROCESS, Ledger, follow};

use super::{Options, Selection, workers};
use crate::kernel::Facts;
use crate::kernel::pid_namespace;
use crate::model::attach::Attach;
use crate::probes::Sizes;

/// Processes that have a slot of their own at one time when children are followed.
const FOLLOWED: u32 = 4096;
/// The same when every process is, however many there are: 40 MB of ledgers, one shard each.
const MOST: u32 = 16_384;
/// Upper bound of the memory of the ledgers, and of copies by size, when it has to be traded for shards.
const LEDGER_BYTES: usize = 64 << 20;

/// The kernel side's constants, the sizes of the maps, and whether forks and exits matter.
pub(super) fn configure(
    selection: &Selection,
    facts: &Facts,
    options: &Options,
) -> Result<(Config, Sizes, bool)> {
    let layout = facts.layout.as_ref().copied().unwrap_or_default();
    let (only, follows, processes) = match selection {
        Selection::Processes { targets, children: false } => match targets.as_slice() {
            // The constant is the kernel's name of the process, which another namespace's is not.
            [one] if pid_namespace::in_initial_namespace() && !workers::may_be(&layout) => {
                (one.pid, false, 1)
            }
            many => (0, false, many.len() as u32),
        },
        Selection::Processes { children: true, .. } => (0, true, FOLLOWED),
        Selection::AtExec { children } => (0, *children, FOLLOWED),
        Selection::Everyone => (0, false, everyone()),
        Selection::Nothing => (0, false, 1),
    };
    let processes = options.fault.slots.unwrap_or(processes.max(1));
    let config = Config {
        only_tgid: if options.fault.slots.is_some() { 0 } else { only },
        follow: match selection {
            Selection::Everyone => follow::EVERYONE,
            _ if follows => follow::CHILDREN,
            _ => follow::LISTED,
        },
        watch_preemption: facts.watches_preemption().into(),
        reads_memory: facts.reduced().is_none().into(),
        process_vm_by_return: process_vm_by_return(options).into(),
        audit: options.audit.into(),
        pid_namespace: pid_namespace::own_namespace(),
        ..layout
    };
    let life = only == 0 || options.fault.slots.is_some();
    let sizes = Sizes {
        processes,
        shards: shards(processes, size_of::<Ledger>()),
        copy_sizes_shards: if options.copy_sizes { shards(processes, size_of::<CopySizes>()) } else { 0 },
    };
    Ok((config, sizes, life))
}

/// True if processes that begin later are to be counted.
pub(super) fn follows_forks(selection: &Selection) -> bool {
    match selection {
        Selection::Processes { children, .. } | Selection::AtExec { children } => *children,
        Selection::Everyone => true,
        Selection::Nothing => false,
    }
}

/// Room for twice as many processes as there are, within what the ledgers may take.
fn everyone() -> u32 {
    let running = u32::try_from(crate::kernel::process::everyone().len()).unwrap_or(u32::MAX);
    running.saturating_mul(2).clamp(FOLLOWED, MOST).next_power_of_two()
}

/// Its copies come from the return value, unless its call sites are probed.
fn process_vm_by_return(options: &Options) -> bool {
    options.attach != Attach::Callsite && !options.fault.refuses("process_vm")
}

/// One shard per CPU, as far as memory allows: sharing one is exact, only slower.
fn shards(processes: u32, bytes: usize) -> u32 {
    let per_shard = (processes + FIRST_PROCESS) as usize * bytes;
    let affordable = (LEDGER_BYTES / per_shard).clamp(1, 64);
    let wanted = crate::sys::possible_cpus().next_power_of_two();
    let floor = if affordable.is_power_of_two() { affordable } else { affordable.next_power_of_two() / 2 };
    wanted.min(floor) as u32
}
