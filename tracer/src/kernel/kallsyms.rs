//! The kernel's function symbols, from `/proc/kallsyms`.
//!
//! Only text symbols are kept, and the few variables in [`VARIABLES`]. Names stay in the buffer that was read: the file has
//! up to 250,000 lines, and this also runs on emulated machines.

use std::collections::HashSet;

use anyhow::{Context as _, Result, bail, ensure};

use super::name_index::NameIndex;

/// Where module text is padded to, and so where its last function ends at the latest
/// as far as symbols can tell.
const PAGE: u64 = 4096;
const NO_MODULE: u16 = u16::MAX;

/// Variables whose addresses somebody needs.
const VARIABLES: [&str; 3] = ["__per_cpu_offset", "__preempt_count", "pcpu_hot"];

/// One text symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol<'a> {
    pub addr: u64,
    pub name: &'a str,
    pub module: Option<&'a str>,
}

/// A function as symbols delimit it: up to the next symbol, so padding is included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function<'a> {
    pub start: u64,
    pub end: u64,
    pub name: &'a str,
    pub module: Option<&'a str>,
}

/// Text of the kernel itself (`module: None`) or of one module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextRange {
    pub module: Option<String>,
    pub start: u64,
    pub end: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    addr: u64,
    name: u32,
    name_len: u16,
    module: u16,
}

/// The symbol table, sorted by address.
#[derive(Debug, Default)]
pub struct Kallsyms {
    text: Vec<u8>,
    entries: Vec<Entry>,
    modules: Vec<String>,
    index: NameIndex,
    variables: [u64; VARIABLES.len()],
}

/// What was seen of the lines so far.
#[derive(Default)]
struct Seen {
    symbols: usize,
    /// Text symbols with address 0.
    hidden: usize,
    /// The list of modules is over.
    modules_ended: bool,
}

impl Kallsyms {
    /// Parses the content of `/proc/kallsyms`.
    pub fn parse(text: Vec<u8>) -> Result<Self> {
        ensure!(u32::try_from(text.len()).is_ok(), "kallsyms is larger than 4 GiB");
        let mut table = Self {
            entries: Vec::with_capacity(text.len() / 64),
            modules: Vec::new(),
            index: NameIndex::default(),
            variables: [0; VARIABLES.len()],
            text,
        };
        let Seen { symbols, hidden, .. } = table.read_lines();
        ensure!(symbols > 0, "kallsyms is empty: the kernel has no CONFIG_KALLSYMS");
        if table.entries.is_empty() {
            ensure!(hidden == 0, HIDDEN);
            bail!("kallsyms has {symbols} lines and no text symbol");
        }
        if !table.entries.is_sorted_by_key(|entry| entry.addr) {
            // Stable: of several names at one address the kernel's order is kept.
            table.entries.sort_by_key(|entry| entry.addr);
        }
        table.index = NameIndex::build(table.entries.len(), |i| table.entries.get(i).map(|e| table.bytes(e)));
        Ok(table)
    }

    /// Reads and parses the running kernel's symbols.
    pub fn read() -> Result<Self> {
        let path = "/proc/kallsyms";
        Self::parse(std::fs::read(path).with_context(|| format!("cannot read {path}"))?)
    }

    fn read_lines(&mut self) -> Seen {
        let (mut seen, mut at) = (Seen::default(), 0);
        let text = std::mem::take(&mut self.text);
        while at < text.len() {
            let rest = &text[at..];
            let len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            seen.symbols += usize::from(self.read_line(&rest[..len], at, &mut seen).is_some());
            at += len + 1;
        }
        self.text = text;
        seen
    }

    /// `None` if it is no symbol's. Most symbols are data, and nobody needs their addresses.
    fn read_line(&mut self, line: &[u8], at: usize, seen: &mut Seen) -> Option<()> {
        let Line { addr, kind, name, module } = parse_line(line)?;
        if is_text(kind) {
            let addr = parse_address(addr)?;
            if addr == 0 {
                seen.hidden += 1;
            } else {
                let module = self.module_number(module);
                if self.is_listed_again(module, seen) {
                    return Some(());
                }
                let (name, name_len) = ((at + name.start) as u32, name.len() as u16);
                self.entries.push(Entry { addr, name, name_len, module });
            }
        } else if module.is_empty()
            && let Some(i) = VARIABLES.iter().position(|v| v.as_bytes() == &line[name.clone()])
        {
            self.variables[i] = parse_address(addr)?;
        }
        Some(())
    }

