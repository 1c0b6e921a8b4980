//! Taking in a request's body: at most 64 KiB. How long it may take is the listener's business ([`crate::http`]): a body that
//! doesn't come in time ends here as a broken one, and the listener answers 408 whatever is made of that here.

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use countersign_core::ApiError;
use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::BodyExt as _;

use super::answer::Refusal;

/// The longest body of a call (docs/api.md, "Calling").
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// How much of a refused body is read and thrown away: a client that still writes when the connection closes may lose the
/// answer. What is longer than this is cut off.
const MAX_DISCARDED_BYTES: usize = 1024 * 1024;

/// The whole body. Without a copy where it comes in one piece, as nearly all do.
pub(super) async fn read(headers: &HeaderMap, mut body: Body) -> Result<Bytes, Refusal> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        discard(headers, body).await;
        return Err(Refusal::BodyTooLarge);
    }
    let collected = collect(&mut body).await;
    if collected == Err(Refusal::BodyTooLarge) {
        discard(headers, body).await;
    }
    collected
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
        // It is late, the connection broke, or its chunks are malformed: it isn't the body that it claimed to be.
        let frame = frame.map_err(|_| ApiError::BadRequest)?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Takes in the body of a call that is refused whatever it holds, so that the client reads the answer and may use the
/// connection again. A client that waits to be asked for its body is not asked.
pub(super) async fn discard(headers: &HeaderMap, mut body: Body) {
    if body.is_end_stream() || headers.contains_key(EXPECT) {
        return;
    }
    let mut discarded = 0;
    while let Ok(Some(piece)) = next_piece(&mut body).await {
        discarded += piece.len();
        if discarded > MAX_DISCARDED_BYTES {
            break;
        }
    }
}
