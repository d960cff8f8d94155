//! A trial: programs run, and what the kernel copies for them is counted, window by window.

pub mod calibrate;
mod child;
mod conduct;
mod meter;
mod plan;
pub mod supervisor;

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

pub use conduct::conduct;
pub use plan::{Counted, Override, Plan, quoted};

use crate::check::reason::Reason;
use crate::check::run::child::Kept;
use crate::check::verdict::{Calibration, Finding, Program, Window};
use crate::fmt::human;
use crate::kernel::process;
use crate::model::fault_injection::Fault;
use crate::model::window::Recording;
use crate::session::announce;
use crate::session::events;
use crate::session::{Options, Selection, Session};
use meter::Meter;

/// A target that ends at the same moment as its driver did not end early.
const SAME_MOMENT: Duration = Duration::from_millis(500);

/// What a trial has seen so far.
#[derive(Default)]
pub struct Seen {
    pub windows: Vec<Window>,
    /// The windows as they are saved.
    pub saved: Vec<Value>,
    pub findings: Vec<Finding>,
    pub calibration: Calibration,
    pub programs: Vec<Program>,
}

pub struct Trial {
    plan: Plan,
    meter: Option<Meter>,
    target: Option<Kept>,
    driver: Option<Kept>,
    /// Processes that ran already: readable when they have ended.
    pidfds: Vec<OwnedFd>,
    /// From 1; 0 before the first.
    window: usize,
    pub seen: Seen,
}

/// What ended a wait.
#[derive(PartialEq, Eq, Debug)]
enum End {
    Program,
    TargetGone,
    Time,
}

impl Trial {
    /// Resolves the target, so that what does not exist is an error before anything runs.
    pub fn new(plan: Plan) -> Result<Self> {
        let pidfds = plan.counted.pidfds()?;
        Ok(Trial { plan, meter: None, target: None, driver: None, pidfds, window: 0, seen: Seen::default() })
    }

    /// Calibrates, attaches, runs all windows. May be dropped at any time: [`finish`](Self::finish) then
    /// takes what there is.
    pub async fn run(&mut self) -> Result<()> {
        let fault = Fault::from_env()?;
        if !self.prepare(&fault).await? {
            return Ok(());
        }
        match &self.plan.counted {
            Counted::Command { .. } if self.plan.driver.is_none() => self.run_alone().await,
            _ => self.run_beside().await,
        }
    }

    /// False if this kernel does not let tracer count.
    async fn prepare(&mut self, fault: &Fault) -> Result<bool> {
        let unsupported =
            |error: anyhow::Error| Finding::new(Reason::UnsupportedKernel, format!("{error:#}"));
        self.seen.calibration = Calibration::Skipped;
        if self.plan.calibrate {
            match calibrate::calibrate(self.plan.attach, fault).await {
                Ok(calibration) => self.seen.calibration = calibration,
                Err(error) => {
                    self.seen.findings.push(unsupported(error));
                    return Ok(false);
                }
            }
        }
        let selection = match &self.plan.counted {
            Counted::Command { children, .. } => Selection::AtExec { children: *children },
            Counted::Processes { targets, children } => {
                Selection::Processes { targets: targets.clone(), children: *children }
            }
        };
        let options = Options {
            attach: self.plan.attach,
            audit: true,
            stats: false,
            copy_sizes: false,
            fault: fault.clone(),
        };
        match Session::prepare(&selection, &options) {
            Ok(session) => {
                announce::warn(&session);
                self.meter = Some(Meter::new(session));
                Ok(true)
            }
            Err(error) => {
                self.seen.findings.push(unsupported(error));
                Ok(false)
            }
        }
    }

    /// One window per run of the target, from its exec (or the end of its warm-up) to its end.
    async fn run_alone(&mut self) -> Result<()> {
        for number in 1..=self.plan.window.repeat {
            let last = number == self.plan.window.repeat;
            self.hold_target().await?;
            let from_exec = self.plan.window.warmup.is_zero();
            if from_exec {
                self.begin()?;
            }
            if !self.release_target().await? {
                return Ok(());
            }
            if !from_exec {
                if self.wait(Some(self.plan.window.warmup), false).await? != End::Time {
                    self.find(Reason::TargetEndedEarly, "it ended while it was warming up");
                    return Ok(());
                }
                self.begin()?;
            }
            let duration = self.plan.window.duration;
            let end = self.wait(duration, true).await?;
            if duration.is_some() && end != End::Time {
                self.find(Reason::TargetEndedEarly, "it ended before the window's duration was over");
            }
            self.end_window(last)?;
            self.end_target().await;
        }
        Ok(())
    }

