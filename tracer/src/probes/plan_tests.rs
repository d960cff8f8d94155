use super::*;
use crate::probes::Attached;

/// A kernel as BTF, symbols and text tell it.
#[derive(Clone, Copy)]
struct Kernel {
    /// Functions in its own BTF, with what they take.
    functions: &'static [(&'static str, &'static str)],
    /// Functions in the BTF of its modules.
    modules: &'static [(&'static str, &'static str)],
    /// Further functions, which only symbols tell; `None`: those cannot be read.
    symbols: Option<&'static [&'static str]>,
    old_iterators: bool,
    calls: Option<&'static [(&'static str, &'static str)]>,
    sched_switch: usize,
    layout: Option<&'static str>,
    locked_down: bool,
    preempts: bool,
}

fn params(functions: &[(&str, &str)], name: &str) -> Option<Vec<String>> {
    let (_, takes) = functions.iter().find(|(function, _)| *function == name)?;
    Some(takes.split(", ").map(str::to_owned).collect())
}

impl Offers for Kernel {
    fn params(&self, function: &str) -> Option<Vec<String>> {
        params(self.functions, function)
    }
    fn module_params(&self, function: &str) -> Option<Vec<String>> {
        params(self.modules, function)
    }
    fn has_function(&self, name: &str) -> Option<bool> {
        let told = self.params(name).or_else(|| self.module_params(name)).is_some();
        if told { Some(true) } else { Some(self.symbols?.contains(&name)) }
    }
    fn has_old_iterators(&self) -> bool {
        self.old_iterators
    }
    fn calls(&self, function: &str, primitive: &str) -> Option<bool> {
        Some(self.calls?.contains(&(function, primitive)))
    }
    fn tracepoint_args(&self, name: &str) -> Option<usize> {
        match name {
            "sched_switch" => Some(self.sched_switch),
            "sys_enter" | "sys_exit" => Some(2),
            _ => None,
        }
    }
    fn without_layout(&self) -> Option<&str> {
        self.layout
    }
    fn is_locked_down(&self) -> bool {
        self.locked_down
    }
    fn preempts(&self) -> bool {
        self.preempts
    }
}

const ITER_CALL: &str = "struct kiocb *, struct iov_iter *";
const BUFFERED_READ: &str = "struct kiocb *, struct iov_iter *, ssize_t";
const CHECK: (&str, &str) = ("__check_object_size", "void *, long unsigned int, bool");

const OLD: Kernel = Kernel {
    functions: &[
        ("generic_file_buffered_read", BUFFERED_READ),
        ("generic_perform_write", "struct file *, struct iov_iter *, loff_t"),
        ("pipe_read", ITER_CALL),
        ("wp_page_copy", "struct vm_fault *"),
        (
            "copy_user_huge_page",
            "struct page *, struct page *, long unsigned int, struct vm_area_struct *, unsigned int",
        ),
    ],
    modules: &[],
    symbols: Some(&["shmem_file_read_iter"]),
    old_iterators: true,
    calls: Some(&[("wp_page_copy", "copy_page")]),
    sched_switch: 3,
    layout: None,
    locked_down: false,
    preempts: false,
};

const NEW: Kernel = Kernel {
    functions: &[
        CHECK,
        ("filemap_read", BUFFERED_READ),
        ("splice_file_to_pipe", "struct file *, struct pipe_inode_info *, loff_t *, size_t, unsigned int"),
        ("splice_to_socket", "struct pipe_inode_info *, struct file *, loff_t *, size_t, unsigned int"),
    ],
    modules: &[],
    symbols: Some(&["copy_mc_to_kernel"]),
    old_iterators: false,
    calls: Some(&[]),
    sched_switch: 4,
    layout: None,
    locked_down: false,
    preempts: false,
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

fn names(kernel: &Kernel) -> Vec<&'static str> {
    choose(kernel, wanted(Attach::Auto)).iter().map(|choice| choice.row.name).collect()
}

fn is_required(choice: &Choice) -> bool {
    let refusal = Refusal { why: String::new(), hint: String::new() };
    Attached { row: choice.row, way: Err(refusal), absent: choice.absent }.is_required()
}

