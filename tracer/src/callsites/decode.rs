//! Decodes a function into what call-site analysis needs: where each instruction
//! starts and where control goes from there. x86_64 only.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};

/// Instructions of one function at most; the kernel's longest has some 20,000.
const MAX_INSTRUCTIONS: usize = 1 << 18;
pub const INT3: u8 = 0xcc;

/// Where control goes after an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// To the next instruction.
    Next,
    /// Calls `0`, then to the next instruction.
    Call(u64),
    /// Calls through a register or memory.
    CallIndirect,
    Jump(u64),
    /// Jumps to `0`, or goes to the next instruction.
    Branch(u64),
    /// Nowhere this analysis can follow: return, indirect jump, padding.
    Stop,
    /// Someone's breakpoint replaced the first byte, or it is no instruction at all: what it does is
    /// unknown, and where the next one begins is a guess.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instr {
    pub addr: u64,
    pub len: u8,
    pub flow: Flow,
    /// Does nothing: alignment between blocks is made of these.
    pub nop: bool,
}

/// Decodes `code`, which starts at `start`, from first to last byte.
///
/// `is_target` tells the first instructions of the functions that matter. A kprobe's breakpoint replaces the opcode
/// of a call but leaves its displacement, by which a call of such an address is recognised.
pub fn decode(code: &[u8], start: u64, is_target: impl Fn(u64) -> bool) -> Vec<Instr> {
    let mut instrs: Vec<Instr> = Vec::with_capacity(code.len() / 4);
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    let mut instr = Instruction::default();
    while decoder.can_decode() && instrs.len() < MAX_INSTRUCTIONS {
        let at = decoder.position();
        if code[at] == INT3 {
            let found = breakpoint(code, at, start, &instrs, &is_target);
            let next = at + usize::from(found.len);
            instrs.push(found);
            if decoder.set_position(next).is_err() {
                break;
            }
            decoder.set_ip(start.wrapping_add(next as u64));
            continue;
        }
        decoder.decode_out(&mut instr);
        let nop = instr.mnemonic() == Mnemonic::Nop;
        instrs.push(Instr { addr: instr.ip(), len: instr.len() as u8, flow: flow(&instr), nop });
    }
    instrs
}

fn flow(instr: &Instruction) -> Flow {
    if instr.is_invalid() {
        return Flow::Unknown;
    }
    let direct = instr.op0_kind() == OpKind::NearBranch64;
    match instr.flow_control() {
        FlowControl::Call if direct => Flow::Call(instr.near_branch_target()),
        FlowControl::Call | FlowControl::IndirectCall => Flow::CallIndirect,
        FlowControl::UnconditionalBranch if direct => Flow::Jump(instr.near_branch_target()),
        FlowControl::ConditionalBranch => Flow::Branch(instr.near_branch_target()),
        FlowControl::UnconditionalBranch | FlowControl::IndirectBranch | FlowControl::Return => Flow::Stop,
        // ud2 is both BUG(), which does not go on, and WARN(), which does: taking both
        // paths can only find less to be covered.
        _ => Flow::Next,
    }
}

/// What an int3 at `at` stands for.
fn breakpoint(
    code: &[u8],
    at: usize,
    start: u64,
    before: &[Instr],
    is_target: &impl Fn(u64) -> bool,
) -> Instr {
    let addr = start.wrapping_add(at as u64);
    let instr = |len: u8, flow| Instr { addr, len, flow, nop: false };
    if let Some(target) = rel32(code, at + 1, start).filter(|&target| is_target(target)) {
        // `e8` or `e9`? What is followed by padding, or by nothing, does not come back.
        let last = code.get(at + 5).is_none_or(|&byte| byte == INT3);
        return instr(5, if last { Flow::Jump(target) } else { Flow::Call(target) });
    }
    if code.get(at + 1).is_some_and(|byte| byte & 0xf0 == 0x80)
        && let Some(target) = rel32(code, at + 2, start).filter(|&target| is_target(target))
    {
        return instr(6, Flow::Branch(target));
    }
    // After a jump or return it is padding, put there against straight-line speculation; so it is at the
    // function's end, where a call that does not return (`__stack_chk_fail`) may precede it.
    let padding = before.last().is_some_and(|last| matches!(last.flow, Flow::Stop | Flow::Jump(_)))
        || code[at..].iter().all(|&byte| byte == INT3);
    instr(1, if padding { Flow::Stop } else { Flow::Unknown })
}

