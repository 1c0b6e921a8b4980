//! `GET /inbox/events`: what changes, as it changes (server-sent events). The stream of a number is its open inbox, and
//! takes its messages; the stream without a number watches the list of numbers, and takes nothing.
//!
//! Events: `messages` (the array of `GET /inbox/messages`, new or changed ones only), `numbers` (the newest entries of
//! `GET /inbox/numbers`; for a number's stream only with `numbers=1`) and `reload` (read the list again).

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use countersign_channels::{InboxEvent, InboxReader, Opening};
use futures_util::stream;
use http::HeaderName;
use tokio::sync::watch;

use super::{Query, Refusal, Room, view};

/// A comment goes out this often on a quiet stream: below every usual time-out of proxies and of our own server.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Entries in one `numbers` event.
const NUMBERS_IN_EVENT: usize = 50;
/// Says in browsers which kind of page asks.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub(super) async fn events(State(room): State<Room>, request: Request) -> Result<Response, Refusal> {
    // An image or a script tag of a foreign page sends no Origin, and would take messages all the same.
    let foreign = request
        .headers()
        .get(SEC_FETCH_SITE)
        .is_some_and(|site| site == "cross-site" || site == "same-site");
    if foreign {
        return Err(Refusal::Foreign("another site may not open an inbox".to_owned()));
    }
    let query = Query::of(request.uri());
    let opening = match query.phone(&room)? {
        None => Opening::Numbers,
        Some(phone) if query.numbers => Opening::NumberAndNumbers(phone),
        Some(phone) => Opening::Number(phone),
    };
    let draining = room.app.draining.clone();
    if *draining.borrow() {
        return Err(Refusal::Draining);
    }
    let reader = room.inbox.open(opening).map_err(|_| Refusal::TooManyReaders)?;
    let open = OpenStream { room, reader, draining };
    let events = stream::unfold(open, async |mut open| {
        open.next().await.map(|event| (Ok::<_, Infallible>(event), open))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("open");
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

struct OpenStream {
    room: Room,
    reader: InboxReader,
    draining: watch::Receiver<bool>,
}

impl OpenStream {
    /// The next event; `None` once the server ends.
    async fn next(&mut self) -> Option<Event> {
        let event = tokio::select! {
            // An error says that the server is gone altogether.
            _ = self.draining.wait_for(|draining| *draining) => return None,
            event = self.reader.next() => event?,
        };
        let (name, data) = match event {
            InboxEvent::Messages(messages) => match view::shown(&self.room, messages).await {
                Ok(shown) => ("messages", view::as_json(&shown).to_string()),
                // The messages were taken; the reader finds them in the list.
                Err(error) => {
                    tracing::warn!(%error, "an open inbox could not read the books");
                    ("reload", "{}".to_owned())
                }
            },
            InboxEvent::Numbers => {
                let numbers = self.room.inbox.numbers(NUMBERS_IN_EVENT);
                ("numbers", view::numbers_as_json(&numbers).to_string())
            }
            InboxEvent::Reload => ("reload", "{}".to_owned()),
        };
        Some(Event::default().event(name).data(data))
    }
}
