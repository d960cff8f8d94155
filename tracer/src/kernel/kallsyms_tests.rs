use super::*;

const TEXT: &str = "\
    0000000000000000 A fixed_percpu_data\n\
    000000000001fb40 A __preempt_count\n\
    ffffffff81000000 T _stext\n\
    ffffffff81000000 T _text\n\
    ffffffff81000100 t foo\n\
    ffffffff81000180 d data\n\
    ffffffff81000200 t foo\n\
    ffffffff81000300 W weak\n\
    ffffffff81001000 T _etext\n\
    ffffffffc0101010 t b\t[two]\n\
    ffffffffc0001010 t a\t[one]\n\
    ffffffffc0001ff0 t z\t[one]\n\
    ffffffffc0201010 t bpf_prog_1 [bpf]\n";

fn table() -> Kallsyms {
    Kallsyms::parse(TEXT.into()).unwrap()
}

#[test]
fn finds_by_name_and_address() {
    let table = table();
    assert_eq!(table.len(), 10);
    assert_eq!(
        table.lookup("foo").map(|s| s.addr).collect::<Vec<_>>(),
        [0xffffffff81000100, 0xffffffff81000200]
    );
    assert_eq!(table.address("foo"), None, "two of them");
    assert_eq!(table.address("weak"), Some(0xffffffff81000300));
    assert_eq!(table.address("a"), None, "of a module");
    assert_eq!(table.address("data"), None, "not text");
    assert_eq!(table.variable("__preempt_count"), Some(0x1fb40));
    assert_eq!(table.variable("pcpu_hot"), None, "not there");
    let names: Vec<_> = table.names_at(0xffffffff81000000).map(|s| s.name).collect();
    assert_eq!(names, ["_stext", "_text"]);
}

#[test]
fn a_function_ends_at_the_next_text_symbol() {
    let table = table();
    let foo = table.function(0xffffffff81000190).unwrap();
    assert_eq!((foo.start, foo.end, foo.name), (0xffffffff81000100, 0xffffffff81000200, "foo"));
    let z = table.function(0xffffffffc0001ff8).unwrap();
    assert_eq!((z.end, z.module), (0xffffffffc0002000, Some("one")), "the module's last: end of page");
    assert_eq!(table.function(0xffffffffc0002000), None);
    assert_eq!(table.function(0x1000), None);
}

#[test]
fn ranges_leave_out_generated_code() {
    let ranges = table().text_ranges().unwrap();
    let shown: Vec<_> = ranges.iter().map(|r| (r.module.as_deref(), r.start, r.end)).collect();
    assert_eq!(
        shown,
        [
            (None, 0xffffffff81000000, 0xffffffff81001000),
            (Some("one"), 0xffffffffc0001010, 0xffffffffc0002000),
            (Some("two"), 0xffffffffc0101010, 0xffffffffc0102000),
        ]
    );
}

#[test]
fn what_ftrace_lists_of_init_sections_that_are_gone_is_left_out() {
    let again = "    ffffffffc0300000 T init_module\t[two]\n    ffffffffc0301000 T init_module\t[one]\n\
        ffffffffc0302000 T ftrace_trampoline\t[__builtin__ftrace]\n";
    let (before, bpf) = TEXT.split_at(TEXT.find("ffffffffc0201010").unwrap());
    let with = Kallsyms::parse(format!("{before}{again}{bpf}").into()).unwrap();
    assert_eq!(with.len(), table().len() + 1);
    assert_eq!(with.text_ranges().unwrap(), table().text_ranges().unwrap());
}

#[test]
fn hidden_addresses_are_an_error_with_a_remedy() {
    let text = "0000000000000000 T _stext\n0000000000000000 T _etext\n";
    let error = Kallsyms::parse(text.into()).unwrap_err().to_string();
    assert!(error.contains("kptr_restrict") && error.contains("CAP_SYSLOG"), "{error}");
    assert!(Kallsyms::parse(Vec::new()).unwrap_err().to_string().contains("empty"));
}

#[test]
fn broken_lines_are_skipped() {
    for line in [
        "",
        " ",
        "f",
        "ffff",
        "ffff ",
        "ffff T",
        "ffff T ",
        "xyz T a",
        "11112222333344445 T a",
        "ffff Tfoo",
        "ff T a [",
        "\u{ff}",
    ] {
        let text = format!("{line}\nffff T ok\n");
        let table = Kallsyms::parse(text.into()).unwrap();
        assert!(table.address("ok").is_some(), "{line}");
    }
}

#[test]
fn names_are_told_where_addresses_are_hidden() {
    let hidden =
        b"0000000000000000 T _stext\n0000000000000000 D jiffies\n0000000000000000 t fuse_copy_do\t[fuse]\n";
    assert!(Kallsyms::parse(hidden.to_vec()).is_err());
    let mut names: Vec<_> = named_functions(hidden).into_iter().collect();
    names.sort();
    assert_eq!(names, ["_stext", "fuse_copy_do"]);
}
