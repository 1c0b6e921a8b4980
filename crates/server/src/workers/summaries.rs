//! Prepares accounts' older requests for searches, a few thousand at a time. Nobody waits for it: without it a search for a
//! number takes more pages and finds the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_core::AccountId;
use countersign_store::{Store, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Worker, rest};
use crate::clock;

/// Between two rounds over the accounts, and before the first.
const INTERVAL: Duration = Duration::from_mins(1);
/// How long an account is left alone whose next run wasn't full: looking costs some milliseconds.
const QUIET: Duration = Duration::from_hours(1);
/// Between two pieces of work, so that callers don't notice.
const PAUSE: Duration = Duration::from_millis(20);
/// Accounts read at once.
const PAGE: usize = 100;
/// Accounts that are remembered as quiet; the others are looked at each round.
const MAX_QUIET: usize = 100_000;

pub(super) struct Summaries {
    store: Arc<dyn Store>,
    quiet: HashMap<AccountId, Instant>,
    draining: watch::Receiver<bool>,
}

impl Summaries {
    pub(super) fn new(store: Arc<dyn Store>, draining: watch::Receiver<bool>) -> Self {
        Self {
            store,
            quiet: HashMap::new(),
            draining,
        }
    }
}

impl Worker for Summaries {
    const NAME: &'static str = "summaries";

    async fn run(&mut self) {
        while !rest(INTERVAL, &mut self.draining).await {
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "requests could not be prepared for searches; it is tried again");
            }
        }
    }
}

impl Summaries {
    async fn round(&mut self) -> Result<(), StoreError> {
        if !self.store.claim_task("summaries").await? {
            return Ok(());
        }
        let begun = Instant::now();
        self.quiet.retain(|_, until| *until > begun);
        let mut after = None;
        loop {
            let accounts = self.store.accounts(after, PAGE).await?;
            let Some(last) = accounts.last() else { return Ok(()) };
            after = Some(last.key.id);
            for account in accounts {
                if self.quiet.contains_key(&account.key.id) {
                    continue;
                }
                let offset = account.clock_offset_ms;
                while self
                    .store
                    .summarise_requests(account.key, clock::now().plus_millis(offset))
                    .await?
                {
                    if rest(PAUSE, &mut self.draining).await {
                        return Ok(());
                    }
                }
                if self.quiet.len() < MAX_QUIET {
                    self.quiet.insert(account.key.id, Instant::now() + QUIET);
                }
            }
            if *self.draining.borrow() {
                return Ok(());
            }
        }
    }
}
