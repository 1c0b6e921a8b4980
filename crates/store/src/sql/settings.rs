//! Writes that are no commands: accounts, tokens, senders, prices. Each is a transaction of its
//! own on the writer and leaves a line in `settings_audit`.

use crate::sql::{Connection, params};
use countersign_core::{
    AccountId, AccountKey, ApiToken, Grace, LowBalance, PriceList, Rules, SenderUsername, Timestamp,
};
use ipnet::IpNet;

use super::actions;
use super::codec::phone_column;
use super::prices;
use super::read::{account_profile, sender_from_row};
use super::reports;
use crate::actions::NewAction;
use crate::prices::{PriceSetting, PricesSet};
use crate::reports::{DueReport, ReportKey, ReportProfile};
use crate::sessions::SessionOwner;
use crate::tokens::Rotation;
use crate::types::{AccountProfile, Actor, Lease, NewAccount, SenderProfile, StoreError};
use crate::vault::{Purpose, Vault};

/// A settings write inside its transaction.
pub(crate) struct Settings<'a> {
    pub(crate) connection: Connection<'a>,
    pub(crate) vault: &'a Vault,
    rules: &'a Rules,
    /// Under which what it makes due is this node's.
    pub(crate) lease: Lease,
    new_prices: Option<PriceList>,
    changed_accounts: Vec<AccountId>,
    pub(crate) answered_logins: Vec<i64>,
}

/// What the writer keeps in memory and a settings write has changed.
pub(crate) struct Changed {
    /// Accounts whose standing changed: what is kept of them must go.
    pub(crate) accounts: Vec<AccountId>,
    /// The price list, where it changed.
    pub(crate) prices: Option<PriceList>,
    /// Sign-ins that were answered: pages wait for them, on whichever node.
    pub(crate) logins: Vec<i64>,
}

impl<'a> Settings<'a> {
    pub(crate) fn new(connection: Connection<'a>, vault: &'a Vault, rules: &'a Rules, lease: Lease) -> Self {
        Self {
            connection,
            vault,
            rules,
            lease,
            new_prices: None,
            changed_accounts: Vec::new(),
            answered_logins: Vec::new(),
        }
    }

    /// What changed of what is kept in memory; it counts once the transaction is durable.
    pub(crate) fn changed(self) -> Changed {
        Changed {
            accounts: self.changed_accounts,
            prices: self.new_prices,
            logins: self.answered_logins,
        }
    }

