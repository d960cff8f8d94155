//! docs/overhead.md.

use std::fmt::Write;

use super::measured::{Machine, Measured};
use super::targets::{TARGETS, Verdict};

/// `date` is the only thing that another run changes.
pub fn write(measured: &Measured, date: &str) -> String {
    let machines = measured.machines();
    let mut text = head(&machines, date);
    text += &targets(measured, &machines);
    machines.iter().for_each(|machine| text += &operations(measured, machine));
    text += &held(measured, &machines);
    text += &peers(measured);
    text + LIMITS
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
for each operation 5 rounds to warm up, then 30 rounds; the round that took the fewest instructions counts, which is
one without a timer interrupt. Files are on ext4, in the page cache.

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
    let mut text =
        String::from("\n## Targets\n\nWhat is measured, the limit, and whether the target is met.\n\n");
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

fn operations(measured: &Measured, machine: &Machine) -> String {
    let kernel = &machine.kernel;
    let observers = measured.observers(kernel);
    let mut text =
        format!("\n## {kernel}: instructions per operation\n\nUntraced, then what each observer adds.\n\n");
    row(
        &mut text,
        ["operation", "untraced"].into_iter().chain(observers.iter().copied()).chain(["after all"]),
    );
    row(&mut text, std::iter::repeat_n("---", 3 + observers.len()));
    for op in measured.operations(kernel) {
        let mut cells = vec![op.to_string()];
        cells.push(measured.untraced(kernel, op).map_or("".into(), |least| format!("{least:.0}")));
        for observer in &observers {
            let both = measured.extra(kernel, observer, op).zip(measured.percent(kernel, observer, op));
            cells.push(both.map_or("".into(), |(extra, percent)| format!("{extra:+.0} ({percent:+.1}%)")));
        }
        cells.push(measured.left_behind(kernel, op).map_or("".into(), |left| format!("{left:+.0}")));
        row(&mut text, cells.iter().map(String::as_str));
    }
    text
}

fn held(measured: &Measured, machines: &[&Machine]) -> String {
    let mut text = String::from(
        "\n## Attach, detach, memory\n\nIn seconds of the guest: an instruction is a nanosecond, and idle time counts.\n\
         Map memory is what the kernel charges for them (`memlock` in fdinfo).\n\n",
    );
    row(&mut text, ["kernel", "observer", "attach", "detach", "maps", "map memory", "resident", "binary"]);
    row(&mut text, ["---"; 8]);
    for machine in machines {
        for held in measured.held(&machine.kernel) {
            let cells = [
                machine.kernel.clone(),
                held.observer.clone(),
                format!("{:.2} s", held.attach_ns as f64 / 1e9),
                format!("{:.2} s", held.detach_ns as f64 / 1e9),
                held.maps.to_string(),
                mib(held.map_bytes),
                mib(held.resident_bytes),
                mib(machine.binary_bytes),
            ];
            row(&mut text, cells.iter().map(String::as_str));
        }
    }
    text
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn peers(measured: &Measured) -> String {
    let mut text = String::from(
        "\n## Peers\n\nAs installed on the host. `strace -f -c -p` and `perf trace -s -p` count system calls; bpftrace runs the\n\
         script in `tests/src/overhead/observer.rs`: system calls, faults, switches, and bytes of a few copy functions.\n\n",
    );
    for line in measured.peers() {
        let _ = writeln!(text, "- {line}");
    }
    text
}

const LIMITS: &str = "
## Limits of instruction counts

- Instructions are not cycles. Exceptions, cache misses, atomics and the flushes that mitigations do cost more than they
  count; a system call's entry counts as a few instructions and takes 100 cycles or more.
- A copy counts an instruction for each 8 bytes or so (the CPU has neither erms nor fsrm). On a real CPU a large copy
  moves 32 bytes or more per cycle, at several instructions per cycle otherwise: of the same order.
- QEMU's CPU needs few of the mitigations of real ones, so an untraced system call is cheap here, and percentages of it
  are high.
- One CPU: what CPUs do to each other is not in it.
- The least of 30 rounds leaves out what happens seldom (a fresh slab, a timer).
- Not measured: the cost of a scrape by the number of processes, wake-ups of an idle tracer, and wall time.
";

fn row<'a>(text: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    let cells: Vec<&str> = cells.into_iter().collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

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
            "| 6.1 | tracer --pid | 2.00 s | 0.00 s | 2 | 0.0 MiB | 1.0 MiB | 0.0 MiB |",
            "250 of 378: met",
            "2.00 s of 1 s: **not met**",
            "bpftrace was not measured: not installed",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}
