//! The rules and pages under dashboards/, judged by Prometheus's own tool: PROMTOOL names it, or PATH has it.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tracer_tests::harness::dashboards::queries;

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("rules::are_sound", || run(&["check", "rules", "--lint-fatal", &file("rules.yml")])),
        trial("rules::fire_when_they_should", || {
            run(&["test", "rules", &file("rules_test.yml"), &file("rules_week_test.yml")])
        }),
        trial("rules::scrape_configuration", || run(&["check", "config", &file("prometheus.yml")])),
        trial("dashboards::queries_are_promql", queries_are_promql),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: &str, test: fn() -> Result<()>) -> Trial {
    Trial::ignorable_test(name, move || {
        if Command::new(promtool()).arg("--version").output().is_err() {
            return Ok(Completion::ignored_with("no promtool: `cargo xtask setup` fetches it"));
        }
        test().map(|()| Completion::Completed).map_err(|error| Failed::from(format!("{error:#}")))
    })
}

fn promtool() -> OsString {
    env::var_os("PROMTOOL").unwrap_or_else(|| "promtool".into())
}

fn dashboards() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells it")).join("../dashboards")
}

fn file(name: &str) -> String {
    dashboards().join(name).display().to_string()
}

fn run(arguments: &[&str]) -> Result<()> {
    let output = Command::new(promtool()).args(arguments).output().context("cannot start promtool")?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    Ok(())
}

/// Every query of every panel, with its variables filled in, as one rule each.
fn queries_are_promql() -> Result<()> {
    let mut rules = BTreeSet::new();
    for entry in fs::read_dir(dashboards())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            rules.extend(queries(&fs::read_to_string(&path)?)?);
        }
    }
    ensure!(rules.len() > 30, "only {} queries were found", rules.len());
    let named = rules.iter().enumerate().map(|(number, expr)| {
        // JSON is YAML.
        serde_json::json!({"record": format!("query:{number}"), "expr": expr})
    });
    let text = serde_json::json!({"groups": [{"name": "all", "rules": named.collect::<Vec<_>>()}]});
    let path = env::temp_dir().join(format!("tracer-queries-{}.yml", std::process::id()));
    fs::write(&path, text.to_string())?;
    let result = run(&["check", "rules", &path.display().to_string()]);
    let _ = fs::remove_file(&path);
    result
}
