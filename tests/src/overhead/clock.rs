//! The clock: in a VM with instruction-counted time (`cargo xtask vm --counted`) the time stamp counter counts
//! the guest's instructions.

use std::arch::asm;
use std::arch::x86_64::_rdtsc;

use anyhow::{Result, ensure};

/// Instructions since the VM was started.
pub fn now() -> u64 {
    // SAFETY: every x86_64 has it, and no kernel that we boot forbids it.
    unsafe { _rdtsc() }
}

/// Takes so many instructions, or a few more.
pub fn spin(instructions: u64) {
    let start = now();
    while now() - start < instructions {
        std::hint::spin_loop();
    }
}

/// Fails where the counter counts something else.
pub fn check() -> Result<()> {
    const TURNS: u64 = 10_000;
    /// Two reads of the counter.
    const ROOM: u64 = 50;
    let turn = || {
        let start = now();
        // SAFETY: counts a register of its own down.
        unsafe { asm!("2: dec {0}", "jnz 2b", inout(reg) TURNS => _) };
        now() - start
    };
    // An interrupt may lengthen one.
    let counted = (0..5).map(|_| turn()).min().unwrap_or(0);
    ensure!(
        (2 * TURNS..2 * TURNS + ROOM).contains(&counted),
        "{} instructions took {counted} units of the time stamp counter: this is no machine with \
         instruction-counted time; run `cargo xtask bench`",
        2 * TURNS
    );
    Ok(())
}
