//! SQL of who is signed in to the pages, and who is about to.

use crate::sql::connection::Value;
use crate::sql::{Connection, Row, params};
use countersign_core::Timestamp;
use futures_util::future::BoxFuture;

use super::backend::Backend;
use super::codec::account_key;
use super::read::row_limit;
use super::settings::{Settings, account_place};
use crate::FORGOTTEN_AT_ONCE;
use crate::sessions::{MAX_SESSIONS, NewSession, Session, SessionOwner, SessionToken, Sessions};
use crate::types::StoreError;
use crate::vault::Vault;

/// How often `seen_at` is written: a write for each page would be a sync for each page.
const SEEN_EVERY_MS: i64 = 60_000;
/// Of what a browser calls itself, so much is kept.
const MAX_DEVICE_CHARS: usize = 200;

const COLUMNS: &str = "id, bucket, account_id, created_at, seen_at, expires_at, device, address";

impl<B: Backend> Sessions for B {
    fn session(&self, token: &SessionToken, now: Timestamp) -> BoxFuture<'_, Result<Option<Session>, StoreError>> {
        let lookup = lookup(self.vault(), token);
        Box::pin(async move {
            let found = self.read(move |reader| find(reader.connection, &lookup, now)).await?;
            if let Some(session) = &found
                && now.millis() - session.seen_at.millis() >= SEEN_EVERY_MS
            {
                // Nobody waits, and nothing is lost where it can't be written now: the next page tries again.
                self.note_later(move |settings| settings.session_seen(&lookup, now));
            }
            Ok(found)
        })
    }

    fn begin_session(&self, new: NewSession) -> BoxFuture<'_, Result<Session, StoreError>> {
        self.set(move |settings| settings.begin_session(&new))
    }

    fn end_session(&self, owner: SessionOwner, id: i64) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.set(move |settings| settings.end_session(owner, id))
    }

    fn end_sessions(&self, owner: SessionOwner, except: Option<i64>) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.set(move |settings| settings.end_sessions(owner, except))
    }

    fn sessions(&self, owner: SessionOwner, now: Timestamp) -> BoxFuture<'_, Result<Vec<Session>, StoreError>> {
        self.read(move |reader| {
            reader.with(|connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM session WHERE {} AND expires_at > ?1 \
                     ORDER BY seen_at DESC, created_at DESC LIMIT ?2",
                    of_owner(owner, 3)
                ))?;
                let limit = row_limit(MAX_SESSIONS);
                let [bucket, account_id] = place(owner);
                let all = params![now.millis(), limit, bucket, account_id];
                let mut rows = statement.query(named(owner, all))?;
                let mut sessions = Vec::new();
                while let Some(row) = rows.next()? {
                    sessions.push(session_from_row(row)?);
                }
                Ok(sessions)
            })
        })
    }

    fn forget_ended_sessions(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.set(move |settings| settings.forget_ended_sessions(now))
    }
}

