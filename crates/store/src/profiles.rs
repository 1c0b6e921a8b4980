//! The contract for what people say of themselves: an account's profile, how a sender looks to recipients. Part of [`crate::SiteStore`].

/// What people say of themselves: an account's profile, how a sender looks to recipients.
pub trait Profiles: Send + Sync {}
