//! What the daemon shows: `/metrics` and `/status`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tracer_ebpf::abi::{Ledger, Path};

use super::collector::Census;
use super::group::Group;
use super::groups::Books;
use super::labels::{Key, OVERFLOW};
use super::scrape_queue::ServerStats;
use crate::fmt::rfc3339;
use crate::model::snapshot::{Derived as _, Snapshot, Tally};
use crate::output::json as window;
use crate::output::prometheus::{self, Active, GroupSeries, Own, labels};

/// Of `/status`.
pub const SCHEMA: &str = "tracer-status/1";

/// What the daemon knows of itself.
pub struct Daemon {
    pub started: SystemTime,
    pub ready: bool,
    /// Slots of the kernel side.
    pub slots: u32,
    pub scrapes: u64,
    /// When the configuration file was read with success last, and whether that was the last try.
    pub config: Option<(SystemTime, bool)>,
    pub has_web_config: bool,
    pub capabilities: Vec<&'static str>,
    /// The counting thread is fenced by Landlock.
    pub landlock: bool,
    /// Where everything is pinned, escaped.
    pub pinned: Option<String>,
}

/// The text of `/metrics`, in parts. Makes room first, if there are too many series.
pub fn metrics(
    census: &mut Census,
    snapshot: &Snapshot,
    daemon: &Daemon,
    server: &ServerStats,
    took: Duration,
) -> Vec<String> {
    let observed = &snapshot.observed;
    let unattributed = unattributed(&census.books, snapshot);
    let others: usize = unattributed
        .iter()
        .map(|(_, _, ledger)| prometheus::series(observed, ledger, Active::of(ledger), false))
        .sum();
    let series = |_: &Key, group: &Group| {
        prometheus::series(observed, &group.ledger, group.active, group.who().is_some())
    };
    let series = census.books.make_room(census.max_series.saturating_sub(others), series);
    let mut more = own(census, daemon, server);
    more.push(plain("tracer_series", (others + series) as f64));
    more.push(plain("tracer_scrape_duration_seconds", took.as_secs_f64()));
    let mut shared = BTreeMap::new();
    for (name, key, ledger) in unattributed {
        let group = shared.entry(key).or_insert_with_key(|key| census.books.copy_of(key));
        let highest = census.unattributed.entry(name).or_default();
        highest.raise(ledger);
        group.add(ledger, highest);
    }
    let mut groups: Vec<(&Key, &Group)> = census.books.groups().collect();
    for (key, group) in &shared {
        match groups.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(at) => groups[at] = (key, group),
            Err(at) => groups.insert(at, (key, group)),
        }
    }
    let all = groups.iter().map(|(_, group)| GroupSeries {
        labels: &group.labels,
        active: group.active,
        ledger: &group.ledger,
        highest: &group.highest,
    });
    census.pages.render(snapshot, all, infos(&groups), more)
}

/// The labels of processes, in order.
fn infos<'a>(groups: &[(&Key, &'a Group)]) -> impl Iterator<Item = &'a str> {
    let mut processes: Vec<_> =
        groups.iter().filter_map(|(_, group)| Some((group.who()?, group.info.as_str()))).collect();
    // Their groups are in the order of pids, and then of start times, which here come after names.
    if processes.windows(2).any(|two| two[0].0.pid == two[1].0.pid) {
        processes.sort_by_cached_key(|(who, _)| who.labels());
    }
    processes.into_iter().map(|(_, info)| info)
}

/// What is no process's: of softirqs and kernel threads, and of processes for which no slot was left. Groups of
/// these names may be in the books as well, or the names may be the same.
fn unattributed<'a>(books: &Books, snapshot: &'a Snapshot) -> Vec<(&'static str, Key, &'a Tally)> {
    let by = books.group_by();
    let groups = [
        ("softirq", by.unattributed("softirq"), &snapshot.softirq),
        ("kernel_thread", by.unattributed("kernel_thread"), &snapshot.kernel_threads),
        (OVERFLOW, by.special(OVERFLOW), &snapshot.overflow),
    ];
    groups.into_iter().filter(|(_, _, ledger)| !ledger.is_empty()).collect()
}

