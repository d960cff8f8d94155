//! docs/scale.md.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::cost::Cost;
use super::fleet::Step;
use super::page::{By, PODS, Recorded, UNITS};
use super::{PROCESSES, Size};
use crate::sh;

const MACHINES: f64 = 1000.0;

pub fn render(
    recorded: &Recorded,
    interval: u64,
    costs: &[Option<Cost>],
    sizes: &[Size],
    steps: &[Step],
) -> Result<String> {
    let mut text = introduction(recorded)?;
    pages(&mut text, sizes)?;
    prometheus(&mut text, steps)?;
    thousand(&mut text, interval, sizes, steps)?;
    scrapes(&mut text, costs)?;
    text += LIMITS;
    Ok(text)
}

fn introduction(recorded: &Recorded) -> Result<String> {
    let today = sh::capture(Command::new("date").args(["-u", "+%F"]), "tell the date")?;
    Ok(format!(
        "# What a fleet costs\n\n\
         State of {}, measured by `cargo xtask scale` on {}. Written by that command; do not edit.\n\n\
         Machines are replayed (`tracer serve --replay`, see [serve.md](serve.md)): a page with {} processes that \
         `tracer serve --group-by pid,comm` had in a VM with 6.1, its processes multiplied with pids, start times, names \
         and values of their own. A machine has one name for seven processes, {UNITS} units, {PODS} pods (what kubelets \
         allow by default; all processes of a pod have other names, the worst case of `comm,pod`). Every counter that \
         is not 0 moves between any two scrapes, which on real machines it does not: Prometheus's bytes per sample are \
         an upper bound.\n\n",
        today.trim(),
        machine()?,
        recorded.processes(),
    ))
}

fn machine() -> Result<String> {
    let cpus = std::thread::available_parallelism().context("cannot count CPUs")?;
    let field = |path: &str, name: &str| -> Option<String> {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let kib: f64 = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .context("no MemTotal in /proc/meminfo")?;
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into());
    Ok(format!("{cpus} CPUs ({model}) with {:.0} GiB, which other work shared", kib / (1 << 20) as f64))
}

fn pages(text: &mut String, sizes: &[Size]) -> Result<()> {
    *text += "## A machine's page\n\n\
        | `--group-by` | processes | series | bytes of a scrape | with gzip |\n| --- | ---: | ---: | ---: | ---: |\n";
    for size in sizes {
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            size.by.name(),
            thousands(size.processes as f64),
            thousands(size.series as f64),
            bytes(size.bytes as f64),
            bytes(size.gzip as f64),
        )?;
    }
    *text += "\nPrometheus asks for gzip. `--max-series` (50,000 unless given) bounds the series of groups: of a \
        machine with more, the youngest groups are `overflow`, and a scrape is never larger than that many series and the daemon's own. \
        `tracer_groups_merged_total` says that it happens. The daemon makes room for twice as many processes as it finds \
        at its start, for 4,096 at least and for 16,384 at most; what comes beyond is `overflow` too.\n\n";
    Ok(())
}

fn prometheus(text: &mut String, steps: &[Step]) -> Result<()> {
    *text += "## Prometheus\n\nDebian's Prometheus, on the same CPUs as the replay. `every` is the time between two scrapes, \
        `block` what a sample takes in a block that is made of everything at the end, `log` in the write-ahead log, \
        which holds the last two to three hours.\n\n\
        | machines | processes | `--group-by` | every | up | series | samples/s | memory | bytes/series | CPU | slowest scrape | block | log |\n\
        | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
    for step in steps {
        writeln!(
            text,
            "| {} | {} | `{}` | {} s | {} | {} | {} | {}{} | {} | {:.2} | {:.1} s | {} | {:.1} |",
            thousands(f64::from(step.targets)),
            thousands(step.processes as f64),
            step.by.name(),
            step.interval.as_secs(),
            thousands(step.up),
            thousands(step.series),
            thousands(step.samples_per_second),
            bytes(step.memory),
            if step.stopped.is_some() { " (1)" } else { "" },
            thousands(step.memory / step.series),
            step.cpu,
            step.slowest_scrape,
            step.bytes_per_sample.map_or("(2)".into(), |bytes| format!("{bytes:.1}")),
            step.wal_bytes_per_sample,
        )?;
    }
    *text += "\n";
    for step in steps {
        if let Some(why) = &step.stopped {
            writeln!(
                text,
                "(1) {} machines by `{}` were stopped {why}: the limit that this machine allowed.",
                step.targets,
                step.by.name()
            )?;
        }
    }
    if steps.iter().any(|step| step.bytes_per_sample.is_none()) {
        *text += "(2) Not made: it would have needed as much memory again.\n";
    }
    *text += "Blocks of a few samples per series are mostly index: the last step has enough to fill Prometheus's chunks of \
        120 samples, as its blocks of two hours have.\n\n";
    Ok(())
}

