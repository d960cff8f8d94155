//! The steps of the GitHub action and of the GitLab snippet, as those systems run them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::check::VIOLATED;

use crate::{Check, on_any_kernel};

const ACTION: &str = include_str!("../../../packaging/ci/action.sh");
const GITLAB: &str = include_str!("../../../packaging/ci/gitlab.yml");

/// The workload reads 2 MiB: one assertion is violated in line 4.
const POLICY: &str = "version: 1\nrequire: {calibrate: false}\nassertions:\n  \
    - {name: nothing is read, path: read, metric: copied_bytes, max: 0}\n";

pub fn checks() -> Vec<Check> {
    vec![on_any_kernel("check_ci::github_action", github), on_any_kernel("check_ci::gitlab_snippet", gitlab)]
}

struct Job {
    dir: PathBuf,
    command: Command,
}

/// A checkout with a policy, and a step that runs this script in it.
fn job(bench: &Bench, name: &str, script: &str) -> Result<Job> {
    let dir = bench.tmpfs.join(name);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("policy.yaml"), POLICY)?;
    fs::write(dir.join("step.sh"), script)?;
    let target = format!("'{}' rw_file --once --dir '{}'", bench.workload.display(), bench.tmpfs.display());
    let mut command = Command::new("bash");
    command.arg("step.sh").current_dir(&dir).env("TRACER", &bench.tracer);
    command.env("TRACER_POLICY", "policy.yaml").env("TRACER_COMMAND", target);
    Ok(Job { dir, command })
}

fn violated(output: &Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(VIOLATED), "{}:\n{said}\n{errors}", output.status);
    Ok(said)
}

fn github(bench: &Bench) -> Result<()> {
    let mut job = job(bench, "github", ACTION)?;
    let (summary, outputs) = (job.dir.join("summary.md"), job.dir.join("outputs"));
    fs::write(&summary, "# What an earlier tool wrote\n")?;
    job.command.env("GITHUB_STEP_SUMMARY", &summary).env("GITHUB_OUTPUT", &outputs);
    job.command.env("TRACER_JUNIT", "junit.xml").env("TRACER_ARGUMENTS", "--timeout '1h'");
    let said = violated(&job.command.output()?)?;
    ensure!(said.contains("\n::error file=policy.yaml,line=4,title=nothing is read%3A violated::"), "{said}");
    let summary = fs::read_to_string(summary)?;
    ensure!(summary.starts_with("# What an earlier tool wrote\n"), "{summary}");
    ensure!(summary.contains("2,097,152 B"), "{summary}");
    ensure!(fs::read_to_string(outputs)? == "verdict=violated\n");
    ensure!(fs::read_to_string(job.dir.join("junit.xml"))?.contains("<failure"));
    Ok(())
}

/// The lines of `script:`, which GitLab runs one after the other in one shell, until one fails.
fn gitlab(bench: &Bench) -> Result<()> {
    let (_, rest) = GITLAB.split_once("  script:\n").context("no script")?;
    let lines = rest.lines().map_while(|line| line.strip_prefix("    - "));
    let script = format!("set -e\n{}\n", lines.collect::<Vec<_>>().join("\n"));
    let mut job = job(bench, "gitlab", &script)?;
    job.command.env("TRACER_ARGUMENTS", "");
    violated(&job.command.output()?)?;
    for (file, has) in [("tracer-junit.xml", "2,097,152 B"), ("tracer-check.json", "\"violated\"")] {
        let text = fs::read_to_string(job.dir.join(file))?;
        ensure!(text.contains(has), "{file}: {text}");
    }
    Ok(())
}
