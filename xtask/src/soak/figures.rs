//! What one VM measured, and whether it is as it should be.

use std::fmt;

use serde::{Deserialize, Serialize};

/// As tests/src/soak prints it.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Figures {
    pub load: Load,
    pub bytes_on_the_page: u64,
    pub bytes_in_prometheus: f64,
    pub copies_on_the_page: u64,
    /// Ended processes that tracer has read.
    pub ended: i64,
    /// Events that tracer knows to be lost.
    pub missed: u64,
    pub missed_in_prometheus: f64,
    /// Events that are counted, but under no process or group of their own.
    pub merged: u64,
    pub scrapes: f64,
    pub scrapes_up: f64,
    /// The longest.
    pub scrape_seconds: f64,
    /// Seconds between two scrapes.
    pub interval: u64,
    /// Of counting, but for the first.
    pub starts: f64,
    pub restarts: u64,
    pub same_process: bool,
    pub resources: Resources,
    pub cpu_seconds: i64,
    pub identity: Identity,
    pub coverage: String,
    pub exposure: f64,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Load {
    pub processes: u64,
    pub bytes: u64,
    pub seconds: f64,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Resources {
    pub rss_kib: Thirds,
    /// One after the other.
    pub rss_kib_each: Vec<u64>,
    pub anon_kib_each: Vec<u64>,
    pub descriptors: Thirds,
    /// Kernel memory.
    pub maps_bytes: Thirds,
}

/// The lowest of the first and of the last third of the time, and extremes.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
pub struct Thirds {
    pub first: u64,
    pub last: u64,
    pub lowest: u64,
    pub highest: u64,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Identity {
    pub user: String,
    /// Effective, in hexadecimal.
    pub capabilities: String,
}

/// What one event of the load copies at most: an event that is counted as missed excuses no more than this.
const LARGEST: u64 = 4096;
/// By so much memory may grow between the thirds: a few steps of the allocator.
pub const RSS_SLACK_KIB: u64 = 1024;

impl Figures {
    /// Processes per second.
    pub fn rate(&self) -> f64 {
        self.load.processes as f64 / self.load.seconds
    }

    /// All that is not as it should be, in words.
    pub fn violations(&self) -> Vec<String> {
        let mut found = self.of_counts();
        found.extend(self.of_scrapes());
        found.extend(self.of_the_service());
        found
    }

    fn of_counts(&self) -> Vec<String> {
        let mut found = Vec::new();
        let known = self.load.bytes;
        let excused = self.missed * LARGEST;
        let counted = [("/metrics", self.bytes_on_the_page), ("Prometheus", self.bytes_in_prometheus as u64)];
        for (place, bytes) in counted {
            if bytes > known || known - bytes > excused {
                let missed = self.missed;
                found.push(format!("{place} has {bytes} bytes, {known} were read ({missed} events missed)"));
            }
        }
        if self.copies_on_the_page > self.load.processes
            || self.load.processes - self.copies_on_the_page > self.missed
        {
            found.push(format!("{} reads counted, {} made", self.copies_on_the_page, self.load.processes));
        }
        if self.ended < self.load.processes as i64 {
            found.push(format!("{} ends of processes counted, {} made", self.ended, self.load.processes));
        }
        if self.merged > 0 {
            found.push(format!("{} events are under no group of their own", self.merged));
        }
        if self.missed_in_prometheus as u64 != self.missed {
            found.push(format!("Prometheus knows of {} missed events", self.missed_in_prometheus));
        }
        found
    }

    fn of_scrapes(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.scrapes_up != self.scrapes {
            found.push(format!("{} of {} scrapes failed", self.scrapes - self.scrapes_up, self.scrapes));
        }
        // One may fall out of the window at each end.
        let wanted = (self.load.seconds / self.interval as f64).floor() - 1.0;
        if self.scrapes < wanted {
            found.push(format!("only {} scrapes, not {wanted}", self.scrapes));
        }
        found
    }

    fn of_the_service(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.restarts > 0 || self.starts > 0.0 || !self.same_process {
            found.push(format!("it was restarted ({} by systemd)", self.restarts));
        }
        if self.identity.user != "tracer" {
            found.push(format!("it runs as {}", self.identity.user));
        }
        if self.coverage != "complete" {
            found.push(format!("coverage is {}", self.coverage));
        }
        let Resources { rss_kib, rss_kib_each, anon_kib_each, descriptors, maps_bytes } = &self.resources;
        if rss_kib.last > rss_kib.first + RSS_SLACK_KIB {
            let (first, last) = (rss_kib.first, rss_kib.last);
            found.push(format!(
                "memory grew from {first} to {last} KiB: {rss_kib_each:?}, anonymous {anon_kib_each:?}"
            ));
        }
        if descriptors.last > descriptors.first {
            found.push(format!("open descriptors: {}, then {}", descriptors.first, descriptors.last));
        }
        if maps_bytes.lowest != maps_bytes.highest {
            found.push(format!("its maps took {} to {} bytes", maps_bytes.lowest, maps_bytes.highest));
        }
        found
    }
}

/// In MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Resources { rss_kib, descriptors, maps_bytes, .. } = &self.resources;
        write!(
            f,
            "{:.0} s, {:.1} processes/s ({}), {} bytes read, {} on the page, {} in Prometheus; {} missed; \
             {} of {} scrapes up, the longest {:.2} s; RSS {:.1} -> {:.1} MiB; maps {:.1} MiB; \
             {} -> {} descriptors; {} restarts; systemd-analyze security {}: ",
            self.load.seconds,
            self.rate(),
            self.load.processes,
            self.load.bytes,
            self.bytes_on_the_page,
            self.bytes_in_prometheus,
            self.missed,
            self.scrapes_up,
            self.scrapes,
            self.scrape_seconds,
            mib(rss_kib.first << 10),
            mib(rss_kib.last << 10),
            mib(maps_bytes.highest),
            descriptors.first,
            descriptors.last,
            self.restarts,
            self.exposure,
        )?;
        match self.violations().as_slice() {
            [] => write!(f, "passed"),
            found => write!(f, "FAILED: {}", found.join("; ")),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn sound() -> Figures {
        let flat = Thirds { first: 9000, last: 9000, lowest: 9000, highest: 9000 };
        Figures {
            load: Load { processes: 1000, bytes: 50_000, seconds: 30.0 },
            bytes_on_the_page: 50_000,
            bytes_in_prometheus: 50_000.0,
            copies_on_the_page: 1000,
            ended: 1001,
            missed: 0,
            missed_in_prometheus: 0.0,
            merged: 0,
            scrapes: 3.0,
            scrapes_up: 3.0,
            scrape_seconds: 0.1,
            interval: 10,
            starts: 0.0,
            restarts: 0,
            same_process: true,
            resources: Resources {
                rss_kib: flat,
                rss_kib_each: vec![9000],
                anon_kib_each: vec![1000],
                descriptors: flat,
                maps_bytes: flat,
            },
            cpu_seconds: 3,
            identity: Identity { user: "tracer".into(), capabilities: "0".into() },
            coverage: "complete".into(),
            exposure: 3.0,
        }
    }

    #[test]
    fn sound_figures_pass() {
        let text = sound().to_string();
        assert!(text.starts_with("30 s, 33.3 processes/s (1000), 50000 bytes read"), "{text}");
        assert!(text.ends_with(": passed"), "{text}");
    }

    #[test]
    fn each_violation_is_seen() {
        let spoil: [fn(&mut Figures); 16] = [
            |f| f.bytes_on_the_page -= 1,
            |f| f.bytes_on_the_page += 1,
            |f| f.bytes_in_prometheus -= 1.0,
            |f| f.copies_on_the_page -= 1,
            |f| f.ended = 999,
            |f| f.merged = 1,
            |f| f.missed_in_prometheus = 1.0,
            |f| f.scrapes_up = 2.0,
            |f| (f.scrapes, f.scrapes_up) = (1.0, 1.0),
            |f| f.starts = 1.0,
            |f| f.same_process = false,
            |f| f.identity.user = "root".into(),
            |f| f.coverage = "incomplete".into(),
            |f| f.resources.rss_kib.last += RSS_SLACK_KIB + 1,
            |f| f.resources.descriptors.last += 1,
            |f| f.resources.maps_bytes.lowest -= 1,
        ];
        for (number, spoil) in spoil.iter().enumerate() {
            let mut figures = sound();
            spoil(&mut figures);
            assert_eq!(figures.violations().len(), 1, "number {number}: {:?}", figures.violations());
        }
    }

    #[test]
    fn what_is_missed_and_said_excuses_as_much_and_no_more() {
        let mut figures = sound();
        (figures.missed, figures.missed_in_prometheus) = (1, 1.0);
        (figures.bytes_on_the_page, figures.bytes_in_prometheus) =
            (50_000 - LARGEST, 50_000.0 - LARGEST as f64);
        figures.copies_on_the_page -= 1;
        assert!(figures.violations().is_empty(), "{:?}", figures.violations());
        figures.bytes_on_the_page -= 1;
        assert_eq!(figures.violations().len(), 1);
    }
}
