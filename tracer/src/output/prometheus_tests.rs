use tracer_ebpf::abi::{BUCKETS, DeviceOp, Path};

use super::*;
use crate::model::snapshot::Folded;
use crate::output::testing::{self, HOSTILE, LedgerBuilder, blind, distinct, process, snapshot};

/// Value of the only line that starts with `series`.
fn value(text: &str, series: &str) -> Option<f64> {
    let found: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(series)).collect();
    assert!(found.len() <= 1, "{series} is there {} times", found.len());
    found.first().map(|rest| rest.trim().parse().expect("a number"))
}

fn render(snapshot: &Snapshot) -> String {
    Exporter::new().render(snapshot)
}

#[test]
fn every_number_is_the_ledgers() {
    let ledger = distinct();
    let text = render(&snapshot(vec![process(7, "x", ledger)]));
    let expect = |name: &str, labels: &str, number: u64| {
        let series = format!("{name}{{pid=\"7\",comm=\"x\",{labels}}} ");
        assert_eq!(value(&text, &series), Some(number as f64), "{series}");
    };
    for path in Path::ALL {
        let (i, name) = (path as usize, path.name());
        for direction in Direction::ALL {
            let d = direction as usize;
            for (kind, count) in [("copy", ledger.copied[i][d]), ("checksum", ledger.checksum[i][d])] {
                let labels = format!("path=\"{name}\",direction=\"{}\",kind=\"{kind}\"", direction.name());
                expect("tracer_copied_bytes_total", &labels, count.bytes);
                expect("tracer_copies_total", &labels, count.calls);
            }
        }
        let crypto = format!("path=\"{name}\",direction=\"in_kernel\",kind=\"crypto\"");
        expect("tracer_copied_bytes_total", &crypto, ledger.crypto[i].bytes);
        let by_path = format!("path=\"{name}\"");
        expect("tracer_payload_bytes_total", &by_path, ledger.payload[i].bytes);
        expect("tracer_payload_calls_total", &by_path, ledger.payload[i].calls);
        expect("tracer_syscalls_total", &by_path, ledger.syscalls[i]);
        expect("tracer_zero_copied_bytes_total", &by_path, ledger.zero_copied(path));
        expect("tracer_discarded_bytes_total", &by_path, ledger.discarded[i]);
        expect("tracer_unexplained_bytes_total", &by_path, Tally::of(ledger).unexplained(path));
    }
    for direction in Direction::ALL {
        let labels = format!("direction=\"{}\"", direction.name());
        expect("tracer_control_bytes_total", &labels, ledger.control[direction as usize].bytes);
    }
    for (name, number) in [("bytes", ledger.cut_short().bytes), ("copies", ledger.cut_short().calls)] {
        let series = format!("tracer_cut_short_{name}_total{{pid=\"7\",comm=\"x\"}} ");
        assert_eq!(value(&text, &series), Some(number as f64), "{series}");
    }
    expect("tracer_mode_switches_total", "reason=\"syscall\"", ledger.syscall_switches());
    expect("tracer_mode_switches_total", "reason=\"fault\"", 2 * ledger.faults);
    expect("tracer_mode_switches_total", "reason=\"interrupt\"", 2 * ledger.interrupts);
    expect("tracer_context_switches_total", "kind=\"voluntary\"", ledger.voluntary);
    expect("tracer_context_switches_total", "kind=\"involuntary\"", ledger.involuntary);
    for op in DeviceOp::ALL {
        let (kind, name) = op.name();
        let labels = format!("device_kind=\"{kind}\",op=\"{name}\"");
        expect("tracer_device_bytes_total", &labels, ledger.device[op as usize]);
    }
}

#[test]
fn sizes_are_a_histogram() {
    let mut p = process(7, "x", testing::read_send());
    p.copy_sizes.add(Path::Read, Direction::ToUser, 16, 1023);
    p.copy_sizes.add(Path::Read, Direction::ToUser, BUCKETS - 1, 1);
    // The same pid and name twice: one series, as everywhere.
    let text = render(&snapshot(vec![p.clone(), p]));
    let series = |suffix: &str, le: &str| {
        let name = format!(
            "tracer_copy_size_bytes{suffix}{{pid=\"7\",comm=\"x\",path=\"read\",direction=\"to_user\""
        );
        value(&text, &format!("{name}{le}}} "))
    };
    let upto = |le: &str| series("_bucket", &format!(",le=\"{le}\""));
    assert_eq!([upto("32768"), upto("65536"), upto("1073741824")], [Some(0.0), Some(2046.0), Some(2046.0)]);
    assert_eq!([upto("+Inf"), series("_count", "")], [Some(2048.0); 2]);
    assert_eq!(series("_sum", ""), Some((128 << 20) as f64));
    assert!(
        !render(&snapshot(vec![process(7, "x", testing::read_send())])).contains("tracer_copy_size_bytes")
    );
}

#[test]
fn what_is_not_observed_has_no_series() {
    let mut s = blind(vec![process(7, "x", testing::read_send())]);
    let text = render(&s);
    for absent in [
        "tracer_copied_",
        "tracer_copies_",
        "tracer_cut_short",
        "tracer_zero_copied",
        "tracer_unexplained",
        "tracer_control",
        "_call_sites",
    ] {
        assert!(!text.contains(absent), "{absent} in\n{text}");
    }
    assert!(text.contains("tracer_coverage_complete 0\n") && text.contains("tracer_payload_bytes_total{"));
    s.observed.payload = false;
    s.observed.syscalls = false;
    s.observed.faults = false;
    s.observed.interrupts = false;
    s.observed.context_switches = false;
    let text = render(&s);
    for absent in ["tracer_payload_", "tracer_syscalls_", "tracer_mode_switches", "tracer_context_"] {
        assert!(!text.contains(absent), "{absent} in\n{text}");
    }
}

