//! Which function calls the usercopy check, or a traced copy function, and what for: the map `CALLERS`.

use std::collections::BTreeMap;

use tracer_ebpf::abi::caller;
use tracer_ebpf::table::{PRIMITIVES, ROWS, caller_class};

use super::scanned::{BY_CALLER, IN_LIB, Scanned};
use crate::load::Kernel;
use crate::text::after::After;
use crate::text::classify::base_name;
use crate::text::scan::Site;

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

/// What the map has to hold, by return address.
pub fn entries(callers: &[Caller]) -> BTreeMap<u64, u32> {
    callers.iter().filter_map(|caller| Some((caller.site.return_address()?, caller.class?))).collect()
}
