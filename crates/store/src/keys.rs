//! The contract for changing the master key while the books are served. Part of [`crate::SiteStore`].
//!
//! A change begins once every node knows the new key. From then on everything is sealed under it; what was sealed before is opened,
//! and sealed anew, row by row. It ends when a count has found no value under the old key. All of it stands in the books, so a
//! process that is killed goes on after its next start, with both keys at hand.

use std::sync::atomic::{AtomicU64, Ordering};

use countersign_core::Timestamp;
use futures_util::future::BoxFuture;

use crate::types::{Actor, StoreError};
use crate::vault::{KeyFingerprint, MasterKey};

/// How a process knows the master key to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyStanding {
    /// What seals.
    pub present: KeyFingerprint,
    /// Whether a former key may still have sealed something.
    pub rotating: bool,
}

/// How far a change of the master key is. Numbers of rows, of which few have nothing sealed.
#[derive(Debug, Default)]
pub struct KeyProgress {
    rows: AtomicU64,
    all_rows: AtomicU64,
    resealed: AtomicU64,
}

impl KeyProgress {
    /// Rows that were gone through, and about how many there are. Each is gone through twice: once to seal, once to count.
    pub fn rows(&self) -> (u64, u64) {
        let rows = self.rows.load(Ordering::Relaxed);
        (rows, self.all_rows.load(Ordering::Relaxed).max(rows))
    }

    /// Values that were sealed anew.
    pub fn resealed(&self) -> u64 {
        self.resealed.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self, all_rows: u64) {
        self.rows.store(0, Ordering::Relaxed);
        self.all_rows.store(all_rows, Ordering::Relaxed);
    }

    pub(crate) fn went_on(&self, rows: usize, resealed: u64) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.resealed.fetch_add(resealed, Ordering::Relaxed);
    }
}

/// What a change of the master key came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeysRotated {
    /// The key now.
    pub key: KeyFingerprint,
    /// Sealed values, all of which stand under it: they were counted.
    pub values: u64,
    /// Values that no key opens: somebody's work, or a damaged disk. They were left as they are.
    pub unreadable: u64,
}

/// The contract for changing the master key.
pub trait KeyRotation: Send + Sync {
    /// How the key stands, as this process knows it.
    fn key_standing(&self) -> Result<KeyStanding, StoreError>;

    /// Takes in the key that is to follow: it opens from now on, and seals nothing before a change begins. The other nodes are told that
    /// this one knows it.
    fn learn_master_key(&self, next: MasterKey) -> BoxFuture<'_, Result<KeyFingerprint, StoreError>>;

    /// Begins the change to the key that was learned last. Everybody who is signed in to the pages must sign in anew. Fails where another
    /// node doesn't know the key; does nothing where the change is under way.
    fn begin_key_rotation(&self, now: Timestamp, by: Actor) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Sees a change through that is under way: seals anew what the old key sealed, counts, and ends it. It may be dropped or killed at any
    /// point and called again.
    fn rotate_keys<'a>(
        &'a self,
        progress: &'a KeyProgress,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<KeysRotated, StoreError>>;
}
