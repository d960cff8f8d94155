//! The live text of this kernel, read once.

use tracer_ebpf::table::{PRIMITIVES, ROWS};

use crate::facts::kallsyms::Kallsyms;
use crate::load::Kernel;
use crate::text::Text;
use crate::text::classify::{self, Role, Rules, Verdict};
use crate::text::kcore::Kcore;
use crate::text::scan::{self, Doubt, Site};

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

/// The live text, and the calls of copy primitives in it.
pub struct Scanned {
    pub symbols: Kallsyms,
    pub text: Text,
    pub sites: Vec<Site>,
    pub doubts: Vec<Doubt>,
}

impl Scanned {
    pub fn read() -> anyhow::Result<Self> {
        let symbols = Kallsyms::read()?;
        let text = Text::read_all(&Kcore::open()?, &symbols)?;
        let targets: Vec<_> = PRIMITIVES
            .iter()
            .enumerate()
            .flat_map(|(primitive, p)| {
                symbols.lookup(p.name).map(move |symbol| scan::Target { primitive, addr: symbol.addr })
            })
            .collect();
        let scan::Found { sites, doubts } = scan::scan(&text, &symbols, &targets);
        Ok(Scanned { symbols, text, sites, doubts })
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

    pub fn classify(&self, kernel: &Kernel, check_is_on: bool) -> Vec<Verdict> {
        let attached = |name: &str| kernel.rows.iter().any(|r| r.row.name == name && r.way.is_ok());
        let wrappers: Vec<&str> =
            ROWS.iter().filter(|row| attached(row.name)).flat_map(|row| row.covers.iter().copied()).collect();
        let roles: Vec<Role> =
            PRIMITIVES.iter().map(|p| if p.data { Role::Data } else { Role::Struct }).collect();
        let checks: Vec<u64> = if attached("check") && check_is_on {
            self.symbols.lookup("__check_object_size").map(|symbol| symbol.addr).collect()
        } else {
            Vec::new()
        };
        let targets: Vec<u64> = PRIMITIVES
            .iter()
            .map(|primitive| primitive.name)
            .chain(["__check_object_size"])
            .flat_map(|name| self.symbols.lookup(name).map(|symbol| symbol.addr))
            .collect();
        let rules =
            Rules { roles: &roles, wrappers: &wrappers, in_lib: IN_LIB, checks: &checks, targets: &targets };
        classify::classify(&self.sites, &self.text, &self.symbols, &rules)
    }
}
