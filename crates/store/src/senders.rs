//! The contract for senders as their owners make them and recipients see them: display name, colour or picture, support link,
//! and the way to the verified mark. Part of [`crate::SiteStore`]. What a send needs of a sender, the batch loads itself.

use std::sync::Arc;

use countersign_core::{AccountKey, SenderUsername, Timestamp};
use futures_util::future::BoxFuture;

use crate::types::{Actor, SenderProfile, StoreError};

/// Senders that one account may register by itself.
pub const MAX_SENDERS: usize = 50;

/// How a sender looks to recipients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SenderLook {
    /// The name that is shown instead of the username; empty where there is none.
    pub display_name: String,
    /// `#rrggbb`; empty where there is none.
    pub colour: String,
    /// The https link under which recipients find help; empty where there is none.
    pub support_url: String,
}

/// A sender's picture as its owner uploaded it, checked by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderPicture {
    /// `image/png`, `image/jpeg` or `image/webp`.
    pub kind: String,
    /// The file.
    pub bytes: Vec<u8>,
    /// The first 64 bits of its SHA-256, in hexadecimal: its address changes with it.
    pub hash: String,
}

/// What becomes of a sender's picture when its look is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PictureChange {
    /// It stays.
    Keep,
    /// It goes.
    Remove,
    /// It is replaced.
    Set(SenderPicture),
}

/// How far a sender is on its way to the verified mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// Nobody asked for it.
    None,
    /// Its owner asked for it; the operator has not answered.
    Requested {
        /// When, real time.
        at: Timestamp,
        /// What the owner says for it.
        note: String,
    },
    /// The operator gave it.
    Verified {
        /// When, real time.
        at: Timestamp,
    },
    /// The operator refused it.
    Refused {
        /// When, real time.
        at: Timestamp,
        /// Why; the owner reads it.
        reason: String,
    },
}

/// A sender with all that is shown of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderDetail {
    /// Its name, whose it is, and since when.
    pub profile: SenderProfile,
    /// How it looks.
    pub look: SenderLook,
    /// Its picture's hash, where it has one.
    pub picture: Option<String>,
    /// Its way to the verified mark.
    pub verification: Verification,
}

/// Senders as their owners make them and recipients see them.
pub trait Senders: Send + Sync {
    /// An account's senders, by name, at most `limit`.
    fn senders_of(&self, account: AccountKey, limit: usize) -> BoxFuture<'_, Result<Vec<SenderDetail>, StoreError>>;
    /// Senders whose verification was requested and not answered, the oldest request first, after one, at most `limit`.
    fn requested_senders(
        &self,
        after: Option<(Timestamp, SenderUsername)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SenderDetail>, StoreError>>;
    /// All senders by name, after one, at most `limit`.
    fn all_senders(
        &self,
        after: Option<SenderUsername>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SenderDetail>, StoreError>>;
    /// One sender.
    fn sender_detail(&self, username: &SenderUsername) -> BoxFuture<'_, Result<Option<Arc<SenderDetail>>, StoreError>>;
    /// A sender's picture.
    fn sender_picture(&self, username: &SenderUsername) -> BoxFuture<'_, Result<Option<SenderPicture>, StoreError>>;
    /// Registers a sender with its look, unverified. [`StoreError::Conflict`] where its name is taken,
    /// [`StoreError::TooMany`] where the account has [`MAX_SENDERS`].
    fn register_sender(
        &self,
        account: AccountKey,
        username: SenderUsername,
        look: SenderLook,
        picture: PictureChange,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Sets how a sender looks. Whatever recipients could be deceived by (all but the colour) ends its verification, and a
    /// request for it. [`StoreError::NotFound`] where it isn't this account's.
    fn set_sender_look(
        &self,
        account: AccountKey,
        username: SenderUsername,
        look: SenderLook,
        picture: PictureChange,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Asks the operator for the verified mark. [`StoreError::NotFound`] where it isn't this account's, or is verified.
    fn request_verification(
        &self,
        account: AccountKey,
        username: SenderUsername,
        note: String,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Refuses the verified mark, or takes it away, with a reason for the owner. [`StoreError::NotFound`] where nobody
    /// registered it.
    fn refuse_sender(
        &self,
        username: SenderUsername,
        reason: String,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Deletes an unverified sender of an account. [`StoreError::NotFound`] where it isn't this account's, or is verified.
    fn delete_sender(
        &self,
        account: AccountKey,
        username: SenderUsername,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
}
