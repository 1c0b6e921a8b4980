//! Wipes codes that ended without a write: their message arrived, and nobody entered them. All others go with the write that ends them
//! (docs/privacy.md, "When a code goes"). One node does it for all.

use std::sync::Arc;
use std::time::Duration;

use countersign_store::{SiteStore, Store, StoreError};
use tokio::sync::watch;

use super::{Worker, rest};
use crate::clock;

/// Between two rounds over the accounts, and before the first.
const INTERVAL: Duration = Duration::from_mins(5);
/// Between two steps, of some hundreds of requests each, so that callers don't notice.
const PAUSE: Duration = Duration::from_millis(20);
/// Accounts read at once.
const PAGE: usize = 100;

pub(super) struct Codes {
    store: Arc<dyn Store>,
    site: Arc<dyn SiteStore>,
    draining: watch::Receiver<bool>,
}

impl Codes {
    pub(super) fn new(store: Arc<dyn Store>, site: Arc<dyn SiteStore>, draining: watch::Receiver<bool>) -> Self {
        Self { store, site, draining }
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        if !self.store.claim_task("codes").await? {
            return Ok(());
        }
        let mut after = None;
        loop {
            let accounts = self.store.accounts(after, PAGE).await?;
            let Some(last) = accounts.last() else { return Ok(()) };
            after = Some(last.key.id);
            for account in accounts {
                let offset_ms = account.clock_offset_ms;
                while self
                    .site
                    .wipe_ended_codes(account.key, clock::now().plus_millis(offset_ms))
                    .await?
                {
                    if rest(PAUSE, &mut self.draining).await {
                        return Ok(());
                    }
                }
            }
            if *self.draining.borrow() {
                return Ok(());
            }
        }
    }
}

impl Worker for Codes {
    const NAME: &'static str = "codes";

    async fn run(&mut self) {
        while !rest(INTERVAL, &mut self.draining).await {
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "codes that ended could not all be wiped; it is tried again");
            }
        }
    }
}
