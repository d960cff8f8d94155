//! `--sizes`: each copy is in the bucket of its size, and all of them together are what was copied.

use anyhow::{Context, Result, ensure};
use tracer_tests::harness::bench::{Bench, MIB};
use tracer_tests::harness::compare::Differences;
use tracer_tests::harness::{ledger, metrics};

use crate::prometheus::{promtool_accepts, scrape_of};
use crate::{ANY_KERNEL, Check, Verdict, checked_on, on_any_kernel, sound};

/// What the workloads read and write at once.
const CHUNK: usize = 64 << 10;
const METRIC: &str = "tracer_copy_size_bytes";

pub fn checks() -> Vec<Check> {
    vec![
        checked_on(ANY_KERNEL, "copy_sizes::are_a_histogram", histogram),
        on_any_kernel("copy_sizes::are_absent_unless_asked_for", |bench| {
            let (page, total, _) = scrape_of(bench, "rw_file", &[])?;
            ensure!(!page.contains(METRIC), "sizes without --sizes:\n{page}");
            ensure!(!total.to_string().contains("copy_sizes"), "sizes without --sizes: {total}");
            Ok(())
        }),
    ]
}

/// A file copied by reads and writes of 64 KiB: that many observations, all of them there.
fn histogram(bench: &Bench) -> Result<Verdict> {
    let (page, total, pid) = scrape_of(bench, "rw_file", &["--sizes"])?;
    sound(&total)?;
    let chunks = (MIB / CHUNK) as u64;
    let mut differences = Differences::default();
    for (path, direction) in [("read", "to_user"), ("write", "from_user")] {
        let pid = pid.to_string();
        let labels = [("pid", pid.as_str()), ("path", path), ("direction", direction)];
        let below = |le: &str| {
            metrics::sum(&page, &format!("{METRIC}_bucket"), &[&labels[..], &[("le", le)]].concat())
        };
        differences.equal(&format!("{path} up to 32 KiB"), below("32768"), 0);
        differences.equal(&format!("{path} up to 64 KiB"), below("65536"), chunks);
        differences.equal(&format!("{path} of any size"), below("+Inf"), chunks);
        let (count, sum) = (format!("{METRIC}_count"), format!("{METRIC}_sum"));
        differences.equal(&format!("{path} count"), metrics::sum(&page, &count, &labels), chunks);
        differences.equal(&format!("{path} sum"), metrics::sum(&page, &sum, &labels), MIB as u64);
    }
    let ledger = ledger::process(&total, pid)?;
    for (path, direction) in [("read", "to_user"), ("write", "from_user")] {
        let sizes = ledger.copy_sizes(path, direction).with_context(|| format!("no sizes in {total}"))?;
        ensure!(sizes.len() == 1, "{path} has more than one size: {sizes:?}");
        differences.equal(&format!("{path}, JSON"), sizes["65536"].as_u64().unwrap_or(0), chunks);
        differences.equal(&format!("{path}, bytes"), ledger.copied(path, direction), MIB as u64);
    }
    differences.into_result("copies by size")?;
    promtool_accepts(bench, &page)
}
