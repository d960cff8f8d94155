//! `tracer doctor`: complete on the kernels we claim, and honest without root.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, ensure};
use tracer_tests::harness::LIMIT;
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::bpf::Objects;
use tracer_tests::harness::tracer::Tracer;

use crate::{Check, check};

const NOBODY: u32 = 65534;

pub fn checks() -> Vec<Check> {
    vec![
        check("doctor::says_complete", |bench| {
            let before = Objects::now()?;
            let outcome = Tracer::start(&bench.tracer, &["doctor", "--sites"])?.wait(LIMIT)?;
            let (status, said) = (outcome.status, &outcome.stdout);
            ensure!(status.success(), "doctor: {status}\n{said}\n{}", outcome.stderr);
            ensure!(said.contains("complete"), "no verdict on coverage:\n{said}");
            ensure!(!said.contains("incomplete"), "incomplete:\n{said}");
            calls_of_the_check_have_classes(said)?;
            before.wait_until_as_before()
        }),
        check("doctor::without_root_says_what_it_could_not_try", without_root),
    ]
}

/// `CLASS FUNCTION+OFFSET -> TARGET`, one a line.
fn calls_of_the_check_have_classes(said: &str) -> Result<()> {
    const CHECK: &str = "-> __check_object_size";
    let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
    for line in said.lines().filter(|line| line.ends_with(CHECK)) {
        let class = line.split_whitespace().next().unwrap_or_default();
        ensure!(class != "unknown", "a call of the usercopy check without a class: {line}");
        *classes.entry(class).or_default() += 1;
    }
    println!("calls of the usercopy check by class: {classes:?}");
    for class in ["iterator", "pointer", "argument", "data", "observer", "counted_elsewhere"] {
        ensure!(classes.contains_key(class), "no call of the check is of class {class}: {classes:?}");
    }
    Ok(())
}

fn without_root(bench: &Bench) -> Result<()> {
    let mut command = Command::new(&bench.tracer);
    command.arg("doctor").uid(NOBODY).gid(NOBODY);
    let outcome = Tracer::start_command(command)?.wait(LIMIT)?;
    let said = format!("{}\n{}", outcome.stdout, outcome.stderr);
    ensure!(outcome.status.code().is_some(), "died: {}\n{said}", outcome.status);
    ensure!(!said.contains("panicked"), "a panic:\n{said}");
    ensure!(said.contains("root") || said.contains("CAP_"), "no word on privilege:\n{said}");
    Ok(())
}
