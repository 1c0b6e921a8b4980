//! One connection, from its first byte to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use futures_util::FutureExt as _;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tower_service::Service as _;

use super::activity::{Activity, Noted};
use super::body::TimedBody;
use super::{HttpLimits, PeerAddress, request_id};

/// The head of a request, its parameters in the query included, may be this long; above it the answer is 431. The wire
/// contract's longest parameters together are under 1 KiB; cookies of other servers on `localhost` need the rest.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// What is buffered of a connection; hyper reads bodies through it piece by piece. A head that is longer than this, or has more than
/// hyper's 100 fields, is refused by hyper, whose answer bears no id.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// How far the server is on the way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Connections are accepted.
    Serving,
    /// What is in flight is finished, nothing else begins.
    Draining,
    /// Time is up.
    Ended,
}

/// The dialect that every connection of a server speaks.
pub(super) fn dialect() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // hyper's own timer for heads allocates one per request and counts idle time as well; `Activity` does both better.
    builder
        .header_read_timeout(None)
        .max_header_size(MAX_BUFFER_BYTES)
        .max_buf_size(MAX_BUFFER_BYTES);
    builder
}

/// Serves one connection until it ends.
pub(super) async fn serve<IO>(
    io: IO,
    peer: SocketAddr,
    router: axum::Router,
    dialect: &http1::Builder,
    limits: HttpLimits,
    stage: watch::Receiver<Stage>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::new());
    let service = service_fn(|request| answer(request, peer, router.clone(), Arc::clone(&activity), limits));
    let io = TokioIo::new(Noted::new(io, Arc::clone(&activity)));
    let mut connection = pin!(dialect.serve_connection(io, service));
    let mut watchdog = pin!(tokio::time::sleep(limits.request_timeout));
    let (mut until_draining, mut until_ended) = (stage.clone(), stage.clone());
    // The sender lives as long as any connection may; where it is gone, the server has ended.
    let mut drain_begins = pin!(until_draining.wait_for(|stage| *stage != Stage::Serving));
    let mut time_is_up = pin!(until_ended.wait_for(|stage| *stage == Stage::Ended));
    let (mut listening, mut draining) = (false, false);

    std::future::poll_fn(|cx| {
        // The connection's own failures (a reset, bytes that are no HTTP) are its caller's; hyper has answered what can be
        // answered.
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // Waiting for the stage takes a lock, so it is polled once, to be woken by it, and then only when it has changed:
        // this task's waker is always the same.
        if !draining && (!listening || stage.has_changed().unwrap_or(true)) {
            listening = true;
            if drain_begins.as_mut().poll(cx).is_ready() {
                draining = true;
                connection.as_mut().graceful_shutdown();
                // What that decided takes effect when the connection is polled again.
                cx.waker().wake_by_ref();
            }
        }
        if draining && (activity.is_endless() || time_is_up.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(());
        }
        // The timer is moved only when it fires or is too late, not with every request.
        if let Some(deadline) = activity.deadline(&limits)
            && deadline < watchdog.deadline()
        {
            watchdog.as_mut().reset(deadline);
        }
        while watchdog.as_mut().poll(cx).is_ready() {
            match activity.deadline(&limits) {
                Some(deadline) if deadline <= Instant::now() => return Poll::Ready(()),
                Some(deadline) => watchdog.as_mut().reset(deadline),
                None => watchdog.as_mut().reset(Instant::now() + limits.request_timeout),
            }
        }
        Poll::Pending
    })
    .await;
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    router: axum::Router,
    activity: Arc<Activity>,
    limits: HttpLimits,
) -> Result<Response<Body>, Infallible> {
    let id = request_id::of(request.headers());
    let mut response = if head_bytes(&request) > MAX_HEAD_BYTES {
        activity.asked(!request.body().is_end_stream());
        activity.answered(false);
        closing(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "")
    } else {
        request_id::scope(id.clone(), answer_unmarked(request, peer, router, activity, limits)).await?
    };
    response.headers_mut().insert(request_id::REQUEST_ID, id);
    Ok(response)
}

/// How long a request's head is, as it is mostly written.
fn head_bytes(request: &Request<Incoming>) -> usize {
    let line = |method: &str, target: &str| method.len() + target.len() + "  HTTP/1.1\r\n".len();
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    line(request.method().as_str(), target) + fields.sum::<usize>() + "\r\n".len()
}

async fn answer_unmarked(
    request: Request<Incoming>,
    peer: SocketAddr,
    mut router: axum::Router,
    activity: Arc<Activity>,
    limits: HttpLimits,
) -> Result<Response<Body>, Infallible> {
    activity.asked(!request.body().is_end_stream());
    let body_activity = Arc::clone(&activity);
    let mut request = request.map(|body| TimedBody::new(body, body_activity, limits.request_timeout));
    request.extensions_mut().insert(PeerAddress(peer));
    // A handler that panics is our fault, and its caller is told so; the server goes on. Nothing that the handler shares
    // can be left half done: what must hold together is changed by the books alone.
    let answered = AssertUnwindSafe(router.call(request)).catch_unwind().await;
    let response = match answered {
        _ if activity.body_is_late() => {
            closing(StatusCode::REQUEST_TIMEOUT, r#"{"ok":false,"error":"REQUEST_TIMEOUT"}"#)
        }
        Ok(response) => response?,
        Err(_) => {
            tracing::error!("a handler panicked; its caller was told INTERNAL_ERROR");
            closing(
                StatusCode::INTERNAL_SERVER_ERROR,
                r#"{"ok":false,"error":"INTERNAL_ERROR"}"#,
            )
        }
    };
    let kind = response.headers().get(CONTENT_TYPE);
    activity.answered(kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")));
    Ok(response)
}

/// An answer that this module gives itself, after which the connection can't go on.
fn closing(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
