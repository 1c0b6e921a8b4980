//! What nobody waits for: old kept answers and ended sign-ins are deleted, and the old credit of accounts that make no call lapses, in bites so
//! small that callers don't notice.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::{Action, Command};
use countersign_store::{SiteStore, Store, StoreError};
use tokio::sync::watch;

use super::{Worker, rest};
use crate::clock;

/// After the start, once the callers that waited for it have been served.
const FIRST_RUN: Duration = Duration::from_mins(1);
/// Between two runs.
const INTERVAL: Duration = Duration::from_hours(1);
/// Between two bites.
const BITE_PAUSE: Duration = Duration::from_millis(100);
/// Accounts whose credit lapses in one bite.
const LAPSES_AT_ONCE: usize = 100;

pub(super) struct Housekeeping {
    store: Arc<dyn Store>,
    site: Arc<dyn SiteStore>,
    draining: watch::Receiver<bool>,
}

impl Housekeeping {
    pub(super) fn new(store: Arc<dyn Store>, site: Arc<dyn SiteStore>, draining: watch::Receiver<bool>) -> Self {
        Self { store, site, draining }
    }
}

impl Worker for Housekeeping {
    const NAME: &'static str = "housekeeping";

    async fn run(&mut self) {
        let mut pause = FIRST_RUN;
        while !rest(pause, &mut self.draining).await {
            pause = match self.bite().await {
                Ok(true) => BITE_PAUSE,
                Ok(false) => INTERVAL,
                Err(error) => {
                    tracing::warn!(%error, "housekeeping could not go on; it is tried again");
                    FIRST_RUN
                }
            };
        }
    }
}

impl Housekeeping {
    /// Does a little, where no other node does it; answers whether more may be left.
    async fn bite(&self) -> Result<bool, StoreError> {
        if !self.store.claim_task("housekeeping").await? {
            return Ok(false);
        }
        let now = clock::now();
        let mut forgotten = self.store.forget_old_answers(now).await?;
        forgotten += self.store.forget_spent_limits(now).await?;
        forgotten += self.site.forget_ended_sessions(now).await?;
        forgotten += self.site.forget_old_tokens(now).await?;
        forgotten += self.site.forget_old_handles(now).await?;
        let due = self.store.due_lapses(now, LAPSES_AT_ONCE).await?;
        for account in &due {
            let command = Command {
                now,
                token: None,
                idempotency: None,
                action: Action::Lapse,
            };
            // A lapse refuses nothing; its outcome says no more than that it is written.
            let _ = self.store.submit(*account, command).await?;
        }
        if forgotten > 0 || !due.is_empty() {
            tracing::debug!(
                forgotten,
                lapsed = due.len(),
                "old answers, sign-ins, tokens and channels' names deleted, old credit lapsed"
            );
        }
        Ok(forgotten > 0 || due.len() == LAPSES_AT_ONCE)
    }
}
