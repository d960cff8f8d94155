//! Commands that copy and send: cp, dd, curl, iperf3. Each waits behind a gate until it is counted. What
//! loading a program reads is in its window, hence the room that `read` gets.

use std::any::Any;
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::programs::batch::{Load, Ready};
use tracer_tests::harness::programs::books::{DISK, Expected, about, exactly};
use tracer_tests::harness::programs::client;
use tracer_tests::harness::programs::files::{self, Dir, SIZE};
use tracer_tests::harness::programs::gated::Gated;
use tracer_tests::harness::programs::nginx::Nginx;
use tracer_tests::harness::programs::server::{self, Server};

use crate::{Check, program_batch};

const BYTES: u64 = SIZE as u64;
/// What the loader and the program read before their work: libraries' headers, locales, configuration.
const START: u64 = 256 << 10;
/// What a client asks, and what it prints.
const TALK: u64 = 16 << 10;

pub fn checks() -> Vec<Check> {
    program_batch(&["cp", "dd", "curl", "iperf3"], start_all, |_| None)
}

fn start_all(bench: &Bench) -> Result<Vec<Ready>> {
    let dir = Dir::new(bench, "tools")?;
    dir.write("file", files::noise(SIZE))?;
    Ok([cp(&dir)?, dd(&dir)?, curl(&dir)?, iperf3(&dir)?].into_iter().flatten().collect())
}

/// A command that is to be let go.
struct Tool {
    /// The test and the program are called alike.
    program: &'static str,
    variant: &'static str,
    explanation: &'static str,
    expected: Known,
}

/// What the books must say of so many bytes of data.
type Known = Box<dyn FnOnce(u64) -> Vec<Expected>>;

/// For a tool that moves [`BYTES`].
fn known<const N: usize>(expected: [Expected; N]) -> Known {
    Box::new(move |_| expected.to_vec())
}

impl Tool {
    /// `verify` gets what it printed, and tells how many bytes of data it moved; `needs` is there until it
    /// has ended.
    fn ready(
        self,
        command: &[&str],
        needs: impl Any,
        verify: impl FnOnce(&str) -> Result<u64> + 'static,
    ) -> Result<Ready> {
        let Tool { program, variant, explanation, expected } = self;
        let mut gate = Gated::new(command)?;
        let pid = gate.pid();
        let drive = move || {
            let bytes = verify(&gate.run()?)?;
            Ok(Load::new(bytes, expected(bytes), (gate, needs)))
        };
        Ok(Ready { test: program, program, variant, explanation, pid, drive: Box::new(drive) })
    }
}

fn cp(dir: &Rc<Dir>) -> Result<Vec<Ready>> {
    let copy = |tool: Tool, option: &[&str], to: &'static str| {
        let [from, target] = ["file", to].map(|name| format!("{}/{name}", dir.text()));
        let command = [&["/usr/bin/cp"], option, &[&from, &target]].concat();
        let dir = Rc::clone(dir);
        tool.ready(&command, (), move |_| {
            ensure!(files::same(&dir, "file", to)?, "it is no copy");
            Ok(BYTES)
        })
    };
    let by_range = Tool {
        program: "cp",
        variant: "copy_file_range",
        explanation: "ext4 shares no blocks: the kernel copies from one file's pages to the other's",
        expected: known([
            exactly("copy_file_range", "payload_bytes", BYTES),
            exactly("copy_file_range", "in_kernel", BYTES),
            about("read", "to_user", 0, START),
        ]),
    };
    let by_reading = Tool {
        program: "cp",
        variant: "--reflink=never",
        explanation: "no copy_file_range: read copies each byte to cp's buffer, write copies it back",
        expected: known([
            exactly("copy_file_range", "payload_bytes", 0),
            about("read", "to_user", BYTES, START),
            exactly("write", "from_user", BYTES),
        ]),
    };
    Ok(vec![copy(by_range, &[], "first")?, copy(by_reading, &["--reflink=never"], "second")?])
}

