//! docs/overhead.md.

use super::measured::{Machine, Measured};
use super::tables;
use super::targets::{TARGETS, Verdict};
use tables::row;

/// `date` is the only thing that another run changes, apart from the host's times.
pub fn write(measured: &Measured, date: &str) -> String {
    let machines = measured.machines();
    let mut text = head(&machines, date);
    text += &targets(measured, &machines);
    machines.iter().for_each(|machine| text += &tables::operations(measured, machine));
    text += &tables::held(measured, &machines);
    text += &tables::fleets(measured, &machines);
    text += &tables::cpus(measured, &machines);
    text += &tables::peers(measured);
    text += &tables::wall(measured);
    text += &tables::programs(measured, &machines);
    text + REASONS + LIMITS
}

fn head(machines: &[&Machine], date: &str) -> String {
    let kernels: Vec<String> = machines.iter().map(|m| format!("{} ({})", m.kernel, m.release)).collect();
    let tracer = machines.first().map_or("", |machine| machine.version.as_str());
    format!(
        "# Overhead, measured

Written by `cargo xtask bench` on {date}; do not edit.

{tracer}. Kernels: {}.

The unit is the instruction. Each kernel runs in an emulated machine with one CPU whose clock counts instructions
(QEMU TCG, `-icount shift=0,sleep=off`; `cargo xtask vm --counted`), so the figures depend on nothing but the code
that runs: another run on another machine gives the same, but for what is said under limits. A process measures itself:
it repeats all operations until none gets cheaper any more (buffers of connections grow for a while); then, for each
operation, 5 rounds that do not count and 30 that do. The round that took the fewest instructions is the figure: one
without a timer interrupt. Of the context switch pair it is the middle round, because in some the scheduler has a
shorter way (seen on 7.2). At the end everything is measured once more without an observer: what differs by more than 1%
from the beginning is `not stable`, and no figure; what has no end is `not measured`. Files are on ext4, in the page
cache.

| operation | what one is |
| --- | --- |
| getpid | the system call |
| read 1 B, read 64 KiB | pread |
| write 64 KiB | pwrite over what is there |
| send 64 KiB, recv 64 KiB | TCP on loopback; what the kernel does to deliver a packet is within the send |
| sendfile 1 MiB | to TCP on loopback, which takes it all (or in parts, while the window is small); receiving it is not within |
| page fault | first write to a page of anonymous memory |
| context switch pair | a byte through a pipe to another thread and back: 2 switches, 2 reads, 2 writes |
",
        kernels.join(", ")
    )
}

fn targets(measured: &Measured, machines: &[&Machine]) -> String {
    let mut text = String::from(
        "\n## Targets\n\nWhat is measured, the limit, and whether the target is met. Limits that are programs are \
         measured in the same VM.\n\n",
    );
    row(&mut text, ["what", "at most"].into_iter().chain(machines.iter().map(|m| m.kernel.as_str())));
    row(&mut text, std::iter::repeat_n("---", 2 + machines.len()));
    for target in &TARGETS {
        let cells = machines.iter().map(|machine| match (target.judge)(measured, &machine.kernel) {
            Some(verdict) => cell(&verdict),
            None => "not measured".into(),
        });
        let cells: Vec<String> = cells.collect();
        row(&mut text, [target.what, target.wanted].into_iter().chain(cells.iter().map(String::as_str)));
    }
    text + "\nAttach and detach are the longest of the ways below.\n"
}

fn cell(verdict: &Verdict) -> String {
    let Verdict { found, limit, unit } = verdict;
    let word = if verdict.met() { "met" } else { "**not met**" };
    match *unit {
        "" => format!("{found:.0} of {limit:.0}: {word}"),
        unit => format!("{found:.2}{unit} of {limit}{unit}: {word}"),
    }
}

const REASONS: &str = "
## Targets that are not met: why, and what next

