use std::path::Path;

use super::*;
use crate::check::judge::judge;
use crate::check::policy::Policy;
use crate::check::reason::Reason;
use crate::check::verdict::{Calibration, Finding, Observation, Program, Verdict, Window};
use crate::model::window::Recording;

const SAMPLE: &str = include_str!("../../testdata/sample.json");
const FALLBACK: &str = include_str!("../../testdata/fallback.json");

fn recording(text: &str) -> Recording {
    Recording::parse(text.as_bytes()).expect("valid").recording
}

/// Three windows of the sample policy: one good, one with a fallback to read and write, one with losses.
fn violated() -> Report {
    let policy = Policy::parse(include_bytes!("../../../docs/policy.yaml")).expect("valid");
    let lossy =
        SAMPLE.replace("\"lost_events\": 0", "\"lost_events\": 3, \"losses\": {\"return_missed\": 3}");
    let windows = [SAMPLE, FALLBACK, lossy.as_str()]
        .map(|text| Window { recording: recording(text), findings: Vec::new() });
    let mut seen =
        Observation { windows: windows.to_vec(), calibration: Calibration::Exact, ..Observation::default() };
    seen.baselines.insert("main.json".into(), recording(&SAMPLE.replace("6.1.0-56", "5.10.0-32")));
    let program = |role, command: &str, window, end: &str| Program {
        role,
        command: command.into(),
        window,
        end: end.into(),
        failed: false,
    };
    seen.programs = vec![
        program("driver", "./load.sh 64MiB", 1, "exit status 0"),
        program("driver", "./load.sh 64MiB", 2, "exit status 0"),
        program("driver", "./load.sh 64MiB", 3, "exit status 0"),
        program("target", "./server --root www", 3, "signal 15 (SIGTERM), sent by tracer"),
    ];
    judge(&policy, &seen)
}

fn passed() -> Report {
    let policy =
        b"version: 1\nassertions: [{name: zero-copy, path: sendfile, metric: copies_per_byte, max: 0}]\n";
    let policy = Policy::parse(policy).expect("valid");
    let windows = vec![Window { recording: recording(SAMPLE), findings: Vec::new() }];
    judge(&policy, &Observation { windows, calibration: Calibration::Exact, ..Observation::default() })
}

fn context() -> Context {
    Context {
        policy: "ci/zero-copy.yaml".into(),
        reproduce: "sudo tracer check ci/zero-copy.yaml".into(),
        timestamp: "2026-11-22T04:00:00Z".into(),
        host: "runner-1".into(),
        width: 100,
    }
}

/// Compares with a file; `UPDATE_GOLDEN=1` writes it instead.
fn golden(name: &str, text: &str) {
    let path = Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells it"))
        .join("testdata/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("golden file");
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "{} differs; look, then UPDATE_GOLDEN=1", path.display());
}

#[test]
fn golden_files() {
    let (report, context) = (violated(), context());
    assert_eq!(report.verdict, Verdict::Violated);
    golden("violated.txt", &render_text(&report, &context));
    golden("violated.json", &render(Format::Json, &report, &context));
    golden("violated.junit.xml", &render(Format::Junit, &report, &context));
    golden("violated.md", &render(Format::Markdown, &report, &context));
    golden("violated.github", &render(Format::Github, &report, &context));
    golden("passed.txt", &render_text(&passed(), &context));
    golden("passed.junit.xml", &render(Format::Junit, &passed(), &context));
    assert_eq!(render(Format::Github, &passed(), &context), "");
}

/// By the schema that Jenkins' xUnit plug-in ships, and those that `JUNIT_XSD` names (colon-separated).
#[test]
fn junit_is_valid_by_its_schema() {
    if std::process::Command::new("xmllint").arg("--version").output().is_err() {
        eprintln!("skipped: there is no xmllint (Debian: apt-get install libxml2-utils)");
        return;
    }
    let ours =
        Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells it")).join("testdata/junit.xsd");
    let more = std::env::var_os("JUNIT_XSD").unwrap_or_default();
    let more = std::env::split_paths(&more).filter(|path| !path.as_os_str().is_empty());
    let schemas: Vec<_> = std::iter::once(ours).chain(more).collect();
    for report in [violated(), passed(), hostile()] {
        let file = std::env::temp_dir().join(format!("tracer-junit-{}.xml", std::process::id()));
        std::fs::write(&file, render(Format::Junit, &report, &context())).expect("written");
        for schema in &schemas {
            let mut lint = std::process::Command::new("xmllint");
            let output =
                lint.arg("--noout").arg("--schema").arg(schema).arg(&file).output().expect("xmllint");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {said}", schema.display());
        }
        std::fs::remove_file(file).expect("removed");
    }
}

