//! The proof of completeness: every call site of a copy primitive in the kernel's live text, and which
//! probe counts what goes through it.

mod action;
pub mod callers;
mod lookup;
mod modules;
mod offered;
mod saved;
mod scanned;
mod untraceable;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use tracer_ebpf::table::PRIMITIVES;

use self::callers::Caller;
use self::modules::Module;
use self::offered::Offered;
use self::scanned::Scanned;
use self::untraceable::Unprobed;
use super::survey;
use crate::callsites::coverage::action::{Wanted, wanted};
use crate::callsites::scan::Site;
use crate::kernel::Facts;
use crate::kernel::kallsyms::Kallsyms;
use crate::model::attach::{Attach, Refusal};
use crate::model::fault_injection::Fault;
use crate::model::site_coverage::Covered;
use crate::model::snapshot::{self, CoverageState, Probe, SiteCount};
use crate::probes::Kernel;
use crate::sys::ProgramStats;

pub use saved::Saved;
pub use scanned::IN_LIB;

/// The row of [`Coverage::site_probe`].
pub const CALL_SITE: &str = "call_site";

/// Bytes of a direct call.
const CALL: u64 = 5;

/// Stands for the primitives that unreadable text may call.
const ANY_PRIMITIVE: &str = "any";

/// What is known of the kernel's text.
pub struct Coverage {
    scanned: Result<Scanned, String>,
    /// What each site came to, in the order of `scanned.sites`.
    sites: Vec<(Site, Covered)>,
    /// Calls of the usercopy check, and the like, with their classes.
    callers: Vec<Caller>,
    /// Why the map of their classes could not be filled.
    callers_refused: Option<String>,
    /// Sites that need a probe and did not get one.
    failed: Vec<(String, Refusal)>,
    /// Sites in functions that take no probe, by what they copy (`table/untraceable.rs`).
    untraceable: BTreeMap<String, BTreeSet<String>>,
    attach: Attach,
    /// Some path leads to a call of the usercopy check, or that is not known.
    check_runs: bool,
    modules: BTreeSet<Module>,
    /// Modules that were loaded while counting and call copy functions, and when these calls were found.
    late_modules: BTreeMap<String, SystemTime>,
    /// The text and the symbols are kept once sites are covered: an audit asks for them.
    keeps_text: bool,
    /// Why the text could not be read again after a module was loaded.
    not_read_again: Option<String>,
    missed_before: u64,
    pub(super) survey: survey::Watch,
}

impl Coverage {
    /// Reads the live text and finds the sites.
    pub fn scan(fault: &Fault) -> Self {
        // First, so that one loaded meanwhile is noticed by the next refresh.
        let modules = modules::loaded();
        let scanned = if fault.no_text {
            Err("refused on purpose by TRACER_FAULT".to_owned())
        } else {
            Scanned::read().map_err(|error| format!("{error:#}"))
        };
        let survey = survey::Watch::new("/");
        Coverage { modules, survey, ..Coverage::of(scanned) }
    }

    /// Puts no probe on any site: those could read nothing.
    pub fn give_up(&mut self, cause: &str) {
        if self.scanned.is_ok() {
            self.scanned = Err(cause.to_owned());
        }
    }

    fn of(scanned: Result<Scanned, String>) -> Self {
        Coverage {
            scanned,
            sites: Vec::new(),
            callers: Vec::new(),
            callers_refused: None,
            failed: Vec::new(),
            untraceable: BTreeMap::new(),
            attach: Attach::Auto,
            check_runs: true,
            modules: BTreeSet::new(),
            late_modules: BTreeMap::new(),
            keeps_text: true,
            not_read_again: None,
            missed_before: 0,
            survey: survey::Watch::default(),
        }
    }

    /// Says what covers each site, given what attached, and puts probes on those that nothing covers.
    pub fn cover(&mut self, kernel: &mut Kernel, attach: Attach) {
        self.attach = attach;
        self.cover_sites(kernel);
    }