impl Settings<'_> {
    fn session_seen(&mut self, lookup: &[u8; 32], now: Timestamp) -> Result<(), StoreError> {
        // Several pages of one minute may have queued this: the first one writes.
        self.connection.execute(
            "UPDATE session SET seen_at = ?2 WHERE token_lookup = ?1 AND seen_at <= ?3",
            params![lookup, now.millis(), now.plus_millis(-SEEN_EVERY_MS).millis()],
        )?;
        Ok(())
    }

    pub(crate) fn begin_session(&mut self, new: &NewSession) -> Result<Session, StoreError> {
        let [bucket, account_id] = place(new.owner);
        if let SessionOwner::Account(account) = new.owner {
            let [bucket, id] = account_place(account);
            let open = self
                .connection
                .prepare_cached("SELECT 1 FROM account WHERE bucket = ?1 AND account_id = ?2 AND closed_at IS NULL")?
                .exists([bucket, id])?;
            if !open {
                return Err(StoreError::NotFound("open account"));
            }
        }
        let of_owner = of_owner(new.owner, 3);
        self.connection.execute(
            &format!(
                "DELETE FROM session WHERE token_lookup IN (SELECT token_lookup FROM session WHERE {of_owner} \
                 ORDER BY created_at DESC, id LIMIT ?1 OFFSET ?2)"
            ),
            named(
                new.owner,
                params![i64::MAX, row_limit(MAX_SESSIONS - 1), bucket, account_id],
            ),
        )?;
        let session = Session {
            id: new.id,
            owner: new.owner,
            created_at: new.now,
            seen_at: new.now,
            expires_at: new.now.plus_millis(new.life_ms),
            device: new.device.chars().take(MAX_DEVICE_CHARS).collect(),
            address: new.address.clone(),
        };
        self.connection.execute(
            &format!("INSERT INTO session (token_lookup, {COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"),
            params![
                lookup(self.vault, &new.token),
                session.id,
                bucket,
                account_id,
                session.created_at.millis(),
                session.seen_at.millis(),
                session.expires_at.millis(),
                session.device,
                session.address,
            ],
        )?;
        Ok(session)
    }

    fn end_session(&mut self, owner: SessionOwner, id: i64) -> Result<bool, StoreError> {
        // The id is unique by itself: whose session it is only says whether it may be ended.
        let [bucket, account_id] = place(owner);
        let ended = self.connection.execute(
            "DELETE FROM session WHERE id = ?3 AND bucket IS ?1 AND account_id IS ?2",
            params![bucket, account_id, id],
        )?;
        Ok(ended > 0)
    }

    /// Ends all sessions of an owner but one: closing an account does so in its own transaction.
    pub(crate) fn end_sessions(&mut self, owner: SessionOwner, except: Option<i64>) -> Result<usize, StoreError> {
        let [bucket, account_id] = place(owner);
        let of_owner = of_owner(owner, 2);
        let ended = self.connection.execute(
            &format!("DELETE FROM session WHERE {of_owner} AND id IS NOT ?1"),
            named(owner, params![except, bucket, account_id]),
        )?;
        Ok(ended)
    }

    fn forget_ended_sessions(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        let limit = row_limit(FORGOTTEN_AT_ONCE);
        let forgotten = self.connection.execute(
            "DELETE FROM session WHERE token_lookup IN \
             (SELECT token_lookup FROM session WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
            params![now.millis(), limit],
        )?;
        Ok(forgotten + self.forget_ended_logins(now, limit)?)
    }
}

fn lookup(vault: &Vault, token: &SessionToken) -> [u8; 32] {
    vault.secret_lookup(b"session", &token.0)
}

/// Bucket and account; none for the operator.
fn place(owner: SessionOwner) -> [Option<i64>; 2] {
    match owner {
        SessionOwner::Account(account) => account_place(account).map(Some),
        SessionOwner::Operator => [None; 2],
    }
}

/// An owner's sessions, found by their index. An account's place is the parameters from `first` on; the operator has none.
fn of_owner(owner: SessionOwner, first: usize) -> String {
    match owner {
        SessionOwner::Account(_) => format!("bucket = ?{first} AND account_id = ?{}", first + 1),
        SessionOwner::Operator => "bucket IS NULL AND account_id IS NULL".to_owned(),
    }
}

/// Of values that end with an owner's place, those that [`of_owner`]'s statement takes.
fn named<'v>(owner: SessionOwner, all: &'v [&'v dyn Value]) -> &'v [&'v dyn Value] {
    match owner {
        SessionOwner::Account(_) => all,
        SessionOwner::Operator => &all[..all.len().saturating_sub(2)],
    }
}

fn find(connection: Connection<'_>, lookup: &[u8; 32], now: Timestamp) -> Result<Option<Session>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM session WHERE token_lookup = ?1 AND expires_at > ?2"
    ))?;
    let mut rows = statement.query(params![lookup, now.millis()])?;
    rows.next()?.map(session_from_row).transpose()
}

fn session_from_row(row: Row<'_>) -> Result<Session, StoreError> {
    let owner = match (row.get(1)?, row.get(2)?) {
        (Some(bucket), Some(id)) => SessionOwner::Account(account_key(bucket, id)?),
        _ => SessionOwner::Operator,
    };
    Ok(Session {
        id: row.get(0)?,
        owner,
        created_at: Timestamp::from_millis(row.get(3)?),
        seen_at: Timestamp::from_millis(row.get(4)?),
        expires_at: Timestamp::from_millis(row.get(5)?),
        device: row.get(6)?,
        address: row.get(7)?,
    })
}
