//! The contract for who is signed in to the pages, and who is about to. Part of [`crate::SiteStore`].

use std::fmt;

use countersign_core::{AccountKey, Timestamp};
use futures_util::future::BoxFuture;

use crate::types::StoreError;

/// The most sessions of one owner; the oldest goes where another begins.
pub const MAX_SESSIONS: usize = 50;

/// What a browser's cookie holds: 32 random bytes. The books know only a keyed hash of it.
#[derive(Clone)]
pub struct SessionToken(pub [u8; 32]);

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(hidden)")
    }
}

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

/// A session that begins.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// What its cookie holds.
    pub token: SessionToken,
    /// Names it in lists: random, so that it tells nothing.
    pub id: i64,
    /// Whose pages it opens.
    pub owner: SessionOwner,
    /// What the browser calls itself; kept to 200 characters.
    pub device: String,
    /// Where it signs in from.
    pub address: String,
    /// Real time.
    pub now: Timestamp,
    /// How long it stands.
    pub life_ms: i64,
}

/// Who is signed in to the pages, and who is about to.
pub trait Sessions: Send + Sync {
    /// The session that a cookie opens at real time `now`, if it still stands. Its `seen_at` moves at most once a minute, and
    /// nobody waits for that.
    fn session(&self, token: &SessionToken, now: Timestamp) -> BoxFuture<'_, Result<Option<Session>, StoreError>>;
    /// Begins a session. An owner has at most [`MAX_SESSIONS`]: the oldest goes. [`StoreError::NotFound`] where the account is
    /// closed.
    fn begin_session(&self, new: NewSession) -> BoxFuture<'_, Result<Session, StoreError>>;
    /// Ends one session of an owner; answers whether it stood.
    fn end_session(&self, owner: SessionOwner, id: i64) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// Ends all sessions of an owner but one; answers how many.
    fn end_sessions(&self, owner: SessionOwner, except: Option<i64>) -> BoxFuture<'_, Result<usize, StoreError>>;
    /// An owner's sessions that stand at real time `now`, the one seen last first; at most [`MAX_SESSIONS`].
    fn sessions(&self, owner: SessionOwner, now: Timestamp) -> BoxFuture<'_, Result<Vec<Session>, StoreError>>;
    /// Deletes sessions, sign-ins and links that are over; at most some times [`crate::FORGOTTEN_AT_ONCE`] a call. Answers how many went.
    fn forget_ended_sessions(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>>;
}
