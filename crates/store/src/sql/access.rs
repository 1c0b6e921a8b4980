//! Who a token belongs to, kept in memory. Every change of an account's standing drops its entry before the change is
//! answered, and every command carries the generation of the token it was made with, so a stale entry opens nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use countersign_core::AccountId;
use subtle::ConstantTimeEq;

use crate::types::AccountAccess;

/// Accounts that are kept; beyond it the memory starts anew.
const MAX_ENTRIES: usize = 50_000;

/// What stands in the books about an account's tokens.
#[derive(Debug)]
pub(crate) struct StoredAccess {
    /// For each token that may be known, live and test-mode, present and previous: its look-up, and what it opens.
    pub(crate) tokens: Vec<(Vec<u8>, Arc<AccountAccess>)>,
}

impl StoredAccess {
    /// What a token opens, by its look-up.
    pub(crate) fn of_lookup(&self, lookup: &[u8; 32]) -> Option<Arc<AccountAccess>> {
        let known = self
            .tokens
            .iter()
            .find(|(stored, _)| bool::from(lookup.as_slice().ct_eq(stored)));
        known.map(|(_, access)| Arc::clone(access))
    }
}

#[derive(Default)]
pub(crate) struct AccessCache {
    entries: RwLock<HashMap<AccountId, Arc<StoredAccess>>>,
    /// Counts drops: an entry read before a drop isn't put in after it.
    drops: AtomicU64,
}

impl AccessCache {
    /// What is kept of an account.
    pub(crate) fn kept(&self, id: AccountId) -> Option<Arc<StoredAccess>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(&id).cloned()
    }

    /// How many drops there were; ask before reading the books.
    pub(crate) fn drops(&self) -> u64 {
        self.drops.load(Ordering::Acquire)
    }

    /// Keeps what was read, unless something was dropped since.
    pub(crate) fn keep(&self, id: AccountId, stored: &Arc<StoredAccess>, drops_before: u64) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if self.drops.load(Ordering::Acquire) == drops_before {
            if entries.len() >= MAX_ENTRIES {
                entries.clear();
            }
            entries.insert(id, Arc::clone(stored));
        }
    }

    /// Forgets everything: what changed meanwhile is not known.
    pub(crate) fn drop_all(&self) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        self.drops.fetch_add(1, Ordering::AcqRel);
        entries.clear();
    }

    /// Forgets an account: its standing has changed.
    pub(crate) fn drop_entry(&self, id: AccountId) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        self.drops.fetch_add(1, Ordering::AcqRel);
        entries.remove(&id);
    }
}
