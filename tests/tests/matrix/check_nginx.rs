//! A real server under one policy: with sendfile it passes; without, or with compression in between, it
//! violates; and where nothing can be said, it does neither.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tracer_tests::harness::check::{Check, Checked, FEED, PASS, READERS, VIOLATED};
use tracer_tests::harness::programs::client::CURL;
use tracer_tests::harness::programs::files::{Dir, SIZE, lines};
use tracer_tests::harness::programs::nginx::{NGINX, configuration};
use tracer_tests::harness::programs::server;

use crate::{Check as Trial, EventsLost, program};

/// The policy stays the same; this is what it is held against.
struct Case {
    /// Lines of the server's `http` block.
    options: &'static str,
    /// What the driver does; `{url}` is the file's.
    driver: &'static str,
    /// Runs in the server's directory, in the shell that becomes the server.
    before: &'static str,
    /// Of TRACER_FAULT.
    fault: &'static str,
    arguments: &'static [&'static str],
    expect: fn(&Checked) -> Result<()>,
}

/// A client that takes compressed answers, as browsers do.
/// An emulated CPU may still be starting the server when the warm-up is over.
const FETCH: &str = "{curl} -q -fsS --noproxy '*' --retry 20 --retry-delay 1 --retry-connrefused --max-time 55 \
                     -H 'Accept-Encoding: gzip' -o /dev/null {url}";

const SENDFILE: Case = Case {
    options: "sendfile on;",
    driver: FETCH,
    before: "",
    fault: "",
    arguments: &[],
    expect: |checked| {
        ensure!(checked.missed() == 0, EventsLost(checked.missed()));
        checked.expect(PASS)
    },
};

pub fn checks() -> Vec<Trial> {
    vec![
        of("sendfile_on_passes", SENDFILE),
        of("sendfile_off_violates", Case { options: "sendfile off;", expect: violated, ..SENDFILE }),
        of("gzip_violates", Case { options: "sendfile on; gzip on;", expect: violated, ..SENDFILE }),
        of(
            "an_idle_server_is_inconclusive",
            Case {
                driver: "sleep 1",
                expect: |checked| checked.expect_reason("too_little_payload"),
                ..SENDFILE
            },
        ),
        of(
            "a_missing_probe_is_inconclusive",
            Case {
                fault: "refuse:file_read",
                expect: |checked| checked.expect_reason("coverage_incomplete"),
                ..SENDFILE
            },
        ),
        of("missed_events_are_inconclusive", MISSED),
    ]
}

/// The readers are the server's siblings, and read what the driver writes.
const MISSED: Case = Case {
    before: READERS,
    driver: "cd {dir} && {feed} && {fetch}",
    arguments: &["--attach", "kprobe"],
    expect: |checked| checked.expect_reason("events_missed"),
    ..SENDFILE
};

fn violated(checked: &Checked) -> Result<()> {
    checked.expect(VIOLATED)?;
    let fallback = &checked.report["assertions"][1];
    ensure!(fallback["status"] == "violated", "{}", checked.report["assertions"]);
    Ok(())
}

/// Doubt on every kernel is in `check_inconclusive`.
fn of(name: &str, case: Case) -> Trial {
    program(&format!("check_nginx::{name}"), move |bench| {
        let dir = Dir::new(bench, "check-nginx")?;
        dir.write("file", lines(SIZE))?;
        // nginx makes its temporary directories there, but not this one.
        std::fs::create_dir_all("/var/lib/nginx")?;
        let mut check = Check::new(bench, &policy(&dir, &case)?)?.args(case.arguments);
        if !case.fault.is_empty() {
            check = check.fault(case.fault);
        }
        (case.expect)(&check.run()?)
    })
}

/// The policy of the documentation, but for what is run.
fn policy(dir: &Dir, case: &Case) -> Result<Value> {
    let port = server::free_port()?;
    let options = format!("default_type text/plain; gzip_types *; {}", case.options);
    let configuration = configuration(dir, "nginx", port, &options, "")?;
    let root = dir.text();
    let serve = format!("cd {root}\n{}\nexec {NGINX} -c {}", case.before, configuration.display());
    let url = format!("http://127.0.0.1:{port}/file");
    let driver = case.driver.replace("{feed}", FEED).replace("{fetch}", FETCH).replace("{curl}", CURL);
    let driver = driver.replace("{url}", &url).replace("{dir}", &root);
    Ok(json!({
        "version": 1,
        "target": {"command": ["bash", "-c", serve]},
        "driver": {"command": ["bash", "-c", driver]},
        "window": {"warmup": "3s", "settle": "500ms"},
        "require": {"calibrate": false, "min_payload": "1MiB"},
        "assertions": [
            {"name": "static files are zero-copy", "path": "sendfile", "metric": "copies_per_byte", "max": 0},
            {"name": "no silent fallback", "path": "sendfile", "metric": "payload_share", "min": 0.99},
        ],
    }))
}
