//! The survey against a kernel's text: is each copy where it was found?

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::{Entry, entries};
use crate::callsites::classify::{PAGE, Rules, Verdict, base_name, classify};
use crate::callsites::kcore::Kcore;
use crate::callsites::scan::{self, Site, Target};
use crate::callsites::size::Size;
use crate::callsites::text::Text;
use crate::kernel::kallsyms::Kallsyms;

/// Functions that stand for another one in the survey's column of what copies.
const ALIASES: &[(&str, &[&str])] = &[
    ("memcpy", &["memcpy", "__memcpy", "memmove", "__memmove"]),
    ("memcpy_toio", &["memcpy_toio", "memcpy_fromio", "__memcpy_toio", "__memcpy_fromio"]),
    ("bio_copy_data", &["bio_copy_data", "bio_copy_data_iter"]),
];

/// The position of the number of bytes among the arguments of `memcpy` and the like.
const BYTES: usize = 2;

/// What a kernel's text has of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Called,
    /// The function is there, and makes no call of what copies.
    Inlined,
    /// None of its functions is there, which may be because its module is not loaded.
    Absent,
}

/// One call of a function.
pub struct Call {
    pub function: String,
    pub module: Option<String>,
    pub offset: u64,
    /// The function that is called.
    pub target: String,
    /// The number of bytes, if it is a constant; the largest, where the compiler chose between several.
    pub bytes: Option<u64>,
}

/// The live text of this kernel.
pub struct Calls {
    symbols: Kallsyms,
    text: Text,
}

impl Calls {
    pub fn read() -> Result<Self> {
        let symbols = Kallsyms::read()?;
        let text = Text::read_all(&Kcore::open()?, &symbols)?;
        Ok(Calls { symbols, text })
    }

    /// All calls of functions with one of these names; the primitive of a site is an index into them.
    fn sites(&self, names: &[&str]) -> Vec<Site> {
        let targets = names.iter().enumerate().flat_map(|(primitive, name)| {
            self.symbols.lookup(name).map(move |symbol| Target { primitive, addr: symbol.addr })
        });
        scan::scan(&self.text, &self.symbols, &targets.collect::<Vec<_>>()).sites
    }

    /// The same with the number of bytes.
    pub fn of(&self, names: &[&str]) -> Vec<Call> {
        let call = |(site, bytes): (Site, Option<u64>)| Call {
            bytes,
            target: names[site.primitive].to_owned(),
            function: site.function,
            module: site.module,
            offset: site.offset,
        };
        self.sized(names).map(call).collect()
    }

    /// All calls of functions with one of these names, and how many bytes each is asked for, if that is a constant.
    fn sized(&self, names: &[&str]) -> impl Iterator<Item = (Site, Option<u64>)> {
        let sites = self.sites(names);
        let positions = vec![Some(BYTES); names.len()];
        let verdicts = classify(&sites, &[], &self.text, &self.symbols, &Rules::of_sizes(&positions));
        let bytes = |verdict: Verdict| match verdict.size {
            Size::Constant(bytes) => Some(bytes),
            Size::Variable => None,
        };
        sites.into_iter().zip(verdicts.sites.into_iter().map(bytes))
    }

    /// Where the function of each entry calls what copies, a page and more, or as much as a register says: by address.
    pub fn of_entries(&self, entries: &[&'static Entry]) -> Vec<(&'static Entry, Vec<u64>)> {
        let names: Vec<&str> = entries.iter().flat_map(|entry| aliases(entry.by)).copied().collect();
        let moving = self.sized(&names).filter(|(_, bytes)| bytes.is_none_or(|bytes| bytes >= PAGE));
        let moving: Vec<Site> = moving.map(|(site, _)| site).collect();
        let is_of = |entry: &Entry, site: &Site| {
            aliases(entry.by).contains(&names[site.primitive])
                && entry.functions.contains(&base_name(&site.function))
        };
        let calls = |entry: &'static Entry| {
            (entry, moving.iter().filter(|site| is_of(entry, site)).map(|site| site.addr).collect())
        };
        entries.iter().copied().map(calls).collect()
    }

    /// What there is of each entry that is a place in the text.
    pub fn of_survey(&self) -> Vec<(&'static Entry, Found)> {
        let names: Vec<&str> = entries().flat_map(|entry| aliases(entry.by)).copied().collect();
        let mut calls: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for site in self.sites(&names) {
            let target = names[site.primitive].to_owned();
            calls.entry(base_name(&site.function).to_owned()).or_default().push(target);
        }
        let is_called = |entry: &Entry| {
            let by = aliases(entry.by);
            let targets = entry.functions.iter().filter_map(|function| calls.get(*function)).flatten();
            targets.into_iter().any(|target| by.contains(&target.as_str()))
        };
        let names: BTreeSet<&str> = self.symbols.names().map(base_name).collect();
        let found = |entry: &'static Entry| {
            let found = if is_called(entry) {
                Found::Called
            } else if entry.functions.iter().any(|function| names.contains(*function)) {
                Found::Inlined
            } else {
                Found::Absent
            };
            (entry, found)
        };
        entries().filter(|entry| !entry.functions.is_empty()).map(found).collect()
    }
}

/// True if a kernel of this series has what was found there.
pub fn is_as_surveyed(entry: &Entry, found: Found, series: &str) -> bool {
    match (entry.kernels.contains(&series), entry.inlined.contains(&series)) {
        (true, false) => found == Found::Called,
        (true, true) => found != Found::Absent,
        (false, _) => true,
    }
}

fn aliases(name: &'static str) -> &'static [&'static str] {
    match ALIASES.iter().find(|(known, _)| *known == name) {
        Some((_, names)) => names,
        None => entries().find(|entry| entry.by == name).map_or(&[], |entry| std::slice::from_ref(&entry.by)),
    }
}
