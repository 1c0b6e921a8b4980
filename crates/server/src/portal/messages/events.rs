//! `GET /account/messages/{id}/events`: tells an open page that its request changed (server-sent events). What changed, the
//! page asks for itself, so an event carries nothing that needs to be kept from anybody.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::HeaderName;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use countersign_core::{RequestId, VerificationRequest};
use countersign_store::{RequestRef, RequestWatch};
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Room;
use crate::app::App;
use crate::site::page::PageError;
use crate::site::viewer::Viewer;

/// A comment goes out this often on a quiet stream: below every usual time-out of proxies and of our own server.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A stream ends after this long, and the browser opens the next: so one that was signed out doesn't stay open.
const LIFE: Duration = Duration::from_mins(10);
/// How often a stream looks for itself while other nodes live: what they tell may get lost.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Open streams of one session: as many pages as a person has open.
const STREAMS_OF_A_SESSION: u32 = 8;

/// The open streams of each session.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<HashMap<i64, u32>>);

/// A place among a session's streams; free again when it is dropped.
struct StreamPlace {
    streams: Arc<Streams>,
    session: i64,
}

impl Streams {
    fn take(self: &Arc<Self>, session: i64) -> Option<StreamPlace> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(session).or_default();
        if *count >= STREAMS_OF_A_SESSION {
            return None;
        }
        *count += 1;
        Some(StreamPlace {
            streams: Arc::clone(self),
            session,
        })
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.session);
            }
        }
    }
}

pub(super) async fn events(
    State(app): State<Arc<App>>,
    Extension(room): Extension<Arc<Room>>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let missing = PageError::NotFound("message");
    let id = RequestId::parse(&id).ok_or(missing)?;
    let account = viewer.account.key;
    let draining = app.draining.clone();
    if *draining.borrow() {
        return Err(PageError::Draining);
    }
    // Watched first, and then looked at: nothing is missed between.
    let watch = app.site.watch(RequestRef { account, id });
    let watch = watch.map_err(|_| PageError::TooMany { seconds: 60 })?;
    let known = app.store.request(account, id).await?;
    if known.is_none() {
        return Err(PageError::NotFound("message"));
    }
    let place = room.streams.take(viewer.session.id);
    let place = place.ok_or(PageError::TooMany { seconds: 60 })?;
    let open = OpenStream {
        app,
        request: RequestRef { account, id },
        known,
        watch,
        draining,
        ends_at: Instant::now() + LIFE,
        begun: false,
        _place: place,
    };
    let events = stream::unfold(open, async |mut open| {
        open.next().await.map(|event| (Ok::<_, Infallible>(event), open))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("open");
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // nginx gathers answers unless it is told not to.
    response.headers_mut().insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(response)
}

struct OpenStream {
    app: Arc<App>,
    request: RequestRef,
    /// How the request stood when it was last looked at.
    known: Option<VerificationRequest>,
    watch: RequestWatch,
    draining: watch::Receiver<bool>,
    ends_at: Instant,
    begun: bool,
    _place: StreamPlace,
}

impl OpenStream {
    /// The next event; `None` once the stream or the server ends.
    async fn next(&mut self) -> Option<Event> {
        if self.begun {
            loop {
                tokio::select! {
                    // An error says that the server is gone altogether.
                    _ = self.draining.wait_for(|draining| *draining) => return None,
                    () = tokio::time::sleep_until(self.ends_at) => return None,
                    () = self.watch.changed() => {
                        self.known = None;
                        break;
                    }
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
                if !self.app.store.is_alone() && self.has_changed().await {
                    break;
                }
            }
        }
        // The first one goes out at once: what changed between the page and its stream is looked for as well.
        self.begun = true;
        Some(Event::default().event("change").data("{}"))
    }
}

impl OpenStream {
    /// Looks whether the request is another than when it was last looked at, if it was since the last event.
    async fn has_changed(&mut self) -> bool {
        let RequestRef { account, id } = self.request;
        let Ok(found) = self.app.store.request(account, id).await else {
            return false;
        };
        let before = std::mem::replace(&mut self.known, found);
        before.is_some() && before != self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_so_many_streams_and_gets_one_back_for_each_that_ends() {
        let streams = Arc::new(Streams::default());
        let mut open: Vec<_> = (0..STREAMS_OF_A_SESSION).map(|_| streams.take(1).unwrap()).collect();
        assert!(streams.take(1).is_none());
        assert!(streams.take(2).is_some());
        open.pop();
        assert!(streams.take(1).is_some());
        drop(open);
        assert!(streams.0.lock().unwrap().is_empty());
    }
}
