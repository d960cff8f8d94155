//! Real programs from Debian packages (`tests/programs.toml`): started as on any machine, driven by
//! real clients, counted from outside.
//!
//! They are named by absolute path: what comes first on the host's PATH may be something else.

pub mod batch;
pub mod books;
pub mod client;
pub mod files;
pub mod gated;
pub mod nginx;
pub mod record;
pub mod server;

/// Why no program can be driven here; `None` if they can.
pub fn missing() -> Option<String> {
    match std::env::var_os("PROGRAMS") {
        Some(_) => None,
        None => Some("no Debian programs in this VM; `cargo xtask setup` fetches them".into()),
    }
}

/// Why there is no TLS in this kernel; `None` if there is.
pub fn no_ktls() -> Option<String> {
    // Built as a module everywhere; what is missing shows below.
    let _ = std::process::Command::new("modprobe").arg("tls").status();
    let ulps = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
    let has_tls = ulps.split_whitespace().any(|name| name == "tls");
    (!has_tls).then(|| "the kernel is built without TLS (CONFIG_TLS)".into())
}
