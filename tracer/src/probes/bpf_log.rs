//! What the BPF programs log, in debug builds with feature `log`: one `info!` makes a program twelve times
//! larger, so no release has any. `RUST_LOG=info` shows it on standard error.

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::probes::Kernel;

/// Forwards records until the runtime ends. Must be called from within it.
pub fn forward(kernel: &mut Kernel) -> Result<()> {
    // A second window in one process finds the logger in place.
    let _ = env_logger::try_init();
    let logger = EbpfLogger::init(kernel.object()).context("the BPF programs were built without logging")?;
    // SAFETY: the logger owns its descriptor and never closes or replaces it before it is dropped.
    let mut logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE)? };
    tokio::spawn(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    });
    Ok(())
}
