//! What a row is, and the short forms that the sections are written in.

/// What a row's loss means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// Copies: without it the ledger is incomplete.
    Copy,
    /// Bytes that moved by reference: never part of a sum of copies.
    Reference,
    /// Marks that other rows need to be exact.
    Mark,
    /// Mode switches, context switches, payload.
    Switch,
    /// Bytes that block devices move.
    Block,
    /// Bytes that network devices move.
    Net,
    /// Processes that come and go.
    Life,
}

/// How a way attaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// BPF trampoline at a function's entry and/or exit (fentry, fexit): needs the function in BTF.
    Trampoline,
    /// kprobe, and a kretprobe where there are two programs.
    Kprobe,
    RawTracepoint,
    /// Tracepoint through perf: needs tracefs, and costs about twice as much as a raw one.
    Tracepoint,
    /// Raw tracepoint whose arguments the verifier knows by their types in BTF: reads them by plain loads.
    BtfTracepoint,
}

/// What a way's programs read besides their arguments. Decides where they can work at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    /// Structures, whose layout BTF tells. Lockdown (confidentiality) forbids it, unless the verifier knows each type.
    Structures,
    /// What user mode left in the registers, which has a fixed layout. Lockdown forbids it.
    Registers,
    /// Structures whose types the verifier knows from BTF: permitted under lockdown.
    Typed,
    Nothing,
}

impl Method {
    /// The word used in `--attach`, metrics and `doctor`.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Trampoline => "fentry",
            Method::Kprobe => "kprobe",
            Method::RawTracepoint => "raw_tracepoint",
            Method::Tracepoint => "tracepoint",
            Method::BtfTracepoint => "btf_tracepoint",
        }
    }
}

/// One way to observe a row.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub method: Method,
    /// Function or tracepoint.
    pub symbol: &'static str,
    /// Number of arguments that the programs rely on; 0: any. With a function's [`Form`](super::form::Form)s it tells
    /// which of them fit.
    pub args: u8,
    /// Empty: the programs of another row count this one too ([`Way::host`]).
    pub programs: &'static [&'static str],
    /// True if it goes before the others on kernels that preempt BPF programs ([`unpreempted`]).
    pub unpreempted: bool,
    pub reads: Reads,
    /// True for a way that tells less than the row's others, for kernels where those cannot work: without BTF, or
    /// locked down.
    pub reduced: bool,
}

impl Way {
    /// The row whose programs count this one, if it has none of its own.
    pub const fn host(&self) -> Option<&'static str> {
        if self.programs.is_empty() { Some(self.symbol) } else { None }
    }
}

/// Which kernels a row is meant for: asked of the running kernel, never of its release, because distributions carry newer
/// code under old numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meant {
    Always,
    /// For kernels with this function.
    Has(&'static str),
    /// For kernels without this function.
    Lacks(&'static str),
    /// For kernels whose iterators have no `iter_type` (before 5.14, 8cd54c1c8480).
    OldIterators,
    /// For kernels where this function calls this primitive, as the live text tells. Where the text cannot be read,
    /// coverage is unproven in any case, and old iterators decide: of the kernels known, the same ones.
    Calls {
        function: &'static str,
        primitive: &'static str,
    },
}

/// What a row's programs interrupt, which tells whose loss a skipped run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// The task whose doing it is.
    Task,
    /// Also a bystander: a softirq or an interrupt may be served.
    Softirq,
    /// User mode. An interrupt that meets a program on its CPU came from kernel mode and would count nothing.
    UserMode,
}

/// One thing that is observed.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub group: Group,
    pub help: &'static str,
    pub meant: Meant,
    pub ways: &'static [Way],
    /// Functions whose call sites of copy primitives are counted by this row.
    pub covers: &'static [&'static str],
    /// True if copies in `covers` that pass the usercopy check are left to the row `check`: this one counts the rest.
    pub leaves_checked: bool,
    /// True if a stock kernel may lack it (a module, a configuration): its absence is no gap.
    pub optional: bool,
    /// Rows without which this one would be wrong, or fill a map and report losses for ever: what it begins they end,
    /// and the reverse. Where one of them is not attached, this one is not.
    pub needs: &'static [&'static str],
    pub context: Context,
}

