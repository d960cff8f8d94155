//! `tracer check --input`: a saved window is judged without any privilege, and the exit status tells.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SAMPLE: &str = include_str!("../testdata/sample.json");
const FALLBACK: &str = include_str!("../testdata/fallback.json");

const POLICY: &str = "version: 1
assertions:
  - {name: zero-copy, path: sendfile, metric: copies_per_byte, max: 0}
  - {name: no fallback, path: sendfile, metric: payload_share, min: 0.99}
";

/// A directory of this test's own, removed at its end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("tracer-check-input-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        Dir(dir)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("written");
        path
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn check(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tracer")).arg("check").args(arguments).output().expect("it runs")
}

/// Both streams of one that ended with this status.
fn ended(status: i32, arguments: &[&str]) -> String {
    let output = check(arguments);
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{said}");
    said
}

#[test]
fn the_exit_status_is_the_verdict() {
    let dir = Dir::new("verdict");
    let policy = dir.file("policy.yaml", POLICY);
    let good = dir.file("good.json", SAMPLE);
    let bad = dir.file("bad.json", FALLBACK);
    let lossy = dir.file("lossy.json", SAMPLE.replace("\"lost_events\": 0", "\"lost_events\": 3"));
    assert!(ended(0, &[&policy, "--input", &good]).contains("pass"));
    assert!(ended(1, &[&policy, "--input", &bad]).contains("violated"));
    assert!(ended(3, &[&policy, "--input", &lossy]).contains("inconclusive"));
    // All must hold.
    ended(1, &[&policy, "--input", &good, "--input", &bad]);
    ended(3, &[&policy, "--input", &good, "--input", &lossy]);
}

#[test]
fn what_is_no_policy_or_recording_is_an_error() {
    let dir = Dir::new("usage");
    let policy = dir.file("policy.yaml", POLICY);
    let good = dir.file("good.json", SAMPLE);
    let aliases = "a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: [*b, *b, *b, *b]\n";
    let huge = " ".repeat((1 << 20) + 1);
    for text in ["", "\u{0}", "[", &"[".repeat(100_000), aliases, &huge, "version: 1\nversion: 1\n"] {
        let wrong = dir.file("wrong.yaml", text);
        assert!(ended(2, &[&wrong, "--input", &good]).contains("wrong.yaml"), "{text:.40}");
    }
    let wrong = dir.file("wrong.yaml", b"version: 1\xff\n");
    assert!(ended(2, &[&wrong, "--input", &good]).contains("wrong.yaml"));
    for text in ["", "{}", "{\"schema\":\"other/1\"}", &"[".repeat(100_000)] {
        let wrong = dir.file("wrong.json", text);
        assert!(ended(2, &[&policy, "--input", &wrong]).contains("wrong.json"), "{text:.40}");
    }
    ended(2, &[&dir.path("absent.yaml"), "--input", &good]);
    ended(2, &[&policy, "--input", &dir.path("absent.json")]);
    ended(2, &[&policy, "--input", &good, "--inconclusive-is", "pass"]);
}

#[test]
fn reports_are_written_or_refused_at_once() {
    let dir = Dir::new("reports");
    let policy = dir.file("policy.yaml", POLICY);
    let bad = dir.file("bad.json", FALLBACK);
    let places = ["json", "junit", "markdown", "github"].map(|format| (format, dir.path(format)));
    let words = places.each_ref().map(|(format, place)| format!("--report={format}={place}"));
    let mut arguments = vec![policy.as_str(), "--input", &bad];
    arguments.extend(words.iter().map(String::as_str));
    ended(1, &arguments);
    for (format, place) in &places {
        let text = fs::read_to_string(place).expect("written");
        for word in ["no fallback", "6.1.0-56-amd64"] {
            assert!(text.contains(word), "{word} is not in {format}: {text}");
        }
    }
    let said = ended(2, &[&policy, "--input", &bad, "--report", "junit=/nonexistent/report.xml"]);
    assert!(said.contains("/nonexistent/report.xml") && !said.contains("violated"), "{said}");
}

#[test]
fn a_baseline_from_elsewhere_is_compared_and_told() {
    let dir = Dir::new("baseline");
    let policy =
        "version: 1\nassertions:\n  - {metric: copied_bytes, baseline: main.json, max_increase: 5%}\n";
    let policy = dir.file("policy.yaml", policy);
    dir.file("main.json", SAMPLE.replace("6.1.0-56-amd64", "5.10.0-32-amd64"));
    let said = ended(0, &[&policy, "--input", &dir.file("good.json", SAMPLE)]);
    assert!(said.contains("5.10.0-32-amd64"), "{said}");
    fs::remove_file(Path::new(&dir.path("main.json"))).expect("removed");
    assert!(ended(2, &[&policy, "--input", &dir.path("good.json")]).contains("policy.yaml:3"));
}
