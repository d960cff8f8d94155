//! Call sites in functions that take no probe.

use std::collections::BTreeSet;
use std::io;

use tracer_ebpf::table::{PRIMITIVES, untraceable};

use super::Coverage;
use crate::callsites::classify::base_name;
use crate::callsites::scan::Site;

/// Why a site has no probe.
pub enum Unprobed {
    /// The kernel takes none in this function, which copies this.
    Untraceable(&'static str),
    Failed(String),
}

/// What the kernel's refusal of a probe means.
pub fn refusal(site: &Site, error: &anyhow::Error) -> Unprobed {
    let is_refused = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    // `-EINVAL`: there is no such place, or its function may not be probed.
    let is_refused = is_refused.filter_map(io::Error::raw_os_error).any(|errno| errno == libc::EINVAL);
    let structures = !PRIMITIVES[site.primitive].data;
    match untraceable(base_name(&site.function)) {
        Some(copies) if is_refused && structures => Unprobed::Untraceable(copies),
        _ => Unprobed::Failed(crate::probes::attach_error::in_short(error)),
    }
}

impl Coverage {
    /// What is not counted because no probe can be where it is copied.
    pub fn notes(&self) -> Vec<String> {
        let note = |(copies, sites): (&String, &BTreeSet<String>)| {
            let functions = sites.iter().filter_map(|site| site.split('+').next());
            let functions: BTreeSet<&str> = functions.collect();
            let functions = functions.into_iter().collect::<Vec<_>>().join(", ");
            format!("no usercopy check runs, and these take no probe: {copies} ({functions}) are not counted")
        };
        self.untraceable.iter().map(note).collect()
    }
}
