//! A program that forks: only nginx's master is named, `--children` counts the worker that is there and the
//! one that a reload starts.

use anyhow::{Result, bail};
use serde_json::Value;
use tracer_tests::harness::bench::{Bench, watch};
use tracer_tests::harness::ledger;
use tracer_tests::harness::programs::books::{Books, Expected, about, exactly};
use tracer_tests::harness::programs::client::{self, Moved};
use tracer_tests::harness::programs::conclusive::conclusive;
use tracer_tests::harness::programs::files::{self, Dir, SIZE};
use tracer_tests::harness::programs::nginx::Nginx;
use tracer_tests::harness::programs::record::{Case, judge};
use tracer_tests::harness::programs::server;
use tracer_tests::harness::tracer::Tracer;

use crate::batched::Verdicts;
use crate::{Check, program, sound};

/// What master and workers tell each other in a reload, over a socket.
const MESSAGES: u64 = 1 << 10;
/// The files that name its user's groups, which a worker reads when it starts.
const GROUPS: u64 = 16 << 10;

pub fn checks() -> Vec<Check> {
    vec![program("nginx_reload", reload)]
}

fn reload(bench: &Bench) -> Result<()> {
    let (cases, total) = conclusive(bench, || measure(bench))?;
    let differences = judge(&bench.kernel, &cases.each_ref(), &total);
    Verdicts { differences, sound: sound(&total) }.both()
}

/// Both workers, and the tracer's total.
fn measure(bench: &Bench) -> Result<([Case; 2], Value)> {
    let dir = Dir::new(bench, "reload")?;
    dir.write("file", files::noise(SIZE))?;
    let mut nginx = Nginx::start(&dir, "nginx", "sendfile on;", "")?;
    let url = format!("http://127.0.0.1:{}/file", nginx.port);
    client::fetch(&url, &[])?;
    let master = nginx.master();
    let mut tracer = Tracer::start(&bench.tracer, &watch(&[master], &["--children"]))?;
    tracer.wait_counting(&[master])?;
    let fetch = |nginx: &Nginx| {
        let (worker, moved) = (nginx.worker()?, client::fetch(&url, &[])?);
        server::rest(worker)?;
        Ok::<_, anyhow::Error>((worker, moved))
    };
    let before = fetch(&nginx)?;
    nginx.reload()?;
    let after = fetch(&nginx)?;
    if before.0 == after.0 {
        bail!("the reload started no new worker");
    }
    let total = tracer.stop()?.total()?;
    let case = |(worker, moved): (u32, Moved), variant, start| -> Result<Case> {
        Ok(Case {
            program: "nginx",
            variant,
            bytes: SIZE as u64,
            books: Books::of(ledger::process(&total, worker)?),
            expected: sent(&moved, start),
            explanation: "each worker is counted for itself: the page cache's pages go by reference",
        })
    };
    let cases = [
        case(before, "the master's --children, worker before a reload", 0)?,
        case(after, "the master's --children, worker after a reload", GROUPS)?,
    ];
    Ok((cases, total))
}

/// `start` is what the worker reads before it serves.
fn sent(moved: &Moved, start: u64) -> Vec<Expected> {
    vec![
        exactly("sendfile", "payload_bytes", SIZE as u64),
        exactly("sendfile", "zero_copied_bytes", SIZE as u64),
        about("read", "to_user", 0, start),
        exactly("write", "from_user", moved.heads),
        about("recv", "to_user", moved.asked, MESSAGES),
    ]
}
