//! A second process that does the same work beside the target is not counted.

use std::process::{Command, Stdio};

use anyhow::ensure;
use tracer_tests::expect::{self, Place, Role};
use tracer_tests::harness::bench::{MIB, watch};
use tracer_tests::harness::ledger;
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::harness::{compare, until};

use crate::{Check, on_each_way, sound};

pub fn checks() -> Vec<Check> {
    vec![on_each_way("bystander::is_not_counted", |bench| {
        let mut target = bench.ready("rw_file", MIB)?;
        let mut tracer = Tracer::start(&bench.tracer, &watch(&[target.pid], &[]))?;
        tracer.wait_counting(&[target.pid])?;
        let mut bystander = Command::new(&bench.workload)
            .args(["rw_file", "--once", "--bytes", "16777216", "--dir"])
            .arg(&bench.tmpfs)
            .stdout(Stdio::null())
            .spawn()?;
        target.window()?;
        let limit = tracer_tests::harness::LIMIT;
        let status = until("the bystander ends", limit, || Ok(bystander.try_wait()?))?;
        ensure!(status.success(), "the bystander failed: {status}");
        let total = tracer.stop()?.total()?;
        let books = target.finish()?;
        sound(&total)?;
        ensure!(ledger::processes(&total).len() == 1, "more than the target: {total}");
        let row = expect::find(&bench.kernel, "rw_file", Place::Tmpfs, Role::Worker);
        let row = row.expect("every kernel has it");
        let target_ledger = ledger::processes(&total)[0];
        compare::row(row, target_ledger, &compare::Facts::new(&books)).into_result("rw_file")
    })]
}
