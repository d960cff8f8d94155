//! Between the server's threads, which have no privilege, and the one that reads the kernel side's maps.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::http::{Page, Pages, Stats};

/// A page that the counting thread is asked for.
pub enum Ask {
    Metrics(ServerStats, oneshot::Sender<Vec<String>>),
    Status(oneshot::Sender<String>),
}

/// The server's own counts at the time of the question.
pub struct ServerStats {
    pub by_status: Vec<(u16, u64)>,
    pub evicted: u64,
    pub handshakes: u64,
    pub web_config_refused: bool,
}

/// Pages that are asked for elsewhere.
pub struct Front {
    asks: mpsc::Sender<Ask>,
    /// Why it is not ready; `None` if it is.
    unready: Mutex<Option<String>>,
    /// False until counting has begun: nobody would answer.
    counting: std::sync::atomic::AtomicBool,
}

/// Questions on their way; those of one server never are more than two.
const QUEUE: usize = 4;

impl Front {
    pub fn new() -> (Arc<Self>, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(QUEUE);
        let unready = Mutex::new(Some("probes are being attached".to_owned()));
        (Arc::new(Front { asks, unready, counting: false.into() }), asked)
    }

    /// Counting has begun; `unready` says what is missing, if anything is.
    pub fn begin(&self, unready: Option<String>) {
        *self.unready.lock().unwrap_or_else(PoisonError::into_inner) = unready;
        self.counting.store(true, std::sync::atomic::Ordering::Release);
    }

    fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        if !self.counting.load(std::sync::atomic::Ordering::Acquire) {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.asks.blocking_send(question(answer)).ok()?;
        // An error if the counting thread ends.
        answered.blocking_recv().ok()
    }
}

impl Pages for Front {
    fn metrics(&self, server: &Stats) -> Option<Page> {
        let load = |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
        let stats = ServerStats {
            by_status: server.by_status().collect(),
            evicted: load(&server.evicted),
            handshakes: load(&server.handshakes),
            web_config_refused: server.web_config_refused.load(std::sync::atomic::Ordering::Relaxed),
        };
        self.ask(|answer| Ask::Metrics(stats, answer)).map(Page::from)
    }

    fn status(&self) -> Option<String> {
        self.ask(Ask::Status).or_else(|| {
            let why = self.ready().err().unwrap_or_else(|| "tracer is about to end".to_owned());
            Some(format!(
                "{}\n",
                serde_json::json!({ "schema": super::page::SCHEMA, "ready": false, "cause": why })
            ))
        })
    }

    fn ready(&self) -> Result<(), String> {
        match &*self.unready.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(why) => Err(why.clone()),
        }
    }
}