fn plain(name: &'static str, value: f64) -> Own {
    Own { name, labels: labels([]), value }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn own(census: &Census, daemon: &Daemon, server: &ServerStats) -> Vec<Own> {
    let books = &census.books;
    let one = |name, label: &'static str, value: &str, number: f64| Own {
        name,
        labels: labels([(label, value)]),
        value: number,
    };
    let used = books.slots_used as f64;
    let mut more = vec![
        plain("tracer_processes", books.processes() as f64),
        plain("tracer_processes_ended_total", books.ended as f64),
        one("tracer_slots", "state", "used", used),
        one("tracer_slots", "state", "free", f64::from(daemon.slots) - used),
        plain("tracer_series_limit", census.max_series as f64),
        one("tracer_groups_merged_total", "into", "ended", books.merged.0 as f64),
        one("tracer_groups_merged_total", "into", "overflow", books.merged.1 as f64),
        plain("tracer_scrapes_total", daemon.scrapes as f64),
        plain("tracer_counting_start_time_seconds", seconds(daemon.started)),
        plain("tracer_ready", f64::from(u8::from(daemon.ready))),
        one("tracer_http_connections_dropped_total", "reason", "evicted", server.evicted as f64),
        one("tracer_http_connections_dropped_total", "reason", "tls_handshake", server.handshakes as f64),
    ];
    for (status, count) in &server.by_status {
        more.push(one("tracer_http_requests_total", "code", &status.to_string(), *count as f64));
    }
    if let Some((when, good)) = daemon.config {
        more.push(plain("tracer_config_last_reload_successful", f64::from(u8::from(good))));
        more.push(plain("tracer_config_last_reload_success_timestamp_seconds", seconds(when)));
    }
    if daemon.has_web_config {
        let good = f64::from(u8::from(!server.web_config_refused));
        more.push(plain("tracer_web_config_last_reload_successful", good));
    }
    if daemon.pinned.is_some() {
        more.push(plain("tracer_pin_save_failures_total", census.not_saved as f64));
    }
    for capability in &daemon.capabilities {
        more.push(one("tracer_capabilities_info", "capability", capability, 1.0));
    }
    more
}

/// What was counted of all processes, and by the sum of all groups, as far as it is observed.
fn totals(snapshot: &Snapshot, groups: &Ledger) -> Value {
    let copied = |ledger: &Ledger| -> u64 { Path::ALL.iter().map(|path| ledger.copied(*path).bytes).sum() };
    let payload = |ledger: &Ledger| ledger.payload().bytes;
    let mut totals = json!({ "adds_up": *groups == snapshot.total });
    let observed = &snapshot.observed;
    if observed.copies {
        totals["copied_bytes"] = copied(&snapshot.total).into();
        totals["copied_bytes_of_groups"] = copied(groups).into();
    }
    if observed.payload {
        totals["payload_bytes"] = payload(&snapshot.total).into();
        totals["payload_bytes_of_groups"] = payload(groups).into();
    }
    totals
}

/// The text of `/status`.
pub fn status(census: &Census, snapshot: &Snapshot, daemon: &Daemon) -> String {
    let mut status = window::to_json(snapshot);
    let groups = census.books.sum();
    let sum = crate::model::snapshot::plus(&groups, &snapshot.overflow);
    if let Value::Object(fields) = &mut status {
        // A window's; the daemon shows groups instead, on its other page.
        for window_only in ["processes", "ended", "overflow", "unattributed", "adds_up", "totals"] {
            fields.remove(window_only);
        }
        let missed: u64 = snapshot.probes.iter().map(|probe| probe.missed).sum();
        let more = json!({
            "schema": SCHEMA,
            "version": env!("CARGO_PKG_VERSION"),
            "ready": daemon.ready,
            "counting_since": rfc3339(daemon.started),
            "uptime_seconds": snapshot.window.as_secs_f64(),
            "missed_events": missed,
            "group_by": census.books.group_by().labels(),
            "processes": { "living": census.books.processes(), "ended": census.books.ended },
            "slots": { "used": census.books.slots_used, "total": daemon.slots },
            "series": {
                "groups": census.books.groups().count(),
                "limit": census.max_series,
                "merged_into_ended": census.books.merged.0,
                "merged_into_overflow": census.books.merged.1,
            },
            "totals": totals(snapshot, &sum),
            "config_reload_successful": daemon.config.map(|(_, good)| good),
            "capabilities": daemon.capabilities,
            "landlock": daemon.landlock,
            "pinned": daemon.pinned,
        });
        if let Value::Object(more) = more {
            fields.extend(more);
        }
    }
    format!("{status:#}\n")
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
