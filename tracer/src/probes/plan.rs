//! Which way each row of the table is to be observed: a pure function of the table, of what this kernel
//! offers and of what the user asked for.

mod form;

use tracer_ebpf::table::{Group, Meant, Method, ROWS, Reads, Row, Way};

use crate::model::attach::{Attach, Refusal};

/// What the plan must know of a kernel. Tests make one up. Its release is none of it: old numbers stand on newer code.
pub trait Offers {
    /// Types of the parameters of a function of the kernel proper; `None` if its BTF does not know the function.
    fn params(&self, function: &str) -> Option<Vec<String>>;
    /// The same of a function in a module that is loaded.
    fn module_params(&self, function: &str) -> Option<Vec<String>>;
    /// True if there is such a function, in a module or not; `None` if symbols cannot be read.
    fn has_function(&self, name: &str) -> Option<bool>;
    /// True if iterators have no `iter_type` ([`Meant::OldIterators`]).
    fn has_old_iterators(&self) -> bool;
    /// True if this function calls this primitive; `None` if the kernel's text cannot be read.
    fn calls(&self, function: &str, primitive: &str) -> Option<bool>;
    /// Number of arguments of a tracepoint that BTF knows.
    fn tracepoint_args(&self, name: &str) -> Option<usize>;
    /// Why no structure can be read, if so.
    fn without_layout(&self) -> Option<&str>;
    /// True if programs may not read the kernel's memory (lockdown).
    fn is_locked_down(&self) -> bool;
    /// True if this kernel preempts BPF programs.
    fn preempts(&self) -> bool;
}

/// What to try for one row.
#[derive(Debug)]
pub struct Choice {
    pub row: &'static Row,
    /// In order of preference; empty: `refused` says why. It may also say why better ways are not among them.
    pub ways: Vec<&'static Way>,
    pub refused: Option<Refusal>,
    /// None of its functions is in this kernel.
    pub absent: bool,
}

/// What is to be counted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub attach: Attach,
    /// Forks and execs matter (not for a single process without its children).
    pub life: bool,
    /// An audit compares whole system calls.
    pub audit: bool,
    /// There is a network device that does DMA.
    pub net: bool,
    /// Nothing but their tracepoints tells softirqs.
    pub softirqs: bool,
}

/// The plan: one entry per row that is meant for this kernel.
pub fn choose(offers: &impl Offers, wanted: Wanted) -> Vec<Choice> {
    ROWS.iter()
        .filter(|row| is_meant(row.meant, offers) && is_wanted(row, wanted))
        .filter(|row| !row.ways.is_empty())
        .map(|row| choose_row(row, offers, wanted.attach))
        .collect()
}

/// True if the row is for this kernel. What cannot be told does not take a row away: attaching tells.
fn is_meant(meant: Meant, offers: &impl Offers) -> bool {
    match meant {
        Meant::Always => true,
        Meant::Has(function) => offers.has_function(function) != Some(false),
        Meant::Lacks(function) => offers.has_function(function) != Some(true),
        Meant::OldIterators => offers.has_old_iterators(),
        Meant::Calls { function, primitive } => {
            offers.calls(function, primitive).unwrap_or_else(|| offers.has_old_iterators())
        }
    }
}

fn is_wanted(row: &Row, wanted: Wanted) -> bool {
    match row.group {
        Group::Mark if is_of_softirqs(row) => wanted.softirqs,
        // exit never returns: its call is counted as its thread ends.
        Group::Life => wanted.life || row.name == "exit",
        Group::Switch if row.name == "sys_enter" => wanted.audit,
        Group::Net => wanted.net,
        // Call sites stand in for everything that copies between an iterator and the kernel.
        Group::Copy if wanted.attach == Attach::Callsite => !replaced_by_sites(row),
        _ => true,
    }
}

fn is_of_softirqs(row: &Row) -> bool {
    matches!(row.name, "softirq_entry" | "softirq_exit")
}

/// True for rows whose copies go through primitives with call sites.
fn replaced_by_sites(row: &Row) -> bool {
    !row.covers.is_empty() || row.name == "check"
}

/// The ways to try for one row.
pub fn choose_row(row: &'static Row, offers: &impl Offers, attach: Attach) -> Choice {
    let mut why = Vec::new();
    let reduced = offers.is_locked_down() || offers.without_layout().is_some();
    let mut ways: Vec<_> = row
        .ways
        .iter()
        .filter(|way| reduced || !way.reduced)
        .filter(|way| match obstacle(way, offers, attach) {
            None => true,
            Some(obstacle) => {
                if !why.contains(&obstacle) {
                    why.push(obstacle);
                }
                false
            }
        })
        .collect();
    if offers.preempts() {
        ways.sort_by_key(|way| !way.unpreempted);
    }
    let refused = (ways.is_empty() || why.contains(&Obstacle::LockedDown)).then(|| refusal(why));
    Choice { row, ways, refused, absent: is_absent(row, offers) }
}

