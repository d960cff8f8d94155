//! A JVM that serves files and keeps a log: streams against transferTo, Netty's chunks against its file
//! regions, appends by write against appends to a mapping. One JVM; windows are differences of scrapes.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tracer_tests::harness::bench::{Bench, watch};
use tracer_tests::harness::metrics;
use tracer_tests::harness::programs::books::{Books, DISK, Expected, about, exactly};
use tracer_tests::harness::programs::client::{self, Moved};
use tracer_tests::harness::programs::conclusive::conclusive;
use tracer_tests::harness::programs::files::{self, Dir, SIZE};
use tracer_tests::harness::programs::record::{Case, judge};
use tracer_tests::harness::programs::server::{self, Server};
use tracer_tests::harness::tracer::Tracer;

use crate::batched::Verdicts;
use crate::{Check, program, sound};

const JAVA: &str = "/usr/lib/jvm/java-17-openjdk-amd64/bin/java";
const SOURCE: &str = include_str!("../../programs/TransferServer.java");
const LIBRARIES: [&str; 7] = ["buffer", "codec", "common", "handler", "resolver", "transport", "jctools"];
/// An emulated CPU is better off without the second compiler and the parallel collector.
const OPTIONS: [&str; 2] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

/// All paths that a JVM without other business moves data on.
const PATHS: [&str; 7] = ["read", "write", "recv", "send", "sendfile", "splice", "copy_file_range"];

/// One request.
struct Phase {
    name: &'static str,
    /// Of the two ports: plain and Netty.
    port: usize,
    target: &'static str,
    /// Sends the file instead of fetching it.
    upload: bool,
    expected: fn(&Moved) -> Vec<Expected>,
    explanation: &'static str,
}

const PHASES: [Phase; 7] = [
    Phase {
        name: "FileChannel.read, SocketChannel.write",
        port: 0,
        target: "stream/file",
        upload: false,
        expected: streamed,
        explanation: "read copies each byte to a direct buffer, write copies it to the socket",
    },
    Phase {
        name: "FileChannel.transferTo",
        port: 0,
        target: "transfer/file",
        upload: false,
        expected: sent,
        explanation: "transferTo is sendfile: the socket takes the page cache's pages by reference",
    },
    Phase {
        name: "Netty ChunkedNioFile",
        port: 1,
        target: "chunked/file",
        upload: false,
        expected: streamed,
        explanation: "read copies each byte to Netty's buffer, write copies it to the socket",
    },
    Phase {
        name: "Netty DefaultFileRegion",
        port: 1,
        target: "region/file",
        upload: false,
        expected: sent,
        explanation: "a file region is transferTo, which is sendfile: by reference",
    },
    Phase {
        name: "log, append by FileChannel.write",
        port: 0,
        target: "written/log",
        upload: true,
        expected: |moved| {
            vec![
                about("read", "to_user", BYTES + moved.asked, NOISE),
                about("write", "from_user", BYTES + moved.heads, NOISE),
                replaced(),
            ]
        },
        explanation: "read copies each byte from the producer's socket, write copies it to the page cache",
    },
    Phase {
        name: "log, append to MappedByteBuffer",
        port: 0,
        target: "mapped/log",
        upload: true,
        expected: |moved| {
            vec![
                about("read", "to_user", BYTES + moved.asked, NOISE),
                about("write", "from_user", moved.heads, NOISE),
                replaced(),
            ]
        },
        explanation: "read copies each byte from the producer's socket; the mapping is written by stores",
    },
    Phase {
        name: "log, fetch by transferTo",
        port: 0,
        target: "transfer/log",
        upload: false,
        expected: |moved| [sent(moved), vec![replaced()]].concat(),
        explanation: "what was appended is in the page cache, and goes to the consumer's socket by reference",
    },
];

const BYTES: u64 = SIZE as u64;
/// A JVM reads classes and wakes its own threads whenever it likes.
const NOISE: u64 = 64 << 10;

