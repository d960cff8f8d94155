//! The proof of completeness: every call site of a copy primitive in the kernel's live text, and which
//! probe counts what goes through it.

use std::collections::BTreeMap;

use tracer_ebpf::table::{PRIMITIVES, ROWS};

use crate::facts::kallsyms::Kallsyms;
use crate::fault::Fault;
use crate::load::Kernel;
use crate::plan::{Attach, Refusal};
use crate::snapshot::{self, CoverageState, Probe, SiteCount};
use crate::text::Text;
use crate::text::classify::{self, Role, Rules, Verdict};
use crate::text::kcore::Kcore;
use crate::text::scan::{self, Site};

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

/// What is known of the kernel's text.
pub struct Coverage {
    scanned: Result<Scanned, String>,
    /// What each site came to, in the order of `scanned.sites`.
    sites: Vec<(Site, &'static str)>,
    /// Sites that need a probe and did not get one.
    failed: Vec<(String, Refusal)>,
    probed: usize,
    attach: Attach,
    check_off: Option<String>,
    modules: String,
    new_modules: Vec<String>,
}

struct Scanned {
    symbols: Kallsyms,
    text: Text,
    sites: Vec<Site>,
}

impl Coverage {
    /// Reads the live text and finds the sites.
    pub fn scan(fault: &Fault) -> Self {
        let scanned = if fault.no_text {
            Err("refused on purpose by TRACER_FAULT".to_owned())
        } else {
            Scanned::read().map_err(|error| format!("{error:#}"))
        };
        Coverage {
            scanned,
            sites: Vec::new(),
            failed: Vec::new(),
            probed: 0,
            attach: Attach::Auto,
            check_off: None,
            modules: modules(),
            new_modules: Vec::new(),
        }
    }

    /// Says what covers each site, given what attached, and puts probes on those that nothing covers.
    pub fn cover(&mut self, kernel: &mut Kernel, attach: Attach, check_off: Option<String>) {
        self.attach = attach;
        self.check_off = check_off;
        let Ok(scanned) = &self.scanned else { return };
        let verdicts = scanned.classify(kernel, self.check_off.is_none());
        for (site, verdict) in scanned.sites.iter().zip(verdicts) {
            let coverage = cover_site(kernel, attach, site, &verdict, scanned.text_start(), &mut self.failed);
            if coverage == "call_site" {
                self.probed += 1;
            }
            self.sites.push((site.clone(), coverage));
        }
    }

    /// Classifies again after a module was loaded; probes new sites only.
    pub fn refresh(&mut self, kernel: &mut Kernel) {
        let now = modules();
        if now == self.modules || self.scanned.is_err() {
            return;
        }
        self.new_modules
            .extend(names(&now).filter(|m| !names(&self.modules).any(|old| old == *m)).map(str::to_owned));
        self.modules = now;
        kernel.attach_again();
        let Ok(scanned) = Scanned::read() else { return };
        let verdicts = scanned.classify(kernel, self.check_off.is_none());
        let before: BTreeMap<u64, &'static str> = self.sites.iter().map(|(s, c)| (s.addr, *c)).collect();
        let mut sites = Vec::new();
        for (site, verdict) in scanned.sites.iter().zip(verdicts) {
            let coverage = match before.get(&site.addr) {
                Some(known) => known,
                None => {
                    let coverage = cover_site(
                        kernel,
                        self.attach,
                        site,
                        &verdict,
                        scanned.text_start(),
                        &mut self.failed,
                    );
                    self.probed += usize::from(coverage == "call_site");
                    coverage
                }
            };
            sites.push((site.clone(), coverage));
        }
        self.sites = sites;
        self.scanned = Ok(scanned);
    }

    pub fn has_probed_sites(&self) -> bool {
        self.probed > 0
    }

    /// The verdict on this window.
    pub fn judge(&self, probes: &[Probe], copies: bool) -> snapshot::Coverage {
        let mut reasons = crate::refusal::gaps(probes);
        reasons
            .extend(self.failed.iter().map(|(site, r)| format!("call site {site} has no probe: {}", r.why)));
        reasons.extend(self.check_off.clone());
        if self.attach == Attach::Callsite {
            reasons.push("--attach callsite does not see copy_to_user and copy_from_user".into());
        }
        let uncovered = self.sites.iter().filter(|(s, c)| PRIMITIVES[s.primitive].data && *c == "uncovered");
        reasons.extend(uncovered.map(|(s, _)| format!("call site {} is not covered", name(s))));
        // Where nothing is counted, there is nothing to be proven complete.
        let unread = self.unreadable().filter(|_| copies);
        let state = match (copies, reasons.is_empty(), &unread) {
            (false, ..) => CoverageState::None,
            (_, false, _) => CoverageState::Incomplete,
            (_, true, Some(_)) => CoverageState::Unproven,
            (_, true, None) => CoverageState::Complete,
        };
        reasons.extend(unread.map(|cause| format!("the kernel's text cannot be checked: {cause}")));
        snapshot::Coverage { state, reasons, sites: self.counts() }
    }

