//! A receiver of delivery reports: a small HTTP server in the test's own process that keeps what it got, in order, and
//! answers the status that it was told to.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// One attempt to deliver a report.
#[derive(Debug, Clone)]
pub struct Report {
    /// Path and query that were called.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
    /// What it was answered.
    pub answered: StatusCode,
}

/// A running receiver; it ends when it is dropped.
#[derive(Debug)]
pub struct Sink {
    url: String,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    reports: Mutex<Vec<Report>>,
    answer: Mutex<StatusCode>,
    /// Whether a third of the attempts is refused, whatever is answered else.
    refuses_a_third: AtomicBool,
    came: Notify,
}

impl Sink {
    /// Starts one on a free loopback port, inside a tokio runtime. It answers 200.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a port for reports")?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(State {
            reports: Mutex::default(),
            answer: Mutex::new(StatusCode::OK),
            refuses_a_third: AtomicBool::new(false),
            came: Notify::new(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { url, state, task })
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it answers from now on.
    pub fn answer(&self, status: StatusCode) {
        *lock(&self.state.answer) = status;
    }

    /// From now on one of three attempts is refused, as body and attempt decide: the same report may be refused several times.
    pub fn refuse_a_third(&self) {
        self.state.refuses_a_third.store(true, Ordering::Relaxed);
    }

    /// From now on none is refused by chance.
    pub fn refuse_no_more(&self) {
        self.state.refuses_a_third.store(false, Ordering::Relaxed);
    }

    /// All attempts so far, in the order in which they came.
    pub fn reports(&self) -> Vec<Report> {
        lock(&self.state.reports).clone()
    }

    /// Waits until what came satisfies a condition, and answers what came; an error after `deadline`.
    pub async fn wait_until(&self, deadline: Duration, mut met: impl FnMut(&[Report]) -> bool) -> Result<Vec<Report>> {
        let wait = async {
            loop {
                // Registered before the look, so that nothing that comes in between is missed.
                let came = self.state.came.notified();
                // Looked at where they are: a copy for every arrival would grow with their square.
                let enough = met(&lock(&self.state.reports));
                if enough {
                    return self.reports();
                }
                came.await;
            }
        };
        match tokio::time::timeout(deadline, wait).await {
            Ok(reports) => Ok(reports),
            Err(_) => anyhow::bail!("after {deadline:?} the reports that came are {:?}", self.reports()),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// From this attempt on a report isn't among the third that is refused.
const MOST_REFUSALS: usize = 4;

async fn accept(listener: TcpListener, state: Arc<State>) {
    // Connections end with the set, which ends with this task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let service = service_fn(move |request| take(Arc::clone(&state), request));
        connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        while connections.try_join_next().is_some() {}
    }
}

async fn take(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let mut answer = Response::new(Empty::new());
    // A body that broke off is no report: its sender will come again.
    let Ok(body) = body.collect().await else {
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(answer);
    };
    let body = body.to_bytes();
    let mut reports = lock(&state.reports);
    let refused = state.refuses_a_third.load(Ordering::Relaxed) && {
        let attempt = reports.iter().filter(|report| report.body == body).count();
        refuses(body_hash(&body), attempt)
    };
    let answered = if refused {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        *lock(&state.answer)
    };
    reports.push(Report {
        path,
        headers: head.headers,
        body,
        answered,
    });
    drop(reports);
    *answer.status_mut() = answered;
    state.came.notify_waiters();
    Ok(answer)
}

/// One of three, for each attempt anew.
fn refuses(hash: u64, attempt: usize) -> bool {
    // A report has eleven attempts. Were all of them judged by chance, one of some ten thousand would be lost by it.
    if attempt >= MOST_REFUSALS {
        return false;
    }
    let mixed = (hash ^ (attempt as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 32).is_multiple_of(3)
}

fn body_hash(body: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
