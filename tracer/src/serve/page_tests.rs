use tracer_ebpf::abi::Process;

use super::*;
use crate::model::reading::Reading;
use crate::model::test_rng::Random;
use crate::output::prometheus::{METRICS, Plain};
use crate::output::testing::{HOSTILE, distinct, snapshot};
use crate::serve::labels::{Dimension, GroupBy, Who};
use crate::serve::settings::Settings;

fn daemon() -> Daemon {
    Daemon {
        started: UNIX_EPOCH + Duration::from_secs(1_000),
        ready: true,
        slots: 4096,
        scrapes: 1,
        config: Some((UNIX_EPOCH, false)),
        has_web_config: true,
        capabilities: vec!["CAP_BPF"],
        landlock: true,
        pinned: Some("/sys/fs/bpf/tracer".into()),
    }
}

fn server() -> ServerStats {
    ServerStats { by_status: vec![(200, 3)], evicted: 1, handshakes: 2, web_config_refused: false }
}

fn census_of(dimensions: &[Dimension], max_series: usize) -> Census {
    let settings = Settings {
        group_by: Some(GroupBy::new(dimensions)),
        max_series: Some(max_series),
        ..Settings::default()
    };
    Census::new(&settings)
}

fn census(dimensions: &[Dimension], max_series: usize) -> Census {
    let mut census = census_of(dimensions, max_series);
    for pid in 1..=20 {
        let process = Process { tgid: pid, start_boottime: 1, ..Default::default() };
        let reading = Reading {
            slot: pid + 3,
            process,
            ledger: distinct(),
            unexplained: Tally::of(distinct()).unexplained,
        };
        let comm = format!("{HOSTILE}{pid}");
        let who = || Who { pid, comm, exe: HOSTILE.into(), cgroup: format!("/{HOSTILE}"), start_time: None };
        census.books.read(&reading, who);
    }
    census
}

fn page(census: &mut Census) -> String {
    let mut snapshot = snapshot(Vec::new());
    snapshot.softirq = distinct().into();
    metrics(census, &snapshot, &daemon(), &server(), Duration::from_millis(2)).concat()
}

/// The page that comes of all groups and of what is no process's, series by series.
fn reference(census: &Census, snapshot: &Snapshot, more: Vec<Own>) -> String {
    let by = census.books.group_by();
    let labels = |key: &Key| by.labels().into_iter().zip(key.0.iter().cloned()).collect();
    let mut groups = Vec::new();
    for (key, group) in census.books.groups() {
        let (ledger, highest) = (group.ledger, group.highest);
        groups.push(Plain { labels: labels(key), ledger, highest, info: group.who().map(Who::labels) });
    }
    for (name, key, ledger) in unattributed(&census.books, snapshot) {
        let (labels, highest) = (labels(&key), census.unattributed[name]);
        // One bound is of the whole group: what was cut short is no more than what was counted.
        match groups.iter_mut().find(|group| group.labels == labels) {
            Some(group) => {
                group.ledger = crate::model::snapshot::plus(&group.ledger, &ledger.ledger);
                group.highest.add(&highest);
            }
            None => groups.push(Plain { labels, ledger: ledger.ledger, highest, info: None }),
        }
    }
    prometheus::reference(snapshot, &groups, more)
}