    /// True behind the last module, where ftrace lists functions of modules' init sections once more that were
    /// loaded while somebody traced. Their text is gone, or somebody else's (`ftrace_free_mem()` and
    /// `ftrace_mod_get_kallsym()`, kernel/trace/ftrace.c). Modules themselves are listed once, each in one piece.
    fn is_listed_again(&self, module: u16, seen: &mut Seen) -> bool {
        let Some(name) = self.modules.get(usize::from(module)) else { return false };
        seen.modules_ended |= usize::from(module) + 1 < self.modules.len();
        seen.modules_ended && !generated(name)
    }

    fn module_number(&mut self, module: &[u8]) -> u16 {
        if module.is_empty() {
            return NO_MODULE;
        }
        // Symbols of one module are neighbours, so the last one is nearly always right.
        let known = self.modules.iter().rposition(|known| known.as_bytes() == module);
        let number = known.unwrap_or_else(|| {
            self.modules.push(String::from_utf8_lossy(module).into_owned());
            self.modules.len() - 1
        });
        u16::try_from(number).unwrap_or(NO_MODULE - 1).min(NO_MODULE - 1)
    }

    fn bytes(&self, entry: &Entry) -> &[u8] {
        let start = entry.name as usize;
        self.text.get(start..start + usize::from(entry.name_len)).unwrap_or_default()
    }

    fn symbol(&self, entry: &Entry) -> Symbol<'_> {
        Symbol {
            addr: entry.addr,
            name: std::str::from_utf8(self.bytes(entry)).unwrap_or("?"),
            module: self.modules.get(usize::from(entry.module)).map(String::as_str),
        }
    }

    /// Number of text symbols.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Names of all symbols, the same as often as it is there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| self.symbol(entry).name)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every symbol called `name`: static functions may share one.
    pub fn lookup<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Symbol<'a>> + 'a {
        let candidates = self.index.candidates(name.as_bytes());
        candidates.map(|i| self.symbol(&self.entries[i])).filter(move |found| found.name == name)
    }

    /// The address of one of [`VARIABLES`]; of a per-CPU variable, its place in each CPU's area.
    pub fn variable(&self, name: &str) -> Option<u64> {
        let index = VARIABLES.iter().position(|variable| *variable == name)?;
        Some(self.variables[index]).filter(|addr| *addr != 0)
    }

    /// The address of `name`, if exactly one symbol of the kernel proper is called so.
    pub fn address(&self, name: &str) -> Option<u64> {
        let mut found = self.lookup(name).filter(|symbol| symbol.module.is_none());
        let first = found.next()?;
        found.next().is_none().then_some(first.addr)
    }

    /// Every name of the code at exactly `addr`.
    pub fn names_at(&self, addr: u64) -> impl Iterator<Item = Symbol<'_>> {
        let first = self.entries.partition_point(|entry| entry.addr < addr);
        let same = self.entries[first..].iter().take_while(move |entry| entry.addr == addr);
        same.map(|entry| self.symbol(entry))
    }

    /// The function that contains `addr`. Of several names the first is taken.
    pub fn function(&self, addr: u64) -> Option<Function<'_>> {
        let next = self.entries.partition_point(|entry| entry.addr <= addr);
        let last = self.entries[..next].last()?;
        let first = self.entries.partition_point(|entry| entry.addr < last.addr);
        let symbol = self.symbol(&self.entries[first]);
        let following = self.entries.get(next).map_or(u64::MAX, |entry| entry.addr);
        let same = self.entries.get(next).is_some_and(|e| e.module == self.entries[first].module);
        // Behind the last symbol of a module lies no end mark.
        let end = if same { following } else { following.min(page_end(symbol.addr)) };
        (addr < end).then_some(Function { start: symbol.addr, end, name: symbol.name, module: symbol.module })
    }

    /// Text to be read: `_stext.._etext`, and for each module its runs of text symbols.
    /// A module's text is one or several allocations; symbols more than `GAP` apart are
    /// taken to lie in different ones.
    pub fn text_ranges(&self) -> Result<Vec<TextRange>> {
        let bound = |name| self.address(name).with_context(|| format!("kallsyms has no {name}"));
        let (start, end) = (bound("_stext")?, bound("_etext")?);
        ensure!(start < end, "_stext {start:#x} lies behind _etext {end:#x}");
        let mut ranges = vec![TextRange { module: None, start, end }];
        ranges.extend(self.module_ranges());
        Ok(ranges)
    }

    fn module_ranges(&self) -> Vec<TextRange> {
        const GAP: u64 = 64 * 1024;
        let mut ranges: Vec<(u16, u64, u64)> = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.module != NO_MODULE) {
            match ranges.last_mut() {
                Some((module, _, last)) if *module == entry.module && entry.addr - *last < GAP => {
                    *last = entry.addr;
                }
                _ => ranges.push((entry.module, entry.addr, entry.addr)),
            }
        }
        let name = |module| self.modules.get(usize::from(module)).cloned();
        let range = |(module, start, last)| TextRange { module: name(module), start, end: page_end(last) };
        let ranges = ranges.into_iter().map(range);
        ranges.filter(|range| !range.module.as_deref().is_some_and(generated)).collect()
    }
}