fn chosen(kernel: &Kernel, row: &str) -> Choice {
    let mut plan = choose(kernel, wanted(Attach::Auto)).into_iter();
    plan.find(|choice| choice.row.name == row).expect(row)
}

/// Rows that not all kernels have, by what tells.
const BY_KERNEL: [&str; 6] =
    ["cow", "cow_huge", "mute_file", "ktls_sendpage", "owner_sendpage", "sendfile_to_pipe"];

fn of_those(kernel: &Kernel) -> Vec<&'static str> {
    names(kernel).into_iter().filter(|name| BY_KERNEL.contains(name)).collect()
}

#[test]
fn rows_are_for_kernels_that_have_the_thing() {
    assert_eq!(of_those(&OLD), ["cow", "cow_huge", "ktls_sendpage", "mute_file", "owner_sendpage"]);
    assert_eq!(of_those(&NEW), ["sendfile_to_pipe"]);
}

#[test]
fn a_kernel_is_what_it_has() {
    // As 5.14 of RHEL: newer iterators and splice, pages still copied by the fault's own function.
    let backported = Kernel {
        functions: &[
            CHECK,
            ("filemap_read", BUFFERED_READ),
            ("generic_perform_write", ITER_CALL),
            ("wp_page_copy", "struct vm_fault *"),
            ("splice_to_socket", "struct pipe_inode_info *, struct file *, loff_t *, size_t, unsigned int"),
        ],
        calls: Some(&[("wp_page_copy", "copy_page")]),
        ..NEW
    };
    assert_eq!(of_those(&backported), ["cow"]);
    assert_eq!(
        first(&choose(&backported, wanted(Attach::Auto)), "file_write").programs,
        ["file_write_fexit"]
    );
    // Its function is there, as on 6.1, and copies nothing by itself: `page_copy` counts.
    let counted_twice = Kernel { calls: Some(&[]), ..backported };
    assert_eq!(of_those(&counted_twice), [""; 0]);
    // Nobody knows: then old iterators decide, and coverage is unproven.
    assert!(!names(&Kernel { calls: None, ..backported }).contains(&"cow"));
    assert!(names(&Kernel { calls: None, ..OLD }).contains(&"cow"));
}

#[test]
fn where_nothing_tells_a_row_is_tried() {
    let silent = Kernel { functions: &[], symbols: None, calls: None, ..NEW };
    for name in ["cow_huge", "ktls_sendpage", "owner_sendpage", "sendfile_to_pipe"] {
        assert!(names(&silent).contains(&name), "{name}");
    }
}

#[test]
fn a_function_that_is_not_there_is_not_missed_if_its_copies_are_looked_at_elsewhere() {
    let required = |kernel: &Kernel, row: &str| is_required(&chosen(kernel, row));
    assert!(required(&OLD, "cow"));
    // Inlined: its call sites are in another function, and are covered there.
    let inlined = Kernel { functions: &[CHECK], ..OLD };
    assert!(!required(&inlined, "cow") && !required(&inlined, "file_read"));
    // Not told, so perhaps there.
    assert!(required(&Kernel { symbols: None, ..inlined }, "file_read"));
    // What covers no call sites copies by `memcpy`, which nobody else sees.
    assert!(required(&inlined, "skb_copy_bits") && required(&inlined, "mute_file"));
    assert!(!required(&OLD, "dax_rw") && !required(&OLD, "sched_switch"));
}

#[test]
fn a_function_with_other_parameters_is_refused_in_either_way() {
    let strange =
        Kernel { functions: &[("filemap_read", "struct file *, struct iov_iter *, ssize_t"), CHECK], ..NEW };
    let choice = chosen(&strange, "file_read");
    assert!(choice.ways.is_empty() || choice.ways.iter().all(|way| way.symbol != "filemap_read"));
    assert!(is_required(&choice));
    let longer =
        Kernel { functions: &[("filemap_read", "struct kiocb *, struct iov_iter *, ssize_t, int")], ..NEW };
    assert!(chosen(&longer, "file_read").ways.iter().all(|way| way.symbol != "filemap_read"));
}

