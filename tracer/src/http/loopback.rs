//! The server without a network, for the fuzzer: what it answers to any bytes.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::accept;
use super::answer::Answers;
use super::pages::Pages;
use super::web::Web;

/// Serves one connection after the other.
pub struct Loopback {
    runtime: Runtime,
    answers: Arc<Answers>,
}

impl Loopback {
    /// # Errors
    /// The runtime cannot be made.
    pub fn new(pages: Arc<dyn Pages>, web: Option<Web>) -> std::io::Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(2).build()?;
        Ok(Loopback { runtime, answers: Arc::new(Answers::new(pages, web)) })
    }

    /// The answer to a client that sends these bytes and nothing more.
    ///
    /// # Errors
    /// There can be no pair of sockets.
    pub fn converse(&self, sent: &[u8]) -> std::io::Result<Vec<u8>> {
        let (mut client, server) = UnixStream::pair()?;
        server.set_nonblocking(true)?;
        std::thread::scope(|scope| {
            let client = scope.spawn(move || {
                let mut answer = Vec::new();
                // The server may have heard enough before the end.
                let _ = client.write_all(sent);
                let _ = client.shutdown(Shutdown::Write);
                client.read_to_end(&mut answer).map(|_| answer)
            });
            self.runtime.block_on(async {
                accept::http(tokio::net::UnixStream::from_std(server)?, 0, &self.answers).await;
                std::io::Result::Ok(())
            })?;
            client.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Page as Body;
    use crate::http::pages::Stats;

    struct Page;

    impl Pages for Page {
        fn metrics(&self, _: &Stats) -> Option<Body> {
            Some("tracer_x 1\n".into())
        }
    }

    #[test]
    fn answers_as_the_server_does() {
        let loopback = Loopback::new(Arc::new(Page), None).expect("runtime");
        let answer = |sent| loopback.converse(sent).expect("answered");
        let page = answer(b"GET /metrics HTTP/1.0\r\n\r\n");
        assert!(page.starts_with(b"HTTP/1.0 200") && page.ends_with(b"\ntracer_x 1\n"));
        assert!(answer(b"\x00\xff").starts_with(b"HTTP/1.1 400"));
        assert!(answer(b"").is_empty());
    }
}
