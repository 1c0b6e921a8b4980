//! The contract for statistics: usage rolled up by quarter of an hour, country, route and sender. Part of [`crate::SiteStore`].

/// Statistics: usage rolled up by quarter of an hour, country, route and sender.
pub trait Usage: Send + Sync {}
