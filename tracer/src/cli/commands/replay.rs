//! `tracer serve --replay FILE`: a saved page, served without counting, on as many ports as there are to be machines.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};

use super::serve::web;
use super::{Outcome, status};
use crate::cli::serve_args::Serve;
use crate::fmt::human;
use crate::fmt::{rfc3339, say};
use crate::http::{self, Page, Pages, Server, Stats, Web};
use crate::serve::replay::Recording;
use crate::session::events::{self, Signals};
use crate::sys::sandbox;

/// The targets share a page for so long: a thousand of them would make nothing but pages.
const FRESH_FOR: Duration = Duration::from_secs(1);

pub fn replay(args: &Serve, file: &Path) -> Outcome {
    let shown = human::escape(&file.to_string_lossy()).into_owned();
    let read = || -> Result<_> {
        let page = fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
        let recording = Recording::parse(&page).with_context(|| {
            format!("{shown} is no page of metrics; save one: curl -s http://127.0.0.1:9435/metrics > FILE")
        })?;
        Ok((recording, web(args)?, ports(&args.listen, args.replay_targets)?))
    };
    let (recording, web, addresses) = match read() {
        Ok(all) => all,
        Err(error) => {
            say(&format!("{error:#}"));
            return Ok(ExitCode::from(status::USAGE));
        }
    };
    crate::sys::lift_open_files();
    let servers = addresses.iter().map(|address| Server::bind(address)).collect::<Result<Vec<_>>>()?;
    let (series, last) = (recording.series(), servers.last().map(Server::address));
    let replayed =
        Replayed { recording, begun: Instant::now(), since: SystemTime::now(), targets: servers.len() };
    let readable = web.as_ref().map(Web::directories).unwrap_or_default();
    let serving =
        http::serve_all(servers, Arc::new(replayed), web, move || sandbox::enter_server(&readable))?;
    let to = last.filter(|last| *last != serving.address()).map(|last| format!(" to {}", last.port()));
    events::event_loop()?.block_on(async {
        // Who reads the lines may end it at once.
        let mut signals = Signals::install()?;
        say(&format!("serving on {}{}", serving.address(), to.unwrap_or_default()));
        say(&format!("replaying {series} series of {shown}; nothing is counted"));
        signals.any().await;
        anyhow::Ok(())
    })?;
    drop(serving);
    Ok(ExitCode::SUCCESS)
}

/// So many addresses, one port after the other.
fn ports(listen: &str, targets: u16) -> Result<Vec<String>> {
    if targets == 1 {
        return Ok(vec![listen.to_owned()]);
    }
    let (host, first) = http::host_and_port(listen)?;
    ensure!(first != 0, "--replay-targets counts ports from that of --listen on, which must not be 0");
    let Some(last) = first.checked_add(targets - 1) else {
        bail!("{targets} ports from {first} on end behind 65535; choose a lower --listen");
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Ok((first..=last).map(|port| format!("{host}:{port}")).collect())
}

struct Replayed {
    recording: Recording,
    begun: Instant,
    since: SystemTime,
    targets: usize,
}

impl Pages for Replayed {
    fn metrics(&self, _: &Stats) -> Option<Page> {
        Some(self.recording.page(self.begun.elapsed().as_secs_f64()).into())
    }

    fn fresh_for(&self) -> Duration {
        FRESH_FOR
    }

    fn status(&self) -> Option<String> {
        let status = serde_json::json!({
            "schema": crate::serve::page::SCHEMA,
            "version": env!("CARGO_PKG_VERSION"),
            "ready": true,
            "replay": {
                "since": rfc3339(self.since),
                "series": self.recording.series(),
                "targets": self.targets,
            },
        });
        Some(format!("{status:#}\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};

    use super::*;

    #[test]
    fn ports_follow_each_other() {
        assert_eq!(
            ports("127.0.0.1:9000", 3).unwrap(),
            ["127.0.0.1:9000", "127.0.0.1:9001", "127.0.0.1:9002"]
        );
        assert_eq!(ports("[::1]:9", 2).unwrap(), ["[::1]:9", "[::1]:10"]);
        assert_eq!(ports(":9435", 2).unwrap(), [":9435", ":9436"]);
        assert_eq!(ports("0", 1).unwrap(), ["0"]);
        assert!(ports("65535", 2).is_err());
        assert!(ports("0", 2).is_err());
    }

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("connect");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("send");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    #[test]
    fn a_thousand_targets_are_one_process() {
        let (before, targets) = (threads(), 1000);
        crate::sys::lift_open_files();
        // Free ones: consecutive ones may be taken by others.
        let servers: Vec<Server> = (0..targets).map(|_| Server::bind("0").expect("bind")).collect();
        let addresses: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
        let recording = Recording::parse("# TYPE a_total counter\na_total 36000000\nb 1\n").expect("a page");
        let replayed = Replayed { recording, begun: Instant::now(), since: SystemTime::now(), targets };
        let serving = http::serve_all(servers, Arc::new(replayed), None, || {}).expect("serve");
        let value = |address: SocketAddr| -> f64 {
            let page = get(address, "/metrics");
            let value = page.lines().find_map(|line| line.strip_prefix("a_total ")?.parse().ok());
            value.unwrap_or_else(|| panic!("{address}: {page}"))
        };
        for address in &addresses {
            assert!(value(*address) >= 36_000_000.0, "{address}");
        }
        // Three, and those of other tests, which come and go; not one for each.
        assert!(threads().saturating_sub(before) < targets / 2);
        for path in ["/-/healthy", "/-/ready", "/status", "/"] {
            assert!(get(addresses[999], path).starts_with("HTTP/1.0 200"), "{path}");
        }
        let first = value(addresses[0]);
        std::thread::sleep(FRESH_FOR + Duration::from_millis(100));
        let grown = value(addresses[0]) - first;
        assert!(grown >= 10_000.0, "10,000 a second, but {grown} in more than one");
        drop(serving);
    }

    fn threads() -> usize {
        fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
    }
}
