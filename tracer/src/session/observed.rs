//! Which quantities are observed, given how the rows of the table ended up: what a missing row would have told is not.

use tracer_ebpf::table::{Context, Group};

use crate::model::snapshot::Observed;
use crate::probes::Attached;

/// What is observed. `sites` is true if copies are counted at call sites, `without_net` if there is no network device
/// that does DMA.
pub(super) fn observed(rows: &[Attached], sites: bool, without_net: bool) -> Observed {
    let is_attached = |name: &str| rows.iter().any(|row| row.row.name == name && row.way.is_ok());
    let of = |group| rows.iter().filter(move |row| row.row.group == group);
    let is_whole = |group| of(group).next().is_some() && of(group).all(Attached::sees_all);
    let interrupts = || rows.iter().filter(|row| row.row.context == Context::UserMode);
    Observed {
        // What is missing then is a gap in coverage.
        copies: sites || of(Group::Copy).any(has_programs),
        references: is_whole(Group::Reference)
            && ["splice", "splice_direct"].iter().all(|name| is_attached(name)),
        cut_short: is_attached("cut_short"),
        syscalls: is_attached("sys_exit") && is_attached("exit"),
        payload: is_attached("sys_exit"),
        faults: is_attached("page_fault"),
        interrupts: is_attached("irq_timer") && interrupts().all(Attached::sees_all),
        context_switches: is_attached("sched_switch"),
        block: is_whole(Group::Block),
        // Without such a device nothing is to be seen, and 0 is true.
        net: if of(Group::Net).next().is_some() { is_whole(Group::Net) } else { without_net },
    }
}

/// Those of another row may tell but a part: `process_vm`.
fn has_programs(row: &Attached) -> bool {
    row.way.as_ref().is_ok_and(|way| !way.programs.is_empty())
}

/// What is not observed, in words.
pub(super) fn unseen(observed: &Observed) -> Vec<&'static str> {
    let quantities = [
        (observed.copies, "copies"),
        (observed.references, "bytes handed on by reference"),
        (observed.cut_short, "copies that end early"),
        (observed.payload, "payload"),
        (observed.syscalls, "system calls"),
        (observed.faults, "page faults"),
        (observed.interrupts, "interrupts"),
        (observed.context_switches, "context switches"),
        (observed.block, "bytes of block devices"),
        (observed.net, "bytes of network devices"),
    ];
    quantities.into_iter().filter(|(seen, _)| !seen).map(|(_, name)| name).collect()
}

#[cfg(test)]
#[path = "observed_tests.rs"]
mod tests;
