//! The ledger as people read it: what could not be seen first, then one row per path, then a sentence.

use tracer_ebpf::abi::{Direction, Ledger};

use super::devices::device_bytes;
use super::summary::{Grounds, sentence};
use super::summary_verdict::{Sight, cut_short, fallbacks, unexplained, verdicts};
use super::table_grid::{self, Figures};
use super::{
    active_paths, checksummed_in_all, cut_short_is_observed, encrypted_in_all, mode_switches_are_observed,
};
use crate::fmt::human;
use crate::model::snapshot::{CoverageState, Derived, Process, Snapshot, Tally};

/// Processes listed one by one; the others are in the sum.
const TOP: usize = 20;
/// Reasons for incomplete coverage that are told with every block.
const REASONS: usize = 3;
/// Characters of a process's name. The kernel keeps 15 bytes, but escapes make them longer.
const NAME: usize = 24;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bold, dim and red by escape sequences.
    pub color: bool,
    /// Of the terminal; `None` if there is none, and lines may be as long as they are.
    pub width: Option<u16>,
    pub title: Title,
}

/// What the numbers are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Title {
    /// Since the last block.
    Window,
    /// Since counting began.
    Total,
}

/// One block of text, ending in a newline.
pub fn render(snapshot: &Snapshot, options: Options) -> String {
    let mut page = Page { text: String::new(), snapshot, options };
    page.header();
    page.what_was_not_seen();
    let shown = match snapshot.processes.as_slice() {
        [process] if snapshot.ended.processes == 0 => page.one(process),
        _ => page.many(),
    };
    if let Some(ledger) = &shown {
        page.paths(ledger);
        page.facts(ledger);
    }
    page.unattributed();
    if let Some(ledger) = &shown {
        page.conclusion(ledger);
    }
    page.text
}

#[derive(Clone, Copy)]
enum Look {
    Plain,
    Bold,
    Dim,
    Alarm,
}

struct Page<'a> {
    text: String,
    snapshot: &'a Snapshot,
    options: Options,
}

