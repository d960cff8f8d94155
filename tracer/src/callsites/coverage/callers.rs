//! Which function calls the usercopy check, or a traced copy function, and what for: the map `CALLERS`.

use std::collections::BTreeMap;

use tracer_ebpf::abi::{Arguments, caller};
use tracer_ebpf::table::{PRIMITIVES, ROWS, caller_class};

use super::scanned::{BY_CALLER, CHECK, IN_LIB, Scanned};
use super::{CALL, Coverage};
use crate::callsites::after::After;
use crate::callsites::classify::{self, Verdict, Verdicts, base_name};
use crate::callsites::scan::Site;
use crate::callsites::size::Size;
use crate::probes::Kernel;

/// One call of a function in `BY_CALLER`, with its class.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its primitive is an index into `BY_CALLER`.
    pub site: Site,
    /// One of [`caller`]; `None`: the programs judge by the system call alone.
    pub class: Option<u32>,
}

impl Caller {
    /// The word for its class.
    pub fn class_name(&self) -> &'static str {
        caller::name(self.class.unwrap_or(caller::UNKNOWN))
    }

    /// `seq_read_iter+0x1cd [module] -> __check_object_size`.
    pub fn name(&self) -> String {
        let module = self.site.module.as_ref().map_or_else(String::new, |module| format!(" [{module}]"));
        let target = BY_CALLER.get(self.site.primitive).copied().unwrap_or("?");
        format!("{}+{:#x}{module} -> {target}", self.site.function, self.site.offset)
    }
}

/// Classes of all calls that were found. `after` is what follows each.
pub fn callers(scanned: &Scanned, after: &[After], kernel: &Kernel) -> Vec<Caller> {
    let attached = |row: &str| kernel.rows.iter().any(|r| r.row.name == row && r.way.is_ok());
    let wrappers: Vec<&str> = ROWS
        .iter()
        .filter(|row| !row.leaves_checked && attached(row.name))
        .flat_map(|row| row.covers.iter().copied())
        .collect();
    let class = |(site, after): (&Site, &After)| Caller {
        class: class(site, after, &wrappers).filter(|_| site.return_address().is_some()),
        site: site.clone(),
    };
    scanned.calls.iter().zip(after).map(class).collect()
}

fn class(site: &Site, after: &After, wrappers: &[&str]) -> Option<u32> {
    let function = base_name(&site.function);
    let target = *BY_CALLER.get(site.primitive)?;
    let by_name = caller_class(target, function);
    if target != BY_CALLER[0] {
        return by_name;
    }
    let in_lib = IN_LIB.contains(&function) && site.module.is_none();
    if wrappers.contains(&function) && !in_lib {
        return Some(caller::COUNTED_ELSEWHERE);
    }
    let through_iterator = after.primitives.iter().any(|primitive| PRIMITIVES[*primitive].data);
    match by_name {
        None if through_iterator => Some(caller::ITERATOR),
        None if after.doubtful => None,
        None => Some(caller::POINTER),
        named => named,
    }
}

/// What the map has to hold, by return address: calls of the check, and copies that have a probe because no check
/// runs before them. These are classed as their check would be.
pub fn entries(callers: &[Caller], sites: &[Site], verdicts: &Verdicts) -> BTreeMap<u64, u32> {
    let probed = sites.iter().zip(&verdicts.sites);
    let probed = probed.filter(|(_, verdict)| verdict.coverage == classify::Coverage::CallSite);
    let probed = probed.filter_map(|(site, verdict)| {
        Some((site.addr.wrapping_add(CALL), unchecked(site, verdict, verdicts.live_checks > 0)?))
    });
    let checks = callers.iter().filter_map(|caller| Some((caller.site.return_address()?, caller.class?)));
    checks.chain(probed).collect()
}

/// The class of a call of a copy function that has a probe. Where the check runs, what it does not precede goes through
/// an iterator for no reason that its name would tell.
fn unchecked(site: &Site, verdict: &Verdict, check_runs: bool) -> Option<u32> {
    let class = match PRIMITIVES[site.primitive].arguments {
        Arguments::ToFromBytes => caller::POINTER,
        Arguments::AddrBytesIter if !check_runs && verdict.size == Size::Variable => caller::ITERATOR,
        _ => return None,
    };
    Some(caller_class(CHECK, base_name(&site.function)).unwrap_or(class))
}

impl Coverage {
    /// True unless the row would see nothing: where no call of the usercopy check runs, call sites count what it would.
    pub fn needs(&self, row: &str) -> bool {
        row != "check" || self.check_runs
    }

    /// Calls of the usercopy check and of other functions that copy for several purposes: for `doctor`.
    pub fn callers(&self) -> &[Caller] {
        &self.callers
    }
}
