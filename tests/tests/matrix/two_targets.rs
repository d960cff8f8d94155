//! Two targets at once are kept apart, each with its own numbers.

use tracer_tests::expect::{self, Place, Role};
use tracer_tests::harness::bench::{MIB, watch};
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::harness::{compare, ledger};

use crate::{Check, on_any_kernel, sound};

pub fn checks() -> Vec<Check> {
    vec![on_any_kernel("two_targets::are_kept_apart", |bench| {
        let (names, sizes) = (["rw_file", "mmap_write_file"], [MIB, 3 * MIB]);
        let mut sessions = [bench.ready(names[0], sizes[0])?, bench.ready(names[1], sizes[1])?];
        let pids = [sessions[0].pid, sessions[1].pid];
        let mut tracer = Tracer::start(&bench.tracer, &watch(&pids, &[]))?;
        tracer.wait_counting(&pids)?;
        for session in &mut sessions {
            session.window()?;
        }
        let total = tracer.stop()?.total()?;
        sound(&total)?;
        for (session, name) in sessions.into_iter().zip(names) {
            let row = expect::find(&bench.kernel, name, Place::Tmpfs, Role::Worker);
            let row = row.expect("every kernel has it");
            let ledger = ledger::process(&total, session.pid)?;
            let books = session.finish()?;
            compare::row(row, ledger, &compare::Facts::new(&books)).into_result(name)?;
        }
        Ok(())
    })]
}
