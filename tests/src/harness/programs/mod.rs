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

/// On which kernels a program is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    All,
    /// Only [`SLOW_ON`], because an emulated CPU needs a minute to start it; on all with
    /// TRACER_PROGRAMS=all.
    One,
}

/// Where the slow programs run.
const SLOW_ON: &str = "6.12";

impl Kernels {
    /// For people.
    pub fn text(self) -> String {
        match self {
            Kernels::All => "all".into(),
            Kernels::One => format!("{SLOW_ON}; all with TRACER_PROGRAMS=all"),
        }
    }

    /// Why such a program is not driven here; `None` if it is.
    pub fn cause_not_to_run(self, kernel: &str) -> Option<String> {
        let set = |name| std::env::var_os(name);
        if set("PROGRAMS").is_none() {
            return Some("no Debian programs in this VM; `cargo xtask setup` fetches them".into());
        }
        let here = self == Kernels::All || kernel == SLOW_ON;
        let asked = set("TRACER_PROGRAMS").is_some_and(|which| which == "all");
        (!here && !asked)
            .then(|| format!("slow on an emulated CPU: runs on {SLOW_ON}, or with TRACER_PROGRAMS=all"))
    }
}

/// Why there is no TLS in this kernel; `None` if there is.
pub fn no_ktls() -> Option<String> {
    // Built as a module everywhere; what is missing shows below.
    let _ = std::process::Command::new("modprobe").arg("tls").output();
    let ulps = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
    let has_tls = ulps.split_whitespace().any(|name| name == "tls");
    (!has_tls).then(|| "the kernel is built without TLS (CONFIG_TLS)".into())
}
