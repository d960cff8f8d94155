use std::collections::BTreeMap;

use serde_json::{Value, json};
use tracer_ebpf::abi::{DeviceOp, Direction, Ledger, Path};

use super::*;
use crate::model::snapshot::{Derived as _, Tally};
use crate::output::testing::{self, HOSTILE, LedgerBuilder, blind, distinct, process, snapshot};

fn line(snapshot: &Snapshot) -> String {
    let mut out = Vec::new();
    write_line(&mut out, snapshot).expect("a Vec takes everything");
    String::from_utf8(out).expect("UTF-8")
}

/// Every number of a value, by where it is: `paths.read.calls`.
fn numbers(value: &Value, at: &str, found: &mut BTreeMap<String, u64>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                numbers(value, &at, found);
            }
        }
        Value::Number(number) => {
            // Ratios are compared on their own.
            if let Some(number) = number.as_u64() {
                found.insert(at.to_owned(), number);
            }
        }
        _ => {}
    }
}

/// What the contract calls every counter of a ledger.
fn expected(ledger: &Ledger) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let mut put = |at: String, number| assert_eq!(all.insert(at, number), None);
    let (mut checksum, mut crypto) = (0, 0);
    for path in Path::ALL {
        let (i, at) = (path as usize, format!("paths.{}", path.name()));
        put(format!("{at}.calls"), ledger.payload[i].calls);
        put(format!("{at}.payload_bytes"), ledger.payload[i].bytes);
        put(format!("{at}.syscalls"), ledger.syscalls[i]);
        put(format!("{at}.zero_copied_bytes"), ledger.zero_copied(path));
        put(format!("{at}.discarded_bytes"), ledger.discarded[i]);
        put(format!("{at}.unexplained_bytes"), Tally::of(*ledger).unexplained(path));
        for direction in Direction::ALL {
            let copied = ledger.copied[i][direction as usize];
            put(format!("{at}.copied_bytes.{}", direction.name()), copied.bytes);
            put(format!("{at}.copies.{}", direction.name()), copied.calls);
        }
        let summed: u64 = ledger.checksum[i].iter().map(|count| count.bytes).sum();
        put(format!("{at}.checksum_bytes"), summed);
        put(format!("{at}.crypto_bytes"), ledger.crypto[i].bytes);
        (checksum, crypto) = (checksum + summed, crypto + ledger.crypto[i].bytes);
    }
    for direction in Direction::ALL {
        put(format!("control_bytes.{}", direction.name()), ledger.control[direction as usize].bytes);
    }
    put("unexplained_bytes".into(), Tally::of(*ledger).unexplained_in_all());
    put("cut_short.copies".into(), ledger.cut_short().calls);
    put("cut_short.bytes_at_most".into(), ledger.cut_short().bytes);
    put("other_kinds.checksum".into(), checksum);
    put("other_kinds.crypto".into(), crypto);
    put("mode_switches.syscall".into(), 2 * ledger.syscalls.iter().sum::<u64>());
    put("mode_switches.fault".into(), 2 * ledger.faults);
    put("mode_switches.interrupt".into(), 2 * ledger.interrupts);
    put("context_switches.voluntary".into(), ledger.voluntary);
    put("context_switches.involuntary".into(), ledger.involuntary);
    for op in DeviceOp::ALL {
        let (kind, name) = op.name();
        put(format!("device_bytes.{kind}.{name}"), ledger.device[op as usize]);
    }
    all
}

#[test]
fn every_number_is_the_ledgers_and_nothing_is_missing() {
    let ledger = distinct();
    let mut s = snapshot(vec![process(7, "x", ledger)]);
    s.overflow = testing::read_send().into();
    let value = to_json(&s);
    for part in [&value["totals"], &value["processes"][0]] {
        let mut found = BTreeMap::new();
        numbers(part, "", &mut found);
        found.remove("pid");
        assert_eq!(found, expected(&ledger));
        assert_eq!(part["copies_per_byte"].as_f64(), ledger.copies_per_byte());
    }
    assert_eq!(value["overflow"]["paths"]["read"]["payload_bytes"], 64 << 20);
    assert_eq!(value.get("ended"), None, "while there is nothing in it");
    s.ended = Folded { processes: 3, ledger: testing::read_send().into(), ..Folded::default() };
    let ended = &to_json(&s)["ended"];
    assert_eq!(ended["processes"], 3);
    assert_eq!(ended["paths"]["read"]["payload_bytes"], 64 << 20);
    // The overflow is in no total of these hand-made parts.
    assert_eq!(value["adds_up"], false);
}