#[test]
fn the_position_of_an_argument_decides_which_programs_count() {
    let programs = |kernel: &Kernel| -> Vec<_> {
        chosen(kernel, "fuse_write").ways.iter().map(|way| way.programs[0]).collect()
    };
    let new = Kernel { modules: &[("fuse_perform_write", ITER_CALL)], ..NEW };
    assert_eq!(programs(&new), ["fuse_write_entry"]);
    const THIRD: &str = "struct kiocb *, struct address_space *, struct iov_iter *, loff_t";
    let third = Kernel { modules: &[("fuse_perform_write", THIRD)], ..NEW };
    assert_eq!(programs(&third), ["fuse_write_at_entry"]);
    // 5.10 does not describe its modules: what is known of such kernels holds.
    let loaded = Kernel { symbols: Some(&["fuse_perform_write"]), ..OLD };
    assert_eq!(programs(&loaded), ["fuse_write_at_entry"]);
    // Another kernel that does not describe them is not guessed at, and the gap is said.
    let untold = Kernel { symbols: Some(&["fuse_perform_write"]), ..NEW };
    let choice = chosen(&untold, "fuse_write");
    assert!(choice.ways.is_empty() && is_required(&choice));
    let refusal = choice.refused.expect("why");
    assert!(refusal.why.contains("fuse_perform_write") && refusal.hint.contains("BTF"), "{refusal:?}");
    // A form that is not known.
    let strange = Kernel { modules: &[("fuse_perform_write", "struct kiocb *, struct fuse_args *")], ..NEW };
    let choice = chosen(&strange, "fuse_write");
    assert!(choice.ways.is_empty() && is_required(&choice));
    assert!(choice.refused.expect("why").why.contains("struct fuse_args *"));
    // Not loaded: no gap, and it is tried again when a module comes.
    assert!(!is_required(&chosen(&NEW, "fuse_write")));
}

#[test]
fn what_would_be_preempted_attaches_another_way() {
    let method = |kernel: &Kernel, name: &str| {
        let plan = choose(kernel, wanted(Attach::Auto));
        plan.iter().find(|choice| choice.row.name == name).map(|choice| choice.ways[0].method)
    };
    let newest = Kernel { preempts: true, ..NEW };
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
        let name = choice.row.name;
        let is_fixed = |way: &Way| matches!(way.reads, Reads::Registers | Reads::Nothing);
        assert!(choice.ways.iter().all(|way| is_fixed(way) && way.method != Method::Trampoline), "{name}");
        // 5.10's sched_switch has another number of arguments.
        let may_attach = choice.row.ways.iter().any(is_fixed) && name != "sched_switch";
        assert_eq!(choice.ways.is_empty(), !may_attach, "{name}");
    }
    let plan = choose(&kernel, wanted(Attach::Auto));
    assert_eq!(first(&plan, "sys_exit").programs, ["sys_exit_registers"]);
    assert_eq!(first(&plan, "exit").programs, ["exit_registers"]);
    // Its only argument is the registers, whatever BTF has to say.
    let handler = "__sysvec_apic_timer_interrupt";
    let silent = Kernel { functions: &[], symbols: Some(&["__sysvec_apic_timer_interrupt"]), ..kernel };
    assert_eq!(first(&choose(&silent, wanted(Attach::Auto)), "irq_timer").symbol, handler);
}

#[test]
fn locked_down_only_what_the_verifier_knows_is_read() {
    let kernel = Kernel { locked_down: true, ..OLD };
    let plan = choose(&kernel, wanted(Attach::Auto));
    assert_eq!(first(&plan, "sys_exit").programs, ["sys_exit_typed"]);
    assert_eq!(first(&plan, "sched_switch").programs, ["sched_switch_typed"]);
    assert_eq!(first(&plan, "exec").programs, ["execed_from_list"]);
    let fork = plan.iter().find(|choice| choice.row.name == "fork").expect("planned");
    let refused = fork.refused.as_ref().expect("it reads the child");
    assert!(refused.why.contains("locked down (confidentiality)"), "{}", refused.why);
    assert!(plan.iter().flat_map(|choice| &choice.ways).all(|way| way.method != Method::Kprobe));
}

#[test]
fn reduced_ways_are_for_kernels_that_leave_no_other() {
    for kernel in [OLD, NEW] {
        let plan = choose(&kernel, wanted(Attach::Auto));
        assert!(plan.iter().flat_map(|choice| &choice.ways).all(|way| !way.reduced));
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
