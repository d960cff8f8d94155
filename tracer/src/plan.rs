//! Which way each row of the table is to be observed: a pure function of the table, of what this kernel
//! offers and of what the user asked for.

use serde::{Deserialize, Serialize};
use tracer_ebpf::table::{Group, Method, ROWS, Row, Way};

/// What the plan must know of a kernel. Tests make one up.
pub trait Offers {
    fn release(&self) -> (u16, u16);
    /// Number of arguments of a function that BTF knows; `None` if it does not know the function.
    fn function_args(&self, name: &str) -> Option<usize>;
    /// Number of arguments of a tracepoint that BTF knows.
    fn tracepoint_args(&self, name: &str) -> Option<usize>;
    /// Why no structure can be read, if so.
    fn without_layout(&self) -> Option<&str>;
    /// True if this kernel preempts BPF programs.
    fn preempts(&self) -> bool;
}

/// `--attach`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, Serialize, Deserialize)]
pub enum Attach {
    /// The cheapest way that is exact: trampolines, else kprobes.
    Auto,
    /// Trampolines (fentry, fexit) only.
    Fentry,
    /// kprobes and kretprobes only; loses the returns of functions that sleep in large numbers.
    Kprobe,
    /// kprobes on the call instructions of the copy primitives in place of wrappers; does not see
    /// copy_to_user and copy_from_user (argument blocks, older drivers).
    Callsite,
}

/// What to try for one row.
#[derive(Debug)]
pub struct Choice {
    pub row: &'static Row,
    /// In order of preference; empty: `refused` says why.
    pub ways: Vec<&'static Way>,
    pub refused: Option<Refusal>,
}

/// Why something is not attached, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub why: String,
    pub hint: String,
}

