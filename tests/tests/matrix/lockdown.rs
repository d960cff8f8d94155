//! `lockdown=confidentiality` on the kernel's command line: no program may read kernel memory.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::{Check, check};

pub fn checks() -> Vec<Check> {
    vec![check("lockdown::is_in_force", |_| is_in_force())]
}

fn is_in_force() -> Result<()> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").context("no lockdown")?;
    ensure!(text.contains("[confidentiality]"), "lockdown: {text}");
    Ok(())
}
