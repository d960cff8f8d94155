use super::*;

const START: u64 = 0xffff_ffff_8100_0000;
/// Where the target lies; it has a prefix, as kernels with call padding give it.
const TARGET: u64 = START + 0x2000;

fn symbols(functions: &str) -> Kallsyms {
    let text = format!(
        "ffffffff81000000 T _stext\n{functions}ffffffff81001ff0 t __pfx_target\nffffffff81002000 T target\nffffffff81002100 t after\nffffffff81003000 T _etext\n"
    );
    Kallsyms::parse(text.into()).unwrap()
}

/// One page of `nop`s before the target with `pieces` put in, and another page behind.
fn text(pieces: &[(u64, &[u8])]) -> Text {
    let mut bytes = vec![0x90; 0x3000];
    for (addr, piece) in pieces {
        let at = (addr - START) as usize;
        bytes[at..at + piece.len()].copy_from_slice(piece);
    }
    Text { segments: vec![Segment { module: None, start: START, bytes }], unread: Vec::new() }
}

/// `opcode` with a displacement to `to`, at `addr`.
fn jump(opcode: &[u8], addr: u64, to: u64) -> Vec<u8> {
    let next = addr + opcode.len() as u64 + 4;
    let mut code = opcode.to_vec();
    code.extend_from_slice(&(to.wrapping_sub(next) as u32).to_le_bytes());
    code
}

fn find(text: &Text, functions: &str) -> Found {
    scan(text, &symbols(functions), &[Target { primitive: 7, addr: TARGET }])
}

fn shown(found: &Found) -> Vec<(&str, u64, Kind)> {
    found.sites.iter().map(|site| (site.function.as_str(), site.offset, site.kind)).collect()
}

#[test]
fn finds_calls_tails_and_branches() {
    let (a, b, c) = (START + 0x10, START + 0x103, START + 0x1001);
    let text = text(&[
        (a, &jump(&[0xe8], a, TARGET)),
        (b, &jump(&[0xe9], b, TARGET)),
        (c, &jump(&[0x0f, 0x84], c, TARGET)),
    ]);
    let found = find(&text, "ffffffff81000100 t f\nffffffff81001000 t g\n");
    assert_eq!(
        shown(&found),
        [("_stext", 0x10, Kind::Call), ("f", 3, Kind::Tail), ("g", 1, Kind::ConditionalTail)]
    );
    assert_eq!(found.sites[0].primitive, 7);
    assert!(found.doubts.is_empty());
}

#[test]
fn finds_sites_at_every_alignment_and_across_blocks() {
    for offset in (0..9).chain(BLOCK as u64 - 8..BLOCK as u64 + 4) {
        let text = text(&[(START + offset, &jump(&[0xe8], START + offset, TARGET))]);
        assert_eq!(find(&text, "").sites.len(), 1, "{offset}");
    }
}

#[test]
fn a_displacement_inside_another_instruction_is_a_doubt() {
    // movabs $..., %rax holds what looks like a call.
    let (f, call) = (START + 0x100, START + 0x102);
    let mut code = vec![0x48, 0xb8];
    code.extend(jump(&[0xe8], call, TARGET));
    code.extend([0; 3]);
    let found = find(&text(&[(f, &code)]), "ffffffff81000100 t f\n");
    assert!(found.sites.is_empty());
    assert_eq!(found.doubts, [Doubt { addr: call + 1, primitive: 7, function: Some("f".into()) }]);
}

#[test]
fn sees_a_call_under_a_foreign_kprobe() {
    let call = START + 0x100;
    let text = text(&[(call, &jump(&[0xcc], call, TARGET))]);
    assert_eq!(shown(&find(&text, "")), [("_stext", 0x100, Kind::Call)]);
}

#[test]
fn padding_before_a_lookalike_is_no_call() {
    // ret; int3, then bytes that would lead into the target's prefix (seen on 7.2).
    let at = START + 0x100;
    let mut code = vec![0xc3];
    code.extend(jump(&[0xcc], at + 1, TARGET - 5));
    let found = find(&text(&[(at, &code)]), "");
    assert_eq!((found.sites.len(), found.doubts.len()), (0, 0));
}

#[test]
fn calls_moved_to_prefix_or_behind_endbr_count() {
    for to in [TARGET - 16, TARGET - 10, TARGET + 4] {
        let call = START + 0x100;
        let text = text(&[(call, &jump(&[0xe8], call, to))]);
        assert_eq!(find(&text, "").sites.len(), 1, "{to:#x}");
    }
    let call = START + 0x100;
    let text = text(&[(call, &jump(&[0xe8], call, TARGET + 5))]);
    assert_eq!(find(&text, "").sites.len(), 0);
}

#[test]
fn finds_short_jumps_of_neighbours_only() {
    let text = text(&[
        (START + 0x1fe0, &[0xeb, 0x1e]),                          // from before
        (START + 0x2010, &[0x74, 0xee]),                          // the target's own loop
        (START + 0x2100, &jump(&[0xe9], START + 0x2100, TARGET)), // `after`
    ]);
    let found = find(&text, "");
    assert_eq!(shown(&found), [("_stext", 0x1fe0, Kind::Tail), ("after", 0, Kind::Tail)]);
}

#[test]
fn noise_never_panics() {
    let mut seed = 7_u32;
    let mut bytes = vec![0; 0x3000];
    for byte in &mut bytes {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (seed >> 24) as u8;
    }
    for len in [0, 1, 3, 4, 5, 0x2fff, 0x3000] {
        let segment = Segment { module: None, start: START, bytes: bytes[..len].to_vec() };
        find(&Text { segments: vec![segment], unread: Vec::new() }, "");
    }
    let high = Segment { module: None, start: u64::MAX - 0x1000, bytes };
    scan(
        &Text { segments: vec![high], unread: Vec::new() },
        &symbols(""),
        &[Target { primitive: 0, addr: u64::MAX }, Target { primitive: 1, addr: 0 }],
    );
}
