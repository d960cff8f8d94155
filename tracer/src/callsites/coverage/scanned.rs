//! The live text of this kernel, read once.

use tracer_ebpf::table::{PRIMITIVES, ROWS};

use crate::callsites::classify::{self, Role, Rules, Verdicts};
use crate::callsites::kcore::Kcore;
use crate::callsites::scan::{self, Doubt, Site};
use crate::callsites::text::Text;
use crate::kernel::kallsyms::Kallsyms;
use crate::probes::Kernel;

/// Helpers of lib/ that are reached only through other primitives, so their own sites are no sources.
pub const IN_LIB: &[&str] = &[
    "_copy_to_iter",
    "_copy_from_iter",
    "_copy_from_iter_full",
    "_copy_from_iter_full_nocache",
    "_copy_from_iter_nocache",
    "_copy_from_iter_flushcache",
    "_copy_mc_to_iter",
    "copy_page_to_iter",
    "copy_page_from_iter",
    "copy_page_to_iter_iovec",
    "copy_page_from_iter_iovec",
    "hash_and_copy_to_iter",
    "crc32c_and_copy_to_iter",
    "csum_and_copy_to_iter",
    "csum_and_copy_from_iter",
    "csum_and_copy_from_iter_full",
];

/// The check before copies of variable size.
pub const CHECK: &str = "__check_object_size";

/// Traced functions that copy for several purposes, told by their caller. In a [`Site`] of their calls, their index
/// stands for the primitive's.
pub const BY_CALLER: [&str; 2] = [CHECK, "copy_mc_to_kernel"];

/// The live text, and the calls of copy primitives in it.
pub struct Scanned {
    pub symbols: Kallsyms,
    pub text: Text,
    pub sites: Vec<Site>,
    pub doubts: Vec<Doubt>,
    /// Calls of the functions in [`BY_CALLER`].
    pub calls: Vec<Site>,
}

impl Scanned {
    pub fn read() -> anyhow::Result<Self> {
        let symbols = Kallsyms::read()?;
        let text = Text::read_all(&Kcore::open()?, &symbols)?;
        let targets: Vec<_> = PRIMITIVES
            .iter()
            .map(|primitive| primitive.name)
            .chain(BY_CALLER)
            .enumerate()
            .flat_map(|(primitive, name)| {
                symbols.lookup(name).map(move |symbol| scan::Target { primitive, addr: symbol.addr })
            })
            .collect();
        let scan::Found { mut sites, mut doubts } = scan::scan(&text, &symbols, &targets);
        let mut calls: Vec<Site> = sites.extract_if(.., |site| site.primitive >= PRIMITIVES.len()).collect();
        calls.iter_mut().for_each(|call| call.primitive -= PRIMITIVES.len());
        // A call of the check that cannot be decoded is not in the map of callers; its copy is a doubt of its own.
        doubts.retain(|doubt| doubt.primitive < PRIMITIVES.len());
        Ok(Scanned { symbols, text, sites, doubts, calls })
    }

    /// Keeps what was found in it.
    pub fn forget_text(&mut self) {
        self.text.segments = Vec::new();
        self.symbols = Kallsyms::default();
    }

    /// Where the kernel's own text begins.
    pub fn text_start(&self) -> u64 {
        self.symbols.address("_stext").unwrap_or(0)
    }

    pub fn classify(&self, kernel: &Kernel) -> Verdicts {
        let attached = |name: &str| kernel.rows.iter().any(|r| r.row.name == name && r.way.is_ok());
        let covered = |leaves_checked: Option<bool>| -> Vec<&str> {
            let rows = ROWS.iter().filter(|row| attached(row.name));
            let rows = rows.filter(|row| leaves_checked.is_none_or(|wanted| row.leaves_checked == wanted));
            rows.flat_map(|row| row.covers.iter().copied()).collect()
        };
        let roles: Vec<Role> =
            PRIMITIVES.iter().map(|p| if p.data { Role::Data } else { Role::Struct }).collect();
        let sizes: Vec<Option<usize>> = PRIMITIVES.iter().map(|p| p.arguments.checked_size()).collect();
        let checks: Vec<u64> = self.symbols.lookup(CHECK).map(|symbol| symbol.addr).collect();
        let targets: Vec<u64> = PRIMITIVES
            .iter()
            .map(|primitive| primitive.name)
            .chain(BY_CALLER)
            .flat_map(|name| self.symbols.lookup(name).map(|symbol| symbol.addr))
            .collect();
        let rules = Rules {
            roles: &roles,
            wrappers: &covered(None),
            leaving_checked: &covered(Some(true)),
            sizes: &sizes,
            in_lib: IN_LIB,
            checks: &checks,
            check_is_probed: attached("check"),
            targets: &targets,
        };
        classify::classify(&self.sites, &self.calls, &self.text, &self.symbols, &rules)
    }
}
