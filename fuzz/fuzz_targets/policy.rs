//! Any bytes as a policy: an error with a text, or a policy that can be judged and reported.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tracer::check::judge::judge;
use tracer::check::policy::Policy;
use tracer::check::report::{self, Context};
use tracer::check::verdict::{Observation, Window};
use tracer::model::window::Recording;

static RECORDINGS: LazyLock<Vec<Recording>> = LazyLock::new(|| {
    [include_str!("../../tracer/testdata/sample.json"), include_str!("../../tracer/testdata/fallback.json")]
        .map(|text| Recording::parse(text.as_bytes()).expect("a recording").recording)
        .to_vec()
});

fuzz_target!(|bytes: &[u8]| {
    match Policy::parse(bytes) {
        Err(problems) => assert!(!problems.is_empty() && problems.iter().all(|p| !p.text.is_empty())),
        Ok(policy) => {
            let mut seen = Observation::default();
            for recording in RECORDINGS.iter().cloned() {
                seen.windows.push(Window { recording, findings: Vec::new() });
            }
            for assertion in &policy.assertions {
                if let Some(name) = &assertion.baseline {
                    seen.baselines.insert(name.clone(), RECORDINGS[0].clone());
                }
            }
            let report = judge(&policy, &seen);
            let context = Context {
                policy: "policy.yaml".into(),
                reproduce: "tracer check policy.yaml".into(),
                timestamp: "2026-11-22T00:00:00Z".into(),
                host: "localhost".into(),
                width: 80,
            };
            assert!(!report::render_text(&report, &context).is_empty());
            for name in report::Format::NAMES {
                let format = report::Format::named(name).expect("known");
                let text = report::render(format, &report, &context);
                assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{name}: {text:?}");
            }
        }
    }
});
