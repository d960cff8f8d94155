//! Whether the number of bytes at a call site is a constant: then it copies a struct or
//! a header, and what goes through it is known without a probe.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

/// Registers that hold an argument of a kernel function on x86_64, by position.
const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// The constant that `code`, which runs from the start of a function up to the call (that
/// excluded), puts into argument `position` on the straight line before the call.
pub fn constant_argument(code: &[u8], position: usize) -> Option<u64> {
    let register = *ARGUMENTS.get(position)?;
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut instr = Instruction::default();
    // The value, and where the line that holds it began.
    let mut known: Option<(u64, u64)> = None;
    let mut last_target = 0;
    while decoder.can_decode() {
        decoder.decode_out(&mut instr);
        let next = instr.next_ip();
        match instr.flow_control() {
            FlowControl::Next => {}
            FlowControl::ConditionalBranch => last_target = last_target.max(inside(&instr, code.len())),
            FlowControl::UnconditionalBranch => {
                last_target = last_target.max(inside(&instr, code.len()));
                known = None;
            }
            _ => known = None,
        }
        if writes(&instr, register) {
            known = assigned(&instr).map(|value| (value, next));
        }
    }
    // A jump to behind the assignment may bring another value.
    let (value, since) = known?;
    (last_target < since).then_some(value)
}

/// The target of a jump forward within the code; 0 for any other.
fn inside(instr: &Instruction, len: usize) -> u64 {
    let target = if instr.op0_kind() == OpKind::NearBranch64 { instr.near_branch_target() } else { 0 };
    if target <= len as u64 { target } else { 0 }
}

/// Whether the first operand is the register and not merely read.
fn writes(instr: &Instruction, register: Register) -> bool {
    let reads = matches!(instr.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push | Mnemonic::Bt);
    let exchanged = instr.mnemonic() == Mnemonic::Xchg && instr.op1_register().full_register() == register;
    let implicit = register == Register::RDX
        && matches!(
            instr.mnemonic(),
            Mnemonic::Mul
                | Mnemonic::Imul
                | Mnemonic::Div
                | Mnemonic::Idiv
                | Mnemonic::Cqo
                | Mnemonic::Cdq
                | Mnemonic::Rdtsc
                | Mnemonic::Cpuid
        );
    let moved = instr.has_rep_prefix() && matches!(register, Register::RCX | Register::RSI | Register::RDI);
    let first = instr.op0_kind() == OpKind::Register && instr.op0_register().full_register() == register;
    (first && !reads) || exchanged || implicit || moved
}

/// What a `mov $constant` or `xor` of a register with itself leaves in it.
fn assigned(instr: &Instruction) -> Option<u64> {
    let same = instr.op0_register() == instr.op1_register();
    match instr.mnemonic() {
        Mnemonic::Xor if instr.op1_kind() == OpKind::Register && same => Some(0),
        // Only moves into 32 or 64 bits set the whole register.
        Mnemonic::Mov if instr.op0_register().size() >= 4 => match instr.op1_kind() {
            OpKind::Immediate32 => Some(instr.immediate32().into()),
            OpKind::Immediate32to64 => Some(instr.immediate32to64() as u64),
            OpKind::Immediate64 => Some(instr.immediate64()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSI: usize = 1;

    #[test]
    fn takes_the_last_assignment() {
        assert_eq!(
            constant_argument(&[0xbe, 8, 0, 0, 0, 0x48, 0x89, 0xe7], RSI),
            Some(8),
            "mov $8,%esi; mov %rsp,%rdi"
        );
        assert_eq!(constant_argument(&[0xbe, 8, 0, 0, 0, 0x31, 0xf6], RSI), Some(0), "xor %esi,%esi");
        assert_eq!(constant_argument(&[0xbe, 8, 0, 0, 0, 0x48, 0x89, 0xde], RSI), None, "mov %rbx,%rsi");
        assert_eq!(constant_argument(&[0xbe, 8, 0, 0, 0, 0x48, 0x83, 0xc6, 1], RSI), None, "add $1,%rsi");
        assert_eq!(constant_argument(&[0xbe, 8, 0, 0, 0, 0x48, 0x39, 0xf0], RSI), Some(8), "cmp %rsi,%rax");
    }

    #[test]
    fn paths_that_meet_make_it_unknown() {
        let skipped = [0x74, 0x05, 0xbe, 8, 0, 0, 0];
        assert_eq!(constant_argument(&skipped, RSI), None, "je behind the mov");
        let before = [0x74, 0x00, 0xbe, 8, 0, 0, 0];
        assert_eq!(constant_argument(&before, RSI), Some(8), "je to the mov");
    }

    #[test]
    fn calls_and_noise_make_it_unknown() {
        assert_eq!(constant_argument(&[0xbe, 8, 0, 0, 0, 0xe8, 0, 0, 0, 0], RSI), None);
        assert_eq!(constant_argument(&[], RSI), None);
        assert_eq!(constant_argument(&[0xbe, 8, 0, 0, 0], 6), None, "no such register");
        for byte in 0..=255 {
            constant_argument(&[byte; 40], RSI);
        }
    }
}
