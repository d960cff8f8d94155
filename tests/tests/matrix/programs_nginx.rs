//! nginx: each directive that decides how a file gets into the socket, as one server each, all counted
//! by one tracer while curl fetches from one after the other.

use std::rc::Rc;

use anyhow::Result;
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::programs::batch::{Load, Ready};
use tracer_tests::harness::programs::books::{DISK, Expected, about, exactly};
use tracer_tests::harness::programs::client::{self, Moved};
use tracer_tests::harness::programs::files::{self, Dir, SIZE, SMALL};
use tracer_tests::harness::programs::nginx::Nginx;
use tracer_tests::harness::programs::{no_ktls, server};

use crate::{Check, program_batch};

/// A server of its own.
struct Variant {
    name: &'static str,
    /// Lines of the `http` block.
    directives: &'static str,
    scheme: &'static str,
    file: &'static str,
    /// curl's.
    options: &'static [&'static str],
    expected: fn(&Served) -> Vec<Expected>,
    explanation: &'static str,
}

/// What the client got in the window.
struct Served {
    /// Of the file.
    bytes: u64,
    moved: Moved,
}

const HTTP: Variant = Variant {
    name: "",
    directives: "",
    scheme: "http",
    file: "large",
    options: &[],
    expected: |_| Vec::new(),
    explanation: "",
};

static PLAIN: [Variant; 8] = [
    Variant {
        name: "sendfile off",
        directives: "sendfile off;",
        expected: |served| streamed(served, 1),
        explanation: "pread copies each byte from the page cache, writev copies it to the socket",
        ..HTTP
    },
    Variant {
        name: "sendfile on",
        directives: "sendfile on;",
        expected: sent,
        explanation: "the socket takes the page cache's pages by reference; only the heads are copied",
        ..HTTP
    },
    Variant {
        name: "sendfile on, tcp_nopush on",
        directives: "sendfile on; tcp_nopush on;",
        expected: sent,
        explanation: "as sendfile on: TCP_CORK decides when packets leave, not how pages get into them",
        ..HTTP
    },
    Variant {
        name: "sendfile off, aio threads",
        directives: "sendfile off; aio threads;",
        expected: |served| by_threads(streamed(served, 1), served, served.bytes),
        explanation: "as sendfile off: the same pread, in a thread of the pool",
        ..HTTP
    },
    Variant {
        name: "sendfile on, aio threads",
        directives: "sendfile on; aio threads;",
        expected: |served| by_threads(sent(served), served, 0),
        explanation: "as sendfile on: the same sendfile, in a thread of the pool",
        ..HTTP
    },
    Variant {
        name: "directio",
        directives: "sendfile on; directio 4k;",
        expected: |served| [streamed(served, 0), vec![exactly(DISK, "read", served.bytes)]].concat(),
        explanation: "the disk writes into nginx's buffer, past the page cache; writev copies to the socket",
        ..HTTP
    },
    Variant {
        name: "gzip on",
        // Without chunks, whose framing the client does not count.
        directives: "sendfile on; gzip on; gzip_comp_level 1; gzip_types *; gzip_http_version 1.0;",
        file: "lines",
        options: &["--http1.0", "-H", "Accept-Encoding: gzip"],
        expected: compressed,
        explanation: "pread copies each byte that is to be compressed, writev copies the result; no sendfile",
        ..HTTP
    },
    Variant {
        name: "TLS on",
        expected: encrypted_by_openssl,
        explanation: "pread copies each byte, OpenSSL encrypts it, write copies the result; no sendfile",
        ..TLS
    },
];

const TLS: Variant = Variant { directives: "sendfile on;", scheme: "https", file: "small", ..HTTP };

static KTLS: Variant = Variant {
    name: "TLS on, kTLS",
    directives: "sendfile on; ssl_conf_command Options KTLS;",
    expected: encrypted_by_the_kernel,
    explanation: "the kernel's cipher reads the page cache's pages and writes what is sent: no copy",
    ..TLS
};

/// Each fetch is a connection of its own.
const FETCHES: u64 = 2;

/// What a handshake reads and writes at most, and what else a connection needs of odd bytes.
const HANDSHAKE: u64 = 8 << 10;

fn heads(served: &Served) -> [Expected; 2] {
    [exactly("write", "from_user", served.moved.heads), exactly("recv", "to_user", served.moved.asked)]
}

fn sent(served: &Served) -> Vec<Expected> {
    let by_sendfile = [
        exactly("sendfile", "payload_bytes", served.bytes),
        exactly("sendfile", "zero_copied_bytes", served.bytes),
    ];
    by_sendfile.into_iter().chain(heads(served)).collect()
}

