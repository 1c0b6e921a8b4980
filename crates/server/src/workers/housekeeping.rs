//! What nobody waits for: what is over is deleted, and the old credit of accounts that make no call lapses, in bites so small that callers
//! don't notice. Each kind of work stands alone: one that fails doesn't keep the others from theirs.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::{Action, Command};
use countersign_store::{FORGOTTEN_AT_ONCE, SiteStore, Store, StoreError};
use tokio::sync::watch;

use super::{Worker, rest};
use crate::clock;

/// After the start, once the callers that waited for it have been served; and after something failed.
const FIRST_RUN: Duration = Duration::from_mins(1);
/// Between two rounds.
const INTERVAL: Duration = Duration::from_hours(1);
/// Between two bites.
const BITE_PAUSE: Duration = Duration::from_millis(100);
/// Accounts whose credit lapses in one bite.
const LAPSES_AT_ONCE: usize = 100;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chore {
    /// Credit that is too old.
    Lapses,
    /// Kept first answers.
    Answers,
    /// Flood counters that count for nothing.
    Counters,
    /// Counters of quotas that count for nothing.
    Quotas,
    /// Sign-ins.
    Sessions,
    /// API tokens that were rotated away.
    Tokens,
    /// What channels called messages.
    Handles,
}

impl Chore {
    /// Money first.
    const ALL: [Self; 7] = [
        Self::Lapses,
        Self::Answers,
        Self::Counters,
        Self::Quotas,
        Self::Sessions,
        Self::Tokens,
        Self::Handles,
    ];
}

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
        let mut round = Round::default();
        let mut pause = FIRST_RUN;
        while !rest(pause, &mut self.draining).await {
            pause = self.bite(&mut round).await;
        }
    }
}

/// What is still to be done of an hour's work. Only what has more to do is done again at once: most kinds look through every bucket of
/// the books to find that there is nothing.
#[derive(Default)]
struct Round {
    /// Empty before a round begins.
    left: Vec<Chore>,
    /// What failed in this round.
    failed: Vec<Chore>,
}

impl Round {
    /// Notes what a chore came to.
    fn note(&mut self, chore: Chore, done: Result<usize, StoreError>, at_once: usize) {
        match done {
            Ok(count) => {
                if count > 0 {
                    tracing::debug!(?chore, count, "housekeeping");
                }
                if count >= at_once {
                    self.left.push(chore);
                }
            }
            Err(error) => {
                tracing::warn!(%error, ?chore, "housekeeping could not go on; it is tried again");
                self.failed.push(chore);
            }
        }
    }

    /// How long to rest before the next bite. What failed is tried again once the others are done.
    fn pause(&mut self) -> Duration {
        if !self.left.is_empty() {
            return BITE_PAUSE;
        }
        self.left = std::mem::take(&mut self.failed);
        if self.left.is_empty() { INTERVAL } else { FIRST_RUN }
    }
}

impl Housekeeping {
    /// Does a little of each kind that has something to do, where no other node does it; answers how long to rest.
    async fn bite(&self, round: &mut Round) -> Duration {
        match self.store.claim_task("housekeeping").await {
            Ok(true) => {}
            Ok(false) => {
                *round = Round::default();
                return INTERVAL;
            }
            Err(error) => {
                tracing::warn!(%error, "housekeeping could not begin; it is tried again");
                return FIRST_RUN;
            }
        }
        let mut chores = std::mem::take(&mut round.left);
        if chores.is_empty() {
            chores.extend(Chore::ALL);
        }
        for chore in chores {
            let at_once = if chore == Chore::Lapses {
                LAPSES_AT_ONCE
            } else {
                FORGOTTEN_AT_ONCE
            };
            round.note(chore, self.do_some(chore).await, at_once);
        }
        round.pause()
    }

    /// Does some of a chore; answers how much.
    async fn do_some(&self, chore: Chore) -> Result<usize, StoreError> {
        let now = clock::now();
        match chore {
            Chore::Lapses => self.lapse().await,
            Chore::Answers => self.store.forget_old_answers(now).await,
            Chore::Counters => self.store.forget_spent_limits(now).await,
            Chore::Quotas => self.site.forget_spent_quotas(now).await,
            Chore::Sessions => self.site.forget_ended_sessions(now).await,
            Chore::Tokens => self.site.forget_old_tokens(now).await,
            Chore::Handles => self.site.forget_old_handles(now).await,
        }
    }

    async fn lapse(&self) -> Result<usize, StoreError> {
        let now = clock::now();
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
        Ok(due.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_more_to_do_goes_on_at_once_and_what_failed_after_a_minute() {
        let mut round = Round::default();
        round.note(Chore::Answers, Ok(FORGOTTEN_AT_ONCE), FORGOTTEN_AT_ONCE);
        round.note(Chore::Handles, Err(StoreError::Unavailable), FORGOTTEN_AT_ONCE);
        round.note(Chore::Tokens, Ok(FORGOTTEN_AT_ONCE - 1), FORGOTTEN_AT_ONCE);
        assert_eq!((round.pause(), &round.left), (BITE_PAUSE, &vec![Chore::Answers]));
        round.left.clear();
        round.note(Chore::Answers, Ok(1), FORGOTTEN_AT_ONCE);
        assert_eq!((round.pause(), &round.left), (FIRST_RUN, &vec![Chore::Handles]));
        round.left.clear();
        round.note(Chore::Handles, Ok(0), FORGOTTEN_AT_ONCE);
        assert_eq!((round.pause(), round.left), (INTERVAL, Vec::new()));
    }
}
