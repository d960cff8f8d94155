//! Kernels on which programs read little: without BTF, and locked down. What is not observed is said, with its cause and
//! what would help; the rest is counted exactly.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tracer_tests::harness::LIMIT;
use tracer_tests::harness::bench::{Bench, MIB, watch};
use tracer_tests::harness::check::{self, uncalibrated};
use tracer_tests::harness::compare::{self, Differences};
use tracer_tests::harness::hidden_btf::hide_btf;
use tracer_tests::harness::process::{self, Truth};
use tracer_tests::harness::session::Session;
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::harness::{ledger, metrics};

use crate::{Check, EventsLost, check, on_any_kernel};

/// Why programs read little.
#[derive(Clone, Copy)]
pub struct Reduced {
    /// The tests' name.
    pub name: &'static str,
    pub hides_btf: bool,
    /// Words of the cause and of the remedy.
    pub cause: &'static str,
    pub remedy: &'static str,
}

/// In one window.
const WORKLOADS: [&str; 3] = ["rw_file", "sendfile_tcp", "rw_pipe"];

/// Two tracers on each kernel, and one more on one: what `doctor` says of the same probes.
pub fn checks(reduced: Reduced) -> Vec<Check> {
    let name = |test: &str| format!("{}::{test}", reduced.name);
    vec![
        on_any_kernel(&name("doctor_says_what_is_not_observed"), move |bench| doctor(bench, reduced)),
        check(&name("a_program_is_counted_from_its_start_and_not_judged"), move |bench| run(bench, reduced)),
        check(&name("the_rest_is_exact"), move |bench| exact(bench, reduced)),
    ]
}

impl Reduced {
    fn command(&self, bench: &Bench, arguments: &[impl AsRef<std::ffi::OsStr>]) -> Command {
        let mut command = Command::new(&bench.tracer);
        command.args(arguments);
        if self.hides_btf {
            hide_btf(&mut command);
        }
        command
    }

    /// Under lockdown trampolines read what the verifier knows the type of. That takes the current task's, which it
    /// does since 5.15: then page cache and pipes are counted, and coverage is incomplete.
    fn sees_copies(&self, bench: &Bench) -> bool {
        !self.hides_btf && bench.kernel != "5.10"
    }

    fn coverage(&self, bench: &Bench) -> &'static str {
        if self.sees_copies(bench) { "incomplete" } else { "none" }
    }

    /// Before 5.18 the state of a task that leaves its CPU is in its structure, whose layout BTF tells.
    fn sees_context_switches(&self, bench: &Bench) -> bool {
        !self.hides_btf || bench.kernel != "5.10"
    }

    fn is_named_in(&self, text: &str) -> Result<()> {
        ensure!(text.contains(self.cause), "no `{}` in:\n{text}", self.cause);
        for words in ["report it", "refused by the verifier", "kptr_restrict), so"] {
            ensure!(!text.contains(words), "`{words}` in:\n{text}");
        }
        Ok(())
    }
}

fn doctor(bench: &Bench, reduced: Reduced) -> Result<()> {
    let outcome = Tracer::start_command(reduced.command(bench, &["doctor"]))?.wait(LIMIT)?;
    let said = &outcome.stdout;
    ensure!(outcome.status.code() == Some(1), "doctor: {}\n{said}\n{}", outcome.status, outcome.stderr);
    reduced.is_named_in(said)?;
    ensure!(said.contains(reduced.remedy), "no `{}` in:\n{said}", reduced.remedy);
    let value = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("{name:<26} ")));
        line.with_context(|| format!("no line {name} in:\n{said}"))
    };
    let context = if reduced.sees_context_switches(bench) { "counted" } else { "NOT OBSERVED" };
    let copies = match reduced.sees_copies(bench) {
        true => "counted, coverage incomplete",
        false => "NOT OBSERVED",
    };
    for (name, known) in [
        ("copies", copies),
        ("bytes moved without a copy", "NOT OBSERVED"),
        ("payload", "counted"),
        ("mode switches", "counted"),
        ("context switches", context),
        ("bytes of block devices", "NOT OBSERVED"),
    ] {
        let found = value(name)?;
        ensure!(found == known, "{name}: {found}, not {known}\n{said}");
    }
    let row = |name: &str| {
        let mut lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.find(|words| words.get(1) == Some(&name)).map(|words| words[0].to_owned())
    };
    ensure!(row("sys_exit").as_deref() == Some("reduced"), "sys_exit is {:?}\n{said}", row("sys_exit"));
    ensure!(row("check").as_deref() == Some("MISSING"), "check is {:?}\n{said}", row("check"));
    let coverage = reduced.coverage(bench);
    ensure!(said.contains(&format!("coverage of copies: {coverage}")), "coverage is not {coverage}:\n{said}");
    Ok(())
}

/// `tracer check` of a program: its payload is exact, and its copies cannot be judged.
fn run(bench: &Bench, reduced: Reduced) -> Result<()> {
    let dd = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64K", "count=16", "status=none"];
    let policy = json!({
        "version": 1,
        "target": {"command": dd},
        "require": uncalibrated(),
        "assertions": [{"path": "write", "metric": "copied_bytes", "max": 0}],
    });
    let check = check::Check::new(bench, &policy)?;
    let saved = check.dir().join("saved.json");
    let check = check.args(&[format!("--save={}", saved.display())]);
    let checked = if reduced.hides_btf { check.without_btf().run() } else { check.run() }?;
    let reason = if reduced.sees_copies(bench) { "coverage_incomplete" } else { "unsupported_kernel" };
    checked.expect_reason(reason)?;
    let said = format!("{}\n{}\n{}", checked.report, checked.outcome.stdout, checked.outcome.stderr);
    reduced.is_named_in(&said)?;
    let total: Value = serde_json::from_str(&fs::read_to_string(&saved)?)?;
    // Its loader writes nothing, and reads of libraries are not of this path.
    let write = &total["totals"]["paths"]["write"];
    ensure!(write["payload_bytes"] == MIB && write["calls"] == 16, "write: {write}");
    claims_no_copies(bench, reduced, &total)
}

