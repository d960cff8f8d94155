//! Real programs from Debian packages (`tests/programs.toml`): started as on any machine, driven by
//! real clients, counted from outside.
//!
//! They are named by absolute path: what comes first on the host's PATH may be something else.

pub mod batch;
pub mod books;
pub mod client;
pub mod conclusive;
pub mod files;
pub mod gated;
pub mod nginx;
pub mod record;
pub mod server;

/// Where they are driven: together they take an emulated CPU ten minutes.
const DRIVEN_ON: &[&str] = &["6.12"];

/// Why no program is driven on this kernel; `None` if they are.
pub fn cause_not_to_drive(kernel: &str) -> Option<String> {
    if std::env::var_os("PROGRAMS").is_none() {
        return Some("no Debian programs in this VM; `cargo xtask setup` fetches them".into());
    }
    super::bench::cause_to_leave_out(kernel, DRIVEN_ON)
}

/// Why there is no TLS in this kernel; `None` if there is.
pub fn no_ktls() -> Option<String> {
    // Built as a module everywhere; what is missing shows below.
    let _ = std::process::Command::new("modprobe").arg("tls").output();
    let ulps = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
    let has_tls = ulps.split_whitespace().any(|name| name == "tls");
    (!has_tls).then(|| "the kernel is built without TLS (CONFIG_TLS)".into())
}