    /// What the plan may know of this kernel.
    pub fn offered<'a>(&'a self, facts: &'a Facts) -> Offered<'a> {
        Offered::new(facts, self.scanned.as_ref().ok())
    }

    /// Classifies again after a module was loaded; probes new sites only. What changes meanwhile is looked at once more.
    pub fn refresh(&mut self, kernel: &mut Kernel, facts: &Facts) {
        const LOOKS: usize = 5;
        self.survey.look();
        for _ in 0..LOOKS {
            let now = modules::loaded();
            if now == self.modules || self.scanned.is_err() {
                return;
            }
            self.follow(now, kernel, facts);
        }
        self.not_read_again = Some("modules are loaded and removed faster than that".to_owned());
    }

    fn follow(&mut self, now: BTreeSet<Module>, kernel: &mut Kernel, facts: &Facts) {
        let new = self.note_modules(now);
        let scanned = Scanned::read();
        if let Ok(scanned) = &scanned {
            let is_new = |module: &str| new.iter().any(|loaded| loaded == module);
            kernel.lose_killed(|function| {
                scanned.symbols.lookup(function).all(|found| found.module.is_some_and(is_new))
            });
        }
        kernel.attach_again(&Offered::new(facts, scanned.as_ref().ok()), self.attach);
        match scanned {
            Ok(scanned) => {
                self.scanned = Ok(scanned);
                self.not_read_again = None;
                self.cover_sites(kernel);
                self.note_late(new);
                if !self.keeps_text {
                    self.forget_text();
                }
            }
            Err(error) => self.not_read_again = Some(format!("{error:#}")),
        }
    }

    /// Gives up the text and the symbols, some 30 MB: for a daemon, which asks no more of them.
    pub fn forget_text(&mut self) {
        self.keeps_text = false;
        if let Ok(scanned) = &mut self.scanned {
            scanned.forget_text();
        }
        crate::sys::trim_memory();
    }

    /// A site that is known keeps its coverage, and its probe; of those that are gone nothing is kept.
    fn cover_sites(&mut self, kernel: &mut Kernel) {
        let Ok(scanned) = &self.scanned else { return };
        let before = std::mem::take(&mut self.sites);
        // By place: a kprobe hides whether an instruction is a call or a jump.
        let known = |site: &Site| {
            let (known, covered) = &before[before.binary_search_by_key(&site.addr, |(s, _)| s.addr).ok()?];
            let same = (&known.module, &known.function) == (&site.module, &site.function);
            (same && *covered != Covered::Unknown).then(|| (known.clone(), *covered))
        };
        let verdicts = scanned.classify(kernel);
        self.check_runs = verdicts.live_checks > 0;
        self.callers = callers::callers(scanned, &verdicts.checks, kernel);
        let entries = callers::entries(&self.callers, &scanned.sites, &verdicts);
        self.callers_refused = kernel.set_callers(&entries).err().map(|error| format!("{error:#}"));
        for (site, verdict) in scanned.sites.iter().zip(verdicts.sites) {
            let covered = known(site).unwrap_or_else(|| {
                let probe = match wanted(site, &verdict, self.attach, self.check_runs) {
                    Wanted::Nothing(covered) => return (site.clone(), covered),
                    Wanted::Probe(program) => kernel
                        .attach_site(program, site.addr, scanned.text_start())
                        .map_err(|error| untraceable::refusal(site, &error)),
                    Wanted::Impossible(why) => Err(Unprobed::Failed(why.to_owned())),
                };
                let covered = match probe {
                    Ok(()) => Covered::CallSite,
                    Err(Unprobed::Untraceable(copies)) => {
                        self.untraceable.entry(copies.to_owned()).or_default().insert(name(site));
                        Covered::Uncovered
                    }
                    Err(Unprobed::Failed(why)) => {
                        self.failed.push((name(site), Refusal { why, hint: String::new() }));
                        Covered::Uncovered
                    }
                };
                (site.clone(), covered)
            });
            self.sites.push(covered);
        }
    }