#[test]
fn losses_are_there_from_the_start() {
    let text = render(&snapshot(Vec::new()));
    assert_eq!(value(&text, "tracer_events_lost_total{reason=\"call_map_full\"} "), Some(0.0));
    assert_eq!(value(&text, "tracer_events_merged_total{reason=\"slots_used_up\"} "), Some(0.0));
    assert_eq!(value(&text, "tracer_probe_missed_total{probe=\"filemap_read\"} "), Some(0.0));
    assert_eq!(value(&text, "tracer_probe_missed_total{probe=\"do_wp_page\"} "), None);
    assert_eq!(value(&text, "tracer_bpf_run_seconds_total{probe=\"filemap_read\"} "), Some(51_250e-9));
}

#[test]
fn the_tracer_tells_about_itself() {
    let text = render(&snapshot(Vec::new()));
    let build = text.lines().find(|line| line.starts_with("tracer_build_info{")).expect("there");
    for label in ["version=\"0.", "rustversion=\"1.", "target=\"x86_64-"] {
        assert!(build.contains(label), "{label} in {build}");
    }
    for name in ["cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes", "open_fds", "max_fds"]
    {
        assert!(value(&text, &format!("tracer_process_{name} ")).is_some(), "{name}");
    }
    assert!(value(&text, "tracer_process_start_time_seconds ") > Some(1e9));
}

#[test]
fn zero_copied_never_goes_back() {
    let at = |copied| {
        let ledger = LedgerBuilder(testing::sendfile());
        let ledger = ledger.copied(Path::Sendfile, Direction::InKernel, copied, 1);
        snapshot(vec![process(7, "x", ledger.0)])
    };
    let mut exporter = Exporter::new();
    let series = "tracer_zero_copied_bytes_total{pid=\"7\",comm=\"x\",path=\"sendfile\"} ";
    let before = value(&exporter.render(&at(0)), series);
    assert_eq!(before, Some((64 << 20) as f64));
    assert_eq!(value(&exporter.render(&at(4096)), series), before);
    // Another process under the same pid.
    let mut other = at(4096);
    other.processes[0].start_time = None;
    assert_eq!(value(&exporter.render(&other), series), Some(((64 << 20) - 4096) as f64));
}

#[test]
fn a_reused_pid_is_one_series() {
    let mut old = process(7, "x", testing::sendfile());
    old.exited = true;
    old.start_time = None;
    let text = render(&snapshot(vec![old, process(7, "x", testing::sendfile())]));
    let series = "tracer_payload_bytes_total{pid=\"7\",comm=\"x\",path=\"sendfile\"} ";
    assert_eq!(value(&text, series), Some((128 << 20) as f64));
    assert_eq!(text.lines().filter(|line| line.starts_with("tracer_process_info{")).count(), 2);
}

#[test]
fn unattributed_and_overflow_have_names_of_their_own() {
    let mut s = snapshot(Vec::new());
    s.overflow = testing::sendfile().into();
    s.ended = Folded { processes: 9, ledger: testing::sendfile().into(), ..Folded::default() };
    s.softirq = LedgerBuilder::new().copied(Path::Softirq, Direction::InKernel, 10, 1).0.into();
    let text = render(&s);
    assert!(
        text.contains("tracer_payload_bytes_total{pid=\"overflow\",comm=\"overflow\",path=\"sendfile\"}")
    );
    assert!(text.contains("tracer_payload_bytes_total{pid=\"ended\",comm=\"ended\",path=\"sendfile\"}"));
    let softirq = "tracer_copied_bytes_total{pid=\"unattributed\",comm=\"softirq\",path=\"softirq\",\
                   direction=\"in_kernel\",kind=\"copy\"} ";
    assert_eq!(value(&text, softirq), Some(10.0));
}

#[test]
fn hostile_names_stay_in_their_label() {
    let mut p = process(7, HOSTILE, testing::sendfile());
    p.exe = HOSTILE.to_owned();
    p.cgroup = HOSTILE.to_owned();
    let text = render(&snapshot(vec![p]));
    assert!(text.chars().all(|c| c == '\n' || (c.is_ascii() && !c.is_control())));
    let escaped = r#"a\\n\\u{1b}[2J\"}\\\\\\u{9b}\\u{202e}\\u{7f}"#;
    assert!(text.contains(&format!("comm=\"{escaped}\"")), "{text}");
    assert!(text.lines().all(|line| line.starts_with('#') || line.starts_with("tracer_")));
}

/// `PROM_SAMPLE=/tmp/x cargo test prom_sample && promtool check metrics < /tmp/x`
#[test]
fn prom_sample() {
    let mut s = snapshot(vec![process(7, HOSTILE, distinct()), process(8, "nginx", testing::sendfile())]);
    s.processes[0].copy_sizes.add(Path::Read, Direction::ToUser, 16, 3);
    s.overflow = distinct().into();
    s.softirq = distinct().into();
    (s.coverage.state, s.coverage.since) = (CoverageState::CompleteSince, Some(s.started));
    let text = render(&s);
    assert!(text.contains("tracer_coverage_complete 1\n"));
    // The daemon's own are in its pages (serve/page_tests.rs).
    let names = METRICS.iter().filter(|(.., help)| !help.ends_with("(serve).")).map(|(name, ..)| *name);
    for name in names {
        assert!(text.contains(&format!("# TYPE {name} ")) && text.contains(&format!("# HELP {name} ")));
    }
    if let Ok(path) = std::env::var("PROM_SAMPLE") {
        std::fs::write(path, text).expect("writing the sample");
    }
}