/// The arithmetic, from the largest step that ended in time.
fn thousand(text: &mut String, interval: u64, sizes: &[Size], steps: &[Step]) -> Result<()> {
    let whole = || steps.iter().filter(|step| step.stopped.is_none());
    let largest = whole().max_by(|a, b| a.series.total_cmp(&b.series)).context("no step came to its end")?;
    let per_series = largest.memory / largest.series;
    let per_sample = largest.cpu / largest.samples_per_second;
    let blocks = steps.iter().filter_map(|step| step.bytes_per_sample);
    let on_disk = blocks.min_by(f64::total_cmp).context("no block was made")?;
    writeln!(
        text,
        "## 1,000 machines with 1,000 processes\n\n\
         Extrapolated, not measured, where the table above has no 1,000 machines: series of a machine times 1,000; {} bytes \
         of memory per series and {:.1} µs of CPU per sample, as in the largest step that came to its end ({} series); \
         a scrape per {interval} s; {on_disk:.1} bytes per sample on disk, kept 15 days.\n",
        thousands(per_series),
        per_sample * 1e6,
        thousands(largest.series),
    )?;
    *text += "| `--group-by` | series | samples/s | received, gzip | memory | CPU | disk |\n\
        | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n";
    for by in By::ALL {
        let found = sizes.iter().find(|size| size.by == by && size.processes == PROCESSES);
        let size = found.context("a page was not measured")?;
        let series = size.series as f64 * MACHINES;
        let samples = series / interval as f64;
        writeln!(
            text,
            "| `{}` | {:.1} million | {} | {}/s | {} | {:.1} | {} |",
            by.name(),
            series / 1e6,
            thousands(samples),
            bytes(size.gzip as f64 * MACHINES / interval as f64),
            bytes(series * per_series),
            samples * per_sample,
            bytes(samples * on_disk * 86_400.0 * 15.0),
        )?;
    }
    *text += "\nSo: for a fleet group by `unit`, `pod` or `comm`, which one Prometheus of ordinary size takes; keep \
        `pid` for single machines, or for one that is looked at. Short-lived processes are new series under `pid`, \
        on top of all this, and none under the others. Recording rules (`dashboards/rules.yml`) make some 12 series per \
        machine and name of what is asked for most; only these need to be sent on by remote write.\n\n";
    Ok(())
}

fn scrapes(text: &mut String, costs: &[Option<Cost>]) -> Result<()> {
    *text += "## What a scrape costs the machine\n\n\
        The daemon itself, grouped by `pid,comm` without a bound, with as many real processes that sleep; a mean of 20 \
        scrapes, without gzip. It sums up the counters of each slot, reads those whose \
        sum has changed, and writes the page.\n\n\
        | processes | series | CPU per scrape | of that, reading | memory |\n| ---: | ---: | ---: | ---: | ---: |\n";
    for cost in costs.iter().flatten() {
        writeln!(
            text,
            "| {} | {} | {} ms | {:.0} ms | {} |",
            thousands(cost.processes),
            thousands(cost.series),
            cost.cpu.as_millis(),
            cost.reading.as_secs_f64() * 1e3,
            bytes(cost.resident),
        )?;
    }
    *text += "\n";
    let copies = costs.iter().flatten().all(|cost| cost.copies);
    if costs.iter().flatten().next().is_none() {
        *text += "Not measured: the daemon could not count on the machine that this was written on.\n\n";
    } else if !copies {
        *text += "The kernel of this machine has no copy probes: these pages have payload, system calls and mode switches \
            only. With copies a process has about five times as many series, which take as many times longer to write.\n\n";
    }
    Ok(())
}

const LIMITS: &str = "## What this does not show\n\n\
    - All replayed machines have the same values and, under `pid`, the same pids: real ones make Prometheus's index \
      larger by the pids and start times that they do not share.\n\
    - Queries, rules and alerts were not running beside the scrapes.\n\
    - A few minutes are no day: series that come and go, compaction and the blocks of many hours are not in it. Nor is \
      the memory of a head that holds two hours: the step with full chunks, small as it is, has twice as many bytes per \
      series as the others, so plan with twice the memory.\n\
    - Nothing was sent over a network or by TLS.\n";

/// With commas.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(number: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut number, mut unit) = (number, 0);
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1024.0, unit + 1);
    }
    let places = usize::from(unit > 0 && number < 100.0);
    format!("{number:.places$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (number, expected) in [(0.0, "0"), (999.6, "1,000"), (123_456.0, "123,456"), (1e6, "1,000,000")] {
            assert_eq!(thousands(number), expected);
        }
        for (number, expected) in [(12.0, "12 B"), (1536.0, "1.5 KiB"), (200.0 * 1024.0, "200 KiB")] {
            assert_eq!(bytes(number), expected);
        }
    }
}
