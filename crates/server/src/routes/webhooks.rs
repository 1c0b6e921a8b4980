//! `POST /channels/NAME/…`: calls that the other side of a channel makes. The channel itself judges the secret that the two
//! share; here only its size and time are bounded.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use countersign_channels::{WebhookAnswer, WebhookCall};
use countersign_core::LegName;
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::Semaphore;

use crate::app::App;

/// The largest body: a Telegram update stays far below it.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// Calls at a time: their bodies are read before a channel can judge their secret.
static CALLS: Semaphore = Semaphore::const_new(64);
/// The longest that one call may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The paths of all channels.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/channels/{name}/{*path}", post(receive))
        .with_state(app)
}

async fn receive(
    State(app): State<Arc<App>>,
    Path((name, path)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(leg) = LegName::parse(&name).and_then(|name| app.routes.leg(&name)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if *app.draining.borrow() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let Ok(_place) = CALLS.try_acquire() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let answered = tokio::time::timeout(LIMIT, async {
        let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
            return WebhookAnswer(413);
        };
        let headers = headers.iter().filter_map(|(name, value)| {
            let value = value.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        let call = WebhookCall {
            path,
            headers: headers.collect(),
            body: body.to_bytes().to_vec(),
        };
        leg.channel.receive(call).await
    });
    let WebhookAnswer(status) = answered.await.unwrap_or(WebhookAnswer(503));
    StatusCode::from_u16(status)
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        .into_response()
}
