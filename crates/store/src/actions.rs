//! The contract for the audit log: what operators and owners did. Part of [`crate::SiteStore`].

/// The audit log: what operators and owners did.
pub trait Actions: Send + Sync {}
