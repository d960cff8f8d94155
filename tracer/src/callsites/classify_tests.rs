use super::*;
use crate::callsites::scan::{Target, scan};
use crate::callsites::text::Segment;

const START: u64 = 0xffff_ffff_8100_0000;
const COPY: u64 = START + 0x800;
const CHECK: u64 = START + 0x900;
const OTHER: u64 = START + 0xa00;

/// A tiny assembler: `f` starts at +0x100 and its cold part at +0x400.
struct Asm {
    bytes: Vec<u8>,
    at: usize,
}

impl Asm {
    fn new() -> Self {
        Self { bytes: vec![0x90; 0x1000], at: 0x100 }
    }

    fn at(mut self, at: usize) -> Self {
        self.at = at;
        self
    }

    fn raw(mut self, code: &[u8]) -> Self {
        self.bytes[self.at..self.at + code.len()].copy_from_slice(code);
        self.at += code.len();
        self
    }

    fn to(self, opcode: &[u8], target: u64) -> Self {
        let next = START + (self.at + opcode.len() + 4) as u64;
        let displacement = (target.wrapping_sub(next) as u32).to_le_bytes();
        self.raw(opcode).raw(&displacement)
    }

    fn call(self, target: u64) -> Self {
        self.to(&[0xe8], target)
    }

    fn jmp(self, to: usize) -> Self {
        self.to(&[0xe9], START + to as u64)
    }

    fn je(self, to: usize) -> Self {
        self.to(&[0x0f, 0x84], START + to as u64)
    }

    fn ret(self) -> Self {
        self.raw(&[0xc3])
    }

    fn verdicts(self) -> Vec<Verdict> {
        self.judge(&["wrapped"], &[Role::Data])
    }

    fn judge(self, wrappers: &[&str], roles: &[Role]) -> Vec<Verdict> {
        self.classify(wrappers, roles).sites
    }

    /// What follows the calls of the check, in the order of their addresses.
    fn after(self) -> Vec<After> {
        self.classify(&[], &[Role::Data]).checks
    }

    fn classify(self, wrappers: &[&str], roles: &[Role]) -> Verdicts {
        let text = "ffffffff81000000 T _stext\nffffffff81000100 t f\nffffffff81000300 t wrapped.isra.0\n\
            ffffffff81000400 t f.cold\nffffffff81000500 t lib\nffffffff81000800 T copy\n\
            ffffffff81000900 T check\nffffffff81000a00 T other\nffffffff81001000 T _etext\n\
            ffffffffc0000000 t kprobe_optinsn_page\t[__builtin__kprobes]\n";
        let symbols = Kallsyms::parse(text.into()).unwrap();
        let segment = Segment { module: None, start: START, bytes: self.bytes };
        let text = Text { segments: vec![segment], unread: Vec::new() };
        let sites = scan(&text, &symbols, &[Target { primitive: 0, addr: COPY }]).sites;
        let calls = scan(&text, &symbols, &[Target { primitive: 0, addr: CHECK }]).sites;
        let rules = Rules {
            roles,
            wrappers,
            leaving_checked: &[],
            sizes: &[Some(2)],
            in_lib: &["lib"],
            checks: &[CHECK],
            check_is_probed: true,
            targets: &[COPY, CHECK],
        };
        classify(&sites, &calls, &text, &symbols, &rules)
    }
}

fn checked(verdicts: &[Verdict]) -> Vec<bool> {
    verdicts.iter().map(|verdict| verdict.checked).collect()
}

#[test]
fn a_check_covers_the_next_copy_only() {
    let verdicts = Asm::new().call(CHECK).call(COPY).call(COPY).ret().verdicts();
    assert_eq!(checked(&verdicts), [true, false]);
    assert_eq!(verdicts[0].coverage, Coverage::Checked);
    assert_eq!(verdicts[1].coverage, Coverage::CallSite);
}

#[test]
fn another_call_in_between_uncovers() {
    assert_eq!(checked(&Asm::new().call(CHECK).call(OTHER).call(COPY).ret().verdicts()), [false]);
    assert_eq!(checked(&Asm::new().call(CHECK).raw(&[0xff, 0xd0]).call(COPY).ret().verdicts()), [false]);
    assert_eq!(checked(&Asm::new().call(OTHER).call(CHECK).call(COPY).ret().verdicts()), [true]);
}

