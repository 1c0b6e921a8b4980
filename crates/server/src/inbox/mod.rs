//! The built-in messenger's pages, its API and its live events, on top of [`countersign_channels::Inbox`]. Open to whoever
//! reaches the server: it exists for sandboxes, development and CI, and production refuses to start with it.
//!
//! Reading a page or a list changes nothing. Only an open event stream of a number delivers its messages, and only
//! `POST /inbox/read` reads them.

mod dates;
mod events;
mod logins;
mod page;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use countersign_channels::{Inbox, InboxMessage};
use countersign_core::{Action, Command, LegName, News, PhoneNumber, RequestId};
use countersign_store::StoreError;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::http::same_site;
use crate::{App, clock, login};

/// Messages in one answer where the caller names no `limit`.
const DEFAULT_LIMIT: usize = 1_000;
/// The most messages or numbers in one answer.
const MAX_LIMIT: usize = 10_000;
/// The longest body of `POST /inbox/read`.
const MAX_BODY_BYTES: usize = 4_096;
/// How many messages are brought into the books as read at the same time: enough to share commits.
const READS_AT_ONCE: usize = 64;

/// Everything comes from here, nothing from elsewhere, and no other page may frame this one.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The routes of the inbox; none where it is switched off.
pub fn router(app: Arc<App>) -> Router {
    let Some(inbox) = app.inbox.clone() else {
        return Router::new();
    };
    let room = Room { app, inbox };
    Router::new()
        .route("/inbox", get(page::page))
        .route("/inbox/", get(async || redirect("/inbox")))
        .route("/inbox/messages", get(messages))
        .route("/inbox/numbers", get(numbers))
        .route("/inbox/events", get(events::events))
        .route("/inbox/read", post(read))
        .route("/inbox/logins", get(logins::list))
        .route("/inbox/login", post(logins::answer))
        .route(
            "/inbox/inbox.css",
            get(async || asset("text/css", include_str!("assets/inbox.css"))),
        )
        .route(
            "/inbox/inbox.js",
            get(async || asset("text/javascript", include_str!("assets/inbox.js"))),
        )
        .route(
            "/inbox/icon.svg",
            get(async || asset("image/svg+xml", include_str!("assets/icon.svg"))),
        )
        .method_not_allowed_fallback(async || Refusal::Method)
        .layer(from_fn_with_state(room.clone(), guard))
        .with_state(room)
}

/// What the handlers of this room share.
#[derive(Clone)]
struct Room {
    app: Arc<App>,
    inbox: Arc<Inbox>,
}

impl Room {
    /// The number that a caller names. People paste numbers as they are grouped, and an unescaped `+` in a query is a space.
    fn phone(&self, text: &str) -> Result<PhoneNumber, Refusal> {
        login::typed_phone(text, self.app.mode).ok_or(Refusal::Phone)
    }
}

/// The query of a list.
#[derive(Default)]
struct Query {
    phone: Option<String>,
    limit: Option<String>,
    numbers: bool,
}

impl Query {
    fn of(request: &http::Uri) -> Self {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(request.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "phone" if !value.trim().is_empty() => query.phone = Some(value.into_owned()),
                "limit" => query.limit = Some(value.into_owned()),
                "numbers" => query.numbers = value == "1",
                _ => {}
            }
        }
        query
    }

    fn phone(&self, room: &Room) -> Result<Option<PhoneNumber>, Refusal> {
        self.phone.as_deref().map(|text| room.phone(text)).transpose()
    }

    fn limit(&self) -> Result<usize, Refusal> {
        match &self.limit {
            None => Ok(DEFAULT_LIMIT),
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or(Refusal::Limit),
        }
    }
}

/// Why a call was refused. The answer's body is a sentence that says what to do.
#[derive(Debug)]
enum Refusal {
    Phone,
    RequestId,
    Limit,
    Body,
    Login,
    LoginOver,
    Method,
    Foreign(String),
    TooManyReaders,
    Draining,
    Books(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Books(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, sentence) = match self {
            Self::Phone => (
                StatusCode::BAD_REQUEST,
                "this is no possible phone number: write it in international form, like +391234567890".to_owned(),
            ),
            Self::RequestId => (
                StatusCode::BAD_REQUEST,
                "this is no request_id: copy it from GET /inbox/messages".to_owned(),
            ),
            Self::Limit => (
                StatusCode::BAD_REQUEST,
                format!("limit is a number from 1 to {MAX_LIMIT}"),
            ),
            Self::Body => (
                StatusCode::BAD_REQUEST,
                "send {\"phone_number\":\"+39…\"}, with \"request_id\" for a single message, as JSON".to_owned(),
            ),
            Self::Login => (
                StatusCode::BAD_REQUEST,
                "send {\"attempt\":\"…\",\"answer\":\"confirm\"} or \"refuse\", with an attempt of GET /inbox/logins"
                    .to_owned(),
            ),
            Self::LoginOver => (
                StatusCode::NOT_FOUND,
                "this sign-in was answered already, or its time is over: GET /inbox/logins lists those that wait"
                    .to_owned(),
            ),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "read the inbox with GET; only /inbox/read and /inbox/login take POST".to_owned(),
            ),
            Self::Foreign(sentence) => (StatusCode::FORBIDDEN, sentence),
            Self::TooManyReaders => (
                StatusCode::SERVICE_UNAVAILABLE,
                countersign_channels::TooManyReaders.to_string(),
            ),
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "the server is ending".to_owned()),
            Self::Books(
                error @ (StoreError::Busy
                | StoreError::Closing
                | StoreError::DiskFull
                | StoreError::Unavailable
                | StoreError::TryAgain),
            ) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            Self::Books(error) => {
                tracing::error!(%error, "the inbox could not read the books");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the books could not be read: the server's log says why".to_owned(),
                )
            }
        };
        let mut response = json_answer(&json!({ "error": sentence }));
        *response.status_mut() = status;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        }
        response
    }
}

