//! The tables of docs/overhead.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::measured::{Fleet, Machine, Measured, OURS, PID, SERVE, with_cpus};

pub fn row<'a>(text: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    let cells: Vec<&str> = cells.into_iter().collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// A head and its rule.
fn columns(text: &mut String, names: &[&str]) {
    row(text, names.iter().copied());
    row(text, names.iter().map(|_| "---"));
}

fn row_of(text: &mut String, cells: &[String]) {
    row(text, cells.iter().map(String::as_str));
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn seconds(ns: u64) -> String {
    format!("{:.2} s", ns as f64 / 1e9)
}

/// Two tables of a kernel: ours, and the others.
pub fn operations(measured: &Measured, machine: &Machine) -> String {
    let kernel = &machine.kernel;
    let (ours, others): (Vec<&str>, Vec<&str>) =
        measured.observers(kernel).into_iter().partition(|observer| OURS.contains(observer));
    let mut text =
        format!("\n## {kernel}: instructions per operation\n\nUntraced, then what each observer adds.\n\n");
    columns(&mut text, &[&["operation", "untraced"], &ours[..], &["after all"]].concat());
    for op in measured.operations(kernel) {
        let mut cells = vec![op.to_string()];
        cells.push(measured.untraced(kernel, op).map_or("".into(), |least| format!("{least:.0}")));
        for observer in &ours {
            let both = measured.extra(kernel, observer, op).zip(measured.percent(kernel, observer, op));
            let text = both.map(|(extra, percent)| format!("{extra:+.0} ({percent:+.1}%)"));
            cells.push(text.unwrap_or_else(|| unknown(measured, kernel, op)));
        }
        cells.push(measured.left_behind(kernel, op).map_or("".into(), |left| format!("{left:+.0}")));
        row_of(&mut text, &cells);
    }
    if others.is_empty() {
        return text;
    }
    text += "\nThe least that a BPF program can add (one that returns at once; one that counts the events of one process in a\n\
             per-CPU array; fexit is on `vfs_read`), and the peers:\n\n";
    columns(&mut text, &[&["operation"], &others[..]].concat());
    for op in measured.operations(kernel) {
        let extra = |observer: &&str| match measured.extra(kernel, observer, op) {
            Some(extra) => format!("{extra:+.0}"),
            None => unknown(measured, kernel, op),
        };
        let cells: Vec<String> = std::iter::once(op.to_string()).chain(others.iter().map(extra)).collect();
        row_of(&mut text, &cells);
    }
    text
}

fn unknown(measured: &Measured, kernel: &str, op: &str) -> String {
    match measured.left_behind(kernel, op) {
        None => "not measured".into(),
        Some(_) if measured.stable(kernel, op) => "".into(),
        Some(_) => "not stable".into(),
    }
}

pub fn held(measured: &Measured, machines: &[&Machine]) -> String {
    let mut text = String::from(
        "\n## Attach, detach, memory\n\nIn seconds of the guest: an instruction is a nanosecond, and idle time counts. \
         Detached is when the kernel\nholds no program, map or link of it any more; `ended` is when its process had \
         ended. Map memory is what the\nkernel charges for maps (`memlock` in fdinfo).\n\n",
    );
    columns(
        &mut text,
        &["kernel", "observer", "attach", "detach", "ended", "maps", "map memory", "resident", "binary"],
    );
    for machine in machines {
        for held in measured.held(&machine.kernel) {
            let cells = [
                machine.kernel.clone(),
                held.observer.clone(),
                seconds(held.attach_ns),
                seconds(held.detach_ns),
                seconds(held.ended_ns),
                held.maps.to_string(),
                mib(held.map_bytes),
                mib(held.resident_bytes),
                mib(machine.binary_bytes),
            ];
            row_of(&mut text, &cells);
        }
    }
    text += "\nWake-ups (voluntary context switches of all threads) while nobody asks:\n\n";
    let kernels: Vec<&str> = machines.iter().map(|machine| machine.kernel.as_str()).collect();
    columns(&mut text, &[&["observer"], &kernels[..]].concat());
    for observer in OURS {
        let wake_ups = |kernel: &&str| {
            let idle = measured.idle(kernel).into_iter().find(|idle| idle.observer == observer);
            let text = idle.map(|idle| format!("{} in {} s", idle.wake_ups, idle.seconds));
            text.unwrap_or_else(|| "not measured".into())
        };
        let cells: Vec<String> =
            std::iter::once(observer.to_string()).chain(kernels.iter().map(wake_ups)).collect();
        row_of(&mut text, &cells);
    }
    text
}

pub fn fleets(measured: &Measured, machines: &[&Machine]) -> String {
    let mut text = String::from(
        "\n## Many processes\n\n`tracer serve` beside processes that sleep, each thread of which has read a byte since. Getpid\n\
         and read are what an event of one more process costs then; `counted` are those that the daemon tells apart. A scrape is \
         the\ndaemon's CPU time in instructions, the kernel's part of it included: the first, and the cheapest of \
         three.\n\n",
    );
    columns(
        &mut text,
        &[
            "kernel",
            "processes",
            "counted",
            "getpid",
            "read 1 B",
            "first scrape",
            "scrape",
            "series",
            "page",
            "resident",
            "map memory",
        ],
    );
    for fleet in machines.iter().flat_map(|machine| measured.fleets(&machine.kernel)) {
        let millions = |ns: u64| format!("{:.1} million", ns as f64 / 1e6);
        let cells = [
            fleet.kernel.clone(),
            processes(fleet),
            format!("{:.0}", fleet.counted),
            format!("{:+.0}", fleet.getpid),
            format!("{:+.0}", fleet.read),
            millions(fleet.first_scrape_ns),
            millions(fleet.scrape_ns),
            format!("{:.0}", fleet.series),
            mib(fleet.scrape_bytes),
            mib(fleet.resident_bytes),
            mib(fleet.map_bytes),
        ];
        row_of(&mut text, &cells);
    }
    let per_process = machines.iter().filter_map(|machine| {
        Some(format!("{} on {}", per_process(measured, &machine.kernel)?, machine.kernel))
    });
    let per_process: Vec<String> = per_process.collect();
    if !per_process.is_empty() {
        let _ = write!(
            text,
            "\nThe kernel's memory is taken at the start, for as many processes as there is room for ({LEAST_ROOM} to \
             {MOST_ROOM}), and does not\ngrow. Bytes per process, with one CPU: {}.\n",
            per_process.join(", ")
        );
    }
    text
}

/// Processes that the daemon makes room for, at least and at most (docs/scale.md).
const LEAST_ROOM: u64 = 4096;
const MOST_ROOM: u64 = 16384;

/// Map memory of the fleet with the most room over that of the one with the least.
fn per_process(measured: &Measured, kernel: &str) -> Option<u64> {
    let of = |processes| measured.fleets(kernel).into_iter().find(|fleet| fleet.room_for == processes);
    Some(of(10_000)?.map_bytes.saturating_sub(of(0)?.map_bytes) / (MOST_ROOM - LEAST_ROOM))
}

fn processes(fleet: &Fleet) -> String {
    let mut text = fleet.processes.to_string();
    if fleet.room_for < fleet.processes {
        let _ = write!(text, ", all after its start (room for {LEAST_ROOM})");
    }
    if fleet.threads > 1 {
        let _ = write!(text, ", of {} threads each", fleet.threads);
    }
    if !fleet.arguments.is_empty() {
        let _ = write!(text, ", `{}`", fleet.arguments);
    }
    text
}

/// What an event costs where there is room for another CPU.
pub fn cpus(measured: &Measured, machines: &[&Machine]) -> String {
    let mut text = String::from(
        "\n## CPUs\n\nWhat `tracer --pid` and `tracer serve` add where the kernel has room for one CPU, and for two, of which \
         one is\nthere (each CPU that may come has counters of its own). 6.12 and 7.2 make no such room.\n\n",
    );
    columns(&mut text, &["kernel", "operation", "--pid, 1", "--pid, 2", "serve, 1", "serve, 2"]);
    for kernel in machines.iter().map(|machine| machine.kernel.as_str()) {
        let two = with_cpus(kernel, 2);
        for op in measured.operations(&two) {
            let extra = |observer, kernel| {
                let extra = measured.extra(kernel, observer, op);
                extra.map_or_else(|| unknown(measured, kernel, op), |extra| format!("{extra:+.0}"))
            };
            let cells = [PID, SERVE].into_iter().flat_map(|of| [extra(of, kernel), extra(of, &two)]);
            let cells: Vec<String> = [kernel.to_string(), op.to_string()].into_iter().chain(cells).collect();
            row_of(&mut text, &cells);
        }
    }
    text
}

pub fn peers(measured: &Measured) -> String {
    let mut text = String::from(
        "\n## Peers\n\nThe newest in Debian (`tests/peers.toml`). `strace -f -c -p` and `perf trace -s -p` count system calls; bpftrace runs\n\
         the script in `tests/src/overhead/observer.rs`: system calls, faults, switches, and bytes of a few copy functions.\n\
         perf works on an event after it has happened: its figures are means of all rounds, so that this is in them, and differ\n\
         from run to run.\n\n",
    );
    for line in measured.peers() {
        let _ = writeln!(text, "- {line}");
    }
    text
}

pub fn wall(measured: &Measured) -> String {
    let wall = measured.wall();
    let Some(first) = wall.first() else {
        return String::from("\n## In time\n\nNot measured: `tracer --pid` did not run on the host.\n");
    };
    let mut text = format!(
        "\n## In time\n\nOn the host, {}, with other work beside it: time per operation with `tracer --pid` over without, quartiles of {}\n\
         pairs, each with a run of the tracer of its own. A kernel without kprobes, where tracer has only raw tracepoints,\n\
         shows system calls, faults and switches, and no copies.\n\n",
        first.release, first.pairs
    );
    columns(&mut text, &["operation", "lower quartile", "median", "upper quartile"]);
    for wall in wall {
        let number = |ratio: f64| format!("{ratio:.2}");
        row_of(&mut text, &[wall.op.clone(), number(wall.low), number(wall.median), number(wall.high)]);
    }
    text
}

/// A row per name; of programs with the same name, the largest.
pub fn programs(measured: &Measured, machines: &[&Machine]) -> String {
    let mut largest: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for program in measured.programs() {
        // 5.10 does not tell what the verifier went through.
        let size = program.verified.unwrap_or(program.instructions);
        let known = largest.entry((&program.program, &program.kernel)).or_default();
        *known = (*known).max((size, program.machine_bytes));
        names.insert(program.program.as_str());
    }
    let mut text = String::from(
        "\n## Programs\n\nInstructions that the verifier went through (its limit is 1,000,000), and bytes of machine code; of programs with\n\
         one name (15 characters of it) the largest. 5.10 does not tell the former: there it is the program's length.\n\n",
    );
    let kernels: Vec<&str> = machines.iter().map(|machine| machine.kernel.as_str()).collect();
    columns(&mut text, &[&["program"], &kernels[..]].concat());
    for name in names {
        let cell = |kernel: &&str| {
            let found = largest.get(&(name, *kernel));
            found.map_or("".into(), |(size, bytes)| format!("{size} ({bytes} B)"))
        };
        let cells: Vec<String> = std::iter::once(name.to_string()).chain(kernels.iter().map(cell)).collect();
        row_of(&mut text, &cells);
    }
    text
}
