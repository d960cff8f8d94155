//! `tracer check POLICY`: 0 pass, 1 violated, 2 wrong usage or policy, 3 inconclusive, 4 the workload failed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use super::{Outcome, output, status};
use crate::check::judge::judge;
use crate::check::policy::Policy;
use crate::check::report::{self, Context};
use crate::check::run::{self, Override, Plan, Seen};
use crate::check::verdict::{Calibration, Observation, Report, Verdict, Window};
use crate::cli::check_args::{Check, TrialArgs};
use crate::fmt::human;
use crate::model::window::Recording;
use crate::output::json::ascii;

pub fn check(args: Check) -> Outcome {
    Ok(ExitCode::from(match prepare(&args) {
        Ok(prepared) => match prepared.run(&args) {
            Ok(status) => status,
            Err(error) => say(&error, status::USAGE),
        },
        Err(error) => say(&error, status::USAGE),
    }))
}

fn say(error: &anyhow::Error, status: u8) -> u8 {
    eprintln!("tracer: {error:#}");
    status
}

/// All that can be wrong before anything runs.
struct Prepared {
    policy: Policy,
    baselines: BTreeMap<String, Recording>,
    reports: Vec<(report::Format, output::Output)>,
    save: Option<output::Output>,
    context: Context,
}

fn prepare(args: &Check) -> Result<Prepared> {
    let policy = read_policy(&args.policy)?;
    let baselines = read_baselines(&policy, &args.policy)?;
    let mut taken: Vec<PathBuf> = vec![args.policy.clone()];
    taken.extend(args.input.iter().cloned());
    taken.extend(baselines.keys().map(|name| beside(&args.policy, name)));
    let mut open = |file: &Path| output::Output::open(file, &mut taken);
    let mut reports = Vec::new();
    for to in &args.reports {
        reports.push((to.format, open(&to.file)?));
    }
    let save = args.save.as_deref().map(&mut open).transpose()?;
    Ok(Prepared { policy, baselines, reports, save, context: context(args) })
}

impl Prepared {
    /// Returns the exit status; an error is a mistake of the user's.
    fn run(mut self, args: &Check) -> Result<u8> {
        let (observation, kept) = match args.input.is_empty() {
            true => self.live(&args.trial)?,
            false => (recorded(&args.input)?, Ok(())),
        };
        let observation = Observation { baselines: self.baselines, ..observation };
        let report = judge(&self.policy, &observation);
        let written = kept.and(write(&report, &self.context, &mut self.reports));
        let text = report::render_text(&report, &self.context);
        // Its reader may be gone; the exit status is the verdict all the same.
        let _ = io::stdout().lock().write_all(text.as_bytes());
        Ok(match written {
            Err(error) if report.verdict == Verdict::Pass => say(&error, status::INCONCLUSIVE),
            Err(error) => say(&error, report.verdict.status()),
            Ok(()) => report.verdict.status(),
        })
    }

    /// What was observed, and whether it could be saved: a disk that is full takes no verdict away.
    fn live(&mut self, args: &TrialArgs) -> Result<(Observation, Result<()>)> {
        let mut plan = Plan::of(&self.policy, &given(args), args.attach)?;
        plan.calibrate = self.policy.require.calibrate.unwrap_or(true);
        let seen = run::conduct(plan, args.timeout)?;
        let kept = self.save.as_mut().map_or(Ok(()), |save| save.write(saved(&seen).as_bytes()));
        let observation = Observation {
            windows: seen.windows,
            findings: seen.findings,
            calibration: seen.calibration,
            programs: seen.programs,
            ..Observation::default()
        };
        Ok((observation, kept))
    }
}

/// What the command line says in place of the policy.
pub fn given(args: &TrialArgs) -> Override {
    Override { pids: args.pid.clone(), duration: args.duration, command: args.command.clone() }
}

/// One object a line.
pub fn saved(seen: &Seen) -> String {
    seen.saved.iter().map(|window| ascii(&window.to_string()) + "\n").collect()
}

/// Reads a policy, or tells everything that is wrong with it.
pub fn read_policy(path: &Path) -> Result<Policy> {
    let name = path.display();
    let content = fs::read(path).with_context(|| {
        format!("cannot read the policy {name}\n  `tracer policy init -- CMD` writes one from a run of your program")
    })?;
    Policy::parse(&content).map_err(|problems| {
        const SHOWN: usize = 20;
        let name = human::escape(&path.to_string_lossy()).into_owned();
        let mut text = String::from("the policy is wrong:");
        for problem in problems.iter().take(SHOWN) {
            text += &format!("\n  {name}:{problem}");
        }
        if problems.len() > SHOWN {
            text += &format!("\n  and {} more", problems.len() - SHOWN);
        }
        anyhow::anyhow!(text)
    })
}

/// A policy names files relative to itself.
fn beside(policy: &Path, name: &str) -> PathBuf {
    policy.parent().unwrap_or(Path::new("")).join(name)
}

fn read_baselines(policy: &Policy, path: &Path) -> Result<BTreeMap<String, Recording>> {
    let mut baselines = BTreeMap::new();
    for assertion in &policy.assertions {
        let Some(name) = &assertion.baseline else { continue };
        if !baselines.contains_key(name) {
            let place = format!("{}:{}", path.display(), assertion.line);
            let saved = Recording::read(&beside(path, name))
                .with_context(|| format!("{place}: the baseline; `tracer record -o FILE` makes one"))?;
            baselines.insert(name.clone(), saved.recording);
        }
    }
    Ok(baselines)
}

fn recorded(files: &[PathBuf]) -> Result<Observation> {
    let mut windows = Vec::new();
    for file in files {
        let saved = Recording::read(file)?;
        if saved.objects > 1 {
            eprintln!("tracer: {} holds {} windows: the last one is judged", file.display(), saved.objects);
        }
        windows.push(Window { recording: saved.recording, findings: Vec::new() });
    }
    Ok(Observation { windows, calibration: Calibration::AsRecorded, ..Observation::default() })
}

fn context(args: &Check) -> Context {
    let words = std::env::args_os().skip(1).map(|word| run::quoted(&word.to_string_lossy()));
    let privilege = if args.input.is_empty() { "sudo " } else { "" };
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "localhost" } else { host.trim() };
    let terminal = io::stdout().is_terminal();
    Context {
        policy: args.policy.to_string_lossy().into_owned(),
        reproduce: format!("{privilege}tracer {}", words.collect::<Vec<_>>().join(" ")),
        timestamp: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        host: human::label(host, 100),
        width: if terminal {
            crate::sys::terminal_size(io::stdout()).map_or(0, |(columns, _)| columns.into())
        } else {
            0
        },
    }
}

/// All reports, also if one cannot be written: the first error is returned.
fn write(report: &Report, context: &Context, to: &mut [(report::Format, output::Output)]) -> Result<()> {
    let mut result = Ok(());
    for (format, output) in to {
        let written = output.write(report::render(*format, report, context).as_bytes());
        result = result.and(written);
    }
    result
}