#[test]
fn every_path_has_to_be_checked() {
    // je over the check.
    assert_eq!(checked(&Asm::new().je(0x10b).call(CHECK).call(COPY).ret().verdicts()), [false]);
    // je over a copy that is not reached by that path.
    assert_eq!(checked(&Asm::new().je(0x110).call(CHECK).call(COPY).ret().verdicts()), [true]);
}

#[test]
fn loops_meet_their_own_state() {
    // The second round arrives from after the copy.
    let unchecked = Asm::new().call(CHECK).call(COPY).je(0x105).ret();
    assert_eq!(checked(&unchecked.verdicts()), [false]);
    let checked_again = Asm::new().call(CHECK).call(COPY).je(0x100).ret();
    assert_eq!(checked(&checked_again.verdicts()), [true]);
}

#[test]
fn a_tail_jump_is_a_site_too() {
    let verdicts = Asm::new().call(CHECK).jmp(0x800).verdicts();
    assert_eq!(checked(&verdicts), [true]);
}

#[test]
fn the_cold_part_belongs_to_its_function() {
    // The check is in the function, the copy in the cold part, and back.
    let away = Asm::new().call(CHECK).jmp(0x400).at(0x400).call(COPY).jmp(0x10a);
    assert_eq!(checked(&away.verdicts()), [true]);
    // The cold part jumps back to before the copy, having called something.
    let back = Asm::new().je(0x400).call(CHECK).call(COPY).ret().at(0x400).call(OTHER).jmp(0x10b);
    assert_eq!(checked(&back.verdicts()), [false]);
    let orphan = Asm::new().at(0x400).call(CHECK).call(COPY).ret();
    let verdicts = orphan.verdicts();
    assert_eq!((verdicts[0].checked, verdicts[0].reached), (false, false));
}

#[test]
fn a_site_no_path_reaches_is_not_checked() {
    let verdicts = Asm::new().call(CHECK).call(COPY).ret().call(COPY).ret().verdicts();
    assert_eq!(
        verdicts.iter().map(|v| (v.checked, v.reached)).collect::<Vec<_>>(),
        [(true, true), (false, false)]
    );
    assert_eq!(verdicts[1].coverage, Coverage::CallSite);
}

#[test]
fn what_cannot_be_decoded_makes_a_verdict_unknown() {
    let verdict = |asm: Asm| asm.call(COPY).ret().verdicts().pop().map(|v| v.coverage);
    let unknown = Some(Coverage::Unknown);
    assert_eq!(verdict(Asm::new().call(CHECK).raw(&[0xcc])), unknown, "a foreign breakpoint");
    assert_eq!(verdict(Asm::new().raw(&[0xcc]).call(CHECK)), unknown, "at the function's start");
    assert_eq!(verdict(Asm::new().raw(&[0x06]).raw(&[0x90; 16]).call(CHECK)), unknown, "no instruction");
    assert_eq!(verdict(Asm::new().to(&[0xe9], 0xffff_ffff_c000_0010)), unknown, "an optimised kprobe");
    // Nothing goes there.
    let behind = Asm::new().call(CHECK).call(COPY).ret().raw(&[0x06]);
    assert_eq!(behind.verdicts()[0].coverage, Coverage::Checked);
    // What a wrapper counts is counted, whatever the code says.
    let wrapped = Asm::new().at(0x300).raw(&[0xcc]).call(COPY).ret();
    assert_eq!(wrapped.verdicts()[0].coverage, Coverage::Wrapper);
}

#[test]
fn calls_under_breakpoints_are_calls() {
    let verdicts = Asm::new().call(CHECK).to(&[0xcc], COPY).ret().verdicts();
    assert_eq!(verdicts[0].coverage, Coverage::Checked);
    // A kprobe on a tail jump, and padding behind it.
    let verdicts = Asm::new().call(CHECK).to(&[0xcc], COPY).raw(&[0xcc]).verdicts();
    assert_eq!(verdicts[0].coverage, Coverage::Checked);
}

