//! The contract for what becomes of API tokens: rotation with a grace period, and the test-mode token. Part of [`crate::SiteStore`].

/// What becomes of API tokens: rotation with a grace period, and the test-mode token.
pub trait Tokens: Send + Sync {}
