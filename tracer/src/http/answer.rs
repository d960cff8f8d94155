//! Requests and what is answered.

use std::io::Write as _;
use std::sync::{Arc, Mutex as Blocking, PoisonError};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, VARY, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::accept::Places;
use super::auth::Access;
use super::page::Page;
use super::pages::{Pages, Stats};
use super::web::Web;
use crate::output::prometheus;

/// Pages of metrics that may be on their way to clients: each can be some megabytes.
const MAX_SCRAPES: usize = 16;

const TEXT: &str = "text/plain; charset=utf-8";
const LANDING: &str = "<!DOCTYPE html><html lang=\"en\"><title>tracer</title><h1>tracer</h1>\
    <p>How often did the CPU copy each byte?</p>\
    <ul><li><a href=\"/metrics\">/metrics</a></li><li><a href=\"/status\">/status</a></li>\
    <li><a href=\"/-/healthy\">/-/healthy</a></li><li><a href=\"/-/ready\">/-/ready</a></li></ul></html>\n";

/// What a connection holds until its answer is sent.
pub type Holding = Blocking<Option<OwnedSemaphorePermit>>;

/// The pages, and the last scrape, shared by all that waited for it.
pub struct Answers {
    pages: Arc<dyn Pages>,
    web: Option<Arc<Web>>,
    last: Mutex<Option<Scrape>>,
    scrapes: Arc<Semaphore>,
    pub places: Places,
    pub stats: Arc<Stats>,
}

struct Scrape {
    /// When its reading began.
    begun: Instant,
    text: Page,
    gzip: Option<Page>,
}

impl Answers {
    pub fn new(pages: Arc<dyn Pages>, web: Option<Web>) -> Self {
        Answers {
            pages,
            web: web.map(Arc::new),
            last: Mutex::new(None),
            scrapes: Arc::new(Semaphore::new(MAX_SCRAPES)),
            places: Places::default(),
            stats: Arc::default(),
        }
    }

    /// How to speak with new clients, as the file says now.
    pub fn tls(&self) -> Option<TlsAcceptor> {
        self.web.as_ref()?.now(&self.stats).tls.clone()
    }

    pub async fn answer(&self, request: &Request<Incoming>, holding: &Holding) -> Response<Full<Page>> {
        let mut response = match self.admitted(request).await {
            Ok(()) => self.page(request, holding).await,
            Err(refused) => refused,
        };
        if let Some(web) = &self.web {
            response.headers_mut().extend(web.now(&self.stats).headers.clone());
        }
        self.stats.answered(response.status().as_u16());
        response
    }

    async fn admitted(&self, request: &Request<Incoming>) -> Result<(), Response<Full<Page>>> {
        let Some(web) = &self.web else { return Ok(()) };
        match web.admit(request.headers(), &self.stats).await {
            Access::Granted => Ok(()),
            Access::Denied => {
                let mut answer = response(StatusCode::UNAUTHORIZED, TEXT, "unauthorized\n");
                let realm = HeaderValue::from_static("Basic realm=\"tracer\", charset=\"UTF-8\"");
                answer.headers_mut().insert(WWW_AUTHENTICATE, realm);
                Err(answer)
            }
            Access::Busy => {
                let why = "too many passwords to check; try again\n";
                Err(response(StatusCode::TOO_MANY_REQUESTS, TEXT, why))
            }
        }
    }

