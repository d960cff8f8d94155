//! What the daemon takes while it runs, and what systemd says about it.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::harness::process::{field, maps, number};

/// A property of the service.
pub fn property(name: &str) -> Result<String> {
    said("systemctl", &["show", "--value", &format!("--property={name}"), "tracer"])
}

/// Standard output of a command that must succeed, without the last line break.
pub fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{program} {}: {}: {out}{err}", arguments.join(" "), output.status);
    Ok(out.trim_end().to_owned())
}

/// The user that it runs as, by name, and its effective capabilities.
pub fn identity(pid: u32) -> Result<Value> {
    let status = read(pid, "status")?;
    let user = said("stat", &["-c", "%U", &format!("/proc/{pid}")])?;
    Ok(json!({"user": user, "capabilities": field(&status, "CapEff:")?}))
}

/// One look at the process.
#[derive(Clone, Copy)]
struct Sample {
    rss_kib: u64,
    /// Of it what is no file's and no map's.
    anon_kib: u64,
    descriptors: u64,
    /// Of the kernel, for the maps that it holds.
    maps_bytes: u64,
}

impl Sample {
    fn take(pid: u32) -> Result<Sample> {
        let status = read(pid, "status")?;
        let kib = |name| number(&status, name);
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        let maps_bytes = maps(pid)?.values().sum();
        ensure!(maps_bytes > 0, "process {pid} shows no map");
        Ok(Sample { rss_kib: kib("VmRSS:")?, anon_kib: kib("RssAnon:")?, descriptors, maps_bytes })
    }
}

fn read(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{name}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}: did the daemon end?"))
}

/// Looks at the process every so often while `work` goes on.
pub fn watch<T>(pid: u32, every: Duration, work: impl FnOnce() -> Result<T>) -> Result<(T, Value)> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut samples = vec![Sample::take(pid)?];
            let mut next = Instant::now() + every;
            while !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(100));
                if Instant::now() >= next {
                    samples.push(Sample::take(pid)?);
                    // After a stall nothing is made up for: looks close together all see the same connection.
                    next = Instant::now() + every;
                }
            }
            Ok(samples)
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        let samples = watcher.join().unwrap_or_else(|_| bail!("the watcher panicked"));
        Ok((done?, summary(&samples?)))
    })
}

fn summary(samples: &[Sample]) -> Value {
    let of = |name: &str, value: fn(&Sample) -> u64| -> (String, Value) {
        (name.to_owned(), thirds(samples.iter().map(value).collect()))
    };
    let all = [
        of("rss_kib", |sample| sample.rss_kib),
        of("descriptors", |sample| sample.descriptors),
        of("maps_bytes", |sample| sample.maps_bytes),
    ];
    let mut summary: serde_json::Map<_, _> = all.into_iter().collect();
    summary.insert("rss_kib_each".into(), samples.iter().map(|sample| sample.rss_kib).collect());
    summary.insert("anon_kib_each".into(), samples.iter().map(|sample| sample.anon_kib).collect());
    Value::Object(summary)
}

/// The lowest of the first and of the last third. A leak raises it; a connection that is there at some of the looks
/// does not, however these meet the scrapes.
fn thirds(values: Vec<u64>) -> Value {
    let third = values.len().div_ceil(3);
    json!({
        "first": values[..third].iter().min(),
        "last": values[values.len() - third..].iter().min(),
        "lowest": values.iter().min(),
        "highest": values.iter().max(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_shows_in_the_thirds_and_a_connection_does_not() {
        let connections = thirds(vec![8, 9, 8, 9, 8, 9, 9, 8, 9]);
        assert_eq!(connections, json!({"first": 8, "last": 8, "lowest": 8, "highest": 9}));
        let leak = thirds(vec![9, 8, 9, 9, 9, 9, 10, 9, 10]);
        assert_eq!(leak, json!({"first": 8, "last": 9, "lowest": 8, "highest": 10}));
        assert_eq!(thirds(vec![3])["last"], 3);
    }
}
