//! A real server under one policy: with sendfile it passes; without, or with compression in between, it
//! violates; and where nothing can be said, it does neither.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::check::{Check, Checked, PASS, VIOLATED};

use crate::{Check as Trial, EventsLost, Verdict, checked};

const FILE: usize = 8 << 20;
const PORT: u16 = 8471;

pub fn checks() -> Vec<Trial> {
    vec![
        of("check_nginx::sendfile_on_passes", "sendfile on;", &load(), "", |checked| {
            ensure!(checked.missed() == 0, EventsLost(checked.missed()));
            checked.expect(PASS)
        }),
        of("check_nginx::sendfile_off_violates", "sendfile off;", &load(), "", violated),
        of("check_nginx::gzip_violates", "sendfile on; gzip on; gzip_types *;", &load(), "", violated),
        of(
            "check_nginx::an_idle_server_is_inconclusive",
            "sendfile on;",
            &json!(["sleep", "1"]),
            "",
            |checked| checked.expect_reason("too_little_payload"),
        ),
        of(
            "check_nginx::a_missing_probe_is_inconclusive",
            "sendfile on;",
            &load(),
            "refuse:file_read",
            |checked| checked.expect_reason("coverage_incomplete"),
        ),
    ]
}

fn violated(checked: &Checked) -> Result<()> {
    checked.expect(VIOLATED)?;
    let fallback = &checked.report["assertions"][1];
    ensure!(fallback["status"] == "violated", "{}", checked.report["assertions"]);
    Ok(())
}

/// One request, by what every system has.
fn load() -> Value {
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{PORT}
        printf 'GET /file HTTP/1.1\\r\\nHost: x\\r\\nAccept-Encoding: gzip\\r\\nConnection: close\\r\\n\\r\\n' >&3
        cat <&3 | wc -c | grep -q ....."
    );
    json!(["bash", "-c", script])
}

fn of(
    name: &str,
    options: &'static str,
    driver: &Value,
    fault: &'static str,
    expect: impl Fn(&Checked) -> Result<()> + Send + 'static,
) -> Trial {
    let driver = driver.clone();
    checked(name, move |bench| {
        if !Path::new("/usr/sbin/nginx").exists() {
            return Ok(Verdict::Skipped(
                "there is no nginx on this machine (apt-get install nginx-light)".into(),
            ));
        }
        let mut check = Check::new(bench, &policy(&serve(bench, options)?, &driver))?;
        if !fault.is_empty() {
            check = check.fault(fault);
        }
        expect(&check.run()?)?;
        Ok(Verdict::Passed)
    })
}

/// The policy of the documentation, but for what is run.
fn policy(configuration: &str, driver: &Value) -> Value {
    json!({
        "version": 1,
        "target": {"command": ["/usr/sbin/nginx", "-c", configuration, "-g", "daemon off;"]},
        "driver": {"command": driver},
        "window": {"warmup": "2s", "settle": "200ms"},
        "require": {"calibrate": false, "min_payload": "4KiB"},
        "assertions": [
            {"name": "static files are zero-copy", "path": "sendfile", "metric": "copies_per_byte", "max": 0},
            {"name": "no silent fallback", "path": "sendfile", "metric": "payload_share", "min": 0.99},
        ],
    })
}

/// A server's configuration, and what it serves: text that compresses, but not to nothing.
fn serve(bench: &Bench, options: &str) -> Result<String> {
    let dir = bench.tmpfs.join("nginx");
    fs::create_dir_all(&dir)?;
    // nginx makes its temporary directories there, but not this one.
    fs::create_dir_all("/var/lib/nginx")?;
    let text: String = (0..FILE / 8).map(|n| format!("{:07}\n", n * 7919 % 9_999_991)).collect();
    fs::write(dir.join("file"), text)?;
    let dir = dir.display();
    let configuration = format!("{dir}/nginx.conf");
    let text = format!(
        "user root; worker_processes 1; pid {dir}/pid; error_log stderr;
        events {{ worker_connections 64; }}
        http {{
            access_log off; default_type text/plain; {options}
            server {{ listen 127.0.0.1:{PORT}; root {dir}; }}
        }}\n"
    );
    fs::write(&configuration, text)?;
    Ok(configuration)
}