impl Row {
    /// True if a run is skipped only where there was nothing to count.
    pub fn loses_nothing_when_skipped(&self) -> bool {
        self.context == Context::UserMode
    }

    /// True if its programs also run while a softirq or an interrupt is served.
    pub fn runs_in_softirqs(&self) -> bool {
        self.context == Context::Softirq
    }
}

const ANY_WAY: Way = Way {
    method: Method::Kprobe,
    symbol: "",
    args: 0,
    programs: &[],
    unpreempted: false,
    reads: Reads::Structures,
    reduced: false,
};

pub(super) const fn trampoline(symbol: &'static str, args: u8, programs: &'static [&'static str]) -> Way {
    Way { method: Method::Trampoline, symbol, args, programs, ..ANY_WAY }
}
pub(super) const fn kprobe(symbol: &'static str, programs: &'static [&'static str]) -> Way {
    Way { method: Method::Kprobe, symbol, args: 0, programs, ..ANY_WAY }
}
/// For programs that rely on a form with this number of arguments, where the function has others as well.
pub(super) const fn with_args(args: u8, way: Way) -> Way {
    Way { args, ..way }
}
pub(super) const fn tracepoint(symbol: &'static str, args: u8, programs: &'static [&'static str]) -> Way {
    Way { method: Method::RawTracepoint, symbol, args, programs, ..ANY_WAY }
}

pub(super) const fn perf_tracepoint(symbol: &'static str, programs: &'static [&'static str]) -> Way {
    Way { method: Method::Tracepoint, symbol, args: 0, programs, ..ANY_WAY }
}
pub(super) const fn btf_tracepoint(symbol: &'static str, args: u8, programs: &'static [&'static str]) -> Way {
    Way { method: Method::BtfTracepoint, symbol, args, programs, reads: Reads::Typed, ..ANY_WAY }
}
pub(super) const fn reading(reads: Reads, way: Way) -> Way {
    Way { reads, ..way }
}
/// See [`Way::reduced`].
pub(super) const fn reduced(way: Way) -> Way {
    Way { reduced: true, ..way }
}
/// Trampolines, and raw tracepoints of system calls since 6.13, run preemptible. A program that is preempted
/// on a CPU is skipped there for every other task (`bpf_prog_get_recursion_context`, kernel/bpf/trampoline.c):
/// 145 of `sys_enter`'s runs in 10 s of forks and file reads on 7.2 with two CPUs. kprobes and perf's
/// tracepoints run with preemption off.
pub(super) const fn unpreempted(way: Way) -> Way {
    Way { unpreempted: true, ..way }
}
/// Counted by the programs of a row that is named like its tracepoint.
pub(super) const fn hosted(row: &'static str) -> Way {
    reading(Reads::Nothing, tracepoint(row, 0, &[]))
}

pub(super) const fn copy(
    name: &'static str,
    help: &'static str,
    ways: &'static [Way],
    covers: &'static [&'static str],
) -> Row {
    Row { covers, ..other(Group::Copy, name, help, ways) }
}
pub(super) const fn other(group: Group, name: &'static str, help: &'static str, ways: &'static [Way]) -> Row {
    let context = match group {
        Group::Block | Group::Net => Context::Softirq,
        _ => Context::Task,
    };
    Row {
        name,
        group,
        help,
        meant: Meant::Always,
        ways,
        covers: &[],
        leaves_checked: false,
        optional: false,
        needs: &[],
        context,
    }
}
/// The row counts what does not pass the check.
pub(super) const fn leaves_checked(row: Row) -> Row {
    Row { leaves_checked: true, ..row }
}
pub(super) const fn needing(needs: &'static [&'static str], row: Row) -> Row {
    Row { needs, ..row }
}
pub(super) const fn in_softirqs(row: Row) -> Row {
    Row { context: Context::Softirq, ..row }
}
pub(super) const fn in_user_mode(row: Row) -> Row {
    Row { context: Context::UserMode, ..row }
}
pub(super) const fn optional(row: Row) -> Row {
    Row { optional: true, ..row }
}
pub(super) const fn only(meant: Meant, row: Row) -> Row {
    Row { meant, ..row }
}