fn exact(bench: &Bench, reduced: Reduced) -> Result<()> {
    let mut sessions = Vec::new();
    for workload in WORKLOADS {
        sessions.push(bench.ready(workload, MIB)?);
    }
    let pids: Vec<u32> = sessions.iter().map(|session| session.pid).collect();
    let address = metrics::free_address()?;
    let arguments = watch(&pids, &["--listen", &address.to_string()]);
    let mut tracer = Tracer::start_command(reduced.command(bench, &arguments))?;
    tracer.wait_counting(&pids)?;
    let truths = sessions.iter_mut().map(window).collect::<Result<Vec<Truth>>>()?;
    let page = metrics::scrape(address)?;
    let total = tracer.stop()?.total()?;
    ensure!(total["lost_events"] == 0, EventsLost(total["lost_events"].as_u64().unwrap_or(0)));
    claims_no_copies(bench, reduced, &total)?;
    of_page(bench, reduced, &page, pids[0])?;
    let notes = total["notes"].to_string();
    reduced.is_named_in(&notes)?;
    ensure!(notes.contains(reduced.remedy), "no `{}` in {notes}", reduced.remedy);
    of_probes(&total)?;
    of_switches(bench, reduced, &total)?;
    for ((workload, session), truth) in WORKLOADS.into_iter().zip(sessions).zip(truths) {
        let ledger = ledger::process(&total, session.pid)?;
        let books = session.finish()?;
        let facts = compare::Facts::new(&books);
        compare::returns(ledger, &facts).into_result(workload)?;
        let mut differences = Differences::default();
        if reduced.sees_copies(bench) && workload != "sendfile_tcp" {
            differences.equal("read.to_user", ledger.copied("read", "to_user"), MIB as u64);
            differences.equal("write.from_user", ledger.copied("write", "from_user"), MIB as u64);
        }
        if reduced.sees_context_switches(bench) {
            for (kind, known) in [("voluntary", truth.voluntary), ("involuntary", truth.involuntary)] {
                differences.equal(kind, ledger.context_switches(kind), known);
            }
        }
        differences.into_result(workload)?;
    }
    Ok(())
}

fn window(session: &mut Session) -> Result<Truth> {
    let before = process::truth(session.pid)?;
    session.window()?;
    Ok(process::truth(session.pid)? - before)
}

fn of_probes(total: &Value) -> Result<()> {
    let probes = total["probes"].as_array().context("no probes")?;
    let find = |name| probes.iter().find(|probe| probe["probe"] == name).context(name);
    for name in ["sys_exit", "exit"] {
        let probe = find(name)?;
        ensure!(probe["attached"] == true && probe["reduced"] == true, "{probe}");
    }
    ensure!(find("check")?["attached"] == false, "{}", find("check")?);
    Ok(())
}

fn of_switches(bench: &Bench, reduced: Reduced, total: &Value) -> Result<()> {
    let observed = &total["observed"];
    for what in ["payload", "mode_switches", "faults", "interrupts"] {
        ensure!(observed[what] == true, "observed.{what} is {}", observed[what]);
    }
    let sees = reduced.sees_context_switches(bench);
    ensure!(observed["context_switches"] == sees, "observed: {observed}");
    for process in total["processes"].as_array().context("no processes")? {
        ensure!(process["context_switches"].is_object() == sees, "{process}");
    }
    Ok(())
}

fn of_page(bench: &Bench, reduced: Reduced, page: &str, reader: u32) -> Result<()> {
    let pid = reader.to_string();
    let read = metrics::sum(page, "tracer_payload_bytes_total", &[("pid", pid.as_str()), ("path", "read")]);
    ensure!(read == MIB as u64, "payload of read: {read}\n{page}");
    ensure!(page.contains("tracer_coverage_complete 0"), "coverage:\n{page}");
    let of_copies = ["tracer_copied_bytes", "tracer_copies_total", "tracer_control"];
    let of_copies = of_copies.iter().filter(|_| !reduced.sees_copies(bench));
    for metric in ["tracer_zero_copied", "tracer_unexplained", "tracer_discarded"].iter().chain(of_copies) {
        ensure!(!page.lines().any(|line| line.starts_with(metric)), "{metric} on the page:\n{page}");
    }
    Ok(())
}

/// Not one number of what is not observed, nor what would follow from it.
fn claims_no_copies(bench: &Bench, reduced: Reduced, total: &Value) -> Result<()> {
    let observed = &total["observed"];
    let sees = reduced.sees_copies(bench);
    ensure!(observed["copies"] == sees && observed["references"] == false, "observed: {observed}");
    ensure!(total["coverage"]["state"] == reduced.coverage(bench), "coverage: {}", total["coverage"]);
    let said = total["processes"].to_string() + &total["totals"].to_string();
    let of_copies = ["copied_bytes", "copies", "control_bytes"];
    let of_copies = of_copies.iter().filter(|_| !sees);
    for key in ["zero_copied", "unexplained", "discarded", "block"].iter().chain(of_copies) {
        ensure!(!said.contains(key), "{key} in {said}");
    }
    Ok(())
}
