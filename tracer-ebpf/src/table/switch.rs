//! Mode switches, context switches, payload; processes that come and go.

use super::row::{
    Group, Reads, Row, Way, btf_tracepoint, in_user_mode, kprobe, needing, optional, other, perf_tracepoint,
    reading, reduced, tracepoint, trampoline, unpreempted,
};

/// System calls, faults, interrupts, the scheduler, life.
pub const ROWS: &[Row] = &[
    needing(
        &["sys_exit"],
        other(
            Group::Switch,
            "sys_enter",
            "begins of system calls, for an audit",
            &[
                tracepoint("sys_enter", 2, &["sys_enter"]),
                unpreempted(perf_tracepoint("raw_syscalls/sys_enter", &["sys_enter_perf"])),
            ],
        ),
    ),
    other(
        Group::Switch,
        "sys_exit",
        "system calls, and payload from their return values",
        &[
            tracepoint("sys_exit", 2, &["sys_exit"]),
            unpreempted(perf_tracepoint("raw_syscalls/sys_exit", &["sys_exit_perf"])),
            reduced(reading(Reads::Registers, tracepoint("sys_exit", 2, &["sys_exit_registers"]))),
            reduced(btf_tracepoint("sys_exit", 2, &["sys_exit_typed"])),
        ],
    ),
    other(
        Group::Switch,
        "page_fault",
        "page faults taken in user mode",
        &[reading(Reads::Nothing, tracepoint("page_fault_user", 3, &["page_fault"]))],
    ),
    interrupt(
        "irq_timer",
        "timer interrupts taken in user mode",
        &[
            reading(Reads::Typed, trampoline("__sysvec_apic_timer_interrupt", 1, &["irq_timer_fentry"])),
            reading(Reads::Registers, kprobe("__sysvec_apic_timer_interrupt", &["irq_timer_kprobe"])),
        ],
    ),
    optional(interrupt(
        "irq_device",
        "device interrupts taken in user mode (5.15 and newer)",
        &[
            reading(Reads::Typed, trampoline("__common_interrupt", 2, &["irq_device_fentry"])),
            reading(Reads::Registers, kprobe("__common_interrupt", &["irq_device_kprobe"])),
        ],
    )),
    interrupt(
        "irq_call",
        "inter-processor calls taken in user mode",
        &[
            reading(Reads::Typed, trampoline("__sysvec_call_function", 1, &["irq_call_fentry"])),
            reading(Reads::Registers, kprobe("__sysvec_call_function", &["irq_call_kprobe"])),
        ],
    ),
    interrupt(
        "irq_call_single",
        "single inter-processor calls taken in user mode",
        &[
            reading(
                Reads::Typed,
                trampoline("__sysvec_call_function_single", 1, &["irq_call_single_fentry"]),
            ),
            reading(Reads::Registers, kprobe("__sysvec_call_function_single", &["irq_call_single_kprobe"])),
        ],
    ),
    other(
        Group::Switch,
        "sched_switch",
        "context switches",
        &[
            reading(Reads::Nothing, tracepoint("sched_switch", 4, &["sched_switch"])),
            tracepoint("sched_switch", 3, &["sched_switch_by_task"]),
            btf_tracepoint("sched_switch", 3, &["sched_switch_typed"]),
        ],
    ),
    // -- life ---------------------------------------------------------------------------------------
    needing(
        &["exit"],
        other(Group::Life, "fork", "children", &[tracepoint("sched_process_fork", 2, &["forked"])]),
    ),
    other(
        Group::Life,
        "exec",
        "new programs",
        &[
            tracepoint("sched_process_exec", 3, &["execed"]),
            reduced(reading(Reads::Nothing, tracepoint("sched_process_exec", 3, &["execed_from_list"]))),
        ],
    ),
    other(
        Group::Life,
        "exit",
        "ends, and calls of exit",
        &[
            tracepoint("sched_process_exit", 0, &["exited"]),
            // Calls of exit alone, as they enter.
            reduced(reading(Reads::Registers, tracepoint("sys_enter", 2, &["exit_registers"]))),
            reduced(btf_tracepoint("sys_enter", 2, &["exit_typed"])),
        ],
    ),
];

const fn interrupt(name: &'static str, help: &'static str, ways: &'static [Way]) -> Row {
    optional(in_user_mode(other(Group::Switch, name, help, ways)))
}
