//! SQL of what becomes of API tokens: rotation with a grace period, the test-mode token, and which token signs a report.

use crate::sql::{Connection, OptionalExtension, params};
use countersign_core::{AccountKey, ApiToken, Grace, Timestamp, TokenClaim, TokenKind, TokenStanding};
use futures_util::future::BoxFuture;

use super::backend::{Backend, Part, sweep};
use super::codec::damaged;
use super::read::Reader;
use super::settings::{Settings, account_place, account_subject};
use crate::tokens::{AccountTokens, Rotation, TokenState, Tokens};
use crate::types::{Actor, StoreError};
use crate::vault::{Purpose, Vault};

/// The columns of one kind of token.
struct Columns {
    lookup: &'static str,
    sealed: &'static str,
    generation: &'static str,
    made_at: &'static str,
    previous_lookup: &'static str,
    previous_sealed: &'static str,
    grace_until: &'static str,
}

const fn columns(kind: TokenKind) -> Columns {
    match kind {
        TokenKind::Live => Columns {
            lookup: "token_lookup",
            sealed: "token_sealed",
            generation: "generation",
            made_at: "token_made_at",
            previous_lookup: "previous_lookup",
            previous_sealed: "previous_sealed",
            grace_until: "grace_until",
        },
        TokenKind::Test => Columns {
            lookup: "test_lookup",
            sealed: "test_sealed",
            generation: "test_generation",
            made_at: "test_made_at",
            previous_lookup: "test_previous_lookup",
            previous_sealed: "test_previous_sealed",
            grace_until: "test_grace_until",
        },
    }
}

const fn name(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Live => "token",
        TokenKind::Test => "test-mode token",
    }
}

impl<B: Backend> Tokens for B {
    fn tokens(&self, account: AccountKey) -> BoxFuture<'_, Result<AccountTokens, StoreError>> {
        self.read(move |reader| {
            reader.with(|connection| {
                Ok(AccountTokens {
                    live: state(connection, account, TokenKind::Live)?,
                    test: state(connection, account, TokenKind::Test)?,
                })
            })
        })
    }

    fn test_token(
        &self,
        account: AccountKey,
        fresh: ApiToken,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<ApiToken, StoreError>> {
        Box::pin(async move {
            let present = self
                .read(move |reader| present(reader.connection, reader.vault, account, TokenKind::Test))
                .await?;
            match present {
                Some(token) => Ok(token),
                None => {
                    self.set(move |settings| settings.first_test_token(account, fresh, now))
                        .await
                }
            }
        })
    }

    fn rotate(&self, account: AccountKey, rotation: Rotation) -> BoxFuture<'_, Result<TokenStanding, StoreError>> {
        self.set(move |settings| settings.rotate(account, &rotation))
    }

    fn end_grace(
        &self,
        account: AccountKey,
        kind: TokenKind,
        by: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| settings.end_grace(account, kind, by, now))
    }

    fn forget_old_tokens(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(sweep(self, move |settings, part| {
            let mut forgotten = 0;
            for kind in [TokenKind::Live, TokenKind::Test] {
                forgotten += forget_old_tokens(settings.connection, part, kind, now)?;
            }
            Ok(forgotten)
        }))
    }
}

impl Reader<'_> {
    /// The token that signs a report of what that token made: itself while it works, else the present one of its kind.
    pub(crate) fn signing_token(
        &self,
        account: AccountKey,
        claim: TokenClaim,
        now: Timestamp,
    ) -> Result<ApiToken, StoreError> {
        self.with(|connection| {
            let standing = state(connection, account, claim.kind)?.standing;
            if claim.generation != standing.generation && standing.accepts(claim.generation, now) {
                let sealed = columns(claim.kind).previous_sealed;
                if let Some(previous) = token_of(connection, self.vault, account, claim.kind, sealed)? {
                    return Ok(previous);
                }
            }
            present(connection, self.vault, account, claim.kind)?.ok_or(StoreError::NotFound("token"))
        })
    }
}

/// How one kind of token stands.
fn state(connection: Connection<'_>, account: AccountKey, kind: TokenKind) -> Result<TokenState, StoreError> {
    let c = columns(kind);
    let sql = format!(
        "SELECT {}, {}, {} FROM account WHERE bucket = ?1 AND account_id = ?2",
        c.generation, c.grace_until, c.made_at
    );
    let state = connection
        .prepare_cached(&sql)?
        .query_row(account_place(account), |row| {
            Ok(TokenState {
                standing: TokenStanding {
                    generation: row.get(0)?,
                    grace_until: row.get::<Option<i64>>(1)?.map(Timestamp::from_millis),
                },
                made_at: row.get::<Option<i64>>(2)?.map(Timestamp::from_millis),
            })
        })
        .optional()?;
    state.ok_or(StoreError::NotFound("account"))
}

fn present(
    connection: Connection<'_>,
    vault: &Vault,
    account: AccountKey,
    kind: TokenKind,
) -> Result<Option<ApiToken>, StoreError> {
    token_of(connection, vault, account, kind, columns(kind).sealed)
}

