//! Taking in a request's body: at most 64 KiB, within the time that the operator allows.

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use countersign_core::ApiError;
use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::BodyExt as _;

use super::answer::Refusal;
use crate::app::App;

/// The longest body of a call (GATEWAY-API, "Calling").
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// How much of a refused body is read and thrown away: a client that still writes when the connection closes may lose the
/// answer. What is longer than this is cut off.
const MAX_DISCARDED_BYTES: usize = 1024 * 1024;

/// The whole body. Without a copy where it comes in one piece, as nearly all do.
pub(super) async fn read(app: &App, headers: &HeaderMap, mut body: Body) -> Result<Bytes, Refusal> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        discard(app, headers, body).await;
        return Err(Refusal::BodyTooLarge);
    }
    match tokio::time::timeout(app.settings.server.request_timeout, collect(&mut body)).await {
        Ok(Err(Refusal::BodyTooLarge)) => {
            discard(app, headers, body).await;
            Err(Refusal::BodyTooLarge)
        }
        Ok(collected) => collected,
        Err(_) => Err(Refusal::RequestTimeout),
    }
}

async fn collect(body: &mut Body) -> Result<Bytes, Refusal> {
    let first = next_piece(body).await?.unwrap_or_default();
    if body.is_end_stream() && first.len() <= MAX_BODY_BYTES {
        return Ok(first);
    }
    let mut all = BytesMut::from(first);
    while let Some(piece) = next_piece(body).await? {
        if all.len() + piece.len() > MAX_BODY_BYTES {
            return Err(Refusal::BodyTooLarge);
        }
        all.extend_from_slice(&piece);
    }
    if all.len() > MAX_BODY_BYTES {
        return Err(Refusal::BodyTooLarge);
    }
    Ok(all.freeze())
}

/// The next piece of data; trailers are skipped.
async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, Refusal> {
    while let Some(frame) = body.frame().await {
        // The connection broke, or its chunks are malformed: it isn't the body that it claimed to be.
        let frame = frame.map_err(|_| ApiError::BadRequest)?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Takes in the body of a call that is refused whatever it holds, so that the client reads the answer and may use the
/// connection again. A client that waits to be asked for its body is not asked.
pub(super) async fn discard(app: &App, headers: &HeaderMap, mut body: Body) {
    if body.is_end_stream() || headers.contains_key(EXPECT) {
        return;
    }
    let take_in = async {
        let mut discarded = 0;
        while let Ok(Some(piece)) = next_piece(&mut body).await {
            discarded += piece.len();
            if discarded > MAX_DISCARDED_BYTES {
                break;
            }
        }
    };
    // Whether it ended or timed out makes no difference: the refusal is the answer.
    let _ = tokio::time::timeout(app.settings.server.request_timeout, take_in).await;
}
