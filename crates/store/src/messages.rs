//! The contract for verification requests as their owner searches and reads them. Part of [`crate::SiteStore`].

/// Verification requests as their owner searches and reads them.
pub trait Messages: Send + Sync {}
