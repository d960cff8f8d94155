//! Connections: at most so many, the oldest silent one gives way to a new one.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::answer::Answers;
use super::{HEADER_TIMEOUT, MAX_HEADER_BYTES};

pub const MAX_CONNECTIONS: usize = 256;
/// Of a whole connection, so that one that reads slowly ends too. Prometheus gives up after 10 s.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);
/// A client that takes longer than this for an answer may lose its place.
pub const SLOW: Duration = Duration::from_secs(2);

/// A connection that has its place.
pub struct Place {
    number: u64,
    since: Instant,
    task: AbortHandle,
    /// Its request was read.
    served: bool,
}

/// All connections, the oldest first.
pub struct Places {
    taken: Mutex<VecDeque<Place>>,
    free: Arc<Semaphore>,
    next: AtomicU64,
}

impl Default for Places {
    fn default() -> Self {
        Places {
            taken: Mutex::default(),
            free: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            next: AtomicU64::new(0),
        }
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Place>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its request was read: it is no longer the first to go.
    pub fn serve(&self, number: u64) {
        if let Some(place) = self.lock().iter_mut().find(|place| place.number == number) {
            place.served = true;
        }
    }

    fn leave(&self, number: u64) {
        self.lock().retain(|place| place.number != number);
    }

    /// Closes the oldest connection that has sent no request, else the oldest that takes too long.
    pub fn evict(&self) -> bool {
        let mut places = self.lock();
        let silent = places.iter().position(|place| !place.served);
        let slow = || places.iter().position(|place| place.since.elapsed() > SLOW);
        let Some(place) = silent.or_else(slow).and_then(|at| places.remove(at)) else { return false };
        place.task.abort();
        true
    }

    /// Closes the oldest connection that takes too long to read its answer.
    pub fn evict_slow(&self) -> bool {
        let mut places = self.lock();
        let slow = places.iter().position(|place| place.served && place.since.elapsed() > SLOW);
        let Some(place) = slow.and_then(|at| places.remove(at)) else { return false };
        place.task.abort();
        true
    }
}

/// Never ends. Several listeners may share answers, and places with them.
pub async fn accept(listener: TcpListener, answers: Arc<Answers>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(cause) => return crate::fmt::say(&format!("the HTTP server cannot start: {cause}")),
    };
    let free = Arc::clone(&answers.places.free);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // Out of descriptors, or the client has gone: neither is helped by trying at once.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if free.available_permits() == 0 && answers.places.evict() {
            answers.stats.evicted.fetch_add(1, Ordering::Relaxed);
        }
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        let number = answers.places.next.fetch_add(1, Ordering::Relaxed);
        let own = Arc::clone(&answers);
        let task = tokio::spawn(async move {
            let _permit = permit;
            // All ways of ending badly are the client's: it went away, or it was too slow.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection(stream, number, &own)).await;
            own.places.leave(number);
        });
        let place = Place { number, since: Instant::now(), task: task.abort_handle(), served: false };
        answers.places.lock().push_back(place);
    }
}

async fn connection(stream: TcpStream, number: u64, answers: &Arc<Answers>) {
    let Some(tls) = answers.tls() else { return http(stream, number, answers).await };
    match tokio::time::timeout(HEADER_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => http(stream, number, answers).await,
        _ => {
            answers.stats.handshakes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One connection, from the first byte of its request to the end of the answer.
pub async fn http(stream: impl AsyncRead + AsyncWrite + Unpin, number: u64, answers: &Arc<Answers>) {
    // What an answer needs until it is sent.
    let holding = Arc::new(Mutex::new(None));
    let service = service_fn(|request| {
        answers.places.serve(number);
        let (answers, holding) = (Arc::clone(answers), Arc::clone(&holding));
        async move { Ok::<_, Infallible>(answers.answer(&request, &holding).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_header_size(MAX_HEADER_BYTES)
        // Who has said all (`nc -N`) still wants the answer.
        .half_close(true)
        // A new connection per scrape costs nothing beside the scrape, and frees the place.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let _ = connection.await;
}
