//! What the tracer itself costs, from `/proc/self`.

use std::fs;

/// `USER_HZ`, the unit of `/proc/PID/stat`: 100 on every architecture that has BPF trampolines.
const TICKS_PER_SECOND: f64 = 100.0;

/// `None` where `/proc` does not say.
pub struct SelfStat {
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<f64>,
    pub virtual_bytes: Option<f64>,
    pub open_fds: Option<f64>,
    /// `None` also if there is no limit.
    pub max_fds: Option<f64>,
    /// Seconds since the epoch.
    pub start_time: Option<f64>,
}

pub fn read() -> SelfStat {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (stat, status, machine) = (read("/proc/self/stat"), read("/proc/self/status"), read("/proc/stat"));
    let limits = read("/proc/self/limits");
    // The listing itself holds one descriptor.
    let open_fds = fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as f64);
    SelfStat {
        cpu_seconds: cpu_ticks(&stat).map(|ticks| ticks / TICKS_PER_SECOND),
        resident_bytes: field(&status, "VmRSS:").map(|kib| kib * 1024.0),
        virtual_bytes: field(&status, "VmSize:").map(|kib| kib * 1024.0),
        open_fds,
        max_fds: field(&limits, "Max open files"),
        start_time: stat_field(&stat, 22)
            .zip(field(&machine, "btime"))
            .map(|(ticks, boot)| boot + ticks / TICKS_PER_SECOND),
    }
}

fn cpu_ticks(stat: &str) -> Option<f64> {
    Some(stat_field(stat, 14)? + stat_field(stat, 15)?)
}

/// Field `n` of `proc(5)`'s list, counted from 1. The second one, `(comm)`, may hold blanks and
/// brackets, so counting begins after the last bracket.
fn stat_field(stat: &str, n: usize) -> Option<f64> {
    let (_, after_comm) = stat.rsplit_once(')')?;
    after_comm.split_whitespace().nth(n.checked_sub(3)?)?.parse().ok()
}

/// The number after `name` in a list of one name per line.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comm_with_brackets_moves_no_field() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 12 30 0 0 20 0 1 0 5000 1 1";
        assert_eq!(cpu_ticks(stat), Some(42.0));
        assert_eq!(stat_field(stat, 22), Some(5000.0));
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn reads_its_own() {
        let own = read();
        assert!(own.resident_bytes > Some(0.0) && own.virtual_bytes > own.resident_bytes);
        assert!(own.open_fds > Some(0.0) && own.max_fds >= own.open_fds);
        assert!(own.start_time > Some(1e9) && own.cpu_seconds >= Some(0.0));
    }
}
