//! What a window's outputs claim, and what they would have to be silent about.

use std::collections::HashMap;

use serde_json::Value;
use tracer_ebpf::table::{Group, Row};

use crate::check::judge::judge;
use crate::check::policy::Policy;
use crate::check::verdict::{Observation, Verdict, Window};
use crate::model::snapshot::Snapshot;
use crate::model::window::Recording;
use crate::output::{json, prometheus, table};

/// What is said of one ledger, in every form.
pub struct Said {
    pub json: Value,
    pub table: String,
    page: String,
    /// By the assertion that is judged.
    pub verdicts: HashMap<&'static str, Verdict>,
}

/// Assertions that hold of a process that copied nothing, and what they are about.
const ASSERTIONS: [(&str, &str); 9] = [
    ("copied", "{metric: copied_bytes, max: 0}"),
    ("ratio", "{metric: copies_per_byte, max: 0}"),
    ("zero_copied", "{metric: zero_copied_bytes, path: sendfile, min: 64MiB}"),
    ("unexplained", "{metric: unexplained_bytes, max: 0}"),
    ("payload", "{metric: payload_bytes, min: 1MiB}"),
    ("switches", "{metric: mode_switches, max: 1000}"),
    ("context", "{metric: context_switches, max: 1000}"),
    ("block", "{metric: device_bytes, device_kind: block, max: 8MiB}"),
    ("net", "{metric: device_bytes, device_kind: net, max: 64MiB}"),
];

pub fn say(window: &Snapshot) -> Said {
    let json = json::to_json(window);
    let recording = Recording::parse(json.to_string().as_bytes()).expect("valid").recording;
    let judged = |assertion: &str| {
        let text = format!("version: 1\nassertions: [{assertion}]\nrequire: {{calibrate: false}}\n");
        let policy = Policy::parse(text.as_bytes()).expect("a policy");
        let window = Window { recording: recording.clone(), findings: Vec::new() };
        judge(&policy, &Observation { windows: vec![window], ..Observation::default() })
    };
    let verdicts = ASSERTIONS.iter().map(|(name, assertion)| {
        let report = judged(assertion);
        let has_reason = report.verdict != Verdict::Inconclusive || !report.findings.is_empty();
        assert!(has_reason, "{name}: inconclusive for no reason");
        (*name, report.verdict)
    });
    let verdicts = verdicts.collect();
    let title = table::Title::Total;
    let table = table::render(window, table::Options { color: false, width: None, title });
    Said { json, table, page: prometheus::Exporter::new().render(window), verdicts }
}
/// Collects claims that are made although a row is missing.
pub struct Claims<'a> {
    pub said: &'a Said,
    pub found: Vec<String>,
}

