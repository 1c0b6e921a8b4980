//! SQL of what people say of themselves: an account's profile, how a sender looks to recipients.

use crate::sql::{Connection, OptionalExtension as _, params};
use countersign_core::{
    AccountKey, AndroidAppHash, AreaChange, AreaRules, AreaRulesFull, Autofill, CallbackUrl, Credits, DailyBudget,
    RequestId, Timestamp, VerificationRequest, WebsiteHost,
};
use futures_util::future::BoxFuture;

use super::backend::Backend;
use super::codec::{REQUEST_COLUMNS, RequestColumns, areas_of};
use super::read::{Reader, autofill_of, readable, row_limit};
use super::settings::{Settings, account_place, account_subject};
use crate::profiles::{AccountDetails, DetailsChange, Profiles};
use crate::types::{Actor, StoreError};

const DETAILS: &str = "SELECT company, website, country, purpose, time_zone, terms_version, terms_accepted_at, onboarded_at \
                       FROM account_details WHERE bucket = ?1 AND account_id = ?2";

const AUTOFILL: &str =
    "SELECT autofill_domain, autofill_android_hash FROM account WHERE bucket = ?1 AND account_id = ?2";

impl<B: Backend> Profiles for B {
    fn details(&self, account: AccountKey) -> BoxFuture<'_, Result<AccountDetails, StoreError>> {
        self.read(move |reader| reader.with(|connection| details_of(connection, account)))
    }

    fn set_details(
        &self,
        account: AccountKey,
        change: DetailsChange,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<AccountDetails, StoreError>> {
        self.set(move |settings| settings.set_details(account, &change, now))
    }

    fn autofill(&self, account: AccountKey) -> BoxFuture<'_, Result<Autofill, StoreError>> {
        self.read(move |reader| {
            reader.with(|connection| {
                let found = connection
                    .prepare_cached(AUTOFILL)?
                    .query_row(account_place(account), |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                found.map_or_else(|| Ok(Autofill::default()), |(domain, hash)| autofill_of(domain, hash))
            })
        })
    }

    fn set_autofill(
        &self,
        account: AccountKey,
        autofill: Autofill,
        by: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| settings.set_autofill(account, &autofill, by, now))
    }

    fn areas(&self, account: AccountKey) -> BoxFuture<'_, Result<AreaRules, StoreError>> {
        self.read(move |reader| reader.with(|connection| areas_of_account(connection, account)))
    }

    fn change_areas(
        &self,
        account: AccountKey,
        change: AreaChange,
        by: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<AreaRules, StoreError>> {
        self.set(move |settings| settings.change_areas(account, change, by, now))
    }

    fn set_budget(
        &self,
        account: AccountKey,
        budget: Option<DailyBudget>,
        by: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| settings.set_budget(account, budget.as_ref(), by, now))
    }

    fn requests_after(
        &self,
        account: AccountKey,
        after: Option<RequestId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<VerificationRequest>, StoreError>> {
        self.read(move |reader| reader.requests_page(account, after, limit))
    }
}

impl Reader<'_> {
    fn requests_page(
        &self,
        account: AccountKey,
        after: Option<RequestId>,
        limit: usize,
    ) -> Result<Vec<VerificationRequest>, StoreError> {
        let [bucket, id] = account_place(account);
        let (created_at, random) = after.map_or((i64::MIN, i64::MIN), |after| {
            (after.created_at().millis(), after.random().cast_signed())
        });
        self.with(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {REQUEST_COLUMNS} FROM request WHERE bucket = ?1 AND account_id = ?2 \
                 AND (created_at, random) > (?3, ?4) ORDER BY created_at, random LIMIT ?5"
            ))?;
            let rows = statement.query_map(
                params![bucket, id, created_at, random, row_limit(limit)],
                RequestColumns::read,
            )?;
            let mut requests = Vec::new();
            for columns in rows {
                requests.extend(readable(columns?.open(self.vault))?);
            }
            Ok(requests)
        })
    }
}

