//! `lockdown=confidentiality` on the kernel's command line: no program may read kernel memory.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::reduced::{self, Reduced};
use crate::{Check, check};

pub fn checks() -> Vec<Check> {
    let mut checks = vec![check("lockdown::is_in_force", |_| is_in_force())];
    checks.extend(reduced::checks(Reduced {
        name: "lockdown",
        hides_btf: false,
        cause: "the kernel is locked down (confidentiality), which forbids reading its memory",
        remedy: "boot without `lockdown=confidentiality`",
    }));
    checks
}

fn is_in_force() -> Result<()> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").context("no lockdown")?;
    ensure!(text.contains("[confidentiality]"), "lockdown: {text}");
    Ok(())
}
