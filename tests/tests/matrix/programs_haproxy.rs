//! HAProxy between curl and nginx: with splice, and by its buffers.

use std::process::Command;
use std::rc::Rc;

use anyhow::Result;
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::programs::batch::{Load, Ready};
use tracer_tests::harness::programs::books::{Books, Expected, about, exactly};
use tracer_tests::harness::programs::client::{self, Moved};
use tracer_tests::harness::programs::files::{self, Dir, SIZE};
use tracer_tests::harness::programs::nginx::Nginx;
use tracer_tests::harness::programs::server::{self, Server};

use crate::{Check, program_batch};

struct Variant {
    name: &'static str,
    option: &'static str,
    expected: fn(&Moved, &Books) -> Vec<Expected>,
    explanation: &'static str,
}

static VARIANTS: [Variant; 2] = [
    Variant {
        name: "buffers",
        option: "",
        expected: |moved, _| {
            let through = through(moved);
            vec![
                exactly("recv", "to_user", through),
                exactly("send", "from_user", through),
                exactly("splice", "payload_bytes", 0),
            ]
        },
        explanation: "recv copies each byte to HAProxy's buffer, send copies it from there",
    },
    Variant {
        name: "option splice-response",
        option: "option splice-response",
        expected: |moved, books| {
            // The request, and what of an answer came before HAProxy decided to splice.
            let received = books.get("recv", "to_user");
            let spliced = 2 * (through(moved) - received.min(through(moved)));
            vec![
                about("recv", "to_user", moved.asked, FETCHES * BUFFER),
                exactly("send", "from_user", received),
                exactly("splice", "payload_bytes", spliced),
                exactly("splice", "zero_copied_bytes", spliced),
            ]
        },
        explanation: "received pages go through a pipe into the other socket, by reference twice",
    },
];

const FETCHES: u64 = 2;
/// HAProxy's `tune.bufsize`.
const BUFFER: u64 = 16 << 10;

/// Both directions: in TCP mode nothing is changed.
fn through(moved: &Moved) -> u64 {
    moved.asked + moved.heads + moved.bodies
}

pub fn checks() -> Vec<Check> {
    program_batch(&["haproxy"], start_all, |_| None)
}

fn start_all(bench: &Bench) -> Result<Vec<Ready>> {
    let dir = Dir::new(bench, "haproxy")?;
    dir.write("file", files::noise(SIZE))?;
    let nginx = Rc::new(Nginx::start(&dir, "nginx", "sendfile on;", "")?);
    VARIANTS.iter().enumerate().map(|(number, variant)| start(&dir, number, variant, &nginx)).collect()
}

/// Started, and warm.
fn start(dir: &Dir, number: usize, variant: &'static Variant, nginx: &Rc<Nginx>) -> Result<Ready> {
    let port = server::free_port()?;
    let config = dir.write(
        &format!("{number}.cfg"),
        format!(
            "global\n nbthread 1\n maxconn 64\n\
             defaults\n mode tcp\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n {}\n\
             listen files\n bind 127.0.0.1:{port}\n server nginx 127.0.0.1:{}\n",
            variant.option, nginx.port
        ),
    )?;
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(config);
    let mut server = Server::start(command, &dir.path().join(format!("{number}.output")))?;
    server.wait_listening(port)?;
    let url = format!("http://127.0.0.1:{port}/file");
    client::fetch(&url, &[])?;
    let (pid, nginx) = (server.pid(), Rc::clone(nginx));
    let drive = move || {
        let moved = client::fetch_times(FETCHES, &url, &[])?;
        server::rest(pid)?;
        let expected = Box::new(move |books: &Books| Ok((variant.expected)(&moved, books)));
        Ok(Load { bytes: moved.bodies, expected, keep: Box::new((server, nginx)) })
    };
    let (name, explanation) = (variant.name, variant.explanation);
    Ok(Ready { test: "haproxy", program: "haproxy", variant: name, explanation, pid, drive: Box::new(drive) })
}