    /// See [`crate::Store::try_write`]. The value is another one each time, or there were nothing to write.
    pub(crate) fn try_write(&self) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO meta (name, value) VALUES ('write_probe', ?1) \
             ON CONFLICT (name) DO UPDATE SET value = CASE WHEN meta.value = ?1 THEN ?2 ELSE ?1 END",
            params![b"0".as_slice(), b"1".as_slice()],
        )?;
        Ok(())
    }

    /// What is kept of an account in memory must be read again.
    pub(crate) fn account_changed(&mut self, id: AccountId) {
        self.changed_accounts.push(id);
    }

    pub(crate) fn create_account(&mut self, new: &NewAccount, by: Actor) -> Result<AccountProfile, StoreError> {
        let place = account_place(new.key);
        if !self.place_account(new)? {
            return Err(StoreError::Conflict("an open account with this phone number"));
        }
        let inserted = self.connection.execute(
            "INSERT INTO account (bucket, account_id, name, phone, token_lookup, token_sealed, generation, allow_list, \
             created_at, balance, held, entries, purchased, consumed, clock_offset_ms, free_day, free_sends) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, '[]', ?7, 0, 0, 0, 0, 0, 0, 0, 0)",
            params![
                place[0],
                place[1],
                new.name,
                phone_column(new.phone),
                self.vault.token_lookup(&new.token),
                self.vault.seal(Purpose::Token, &place, new.token.as_str().as_bytes())?,
                new.now.millis(),
            ],
        );
        match inserted {
            Err(error) if error.is_constraint() => {
                return Err(StoreError::Conflict("an open account with this phone number"));
            }
            other => other?,
        };
        self.audit_with(by, new.now, "account created", &account_subject(new.key), &new.name)?;
        self.profile(new.key)
    }

    /// On PostgreSQL, notes where an account is; answers whether its id and number are free. Where accounts are spread over machines,
    /// no index of theirs can see to that.
    fn place_account(&self, new: &NewAccount) -> Result<bool, StoreError> {
        if !self.connection.is_postgres() {
            return Ok(true);
        }
        let [bucket, id] = account_place(new.key);
        let placed = self.connection.execute(
            "INSERT INTO account_place (account_id, phone, bucket, open) VALUES (?1, ?2, ?3, 1) ON CONFLICT DO NOTHING",
            [id, phone_column(new.phone), bucket],
        )?;
        self.connection.execute(
            "INSERT INTO held_bucket (bucket) VALUES (?1) ON CONFLICT DO NOTHING",
            [bucket],
        )?;
        Ok(placed > 0)
    }

    /// At once: the old token is refused from the commit on.
    pub(crate) fn rotate_token(&mut self, account: AccountKey, token: ApiToken, by: Actor) -> Result<(), StoreError> {
        let rotation = Rotation {
            token,
            grace: Grace::None,
            by,
            now: self.database_now()?,
        };
        self.rotate(account, &rotation).map(drop)
    }

    pub(crate) fn close_account(&mut self, account: AccountKey, now: Timestamp, by: Actor) -> Result<(), StoreError> {
        let [bucket, id] = account_place(account);
        let changed = self.connection.execute(
            "UPDATE account SET closed_at = ?3, generation = generation + 1, previous_lookup = NULL, \
             previous_sealed = NULL, grace_until = NULL, test_previous_lookup = NULL, test_previous_sealed = NULL, \
             test_grace_until = NULL \
             WHERE bucket = ?1 AND account_id = ?2 AND closed_at IS NULL",
            params![bucket, id, now.millis()],
        )?;
        self.require_changed_account(account, changed)?;
        if self.connection.is_postgres() {
            self.connection
                .execute("UPDATE account_place SET open = 0 WHERE account_id = ?1", [id])?;
        }
        self.end_sessions(SessionOwner::Account(account), None)?;
        self.audit_by(by, now, "account closed", &account_subject(account))
    }

    pub(crate) fn set_allow_list(
        &mut self,
        account: AccountKey,
        allow_list: &[IpNet],
        by: Actor,
    ) -> Result<(), StoreError> {
        let [bucket, id] = account_place(account);
        let addresses: Vec<String> = allow_list.iter().map(ToString::to_string).collect();
        let text = serde_json::to_string(&addresses).map_err(|error| StoreError::Database(error.to_string()))?;
        let changed = self.connection.execute(
            "UPDATE account SET allow_list = ?3 WHERE bucket = ?1 AND account_id = ?2 AND closed_at IS NULL",
            params![bucket, id, text],
        )?;
        self.require_changed_account(account, changed)?;
        self.audit_now(by, "address allow-list set", &account_subject(account))
    }

    pub(crate) fn set_low_balance(
        &mut self,
        account: AccountKey,
        low_balance: Option<&LowBalance>,
        by: Actor,
    ) -> Result<(), StoreError> {
        let [bucket, id] = account_place(account);
        let changed = self.connection.execute(
            "UPDATE account SET low_balance_below = ?3, low_balance_url = ?4, low_balance_told = 0 \
             WHERE bucket = ?1 AND account_id = ?2 AND closed_at IS NULL",
            params![
                bucket,
                id,
                low_balance.map(|low| low.below.micros()),
                low_balance.map(|low| low.url.as_str())
            ],
        )?;
        self.require_changed_account(account, changed)?;
        self.audit_now(by, "low-balance report set", &account_subject(account))
    }

    pub(crate) fn add_sender(
        &mut self,
        account: AccountKey,
        username: SenderUsername,
        now: Timestamp,
        by: Actor,
    ) -> Result<SenderProfile, StoreError> {
        let [bucket, id] = account_place(account);
        let inserted = self.connection.execute(
            "INSERT INTO sender (username, bucket, account_id, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            params![username.as_str(), bucket, id, now.millis()],
        )?;
        if inserted == 0 {
            return Err(StoreError::Conflict("a sender with this name"));
        }
        self.audit_by(by, now, "sender added", &sender_subject(&username))?;
        Ok(SenderProfile {
            username,
            account,
            created_at: now,
            verified_at: None,
        })
    }

    pub(crate) fn verify_sender(
        &mut self,
        username: &SenderUsername,
        now: Timestamp,
        by: Actor,
    ) -> Result<SenderProfile, StoreError> {
        self.connection.execute(
            "UPDATE sender SET verified_at = coalesce(verified_at, ?2), requested_at = NULL, refused_at = NULL, \
             refusal = '' WHERE username = ?1",
            params![username.as_str(), now.millis()],
        )?;
        let mut statement = self.connection.prepare_cached(
            "SELECT username, bucket, account_id, created_at, verified_at FROM sender WHERE username = ?1",
        )?;
        let mut rows = statement.query([username.as_str()])?;
        let row = rows.next()?.ok_or(StoreError::NotFound("sender"))?;
        self.audit_by(by, now, "sender verified", &sender_subject(username))?;
        sender_from_row(row)
    }

    pub(crate) fn set_prices(&mut self, setting: &PriceSetting) -> Result<PricesSet, StoreError> {
        let mut list = self.rules.prices.clone();
        let set = prices::record(self.connection, &mut list, setting)?;
        if set.added > 0 && !setting.dry_run {
            self.new_prices = Some(list);
            self.audit_with(
                setting.set_by,
                setting.now,
                "prices set",
                "prices",
                &prices_detail(setting, set.added),
            )?;
        }
        Ok(set)
    }

    /// The report, and the one of its request that is due by that, if any.
    pub(crate) fn redeliver_report(
        &self,
        key: ReportKey,
        now: Timestamp,
        by: Actor,
    ) -> Result<(ReportProfile, Option<DueReport>), StoreError> {
        let redelivered = reports::redeliver(self.connection, self.vault, key, now, self.lease)?;
        let report = format!("report {}-{}", key.request.id, key.number);
        self.audit_with(
            by,
            now,
            "report redelivered",
            &account_subject(key.request.account),
            &report,
        )?;
        Ok(redelivered)
    }

    pub(crate) fn require_changed_account(&mut self, account: AccountKey, changed: usize) -> Result<(), StoreError> {
        if changed == 0 {
            return Err(StoreError::NotFound("open account"));
        }
        self.changed_accounts.push(account.id);
        Ok(())
    }

    pub(crate) fn profile(&self, account: AccountKey) -> Result<AccountProfile, StoreError> {
        account_profile(self.connection, account)?.ok_or(StoreError::NotFound("account"))
    }

    /// A line in the audit log: `subject` names what it was done to, `account 4711` or a sender's name.
    pub(crate) fn audit_by(&self, by: Actor, at: Timestamp, action: &str, subject: &str) -> Result<(), StoreError> {
        self.audit_with(by, at, action, subject, "")
    }

    /// The same with what exactly was done: an amount, a reason, a name.
    pub(crate) fn audit_with(
        &self,
        by: Actor,
        at: Timestamp,
        action: &str,
        subject: &str,
        detail: &str,
    ) -> Result<(), StoreError> {
        actions::note(
            self.connection,
            &NewAction {
                by,
                at,
                action,
                subject,
                detail,
            },
        )
    }

    /// For writes that carry no time of their own: the database's clock.
    fn audit_now(&self, by: Actor, action: &str, subject: &str) -> Result<(), StoreError> {
        self.audit_by(by, self.database_now()?, action, subject)
    }

    fn database_now(&self) -> Result<Timestamp, StoreError> {
        let sql = if self.connection.is_postgres() {
            "SELECT floor(extract(epoch FROM now()))::bigint"
        } else {
            "SELECT unixepoch()"
        };
        let seconds: i64 = self.connection.query_row(sql, params![], |row| row.get(0))?;
        Ok(Timestamp::from_millis(seconds * 1000))
    }
}

/// How the audit log names an account.
pub(crate) fn account_subject(account: AccountKey) -> String {
    format!("account {}", account.id)
}

/// How the audit log names a sender.
pub(crate) fn sender_subject(username: &SenderUsername) -> String {
    format!("sender {}", username.as_str())
}

/// One row says itself; a table says how many.
fn prices_detail(setting: &PriceSetting, added: usize) -> String {
    let [row] = setting.rows.as_slice() else {
        return format!("{added} rows");
    };
    let from = row.effective_from.rfc_3339();
    match row.price {
        Some(price) => format!("{} {}: {price} from {from}", row.route, row.prefix),
        None => format!("{} {}: no price from {from}", row.route, row.prefix),
    }
}

pub(crate) fn account_place(account: AccountKey) -> [i64; 2] {
    [i64::from(account.bucket.0), account.id.number()]
}
