//! Any bytes as a saved window: an error, or a window that can be judged, compared and drafted from.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tracer::check::judge::judge;
use tracer::check::policy::Policy;
use tracer::check::verdict::{Observation, Verdict, Window};
use tracer::check::{difference, draft};
use tracer::model::window::Recording;

/// Every metric, once.
static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let mut text = String::from("version: 1\nrequire: {min_payload: 0}\nassertions:\n");
    for row in &tracer::check::metric::ROWS {
        let path = if row.name == "payload_share" { ", path: read" } else { "" };
        text += &format!("  - {{metric: {}, max: 0{path}}}\n", row.name);
    }
    text += "allow: [{what: x, path: write, max_bytes_per_call: 4KiB}]\n";
    Policy::parse(text.as_bytes()).expect("a policy")
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(saved) = Recording::parse(bytes) else { return };
    let recording = saved.recording;
    let window = Window { recording: recording.clone(), findings: Vec::new() };
    let seen = Observation { windows: vec![window], ..Observation::default() };
    let report = judge(&POLICY, &seen);
    // What is in doubt never passes.
    assert!(report.verdict != Verdict::Pass || report.findings.is_empty());
    let names = ("a".to_owned(), "b".to_owned());
    assert!(difference::text(&recording, &recording, &names).contains("nothing changed"));
    let text = draft::policy(&recording, &draft::Run::default());
    if let Err(problems) = Policy::parse(text.as_bytes()) {
        panic!("{text}\n{problems:?}");
    }
});