/// True if none of a row's functions is in this kernel. Of a tracepoint nothing tells.
fn is_absent(row: &Row, offers: &impl Offers) -> bool {
    row.ways.iter().all(|way| {
        matches!(way.method, Method::Trampoline | Method::Kprobe)
            && offers.has_function(way.symbol) == Some(false)
    })
}

/// Why a way cannot work here, or `None`. (Only an attach tells whether it does.)
fn obstacle(way: &Way, offers: &impl Offers, attach: Attach) -> Option<Obstacle> {
    if let Some(obstacle) = unreadable(way, offers) {
        return Some(obstacle);
    }
    match way.method {
        Method::Trampoline if attach == Attach::Kprobe => Some(Obstacle::Forced("kprobe")),
        Method::Trampoline => match offers.params(way.symbol) {
            None => Some(Obstacle::NotInBtf(way.symbol)),
            Some(params) => form::misfit(way, &params),
        },
        Method::Kprobe if attach == Attach::Fentry => Some(Obstacle::Forced("fentry")),
        Method::Kprobe => form::obstacle(way, offers),
        Method::Tracepoint => None,
        Method::RawTracepoint => match offers.tracepoint_args(way.symbol) {
            Some(args) if args < way.args as usize => Some(Obstacle::Arity(way.symbol, args)),
            _ => None,
        },
        Method::BtfTracepoint => match offers.tracepoint_args(way.symbol) {
            None => Some(Obstacle::NoTracepoint(way.symbol)),
            Some(args) if args < way.args as usize => Some(Obstacle::Arity(way.symbol, args)),
            Some(_) => None,
        },
    }
}

/// Why a way's programs cannot read what they have to, or `None`.
fn unreadable(way: &Way, offers: &impl Offers) -> Option<Obstacle> {
    let no_layout = || offers.without_layout().map(|cause| Obstacle::NoLayout(cause.to_owned()));
    let locked_down = || offers.is_locked_down().then_some(Obstacle::LockedDown);
    match way.reads {
        Reads::Nothing => None,
        Reads::Registers => locked_down(),
        Reads::Typed => no_layout(),
        // A trampoline may know the types of all that it reads: the verifier tells.
        Reads::Structures if way.method == Method::Trampoline => no_layout(),
        Reads::Structures => no_layout().or_else(locked_down),
    }
}

#[derive(PartialEq)]
enum Obstacle {
    NoLayout(String),
    LockedDown,
    NoTracepoint(&'static str),
    Forced(&'static str),
    NotInBtf(&'static str),
    /// A tracepoint has so many arguments.
    Arity(&'static str, usize),
    /// A function takes this.
    Form(&'static str, String),
    /// What a function takes is not told.
    Untold(&'static str),
}

/// One sentence for all obstacles; the hint for the one that the user can remove.
fn refusal(obstacles: Vec<Obstacle>) -> Refusal {
    // The other ways fail for reasons that would not matter elsewhere.
    if obstacles.contains(&Obstacle::LockedDown) {
        return Refusal::locked_down();
    }
    let mut hint = String::new();
    let why: Vec<String> = obstacles
        .into_iter()
        .map(|obstacle| match obstacle {
            Obstacle::NoLayout(cause) => {
                let no_layout = Refusal::no_layout(&cause);
                hint = no_layout.hint;
                no_layout.why
            }
            Obstacle::LockedDown => Refusal::locked_down().why,
            Obstacle::NoTracepoint(symbol) => format!("this kernel's BTF has no tracepoint {symbol}"),
            Obstacle::Forced(way) => {
                hint = "use --attach auto".into();
                format!("--attach {way} excludes its other ways")
            }
            Obstacle::NotInBtf(symbol) => format!("this kernel's BTF has no function {symbol}"),
            Obstacle::Arity(symbol, args) => {
                format!("{symbol} has {args} arguments here, a form that is not known")
            }
            Obstacle::Form(symbol, takes) => {
                format!("{symbol} takes ({takes}) here, a form that is not known")
            }
            Obstacle::Untold(symbol) => {
                hint = "boot a kernel with CONFIG_DEBUG_INFO_BTF_MODULES=y".into();
                format!("what {symbol} takes is not told: its module has no BTF")
            }
        })
        .collect();
    Refusal { why: why.join("; "), hint }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
