use super::*;
use crate::serve::settings::Settings;
use crate::serve::who::{Dimension, GroupBy, Who};
use crate::session::Reading;
use crate::sink::prom::METRICS;
use crate::sink::testing::{HOSTILE, distinct, snapshot};

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

fn census(dimensions: &[Dimension], max_series: usize) -> Census {
    let settings = Settings {
        group_by: Some(GroupBy::new(dimensions)),
        max_series: Some(max_series),
        ..Settings::default()
    };
    let mut census = Census::new(&settings);
    for pid in 1..=20 {
        let process = tracer_ebpf::abi::Process { tgid: pid, start_boottime: 1, ..Default::default() };
        let reading = Reading { slot: pid + 3, process, ledger: distinct() };
        let comm = format!("{HOSTILE}{pid}");
        let who = || Who { pid, comm, exe: HOSTILE.into(), cgroup: format!("/{HOSTILE}"), start_time: None };
        census.books.read(&reading, who);
    }
    census
}

fn page(census: &mut Census) -> String {
    let mut snapshot = snapshot(Vec::new());
    snapshot.softirq = distinct();
    metrics(census, &snapshot, &daemon(), &server(), Duration::from_millis(2))
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
