//! What `cargo xtask claims` writes down: one window of each row under the tracer, as one JSON line per row.
//!
//! A line is printed only if the tracer's numbers equal the table of [`expect`](crate::expect), and no event
//! was lost; what depends on timing is named in `open`, so that nobody takes it for a figure.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::batch::{Key, observe};
use super::bench::{Bench, Observed, Window};
use super::ledger::{DIRECTIONS, Ledger};
use super::{claims_nic, compare, invariant, ledger};
use crate::expect::{self, Amount, Place, Role, Row};
use crate::workload::registry;

/// Rows that share a tracer.
const BATCH: usize = 16;
/// 7.2 now and then skips a tracing program that it preempts, and says so: such a window proves nothing.
const ATTEMPTS: usize = 4;
/// Of the harness, not of the mechanism: how a window begins and ends.
const OWN_CALLS: [&str; 2] = ["kill", "rt_sigtimedwait"];

/// Measures the rows named on the command line, such as `rw_tcp@ext4-cold`; fails at the end if any failed.
pub fn run(bench: &Bench, names: &[String]) -> Result<()> {
    let (nic, plain): (Vec<String>, Vec<String>) =
        names.iter().cloned().partition(|name| claims_nic::is_one(name));
    let mut keys = plain.iter().map(|name| key(name)).collect::<Result<Vec<Key>>>()?;
    let mut failed = Vec::new();
    if let Err(error) = claims_nic::run(bench, &nic, ATTEMPTS) {
        failed.push(format!("{error:#}"));
    }
    for attempt in 1..=ATTEMPTS {
        let mut again = Vec::new();
        for batch in keys.chunks(BATCH) {
            for (key, result) in measure(bench, batch) {
                match result {
                    Ok(Measured::Line(line)) => println!("{line}"),
                    Ok(Measured::EventsLost(lost)) if attempt < ATTEMPTS => {
                        eprintln!("claims: {}: {lost} events lost, once more", name(key));
                        again.push(key);
                    }
                    Ok(Measured::EventsLost(lost)) => {
                        failed.push(format!("{}: {lost} events lost", name(key)))
                    }
                    Err(error) => failed.push(format!("{}: {error:#}", name(key))),
                }
            }
        }
        keys = again;
    }
    ensure!(failed.is_empty(), "not measured:\n  {}", failed.join("\n  "));
    Ok(())
}

fn key(name: &str) -> Result<Key> {
    for place in Place::ALL {
        let workload = name.strip_suffix(place.suffix()).and_then(registry::find);
        if let Some(entry) = workload {
            return Ok((entry.name, place));
        }
    }
    bail!("no row is called {name}: WORKLOAD, or with one of @ext4, @ext4-cold, @across behind it")
}

fn name((workload, place): Key) -> String {
    format!("{workload}{}", place.suffix())
}

enum Measured {
    Line(Value),
    EventsLost(u64),
}

fn measure(bench: &Bench, batch: &[Key]) -> Vec<(Key, Result<Measured>)> {
    let here = |key: &Key| expect::find(&bench.kernel, key.0, key.1, Role::Worker).is_some();
    let (present, absent): (Vec<Key>, Vec<Key>) = batch.iter().copied().partition(here);
    let absent = absent.into_iter().map(|key| (key, lacking(bench, key, cause(key)).map(Measured::Line)));
    let present = observe(bench, &present).into_iter().map(|(key, observed)| {
        let line = match observed {
            Err(error) => Err(anyhow::anyhow!(error)),
            Ok(Observed::Skipped(cause)) => lacking(bench, key, &cause).map(Measured::Line),
            Ok(Observed::Window(window)) => window_line(bench, key, &window),
        };
        (key, line)
    });
    absent.chain(present).collect()
}

/// Why the table has no row for this kernel.
fn cause((workload, place): Key) -> &'static str {
    let row = expect::ROWS.iter().find(|row| row.workload == workload && row.place == place);
    row.map_or("not in the table", |row| row.cause)
}

fn lacking(bench: &Bench, key: Key, cause: &str) -> Result<Value> {
    Ok(json!({"row": name(key), "kernel": bench.kernel, "release": release()?, "lacking": cause}))
}