#[test]
fn sizes_are_named_by_their_largest() {
    let mut p = process(7, "x", testing::read_send());
    assert_eq!(to_json(&snapshot(vec![p.clone()]))["totals"]["paths"]["read"].get("copy_sizes"), None);
    p.copy_sizes.add(Path::Read, Direction::ToUser, 16, 1023);
    p.copy_sizes.add(Path::Read, Direction::ToUser, 31, 1);
    p.copy_sizes.add(Path::Send, Direction::FromUser, 0, 2);
    let value = to_json(&snapshot(vec![p.clone(), p]));
    let paths = &value["processes"][1]["paths"];
    assert_eq!(paths["read"]["copy_sizes"], json!({"to_user": {"65536": 1023, "+Inf": 1}}));
    assert_eq!(paths["send"]["copy_sizes"], json!({"from_user": {"1": 2}}));
    assert_eq!(value["totals"]["paths"]["read"]["copy_sizes"]["to_user"]["65536"], 2046);
}

#[test]
fn golden() {
    let mut s = snapshot(vec![process(1234, "nginx", testing::sendfile())]);
    s.probes.truncate(1);
    s.softirq = LedgerBuilder::new().copied(Path::Softirq, Direction::InKernel, 10, 1).0.into();
    let ledger = concat!(
        r#""paths":{"sendfile":{"calls":64,"payload_bytes":67108864,"syscalls":64,"#,
        r#""zero_copied_bytes":67108864,"discarded_bytes":0,"unexplained_bytes":0,"copied_bytes":{"to_user":0,"from_user":0,"in_kernel":0},"#,
        r#""copies":{"to_user":0,"from_user":0,"in_kernel":0}},"#,
        r#""other_syscall":{"calls":0,"payload_bytes":0,"syscalls":3,"zero_copied_bytes":0,"#,
        r#""discarded_bytes":0,"unexplained_bytes":0,"#,
        r#""copied_bytes":{"to_user":0,"from_user":0,"in_kernel":0},"#,
        r#""copies":{"to_user":0,"from_user":0,"in_kernel":0}}},"unexplained_bytes":0,"copies_per_byte":0.0,"#,
        r#""copied_without_payload_bytes":{},"#,
        r#""cut_short":{"copies":0,"bytes_at_most":0},"#,
        r#""other_kinds":{"checksum":0,"crypto":0},"#,
        r#""control_bytes":{"to_user":0,"from_user":0,"in_kernel":0},"#,
        r#""mode_switches":{"syscall":134,"fault":8,"interrupt":24},"#,
        r#""context_switches":{"voluntary":60,"involuntary":2},"#,
        r#""device_bytes":{"block":{"read":0,"write":0},"net":{"rx":0,"tx":0}}}"#,
    );
    let head = concat!(
        r#"{"schema":"tracer/1","kernel":"6.1.0-56-amd64","started":"2026-11-22T22:32:25Z","#,
        r#""window_seconds":10.0,"observed":{"copies":true,"mode_switches":true,"#,
        r#""context_switches":true,"device_bytes":true,"payload":true,"references":true,"cut_short":true,"#,
        r#""faults":true,"interrupts":true},"coverage":{"state":"complete","reasons":[],"#,
        r#""call_sites":{"wrapper":40,"checked":30,"call_site":0,"uncovered":0},"#,
        r#""metadata_call_sites":{"wrapper":0,"checked":0,"call_site":0,"uncovered":50}},"#,
        r#""probes":[{"probe":"filemap_read","method":"fexit","attached":true,"missed":0,"#,
        r#""symbol":"filemap_read"}],"lost_events":0,"#,
        r#""losses":{"call_map_full":0,"slots_used_up":0},"adds_up":true,"notes":[],"#,
        r#""processes":[{"pid":1234,"comm":"nginx","start_time":"2026-11-22T22:32:20Z","#,
        r#""exited":false,"exe":"/usr/sbin/nginx","#,
    );
    let got = line(&s);
    assert!(got.starts_with(&format!("{head}{ledger}],\"totals\":{{")), "{got}");
    let unattributed = concat!(
        r#""unattributed":{"softirq":{"copied_bytes":{"to_user":0,"from_user":0,"in_kernel":10},"#,
        r#""copies":{"to_user":0,"from_user":0,"in_kernel":1}},"kernel_thread":{}}}"#,
        "\n"
    );
    assert!(got.ends_with(unattributed), "{got}");
    assert_eq!(serde_json::from_str::<Value>(&got).expect("JSON"), to_json(&s));
}

