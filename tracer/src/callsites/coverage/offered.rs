//! What the plan asks of the running kernel: its types, its symbols, its text. Nowhere its release.

use std::collections::HashSet;

use tracer_ebpf::table::PRIMITIVES;

use super::scanned::Scanned;
use crate::callsites::classify::base_name;
use crate::kernel::kallsyms::{self, Kallsyms};
use crate::kernel::{self, Facts};
use crate::probes::plan::Offers;

/// The running kernel, as far as it could be read.
pub struct Offered<'a> {
    facts: &'a Facts,
    /// Symbols, and calls of primitives.
    scanned: Option<&'a Scanned>,
    /// Functions by name, where symbols are not to be had: the kernel tells names even where it hides addresses.
    names: Option<HashSet<String>>,
}

impl<'a> Offered<'a> {
    pub(super) fn new(facts: &'a Facts, scanned: Option<&'a Scanned>) -> Self {
        let offered = Offered { facts, scanned, names: None };
        let names = if offered.symbols().is_none() { kallsyms::function_names() } else { None };
        Offered { names, ..offered }
    }

    /// `None` also where a daemon has forgotten them.
    fn symbols(&self) -> Option<&Kallsyms> {
        self.scanned.map(|scanned| &scanned.symbols).filter(|symbols| !symbols.is_empty())
    }
}

impl Offers for Offered<'_> {
    fn params(&self, function: &str) -> Option<Vec<String>> {
        self.facts.params(function)
    }

    fn module_params(&self, function: &str) -> Option<Vec<String>> {
        let params = |module: &str| self.facts.module_params(module, function);
        match self.symbols() {
            Some(symbols) => symbols.lookup(function).filter_map(|symbol| symbol.module).find_map(params),
            None => kernel::modules_with_types().iter().map(String::as_str).find_map(params),
        }
    }

    fn has_function(&self, name: &str) -> Option<bool> {
        if self.facts.describes(name) {
            return Some(true);
        }
        match self.symbols() {
            Some(symbols) => Some(symbols.lookup(name).next().is_some()),
            None => Some(self.names.as_ref()?.contains(name)),
        }
    }

    fn has_old_iterators(&self) -> bool {
        self.facts.has_old_iterators()
    }

    fn calls(&self, function: &str, primitive: &str) -> Option<bool> {
        let mut sites = self.scanned?.sites.iter();
        Some(sites.any(|site| {
            base_name(&site.function) == function && PRIMITIVES[site.primitive].name == primitive
        }))
    }

    fn tracepoint_args(&self, name: &str) -> Option<usize> {
        self.facts.tracepoint_args(name)
    }

    fn without_layout(&self) -> Option<&str> {
        self.facts.layout.as_ref().err().map(String::as_str)
    }

    fn is_locked_down(&self) -> bool {
        self.facts.is_locked_down()
    }

    fn preempts(&self) -> bool {
        self.facts.preempts()
    }
}
