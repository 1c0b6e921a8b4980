//! Who a token belongs to, kept in memory. Every change of an account's standing drops its entry before the change is
//! answered, and every command carries the generation of the token it was made with, so a stale entry opens nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

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

/// When one of those who ask reads an entry again, and from when on it isn't used any more: where another node may change what it says. A
/// closed account is refused within this time, even if nobody told.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(8);
const USED_FOR: Duration = Duration::from_secs(10);

struct Entry {
    stored: Arc<StoredAccess>,
    read_at: Instant,
    /// Somebody reads it again: the others use it meanwhile.
    is_read_again: AtomicBool,
}

#[derive(Default)]
pub(crate) struct AccessCache {
    entries: RwLock<HashMap<AccountId, Entry>>,
    /// Whether an entry grows old: another process may change what it says.
    asks_again: bool,
    /// Counts drops: an entry read before a drop isn't put in after it.
    drops: AtomicU64,
}

impl AccessCache {
    /// For books that other processes change, too.
    pub(crate) fn that_asks_again() -> Self {
        Self {
            asks_again: true,
            ..Self::default()
        }
    }

    /// What is kept of an account.
    pub(crate) fn kept(&self, id: AccountId) -> Option<Arc<StoredAccess>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(&id)?;
        if self.asks_again {
            let age = entry.read_at.elapsed();
            let mine_to_read = age >= READ_AGAIN_AFTER && !entry.is_read_again.swap(true, Ordering::AcqRel);
            if mine_to_read || age >= USED_FOR {
                return None;
            }
        }
        Some(Arc::clone(&entry.stored))
    }

    /// How many drops there were; ask before reading the books.
    pub(crate) fn drops(&self) -> u64 {
        self.drops.load(Ordering::Acquire)
    }

    /// Keeps what was asked for at `asked_at`, unless something was dropped since.
    pub(crate) fn keep(&self, id: AccountId, stored: &Arc<StoredAccess>, drops_before: u64, asked_at: Instant) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if self.drops.load(Ordering::Acquire) == drops_before {
            if entries.len() >= MAX_ENTRIES {
                entries.clear();
            }
            let entry = Entry {
                stored: Arc::clone(stored),
                read_at: asked_at,
                is_read_again: AtomicBool::new(false),
            };
            entries.insert(id, entry);
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