pub fn release() -> Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("no kernel release")?;
    Ok(text.trim().into())
}

fn window_line(bench: &Bench, key: Key, window: &Window) -> Result<Measured> {
    let lost = window.total["lost_events"].as_u64().unwrap_or(0);
    if lost > 0 {
        return Ok(Measured::EventsLost(lost));
    }
    invariant::check(&window.total)?;
    let facts = compare::Facts::new(&window.books);
    let mut line = json!({
        "row": name(key),
        "kernel": bench.kernel,
        "release": release()?,
        "bytes": facts.bytes,
        "chunk": window.books["chunk"],
        "witness": witness(&window.books),
    });
    for (role, pid) in [(Role::Worker, Some(window.worker)), (Role::Peer, window.peer)] {
        let row = expect::find(&bench.kernel, key.0, key.1, role);
        let (Some(row), Some(pid)) = (row, pid) else { continue };
        let ledger = ledger::process(&window.total, pid)?;
        compare::row(row, ledger, &facts).into_result(&format!("{}, {role:?}", name(key)))?;
        match role {
            Role::Worker => line["worker"] = worker(row, ledger, &window.books),
            Role::Peer => line["peer"] = bytes(row, ledger),
        }
    }
    Ok(Measured::Line(line))
}

/// What the kernel itself says of zero-copy sends.
fn witness(books: &Value) -> Value {
    let sends = match (&books["syscalls"]["poll"], books["name"].as_str()) {
        (Value::Number(_), _) => books["syscalls"]["sendto"].clone(),
        // Two entries to a send.
        (_, Some("uring_sendzc_usage_tcp")) => {
            json!(books["syscalls"]["io_uring_enter"].as_u64().unwrap_or(0) / 2)
        }
        _ => return Value::Null,
    };
    json!({"sends": sends, "copied_after_all": books["zerocopy_copied"]})
}

/// Bytes by direction, and which of them are not closed.
fn bytes(row: &Row, ledger: Ledger) -> Value {
    let mut line = Map::new();
    for direction in DIRECTIONS {
        line.insert(direction.into(), json!(ledger.copied_in_all(direction)));
    }
    let referenced: u64 =
        ledger.path_names().iter().map(|path| ledger.of_path(path, "zero_copied_bytes")).sum();
    line.insert("referenced".into(), json!(referenced));
    line.insert("crypto".into(), json!(ledger.other_kind("crypto")));
    if let Some(device) = ledger.device_bytes() {
        line.insert("device_bytes".into(), device.clone());
    }
    line.insert("open".into(), open(row));
    Value::Object(line)
}

/// Figures of which the table says only the least, or nothing.
fn open(row: &Row) -> Value {
    let mut open = Map::new();
    let amounts =
        row.cells.iter().flat_map(|cell| [("in_kernel", cell.in_kernel), ("referenced", cell.zero_copied)]);
    for (field, amount) in amounts {
        match amount {
            Amount::Times(_) => {}
            Amount::AtLeast(times) => {
                open.insert(field.into(), json!({"at_least": times}));
            }
            Amount::Any => {
                open.insert(field.into(), json!("varies"));
            }
        }
    }
    Value::Object(open)
}

fn worker(row: &Row, ledger: Ledger, books: &Value) -> Value {
    let mut line = bytes(row, ledger);
    let booked = |name: &str| books["syscalls"][name].as_u64().unwrap_or(0);
    let own: u64 = OWN_CALLS.iter().map(|name| booked(name)).sum();
    let mut syscall = ledger.mode_switches("syscall").saturating_sub(2 * own);
    // Notifications come as they come: only the sends are the mechanism's.
    if booked("poll") > 0 {
        syscall = 2 * booked("sendto");
        line["open"]["mode_switches"] = json!({"at_least": true});
    }
    line["mode_switches"] = json!({"syscall": syscall, "fault": ledger.mode_switches("fault")});
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_workloads_with_a_place() {
        assert_eq!(key("rw_tcp").unwrap(), ("rw_tcp", Place::Tmpfs));
        assert_eq!(key("rw_tcp@ext4-cold").unwrap(), ("rw_tcp", Place::Ext4Cold));
        assert!(key("rw_tcp@xfs").is_err());
    }
}
