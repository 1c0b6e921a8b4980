//! `POST /channels/NAME/…`, and `GET` where the other side makes sure of the address first: calls to a channel. The channel itself
//! judges the secret that the two share; here only its size and time are bounded.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use countersign_channels::{WebhookAnswer, WebhookCall};
use countersign_core::LegName;
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

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
    let Ok(mut places) = PLACES.try_acquire() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let is_page = leg.channel.answers_with_pages();
    let largest = leg.channel.max_webhook_bytes();
    let answered = tokio::time::timeout(LIMIT, async {
        let body = match read(body, largest, &mut places).await {
            Ok(body) => body,
            Err(status) => return WebhookAnswer::status(status),
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
            body,
        };
        leg.channel.receive(call).await
    });
    response(answered.await.unwrap_or(WebhookAnswer::status(503)), is_page)
}

/// Reads a body. It takes places as its bytes come, so that nobody holds room by what they only announce. An error is the status
/// to answer with.
async fn read(mut body: Body, largest: usize, places: &mut SemaphorePermit<'static>) -> Result<Vec<u8>, u16> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| 400_u16)?.into_data() else {
            continue;
        };
        if read.len() + data.len() > largest {
            return Err(413);
        }
        read.extend_from_slice(&data);
        while read.len() > places.num_permits() * PLACE_BYTES {
            places.merge(PLACES.try_acquire().map_err(|_| 503_u16)?);
        }
    }
    Ok(read)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn free_places() -> usize {
        PLACES.available_permits()
    }

    #[tokio::test]
    async fn a_body_takes_places_as_its_bytes_come_and_no_more_than_its_channel_allows() {
        const LARGEST: usize = 3 * 1024 * 1024;
        let mut places = PLACES.try_acquire().unwrap();
        let before = free_places();
        let body = || Body::from(vec![b'x'; 2 * PLACE_BYTES + 1]);
        assert_eq!(
            read(body(), LARGEST, &mut places).await.map(|body| body.len()),
            Ok(2 * PLACE_BYTES + 1)
        );
        assert_eq!((places.num_permits(), free_places()), (3, before - 2));
        drop(places);
        let mut places = PLACES.try_acquire().unwrap();
        assert_eq!(read(body(), PLACE_BYTES, &mut places).await, Err(413));
        assert_eq!(places.num_permits(), 1);
        // With no room left, whoever brings more is told to come again.
        let all = u32::try_from(free_places()).unwrap();
        let others = PLACES.try_acquire_many(all).unwrap();
        assert_eq!(read(body(), LARGEST, &mut places).await, Err(503));
        drop(others);
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
