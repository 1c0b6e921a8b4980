//! How often each account may ask for what costs more than an ordinary call: a test ping, a change of settings. Counted in
//! memory; a restart begins anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use countersign_core::{AccountId, Limit, LimitState, Timestamp};

/// From so many accounts on, those are forgotten whose last call counts for nothing any more.
const MAX_COUNTED: usize = 10_000;

/// The calls of each account, held to one limit.
#[derive(Debug)]
pub(crate) struct Pace {
    limit: Limit,
    counted: Mutex<HashMap<AccountId, LimitState>>,
}

impl Pace {
    pub(crate) fn new(limit: Limit) -> Self {
        Self {
            limit,
            counted: Mutex::default(),
        }
    }

    /// Counts a call; `Err` says in how many seconds the next one may come.
    pub(crate) fn take(&self, account: AccountId, now: Timestamp) -> Result<(), u32> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= MAX_COUNTED {
            counted.retain(|_, state| !state.is_spent(now));
        }
        let state = counted.entry(account).or_default();
        *state = self.limit.take(*state, now)?;
        Ok(())
    }
}
