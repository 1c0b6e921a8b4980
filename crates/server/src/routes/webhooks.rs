//! `POST /channels/NAME/…`, and `GET` where the other side makes sure of the address first: calls to a channel. The channel itself judges the secret that the two
//! share; here only its size and time are bounded.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use countersign_channels::{WebhookAnswer, WebhookCall};
use countersign_core::LegName;
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::Semaphore;

use crate::app::App;

/// Memory for bodies of calls, in places of this size: they are read before a channel can judge their secret. A larger body takes
/// several.
const PLACE_BYTES: usize = 256 * 1024;
/// Places, and so calls at a time: 16 MiB.
static PLACES: Semaphore = Semaphore::const_new(64);
/// The longest that one call may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A channel's page has its styles in its elements, loads and runs nothing, and posts its form to itself.
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The paths of all channels.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/channels/{name}/{*path}", get(receive).post(receive))
        .with_state(app)
}

async fn receive(
    State(app): State<Arc<App>>,
    method: Method,
    Path((name, path)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(leg) = LegName::parse(&name).and_then(|name| app.routes.leg(&name)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if *app.draining.borrow() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let declared = body.size_hint().exact();
    let (places, room) = room_for(declared, leg.channel.max_webhook_bytes());
    let Ok(_places) = PLACES.try_acquire_many(places) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let is_page = leg.channel.answers_with_pages();
    let answered = tokio::time::timeout(LIMIT, async {
        let Ok(body) = Limited::new(body, room).collect().await else {
            return WebhookAnswer::status(413);
        };
        let headers = headers.iter().filter_map(|(name, value)| {
            let value = value.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        let call = WebhookCall {
            is_get: method != Method::POST,
            path,
            query: query.unwrap_or_default(),
            headers: headers.collect(),
            body: body.to_bytes().to_vec(),
        };
        leg.channel.receive(call).await
    });
    response(answered.await.unwrap_or(WebhookAnswer::status(503)), is_page)
}

fn response(answer: WebhookAnswer, is_page: bool) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if answer.text.is_empty() {
        return status.into_response();
    }
    // Where it is no page, part of it may come from whoever called: no browser may take it for one.
    let content_type = if is_page {
        "text/html; charset=utf-8"
    } else {
        "text/plain; charset=utf-8"
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Its address may say who is meant.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, answer.text).into_response()
}

/// How many places a body takes, and how many bytes of it are read at most. Without a word of its length, it is taken for a small one.
fn room_for(declared: Option<u64>, largest: usize) -> (u32, usize) {
    let declared = declared.and_then(|bytes| usize::try_from(bytes).ok());
    let bytes = declared.unwrap_or(PLACE_BYTES).min(largest);
    let places = bytes.div_ceil(PLACE_BYTES).max(1);
    let room = largest.min(places.saturating_mul(PLACE_BYTES));
    (u32::try_from(places).unwrap_or(u32::MAX), room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_takes_the_places_that_its_length_needs_and_no_more_than_its_channel_allows() {
        const LARGEST: usize = 3 * 1024 * 1024;
        for (declared, largest, places, room) in [
            (None, PLACE_BYTES, 1, PLACE_BYTES),
            (None, LARGEST, 1, PLACE_BYTES),
            (Some(0), LARGEST, 1, PLACE_BYTES),
            (Some(262_144), LARGEST, 1, PLACE_BYTES),
            (Some(262_145), LARGEST, 2, 2 * PLACE_BYTES),
            (Some(262_145), PLACE_BYTES, 1, PLACE_BYTES),
            (Some(u64::MAX), LARGEST, 12, LARGEST),
            (Some(10), 1_000, 1, 1_000),
        ] {
            assert_eq!(room_for(declared, largest), (places, room), "{declared:?} {largest}");
        }
    }

    fn answered(is_page: bool) -> Response {
        let answer = WebhookAnswer {
            text: "<script>alert(1)</script>".to_owned(),
            ..WebhookAnswer::status(200)
        };
        response(answer, is_page)
    }

    #[test]
    fn only_a_channel_that_answers_with_pages_is_read_as_one_and_nothing_runs_in_it() {
        for (is_page, content_type) in [(false, "text/plain; charset=utf-8"), (true, "text/html; charset=utf-8")] {
            let answered = answered(is_page);
            let header = |name| {
                answered
                    .headers()
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or("")
            };
            assert_eq!(header("content-type"), content_type);
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("referrer-policy"), "no-referrer");
            assert!(header("content-security-policy").starts_with("default-src 'none'"));
        }
    }
}
