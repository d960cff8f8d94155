//! openssl s_server: encryption in the program, in the kernel, and in the kernel with sendfile.

use std::process::Command;
use std::rc::Rc;

use anyhow::Result;
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::programs::batch::{Load, Ready};
use tracer_tests::harness::programs::books::{Expected, about, exactly};
use tracer_tests::harness::programs::client::{self, Moved};
use tracer_tests::harness::programs::files::{self, Dir, SMALL};
use tracer_tests::harness::programs::no_ktls;
use tracer_tests::harness::programs::server::{self, Server};

use crate::{Check, program_batch};

struct Variant {
    name: &'static str,
    /// s_server's options.
    options: &'static [&'static str],
    ktls: bool,
    expected: fn(&Moved) -> Vec<Expected>,
    explanation: &'static str,
}

static VARIANTS: [Variant; 3] = [
    Variant {
        name: "no kTLS",
        options: &[],
        ktls: false,
        expected: |moved| {
            let (sent, odd) = (moved.heads + moved.bodies, moved.requests * HANDSHAKE);
            vec![
                about("read", "to_user", moved.bodies, odd),
                // 22 bytes more per record, of 16 KiB at most.
                about("write", "from_user", sent, sent / 100 + odd),
            ]
        },
        explanation: "read copies each byte, the program encrypts it, write copies the result",
    },
    Variant {
        name: "kTLS",
        options: &[],
        ktls: true,
        expected: |moved| {
            let odd = moved.requests * HANDSHAKE;
            let mut expected = vec![
                about("read", "to_user", moved.bodies, odd),
                about("write", "payload_bytes", moved.heads + moved.bodies, odd),
                about("write", "crypto_bytes", moved.bodies, moved.bodies / 100 + odd),
            ];
            expected.extend(handshakes(&["write", "recv", "send"], odd));
            expected
        },
        explanation: "read copies each byte; the kernel's cipher reads it there and writes what is sent",
    },
    Variant {
        name: "kTLS, -sendfile",
        options: &["-sendfile"],
        ktls: true,
        expected: |moved| {
            let odd = moved.requests * HANDSHAKE;
            let mut expected = vec![
                exactly("sendfile", "payload_bytes", moved.bodies),
                exactly("sendfile", "zero_copied_bytes", moved.bodies),
                about("sendfile", "crypto_bytes", moved.bodies, moved.bodies / 100),
            ];
            expected.extend(handshakes(&["read", "write", "recv", "send"], odd));
            expected
        },
        explanation: "the kernel's cipher reads the page cache's pages and writes what is sent: no copy",
    },
];

const FETCHES: u64 = 2;
/// What a handshake reads and writes at most, certificate and files of configuration included.
const HANDSHAKE: u64 = 16 << 10;

/// Debian 12's OpenSSL (3.0) has no option `-ktls`; its configuration has.
const KTLS_CONFIG: &str =
    "openssl_conf = all\n[all]\nssl_conf = modules\n[modules]\nsystem_default = tls\n[tls]\nOptions = KTLS\n";

/// Copies of the handshake, by calls of any kind.
fn handshakes(paths: &[&'static str], odd: u64) -> Vec<Expected> {
    let fields = ["to_user", "from_user", "in_kernel"];
    paths.iter().flat_map(|path| fields.map(|field| about(path, field, 0, odd))).collect()
}

pub fn checks() -> Vec<Check> {
    let lacking = |test: &str| if test == "openssl" { None } else { no_ktls() };
    program_batch(&["openssl", "openssl_ktls"], start_all, lacking)
}

fn start_all(bench: &Bench) -> Result<Vec<Ready>> {
    let dir = Dir::new(bench, "openssl")?;
    dir.write("file", files::noise(SMALL))?;
    dir.write("ktls.cnf", KTLS_CONFIG)?;
    let certificate = files::certificate(&dir)?;
    let here = VARIANTS.iter().enumerate().filter(|(_, variant)| !variant.ktls || no_ktls().is_none());
    here.map(|(number, variant)| start(&dir, number, variant, &certificate)).collect()
}

/// Started, and warm.
fn start(dir: &Rc<Dir>, number: usize, variant: &'static Variant, files: &[String; 2]) -> Result<Ready> {
    let port = server::free_port()?;
    let [certificate, key] = files;
    let mut command = Command::new("/usr/bin/openssl");
    command.args(["s_server", "-WWW", "-quiet", "-accept", &port.to_string()]);
    command.args(["-cert", certificate, "-key", key]).args(variant.options).current_dir(dir.path());
    if variant.ktls {
        command.env("OPENSSL_CONF", dir.path().join("ktls.cnf"));
    }
    let mut server = Server::start(command, &dir.path().join(format!("{number}.output")))?;
    server.wait_listening(port)?;
    let url = format!("https://127.0.0.1:{port}/file");
    client::fetch(&url, &[])?;
    let (pid, dir) = (server.pid(), Rc::clone(dir));
    let drive = move || {
        let moved = client::fetch_times(FETCHES, &url, &[])?;
        server::rest(pid)?;
        Ok(Load::new(moved.bodies, (variant.expected)(&moved), (server, dir)))
    };
    Ok(Ready {
        test: if variant.ktls { "openssl_ktls" } else { "openssl" },
        program: "openssl s_server",
        variant: variant.name,
        explanation: variant.explanation,
        pid,
        drive: Box::new(drive),
    })
}
