//! curl, which tells how many bytes it sent and got.

use std::process::Command;

use anyhow::{Context, Result, ensure};

pub const CURL: &str = "/usr/bin/curl";

/// What some requests moved, as curl counts it: inside TLS, what is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub requests: u64,
    /// Bytes of the requests' lines and headers.
    pub asked: u64,
    /// Bytes of the answers' headers.
    pub heads: u64,
    /// Bytes of the answers' bodies, as they came over the wire.
    pub bodies: u64,
}

impl std::ops::AddAssign for Moved {
    fn add_assign(&mut self, other: Moved) {
        self.requests += other.requests;
        self.asked += other.asked;
        self.heads += other.heads;
        self.bodies += other.bodies;
    }
}

/// Fetches `url` once, with curl's `options`.
pub fn fetch(url: &str, options: &[&str]) -> Result<Moved> {
    let mut command = Command::new(CURL);
    // No verification: the certificate is the test's own.
    command.args(["-q", "-sS", "-k", "--noproxy", "*", "--max-time", "55", "-o", "/dev/null"]);
    command.args(["-w", "%{http_code} %{size_request} %{size_header} %{size_download}"]);
    let output = command.args(options).arg(url).output().with_context(|| format!("cannot start {CURL}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = || format!("{url}: {said} {}", String::from_utf8_lossy(&output.stderr).trim());
    ensure!(output.status.success(), failed());
    let numbers: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [200, asked, heads, bodies] = numbers[..] else { anyhow::bail!(failed()) };
    Ok(Moved { requests: 1, asked, heads, bodies })
}

/// Fetches `url` some times, one after the other, each over a connection of its own.
pub fn fetch_times(times: u64, url: &str, options: &[&str]) -> Result<Moved> {
    let mut sum = Moved::default();
    for _ in 0..times {
        sum += fetch(url, options)?;
    }
    Ok(sum)
}