#[test]
fn lists_and_roles_decide_the_rest() {
    let verdicts = Asm::new().at(0x300).call(CHECK).call(COPY).ret().at(0x500).call(COPY).ret().verdicts();
    let shown: Vec<_> = verdicts.iter().map(|v| (v.coverage, v.checked)).collect();
    assert_eq!(shown, [(Coverage::Wrapper, true), (Coverage::InLib, false)]);
    let verdicts = Asm::new().raw(EDX_8).call(COPY).ret().judge(&[], &[Role::Struct]);
    assert_eq!(verdicts[0].coverage, Coverage::Uncovered);
}

#[test]
fn names_lose_what_the_compiler_added() {
    assert_eq!(base_name("process_vm_rw_core.constprop.0"), "process_vm_rw_core");
    assert_eq!(base_name("f.part.0.cold"), "f");
    assert_eq!(parent_name("f.part.0.cold"), Some("f.part.0"));
    assert_eq!(parent_name("f.cold.12"), Some("f"));
    assert_eq!(parent_name("f"), None);
}

fn primitives(after: &After) -> Vec<usize> {
    after.primitives.iter().copied().collect()
}

#[test]
fn the_first_copy_behind_a_check_is_what_it_was_made_for() {
    let after =
        Asm::new().call(CHECK).raw(&[0x90]).call(COPY).call(CHECK).call(OTHER).call(COPY).ret().after();
    assert_eq!((primitives(&after[0]), after[0].other), (vec![0], false));
    assert_eq!((primitives(&after[1]), after[1].other), (vec![], true), "another call comes first");
}

#[test]
fn all_paths_behind_a_check_are_followed() {
    // 0x100 call check; je 0x140; call other; ret. At 0x140 jmp to the copy in the cold part.
    let asm = Asm::new().call(CHECK).je(0x140).call(OTHER).ret().at(0x140).jmp(0x410).at(0x410).call(COPY);
    let after = asm.ret().after();
    assert_eq!((primitives(&after[0]), after[0].other, after[0].doubtful), (vec![0], true, false));
}

#[test]
fn a_check_in_the_cold_part_leads_back_to_its_copy() {
    // 7.2: a static key jumps to the check and back.
    let asm = Asm::new().jmp(0x400).at(0x120).call(COPY).ret().at(0x400).call(CHECK).jmp(0x120);
    let after = asm.after();
    assert_eq!((primitives(&after[0]), after[0].other, after[0].doubtful), (vec![0], false, false));
}

#[test]
fn a_tail_call_of_a_copy_is_found() {
    let after = Asm::new().call(CHECK).to(&[0xe9], COPY).after();
    assert_eq!((primitives(&after[0]), after[0].other), (vec![0], false));
}

#[test]
fn a_breakpoint_behind_a_check_is_a_doubt() {
    let after = Asm::new().call(CHECK).raw(&[0xcc, 0x90]).call(COPY).ret().after();
    assert!(after[0].doubtful);
}

#[test]
fn a_loop_behind_a_check_ends() {
    let after = Asm::new().call(CHECK).jmp(0x105).after();
    assert_eq!(after[0], After::default(), "it never calls anything");
}

/// The size that the one copy of structures has, and what covers it.
fn sized(asm: Asm) -> (Size, Coverage) {
    let verdicts = asm.judge(&[], &[Role::Struct]);
    (verdicts[0].size, verdicts[0].coverage)
}

const EDX_8: &[u8] = &[0xba, 8, 0, 0, 0];
const EDX_4096: &[u8] = &[0xba, 0, 0x10, 0, 0];

