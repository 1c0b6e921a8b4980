//! The contract for orders of credit that wait for their payment. Part of [`crate::SiteStore`].

/// Orders of credit that wait for their payment.
pub trait Orders: Send + Sync {}
