//! Any bytes as what a client sends: one whole answer of a known status, or none, and passwords stay asked for.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tracer::http::Loopback;
use tracer::http::Pages;
use tracer::http::Stats;
use tracer::http::Web;

struct Page;

impl Pages for Page {
    fn metrics(&self, _: &Stats) -> Option<String> {
        Some("tracer_x 1\n".into())
    }

    fn status(&self) -> Option<String> {
        Some("{}\n".into())
    }
}

static OPEN: LazyLock<Loopback> = LazyLock::new(|| Loopback::new(Arc::new(Page), None).expect("runtime"));

/// One user, `u`, whose hash is the cheapest that bcrypt has.
static GUARDED: LazyLock<Loopback> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("tracer-fuzz-{}.yml", std::process::id()));
    let hash = "$2b$04$......................LAtw7/ohmmBAhnXqmkuIz83Rl5Qdjhm";
    std::fs::write(&path, format!("basic_auth_users:\n  u: '{hash}'\n")).expect("a file");
    Loopback::new(Arc::new(Page), Some(Web::read(&path).expect("valid"))).expect("runtime")
});

fuzz_target!(|bytes: &[u8]| {
    for server in [&*OPEN, &*GUARDED] {
        let answer = server.converse(bytes).expect("sockets");
        if answer.is_empty() {
            continue;
        }
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&answer[..head]).expect("text");
        let status: u16 = head.get(9..12).and_then(|text| text.parse().ok()).expect("a status");
        assert!([200, 400, 401, 404, 405, 414, 429, 431, 500, 503, 505].contains(&status), "{head}");
        if std::ptr::eq(server, &*GUARDED) {
            assert!(status != 200, "nobody knows the password: {head}");
        }
    }
});