#[test]
fn a_structure_has_a_constant_size() {
    let structure = |bytes| (Size::Constant(bytes), Coverage::Uncovered);
    assert_eq!(sized(Asm::new().raw(EDX_8).call(COPY).ret()), structure(8));
    assert_eq!(sized(Asm::new().raw(&[0x31, 0xd2]).call(COPY).ret()), structure(0), "xor %edx,%edx");
    let in_between = Asm::new().raw(EDX_8).raw(&[0x48, 0x89, 0xe7]).je(0x120).at(0x120).call(COPY).ret();
    assert_eq!(sized(in_between), structure(8), "mov %rsp,%rdi; je");
    let kept = Asm::new().raw(&[0xbb, 8, 0, 0, 0]).call(OTHER).raw(&[0x89, 0xda]).call(COPY).ret();
    assert_eq!(sized(kept), structure(8), "mov $8,%ebx; call; mov %ebx,%edx");
    // 0x100 mov $8; je 0x110; mov $4 (at 0x10b); the copy at 0x110.
    let chosen = Asm::new().raw(EDX_8).je(0x110).raw(&[0xba, 4, 0, 0, 0]).call(COPY).ret();
    assert_eq!(sized(chosen), structure(8), "the larger of two constants");
    let moved = Asm::new().raw(EDX_8).raw(&[0xb9, 16, 0, 0, 0, 0x0f, 0x44, 0xd1]).call(COPY).ret();
    assert_eq!(sized(moved), structure(16), "mov $16,%ecx; cmove %ecx,%edx");
}

#[test]
fn pages_and_sizes_that_are_no_constants_move_data() {
    assert_eq!(sized(Asm::new().raw(EDX_4096).call(COPY).ret()), (Size::Constant(4096), Coverage::CallSite));
    let variable = (Size::Variable, Coverage::CallSite);
    assert_eq!(sized(Asm::new().call(COPY).ret()), variable, "the caller's");
    assert_eq!(sized(Asm::new().raw(EDX_8).call(OTHER).call(COPY).ret()), variable, "lost in a call");
    assert_eq!(sized(Asm::new().raw(&[0x8b, 0x14, 0x24]).call(COPY).ret()), variable, "mov (%rsp),%edx");
    assert_eq!(sized(Asm::new().raw(EDX_8).raw(&[0x01, 0xc2]).call(COPY).ret()), variable, "add %eax,%edx");
    assert_eq!(sized(Asm::new().raw(EDX_8).raw(&[0xb2, 1]).call(COPY).ret()), variable, "mov $1,%dl");
    // je over the constant.
    assert_eq!(sized(Asm::new().je(0x10b).raw(EDX_8).call(COPY).ret()), variable);
    assert_eq!(sized(Asm::new().je(0x800)).0, Size::Variable, "a tail jump");
}

#[test]
fn of_a_copy_that_some_paths_check_the_others_tell_the_size() {
    // je 0x120; call check; jmp 0x130. At 0x120 mov $8,%edx, then the copy at 0x130.
    let asm = Asm::new().je(0x120).call(CHECK).jmp(0x130).at(0x120).raw(EDX_8).jmp(0x130).at(0x130);
    let verdicts = asm.call(COPY).ret().judge(&[], &[Role::Struct]);
    assert!(verdicts[0].mixed && verdicts[0].reached);
    assert_eq!((verdicts[0].size, verdicts[0].coverage), (Size::Constant(8), Coverage::Uncovered));
}

#[test]
fn a_check_that_is_patched_out_does_not_run() {
    // `hardened_usercopy=off`: a jump over the check.
    let off = |role| Asm::new().raw(&[0xeb, 5]).call(CHECK).call(COPY).ret().classify(&[], &[role]);
    assert_eq!(off(Role::Struct).live_checks, 0);
    assert_eq!(off(Role::Struct).sites[0].coverage, Coverage::CallSite);
    assert_eq!(off(Role::Data).sites[0].coverage, Coverage::CallSite);
    // The compiler found a constant where the source has none: `min(len, sizeof(int))` of an option.
    let constant = Asm::new().raw(EDX_8).raw(&[0xeb, 5]).call(CHECK).call(COPY).ret();
    assert_eq!(sized(constant), (Size::Variable, Coverage::CallSite));
    let on = Asm::new().raw(&[0x66, 0x90]).call(CHECK).call(COPY).ret().classify(&[], &[Role::Struct]);
    assert_eq!((on.live_checks, on.sites[0].coverage), (1, Coverage::Checked));
}
