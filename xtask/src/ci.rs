//! `cargo xtask ci`: what .ci/run runs. The same on a laptop and on a fresh machine.

use anyhow::{Result, bail};

use crate::{build, setup, sh, test};

/// Format, lints, then the tests of the README. Stops at the first that fails: the cheap ones first.
pub fn main() -> Result<u8> {
    setup::ensure_build()?;
    let steps: [(&str, &[&str]); 3] = [
        ("format", &["fmt", "--all", "--check"]),
        ("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
        // `test = false` keeps it out of --all-targets.
        ("lints", &["clippy", "-p", "tracer-tests", "--test", "matrix", "--quiet", "--", "-D", "warnings"]),
    ];
    for (name, arguments) in steps {
        sh::progress(&format!("{name}: cargo {}", arguments.join(" ")));
        let mut command = build::cargo()?;
        command.args(arguments);
        if let Err(error) = sh::run(&mut command, &format!("pass the {name} check")) {
            bail!("{error:#}\n(if cargo has no such command: `rustup component add rustfmt clippy`)");
        }
    }
    deny()?;
    test::main(&test::Args::default())
}

/// Licences and sources of the dependencies, by deny.toml. Advisories change without us: they are no part of this.
fn deny() -> Result<()> {
    setup::ensure_deny()?;
    sh::progress("licences: cargo deny check");
    let mut command = build::cargo()?;
    command.args(["deny", "check", "licenses", "bans", "sources"]);
    sh::run(&mut command, "pass the check of licences and sources")
}