    /// Windows beside a target that goes on: as long as the driver runs, or the duration.
    async fn run_beside(&mut self) -> Result<()> {
        if matches!(self.plan.counted, Counted::Command { .. }) {
            self.hold_target().await?;
            if !self.release_target().await? {
                return Ok(());
            }
        }
        if self.wait(Some(self.plan.window.warmup), false).await? != End::Time {
            self.find(Reason::TargetEndedEarly, "it ended before the first window");
            return Ok(());
        }
        for number in 1..=self.plan.window.repeat {
            self.begin()?;
            let goes_on = self.drive().await?;
            if goes_on
                && self.wait(Some(self.plan.window.settle), false).await? != End::Time
                && number < self.plan.window.repeat
            {
                self.find(Reason::TargetEndedEarly, "it ended before the last window");
            }
            self.end_window(!goes_on || number == self.plan.window.repeat)?;
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    /// The driver from its start to its end, or just the duration. False if no window can follow.
    async fn drive(&mut self) -> Result<bool> {
        let duration = self.plan.window.duration;
        let Some(command) = self.plan.driver.clone() else {
            let goes_on = self.wait(duration, false).await? == End::Time;
            if !goes_on {
                self.find(Reason::TargetEndedEarly, "it ended before the window's duration was over");
            }
            return Ok(goes_on);
        };
        let driver = self.driver.insert(Kept::start(&command).await?);
        if let Err(error) = driver.release().await? {
            self.not_started("driver", &command, &error);
            return Ok(false);
        }
        let end = self.wait_driver(duration).await?;
        match end {
            End::TargetGone => self.find(Reason::TargetEndedEarly, "it ended before its driver"),
            End::Program if duration.is_some() => {
                self.find(Reason::DriverEndedEarly, "it ended before the window's duration was over");
            }
            _ => {}
        }
        self.end_driver().await;
        Ok(end != End::TargetGone)
    }

    async fn wait_driver(&mut self, duration: Option<Duration>) -> Result<End> {
        let Some(driver) = &mut self.driver else { return Ok(End::Time) };
        let gone = target_gone(&mut self.target, &self.pidfds);
        tokio::select! {
            biased;
            () = driver.ended() => return Ok(End::Program),
            () = gone => {}
            () = sleep(duration) => return Ok(End::Time),
            result = reap(&mut self.meter) => match result? {},
        }
        match tokio::time::timeout(SAME_MOMENT, driver.ended()).await {
            Ok(()) => Ok(End::Program),
            Err(_) => Ok(End::TargetGone),
        }
    }

    /// Waits for a time, as long as the target lives; `main`: as long as its first process does.
    async fn wait(&mut self, time: Option<Duration>, main: bool) -> Result<End> {
        let gone = async {
            match &mut self.target {
                Some(target) if main => target.ended().await,
                _ => target_gone(&mut self.target, &self.pidfds).await,
            }
        };
        tokio::select! {
            () = gone => Ok(End::Program),
            () = sleep(time) => Ok(End::Time),
            result = reap(&mut self.meter) => match result? {},
        }
    }

    async fn hold_target(&mut self) -> Result<()> {
        let Counted::Command { command, .. } = &self.plan.counted else { return Ok(()) };
        let kept = Kept::start(command).await?;
        if let Some(meter) = &mut self.meter {
            meter.session.count_at_exec(process::describe(kept.pid))?;
        }
        self.target = Some(kept);
        Ok(())
    }

    /// False if it cannot be executed.
    async fn release_target(&mut self) -> Result<bool> {
        let Some(kept) = &mut self.target else { return Ok(false) };
        let pid = kept.pid;
        if let Err(error) = kept.release().await? {
            let Counted::Command { command, .. } = &self.plan.counted else { return Ok(false) };
            let command = command.clone();
            self.not_started("target", &command, &error);
            return Ok(false);
        }
        if let Some(meter) = &mut self.meter {
            meter.session.describe_again(pid);
        }
        Ok(true)
    }

    fn begin(&mut self) -> Result<()> {
        self.window += 1;
        if let Some(meter) = &mut self.meter {
            meter.begin()?;
            if self.window == 1 {
                let pids = match (&self.target, &self.plan.counted) {
                    (Some(target), _) => vec![target.pid],
                    (None, Counted::Processes { targets, .. }) => targets.iter().map(|t| t.pid).collect(),
                    _ => Vec::new(),
                };
                pids.iter().for_each(|pid| announce::counting(&format!("pid {pid}")));
            }
        }
        Ok(())
    }

    fn end_window(&mut self, last: bool) -> Result<()> {
        let Some(meter) = self.meter.as_mut().filter(|meter| meter.is_in_window()) else { return Ok(()) };
        let counted = meter.end(last)?;
        let mut json = counted.json;
        json["calibration"] = match &self.seen.calibration {
            Calibration::Exact => serde_json::json!({"exact": true, "detail": ""}),
            Calibration::Off(detail) => serde_json::json!({"exact": false, "detail": detail}),
            Calibration::AsRecorded | Calibration::Skipped => Value::Null,
        };
        let recording = Recording::parse(json.to_string().as_bytes())?.recording;
        // Findings about a window that has begun were kept until there is one.
        let mut findings: Vec<Finding> = Vec::new();
        let current = self.window;
        self.seen.findings.retain(|finding| {
            let here = finding.window == Some(current);
            if here {
                findings.push(Finding { window: None, ..finding.clone() });
            }
            !here
        });
        let notes = counted.new_notes.into_iter();
        findings.extend(notes.map(|note| Finding::new(Reason::CoverageIncomplete, note)));
        self.seen.windows.push(Window { recording, findings });
        self.seen.saved.push(json);
        Ok(())
    }

    fn find(&mut self, reason: Reason, detail: &str) {
        let mut finding = Finding::new(reason, detail);
        if self.meter.as_ref().is_some_and(Meter::is_in_window) {
            finding = finding.in_window(self.window);
        }
        self.seen.findings.push(finding);
    }

    async fn end_driver(&mut self) {
        if let Some(mut driver) = self.driver.take() {
            driver.end().await;
            let command = self.plan.driver.clone().unwrap_or_default();
            self.record("driver", &command, &driver);
        }
    }

    async fn end_target(&mut self) {
        if let Some(mut target) = self.target.take() {
            target.end().await;
            if let Counted::Command { command, .. } = &self.plan.counted {
                let command = command.clone();
                self.record("target", &command, &target);
            }
        }
    }

    fn record(&mut self, role: &'static str, command: &[OsString], kept: &Kept) {
        let (mut end, failed) = kept.end_in_words();
        if kept.killed > 0 {
            end += &format!("; {} had to be killed", human::counted(kept.killed as u64, "process"));
        }
        let window = self.window.max(1);
        self.seen.programs.push(Program { role, command: plan::shown(command), window, end, failed });
    }

    fn not_started(&mut self, role: &'static str, command: &[OsString], error: &io::Error) {
        let end = match error.kind() {
            io::ErrorKind::NotFound => {
                "not found: give a path (./PROGRAM), or see that PATH has it".to_owned()
            }
            _ => format!("cannot be executed: {error}"),
        };
        let window = self.window.max(1);
        self.seen.programs.push(Program { role, command: plan::shown(command), window, end, failed: true });
        // It was the child of tracer's own that ended.
        match role {
            "driver" => self.driver = None,
            _ => self.target = None,
        }
    }

    /// Ends the window, if one is open, and every program.
    pub async fn finish(&mut self, cut: Option<Finding>) -> Result<()> {
        if let Some(cut) = cut {
            let in_window = self.meter.as_ref().is_some_and(Meter::is_in_window);
            self.seen.findings.push(if in_window { cut.in_window(self.window) } else { cut });
        }
        let ended = self.end_window(true);
        self.end_driver().await;
        self.end_target().await;
        ended
    }
}

/// Gives the slots of ended processes back while something else is waited for.
async fn reap(meter: &mut Option<Meter>) -> Result<Infallible> {
    match meter {
        Some(meter) => events::reap(meter.session.ended_fd()?, || meter.session.reap()).await,
        None => std::future::pending().await,
    }
}

async fn target_gone(target: &mut Option<Kept>, pidfds: &[OwnedFd]) {
    match target {
        Some(target) => target.all_gone().await,
        None => plan::all_ended(pidfds).await,
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}