/// ext4 writes a file whose content was replaced once it is closed (`auto_da_alloc`), in the name of who closes it:
/// of a mapping, whenever the JVM lets go of it.
fn replaced() -> Expected {
    about(DISK, "write", 0, BYTES)
}

fn streamed(moved: &Moved) -> Vec<Expected> {
    vec![
        about("read", "to_user", BYTES, NOISE),
        about("write", "from_user", BYTES + moved.heads, NOISE),
        exactly("sendfile", "payload_bytes", 0),
    ]
}

fn sent(moved: &Moved) -> Vec<Expected> {
    vec![
        exactly("sendfile", "payload_bytes", BYTES),
        exactly("sendfile", "zero_copied_bytes", BYTES),
        about("read", "to_user", moved.asked, NOISE),
        about("write", "from_user", moved.heads, NOISE),
    ]
}

pub fn checks() -> Vec<Check> {
    vec![program("jvm", phases)]
}

fn phases(bench: &Bench) -> Result<()> {
    let (cases, total) = conclusive(bench, || measure(bench))?;
    let differences = judge(&bench.kernel, &cases.iter().collect::<Vec<_>>(), &total);
    Verdicts { differences, sound: sound(&total) }.both()
}

/// All phases, and the tracer's total.
fn measure(bench: &Bench) -> Result<(Vec<Case>, Value)> {
    let dir = Dir::new(bench, "jvm")?;
    let file = dir.write("file", files::noise(SIZE))?.display().to_string();
    let (jvm, ports) = start(&dir)?;
    let request = |phase: &Phase| {
        let options: &[&str] = if phase.upload { &["-H", "Expect:", "-T", &file] } else { &[] };
        client::fetch(&format!("http://127.0.0.1:{}/{}", ports[phase.port], phase.target), options)
    };
    // Warm: classes are loaded, buffers are there.
    for phase in &PHASES {
        request(phase).with_context(|| format!("{}; the JVM said:\n{}", phase.name, jvm.said()))?;
    }
    let address = metrics::free_address()?;
    let mut tracer = Tracer::start(&bench.tracer, &watch(&[jvm.pid()], &["--listen", &address.to_string()]))?;
    tracer.wait_counting(&[jvm.pid()])?;
    let books = || Ok::<_, anyhow::Error>(Books::of_scrape(&metrics::scrape(address)?, jvm.pid(), &PATHS));
    let mut cases = Vec::new();
    for phase in &PHASES {
        let before = books()?;
        let moved = request(phase)?;
        server::rest(jvm.pid())?;
        cases.push(Case {
            program: "OpenJDK 17",
            variant: phase.name,
            bytes: BYTES,
            books: books()?.since(&before),
            expected: (phase.expected)(&moved),
            explanation: phase.explanation,
        });
    }
    let total = tracer.stop()?.total()?;
    ensure!(files::same(&dir, "file", "log")?, "the log is not what the producer sent");
    Ok((cases, total))
}

/// Compiled, started, listening; its ports.
fn start(dir: &Dir) -> Result<(Server, Vec<u16>)> {
    let source = dir.write("TransferServer.java", SOURCE)?;
    let jars = LIBRARIES.map(|name| match name {
        "jctools" => "/usr/share/java/jctools-core.jar".to_string(),
        name => format!("/usr/share/java/netty-{name}.jar"),
    });
    let mut command = Command::new(JAVA);
    // A program of one file is compiled in memory, by the JVM that runs it.
    command.args(OPTIONS).args(["-cp", &jars.join(":")]).arg(source).arg(dir.text());
    let mut jvm = Server::start(command, &dir.path().join("output"))?;
    let ports = jvm.wait_for("the JVM tells its ports", |jvm| {
        let said = jvm.said();
        let line = said.lines().find_map(|line| line.strip_prefix("ports "))?;
        let ports: Vec<u16> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        (ports.len() == 2).then_some(ports)
    })?;
    Ok((jvm, ports))
}
