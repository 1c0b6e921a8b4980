//! How often somebody may ask for what costs more than an ordinary call: a test ping, a change of settings, a sign-in. Counted
//! in memory; a restart begins anew. Where several nodes serve, what guards secrets or costs money is counted in the books as well;
//! all else holds for each node.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use countersign_core::{AccountId, Limit, LimitState, Timestamp};
use countersign_store::{Store, StoreError};

/// From so many on, those are forgotten whose last call counts for nothing any more.
const MAX_COUNTED: usize = 10_000;

/// The calls of each account (or number, or address), held to one limit.
#[derive(Debug)]
pub(crate) struct Pace<K = AccountId> {
    limit: Limit,
    counted: Mutex<HashMap<K, LimitState>>,
}

impl<K: Eq + Hash> Pace<K> {
    pub(crate) fn new(limit: Limit) -> Self {
        Self {
            limit,
            counted: Mutex::default(),
        }
    }

    pub(crate) const fn limit(&self) -> Limit {
        self.limit
    }

    /// What [`Pace::take`] would answer to somebody who was counted before, without counting.
    pub(crate) fn would_take(&self, who: &K, now: Timestamp) -> Result<(), u32> {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted
            .get(who)
            .map_or(Ok(()), |state| self.limit.take(*state, now).map(drop))
    }

    /// Counts a call, on whichever node it comes; `who` says in the books' words whose it is. What is refused here costs the books nothing.
    pub(crate) async fn take_on_any_node(
        &self,
        store: &dyn Store,
        name: &'static str,
        who: K,
        who_in_books: String,
        now: Timestamp,
    ) -> Result<Result<(), u32>, StoreError> {
        match self.take(who, now) {
            Ok(()) => store.count_call(name, who_in_books, self.limit, now).await,
            refused => Ok(refused),
        }
    }

    /// Counts a call; `Err` says in how many seconds the next one may come.
    pub(crate) fn take(&self, who: K, now: Timestamp) -> Result<(), u32> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= MAX_COUNTED && !counted.contains_key(&who) {
            counted.retain(|_, state| !state.is_spent(now));
            // Strangers can bring any number of addresses; memory stays bounded, and whoever is counted already stays so.
            if counted.len() >= 2 * MAX_COUNTED {
                return Err(1);
            }
        }
        let state = counted.entry(who).or_default();
        *state = self.limit.take(*state, now)?;
        Ok(())
    }
}
