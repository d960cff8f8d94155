//! Every command that the documents show works in the form in which they show it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tracer_tests::harness::LIMIT;
use tracer_tests::harness::bench::{Bench, run};
use tracer_tests::harness::tracer::{Outcome, Tracer};

use crate::{Check, on_any_kernel};

const DOCUMENTS: [&str; 7] = [
    include_str!("../../../README.md"),
    include_str!("../../../docs/check.md"),
    include_str!("../../../docs/counting.md"),
    include_str!("../../../docs/coverage.md"),
    include_str!("../../../docs/install.md"),
    include_str!("../../../docs/metrics.md"),
    include_str!("../../../docs/serve.md"),
];

/// How a command is tried.
enum Tried {
    /// It ends by itself, with status 0.
    Ends,
    /// Each of the alternatives that `|` separates in its last word ends so.
    Each,
    /// It says this, is interrupted, and ends with status 0.
    Stopped(&'static str),
    /// By this test.
    By(&'static str),
}

use Tried::*;

const CASES: [(&str, Tried); 16] = [
    ("tracer --pid PID", Stopped("tracer: counting pid ")),
    ("tracer --pid 194 --interval 30s", Stopped("tracer: counting pid ")),
    ("tracer run -- CMD ARGS", Ends),
    ("tracer run -- dd if=f of=g bs=64k", Ends),
    ("tracer check POLICY", Ends),
    ("tracer check policy.yaml", Ends),
    ("tracer check policy.yaml -- ./server --once", Ends),
    ("tracer check policy.yaml --pid 1234 -- ./load.sh", Ends),
    ("tracer check policy.yaml --input saved.json", Ends),
    ("tracer doctor", Ends),
    ("tracer audit --pid PID", By("witness::every_round_as_documented")),
    ("tracer probes", Ends),
    ("tracer serve", Stopped("tracer: counting every process")),
    ("tracer serve --group-by comm,unit", Stopped("tracer: counting every process")),
    ("tracer serve --pin", By("serve::pinned_outlives_its_daemon")),
    ("tracer serve --replay page.txt --listen 20000 --replay-targets 1000", Stopped("tracer: serving ")),
];
const COMPLETIONS: &str = "tracer completions bash|zsh|fish|elvish|powershell";

pub fn checks() -> Vec<Check> {
    vec![
        on_any_kernel("documented::commands_have_cases", |_| every_form_has_a_case()),
        on_any_kernel("documented::commands_work", |bench| {
            let shop = Shop::open(bench)?;
            let cases = CASES.iter().chain(&[(COMPLETIONS, Each)]);
            cases.into_iter().try_for_each(|(form, tried)| shop.try_out(form, tried).context(*form))
        }),
    ]
}

fn every_form_has_a_case() -> Result<()> {
    let known: Vec<&str> = CASES.iter().map(|(form, _)| *form).chain([COMPLETIONS]).collect();
    let shown: Vec<&str> = DOCUMENTS.iter().flat_map(|text| forms(text)).collect();
    for form in &shown {
        ensure!(known.contains(form), "documented, and never tried: {form}");
    }
    for form in &known {
        ensure!(shown.contains(form), "tried, and not documented any more: {form}");
    }
    let tests: Vec<String> = crate::plain_checks().into_iter().map(|check| check.name).collect();
    for (form, tried) in &CASES {
        if let By(test) = tried {
            ensure!(tests.iter().any(|name| name == test), "{form}: no test is called {test}");
        }
    }
    Ok(())
}

/// The headings that are commands, and the lines of blocks that are.
fn forms(text: &str) -> Vec<&str> {
    let mut is_block = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_block = !is_block;
        } else if let Some(form) = line.strip_prefix("### `").and_then(|rest| rest.strip_suffix('`')) {
            found.extend(command(form));
        } else if is_block {
            found.extend(command(line));
        }
    }
    found
}

/// A line that runs tracer, without the prompt, sudo and the comment.
fn command(line: &str) -> Option<&str> {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let line = line.strip_prefix("sudo ").unwrap_or(line);
    let line = line.split_once("  #").map_or(line, |(line, _)| line).trim_end();
    line.starts_with("tracer ").then_some(line)
}

/// A directory with what the commands name, and a process that waits for its load.
struct Shop {
    dir: PathBuf,
    path: String,
    server: Child,
}

const POLICY: &str = "version: 1
target: {command: [./server]}
require: {calibrate: false, min_payload: 1MiB}
assertions: [{metric: copies_per_byte, max: 1.1}, {metric: copied_bytes, min: 2MiB}]
";
const SERVER: &str = "#!/bin/sh
copy() { dd if=f of=g bs=64k 2>/dev/null; }
[ \"$1\" = --wait ] || { copy; exit; }
while read -r go <go; do copy; echo done >done; done
";
const LOAD: &str = "#!/bin/sh
echo go >go
read -r done <done
";

impl Shop {
    fn open(bench: &Bench) -> Result<Self> {
        let dir = bench.tmpfs.join("documented");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("f"), vec![0xa5u8; 1 << 20])?;
        fs::write(dir.join("policy.yaml"), POLICY)?;
        fs::write(dir.join("page.txt"), include_str!("../../recorded/page.txt"))?;
        for (name, text) in [("server", SERVER), ("load.sh", LOAD)] {
            fs::write(dir.join(name), text)?;
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755))?;
        }
        for pipe in ["go", "done"] {
            run("mkfifo", &[&dir.join(pipe).display().to_string()])?;
        }
        let server = Command::new("./server").arg("--wait").current_dir(&dir).stdin(Stdio::null()).spawn()?;
        let programs = bench.tracer.parent().context("a directory")?.display();
        let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
        let shop = Shop { dir, path, server };
        shop.start("tracer record -o saved.json -- ./server")?
            .wait(LIMIT)
            .and_then(|outcome| well(&outcome))?;
        Ok(shop)
    }

    fn try_out(&self, form: &str, tried: &Tried) -> Result<()> {
        let pid = self.server.id().to_string();
        let mut line = form.replace("CMD ARGS", "cat f").replace("POLICY", "policy.yaml");
        for placeholder in ["PID", "194", "1234"] {
            line = line.replace(&format!("--pid {placeholder}"), &format!("--pid {pid}"));
        }
        match tried {
            Ends => well(&self.start(&line)?.wait(2 * LIMIT)?),
            Each => {
                let (start, words) = line.rsplit_once(' ').context("a word")?;
                let each = |word| well(&self.start(&format!("{start} {word}"))?.wait(LIMIT)?);
                words.split('|').try_for_each(each)
            }
            Stopped(said) => {
                let mut tracer = self.start(&line)?;
                tracer.wait_line(said, |line| line.starts_with(said))?;
                well(&tracer.stop()?)
            }
            By(_) => Ok(()),
        }
    }

    /// By a shell, as a reader would.
    fn start(&self, line: &str) -> Result<Tracer> {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {line}")]).current_dir(&self.dir).env("PATH", &self.path);
        Tracer::start_command(command)
    }
}

fn well(outcome: &Outcome) -> Result<()> {
    let said = format!("{}\n{}", outcome.stdout, outcome.stderr);
    ensure!(outcome.status.success(), "{}:\n{said}", outcome.status);
    ensure!(!said.trim().is_empty(), "it says nothing");
    Ok(())
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
