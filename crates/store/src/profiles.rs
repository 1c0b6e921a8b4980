//! The contract for what people say of themselves: an account's profile, how a sender looks to recipients. Part of [`crate::SiteStore`].

use countersign_core::{
    AccountKey, AreaChange, AreaRules, Autofill, DailyBudget, RequestId, Timestamp, VerificationRequest,
};
use futures_util::future::BoxFuture;

use crate::types::{Actor, StoreError};

/// What an account's owner says of itself. All empty where nobody was asked yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountDetails {
    /// The company, if it isn't the account's name.
    pub company: String,
    /// Its website.
    pub website: String,
    /// ISO 3166, two letters.
    pub country: String,
    /// What the codes are for.
    pub purpose: String,
    /// The IANA name of the time zone in which pages show times; empty for the browser's.
    pub time_zone: String,
    /// Which terms were accepted: the hash of their text.
    pub terms_version: Option<String>,
    /// When they were accepted, real time.
    pub terms_accepted_at: Option<Timestamp>,
    /// When the questions of the first sign-in were answered, real time.
    pub onboarded_at: Option<Timestamp>,
}

/// What an owner changes of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DetailsChange {
    /// What the account is called.
    pub name: String,
    /// See [`AccountDetails`].
    pub company: String,
    /// See [`AccountDetails`].
    pub website: String,
    /// See [`AccountDetails`].
    pub country: String,
    /// See [`AccountDetails`].
    pub purpose: String,
    /// See [`AccountDetails`].
    pub time_zone: String,
    /// The version of the terms that are accepted with it, which ends the questions of the first sign-in.
    pub accepted_terms: Option<String>,
}

/// What people say of themselves: an account's profile, how a sender looks to recipients.
pub trait Profiles: Send + Sync {
    /// What an account's owner says of itself.
    fn details(&self, account: AccountKey) -> BoxFuture<'_, Result<AccountDetails, StoreError>>;
    /// Changes it, and the account's name with it. [`StoreError::NotFound`] where the account is closed.
    fn set_details(
        &self,
        account: AccountKey,
        change: DetailsChange,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<AccountDetails, StoreError>>;
    /// What an account's short messages end with.
    fn autofill(&self, account: AccountKey) -> BoxFuture<'_, Result<Autofill, StoreError>>;
    /// Sets it, both parts at once. [`StoreError::NotFound`] where the account is closed.
    fn set_autofill(
        &self,
        account: AccountKey,
        autofill: Autofill,
        by: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Where an account's codes may go.
    fn areas(&self, account: AccountKey) -> BoxFuture<'_, Result<AreaRules, StoreError>>;
    /// Changes it; answers the rules as they are then. [`StoreError::NotFound`] where the account is closed, [`StoreError::TooMany`] where
    /// the rules would be too many.
    fn change_areas(
        &self,
        account: AccountKey,
        change: AreaChange,
        by: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<AreaRules, StoreError>>;
    /// Sets what an account may spend in a day; `None` takes the budget away. Today's alarms may come again then.
    /// [`StoreError::NotFound`] where the account is closed.
    fn set_budget(
        &self,
        account: AccountKey,
        budget: Option<DailyBudget>,
        by: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
    /// An account's requests in the order of their creation, after one, at most `limit`: for its owner's copy of the data.
    fn requests_after(
        &self,
        account: AccountKey,
        after: Option<RequestId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<VerificationRequest>, StoreError>>;
}
