//! A request's body with a deadline. The timer starts only where the body isn't there yet, so a request that comes in one
//! piece, as nearly all do, never pays for one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use thiserror::Error;
use tokio::time::Sleep;

use super::activity::Activity;

/// Why a body could not be read.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    /// It did not come in time. The answer will be 408, whatever the handler makes of this.
    #[error("the request's body took too long")]
    Late,
    /// The caller went away, or what it sent is not HTTP.
    #[error("the request's body broke off: {0}")]
    Broken(#[from] hyper::Error),
}

/// A request's body that must come in time.
pub(super) struct TimedBody {
    body: Incoming,
    activity: Arc<Activity>,
    allowed: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    pub(super) const fn new(body: Incoming, activity: Arc<Activity>, allowed: Duration) -> Self {
        Self {
            body,
            activity,
            allowed,
            timer: None,
        }
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            if frame.is_none() || self.body.is_end_stream() {
                self.activity.body_ended();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)));
        }
        let allowed = self.allowed;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(allowed)));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.activity.note_late_body();
        Poll::Ready(Some(Err(BodyError::Late)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
