//! The demo: a server sends a file over TCP by four methods, the tracer
//! watches it from outside, and the four ledgers are shown side by side.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::harness::session::{Session, Started, block_signals};
use crate::harness::tracer::Tracer;

/// A way to serve the file, and what is true of it on every kernel.
struct Method {
    name: &'static str,
    workload: &'static str,
    /// Copies of each byte on the sending side.
    copies: u64,
    why: &'static str,
}

const METHODS: [Method; 4] = [
    Method {
        name: "read+write",
        workload: "rw_tcp",
        copies: 2,
        why: "read copies each byte from the page cache to the server's buffer, write copies it to the socket",
    },
    Method {
        name: "mmap+write",
        workload: "mmap_write_tcp",
        copies: 1,
        why: "the file is mapped, so that only write copies, from the mapping to the socket",
    },
    Method {
        name: "sendfile",
        workload: "sendfile_tcp",
        copies: 0,
        why: "the socket takes the page cache's pages by reference",
    },
    Method {
        name: "splice",
        workload: "splice_tcp",
        copies: 0,
        why: "the pages go through a pipe to the socket, by reference twice (hence 2 bytes moved per byte sent)",
    },
];

/// What the tracer said about the server.
#[derive(Default)]
struct Ledger {
    sent: u64,
    to_user: u64,
    from_user: u64,
    in_kernel: u64,
    zero_copied: u64,
    syscalls: u64,
    mode_switches: u64,
    faults: u64,
    context_switches: u64,
}

impl Ledger {
    fn copied(&self) -> u64 {
        self.to_user + self.from_user + self.in_kernel
    }
}

/// Runs the four; exit status 0 only if all ledgers are exactly the truth.
pub fn run(tracer: &Path, mib: usize, dir: &Path) -> Result<i32> {
    block_signals();
    let mut ledgers = Vec::new();
    for method in &METHODS {
        eprintln!("demo: a server sends {mib} MiB over TCP by {} ...", method.name);
        let ledger =
            measure(tracer, method, mib << 20, dir).with_context(|| format!("the demo's {}", method.name))?;
        ledgers.push(ledger);
    }
    print_table(&ledgers);
    Ok(i32::from(!verdict(&ledgers)))
}

fn measure(tracer: &Path, method: &Method, bytes: usize, dir: &Path) -> Result<Ledger> {
    let arguments = ["--bytes".into(), bytes.to_string(), "--dir".into(), dir.display().to_string()];
    let program = Path::new("/proc/self/exe");
    let mut server = match Session::start(program, method.workload, &arguments)? {
        Started::Ready(session) => session,
        Started::Skipped(cause) => bail!("this kernel cannot: {cause}"),
    };
    let pid = server.pid;
    let mut watcher = Tracer::start(tracer, &["--pid", &pid.to_string(), "--format", "json"])?;
    watcher.wait_counting(&[pid])?;
    server.window()?;
    let total = watcher.stop()?.total()?;
    server.finish()?;
    read_ledger(&total, pid, bytes as u64)
}

fn read_ledger(total: &Value, pid: u32, sent: u64) -> Result<Ledger> {
    let processes = total["processes"].as_array().context("no processes in the JSON")?;
    let server = processes.iter().find(|process| process["pid"] == pid);
    let server = server.with_context(|| format!("no process {pid} in the JSON"))?;
    if total["observed"]["copies"] != true {
        bail!("copies cannot be observed on this kernel; `tracer doctor` says why");
    }
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let mut ledger = Ledger { sent, ..Ledger::default() };
    for path in server["paths"].as_object().context("no paths in the JSON")?.values() {
        let copied = &path["copied_bytes"];
        ledger.to_user += number(&copied["to_user"]);
        ledger.from_user += number(&copied["from_user"]);
        ledger.in_kernel += number(&copied["in_kernel"]);
        ledger.zero_copied += number(&path["zero_copied_bytes"]);
        ledger.syscalls += number(&path["syscalls"]);
    }
    let modes = &server["mode_switches"];
    ledger.mode_switches = modes.as_object().into_iter().flatten().map(|(_, count)| number(count)).sum();
    ledger.faults = number(&modes["fault"]) / 2;
    let contexts = &server["context_switches"];
    ledger.context_switches = number(&contexts["voluntary"]) + number(&contexts["involuntary"]);
    Ok(ledger)
}

type Row = (&'static str, fn(&Ledger) -> String);

const ROWS: [Row; 11] = [
    ("payload sent", |ledger| mib(ledger.sent)),
    ("copied to user", |ledger| mib(ledger.to_user)),
    ("copied from user", |ledger| mib(ledger.from_user)),
    ("copied in kernel", |ledger| mib(ledger.in_kernel)),
    ("copies per byte", |ledger| format!("{:.2}", ratio(ledger.copied(), ledger.sent))),
    ("moved without a copy", |ledger| mib(ledger.zero_copied)),
    ("system calls", |ledger| ledger.syscalls.to_string()),
    ("mode switches", |ledger| ledger.mode_switches.to_string()),
    ("mode switches per MiB", |ledger| format!("{:.1}", ratio(ledger.mode_switches << 20, ledger.sent))),
    ("page faults", |ledger| ledger.faults.to_string()),
    ("context switches", |ledger| ledger.context_switches.to_string()),
];

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Exact where it is whole; otherwise the bytes, so that nothing is rounded
/// away.
fn mib(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{bytes} B") }
}

fn print_table(ledgers: &[Ledger]) {
    println!("\nThe server's ledger, counted from outside by `tracer --pid`:\n");
    print!("{:<22}", "");
    METHODS.iter().for_each(|method| print!("{:>14}", method.name));
    println!();
    for (title, cell) in ROWS {
        print!("{title:<22}");
        ledgers.iter().for_each(|ledger| print!("{:>14}", cell(ledger)));
        println!();
    }
    println!();
    for (method, ledger) in METHODS.iter().zip(ledgers) {
        let copies = ratio(ledger.copied(), ledger.sent);
        println!("{}: {copies:.2} copies per byte; {}.", method.name, method.why);
    }
    println!();
}

/// Compares bytes, not rounded ratios.
fn verdict(ledgers: &[Ledger]) -> bool {
    let mut equal = true;
    for (method, ledger) in METHODS.iter().zip(ledgers) {
        let expected = method.copies * ledger.sent;
        if ledger.copied() != expected {
            equal = false;
            let found = ledger.copied();
            println!("{}: DIFFERS: {found} bytes were copied, {expected} are known", method.name);
        }
    }
    if equal {
        println!("All four equal what is known: 2.00, 1.00, 0.00 and 0.00 copies per byte.");
    }
    equal
}