impl Claims<'_> {
    /// No object of the JSON, at any depth, has this key.
    fn json(&mut self, key: &str) {
        fn has(value: &Value, key: &str) -> bool {
            match value {
                Value::Object(fields) => fields.contains_key(key) || fields.values().any(|v| has(v, key)),
                Value::Array(values) => values.iter().any(|value| has(value, key)),
                _ => false,
            }
        }
        let parts = ["processes", "totals", "overflow", "unattributed"].map(|part| &self.said.json[part]);
        if parts.into_iter().any(|part| has(part, key)) {
            self.found.push(format!("JSON has {key}"));
        }
    }

    fn page(&mut self, series: &str) {
        let is_said = |line: &str| !line.starts_with('#') && line.contains(series);
        if self.said.page.lines().any(is_said) {
            self.found.push(format!("the page has {series}"));
        }
    }

    fn table(&mut self, words: &str) {
        if self.said.table.contains(words) {
            self.found.push(format!("the table has `{words}`:\n{}", self.said.table));
        }
    }

    /// `check` must not pass. (A limit that is exceeded by what was seen is violated for certain.)
    fn verdict(&mut self, name: &str) {
        if self.said.verdicts[name] == Verdict::Pass {
            self.found.push(format!("check of {name} passes"));
        }
    }

    pub fn without_copies(&mut self) {
        for key in ["copied_bytes", "copies", "copies_per_byte", "control_bytes", "other_kinds"] {
            self.json(key);
        }
        for series in ["tracer_copied_bytes_total", "tracer_copies_total", "tracer_control_bytes_total"] {
            self.page(series);
        }
        for words in ["to user", "in kernel", "without a CPU copy", "copied by the CPU", "times by the CPU"] {
            self.table(words);
        }
        self.without_references();
        self.without_ends_of_copies();
    }

    fn without_references(&mut self) {
        for key in ["zero_copied_bytes", "unexplained_bytes", "discarded_bytes"] {
            self.json(key);
        }
        let series = ["tracer_zero_copied_bytes", "tracer_unexplained_bytes", "tracer_discarded_bytes_total"];
        series.into_iter().for_each(|series| self.page(series));
        for words in ["zero-copy", "zero-", "discarded", "without a CPU copy", "unexplained"] {
            self.table(words);
        }
        for name in ["ratio", "zero_copied", "unexplained"] {
            self.verdict(name);
        }
    }

    /// What is said of copies is at least hedged.
    fn with_gaps(&mut self) {
        if self.said.json["coverage"]["state"] == "complete" {
            self.found.push("coverage is complete".into());
        }
        if !self.said.page.contains("tracer_coverage_complete 0") {
            self.found.push("the page calls coverage complete".into());
        }
        let table = &self.said.table;
        if !table.contains("COPIES ARE NOT OBSERVED: ")
            && !table.contains("coverage of copies is incomplete: ")
        {
            self.found.push(format!("the table does not say that copies are missing:\n{table}"));
        }
        for (claim, hedge) in [
            ("without a CPU copy", " that was seen"),
            (": zero-copy", " as far as was seen"),
            (", each byte copied", " at least"),
        ] {
            let unhedged =
                table.match_indices(claim).any(|(at, _)| !table[at + claim.len()..].starts_with(hedge));
            if unhedged {
                self.found.push(format!("`{claim}` is said for certain:\n{table}"));
            }
        }
        ["copied", "ratio"].into_iter().for_each(|name| self.verdict(name));
    }

    pub fn of(&mut self, row: &Row) {
        match (row.group, row.name) {
            (Group::Copy | Group::Mark | Group::Life, name) => {
                self.with_gaps();
                if name == "exit" {
                    self.without_system_calls();
                }
                if name == "cut_short" {
                    self.without_ends_of_copies();
                }
                if matches!(name, "splice" | "splice_direct") {
                    self.without_references();
                }
            }
            (Group::Reference, _) => self.without_references(),
            (Group::Block, _) => self.without_device("block"),
            (Group::Net, _) => self.without_device("net"),
            (Group::Switch, "sys_exit") => {
                self.json("payload_bytes");
                self.json("calls");
                self.page("tracer_payload_bytes_total");
                self.page("tracer_payload_calls_total");
                ["payload", " moved by ", "side:", "/byte", "per MiB"]
                    .into_iter()
                    .for_each(|words| self.table(words));
                self.verdict("payload");
                self.without_system_calls();
                self.without_references();
            }
            (Group::Switch, "page_fault") => self.without_switches("fault"),
            (Group::Switch, "sched_switch") => {
                self.json("context_switches");
                self.page("tracer_context_switches_total");
                self.table("context switches");
                self.verdict("context");
            }
            // Of an audit, which refuses to compare without it.
            (Group::Switch, "sys_enter") => {}
            (Group::Switch, name) => {
                assert!(name.starts_with("irq_"), "{name}: what does it tell?");
                self.without_switches("interrupt");
            }
        }
    }

    fn without_ends_of_copies(&mut self) {
        self.json("cut_short");
        self.page("tracer_cut_short");
        self.table("cut short");
    }

    fn without_system_calls(&mut self) {
        self.json("syscalls");
        self.page("tracer_syscalls_total");
        self.table("system calls");
        self.without_switches("syscall");
    }

    fn without_switches(&mut self, reason: &str) {
        for process in self.said.json["processes"].as_array().expect("processes") {
            if !process["mode_switches"][reason].is_null() {
                self.found.push(format!("JSON has mode_switches.{reason}"));
            }
        }
        self.page(&format!("reason=\"{reason}\""));
        // Paths have such names as well.
        let line = self.said.table.lines().find(|line| line.starts_with("mode switches"));
        if line.is_some_and(|line| line.contains(&format!(" {reason} "))) {
            self.found.push(format!("the table has {reason}:\n{}", self.said.table));
        }
        self.table("per MiB");
        self.table("/MiB");
        self.verdict("switches");
    }

    fn without_device(&mut self, kind: &str) {
        for process in self.said.json["processes"].as_array().expect("processes") {
            if !process["device_bytes"][kind].is_null() {
                self.found.push(format!("JSON has device_bytes.{kind}"));
            }
        }
        self.page(&format!("device_kind=\"{kind}\""));
        self.table(&format!("{kind} "));
        if kind == "block" {
            self.table("(DMA)");
        }
        self.verdict(kind);
    }
}
