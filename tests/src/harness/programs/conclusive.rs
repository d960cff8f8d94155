//! Windows that prove something.

use anyhow::Result;
use serde_json::Value;

use crate::harness::bench::Bench;

/// Windows in which a kernel that preempts programs may lose events, before a test is inconclusive.
const WINDOWS: usize = 3;

/// What `measure` finds in a window without lost events, where a kernel that preempts programs gives one;
/// elsewhere, and after the last, whatever it finds. With it comes the tracer's total.
pub fn conclusive<T>(bench: &Bench, measure: impl Fn() -> Result<(T, Value)>) -> Result<(T, Value)> {
    let windows = if bench.preempts_programs() { WINDOWS } else { 1 };
    for _ in 1..windows {
        let (found, total) = measure()?;
        let lost = &total["lost_events"];
        if *lost == 0 {
            return Ok((found, total));
        }
        eprintln!("programs: {lost} events were lost, as the tracer reports: the next window");
    }
    measure()
}