    async fn page(&self, request: &Request<Incoming>, holding: &Holding) -> Response<Full<Page>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut answer = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match request.uri().path() {
            "/metrics" => self.scrape(takes_gzip(request.headers()), holding).await,
            "/status" => self.status().await,
            "/-/healthy" => response(StatusCode::OK, TEXT, "tracer is healthy\n"),
            "/-/ready" => match self.pages.ready() {
                Ok(()) => response(StatusCode::OK, TEXT, "tracer is ready\n"),
                Err(why) => unavailable(&why),
            },
            "/" => response(StatusCode::OK, "text/html; charset=utf-8", LANDING),
            _ => response(StatusCode::NOT_FOUND, TEXT, "not found; the metrics are at /metrics\n"),
        }
    }

    async fn status(&self) -> Response<Full<Page>> {
        let pages = Arc::clone(&self.pages);
        match tokio::task::spawn_blocking(move || pages.status()).await {
            Ok(Some(json)) => response(StatusCode::OK, "application/json", json),
            Ok(None) => response(StatusCode::NOT_FOUND, TEXT, "only `tracer serve` has a status\n"),
            Err(_) => unreadable(),
        }
    }

    async fn scrape(&self, gzip: bool, holding: &Holding) -> Response<Full<Page>> {
        let mut permit = Arc::clone(&self.scrapes).try_acquire_owned();
        if permit.is_err() && self.places.evict_slow() {
            // It gives its permit back when its task has ended.
            tokio::time::sleep(Duration::from_millis(10)).await;
            permit = Arc::clone(&self.scrapes).try_acquire_owned();
        }
        let Ok(permit) = permit else { return unavailable("too many scrapes at once") };
        *holding.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
        match self.metrics(gzip).await {
            Ok(Some(text)) => {
                let mut answer = response(StatusCode::OK, prometheus::CONTENT_TYPE, text);
                answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
                if gzip {
                    answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                answer
            }
            Ok(None) => unavailable(&self.pages.ready().err().unwrap_or("tracer is about to end".into())),
            Err(_) => unreadable(),
        }
    }

    /// `Err` if reading them panicked.
    async fn metrics(&self, gzip: bool) -> Result<Option<Page>, tokio::task::JoinError> {
        let came = Instant::now();
        // Held over the reading: those who come meanwhile wait, and share the next one.
        let mut last = self.last.lock().await;
        let fresh_for = self.pages.fresh_for();
        if last.as_ref().is_none_or(|scrape| scrape.begun + fresh_for < came) {
            *last = None;
            let begun = Instant::now();
            let (pages, stats) = (Arc::clone(&self.pages), Arc::clone(&self.stats));
            let text = tokio::task::spawn_blocking(move || pages.metrics(&stats)).await?;
            *last = text.map(|text| Scrape { begun, text, gzip: None });
        }
        let Some(scrape) = last.as_mut() else { return Ok(None) };
        if !gzip {
            return Ok(Some(scrape.text.clone()));
        }
        if scrape.gzip.is_none() {
            let text = scrape.text.clone();
            scrape.gzip = Some(tokio::task::spawn_blocking(move || compress(&text)).await?);
        }
        Ok(scrape.gzip.clone())
    }
}

fn compress(text: &Page) -> Page {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for part in text.parts() {
        // A vector takes everything.
        let _ = encoder.write_all(part);
    }
    vec![encoder.finish().unwrap_or_default()].into()
}

/// True if `Accept-Encoding` names gzip without `q=0`.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        named && !parts.any(refused)
    })
}

fn unavailable(why: &str) -> Response<Full<Page>> {
    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {why}\n"))
}

fn unreadable() -> Response<Full<Page>> {
    response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the counters could not be read\n")
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Page>) -> Response<Full<Page>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// Each page is the number of its reading, and none is read before all have asked.
    struct Numbered {
        next: AtomicU32,
        asked: Blocking<mpsc::Receiver<()>>,
    }

    impl Pages for Numbered {
        fn metrics(&self, _: &Stats) -> Option<Page> {
            // An error: the other end is gone.
            let _ = self.asked.lock().expect("no panic").recv();
            Some(self.next.fetch_add(1, Ordering::Relaxed).to_string().into())
        }
    }

    #[tokio::test]
    async fn scrapes_at_the_same_time_share_one_reading() {
        let (asking, asked) = mpsc::channel::<()>();
        let pages = Numbered { next: AtomicU32::new(0), asked: Blocking::new(asked) };
        let answers = Answers::new(Arc::new(pages), None);
        let scrape = || async {
            let page = answers.metrics(false).await.expect("no panic").expect("a page");
            page.parts().collect::<Vec<_>>().concat()
        };
        let all_have_asked = async {
            // `join!` polls each of them once before it comes back here.
            tokio::task::yield_now().await;
            drop(asking);
        };
        let (first, second, third, fourth, ()) =
            tokio::join!(scrape(), scrape(), scrape(), scrape(), all_have_asked);
        // When the others came the first reading had begun: they share the next one.
        assert_eq!([first, second, third, fourth], [b"0", b"1", b"1", b"1"]);
    }

    #[test]
    fn who_takes_gzip() {
        for (value, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("identity", false),
            ("*", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(takes_gzip(&headers), expected, "{value}");
        }
    }
}
