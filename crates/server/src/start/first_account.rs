//! The sandbox's first account: made where there is none, so that the first message needs no set-up.

use countersign_core::{
    AccountId, AccountKey, Action, ApiToken, Command, Credits, Idempotency, IdempotencyKey, MICROS_PER_CREDIT,
    PhoneNumber,
};
use countersign_store::{AccountProfile, Actor, DetailsChange, NewAccount, SiteStore, Store, StoreError};

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
pub(super) async fn find_or_make(store: &dyn Store, site: &dyn SiteStore) -> Result<Option<FirstAccount>, StartError> {
    let profile = match store.account_of_phone(OWNER).await? {
        Some(profile) if profile.closed_at.is_none() => profile,
        None if store.accounts(None, 1).await?.is_empty() => return make(store, site).await.map(Some),
        _ => return Ok(None),
    };
    take(store, site, profile).await.map(Some)
}

/// Takes an account that is there, and gives it what it may still lack.
async fn take(store: &dyn Store, site: &dyn SiteStore, profile: AccountProfile) -> Result<FirstAccount, StartError> {
    if profile.entries == 0 {
        // The process ended between making the account and crediting it, or another node is just about to.
        credit(store, profile.key).await?;
    }
    welcome(site, profile.key, profile.name).await?;
    Ok(FirstAccount {
        token: store.token(profile.key).await?,
        phone: OWNER,
    })
}

async fn make(store: &dyn Store, site: &dyn SiteStore) -> Result<FirstAccount, StartError> {
    let key = AccountKey::of_new(AccountId::from_entropy(u64::from_be_bytes(random::bytes())));
    let token = ApiToken::new(key.id, random::bytes());
    let account = NewAccount {
        key,
        token: token.clone(),
        name: NAME.to_owned(),
        phone: OWNER,
        now: clock::now(),
    };
    match store.create_account(account, Actor::System).await {
        // Another node that starts at the same time was the first.
        Err(StoreError::Conflict(_)) => {
            let made = store.account_of_phone(OWNER).await?;
            return take(store, site, made.ok_or(StoreError::NotFound("account"))?).await;
        }
        made => drop(made?),
    }
    credit(store, key).await?;
    welcome(site, key, NAME.to_owned()).await?;
    Ok(FirstAccount { token, phone: OWNER })
}

/// Answers the questions of the first sign-in, where nobody has: its user has come to try, not to be asked.
async fn welcome(site: &dyn SiteStore, account: AccountKey, name: String) -> Result<(), StartError> {
    if site.details(account).await?.onboarded_at.is_some() {
        return Ok(());
    }
    let change = DetailsChange {
        name,
        purpose: "Trying Countersign out".to_owned(),
        accepted_terms: Some("sandbox".to_owned()),
        ..DetailsChange::default()
    };
    site.set_details(account, change, clock::now()).await?;
    Ok(())
}

async fn credit(store: &dyn Store, account: AccountKey) -> Result<(), StartError> {
    let purchase = Command {
        now: clock::now(),
        token: None,
        // Once, whoever of several nodes asks for it.
        idempotency: IdempotencyKey::new("the sandbox's first credit").map(|key| Idempotency {
            key,
            fingerprint: [0; 32],
        }),
        action: Action::Purchase { amount: CREDIT },
    };
    let outcome = store.submit_by(account, purchase, Actor::System).await?;
    outcome.map_err(|error| StoreError::Database(format!("the first account's credit was refused: {error}")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use countersign_core::Rules;
    use countersign_store::{Books, MasterKey, testing};

    use super::*;

    #[tokio::test]
    async fn nodes_that_start_together_make_one_account_with_one_credit() {
        let directory = tempfile::tempdir().unwrap();
        let open = || {
            let opened = testing::open(directory.path(), MasterKey::from_bytes([1; 32]), Rules::default());
            opened.unwrap().0
        };
        let first = open();
        // A file of SQLite has one process.
        let second = if testing::on_postgres() {
            open()
        } else {
            std::sync::Arc::clone(&first)
        };
        let find = async |books: &dyn Books| find_or_make(books, books).await.unwrap().unwrap().token;
        let (one, other) = tokio::join!(find(&*first), find(&*second));
        assert_eq!(one.as_str(), other.as_str());
        let account = first.account_of_phone(OWNER).await.unwrap().unwrap();
        // And somebody who saw it before it had its credit.
        credit(&*second, account.key).await.unwrap();
        let account = first.account_of_phone(OWNER).await.unwrap().unwrap();
        assert_eq!((account.entries, account.balance), (1, CREDIT));
    }
}
