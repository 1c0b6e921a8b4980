//! The sandbox's first account: made where there is none, so that the first message needs no set-up.

use countersign_core::{AccountId, AccountKey, Action, ApiToken, Command, Credits, MICROS_PER_CREDIT, PhoneNumber};
use countersign_store::{Actor, NewAccount, Store, StoreError};

use super::StartError;
use crate::{clock, random};

/// Its owner: +9996600000, in the test range, so that no real person can own it.
const OWNER: PhoneNumber = PhoneNumber::from_stored(9_996_600_000);
/// Its credit: ten thousand messages at the usual price.
const CREDIT: Credits = Credits::from_micros(100 * MICROS_PER_CREDIT);
const NAME: &str = "Sandbox";

/// The account that the sandbox made for its user.
#[derive(Debug, Clone)]
pub struct FirstAccount {
    /// Its token.
    pub token: ApiToken,
    /// Its owner's number.
    pub phone: PhoneNumber,
}

/// Finds the first account, or makes it where the books have no account at all. `None` where there are other accounts and
/// this one isn't among them, or is closed.
pub(super) async fn find_or_make(store: &dyn Store) -> Result<Option<FirstAccount>, StartError> {
    let profile = match store.account_of_phone(OWNER).await? {
        Some(profile) if profile.closed_at.is_none() => profile,
        None if store.accounts(None, 1).await?.is_empty() => return make(store).await.map(Some),
        _ => return Ok(None),
    };
    if profile.entries == 0 {
        // The process ended between making the account and crediting it.
        credit(store, profile.key).await?;
    }
    Ok(Some(FirstAccount {
        token: store.token(profile.key).await?,
        phone: OWNER,
    }))
}

async fn make(store: &dyn Store) -> Result<FirstAccount, StartError> {
    let key = AccountKey::of_new(AccountId::from_entropy(u64::from_be_bytes(random::bytes())));
    let token = ApiToken::new(key.id, random::bytes());
    let account = NewAccount {
        key,
        token: token.clone(),
        name: NAME.to_owned(),
        phone: OWNER,
        now: clock::now(),
    };
    store.create_account(account, Actor::System).await?;
    credit(store, key).await?;
    Ok(FirstAccount { token, phone: OWNER })
}

async fn credit(store: &dyn Store, account: AccountKey) -> Result<(), StartError> {
    let purchase = Command {
        now: clock::now(),
        token: None,
        idempotency: None,
        action: Action::Purchase { amount: CREDIT },
    };
    let outcome = store.submit_by(account, purchase, Actor::System).await?;
    outcome.map_err(|error| StoreError::Database(format!("the first account's credit was refused: {error}")))?;
    Ok(())
}