/// Names that would break out of every format.
fn hostile() -> Report {
    let name = r#""a\n::error::x%0A|<b>&\"']]>`*@all\x1b[2J\x7f\x9b\u202e,:""#;
    let text =
        format!("version: 1\nassertions:\n  - {{name: {name}, metric: copies, process: {name}, max: 0}}\n");
    let policy = Policy::parse(text.as_bytes()).expect("valid");
    let mut recording = recording(FALLBACK);
    recording.processes[0].comm = "a\n::error::x%0A|<b>&\"']]>`*@all\u{1b}[2J\u{7f}\u{9b}\u{202e},:".into();
    recording.kernel = "\u{1b}]0;x\u{7}<script>|::warning::".into();
    let mut seen =
        Observation { windows: vec![Window { recording, findings: Vec::new() }], ..Observation::default() };
    seen.findings.push(Finding::new(Reason::TimedOut, "<![CDATA[ \u{1b}\n::notice::"));
    judge(&policy, &seen)
}

#[test]
fn hostile_names_do_no_harm() {
    let (report, context) = (hostile(), context());
    assert_eq!(report.verdict, Verdict::Violated);
    let text = render_text(&report, &context);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()) && !text.contains('\u{202e}'), "{text}");
    for line in render(Format::Github, &report, &context).lines() {
        assert!(
            line.starts_with("::error file=ci/zero-copy.yaml,line=") || line.starts_with("::warning file="),
            "{line}"
        );
        let (properties, _) = line[2..].split_once("::").expect("a command");
        assert_eq!(properties.matches(',').count(), 2, "{line}");
    }
    let xml = render(Format::Junit, &report, &context);
    assert!(!xml.contains("<b>") && !xml.contains('\u{1b}') && !xml.contains("<![CDATA["), "{xml}");
    let markdown = render(Format::Markdown, &report, &context);
    assert!(
        !markdown.contains("<b>") && !markdown.contains("<script>") && !markdown.contains("@all"),
        "{markdown}"
    );
    let table = markdown.lines().find(|line| line.starts_with("| ❌")).expect("a row");
    assert_eq!(table.replace("\\|", "").matches('|').count(), 6, "{table}");
    let json = render(Format::Json, &report, &context);
    assert!(json.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{json}");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["verdict"], "violated");
    assert_eq!(json["assertions"][0]["name"], report.assertions[0].assertion.name);
}

#[test]
fn limits_of_github() {
    // More assertions than a file may have: only the reports are tested.
    let one = Policy::parse(b"version: 1\nassertions: [{metric: copies, max: 0}]\n");
    let mut policy = one.unwrap_or_else(|problems| panic!("{problems:?}"));
    let assertion = policy.assertions[0].clone();
    policy.assertions = (0..9000)
        .map(|n| {
            let mut a = assertion.clone();
            a.name = format!("{n} {}", "x".repeat(150));
            a
        })
        .collect();
    let seen = Observation {
        windows: vec![Window { recording: recording(FALLBACK), findings: Vec::new() }],
        ..Observation::default()
    };
    let report = judge(&policy, &seen);
    let commands = render(Format::Github, &report, &context());
    assert_eq!(commands.lines().count(), 10);
    assert!(
        commands.ends_with("title=tracer check::8991 more are in the log and in the job summary\n"),
        "{commands}"
    );
    let summary = render(Format::Markdown, &report, &context());
    assert!(summary.len() < 1 << 20, "{} bytes", summary.len());
    assert!(summary.contains("To reproduce"), "the end is there");
}
