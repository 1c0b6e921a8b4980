//! What time does to requests: ends of life with their refunds, the sandbox's scripts, admissions that nobody settled. Time
//! decides what is true (`decide` applies it whenever a request is touched); this worker sees to it that requests which
//! nobody touches are settled too.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::{Action, Command};
use countersign_store::{RequestRef, Store, StoreError};
use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;

use super::{Worker, rest};
use crate::clock;

/// How often the books are asked what is due. A refund comes at most this much after its time.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long it rests after the books failed.
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// Requests a read.
const PAGE: usize = 500;
/// Commands under way at once: enough that they share batches, few beside the callers' own.
const MAX_UNDER_WAY: usize = 256;

pub(super) struct Expiry {
    store: Arc<dyn Store>,
    draining: watch::Receiver<bool>,
}

impl Expiry {
    pub(super) fn new(store: Arc<dyn Store>, draining: watch::Receiver<bool>) -> Self {
        Self { store, draining }
    }

    /// Wakes all that is due, page after page.
    async fn sweep(&self) -> Result<(), StoreError> {
        let mut previous = Vec::new();
        loop {
            let due = self.store.due_requests(clock::now(), None, PAGE).await?;
            if due == previous && !due.is_empty() {
                // Every one of them was woken, and none moved. The next sweep looks again.
                tracing::warn!("{} requests stay due after they were woken", due.len());
                return Ok(());
            }
            self.wake_all(&due).await?;
            if due.len() < PAGE || *self.draining.borrow() {
                return Ok(());
            }
            previous = due;
        }
    }

    /// Wakes each of them, as far as it goes; the first failure is told once all were tried.
    async fn wake_all(&self, due: &[RequestRef]) -> Result<(), StoreError> {
        let mut answers = stream::iter(due.to_vec())
            .map(|request| {
                let action = Action::Wake { request: request.id };
                let command = Command {
                    now: clock::now(),
                    token: None,
                    idempotency: None,
                    action,
                };
                self.store.submit(request.account, command)
            })
            .buffer_unordered(MAX_UNDER_WAY);
        let mut result = Ok(());
        while let Some(answer) = answers.next().await {
            match (answer, &result) {
                // That row alone can't be settled; the others must be.
                (Err(StoreError::Damaged(what)), _) => tracing::error!("a due request is passed over: {what}"),
                (Err(error), Ok(())) => result = Err(error),
                _ => {}
            }
        }
        result
    }
}

impl Worker for Expiry {
    const NAME: &'static str = "expiry";

    async fn run(&mut self) {
        let mut pause = POLL_INTERVAL;
        while !rest(pause, &mut self.draining).await {
            pause = match self.sweep().await {
                // Busy: callers come first; what is due stays due.
                Ok(()) | Err(StoreError::Busy | StoreError::TryAgain) => POLL_INTERVAL,
                // The books have told it already; what is due stays due until there is room, or the database is back.
                Err(StoreError::DiskFull | StoreError::Unavailable) => ERROR_PAUSE,
                Err(error) => {
                    tracing::error!(%error, "what is due could not be settled; it is tried again");
                    ERROR_PAUSE
                }
            };
        }
    }
}
