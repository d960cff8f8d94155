//! `claims ROW...`: see `tracer_tests::harness::claims`. Environment as for the matrix: TRACER, WORKLOAD,
//! KERNEL.

use std::process::ExitCode;

use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::claims;
use tracer_tests::harness::session::block_signals;

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    block_signals();
    let result = Bench::from_environment().and_then(|bench| claims::run(&bench, &names));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("claims: {error:#}");
            ExitCode::FAILURE
        }
    }
}