impl Settings<'_> {
    fn set_details(
        &mut self,
        account: AccountKey,
        change: &DetailsChange,
        now: Timestamp,
    ) -> Result<AccountDetails, StoreError> {
        let [bucket, id] = account_place(account);
        let changed = self.connection.execute(
            "UPDATE account SET name = ?3 WHERE bucket = ?1 AND account_id = ?2 AND closed_at IS NULL",
            params![bucket, id, change.name],
        )?;
        self.require_changed_account(account, changed)?;
        let accepted_at = change.accepted_terms.as_ref().map(|_| now.millis());
        self.connection.execute(
            "INSERT INTO account_details (bucket, account_id, company, website, country, purpose, time_zone, terms_version, \
             terms_accepted_at, onboarded_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9) \
             ON CONFLICT (bucket, account_id) DO UPDATE SET company = ?3, website = ?4, country = ?5, purpose = ?6, \
             time_zone = ?7, terms_version = coalesce(?8, account_details.terms_version), \
             terms_accepted_at = coalesce(?9, account_details.terms_accepted_at), \
             onboarded_at = coalesce(account_details.onboarded_at, ?9)",
            params![
                bucket,
                id,
                change.company,
                change.website,
                change.country,
                change.purpose,
                change.time_zone,
                change.accepted_terms,
                accepted_at,
            ],
        )?;
        let subject = account_subject(account);
        self.audit_by(Actor::Owner, now, "profile set", &subject)?;
        if let Some(version) = &change.accepted_terms {
            self.audit_with(Actor::Owner, now, "terms accepted", &subject, version)?;
        }
        details_of(self.connection, account)
    }

    fn set_budget(
        &mut self,
        account: AccountKey,
        budget: Option<&DailyBudget>,
        by: Actor,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let [bucket, id] = account_place(account);
        let amount = budget.map(|budget| budget.amount);
        let url = budget.and_then(|budget| budget.url.as_ref()).map(CallbackUrl::as_str);
        let changed = self.connection.execute(
            "UPDATE account SET daily_budget = ?3, daily_budget_url = ?4, budget_told = 0 \
             WHERE bucket = ?1 AND account_id = ?2 AND closed_at IS NULL",
            params![bucket, id, amount.map(Credits::micros), url],
        )?;
        self.require_changed_account(account, changed)?;
        let said = amount.map_or_else(|| "none".to_owned(), |amount| amount.to_string());
        self.audit_with(by, now, "daily budget set", &account_subject(account), &said)
    }

    fn set_autofill(
        &mut self,
        account: AccountKey,
        autofill: &Autofill,
        by: Actor,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let [bucket, id] = account_place(account);
        let domain = autofill.domain.as_ref().map(WebsiteHost::as_str);
        let hash = autofill.android_hash.as_ref().map(AndroidAppHash::as_str);
        let changed = self.connection.execute(
            "UPDATE account SET autofill_domain = ?3, autofill_android_hash = ?4 \
             WHERE bucket = ?1 AND account_id = ?2 AND closed_at IS NULL",
            params![bucket, id, domain, hash],
        )?;
        self.require_changed_account(account, changed)?;
        let said: Vec<&str> = domain.into_iter().chain(hash).collect();
        self.audit_with(by, now, "autofill set", &account_subject(account), &said.join(" "))
    }

    /// Read and written in one transaction, so that of two changes at once none is lost. What changes nothing leaves no line.
    fn change_areas(
        &mut self,
        account: AccountKey,
        change: AreaChange,
        by: Actor,
        now: Timestamp,
    ) -> Result<AreaRules, StoreError> {
        let before = areas_of_account(self.connection, account)?;
        let after = before
            .changed(change)
            .map_err(|AreaRulesFull| StoreError::TooMany("rules for countries and prefixes"))?;
        let [bucket, id] = account_place(account);
        let kept = (!after.is_empty()).then(|| after.encode());
        let changed = self.connection.execute(
            "UPDATE account SET areas = ?3 WHERE bucket = ?1 AND account_id = ?2 AND closed_at IS NULL",
            params![bucket, id, kept],
        )?;
        self.require_changed_account(account, changed)?;
        let difference = after.difference(&before);
        if !difference.is_empty() {
            self.audit_with(by, now, "areas changed", &account_subject(account), &difference)?;
        }
        Ok(after)
    }
}

fn areas_of_account(connection: Connection<'_>, account: AccountKey) -> Result<AreaRules, StoreError> {
    let kept = connection
        .prepare_cached("SELECT areas FROM account WHERE bucket = ?1 AND account_id = ?2")?
        .query_row(account_place(account), |row| row.get(0))
        .optional()?;
    Ok(areas_of(kept.flatten())?.unwrap_or_default())
}

fn details_of(connection: Connection<'_>, account: AccountKey) -> Result<AccountDetails, StoreError> {
    let found = connection
        .prepare_cached(DETAILS)?
        .query_row(account_place(account), |row| {
            Ok(AccountDetails {
                company: row.get(0)?,
                website: row.get(1)?,
                country: row.get(2)?,
                purpose: row.get(3)?,
                time_zone: row.get(4)?,
                terms_version: row.get(5)?,
                terms_accepted_at: row.get::<Option<i64>>(6)?.map(Timestamp::from_millis),
                onboarded_at: row.get::<Option<i64>>(7)?.map(Timestamp::from_millis),
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}