/// Target of the 32-bit displacement at `at` within `code`.
#[inline]
pub fn rel32(code: &[u8], at: usize, start: u64) -> Option<u64> {
    let bytes = code.get(at..at.checked_add(4)?)?;
    let displacement = i32::from_le_bytes(bytes.try_into().ok()?);
    let next = start.wrapping_add(at as u64 + 4);
    Some(next.wrapping_add_signed(i64::from(displacement)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0xffff_ffff_8100_0000;

    fn flows(code: &[u8]) -> Vec<(u64, Flow)> {
        let target = START + 0x1000;
        let instrs = decode(code, START, |addr| addr == target);
        instrs.iter().map(|instr| (instr.addr - START, instr.flow)).collect()
    }

    #[test]
    fn tells_where_control_goes() {
        let code = [
            0xe8, 0xfb, 0x0f, 0, 0, // call +0x1000
            0x74, 0x01, // je +8
            0x90, // nop
            0xff, 0xd0, // call *%rax
            0xeb, 0xf4, // jmp +0
            0xc3, 0xcc, // ret; int3
        ];
        let target = START + 0x1000;
        assert_eq!(
            flows(&code),
            [
                (0, Flow::Call(target)),
                (5, Flow::Branch(START + 8)),
                (7, Flow::Next),
                (8, Flow::CallIndirect),
                (10, Flow::Jump(START)),
                (12, Flow::Stop),
                (13, Flow::Stop),
            ]
        );
    }

    #[test]
    fn sees_through_a_breakpoint_on_a_call_or_branch() {
        assert_eq!(
            flows(&[0x90, 0xcc, 0xfa, 0x0f, 0, 0, 0x90])[1..],
            [(1, Flow::Call(START + 0x1000)), (6, Flow::Next)]
        );
        assert_eq!(flows(&[0x90, 0xcc, 0x84, 0xf9, 0x0f, 0, 0])[1..], [(1, Flow::Branch(START + 0x1000))]);
        let tail = [0x90, 0xcc, 0xfa, 0x0f, 0, 0, 0xcc];
        assert_eq!(flows(&tail)[1..], [(1, Flow::Jump(START + 0x1000)), (6, Flow::Stop)], "padding follows");
    }

    #[test]
    fn says_what_it_cannot_decode() {
        assert_eq!(flows(&[0x90, 0xcc, 0x90])[1], (1, Flow::Unknown), "a breakpoint");
        assert_eq!(flows(&[0xcc, 0x90])[0], (0, Flow::Unknown), "on the first instruction");
        let noreturn = [0xe8, 0, 0, 0, 0, 0xcc, 0xcc];
        assert_eq!(flows(&noreturn)[1..], [(5, Flow::Stop), (6, Flow::Stop)], "padding after the last call");
        assert_eq!(flows(&[0x90, 0x06, 0x90])[1], (1, Flow::Unknown), "push %es: not in 64-bit mode");
    }

    #[test]
    fn any_bytes_decode_to_the_end() {
        let mut seed = 1_u32;
        let noise = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        });
        let noise = noise.take(20_000).collect::<Vec<u8>>();
        let instrs = decode(&noise, START, |_| false);
        assert_eq!(instrs.iter().map(|i| usize::from(i.len)).sum::<usize>(), noise.len());
        assert!(decode(&[], START, |_| true).is_empty());
        decode(&[0xcc; 64], u64::MAX - 8, |_| true);
    }
}
