//! Lets old verification requests go, once a day, on one node: with them go numbers, codes and payloads. How long they are kept is
//! `privacy.keep_requests_days`. The ledger and the statistics stay.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::DAY_MS;
use countersign_store::{SiteStore, Store};
use tokio::sync::watch;

use super::{Worker, rest};
use crate::clock;

/// After the start, once the callers that waited for it have been served; and after something failed.
const FIRST_RUN: Duration = Duration::from_mins(2);
/// Between two rounds.
const INTERVAL: Duration = Duration::from_hours(24);

pub(super) struct Retention {
    store: Arc<dyn Store>,
    site: Arc<dyn SiteStore>,
    days: u32,
    draining: watch::Receiver<bool>,
}

impl Retention {
    pub(super) fn new(
        store: Arc<dyn Store>,
        site: Arc<dyn SiteStore>,
        days: u32,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self {
            store,
            site,
            days,
            draining,
        }
    }

    /// One round; answers how long to rest.
    async fn round(&self) -> Duration {
        match self.store.claim_task("retention").await {
            Ok(true) => {}
            Ok(false) => return INTERVAL,
            Err(error) => {
                tracing::warn!(%error, "old requests could not be let go; it is tried again");
                return FIRST_RUN;
            }
        }
        let before = clock::now().plus_millis(-i64::from(self.days) * DAY_MS);
        match self.site.let_requests_go(before).await {
            Ok(0) => INTERVAL,
            Ok(count) => {
                tracing::info!(count, days = self.days, "requests older than that were let go");
                INTERVAL
            }
            Err(error) => {
                tracing::warn!(%error, "old requests could not all be let go; it is tried again");
                FIRST_RUN
            }
        }
    }
}

impl Worker for Retention {
    const NAME: &'static str = "retention";

    async fn run(&mut self) {
        let mut pause = FIRST_RUN;
        while !rest(pause, &mut self.draining).await {
            let mut draining = self.draining.clone();
            pause = tokio::select! {
                pause = self.round() => pause,
                // What is left goes after the next start.
                _ = draining.wait_for(|draining| *draining) => return,
            };
        }
    }
}