fn streamed(served: &Served, copies_of_read: u64) -> Vec<Expected> {
    vec![
        exactly("sendfile", "payload_bytes", 0),
        exactly("read", "payload_bytes", served.bytes),
        exactly("read", "to_user", copies_of_read * served.bytes),
        exactly("write", "from_user", served.bytes + served.moved.heads),
        exactly("recv", "to_user", served.moved.asked),
    ]
}

/// The pool's threads wake the worker through an eventfd: 8 bytes each time, copied from user as other payload is.
/// (That the copies are no fewer than the payload is an invariant of every window.)
fn by_threads(mut expected: Vec<Expected>, served: &Served, written: u64) -> Vec<Expected> {
    const WAKE: u64 = 8;
    /// What a task reads; one that sends does so until the socket is full.
    const OUTPUT_BUFFER: u64 = 32 << 10;
    let most = served.bytes / OUTPUT_BUFFER * WAKE;
    let least = written + served.moved.heads + WAKE;
    expected.retain(|line| !line.is_of("write", "from_user"));
    expected.push(about("write", "from_user", least, most));
    expected.push(about("write", "payload_bytes", least, most));
    expected
}

fn compressed(served: &Served) -> Vec<Expected> {
    vec![
        exactly("read", "to_user", served.bytes),
        exactly("write", "from_user", served.moved.bodies + served.moved.heads),
        exactly("recv", "to_user", served.moved.asked),
    ]
}

fn encrypted_by_openssl(served: &Served) -> Vec<Expected> {
    let handshakes = served.moved.requests * HANDSHAKE;
    let sent = served.bytes + served.moved.heads;
    vec![
        exactly("sendfile", "payload_bytes", 0),
        about("read", "to_user", served.bytes, handshakes),
        // 22 bytes more per record, of 16 KiB at most.
        about("write", "from_user", sent, sent / 100 + handshakes),
        // nginx peeks at the first byte: is it TLS?
        exactly("recv", "to_user", served.moved.requests),
    ]
}

fn encrypted_by_the_kernel(served: &Served) -> Vec<Expected> {
    let handshakes = served.moved.requests * HANDSHAKE;
    let mut expected = vec![
        exactly("sendfile", "payload_bytes", served.bytes),
        exactly("sendfile", "zero_copied_bytes", served.bytes),
        // A type byte per record, and padding.
        about("sendfile", "crypto_bytes", served.bytes, served.bytes / 100),
    ];
    // The handshake is done by calls of every kind.
    for path in ["read", "recv"] {
        expected.extend([about(path, "to_user", 0, handshakes), about(path, "in_kernel", 0, handshakes)]);
    }
    for path in ["write", "send"] {
        expected.extend([about(path, "from_user", 0, handshakes), about(path, "in_kernel", 0, handshakes)]);
    }
    expected
}

pub fn checks() -> Vec<Check> {
    let lacking = |test: &str| if test == "nginx" { None } else { no_ktls() };
    program_batch(&["nginx", "nginx_ktls"], start_all, lacking)
}

fn start_all(bench: &Bench) -> Result<Vec<Ready>> {
    let dir = Dir::new(bench, "nginx")?;
    dir.write("large", files::noise(SIZE))?;
    dir.write("small", files::noise(SMALL))?;
    dir.write("lines", files::lines(SMALL))?;
    let mut all: Vec<(&'static str, &'static Variant)> = PLAIN.iter().map(|plain| ("nginx", plain)).collect();
    if no_ktls().is_none() {
        all.push(("nginx_ktls", &KTLS));
    }
    let numbered = all.into_iter().enumerate();
    numbered.map(|(number, (test, variant))| start(&dir, number, test, variant)).collect()
}

/// Started, and warm: the file is in the page cache, the buffers are there.
fn start(dir: &Rc<Dir>, number: usize, test: &'static str, variant: &'static Variant) -> Result<Ready> {
    let tls = variant.scheme == "https";
    let certificate = if tls { files::nginx_certificate(dir)? } else { String::new() };
    let http = format!("{} {certificate}", variant.directives);
    let nginx = Nginx::start(dir, &format!("nginx{number}"), &http, if tls { "ssl" } else { "" })?;
    let url = format!("{}://127.0.0.1:{}/{}", variant.scheme, nginx.port, variant.file);
    client::fetch(&url, variant.options)?;
    let (worker, size) = (nginx.worker()?, dir.size(variant.file)?);
    let drive = move || {
        let moved = client::fetch_times(FETCHES, &url, variant.options)?;
        server::rest(worker)?;
        let served = Served { bytes: FETCHES * size, moved };
        Ok(Load::new(served.bytes, (variant.expected)(&served), nginx))
    };
    let (name, explanation) = (variant.name, variant.explanation);
    Ok(Ready { test, program: "nginx", variant: name, explanation, pid: worker, drive: Box::new(drive) })
}
