//! The contract for who is signed in to the pages, and who is about to. Part of [`crate::SiteStore`].

use countersign_core::{AccountKey, Timestamp};
use futures_util::future::BoxFuture;

use crate::types::StoreError;

/// What a browser's cookie holds: 32 random bytes. The books know only a keyed hash of it.
#[derive(Clone)]
pub struct SessionToken(pub [u8; 32]);

/// Whose pages a session opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionOwner {
    /// An account's.
    Account(AccountKey),
    /// The operator's console.
    Operator,
}

/// A browser that is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Names it in lists; opens nothing.
    pub id: i64,
    /// Whose pages it opens.
    pub owner: SessionOwner,
    /// When it began, real time.
    pub created_at: Timestamp,
    /// When it last asked for a page, real time, to the minute.
    pub seen_at: Timestamp,
    /// When it ends by itself, real time.
    pub expires_at: Timestamp,
    /// What the browser calls itself, shortened.
    pub device: String,
    /// Where it signed in from.
    pub address: String,
}

/// Who is signed in to the pages, and who is about to.
pub trait Sessions: Send + Sync {
    /// The session that a cookie opens at real time `now`, if it still stands. Its `seen_at` moves at most once a minute.
    fn session(&self, token: &SessionToken, now: Timestamp) -> BoxFuture<'_, Result<Option<Session>, StoreError>>;
}