/// The token that a column of an account's row holds.
fn token_of(
    connection: Connection<'_>,
    vault: &Vault,
    account: AccountKey,
    kind: TokenKind,
    sealed: &'static str,
) -> Result<Option<ApiToken>, StoreError> {
    let place = account_place(account);
    let sql = format!("SELECT {sealed} FROM account WHERE bucket = ?1 AND account_id = ?2");
    let sealed: Option<Option<Vec<u8>>> = connection
        .prepare_cached(&sql)?
        .query_row(place, |row| row.get(0))
        .optional()?;
    let Some(sealed) = sealed.ok_or(StoreError::NotFound("account"))? else {
        return Ok(None);
    };
    let text = vault.open(Purpose::Token, &place, &sealed)?;
    let token = std::str::from_utf8(&text).ok().and_then(ApiToken::parse);
    // One kind's sealed token in the other's place is somebody's work.
    let token = token.filter(|token| token.kind() == kind);
    token.map(Some).ok_or_else(|| damaged("a token"))
}

impl Settings<'_> {
    pub(crate) fn rotate(&mut self, account: AccountKey, rotation: &Rotation) -> Result<TokenStanding, StoreError> {
        let kind = rotation.token.kind();
        let standing = self.put(account, rotation)?;
        let (word, subject) = (name(kind), account_subject(account));
        let action = match rotation.grace {
            Grace::None => format!("{word} rotated"),
            grace => format!("{word} rotated, the old one works for {}", grace.name()),
        };
        self.audit_by(rotation.by, rotation.now, &action, &subject)?;
        Ok(standing)
    }

    /// Puts a token in the present one's place.
    fn put(&mut self, account: AccountKey, rotation: &Rotation) -> Result<TokenStanding, StoreError> {
        let kind = rotation.token.kind();
        let place = account_place(account);
        let before = state(self.connection, account, kind)?.standing;
        let standing = before.rotated(rotation.grace, rotation.now);
        let c = columns(kind);
        // What stands right of `=` is the row as it was.
        let sql = format!(
            "UPDATE account SET {previous_lookup} = CASE WHEN CAST(?3 AS bigint) IS NOT NULL THEN {lookup} END, \
             {previous_sealed} = CASE WHEN CAST(?3 AS bigint) IS NOT NULL THEN {sealed} END, {grace_until} = ?3, {lookup} = ?4, {sealed} = ?5, \
             {generation} = ?6, {made_at} = ?7 WHERE bucket = ?1 AND account_id = ?2 AND closed_at IS NULL",
            previous_lookup = c.previous_lookup,
            previous_sealed = c.previous_sealed,
            grace_until = c.grace_until,
            lookup = c.lookup,
            sealed = c.sealed,
            generation = c.generation,
            made_at = c.made_at,
        );
        let changed = self.connection.execute(
            &sql,
            params![
                place[0],
                place[1],
                standing.grace_until.map(Timestamp::millis),
                self.vault.token_lookup(&rotation.token),
                self.vault
                    .seal(Purpose::Token, &place, rotation.token.as_str().as_bytes())?,
                standing.generation,
                rotation.now.millis(),
            ],
        )?;
        self.require_changed_account(account, changed)?;
        Ok(standing)
    }

    /// Two who ask at once get the same: whoever comes second finds the first one's.
    fn first_test_token(
        &mut self,
        account: AccountKey,
        fresh: ApiToken,
        now: Timestamp,
    ) -> Result<ApiToken, StoreError> {
        if let Some(present) = present(self.connection, self.vault, account, TokenKind::Test)? {
            return Ok(present);
        }
        let rotation = Rotation {
            token: fresh,
            grace: Grace::None,
            by: Actor::System,
            now,
        };
        self.put(account, &rotation)?;
        self.audit_by(rotation.by, now, "test-mode token made", &account_subject(account))?;
        Ok(rotation.token)
    }

    fn end_grace(&mut self, account: AccountKey, kind: TokenKind, by: Actor, now: Timestamp) -> Result<(), StoreError> {
        let c = columns(kind);
        let sql = format!(
            "UPDATE account SET {} = NULL, {} = NULL, {} = NULL WHERE bucket = ?1 AND account_id = ?2",
            c.previous_lookup, c.previous_sealed, c.grace_until
        );
        let changed = self.connection.execute(&sql, account_place(account))?;
        self.require_changed_account(account, changed)?;
        let action = format!("grace of the {} before ended", name(kind));
        self.audit_by(by, now, &action, &account_subject(account))
    }
}

/// Forgets tokens of a kind whose grace is over; answers how many went.
fn forget_old_tokens(
    connection: Connection<'_>,
    part: Part,
    kind: TokenKind,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let c = columns(kind);
    let (previous_lookup, previous_sealed, grace_until) = (c.previous_lookup, c.previous_sealed, c.grace_until);
    // What is over is asked of the row again: it may have been rotated meanwhile. What is kept of these accounts in memory knows until
    // when, too: nothing needs to be dropped.
    let sql = |part: &str| {
        format!(
            "UPDATE account SET {previous_lookup} = NULL, {previous_sealed} = NULL, {grace_until} = NULL \
             WHERE {part}{grace_until} <= ?1 AND (bucket, account_id) IN (SELECT bucket, account_id FROM account \
             WHERE {part}{grace_until} IS NOT NULL AND {grace_until} <= ?1 ORDER BY {grace_until} LIMIT ?2)"
        )
    };
    part.forget(connection, sql, now.millis())
}