#[test]
fn what_is_not_observed_is_absent() {
    let mut s = blind(vec![process(7, "x", testing::read_send())]);
    s.observed.interrupts = false;
    s.softirq = distinct().into();
    let value = to_json(&s);
    let process = &value["processes"][0];
    let mut found = BTreeMap::new();
    numbers(process, "", &mut found);
    assert_eq!(process.get("copied_without_payload_bytes"), None);
    for absent in ["copied", "copies", "control", "other_kinds", "checksum", "interrupt", "device"] {
        assert!(!found.keys().any(|key| key.contains(absent)), "{absent} in {process}");
    }
    assert_eq!(process["paths"]["read"], json!({"calls": 1024, "payload_bytes": 64 << 20, "syscalls": 1025}));
    assert_eq!(value["unattributed"], json!({"softirq": {}, "kernel_thread": {}}));
    assert_eq!(value["coverage"].get("call_sites"), None);
    assert_eq!(value["observed"]["copies"], false);
    s.observed.syscalls = false;
    s.observed.faults = false;
    s.observed.context_switches = false;
    s.observed.payload = false;
    let value = to_json(&s);
    assert_eq!(value["processes"][0]["mode_switches"], json!({}));
    assert_eq!(value["processes"][0].get("context_switches"), None);
    assert_eq!(value["processes"][0]["paths"]["read"], json!({}));
}

#[test]
fn copies_without_payload_stand_apart() {
    let ledger = LedgerBuilder::new()
        .moved(Path::Read, 921, 2)
        .copied(Path::Read, Direction::ToUser, 921, 2)
        .copied(Path::MmapFault, Direction::InKernel, 77_824, 19)
        .0;
    let mut s = snapshot(vec![process(7, "x", ledger)]);
    let value = to_json(&s);
    for part in [&value["totals"], &value["processes"][0]] {
        assert_eq!(part["copies_per_byte"], 1.0);
        assert_eq!(part["copied_without_payload_bytes"], json!({"mmap_fault": 77_824}));
        assert_eq!(part["paths"]["mmap_fault"]["copied_bytes"]["in_kernel"], 77_824);
    }
    s.observed.payload = false;
    assert_eq!(to_json(&s)["totals"].get("copied_without_payload_bytes"), None);
}

#[test]
fn an_idle_process_has_no_paths_and_no_ratio() {
    let value = to_json(&snapshot(vec![process(7, "x", Ledger::ZERO)]));
    assert_eq!(value["processes"][0]["paths"], json!({}));
    assert_eq!(value["processes"][0].get("copies_per_byte"), None);
    assert_eq!(value["processes"][0]["mode_switches"]["syscall"], 0);
}

#[test]
fn hostile_names_survive_and_do_no_harm() {
    let mut s = snapshot(vec![process(7, HOSTILE, Ledger::ZERO)]);
    s.notes.push("\u{1f980}".to_owned());
    let line = line(&s);
    assert!(line.trim_end_matches('\n').bytes().all(|b| (b' '..=b'~').contains(&b)), "{line}");
    let back: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(back["processes"][0]["comm"], HOSTILE);
    assert_eq!(back["notes"][0], "\u{1f980}");
}

#[test]
fn a_closed_pipe_is_an_error_and_no_panic() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = write_line(&mut Closed, &snapshot(Vec::new())).expect_err("closed");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
