//! The package in VMs: installed, scraped, upgraded, purged.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::kernels::Matrix;
use crate::vm::{self, Stream, VmSpec};
use crate::{setup, sh};

/// systemd takes half a minute to boot on an emulated CPU, and every start of tracer some 10 s; on a busy host several
/// times as long. The limit is for what hangs.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// One VM after the other; true if one failed.
pub fn run(package: &Path, names: &[String]) -> Result<bool> {
    if names.is_empty() {
        return Ok(false);
    }
    setup::ensure_vm()?;
    setup::ensure_service()?;
    let mut failed = false;
    for kernel in Matrix::load()?.select(names)? {
        sh::progress(&format!("{}: trying the package", kernel.name));
        let status = vm::run(&spec(package, &kernel.name)?, &|stream, bytes| {
            let _ = match stream {
                Stream::Out => io::stdout().write_all(bytes),
                Stream::Err => io::stderr().write_all(bytes),
            };
        })?
        .status;
        println!("{}: the package {}", kernel.name, if status == 0 { "passed" } else { "FAILED" });
        failed |= status != 0;
    }
    Ok(failed)
}

/// A VM with systemd as its first process, by stage2.sh. It boots no further than a service needs: the host's own
/// services are none of our business.
pub fn with_systemd(kernel: &str) -> Result<VmSpec> {
    let mut spec = VmSpec::new(kernel);
    spec.kernel_args = "tracer.systemd systemd.unit=basic.target systemd.mask=timers.target".into();
    spec.env = vm::cli::environment(&[])?;
    Ok(spec)
}

fn spec(package: &Path, kernel: &str) -> Result<VmSpec> {
    let mut spec = VmSpec { timeout: LIMIT, ..with_systemd(kernel)? };
    let words = ["sh", "-c", include_str!("trial.sh"), "trial"].map(String::from);
    spec.command = words.into_iter().chain([package.to_string_lossy().into_owned()]).collect();
    vm::cli::reach(&mut spec, package.parent().unwrap_or(package));
    Ok(spec)
}