    pub fn has_probed_sites(&self) -> bool {
        self.probed() > 0
    }

    fn probed(&self) -> usize {
        self.sites.iter().filter(|(_, covered)| *covered == Covered::CallSite).count()
    }

    /// The verdict on this window.
    pub fn judge(&self, probes: &[Probe], copies: bool) -> snapshot::Coverage {
        let mut reasons = crate::probes::attach_error::gaps(probes);
        reasons
            .extend(self.failed.iter().map(|(site, r)| format!("call site {site} has no probe: {}", r.why)));
        let refused = self.callers_refused.iter();
        reasons.extend(
            refused.map(|cause| format!("callers of the usercopy check are not told apart: {cause}")),
        );
        if self.attach == Attach::Callsite {
            reasons.push("--attach callsite does not see copy_to_user and copy_from_user".into());
        }
        let failed = |site: &Site| self.failed.iter().any(|(failed, _)| *failed == name(site));
        let uncovered = self.data_sites(Covered::Uncovered).filter(|site| !failed(site));
        reasons.extend(uncovered.map(|site| format!("call site {} is not covered", name(site))));
        reasons.extend(self.survey.reasons());
        // Where nothing is counted, there is nothing to be proven complete.
        let unproven = if copies { self.unproven() } else { Vec::new() };
        let unread = if copies { self.survey.unread() } else { Vec::new() };
        let state = match (copies, reasons.is_empty(), unproven.is_empty() && unread.is_empty()) {
            (false, ..) => CoverageState::None,
            (_, false, _) => CoverageState::Incomplete,
            (_, true, false) => CoverageState::Unproven,
            (_, true, true) if self.late_modules.is_empty() => CoverageState::Complete,
            (_, true, true) => CoverageState::CompleteSince,
        };
        reasons.extend(unproven.iter().map(|cause| format!("the kernel's text cannot be checked: {cause}")));
        reasons.extend(unread.iter().map(|path| {
            format!("of what nothing counts it cannot be told what is in use: {path} cannot be read")
        }));
        reasons.extend(self.late_modules.keys().map(|module| {
            format!(
                "module {module} was loaded while counting: its own copies before it was seen are not counted"
            )
        }));
        let since = self.late_modules.values().max().copied();
        let since = since.filter(|_| state == CoverageState::CompleteSince);
        snapshot::Coverage { state, since, reasons, sites: self.counts() }
    }

    /// Why the kernel's text could not be read, or not all of it.
    pub fn unreadable(&self) -> Option<String> {
        self.unproven().into_iter().next()
    }

    /// Sites of primitives that move data, with this coverage.
    fn data_sites(&self, covered: Covered) -> impl Iterator<Item = &Site> {
        let wanted = move |(site, c): &&(Site, Covered)| *c == covered && PRIMITIVES[site.primitive].data;
        self.sites.iter().filter(wanted).map(|(site, _)| site)
    }

    /// Where there may be data-moving sites that nobody has seen, or whose coverage cannot be told.
    fn unproven(&self) -> Vec<String> {
        let scanned = match &self.scanned {
            Ok(scanned) => scanned,
            Err(cause) => return vec![cause.clone()],
        };
        let mut causes = Vec::new();
        if let Some(first) = scanned.text.unread.first() {
            let module = first.range.module.as_deref().unwrap_or("the kernel");
            let all = scanned.text.unread.len();
            causes.push(format!("the text of {module} cannot be read: {} ({all} in all)", first.cause));
        }
        if let Some(cause) = &self.not_read_again {
            causes.push(format!("the text could not be read again after a module was loaded: {cause}"));
        }
        let doubts = scanned.doubts.iter().filter(|doubt| PRIMITIVES[doubt.primitive].data);
        causes.extend(doubts.map(|doubt| {
            let (function, addr) = (doubt.function.as_deref().unwrap_or("no function"), doubt.addr);
            let primitive = PRIMITIVES[doubt.primitive].name;
            format!("what looks like a call of {primitive} at {addr:#x} in {function} cannot be decoded")
        }));
        causes.extend(self.data_sites(Covered::Unknown).map(|site| {
            format!(
                "the function of call site {} cannot be decoded (another tool's probe in it?)",
                name(site)
            )
        }));
        causes
    }

