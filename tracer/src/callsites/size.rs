//! How many bytes a call of a copy function asks for, if the compiler knew it.
//!
//! Walks backwards from the call, over all paths that no check precedes, to where the argument's register is written.

use std::collections::BTreeSet;

use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

use super::classify::Unit;
use super::decode::{Flow, Instr};
use super::text::Text;

/// Registers that hold an argument of a kernel function on x86_64, by position.
const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// Registers that a function gives back as it found them.
const KEPT_BY_CALLS: [Register; 7] =
    [Register::RBX, Register::RBP, Register::RSP, Register::R12, Register::R13, Register::R14, Register::R15];

/// Bytes that a call copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// The compiler's constant; the largest, where it chose between several.
    Constant(u64),
    /// Whatever a register holds.
    Variable,
}

/// What an instruction leaves in a register.
enum Left {
    Constant(u64),
    /// What these held before; the second is for a conditional move.
    Registers(Register, Option<Register>),
    Anything,
}

/// The size that the call at `site` has in its argument number `position`, on paths where no check precedes it.
pub(super) fn size(unit: &Unit, text: &Text, site: u64, position: usize, checks: &[u64]) -> Size {
    let (Some(call), Some(argument)) = (unit.find(site), ARGUMENTS.get(position)) else {
        return Size::Variable;
    };
    let is_reached = unit.is_reached(call);
    let mut info = InstructionInfoFactory::new();
    let mut largest = 0;
    let mut seen = BTreeSet::new();
    let mut work = vec![(call, *argument)];
    while let Some((at, register)) = work.pop() {
        if !seen.insert((at, register as usize)) {
            continue;
        }
        if unit.is_entry(at) {
            return Size::Variable;
        }
        for before in unit.predecessors(at) {
            let instr = unit.instr(before);
            let is_check = matches!(instr.flow, Flow::Call(target) if checks.contains(&target));
            if is_check || unit.is_checked(before) || (is_reached && !unit.is_reached(before)) {
                continue;
            }
            match left(&instr, text, register, &mut info) {
                Left::Constant(value) => largest = largest.max(value),
                Left::Registers(first, second) => {
                    work.extend([Some(first), second].into_iter().flatten().map(|r| (before, r)));
                }
                Left::Anything => return Size::Variable,
            }
        }
    }
    Size::Constant(largest)
}

fn left(instr: &Instr, text: &Text, register: Register, info: &mut InstructionInfoFactory) -> Left {
    match instr.flow {
        Flow::Call(_) | Flow::CallIndirect if KEPT_BY_CALLS.contains(&register) => {
            return Left::Registers(register, None);
        }
        Flow::Call(_) | Flow::CallIndirect | Flow::Unknown => return Left::Anything,
        Flow::Jump(_) | Flow::Branch(_) | Flow::Stop => return Left::Registers(register, None),
        Flow::Next => {}
    }
    let end = instr.addr.wrapping_add(instr.len.into());
    let code = text.segment(instr.addr).map_or(&[][..], |segment| segment.slice(instr.addr, end));
    let decoded = Decoder::with_ip(64, code, instr.addr, DecoderOptions::NONE).decode();
    if decoded.is_invalid() {
        return Left::Anything;
    }
    let is_written = info.info(&decoded).used_registers().iter().any(|used| {
        let writes = !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
        writes && used.register().full_register() == register
    });
    if is_written { assigned(&decoded, register) } else { Left::Registers(register, None) }
}

/// What an instruction that writes to the register leaves in it.
fn assigned(instr: &Instruction, register: Register) -> Left {
    let is_first = instr.op0_kind() == OpKind::Register && instr.op0_register().full_register() == register;
    // Only these set the whole register.
    if !is_first || instr.op0_register().size() < 4 {
        return Left::Anything;
    }
    let second = (instr.op1_kind() == OpKind::Register).then(|| instr.op1_register());
    match (instr.mnemonic(), second) {
        (Mnemonic::Xor, Some(second)) if second == instr.op0_register() => Left::Constant(0),
        (Mnemonic::Mov | Mnemonic::Movsxd, Some(second)) => Left::Registers(second.full_register(), None),
        (mnemonic, Some(second)) if is_conditional_move(mnemonic) => {
            Left::Registers(second.full_register(), Some(register))
        }
        (Mnemonic::Mov, None) => match instr.op1_kind() {
            OpKind::Immediate32 => Left::Constant(instr.immediate32().into()),
            OpKind::Immediate32to64 => Left::Constant(instr.immediate32to64() as u64),
            OpKind::Immediate64 => Left::Constant(instr.immediate64()),
            _ => Left::Anything,
        },
        _ => Left::Anything,
    }
}

fn is_conditional_move(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{
        Cmova, Cmovae, Cmovb, Cmovbe, Cmove, Cmovg, Cmovge, Cmovl, Cmovle, Cmovne, Cmovno, Cmovnp, Cmovns,
        Cmovo, Cmovp, Cmovs,
    };
    matches!(
        mnemonic,
        Cmova
            | Cmovae
            | Cmovb
            | Cmovbe
            | Cmove
            | Cmovg
            | Cmovge
            | Cmovl
            | Cmovle
            | Cmovne
            | Cmovno
            | Cmovnp
            | Cmovns
            | Cmovo
            | Cmovp
            | Cmovs
    )
}
