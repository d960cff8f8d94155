//! docs/soak.md.

use super::figures::{RSS_SLACK_KIB, mib};
use super::kept::Row;

/// The page, one row per kernel.
pub fn write(measured: &[Row]) -> String {
    let mut text = format!(
        "# The installed service over minutes\n\n\
         Written by `cargo xtask soak` (version {version}).\n\n\
         In a VM per kernel, whose first process is systemd, the Debian package is installed and set up for TLS \
         with a\npassword as [install.md](install.md#tls-and-a-password) tells it. A real Prometheus scrapes it \
         every {interval} s while a unit of\nits own forks processes, at most 200 a second, each of which reads 1 to \
         4096 bytes and ends. `.ci/run` does it for 30 s\non 6.1.\n\n\
         | kernel | on | time | processes | a second | bytes they read | on `/metrics` | in Prometheus | missed |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        version = env!("CARGO_PKG_VERSION"),
        interval = measured.first().map_or(0, |row| row.figures.interval),
    );
    for Row { kernel, date, figures } in measured {
        text += &format!(
            "| {kernel} | {date} | {:.0} s | {} | {:.1} | {} | {} | {} | {} |\n",
            figures.load.seconds,
            figures.load.processes,
            figures.rate(),
            figures.load.bytes,
            figures.bytes_on_the_page,
            figures.bytes_in_prometheus,
            figures.missed
        );
    }
    text += "\n| kernel | scrapes, up | longest | RSS, first and last third | kernel memory of maps | descriptors | CPU \
             time | restarts |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for Row { kernel, figures, .. } in measured {
        let resources = &figures.resources;
        text += &format!(
            "| {kernel} | {}, {} | {:.2} s | {:.1}, {:.1} MiB | {:.1} MiB | {}, {} | {} s | {} |\n",
            figures.scrapes,
            figures.scrapes_up,
            figures.scrape_seconds,
            mib(resources.rss_kib.first << 10),
            mib(resources.rss_kib.last << 10),
            mib(resources.maps_bytes.highest),
            resources.descriptors.first,
            resources.descriptors.last,
            figures.cpu_seconds,
            figures.restarts
        );
    }
    text += &closing(measured);
    text
}

fn closing(measured: &[Row]) -> String {
    let capabilities: Vec<String> = measured
        .iter()
        .map(|Row { kernel, figures, .. }| match figures.identity.capabilities.trim_start_matches('0') {
            "" => format!("none on {kernel}"),
            some => format!("0x{some} on {kernel}"),
        })
        .collect();
    let mut exposures: Vec<String> = measured.iter().map(|row| row.figures.exposure.to_string()).collect();
    exposures.dedup();
    format!(
        "\nA run fails if the bytes differ (by more than 4096 for each event that tracer says it missed), if a read or \
         the\nend of a process is not counted, a scrape fails or is left out, coverage is not complete, the service is \
         restarted or\nruns as another user than `tracer`, its maps change their size, it has more descriptors \
         open in the last third of the\ntime than in the first (the lowest of each), or its memory is larger by more \
         than {RSS_SLACK_KIB} KiB.\n\n\
         The VMs' CPUs are emulated where there is no KVM, which limits the rate of processes and makes every time \
         longer\nthan on a real machine.\n\n\
         Effective capabilities of the main thread while it counted: {}. `systemd-analyze security tracer.service` in \
         these\nVMs: {}.\n",
        capabilities.join(", "),
        exposures.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::sound;
    use super::*;

    #[test]
    fn a_row_of_each_table_per_kernel() {
        let row = |kernel: &str| Row { kernel: kernel.into(), date: "2026-01-02".into(), figures: sound() };
        let text = write(&[row("6.1"), row("7.2")]);
        let line = " | 2026-01-02 | 30 s | 1000 | 33.3 | 50000 | 50000 | 50000 | 0 |\n";
        assert!(text.contains(&format!("\n| 6.1{line}| 7.2{line}")), "{text}");
        assert!(text.contains("none on 6.1, none on 7.2"), "{text}");
    }
}
