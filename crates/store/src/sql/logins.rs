//! SQL of who is about to sign in. The same is written for every number, so that nobody learns from an answer or its time
//! which numbers have accounts.

use crate::sql::{OptionalExtension as _, Row, params};
use countersign_core::{AccountKey, Code, PhoneNumber, Timestamp};
use futures_util::future::BoxFuture;
use subtle::ConstantTimeEq as _;

use super::backend::Backend;
use super::codec::{account_key, phone_column, phone_of};
use super::read::row_limit;
use super::settings::{Settings, account_place, account_subject};
use crate::logins::{
    LOGIN_BLOCK_MS, LoginAnswer, LoginAttempt, LoginEntry, LoginState, LoginToken, Logins, MAX_LOGIN_LINKS,
    MAX_LOGIN_TRIES, NewLogin,
};
use crate::types::{Actor, StoreError};
use crate::vault::{Purpose, Vault};

/// Of what a browser calls itself, so much is kept.
const MAX_DEVICE_CHARS: usize = 200;
/// Attempts that are over and go with a new one: the table can't grow beyond what one life of an attempt lets begin.
const FORGET_WITH_EACH: i64 = 4;

const COLUMNS: &str = "id, phone, state, wrong_tries, created_at, expires_at, device, address";

impl<B: Backend> Logins for B {
    fn begin_login(&self, new: NewLogin) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.set(move |settings| settings.begin_login(&new))
    }

    fn login(&self, token: &LoginToken, now: Timestamp) -> BoxFuture<'_, Result<Option<LoginAttempt>, StoreError>> {
        let lookup = attempt_lookup(self.vault(), token);
        self.read(move |reader| {
            reader.with(|connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM login_attempt WHERE token_lookup = ?1 AND expires_at > ?2"
                ))?;
                let mut rows = statement.query(params![lookup, now.millis()])?;
                rows.next()?.map(attempt_from_row).transpose()
            })
        })
    }

    fn login_question(
        &self,
        id: i64,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<(LoginAttempt, Code)>, StoreError>> {
        self.read(move |reader| {
            let mut statement = reader.connection.prepare_cached(&format!(
                "SELECT {COLUMNS}, code_sealed FROM login_attempt WHERE id = ?1 AND state = ?2 AND expires_at > ?3"
            ))?;
            let mut rows = statement.query(params![id, state_number(LoginState::Pending), now.millis()])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let code = reader.vault.open(Purpose::LoginCode, &[id], &row.get::<Vec<u8>>(8)?)?;
            let code = String::from_utf8(code).ok().and_then(|code| Code::parse(&code));
            let code = code.ok_or(StoreError::Damaged("a sign-in's code"))?;
            Ok(Some((attempt_from_row(row)?, code)))
        })
    }

    fn login_was_asked(&self, id: i64) {
        self.tell_login_asked(id);
    }

    fn answer_login(
        &self,
        id: i64,
        answer: LoginAnswer,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<LoginAttempt>, StoreError>> {
        self.set(move |settings| settings.answer_login(id, answer, now))
    }

    fn enter_login_code(
        &self,
        token: LoginToken,
        entered: String,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<LoginEntry, StoreError>> {
        self.set(move |settings| settings.enter_login_code(&token, &entered, now))
    }

    fn take_login(&self, token: LoginToken, now: Timestamp) -> BoxFuture<'_, Result<Option<PhoneNumber>, StoreError>> {
        self.set(move |settings| settings.take_login(&token, now))
    }

    fn make_login_link(
        &self,
        account: AccountKey,
        token: LoginToken,
        now: Timestamp,
        life_ms: i64,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| settings.make_login_link(account, &token, now, life_ms))
    }

    fn login_link(&self, token: &LoginToken, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        let lookup = link_lookup(self.vault(), token);
        self.read(move |reader| {
            reader.with(|connection| {
                let mut statement = connection
                    .prepare_cached("SELECT 1 FROM login_link WHERE token_lookup = ?1 AND expires_at > ?2")?;
                Ok(statement.exists(params![lookup, now.millis()])?)
            })
        })
    }

    fn take_login_link(
        &self,
        token: LoginToken,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<AccountKey>, StoreError>> {
        self.set(move |settings| settings.take_login_link(&token, now))
    }
}

impl Settings<'_> {
    fn begin_login(&mut self, new: &NewLogin) -> Result<bool, StoreError> {
        self.connection.execute(
            "DELETE FROM login_attempt WHERE token_lookup IN \
             (SELECT token_lookup FROM login_attempt WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
            params![new.now.millis(), FORGET_WITH_EACH],
        )?;
        let device: String = new.device.chars().take(MAX_DEVICE_CHARS).collect();
        self.connection.execute(
            "INSERT INTO login_attempt (token_lookup, id, phone, state, code_sealed, wrong_tries, created_at, expires_at, \
             device, address) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?9)",
            params![
                attempt_lookup(self.vault, &new.token),
                new.id,
                phone_column(new.phone),
                state_number(LoginState::Pending),
                self.vault
                    .seal(Purpose::LoginCode, &[new.id], new.code.as_str().as_bytes())?,
                new.now.millis(),
                new.now.plus_millis(new.life_ms).millis(),
                device,
                new.address,
            ],
        )?;
        let blocked = self
            .connection
            .prepare_cached("SELECT 1 FROM login_block WHERE phone = ?1 AND until > ?2")?
            .exists(params![phone_column(new.phone), new.now.millis()])?;
        Ok(!blocked)
    }

    fn answer_login(
        &mut self,
        id: i64,
        answer: LoginAnswer,
        now: Timestamp,
    ) -> Result<Option<LoginAttempt>, StoreError> {
        let state = match answer {
            LoginAnswer::Confirm => LoginState::Confirmed,
            LoginAnswer::Refuse => LoginState::Refused,
        };
        let answered = {
            let mut statement = self.connection.prepare_cached(&format!(
                "UPDATE login_attempt SET state = ?2 WHERE id = ?1 AND state = ?3 AND expires_at > ?4 RETURNING {COLUMNS}"
            ))?;
            let mut rows = statement.query(params![
                id,
                state_number(state),
                state_number(LoginState::Pending),
                now.millis()
            ])?;
            let answered = rows.next()?.map(attempt_from_row).transpose()?;
            // A statement that returns rows is done once it was asked for all of them.
            while rows.next()?.is_some() {}
            answered
        };
        if let (Some(attempt), LoginAnswer::Refuse) = (&answered, answer) {
            self.connection.execute(
                "INSERT INTO login_block (phone, until) VALUES (?1, ?2) ON CONFLICT (phone) DO UPDATE SET until = excluded.until",
                params![phone_column(attempt.phone), now.plus_millis(LOGIN_BLOCK_MS).millis()],
            )?;
        }
        self.answered_logins.extend(answered.as_ref().map(|attempt| attempt.id));
        Ok(answered)
    }

    fn enter_login_code(
        &mut self,
        token: &LoginToken,
        entered: &str,
        now: Timestamp,
    ) -> Result<LoginEntry, StoreError> {
        let lookup = attempt_lookup(self.vault, token);
        let found: Option<(i64, Vec<u8>, u8)> = self
            .connection
            .prepare_cached(
                "SELECT id, code_sealed, wrong_tries FROM login_attempt \
                 WHERE token_lookup = ?1 AND state = ?2 AND expires_at > ?3",
            )?
            .query_row(
                params![lookup, state_number(LoginState::Pending), now.millis()],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()?;
        let Some((id, sealed, wrong_tries)) = found else {
            return Ok(LoginEntry::Over);
        };
        let code = self.vault.open(Purpose::LoginCode, &[id], &sealed)?;
        if bool::from(code.ct_eq(entered.as_bytes())) {
            self.set_login(&lookup, LoginState::Confirmed, wrong_tries)?;
            self.answered_logins.push(id);
            return Ok(LoginEntry::Right);
        }
        let wrong_tries = wrong_tries.saturating_add(1);
        let left = MAX_LOGIN_TRIES.saturating_sub(wrong_tries);
        let state = if left == 0 {
            LoginState::Refused
        } else {
            LoginState::Pending
        };
        self.set_login(&lookup, state, wrong_tries)?;
        if left == 0 {
            self.answered_logins.push(id);
        }
        Ok(LoginEntry::Wrong { left })
    }

    fn set_login(&mut self, lookup: &[u8; 32], state: LoginState, wrong_tries: u8) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE login_attempt SET state = ?2, wrong_tries = ?3 WHERE token_lookup = ?1",
            params![lookup, state_number(state), wrong_tries],
        )?;
        Ok(())
    }

    fn take_login(&mut self, token: &LoginToken, now: Timestamp) -> Result<Option<PhoneNumber>, StoreError> {
        let lookup = attempt_lookup(self.vault, token);
        let phone: Option<i64> = self
            .connection
            .query_row(
                "SELECT phone FROM login_attempt WHERE token_lookup = ?1 AND state = ?2 AND expires_at > ?3",
                params![lookup, state_number(LoginState::Confirmed), now.millis()],
                |row| row.get(0),
            )
            .optional()?;
        let Some(phone) = phone else { return Ok(None) };
        self.connection.execute(
            "UPDATE login_attempt SET state = ?2 WHERE token_lookup = ?1",
            params![lookup, state_number(LoginState::Used)],
        )?;
        Ok(Some(phone_of(phone)?))
    }

    fn make_login_link(
        &mut self,
        account: AccountKey,
        token: &LoginToken,
        now: Timestamp,
        life_ms: i64,
    ) -> Result<(), StoreError> {
        let [bucket, id] = account_place(account);
        let open = self
            .connection
            .prepare_cached("SELECT 1 FROM account WHERE bucket = ?1 AND account_id = ?2 AND closed_at IS NULL")?
            .exists([bucket, id])?;
        if !open {
            return Err(StoreError::NotFound("open account"));
        }
        let kept = row_limit(MAX_LOGIN_LINKS - 1);
        self.connection.execute(
            "DELETE FROM login_link WHERE token_lookup IN (SELECT token_lookup FROM login_link \
             WHERE bucket = ?1 AND account_id = ?2 ORDER BY created_at DESC LIMIT -1 OFFSET ?3)",
            params![bucket, id, kept],
        )?;
        self.connection.execute(
            "INSERT INTO login_link (token_lookup, bucket, account_id, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                link_lookup(self.vault, token),
                bucket,
                id,
                now.millis(),
                now.plus_millis(life_ms).millis()
            ],
        )?;
        self.audit_by(Actor::Operator, now, "login link made", &account_subject(account))
    }

    fn take_login_link(&mut self, token: &LoginToken, now: Timestamp) -> Result<Option<AccountKey>, StoreError> {
        let lookup = link_lookup(self.vault, token);
        let found: Option<(i64, i64)> = self
            .connection
            .query_row(
                "SELECT bucket, account_id FROM login_link WHERE token_lookup = ?1 AND expires_at > ?2",
                params![lookup, now.millis()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        self.connection
            .execute("DELETE FROM login_link WHERE token_lookup = ?1", [lookup])?;
        let account = found.map(|(bucket, id)| account_key(bucket, id)).transpose()?;
        if let Some(account) = account {
            self.audit_by(Actor::Owner, now, "login link used", &account_subject(account))?;
        }
        Ok(account)
    }

    /// Deletes attempts, blocks and links that are over, at most so many of each.
    pub(crate) fn forget_ended_logins(&mut self, now: Timestamp, limit: i64) -> Result<usize, StoreError> {
        let mut forgotten = 0;
        if self.connection.is_postgres() {
            forgotten += self.forget_spent_limits(now, limit)?;
        }
        for (table, key, end) in [
            ("login_attempt", "token_lookup", "expires_at"),
            ("login_block", "phone", "until"),
            ("login_link", "token_lookup", "expires_at"),
        ] {
            forgotten += self.connection.execute(
                &format!(
                    "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {end} <= ?1 ORDER BY {end} LIMIT ?2)"
                ),
                params![now.millis(), limit],
            )?;
        }
        Ok(forgotten)
    }
}

fn attempt_lookup(vault: &Vault, token: &LoginToken) -> [u8; 32] {
    vault.secret_lookup(b"login", &token.0)
}

fn link_lookup(vault: &Vault, token: &LoginToken) -> [u8; 32] {
    vault.secret_lookup(b"login link", &token.0)
}

const fn state_number(state: LoginState) -> i64 {
    match state {
        LoginState::Pending => 1,
        LoginState::Confirmed => 2,
        LoginState::Refused => 3,
        LoginState::Used => 4,
    }
}

fn attempt_from_row(row: Row<'_>) -> Result<LoginAttempt, StoreError> {
    let state = match row.get(2)? {
        1_i64 => LoginState::Pending,
        2 => LoginState::Confirmed,
        3 => LoginState::Refused,
        4 => LoginState::Used,
        _ => return Err(StoreError::Damaged("a sign-in")),
    };
    Ok(LoginAttempt {
        id: row.get(0)?,
        phone: phone_of(row.get(1)?)?,
        state,
        wrong_tries: row.get(3)?,
        created_at: Timestamp::from_millis(row.get(4)?),
        expires_at: Timestamp::from_millis(row.get(5)?),
        device: row.get(6)?,
        address: row.get(7)?,
    })
}
