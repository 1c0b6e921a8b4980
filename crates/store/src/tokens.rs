//! The contract for what becomes of API tokens: rotation with a grace period, and the test-mode token.
//! Part of [`crate::SiteStore`].

use countersign_core::{AccountKey, ApiToken, Grace, Timestamp, TokenKind, TokenStanding};
use futures_util::future::BoxFuture;

use crate::types::{Actor, StoreError};

/// A new token in the place of the present one of its kind.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The new token, drawn by the caller; its kind says which one it replaces.
    pub token: ApiToken,
    /// How long the present one still works.
    pub grace: Grace,
    /// Who rotates it.
    pub by: Actor,
    /// Real time.
    pub now: Timestamp,
}

/// How a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenState {
    /// Its generation, and until when the one before it works.
    pub standing: TokenStanding,
    /// When the present one was made, real time; `None` where it came with the account, or there is none yet.
    pub made_at: Option<Timestamp>,
}

/// How an account's tokens stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountTokens {
    /// The live one.
    pub live: TokenState,
    /// The test-mode one.
    pub test: TokenState,
}

/// What becomes of API tokens: rotation with a grace period, and the test-mode token.
pub trait Tokens: Send + Sync {
    /// How an account's tokens stand. A grace that is over may still be told.
    fn tokens(&self, account: AccountKey) -> BoxFuture<'_, Result<AccountTokens, StoreError>>;
    /// The account's test-mode token. Where it has none yet, `fresh` becomes it.
    fn test_token(
        &self,
        account: AccountKey,
        fresh: ApiToken,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<ApiToken, StoreError>>;
    /// Replaces a token. The one before it works until its grace is over, and is refused from the commit on where there is
    /// none; one that was in its grace already is refused in any case. [`StoreError::NotFound`] without an open account.
    fn rotate(&self, account: AccountKey, rotation: Rotation) -> BoxFuture<'_, Result<TokenStanding, StoreError>>;
    /// Ends a grace now: the token before the present one is refused from the commit on.
    fn end_grace(
        &self,
        account: AccountKey,
        kind: TokenKind,
        by: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Forgets tokens that were rotated away and whose grace is over; about [`crate::FORGOTTEN_AT_ONCE`] a call. Answers how many went.
    fn forget_old_tokens(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>>;
}