/// Code the kernel generates at run time and lists under a made-up module name: BPF
/// programs and probe trampolines. None of it calls a copy primitive directly.
fn generated(module: &str) -> bool {
    module == "bpf" || module.starts_with("__builtin__")
}

/// First page boundary behind `addr`.
fn page_end(addr: u64) -> u64 {
    (addr & !(PAGE - 1)).saturating_add(PAGE)
}

/// Names of the running kernel's functions, also where it hides their addresses; `None` if it tells none.
pub fn function_names() -> Option<HashSet<String>> {
    let names = named_functions(&std::fs::read("/proc/kallsyms").ok()?);
    (!names.is_empty()).then_some(names)
}

fn named_functions(text: &[u8]) -> HashSet<String> {
    let lines = text.split(|byte| *byte == b'\n');
    let functions = lines.filter_map(|line| {
        let Line { kind, name, .. } = parse_line(line)?;
        is_text(kind).then(|| String::from_utf8_lossy(&line[name]).into_owned())
    });
    functions.collect()
}

fn is_text(kind: u8) -> bool {
    matches!(kind, b't' | b'T' | b'w' | b'W')
}

const HIDDEN: &str = "kallsyms shows every address as 0: the kernel hides them. \
    Run as root (CAP_SYSLOG), or `sysctl kernel.kptr_restrict=1` if it is 2";

struct Line<'a> {
    /// Its digits.
    addr: &'a [u8],
    kind: u8,
    name: std::ops::Range<usize>,
    module: &'a [u8],
}

/// `ffffffff81000000 T name` or `ffffffffc0001000 t name\t[module]`.
fn parse_line(line: &[u8]) -> Option<Line<'_>> {
    // 64-bit kernels pad addresses to 16 digits.
    let digits = if line.get(16) == Some(&b' ') { 16 } else { line.iter().position(|&b| b == b' ')? };
    let addr = line.get(..digits).filter(|digits| (1..=16).contains(&digits.len()))?;
    let kind = *line.get(digits + 1)?;
    let start = digits + 3;
    let rest = line.get(start..).filter(|_| line[digits + 2] == b' ')?;
    let len = memchr::memchr2(b'\t', b' ', rest).unwrap_or(rest.len());
    if len == 0 || len > usize::from(u16::MAX) {
        return None;
    }
    let module = rest[len..].trim_ascii();
    let module = module.strip_prefix(b"[").and_then(|m| m.strip_suffix(b"]")).unwrap_or_default();
    Some(Line { addr, kind, name: start..start + len, module })
}

fn parse_address(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |addr, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        Some(addr << 4 | u64::from(value))
    })
}

#[cfg(test)]
#[path = "kallsyms_tests.rs"]
mod tests;