fn dd(dir: &Rc<Dir>) -> Result<Vec<Ready>> {
    let from = format!("if={}/file", dir.text());
    let command = ["/usr/bin/dd", &from, "of=/dev/null", "bs=64k", "status=none"];
    let buffered = Tool {
        program: "dd",
        variant: "of=/dev/null",
        explanation: "read copies each byte from the page cache; /dev/null copies nothing",
        expected: known([about("read", "to_user", BYTES, START), exactly("write", "payload_bytes", BYTES)]),
    };
    let direct = Tool {
        program: "dd",
        variant: "of=/dev/null iflag=direct",
        explanation: "the disk writes into dd's buffer, past the page cache",
        expected: known([
            about("read", "payload_bytes", BYTES, START),
            about("read", "to_user", 0, START),
            exactly("write", "payload_bytes", BYTES),
            exactly(DISK, "read", BYTES),
        ]),
    };
    let with_flag = [&command[..], &["iflag=direct"]].concat();
    Ok(vec![buffered.ready(&command, (), |_| Ok(BYTES))?, direct.ready(&with_flag, (), |_| Ok(BYTES))?])
}

/// A download to a file, and one to nowhere.
fn curl(dir: &Rc<Dir>) -> Result<Vec<Ready>> {
    let nginx = Rc::new(Nginx::start(dir, "nginx", "sendfile on;", "")?);
    let url = format!("http://127.0.0.1:{}/file", nginx.port);
    let heads = client::fetch(&url, &[])?.heads;
    let get = |variant: &'static str, to: &str, written: u64, explanation: &'static str| {
        let expected = known([
            exactly("recv", "to_user", BYTES + heads),
            exactly("write", "payload_bytes", BYTES),
            exactly("write", "from_user", written),
            about("read", "to_user", 0, START),
            about("send", "from_user", 0, TALK),
        ]);
        let command = [client::CURL, "-q", "-sS", "--noproxy", "*", "-o", to, &url];
        let tool = Tool { program: "curl", variant, explanation, expected };
        tool.ready(&command, Rc::clone(&nginx), |_| Ok(BYTES))
    };
    let target = format!("{}/target", dir.text());
    Ok(vec![
        get("-o FILE", &target, BYTES, "recv copies each byte from the socket, write to the page cache")?,
        get(
            "-o /dev/null",
            "/dev/null",
            0,
            "recv copies each byte from the socket; /dev/null copies nothing",
        )?,
    ])
}

/// The client sends.
fn iperf3(dir: &Rc<Dir>) -> Result<Vec<Ready>> {
    let port = server::free_port()?;
    let mut command = Command::new("/usr/bin/iperf3");
    command.args(["-s", "-p", &port.to_string()]);
    let mut listener = Server::start(command, &dir.path().join("iperf3.output"))?;
    listener.wait_listening(port)?;
    let (listener, port, bytes) = (Rc::new(listener), port.to_string(), BYTES.to_string());
    let command = ["/usr/bin/iperf3", "-c", "127.0.0.1", "-p", &port, "-n", &bytes, "--json"];
    let send = |variant: &'static str, option: &[&str], sent: fn(u64) -> Vec<Expected>, explanation| {
        let expected: Known = Box::new(move |bytes| {
            // The two talk about the test over a second connection; the block of random bytes is read at start.
            let talk = [about("read", "to_user", 0, START), about("recv", "to_user", 0, TALK)];
            [&talk[..], &sent(bytes)].concat()
        });
        let tool = Tool { program: "iperf3", variant, explanation, expected };
        tool.ready(&[&command[..], option].concat(), Rc::clone(&listener), |output| {
            let report: Value = serde_json::from_str(output).context("it printed no JSON")?;
            let sent = report["end"]["sum_sent"]["bytes"].as_u64().context("it does not say what it sent")?;
            // A block that is sent in parts makes it send more than it was asked for.
            ensure!((BYTES..2 * BYTES).contains(&sent), "it says that it sent {sent} bytes, not {BYTES}");
            Ok(sent)
        })
    };
    let by_reference = |bytes| {
        vec![
            exactly("sendfile", "payload_bytes", bytes),
            exactly("sendfile", "zero_copied_bytes", bytes),
            about("write", "from_user", 0, TALK),
        ]
    };
    let written = |bytes| vec![about("write", "from_user", bytes, TALK)];
    Ok(vec![
        send("write", &[], written, "write copies each byte to the socket")?,
        send("-Z", &["-Z"], by_reference, "sendfile from a file of one block: its pages go by reference")?,
    ])
}