    /// Why the kernel's text could not be read, or not all of it.
    pub fn unreadable(&self) -> Option<String> {
        self.scanned.as_ref().err().cloned().or_else(|| self.unread())
    }

    /// Text of modules that could not be read.
    fn unread(&self) -> Option<String> {
        let unread = &self.scanned.as_ref().ok()?.text.unread;
        let first = unread.first()?;
        let module = first.range.module.as_deref().unwrap_or("the kernel");
        Some(format!("the text of {module} cannot be read: {} ({} in all)", first.cause, unread.len()))
    }

    fn counts(&self) -> Vec<SiteCount> {
        let mut counts: BTreeMap<(usize, &'static str), u64> = BTreeMap::new();
        for (site, coverage) in &self.sites {
            *counts.entry((site.primitive, coverage)).or_default() += 1;
        }
        counts
            .into_iter()
            .map(|((primitive, coverage), sites)| {
                let primitive = &PRIMITIVES[primitive];
                SiteCount { primitive: primitive.name, data: primitive.data, coverage, sites }
            })
            .collect()
    }

    /// All sites with what covers them: for `doctor` and the audit.
    pub fn sites(&self) -> &[(Site, &'static str)] {
        &self.sites
    }

    /// Kernel symbols, if they could be read.
    pub fn symbols(&self) -> Option<&Kallsyms> {
        self.scanned.as_ref().ok().map(|s| &s.symbols)
    }

    /// The row `call_site`, if any site has a probe or should have one.
    pub fn site_probe(&self) -> Option<Probe> {
        (self.probed > 0 || !self.failed.is_empty()).then(|| Probe {
            name: "call_site",
            method: "callsite",
            symbol: format!("{} call instructions", self.probed),
            attached: self.probed > 0,
            required: false,
            missed: 0,
            skipped: 0,
            runs: 0,
            run_time_ns: 0,
            cause: self.failed.first().map_or_else(String::new, |(site, r)| format!("{site}: {}", r.why)),
            remedy: self.failed.first().map_or_else(String::new, |(_, r)| r.hint.clone()),
        })
    }

    pub fn notes(&self) -> Vec<String> {
        self.new_modules
            .iter()
            .map(|module| format!("module {module} was loaded while counting: copies at its own call sites before it was seen are not counted"))
            .collect()
    }
}

impl Scanned {
    fn read() -> anyhow::Result<Self> {
        let symbols = Kallsyms::read()?;
        let text = Text::read_all(&Kcore::open()?, &symbols)?;
        let targets: Vec<_> = PRIMITIVES
            .iter()
            .enumerate()
            .flat_map(|(primitive, p)| {
                symbols.lookup(p.name).map(move |symbol| scan::Target { primitive, addr: symbol.addr })
            })
            .collect();
        let sites = scan::scan(&text, &symbols, &targets).sites;
        Ok(Scanned { symbols, text, sites })
    }

    /// Where the kernel's own text begins.
    fn text_start(&self) -> u64 {
        self.symbols.address("_stext").unwrap_or(0)
    }

    fn classify(&self, kernel: &Kernel, check_is_on: bool) -> Vec<Verdict> {
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
        let rules = Rules { roles: &roles, wrappers: &wrappers, in_lib: IN_LIB, checks: &checks };
        classify::classify(&self.sites, &self.text, &self.symbols, &rules)
    }
}

/// The word for one site's coverage; attaches a probe where one is needed.
fn cover_site(
    kernel: &mut Kernel,
    attach: Attach,
    site: &Site,
    verdict: &Verdict,
    text_start: u64,
    failed: &mut Vec<(String, Refusal)>,
) -> &'static str {
    let primitive = &PRIMITIVES[site.primitive];
    let coverage = match verdict.coverage {
        classify::Coverage::Wrapper => "wrapper",
        classify::Coverage::Checked => "checked",
        classify::Coverage::InLib => return "wrapper",
        classify::Coverage::CallSite => "call_site",
        classify::Coverage::Uncovered => "uncovered",
    };
    let wanted = coverage == "call_site" || (attach == Attach::Callsite && primitive.data);
    if !wanted {
        return coverage;
    }
    if primitive.site_program.is_empty() {
        return "uncovered";
    }
    match kernel.attach_site(primitive.site_program, site, text_start) {
        Ok(()) => "call_site",
        Err(error) => {
            failed.push((name(site), Refusal { why: format!("{error:#}"), hint: String::new() }));
            "uncovered"
        }
    }
}

/// `filemap_read+0x1cd -> copy_page_to_iter`.
pub fn name(site: &Site) -> String {
    let module = site.module.as_ref().map_or_else(String::new, |m| format!(" [{m}]"));
    format!("{}+{:#x}{module} -> {}", site.function, site.offset, PRIMITIVES[site.primitive].name)
}

fn modules() -> String {
    let text = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').next()).collect::<Vec<_>>().join("\n")
}

fn names(modules: &str) -> impl Iterator<Item = &str> {
    modules.lines()
}
