//! What a batch's commands are judged by: the facts that were loaded for all of them, and the rare rest (an order, a purchase that lapses),
//! asked for one by one where a command needs it.

use countersign_core::{
    Account, AccountKey, FirstAnswer, Idempotency, IdempotencyKey, Order, OrderId, Purchase, RequestId, SenderFact,
    SenderUsername, Timestamp, VerificationRequest,
};

use super::load::Loaded;
use crate::batch::{FactSource, LiveKey};
use crate::sql::Connection;
use crate::sql::load::{Facts, sender_fact};
use crate::types::{RequestRef, StoreError};
use crate::vault::Vault;

/// What a batch's commands are judged by: what was loaded, and beyond it one question each.
pub(super) struct Source<'a> {
    loaded: &'a Loaded,
    rest: Facts<'a>,
}

impl<'a> Source<'a> {
    pub(super) const fn new(connection: Connection<'a>, vault: &'a Vault, loaded: &'a Loaded) -> Self {
        Self {
            loaded,
            rest: Facts { connection, vault },
        }
    }
}

impl FactSource for Source<'_> {
    fn account(&mut self, key: AccountKey) -> Result<Option<Account>, StoreError> {
        match self.loaded.accounts.get(&key) {
            Some(account) => Ok(Some(account.clone())),
            None if !self.loaded.usage_writers.contains_key(&key) => Ok(None),
            None => self.rest.account(key),
        }
    }

    fn request(&mut self, request: RequestRef) -> Result<Option<VerificationRequest>, StoreError> {
        match self.loaded.requests.get(&request) {
            Some(row) => Ok(row.clone()),
            None => self.rest.request(request),
        }
    }

    fn order(&mut self, account: AccountKey, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.rest.order(account, id)
    }

    fn first_answer(&mut self, account: AccountKey, key: &IdempotencyKey) -> Result<Option<FirstAnswer>, StoreError> {
        match self.loaded.answers.get(&(account, key.as_str().to_owned())) {
            Some(found) => Ok(found.as_ref().map(|(fingerprint, result, at)| FirstAnswer {
                idempotency: Idempotency {
                    key: key.clone(),
                    fingerprint: *fingerprint,
                },
                result: result.clone(),
                at: Timestamp::from_millis(*at),
            })),
            None => self.rest.first_answer(account, key),
        }
    }

    fn sender(&mut self, account: AccountKey, username: &SenderUsername) -> Result<SenderFact, StoreError> {
        match self.loaded.senders.get(username.as_str()) {
            Some(found) => Ok(sender_fact(account, *found)),
            None => self.rest.sender(account, username),
        }
    }

    fn live_code(&mut self, key: &LiveKey) -> Result<Option<RequestId>, StoreError> {
        match self.loaded.live_codes.get(key) {
            Some(found) => Ok(*found),
            None => self.rest.live_code(key),
        }
    }

    fn open_purchases(&mut self, account: AccountKey) -> Result<Vec<Purchase>, StoreError> {
        self.rest.open_purchases(account)
    }
}