/// Processes come, work, take other names, also those of groups that are none of them, and go.
#[test]
fn a_page_is_all_groups_in_order() {
    use Dimension::{Cgroup, Comm, Pid, Unit};
    const BY: [&[Dimension]; 5] = [&[Pid, Comm], &[Comm], &[Cgroup], &[Pid, Comm, Cgroup], &[Comm, Unit]];
    const NAMES: [&str; 8] = ["a", "a b", "a!", "softirq", "overflow", "ended", "unattributed", HOSTILE];
    // Sums of these are exact as floats, which the reference makes.
    const LARGE: &[u64] = &[10, 1_000_000, 1 << 40];
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut census = census_of(BY[seed as usize % BY.len()], [60, 1_000_000][random.below(2) as usize]);
        let mut slots = [(0u64, Ledger::ZERO); 24];
        for _ in 0..random.below(120) {
            let slot = random.below(24) as u32;
            let (started, ledger) = &mut slots[slot as usize];
            *ledger = crate::model::snapshot::plus(ledger, &prometheus::some_ledger(&mut random, LARGE));
            // Two at a time may have the same pid, for one of them has ended.
            let process = Process { tgid: 8 + slot / 2, start_boottime: *started, ..Process::default() };
            let reading =
                Reading { slot, process, ledger: *ledger, unexplained: Tally::of(*ledger).unexplained };
            let who = Who {
                pid: process.tgid,
                start_time: Some(UNIX_EPOCH + Duration::from_secs(*started * 24 + u64::from(slot))),
                comm: random.pick(&NAMES).into(),
                exe: random.pick(&NAMES).into(),
                cgroup: format!("/{}/{}.service", random.pick(&NAMES), random.pick(&NAMES)),
            };
            if random.one_in(5) {
                census.books.end(&reading, || who);
                (*started, *ledger) = (*started + 1, Ledger::ZERO);
            } else {
                census.books.read(&reading, || who);
            }
        }
        let mut snapshot = snapshot(Vec::new());
        for ledger in [&mut snapshot.softirq, &mut snapshot.kernel_threads, &mut snapshot.overflow] {
            *ledger = if random.one_in(3) {
                Tally::ZERO
            } else {
                prometheus::some_ledger(&mut random, LARGE).into()
            };
        }
        let took = Duration::from_millis(2);
        let page = metrics(&mut census, &snapshot, &daemon(), &server(), took).concat();
        // Room was made for it, so there is no more to make: the second page is the same.
        let again = metrics(&mut census, &snapshot, &daemon(), &server(), took).concat();
        assert_eq!(prometheus::differ(&page, &again), Ok(()), "seed {seed}");
        let mut more = own(&census, &daemon(), &server());
        let others = unattributed(&census.books, &snapshot);
        let others: usize = others
            .iter()
            .map(|(_, _, l)| prometheus::series(&snapshot.observed, l, Active::of(l), false))
            .sum();
        more.push(plain("tracer_series", (others + census.books.make_room(usize::MAX, |_, _| 0)) as f64));
        more.push(plain("tracer_scrape_duration_seconds", took.as_secs_f64()));
        let expected = reference(&census, &snapshot, more);
        assert_eq!(prometheus::differ(&page, &expected), Ok(()), "seed {seed}");
    }
}

#[test]
fn every_metric_of_the_daemon_is_there() {
    let text = page(&mut census(&[Dimension::Pid, Dimension::Comm, Dimension::Cgroup], 50_000));
    for (name, _, help) in METRICS.iter().filter(|(.., help)| help.ends_with("(serve).")) {
        assert!(text.contains(&format!("# HELP {name} ")), "{name}: {help}");
    }
    assert!(text.contains("\ntracer_ready 1\n") && text.contains("pid=\"unattributed\""));
    let hostile = text.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(hostile, None);
    let is_whole = |line: &str| line.starts_with("# ") || line.starts_with("tracer_");
    assert!(text.lines().all(is_whole), "{text}");
    let groups = |line: &&str| line.contains("{pid=");
    let count = text.lines().filter(groups).count();
    assert!(text.contains(&format!("\ntracer_series {count}\n")), "{count} series:\n{text}");
}

#[test]
fn series_are_bounded_and_nothing_is_dropped() {
    let sum = |text: &str| -> f64 {
        let of = text.lines().filter(|line| line.starts_with("tracer_syscalls_total{"));
        of.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    };
    let all = page(&mut census(&[Dimension::Comm], 50_000));
    let some = page(&mut census(&[Dimension::Comm], 1_000));
    let series = some.lines().filter(|line| line.contains("{comm=")).count();
    assert!(series <= 1_000, "{series} series");
    assert!(some.contains("comm=\"overflow\"") && !all.contains("comm=\"overflow\""));
    assert_eq!(sum(&some), sum(&all));
}

#[test]
fn status_is_json_without_processes() {
    let mut snapshot = snapshot(Vec::new());
    snapshot.total = distinct();
    let text = status(&census(&[Dimension::Comm], 1_000), &snapshot, &daemon());
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&value["schema"], &value["ready"]), (&json!(SCHEMA), &json!(true)));
    assert_eq!(value["totals"]["adds_up"], false);
    assert!(value["probes"].is_array() && value.get("started").is_some() && value["losses"].is_object());
    assert_eq!((&value["landlock"], &value["capabilities"]), (&json!(true), &json!(["CAP_BPF"])));
    assert_eq!(value["processes"], json!({ "living": 20, "ended": 0 }));
}

#[test]
fn totals_of_what_is_not_observed_are_absent() {
    let totals = |copies, payload| {
        let mut snapshot = snapshot(Vec::new());
        (snapshot.observed.copies, snapshot.observed.payload) = (copies, payload);
        let text = status(&census(&[Dimension::Comm], 1_000), &snapshot, &daemon());
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let there = |name: &str| value["totals"].get(name).is_some();
        let each = |name: &str| {
            assert_eq!(there(name), there(&format!("{name}_of_groups")), "{name}");
            there(name)
        };
        (each("copied_bytes"), each("payload_bytes"), there("adds_up"))
    };
    assert_eq!(totals(true, true), (true, true, true));
    assert_eq!(totals(false, true), (false, true, true));
    assert_eq!(totals(true, false), (true, false, true));
}