    /// Sites by primitive and coverage. What cannot be read counts once per stretch of text: it may hold
    /// any number of calls of any primitive.
    fn counts(&self) -> Vec<SiteCount> {
        let mut counts: BTreeMap<(usize, Covered), u64> = BTreeMap::new();
        for (site, covered) in &self.sites {
            *counts.entry((site.primitive, *covered)).or_default() += 1;
        }
        let (doubts, unread) = match &self.scanned {
            Ok(scanned) => (scanned.doubts.as_slice(), scanned.text.unread.len()),
            Err(_) => (Default::default(), 1),
        };
        for doubt in doubts {
            *counts.entry((doubt.primitive, Covered::Unknown)).or_default() += 1;
        }
        let count = |((primitive, covered), sites): ((usize, Covered), u64)| {
            let primitive = &PRIMITIVES[primitive];
            SiteCount { primitive: primitive.name, data: primitive.data, coverage: covered.name(), sites }
        };
        let mut counts: Vec<_> = counts.into_iter().map(count).collect();
        let unread = unread as u64 + u64::from(self.not_read_again.is_some());
        if unread > 0 {
            let coverage = Covered::Unknown.name();
            counts.push(SiteCount { primitive: ANY_PRIMITIVE, data: true, coverage, sites: unread });
        }
        counts
    }

    /// All sites with what covers them: for `doctor` and the audit.
    pub fn sites(&self) -> &[(Site, Covered)] {
        &self.sites
    }

    /// Kernel symbols, if they could be read.
    pub fn symbols(&self) -> Option<&Kallsyms> {
        self.scanned.as_ref().ok().map(|s| &s.symbols)
    }

    /// Counting begins: what call sites' probes missed before is not this window's.
    pub fn begin(&mut self, kernel: &Kernel) {
        self.missed_before = self.stats(kernel).missed;
        self.survey.begin();
    }

    /// Statistics of the programs on call sites.
    fn stats(&self, kernel: &Kernel) -> ProgramStats {
        let programs: BTreeSet<_> = PRIMITIVES.iter().map(|primitive| primitive.site_program).collect();
        kernel.stats(&programs.into_iter().collect::<Vec<_>>())
    }

    /// The row `call_site`, if any site has a probe or should have one.
    pub fn site_probe(&self, kernel: &Kernel) -> Option<Probe> {
        let probed = self.probed();
        let stats = self.stats(kernel);
        (probed > 0 || !self.failed.is_empty()).then(|| Probe {
            name: CALL_SITE,
            method: "callsite",
            symbol: format!("{probed} call instructions"),
            attached: probed > 0,
            required: false,
            reduced: false,
            missed: stats.missed.saturating_sub(self.missed_before),
            skipped: stats.missed.saturating_sub(self.missed_before),
            runs: stats.runs,
            run_time_ns: stats.run_time_ns,
            cause: self.failed.first().map_or_else(String::new, |(site, r)| format!("{site}: {}", r.why)),
            remedy: self.failed.first().map_or_else(String::new, |(_, r)| r.hint.clone()),
        })
    }
}

/// `filemap_read+0x1cd -> copy_page_to_iter`.
pub fn name(site: &Site) -> String {
    let module = site.module.as_ref().map_or_else(String::new, |m| format!(" [{m}]"));
    format!("{}+{:#x}{module} -> {}", site.function, site.offset, PRIMITIVES[site.primitive].name)
}

#[cfg(test)]
mod tests;