/// Refuses foreign sites, and puts on every answer what browsers should know.
async fn guard(State(room): State<Room>, request: Request, next: Next) -> Response {
    let exposed = room.app.settings.sandbox.exposed;
    let mut response = match same_site(request.uri(), request.headers(), exposed) {
        Ok(()) => {
            let is_of_the_page = [".css", ".js", ".svg"]
                .iter()
                .any(|end| request.uri().path().ends_with(end));
            if !is_of_the_page && !*room.app.draining.borrow() {
                room.app.onlookers.look().await;
            }
            next.run(request).await
        }
        Err(foreign) => Refusal::Foreign(foreign.to_string()).into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
        // Not "no-referrer": browsers would send forms with the origin `null`, and the answer to a sign-in is a form.
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// `GET /inbox/messages`.
async fn messages(State(room): State<Room>, request: Request) -> Result<Response, Refusal> {
    let query = Query::of(request.uri());
    let messages = room.inbox.messages(query.phone(&room)?, query.limit()?);
    Ok(json_answer(&view::as_json(&view::shown(&room, messages).await?)))
}

/// `GET /inbox/numbers`.
async fn numbers(State(room): State<Room>, request: Request) -> Result<Response, Refusal> {
    let limit = Query::of(request.uri()).limit()?;
    Ok(json_answer(&view::numbers_as_json(&room.inbox.numbers(limit))))
}

/// What `POST /inbox/read` takes.
#[derive(Deserialize)]
struct ReadBody {
    phone_number: String,
    request_id: Option<String>,
}

impl ReadBody {
    fn parse(headers: &HeaderMap, body: &Bytes) -> Option<Self> {
        if !is_form(headers) {
            return serde_json::from_slice(body).ok();
        }
        let field = |wanted: &str| {
            form_urlencoded::parse(body)
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.into_owned())
        };
        Some(Self {
            phone_number: field("phone_number")?,
            request_id: field("request_id"),
        })
    }
}

/// `POST /inbox/read`: the answer is given once the books show what was read.
async fn read(State(room): State<Room>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let body = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| Refusal::Body)?;
    let body = ReadBody::parse(&headers, &body).ok_or(Refusal::Body)?;
    let phone = room.phone(&body.phone_number)?;
    let only = match &body.request_id {
        Some(id) => Some(RequestId::parse(id).ok_or(Refusal::RequestId)?),
        None => None,
    };
    let wanted = |message: &InboxMessage| only.is_none_or(|request| message.request == request);
    // What is answered is listed first: a message that comes in meanwhile isn't shown as one that stayed unread.
    let mut messages = room.inbox.messages(Some(phone), MAX_LIMIT);
    messages.retain(wanted);
    messages.truncate(DEFAULT_LIMIT);
    let unread = room.inbox.unread(phone).into_iter().filter(wanted);
    stream::iter(unread.map(|message| read_one(&room, message)))
        .buffer_unordered(READS_AT_ONCE)
        .try_collect::<()>()
        .await?;
    if is_form(&headers) {
        // The page's own form, for a browser without JavaScript.
        return Ok(redirect(&format!("/inbox?phone=%2B{}#newest", phone.digits())));
    }
    Ok(json_answer(&view::as_json(&view::shown(&room, messages).await?)))
}

/// Brings into the books that a message arrived and was read, in this order: a callback hears of both.
async fn read_one(room: &Room, message: InboxMessage) -> Result<(), StoreError> {
    for news in [News::Delivered, News::Read] {
        let command = Command {
            now: clock::now(),
            token: None,
            idempotency: None,
            action: Action::News {
                request: message.request,
                leg: Some(LegName::INBOX),
                news,
                detail: None,
                receipts: true,
            },
        };
        // What the rules say to it is no concern of the reader: a message that ended before is shown as ended.
        let _outcome = room.app.store.submit(message.account, command).await?;
    }
    room.inbox.mark_read(message.account, message.request);
    Ok(())
}

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"))
}

fn json_answer(value: &serde_json::Value) -> Response {
    asset("application/json", value.to_string())
}

fn asset(kind: &'static str, content: impl Into<Body>) -> Response {
    let mut response = Response::new(content.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn redirect(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}