impl Page<'_> {
    /// One line, never wider than the terminal: it would break, and push what follows down.
    fn line(&mut self, look: Look, line: &str) {
        let line = &human::cut(line, self.limit());
        let code = match look {
            Look::Plain => "",
            Look::Bold => "\x1b[1m",
            Look::Dim => "\x1b[2m",
            Look::Alarm => "\x1b[1;31m",
        };
        if self.options.color && !code.is_empty() {
            self.text += &format!("{code}{line}\x1b[0m\n");
        } else {
            self.text += line;
            self.text.push('\n');
        }
    }

    /// Columns of the terminal.
    fn limit(&self) -> usize {
        self.options.width.map_or(usize::MAX, usize::from)
    }

    /// Sentences, broken between words where the terminal ends.
    fn prose(&mut self, look: Look, text: &str) {
        self.wrapped(look, text.split(' '), " ", "");
    }

    /// `name         value   value`, left out if there is no value.
    fn fact(&mut self, name: &str, values: &[String]) {
        if let Some((first, rest)) = values.split_first() {
            let first = format!("{name:<17} {first}");
            let parts = std::iter::once(first.as_str()).chain(rest.iter().map(String::as_str));
            self.wrapped(Look::Plain, parts, "   ", &" ".repeat(18));
        }
    }

    /// Parts on as few lines as possible; all but the first are indented.
    fn wrapped<'p>(&mut self, look: Look, parts: impl Iterator<Item = &'p str>, between: &str, indent: &str) {
        let mut line = String::new();
        for part in parts {
            let full = human::columns(&line) + between.len() + human::columns(part) > self.limit();
            if !line.is_empty() && full {
                self.line(look, &line);
                line = indent.to_owned();
            } else if !line.is_empty() {
                line += between;
            }
            line += part;
        }
        self.line(look, &line);
    }

    fn header(&mut self) {
        let s = self.snapshot;
        let who = match s.processes.as_slice() {
            [p] if s.ended.processes == 0 => {
                let ended = if p.exited { ", ended" } else { "" };
                format!("pid {} ({}){ended}", p.pid, human::label(&p.comm, NAME))
            }
            processes => human::counted(processes.len() as u64 + s.ended.processes, "process"),
        };
        let what = match self.options.title {
            Title::Window => "last",
            Title::Total => "total of",
        };
        let (window, kernel) = (human::seconds(s.window), human::escape(&s.kernel));
        let coverage = s.coverage.state_since();
        let parts =
            [who, format!("{what} {window}"), format!("kernel {kernel}"), format!("coverage {coverage}")];
        self.wrapped(Look::Bold, parts.iter().map(String::as_str), "   ", "  ");
    }

    /// What the numbers below do not show, before anybody reads them.
    fn what_was_not_seen(&mut self) {
        let s = self.snapshot;
        if !s.observed.copies {
            let because = because(&s.coverage.reasons, 1);
            self.prose(Look::Alarm, &format!("COPIES ARE NOT OBSERVED{because}"));
        } else if s.coverage.state != CoverageState::Complete {
            let (state, because) = (s.coverage.state_since(), because(&s.coverage.reasons, REASONS));
            self.prose(Look::Alarm, &format!("coverage of copies is {state}{because}"));
        }
        let lost = s.lost_events();
        if lost > 0 {
            let why = self.loss_reasons();
            let lost = human::counted(lost, "event");
            self.prose(Look::Alarm, &format!("{lost} lost, so the numbers are too low: {why}"));
        }
        for note in &s.notes {
            self.prose(Look::Dim, &format!("note: {}", human::escape(note)));
        }
    }

    fn loss_reasons(&self) -> String {
        let losses = self.snapshot.losses.iter().filter(|loss| loss.loses_events && loss.count > 0);
        let losses = losses.map(|loss| format!("{} {}", loss.reason, human::count(loss.count)));
        let missed = self.snapshot.probes.iter().filter(|probe| probe.missed > 0);
        let missed =
            missed.map(|probe| format!("probe {} missed {}", probe.name, human::count(probe.missed)));
        losses.chain(missed).collect::<Vec<_>>().join(", ")
    }

    /// The ledger to be shown, if there is anything in it.
    fn one(&mut self, process: &Process) -> Option<Tally> {
        if !process.ledger.is_empty() {
            return Some(process.ledger);
        }
        let (pid, window) = (process.pid, human::seconds(self.snapshot.window));
        let text = format!(
            "no event matched pid {pid} in {window}: it is idle or blocked, or the probes cannot see it. \
             `grep State /proc/{pid}/status` and `tracer doctor` tell."
        );
        self.prose(Look::Alarm, &text);
        None
    }

    /// One row per process; the ledger to be shown is their sum.
    fn many(&mut self) -> Option<Tally> {
        let s = self.snapshot;
        let sum = s.sum();
        if sum.is_empty() {
            let text = match s.processes.as_slice() {
                [] => "no process matched: nothing was counted.",
                _ => {
                    "no event matched any of them: they are idle or blocked, or the probes cannot see them. \
                     `tracer doctor` tells."
                }
            };
            self.prose(Look::Alarm, text);
            return None;
        }
        // By copied bytes; without them, by what moved.
        let mut processes: Vec<&Process> = s.processes.iter().filter(|p| !p.ledger.is_empty()).collect();
        processes.sort_by_cached_key(|p| {
            let copied: u64 = Direction::ALL.iter().map(|&d| p.ledger.copied_in(d).bytes).sum();
            (std::cmp::Reverse((copied, p.ledger.payload().bytes)), p.pid)
        });
        let name = |p: &&Process| format!("{} {}", p.pid, human::label(&p.comm, NAME));
        let mut rows: Vec<Figures> =
            processes.iter().take(TOP).map(|p| Figures::of_all(name(p), &p.ledger)).collect();
        if !s.overflow.is_empty() {
            rows.push(Figures::of_all("(no slot left)".to_owned(), &s.overflow));
        }
        if s.ended.processes > 0 {
            rows.push(Figures::of_all(
                format!("({} ended)", human::count(s.ended.processes)),
                &s.ended.ledger,
            ));
        }
        rows.push(Figures::of_all("total".to_owned(), &sum));
        self.grid("process", &rows);
        if let Some(hidden @ 1..) = processes.len().checked_sub(TOP) {
            let hidden = human::counted(hidden as u64, "more process");
            self.line(Look::Dim, &format!("{hidden} in the total only"));
        }
        self.text.push('\n');
        Some(sum)
    }

    /// One row per path on which bytes moved or were copied; the other system calls are one line.
    fn paths(&mut self, ledger: &Tally) {
        let shown = active_paths(ledger).filter(|&path| {
            let i = path as usize;
            ledger.payload[i].bytes > 0 || ledger.copied(path).bytes > 0
        });
        let mut rows: Vec<Figures> = shown.map(|path| Figures::of_path(ledger, path)).collect();
        if rows.is_empty() || !(self.snapshot.observed.payload || self.snapshot.observed.copies) {
            return;
        }
        rows.push(Figures::of_all("total".to_owned(), ledger));
        self.grid("path", &rows);
    }

    /// The last row is the sum.
    fn grid(&mut self, title: &str, rows: &[Figures]) {
        let lines = table_grid::lines(title, rows, &self.snapshot.observed, self.options.width);
        for (i, line) in lines.iter().enumerate() {
            let look = match i {
                0 | 1 => Look::Dim,
                i if i + 1 == lines.len() => Look::Bold,
                _ => Look::Plain,
            };
            self.line(look, line);
        }
    }

    fn facts(&mut self, ledger: &Ledger) {
        let observed = self.snapshot.observed;
        self.text.push('\n');
        self.fact("system calls", &self.system_calls(ledger));
        self.fact("mode switches", &self.mode_switches(ledger));
        if observed.context_switches {
            let (voluntary, involuntary) = (human::count(ledger.voluntary), human::count(ledger.involuntary));
            let values = [format!("voluntary {voluntary}"), format!("involuntary {involuntary}")];
            self.fact("context switches", &values);
        }
        let moved = device_bytes(ledger, &observed).filter(|(_, bytes)| *bytes > 0);
        let moved =
            moved.map(|(op, bytes)| format!("{} {} {}", op.name().0, op.name().1, human::bytes(bytes)));
        self.fact("moved by devices", &moved.collect::<Vec<_>>());
        if observed.copies && observed.payload {
            self.fact("without payload", &without_payload(ledger));
        }
        if observed.copies {
            let control = Direction::ALL.map(|d| (d, ledger.control[d as usize].bytes));
            self.fact("control copies", &by_direction(control));
            let other =
                |name: &str, bytes: u64| (bytes > 0).then(|| format!("{name} {}", human::bytes(bytes)));
            let checksum = other("checksum", checksummed_in_all(ledger));
            let crypto = other("crypto", encrypted_in_all(ledger));
            let values: Vec<String> = checksum.into_iter().chain(crypto).collect();
            self.fact("also touched by", &values);
        }
    }

    fn conclusion(&mut self, ledger: &Tally) {
        let s = self.snapshot;
        let all_seen = s.coverage.state == CoverageState::Complete && s.lost_events() == 0;
        let one_process = s.processes.iter().any(|p| p.ledger == *ledger);
        if let Some(sentence) = sentence(ledger, Grounds { observed: s.observed, all_seen, one_process }) {
            self.text.push('\n');
            self.prose(Look::Bold, &sentence);
        }
        if s.observed.copies && s.observed.payload {
            let (references, block) = (s.observed.references, s.observed.block);
            let said = verdicts(ledger, Sight { all_seen, references, block }).into_iter();
            let said = said.chain(fallbacks(ledger, &s.linear_devices));
            said.for_each(|sentence| self.prose(Look::Plain, &sentence));
            if let Some(sentence) = cut_short(ledger).filter(|_| cut_short_is_observed(&s.observed)) {
                self.prose(Look::Plain, &sentence);
            }
            if let Some(sentence) = unexplained(ledger).filter(|_| references) {
                self.prose(Look::Alarm, &sentence);
            }
        }
    }

    fn system_calls(&self, ledger: &Ledger) -> Vec<String> {
        if !self.snapshot.observed.syscalls {
            return Vec::new();
        }
        active_paths(ledger)
            .filter(|&path| ledger.syscalls[path as usize] > 0)
            .map(|path| format!("{} {}", path.name(), human::count(ledger.syscalls[path as usize])))
            .collect()
    }

    fn mode_switches(&self, ledger: &Ledger) -> Vec<String> {
        let observed = self.snapshot.observed;
        let kinds = [
            (observed.syscalls, "syscall", ledger.syscall_switches()),
            (observed.faults, "fault", 2 * ledger.faults),
            (observed.interrupts, "interrupt", 2 * ledger.interrupts),
        ];
        let seen = kinds.iter().filter(|(observed, ..)| *observed);
        let mut values: Vec<String> =
            seen.map(|(_, name, n)| format!("{name} {}", human::count(*n))).collect();
        let rate_is_observed = observed.payload && mode_switches_are_observed(&observed);
        if let Some(rate) = ledger.mode_switches_per_mib().filter(|_| rate_is_observed) {
            values.push(format!("({} per MiB)", human::rate(rate)));
        }
        values
    }

    /// What the machine copied and no process could be named for.
    fn unattributed(&mut self) {
        let s = self.snapshot;
        if !s.observed.copies {
            return;
        }
        for (name, ledger) in [("softirq", &s.softirq), ("kernel threads", &s.kernel_threads)] {
            let copied = Direction::ALL.map(|d| (d, ledger.copied_in(d).bytes));
            if copied.iter().any(|(_, bytes)| *bytes > 0) {
                let values = by_direction(copied.into_iter().filter(|(_, bytes)| *bytes > 0));
                self.fact(
                    name,
                    &[values.join("   "), "(whole machine, not in the numbers above)".to_owned()],
                );
            }
        }
        if s.processes.len() == 1 && !s.overflow.is_empty() {
            let more = Figures::of_all("(no slot left)".to_owned(), &s.overflow);
            self.grid("other processes", &[more]);
        }
    }
}

/// Copies that are in the columns above and in no copies per byte.
fn without_payload(ledger: &Ledger) -> Vec<String> {
    let paths = ledger.copied_without_payload().into_iter();
    let mut values: Vec<String> =
        paths.map(|(path, bytes)| format!("{} {}", path.name(), human::bytes(bytes))).collect();
    if !values.is_empty() {
        values.push("(copied; not in copies/byte)".to_owned());
    }
    values
}

/// `: first reason; second reason; 4 more in `tracer doctor``
fn because(reasons: &[String], limit: usize) -> String {
    let mut parts: Vec<String> =
        reasons.iter().take(limit).map(|reason| human::escape(reason).into_owned()).collect();
    if let Some(hidden @ 1..) = reasons.len().checked_sub(limit) {
        parts.push(format!("{hidden} more in `tracer doctor`"));
    }
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join("; ")) }
}

fn by_direction(bytes: impl IntoIterator<Item = (Direction, u64)>) -> Vec<String> {
    let words = |d: Direction| d.name().replace('_', " ");
    bytes.into_iter().map(|(d, n)| format!("{} {}", words(d), human::bytes(n))).collect()
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
