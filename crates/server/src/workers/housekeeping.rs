//! Deletes what nobody needs any more, in bites so small that callers don't notice.

use std::sync::Arc;
use std::time::Duration;

use countersign_store::Store;
use tokio::sync::watch;

use super::{Worker, rest};
use crate::clock;

/// After the start, once the callers that waited for it have been served.
const FIRST_RUN: Duration = Duration::from_mins(1);
/// Between two runs.
const INTERVAL: Duration = Duration::from_hours(1);
/// Between two bites.
const BITE_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Housekeeping {
    store: Arc<dyn Store>,
    draining: watch::Receiver<bool>,
}

impl Housekeeping {
    pub(super) fn new(store: Arc<dyn Store>, draining: watch::Receiver<bool>) -> Self {
        Self { store, draining }
    }
}

impl Worker for Housekeeping {
    const NAME: &'static str = "housekeeping";

    async fn run(&mut self) {
        let mut pause = FIRST_RUN;
        while !rest(pause, &mut self.draining).await {
            pause = match self.store.forget_old_answers(clock::now()).await {
                Ok(0) => INTERVAL,
                Ok(forgotten) => {
                    tracing::debug!(forgotten, "old idempotency answers deleted");
                    BITE_PAUSE
                }
                Err(error) => {
                    tracing::warn!(%error, "old idempotency answers could not be deleted; it is tried again");
                    FIRST_RUN
                }
            };
        }
    }
}
