//! The value of an assertion's metric in one recording.

use tracer_ebpf::abi::Count;

use super::metric::{Metric, Selector};
use super::policy::{Allow, Amount, Assertion, Select};
use crate::fmt::human;
use crate::model::counts::{Part, Seen};
use crate::model::window::Recording;

/// One value, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub value: Result<Amount, NoValue>,
    /// What `allow` took out, or would have, and what is not in a ratio; for people.
    pub allowed: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum NoValue {
    /// This kernel or this recording does not show it.
    NotObserved(String),
    /// Nothing to divide by, or nobody to look at.
    Undefined(String),
}

/// What is measured: the recording, and of it the selected processes.
struct Subject<'a> {
    recording: &'a Recording,
    part: Part,
    select: &'a Select,
    rules: Rules<'a>,
    /// Copies that are taken for not made.
    cut_short: Count,
    allowed: Vec<String>,
}

/// Which copies are taken out.
#[derive(Clone, Copy, Debug)]
pub enum Rules<'a> {
    /// Those of rules whose mean per call is small enough.
    ThatFit(&'a [Allow]),
    /// Those of all rules: what remains is not allowed, however many more calls there were in truth.
    All(&'a [Allow]),
}

/// By what was counted.
pub fn measure(assertion: &Assertion, recording: &Recording, rules: Rules) -> Measured {
    measured(assertion, recording, rules, false)
}

/// The value if all that may be counted and not copied was not: copies that ended at memory that is not mapped.
pub fn measure_without_cut_short(assertion: &Assertion, recording: &Recording, rules: Rules) -> Measured {
    measured(assertion, recording, rules, true)
}

fn measured(assertion: &Assertion, recording: &Recording, rules: Rules, without_cut_short: bool) -> Measured {
    let part = match assertion.select.get(Selector::Process) {
        None => Some(recording.everything()),
        Some(word) => recording.processes_called(word),
    };
    let Some(part) = part else {
        let word = assertion.select.get(Selector::Process).unwrap_or_default();
        let text = format!("no process `{}` was counted", human::label(word, 40));
        return Measured { value: Err(NoValue::Undefined(text)), allowed: Vec::new() };
    };
    let cut_short = if without_cut_short { recording.cut_short(&part) } else { Count::default() };
    let select = &assertion.select;
    let mut subject = Subject { recording, part, select, rules, cut_short, allowed: Vec::new() };
    let value = subject.value(assertion.metric);
    Measured { value, allowed: subject.allowed }
}

impl Subject<'_> {
    fn value(&mut self, metric: Metric) -> Result<Amount, NoValue> {
        let path = self.select.get(Selector::Path);
        let whole = |seen: Seen, what: &str| seen.map(Amount::Whole).ok_or_else(|| not_observed(what));
        match metric {
            Metric::CopiedBytes => self.copied().map(Amount::Whole),
            Metric::Copies => {
                let direction = self.select.get(Selector::Direction);
                let copies = self.part.copies(&self.recording.observed, path, direction);
                whole(copies.map(|copies| copies.saturating_sub(self.cut_short.calls)), "copies")
            }
            Metric::CopiesPerByte => {
                let copied = self.copied_with_payload()?;
                self.is_known(copied)?;
                self.per_payload(copied, 1.0)
            }
            Metric::ControlBytes => {
                let direction = self.select.get(Selector::Direction);
                let control = self.part.control(&self.recording.observed, direction);
                whole(control.map(|bytes| bytes.saturating_sub(self.cut_short.bytes)), "control copies")
            }
            Metric::PayloadBytes => whole(self.part.payload(path), "payload"),
            Metric::PayloadCalls => whole(self.part.calls(path), "payload"),
            Metric::PayloadShare => {
                let of_path = self.part.payload(path).ok_or_else(|| not_observed("payload"))?;
                ratio(of_path, self.part.payload(None), "no payload was moved at all")
            }
            Metric::ZeroCopiedBytes => whole(self.zero_copied(), "zero-copied bytes"),
            Metric::ZeroCopiedShare => {
                let bytes = self.zero_copied().ok_or_else(|| not_observed("zero-copied bytes"))?;
                self.per_payload(bytes, 1.0)
            }
            Metric::UnexplainedBytes => whole(self.part.unexplained(path), "unexplained bytes"),
            Metric::Syscalls => whole(self.part.syscalls(path), "system calls"),
            Metric::ModeSwitches => self.switches().map(Amount::Whole),
            Metric::ModeSwitchesPerMib => {
                let switches = self.switches()?;
                self.per_payload(switches, MIB)
            }
            Metric::ContextSwitches => self.context_switches().map(Amount::Whole),
            Metric::ContextSwitchesPerMib => {
                let switches = self.context_switches()?;
                self.per_payload(switches, MIB)
            }
            Metric::DeviceBytes => {
                let (device, op) = (self.select.get(Selector::DeviceKind), self.select.get(Selector::Op));
                whole(self.part.device_bytes(&self.recording.observed, device, op), "device bytes")
            }
            Metric::MissedEvents => self.missed(),
            Metric::CallSites => whole(self.call_sites(), "call sites"),
        }
    }

    /// What was not copied may have been handed over.
    fn zero_copied(&self) -> Seen {
        let path = self.select.get(Selector::Path);
        let bytes = self.part.zero_copied(path)?;
        let most = self.part.payload(path).unwrap_or(bytes).max(bytes);
        Some(bytes.saturating_add(self.cut_short.bytes).min(most))
    }

    /// Copied bytes of the selected kind, less what is allowed.
    fn copied(&mut self) -> Result<u64, NoValue> {
        let (path, direction) = (self.select.get(Selector::Path), self.select.get(Selector::Direction));
        let observed = &self.recording.observed;
        match self.select.get(Selector::Kind) {
            Some(kind @ ("checksum" | "crypto")) => {
                self.part.other_kind(observed, path, kind).ok_or_else(|| not_observed(kind))
            }
            _ => {
                let copied =
                    self.part.copied(observed, path, direction).ok_or_else(|| not_observed("copies"))?;
                let copied = copied - self.allowed_bytes(path, direction).min(copied);
                Ok(copied.saturating_sub(self.cut_short.bytes))
            }
        }
    }

    /// As [`copied`](Self::copied); without a path, of those that have payload only: the ledger's ratio is
    /// defined like this. What is left out is said.
    fn copied_with_payload(&mut self) -> Result<u64, NoValue> {
        let direction = self.select.get(Selector::Direction);
        let of_copies = !matches!(self.select.get(Selector::Kind), Some("checksum" | "crypto"));
        let one_path = self.select.get(Selector::Path).is_some();
        let observed = &self.recording.observed;
        if one_path || !of_copies || self.part.copied(observed, None, direction).is_none() {
            return self.copied();
        }
        let paths: Vec<String> = self.part.path_names().map(str::to_owned).collect();
        let (mut sum, mut apart) = (0_u64, Vec::new());
        for path in &paths {
            let copied = self.part.copied(&self.recording.observed, Some(path), direction).unwrap_or(0);
            let payload = self.part.payload(Some(path)).ok_or_else(|| not_observed("payload"))?;
            if payload > 0 {
                let allowed = self.allowed_bytes(Some(path), direction);
                sum = sum.saturating_add(copied - allowed.min(copied));
            } else if copied > 0 {
                apart.push(format!("{} on {}", human::bytes(copied), human::label(path, 40)));
            }
        }
        if !apart.is_empty() {
            self.allowed.push(format!("without payload, so not in this ratio: {}", apart.join(", ")));
        }
        Ok(sum.saturating_sub(self.cut_short.bytes))
    }

    /// An error if a ratio of `copied` bytes would say "none" of payload that nothing explains.
    fn is_known(&self, copied: u64) -> Result<(), NoValue> {
        match self.part.unexplained(self.select.get(Selector::Path)) {
            Some(bytes) if bytes > 0 && copied == 0 => {
                Err(not_observed(&format!("copies of {} that are unexplained", human::bytes(bytes))))
            }
            _ => Ok(()),
        }
    }

    /// Copies that `allow` takes out of a selection. A cell (path and direction) is taken out once.
    fn allowed_bytes(&mut self, path: Option<&str>, direction: Option<&str>) -> u64 {
        let mut taken: Vec<(&str, &str)> = Vec::new();
        let mut sum = 0_u64;
        let (Rules::ThatFit(rules) | Rules::All(rules)) = self.rules;
        for rule in rules.iter().filter(|rule| path.is_none_or(|path| path == rule.path)) {
            let fits = self.fits(rule) || matches!(self.rules, Rules::All(_));
            if !fits {
                continue;
            }
            for cell in ["to_user", "from_user", "in_kernel"] {
                let wanted = direction.is_none_or(|d| d == cell)
                    && rule.direction.as_deref().is_none_or(|d| d == cell)
                    && !taken.contains(&(&rule.path, cell));
                let copied = self.part.copied(&self.recording.observed, Some(&rule.path), Some(cell));
                if let (true, Some(copied)) = (wanted, copied) {
                    taken.push((&rule.path, cell));
                    sum = sum.saturating_add(copied);
                }
            }
        }
        sum
    }

    /// True if the mean per call is small enough. Notes what came of it.
    fn fits(&mut self, rule: &Allow) -> bool {
        let observed = &self.recording.observed;
        let copied = self.part.copied(observed, Some(&rule.path), rule.direction.as_deref()).unwrap_or(0);
        let made = copied.saturating_sub(self.cut_short.bytes);
        let calls = self.part.calls(Some(&rule.path)).unwrap_or(0);
        if copied == 0 {
            return false;
        }
        // Copies without a call that moved something are not what the rule speaks of.
        let fits = calls > 0 && made <= rule.max_bytes_per_call.saturating_mul(calls);
        let what = human::label(&rule.what, 60);
        let mean = if calls > 0 { human::bytes(copied.div_ceil(calls)) } else { "no".to_owned() };
        let (size, limit) = (human::bytes(copied), human::bytes(rule.max_bytes_per_call));
        self.allowed.push(if fits {
            format!("allowed: {size} on {} ({what}), {mean} per call", rule.path)
        } else {
            format!("not allowed: {size} on {} ({what}): {mean} per call, more than {limit}", rule.path)
        });
        fits
    }

    fn switches(&self) -> Result<u64, NoValue> {
        let reason = self.select.get(Selector::Reason);
        let seen = self.part.switches(reason).filter(|_| self.recording.observed.mode_switches);
        let what = match reason {
            Some(_) => "mode switches of this reason",
            None => "some of the mode switches (select by `reason` what is)",
        };
        seen.ok_or_else(|| not_observed(what))
    }

    fn context_switches(&self) -> Result<u64, NoValue> {
        let seen = self.part.context_switches(&self.recording.observed, self.select.get(Selector::Kind));
        seen.ok_or_else(|| not_observed("context switches"))
    }

    fn missed(&self) -> Result<Amount, NoValue> {
        let seen = match self.select.get(Selector::Probe) {
            None => self.recording.missed_events(),
            Some(name) => {
                self.recording.probes.iter().find(|p| p.probe == name && p.attached).and_then(|p| p.missed)
            }
        };
        seen.map(Amount::Whole).ok_or_else(|| not_observed("missed events of this probe"))
    }

    fn call_sites(&self) -> Seen {
        let sites = self.recording.coverage.call_sites.as_ref()?;
        match self.select.get(Selector::Coverage) {
            Some(word) => Some(sites.get(word).copied().flatten().unwrap_or(0)),
            None => sites.values().try_fold(0, |sum: u64, n| Some(sum.saturating_add((*n)?))),
        }
    }

    fn per_payload(&self, count: u64, scale: f64) -> Result<Amount, NoValue> {
        let path = self.select.get(Selector::Path);
        let none = match path {
            Some(path) => format!("no payload was moved by {path}"),
            None => "no payload was moved at all".to_owned(),
        };
        let ratio = ratio(count, self.part.payload(path), &none)?;
        Ok(Amount::Ratio(ratio.as_f64() * scale))
    }
}

const MIB: f64 = (1_u64 << 20) as f64;

fn ratio(count: u64, payload: Seen, none: &str) -> Result<Amount, NoValue> {
    match payload {
        None => Err(not_observed("payload")),
        Some(0) => Err(NoValue::Undefined(none.to_owned())),
        Some(payload) => Ok(Amount::Ratio(count as f64 / payload as f64)),
    }
}

fn not_observed(what: &str) -> NoValue {
    NoValue::NotObserved(what.to_owned())
}

impl NoValue {
    pub fn text(&self) -> String {
        match self {
            NoValue::NotObserved(what) => format!("not observed: {what}"),
            NoValue::Undefined(why) => why.clone(),
        }
    }
}
