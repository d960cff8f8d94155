//! What a call site needs, by what the analysis found.

use tracer_ebpf::table::PRIMITIVES;

use crate::callsites::classify::{self, Verdict};
use crate::callsites::scan::Site;
use crate::model::attach::Attach;
use crate::model::site_coverage::Covered;

/// What one site needs.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    Nothing(Covered),
    /// A kprobe with this program.
    Probe(&'static str),
    /// A probe, which would count wrongly.
    Impossible(&'static str),
}

/// Decides for one site.
pub fn wanted(site: &Site, verdict: &Verdict, attach: Attach, check_runs: bool) -> Wanted {
    let primitive = &PRIMITIVES[site.primitive];
    let covered = match verdict.coverage {
        classify::Coverage::InLib => return Wanted::Nothing(Covered::Wrapper),
        classify::Coverage::Wrapper => Covered::Wrapper,
        classify::Coverage::Checked => Covered::Checked,
        classify::Coverage::CallSite => Covered::CallSite,
        classify::Coverage::Uncovered => Covered::Uncovered,
        // Perhaps the check covers it: a probe might count its bytes a second time.
        classify::Coverage::Unknown => Covered::Unknown,
    };
    if covered != Covered::CallSite && !(attach == Attach::Callsite && primitive.data) {
        Wanted::Nothing(covered)
    } else if primitive.site_program.is_empty() {
        Wanted::Nothing(Covered::Uncovered)
    } else if !classify::exact_as_probe(site) {
        // None is known on the kernels looked at.
        Wanted::Impossible("it is a conditional jump, and a probe on it also runs where it is not taken")
    } else if verdict.mixed && check_runs && !primitive.data {
        // Nor of these.
        Wanted::Impossible("the usercopy check counts it on some paths, and a probe would count these twice")
    } else {
        Wanted::Probe(primitive.site_program)
    }
}
