//! The process that is measured. It measures itself: each line on its standard input asks for so many rounds of
//! each operation, or of those that are named after it, and is answered with one line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::operations;
use crate::workload::signals;

/// What an operation takes.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Taken {
    pub op: String,
    /// Instructions per operation in the round that took the least.
    pub least: f64,
    /// The same of all rounds, with interrupts and whoever else ran meanwhile.
    pub mean: f64,
    /// Of the middle one.
    pub middle: f64,
}

/// Rounds before those that count: caches, windows and autotuning come to rest.
const WARM_UP: usize = 5;

/// `overhead worker DIR`.
pub fn work(dir: &Path) -> Result<()> {
    signals::die_with_parent();
    let mut operations = operations::all(dir)?;
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line?;
        let (rounds, names) = line.split_once(' ').unwrap_or((&line, ""));
        let rounds: usize = rounds.parse().context("the number of rounds")?;
        let mut all = Vec::new();
        for operation in &mut operations {
            if !names.is_empty() && !names.split(',').any(|name| name == operation.name) {
                continue;
            }
            for _ in 0..WARM_UP {
                (operation.run)(operation.turns)?;
            }
            let taken = (0..rounds).map(|_| (operation.run)(operation.turns)).collect::<Result<Vec<u64>>>();
            let mut taken = taken.with_context(|| operation.name)?;
            taken.sort_unstable();
            let each = |instructions: u64| instructions as f64 / operation.turns as f64;
            let (least, middle) = (each(taken[0]), each(taken[rounds / 2]));
            let mean = each(taken.iter().sum()) / rounds as f64;
            all.push(Taken { op: operation.name.into(), least, mean, middle });
        }
        println!("{}", serde_json::to_string(&all)?);
    }
    Ok(())
}

/// `overhead idle`: does nothing until its standard input ends.
pub fn idle() -> Result<()> {
    signals::die_with_parent();
    std::io::stdin().lines().for_each(drop);
    Ok(())
}

/// A worker, seen from outside.
pub struct Worker {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// `program` is this one, where reading it again needs no I/O.
    pub fn start(program: &Path, dir: &Path) -> Result<Worker> {
        let mut child = Command::new(program)
            .arg("worker")
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let questions = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut worker = Worker { child, questions, answers };
        ensure!(worker.line()? == "ready\n", "the worker did not start");
        Ok(worker)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Every operation.
    pub fn measure(&mut self, rounds: usize) -> Result<Vec<Taken>> {
        self.measure_these(rounds, &[])
    }

    pub fn measure_these(&mut self, rounds: usize, names: &[&str]) -> Result<Vec<Taken>> {
        writeln!(self.questions, "{rounds} {}", names.join(","))?;
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("the worker said {line:?}"))
    }

    /// Until nothing gets cheaper any more: buffers and windows of connections grow for a while.
    pub fn warm_up(&mut self) -> Result<()> {
        const PASSES: usize = 20;
        const ROUNDS: usize = 10;
        const STABLE: f64 = 0.001;
        let mut last = self.measure(ROUNDS)?;
        for _ in 0..PASSES {
            let now = self.measure(ROUNDS)?;
            let near = |(a, b): (&Taken, &Taken)| (a.least - b.least).abs() <= STABLE * a.least;
            if last.iter().zip(&now).all(near) {
                return Ok(());
            }
            last = now;
        }
        // Whether it matters is seen at the end, when the first measurement is compared with the last.
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
