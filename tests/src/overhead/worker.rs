//! The process that is measured. It measures itself: each line on its standard input asks for so many rounds of
//! each operation, and is answered with one line.

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
    /// The same of the middle one, with its share of interrupts.
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
        let rounds: usize = line?.parse().context("the number of rounds")?;
        let mut all = Vec::new();
        for operation in &mut operations {
            for _ in 0..WARM_UP {
                (operation.run)(operation.turns)?;
            }
            let taken = (0..rounds).map(|_| (operation.run)(operation.turns)).collect::<Result<Vec<u64>>>();
            let mut taken = taken.with_context(|| operation.name)?;
            taken.sort_unstable();
            let each = |instructions: u64| instructions as f64 / operation.turns as f64;
            let (least, middle) = (each(taken[0]), each(taken[rounds / 2]));
            all.push(Taken { op: operation.name.into(), least, middle });
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

    pub fn measure(&mut self, rounds: usize) -> Result<Vec<Taken>> {
        writeln!(self.questions, "{rounds}")?;
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("the worker said {line:?}"))
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
