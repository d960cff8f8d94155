//! Many workloads under one tracer: a tracer's start and end cost seconds on an
//! emulated CPU, and telling many targets apart is a promise of its own.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow};
use serde_json::Value;

use super::bench::{Bench, MIB, Observed, Window, watch};
use super::process::{self, Truth};
use super::session::{Session, Started};
use super::tracer::Tracer;
use crate::expect::Place;

/// A workload and where its files are.
pub type Key = (&'static str, Place);

/// What was observed of each workload, once per batch, whichever test asks first.
#[derive(Default)]
pub struct Batches(Mutex<HashMap<Key, Result<Observed, String>>>);

impl Batches {
    /// The observation of `key`, which is one of `batch`.
    pub fn observe(&self, bench: &Bench, batch: &[Key], key: Key) -> Result<Observed> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(&key) {
            known.extend(observe(bench, batch));
        }
        known.remove(&key).unwrap_or_else(|| Err("not in its batch".into())).map_err(|error| anyhow!(error))
    }
}

/// One window of each workload, one after the other, all under one tracer.
pub fn observe(bench: &Bench, batch: &[Key]) -> Vec<(Key, Result<Observed, String>)> {
    observe_by(&bench.tracer, &[], bench, batch)
}

/// The same with a program in tracer's place, and more arguments for it.
pub fn observe_by(
    tracer: &Path,
    extra: &[&str],
    bench: &Bench,
    batch: &[Key],
) -> Vec<(Key, Result<Observed, String>)> {
    let mut results = Vec::new();
    let mut ready = Vec::new();
    for key in batch {
        match bench.session(key.0, key.1, MIB) {
            Ok(Started::Ready(session)) => ready.push((*key, session)),
            Ok(Started::Skipped(cause)) => results.push((*key, Ok(Observed::Skipped(cause)))),
            Err(error) => results.push((*key, Err(format!("{error:#}")))),
        }
    }
    let keys: Vec<Key> = ready.iter().map(|(key, _)| *key).collect();
    match trace(tracer, extra, ready) {
        Ok(windows) => results.extend(windows),
        Err(error) => {
            let error = format!("{error:#}");
            results.extend(keys.into_iter().map(|key| (key, Err(error.clone()))));
        }
    }
    results
}

fn trace(
    program: &Path,
    extra: &[&str],
    mut ready: Vec<(Key, Session)>,
) -> Result<Vec<(Key, Result<Observed, String>)>> {
    let pids: Vec<u32> =
        ready.iter().flat_map(|(_, session)| [Some(session.pid), session.peer]).flatten().collect();
    if pids.is_empty() {
        return Ok(Vec::new());
    }
    let mut tracer = Tracer::start(program, &watch(&pids, extra))?;
    tracer.wait_counting(&pids)?;
    let truths: Vec<Result<Truth>> = ready.iter_mut().map(|(_, session)| window(session)).collect();
    let total = tracer.stop()?.total()?;
    let results = ready.into_iter().zip(truths).map(|((key, session), truth)| {
        let observed = truth.and_then(|truth| end(session, truth, &total));
        (key, observed.map_err(|error| format!("{error:#}")))
    });
    Ok(results.collect())
}

fn window(session: &mut Session) -> Result<Truth> {
    let before = process::truth(session.pid)?;
    session.window()?;
    Ok(process::truth(session.pid)? - before)
}

fn end(session: Session, truth: Truth, total: &Value) -> Result<Observed> {
    let (worker, peer) = (session.pid, session.peer);
    let books = session.finish()?;
    Ok(Observed::Window(Window { total: total.clone(), books, worker, peer, truth }))
}