impl Refusal {
    /// Both, each said once.
    pub fn and(self, other: Refusal) -> Refusal {
        let join = |a: String, b: String, between: &str| match (a.is_empty(), a.contains(&b)) {
            (true, _) => b,
            (_, true) => a,
            _ => format!("{a}{between}{b}"),
        };
        Refusal { why: join(self.why, other.why, "; "), hint: join(self.hint, other.hint, ", or ") }
    }
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
        .filter(|row| row.releases.contains(offers.release()) && is_wanted(row, wanted))
        .filter(|row| !row.ways.is_empty())
        .map(|row| choose_row(row, offers, wanted))
        .collect()
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

fn choose_row(row: &'static Row, offers: &impl Offers, wanted: Wanted) -> Choice {
    let mut why = Vec::new();
    let mut ways: Vec<_> = row
        .ways
        .iter()
        .filter(|way| match obstacle(row, way, offers, wanted.attach) {
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
    let refused = ways.is_empty().then(|| refusal(why));
    Choice { row, ways, refused }
}

/// Why a way cannot work here, or `None`. (Only an attach tells whether it does.)
fn obstacle(row: &Row, way: &Way, offers: &impl Offers, attach: Attach) -> Option<Obstacle> {
    if let Some(cause) = offers.without_layout()
        && reads_structures(row)
    {
        return Some(Obstacle::NoLayout(cause.to_owned()));
    }
    match way.method {
        Method::Trampoline => match offers.function_args(way.symbol) {
            _ if attach == Attach::Kprobe => Some(Obstacle::Forced("kprobe")),
            None => Some(Obstacle::NotInBtf(way.symbol)),
            Some(args) if way.args != 0 && args != way.args as usize => {
                Some(Obstacle::Arity(way.symbol, args))
            }
            Some(_) => None,
        },
        Method::Kprobe => (attach == Attach::Fentry).then_some(Obstacle::Forced("fentry")),
        Method::Tracepoint => None,
        Method::RawTracepoint => match offers.tracepoint_args(way.symbol) {
            Some(args) if args < way.args as usize => Some(Obstacle::Arity(way.symbol, args)),
            _ => None,
        },
    }
}

/// True unless the row's programs get along without any structure's layout.
fn reads_structures(row: &Row) -> bool {
    row.name != "page_fault" && !is_of_softirqs(row)
}

#[derive(PartialEq)]
enum Obstacle {
    NoLayout(String),
    Forced(&'static str),
    NotInBtf(&'static str),
    Arity(&'static str, usize),
}

/// One sentence for all obstacles; the hint for the one that the user can remove.
fn refusal(obstacles: Vec<Obstacle>) -> Refusal {
    let mut hint = String::new();
    let why: Vec<String> = obstacles
        .into_iter()
        .map(|obstacle| match obstacle {
            Obstacle::NoLayout(cause) => {
                hint = "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (every Debian kernel since 5.10)".into();
                format!("structure offsets are unknown: {cause}")
            }
            Obstacle::Forced(way) => {
                hint = "use --attach auto".into();
                format!("--attach {way} excludes its other ways")
            }
            Obstacle::NotInBtf(symbol) => format!("this kernel's BTF has no function {symbol}"),
            Obstacle::Arity(symbol, args) => {
                format!("{symbol} has {args} arguments here, a form that is not known")
            }
        })
        .collect();
    Refusal { why: why.join("; "), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Kernel {
        release: (u16, u16),
        functions: &'static [(&'static str, usize)],
        layout: Option<&'static str>,
    }

    impl Offers for Kernel {
        fn release(&self) -> (u16, u16) {
            self.release
        }
        fn function_args(&self, name: &str) -> Option<usize> {
            self.functions.iter().find(|(n, _)| *n == name).map(|(_, args)| *args)
        }
        fn tracepoint_args(&self, name: &str) -> Option<usize> {
            (name == "sched_switch").then_some(if self.release < (5, 18) { 3 } else { 4 })
        }
        fn without_layout(&self) -> Option<&str> {
            self.layout
        }
        fn preempts(&self) -> bool {
            self.release >= (7, 0)
        }
    }

    const OLD: Kernel = Kernel {
        release: (5, 10),
        functions: &[("generic_file_buffered_read", 3), ("generic_perform_write", 3), ("pipe_read", 2)],
        layout: None,
    };

    const NEW: Kernel = Kernel {
        release: (6, 12),
        functions: &[("__check_object_size", 3), ("filemap_read", 3)],
        layout: None,
    };

    fn wanted(attach: Attach) -> Wanted {
        Wanted { attach, life: true, audit: false, net: true, softirqs: true }
    }

    fn first<'a>(plan: &'a [Choice], row: &str) -> &'a Way {
        plan.iter().find(|c| c.row.name == row).and_then(|c| c.ways.first()).expect(row)
    }

    #[test]
    fn takes_the_form_that_the_kernel_has() {
        let plan = choose(&OLD, wanted(Attach::Auto));
        assert_eq!(first(&plan, "file_read").symbol, "generic_file_buffered_read");
        assert_eq!(first(&plan, "file_write").programs, ["file_write_fexit3"]);
        assert_eq!(first(&plan, "sched_switch").programs, ["sched_switch_by_task"]);
        assert_eq!(first(&plan, "pipe_read").symbol, "pipe_read");
    }

    #[test]
    fn falls_back_to_kprobes_where_btf_lacks_a_function() {
        let plan = choose(&OLD, wanted(Attach::Auto));
        assert_eq!(first(&plan, "shmem_read").method, Method::Kprobe);
        let forced = choose(&OLD, wanted(Attach::Kprobe));
        assert_eq!(first(&forced, "file_read").method, Method::Kprobe);
        let refused = choose(&OLD, wanted(Attach::Fentry));
        let shmem = refused.iter().find(|c| c.row.name == "shmem_read").expect("planned");
        assert!(shmem.ways.is_empty() && shmem.refused.as_ref().expect("why").why.contains("BTF"));
    }

    #[test]
    fn rows_are_for_their_releases_only() {
        let names =
            |k: &Kernel| -> Vec<_> { choose(k, wanted(Attach::Auto)).iter().map(|c| c.row.name).collect() };
        assert!(names(&OLD).contains(&"mute_file") && names(&OLD).contains(&"cow"));
        let new = Kernel { release: (6, 12), functions: &[], layout: None };
        assert!(!names(&new).contains(&"mute_file") && !names(&new).contains(&"cow"));
    }

    #[test]
    fn what_would_be_preempted_attaches_another_way() {
        let method = |kernel: &Kernel, name: &str| {
            let plan = choose(kernel, wanted(Attach::Auto));
            plan.iter().find(|choice| choice.row.name == name).map(|choice| choice.ways[0].method)
        };
        let newest = Kernel { release: (7, 2), ..NEW };
        assert_eq!(method(&newest, "sys_exit"), Some(Method::Tracepoint));
        assert_eq!(method(&newest, "check"), Some(Method::Kprobe));
        assert_eq!(method(&newest, "file_read"), Some(Method::Trampoline));
        assert_eq!(method(&NEW, "sys_exit"), Some(Method::RawTracepoint));
        assert_eq!(method(&NEW, "check"), Some(Method::Trampoline));
    }

    #[test]
    fn softirqs_have_programs_only_where_nothing_else_tells_them() {
        let programs = |softirqs| {
            let plan = choose(&NEW, Wanted { softirqs, ..wanted(Attach::Auto) });
            plan.iter().filter(|choice| is_of_softirqs(choice.row)).count()
        };
        assert_eq!((programs(true), programs(false)), (2, 0));
    }

    #[test]
    fn every_system_call_is_one_event_but_in_an_audit() {
        let has = |name, wanted| choose(&NEW, wanted).iter().any(|choice| choice.row.name == name);
        let one = Wanted { life: false, ..wanted(Attach::Auto) };
        assert!(!has("sys_enter", one) && has("sys_exit", one) && has("exit", one) && !has("fork", one));
        assert!(has("sys_enter", Wanted { audit: true, ..one }));
    }

    #[test]
    fn without_layout_nothing_is_guessed() {
        let kernel = Kernel { layout: Some("no BTF"), ..OLD };
        for choice in choose(&kernel, wanted(Attach::Auto)) {
            assert_eq!(choice.ways.is_empty(), reads_structures(choice.row), "{}", choice.row.name);
        }
    }

    #[test]
    fn call_sites_replace_wrappers_and_check() {
        let plan = choose(&OLD, wanted(Attach::Callsite));
        for gone in ["check", "file_read", "pipe_write", "process_vm"] {
            assert!(!plan.iter().any(|c| c.row.name == gone), "{gone}");
        }
        assert!(plan.iter().any(|c| c.row.name == "skb_copy_bits"));
    }
}