- **A copy event.** The tracer tells by which service (`read`, `sendfile`, a fault, ...) and to which memory a copy went.
  For that it reads four fields of the task, its registers and the iterator (up to 6.1 each load is checked at run
  time: 7 instructions), and the ledger's element: some 200 instructions beside the 35 that only count; and a read
  that moves data also has its payload booked, which is in this figure. Next: constants of the kernel as
  immediates in the programs in place of loads from a map (one instruction each), and on 6.12 and later a `kfunc` or
  task storage that holds the service.
- **1% of a read or write of 64 KiB.** One read is one event at a wrapper and one at the system call's return. Programs
  that do nothing cost more than 1% there (see the references above): the target cannot be met by programs at these
  places. Next: as for a copy event.
- **1% of a sendfile of 1 MiB**, on the kernels without targets. One call is one event where it is spliced and one at its
  return; up to 6.4 each of the 16 batches also is a read of the page cache, whose program sees that it goes to a
  pipe, and ends: the price of the trampoline.
- **7.2 and 5.10**, which have no targets. 7.2 preempts BPF programs, and where one was preempted it is skipped for the
  next task: so system calls are seen through perf there, for some 200 instructions more. 5.10 gives a program
  no pointer to the current task that it may read by itself (`bpf_get_current_task_btf()` is of 5.11): each field is
  a helper's call.
- **A bystander.** A raw tracepoint has no filter for processes before the program runs: the least is an empty program.
  Beyond that, what a program saves on the stack, and the check who runs, take some 25 instructions.
- **Against bpftrace.** Its script has one program per event, for calls by number and for the bytes of each direction in
  one sum. Tracer tells service, direction and memory of each copy, and payload: a read is its worst ratio, because
  there all of this comes together. A sendfile, for which it has fewer events, is its best. Next: as for a copy event.
- **Attach.** Reading `/proc/kallsyms` and the kernel's text, the verifier, and one ftrace update per trampoline are
  spread over the second: docs/coverage.md has the parts. Next: scanning while rows attach.
- **Detach.** The process ends within half a second, and nothing is counted from then on. What goes on in a child is
  the kernel's: a grace period of RCU tasks for each trampoline, under a lock of all of ftrace. Next: links to many
  functions at once, when kernels have them for trampolines.
";

const LIMITS: &str = "
## Limits of instruction counts

- Instructions are not cycles. Exceptions, cache misses, atomics and the flushes that mitigations do cost more than they
  count; a system call's entry counts as a few instructions and takes 100 cycles or more.
- A copy counts an instruction for each 8 bytes or so (the CPU has neither erms nor fsrm). On a real CPU a large copy
  moves 32 bytes or more per cycle, at several instructions per cycle otherwise: of the same order.
- QEMU's CPU needs few of the mitigations of real ones, so an untraced system call is cheap here, and percentages of it
  are high.
- One CPU runs: QEMU's counted machine does not start with two. What CPUs do to each other's caches is not in it; every
  CPU has its own counters of a process as long as there are no more than shards (docs/scale.md).
- The least of 30 rounds leaves out what happens seldom (a fresh slab, a timer).
- Some of a connection's figures depend on the boot, presumably by where TCP's windows stand: in 13 boots of 6.1 a
  sendfile took 4,141 to 4,555 instructions more, beside another process's tracer 4,060 to 4,282.
";

#[cfg(test)]
mod tests {
    use super::super::measured::tests::measured;
    use super::*;

    #[test]
    fn every_part_has_what_was_measured() {
        let text = write(&measured(), "2026-01-31");
        for part in [
            "on 2026-01-31",
            "| getpid | 100 | +250 (+250.5%) | +0 |",
            "| recv | 100 | not stable | -2 |",
            "| getpid | +150 | +800 |",
            "| 6.1 | tracer --pid | 2.00 s | 0.03 s | 0.00 s | 2 | 0.0 MiB | 1.0 MiB | 0.0 MiB |",
            "250 of 375: met",
            "2.00 s of 1 s: **not met**",
            "8.00 million of 20 million: met",
            "| tracer serve | 0 in 60 s |",
            "| 6.1 | getpid | +250 | +255 |  |  |",
            "bpftrace was not measured: it is not there",
            "| getpid | 1.20 | 1.25 | 1.30 |",
            "| copy | 12 (70 B) |",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}
