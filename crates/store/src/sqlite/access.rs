//! Who a token belongs to, kept in memory. Every change of an account's standing drops its entry before the change is
//! answered, and every command carries the generation of the token it was made with, so a stale entry opens nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use countersign_core::{AccountId, ApiToken};
use subtle::ConstantTimeEq;

use super::read::Readers;
use crate::types::{AccountAccess, StoreError};
use crate::vault::Vault;

/// Accounts that are kept; beyond it the memory starts anew.
const MAX_ENTRIES: usize = 50_000;

/// What stands in the books about an account's tokens.
#[derive(Debug)]
pub(super) struct StoredAccess {
    /// For each token that may be known, live and test-mode, present and previous: its look-up, and what it opens.
    pub(super) tokens: Vec<(Vec<u8>, Arc<AccountAccess>)>,
}

#[derive(Default)]
pub(super) struct AccessCache {
    entries: RwLock<HashMap<AccountId, Arc<StoredAccess>>>,
    /// Counts drops: an entry read before a drop isn't put in after it.
    drops: AtomicU64,
}

impl AccessCache {
    pub(super) fn of_token(
        &self,
        vault: &Vault,
        readers: &Readers,
        token: &ApiToken,
    ) -> Result<Option<Arc<AccountAccess>>, StoreError> {
        let Some(stored) = self.of_account(readers, token.account())? else {
            return Ok(None);
        };
        let lookup = vault.token_lookup(token);
        let known = stored
            .tokens
            .iter()
            .find(|(stored, _)| bool::from(lookup.as_slice().ct_eq(stored)));
        Ok(known.map(|(_, access)| Arc::clone(access)))
    }

    fn of_account(&self, readers: &Readers, id: AccountId) -> Result<Option<Arc<StoredAccess>>, StoreError> {
        if let Some(stored) = self.entries.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Some(Arc::clone(stored)));
        }
        let drops_before = self.drops.load(Ordering::Acquire);
        let Some(stored) = readers.access(id)?.map(Arc::new) else {
            return Ok(None);
        };
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if self.drops.load(Ordering::Acquire) == drops_before {
            if entries.len() >= MAX_ENTRIES {
                entries.clear();
            }
            entries.insert(id, Arc::clone(&stored));
        }
        Ok(Some(stored))
    }

    /// Forgets an account: its standing has changed.
    pub(super) fn drop_entry(&self, id: AccountId) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        self.drops.fetch_add(1, Ordering::AcqRel);
        entries.remove(&id);
    }
}
